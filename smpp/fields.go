package smpp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// FieldError says which field of a body does not parse or cannot be written,
// and at which octet of the body.
type FieldError struct {
	Field   string // as SMPP 3.4 calls it
	Offset  int
	Problem string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("smpp: %s at octet %d of the body: %s", e.Field, e.Offset, e.Problem)
}

// Status is what the field's error is answered with (SMPP 3.4 §5.1.3).
func (e *FieldError) Status() Status {
	if status, ok := fieldStatus[e.Field]; ok {
		return status
	}
	return StatusInvalidLength
}

var fieldStatus = map[string]Status{
	"service_type":           0x15, // ESME_RINVSERTYP
	"source_addr":            0x0A, // ESME_RINVSRCADR
	"destination_addr":       StatusInvalidDest,
	"esm_class":              0x43, // ESME_RINVESMCLASS
	"schedule_delivery_time": 0x61, // ESME_RINVSCHED
	"validity_period":        0x62, // ESME_RINVEXPIRY
	"sm_length":              StatusInvalidMessage,
	"short_message":          StatusInvalidMessage,
	"message_id":             0x0C, // ESME_RINVMSGID
	"number_of_dests":        0x33, // ESME_RINVNUMDESTS
	"dest_flag":              0x40, // ESME_RINVDESTFLAG
	"dl_name":                0x34, // ESME_RINVDLNAME
	"system_id":              0x0F, // ESME_RINVSYSID
	"password":               StatusInvalidPassword,
	"system_type":            0x53, // ESME_RINVSYSTYP
	"TLV":                    0xC0, // ESME_RINVOPTPARSTREAM
}

// Field is one field of a body as it was read, for people to look at.
type Field struct {
	Name   string // as SMPP 3.4 calls it
	Offset int    // in the body
	Octets []byte
	Value  any // uint8, uint32, string or []byte
}

// fields goes through a body, field by field. Each body names its fields once,
// in order; by that list it is read, written and explained.
//
// After the first field that is wrong nothing more is read, and err says which
// it was.
type fields struct {
	writing bool
	b       []byte // the body that is read, or what is written to
	at      int    // reading: the next octet; writing: where the body began
	head    string // reading: a copy of b's first octets, which strings are cut from
	trace   func(Field)
	err     error
}

// maxHead is more than all that precedes a short_message: one copy serves all
// strings of the common bodies.
const maxHead = 104

func (f *fields) fail(name string, format string, args ...any) {
	if f.err != nil {
		return
	}
	at := f.at
	if f.writing {
		at = len(f.b) - f.at
	} else {
		f.b = f.b[:f.at]
	}
	f.err = &FieldError{name, at, fmt.Sprintf(format, args...)}
}

// wrong is the fail of an octet that was just read and is of no use.
func (f *fields) wrong(name string, format string, args ...any) {
	if f.err == nil && !f.writing {
		f.at--
	}
	f.fail(name, format, args...)
}

// took tells the trace about the field that ends at the cursor.
func (f *fields) took(name string, from int, value any) {
	if f.err == nil {
		f.trace(Field{name, from, f.b[from:f.at:f.at], value})
	}
}

func (f *fields) octet(name string, v *byte) {
	if f.writing {
		f.b = append(f.b, *v)
		return
	}
	if f.at == len(f.b) {
		f.fail(name, "is missing")
		return
	}
	*v = f.b[f.at]
	f.at++
	if f.trace != nil {
		f.took(name, f.at-1, *v)
	}
}

// word is a number of four octets.
func (f *fields) word(name string, v *uint32) {
	if f.writing {
		f.b = binary.BigEndian.AppendUint32(f.b, *v)
		return
	}
	if len(f.b)-f.at < 4 {
		f.fail(name, "is missing")
		return
	}
	*v = binary.BigEndian.Uint32(f.b[f.at:])
	f.at += 4
	if f.trace != nil {
		f.took(name, f.at-4, *v)
	}
}

// cstring is a C-octet string of at most size octets, its NUL included
// (SMPP 3.4 §3.1).
func (f *fields) cstring(name string, v *string, size int) {
	switch {
	case f.writing:
		if len(*v) >= size || !noNUL(*v) {
			f.fail(name, "%d octets, at most %d and no NUL among them", len(*v), size-1)
		}
		f.b = append(append(f.b, *v...), 0)
		return
	case f.at < len(f.b) && f.b[f.at] == 0: // most are empty
		*v = ""
		f.at++
	default:
		rest := f.b[f.at:]
		n := bytes.IndexByte(rest[:min(len(rest), size)], 0)
		switch {
		case n >= 0:
			*v = f.cut(n)
		case len(rest) < size:
			f.fail(name, "has no NUL")
			return
		default:
			f.fail(name, "is longer than %d octets", size-1)
			return
		}
	}
	if f.trace != nil {
		f.took(name, f.at-len(*v)-1, *v)
	}
}

// cut takes a string of n octets and the NUL behind it.
func (f *fields) cut(n int) string {
	from := f.at
	f.at += n + 1
	if f.head == "" {
		f.head = string(f.b[:min(len(f.b), maxHead)])
	}
	if from+n <= len(f.head) {
		return f.head[from : from+n]
	}
	return string(f.b[from : from+n])
}

// address is a type of number, a numbering plan and up to size-1 characters.
// prefix is "source" or "dest", as SMPP 3.4 has it.
func (f *fields) address(prefix, name string, v *Address, size int) {
	f.octet(prefix+"_addr_ton", &v.TON)
	f.octet(prefix+"_addr_npi", &v.NPI)
	f.cstring(name, &v.Addr, size)
}

// shortMessage is sm_length and that many octets.
func (f *fields) shortMessage(v *[]byte) {
	if f.writing {
		if len(*v) > maxShortMessage {
			f.fail("short_message", "%d octets, at most %d", len(*v), maxShortMessage)
			return
		}
		f.b = append(append(f.b, byte(len(*v))), *v...)
		return
	}
	var n byte
	f.octet("sm_length", &n)
	if n > maxShortMessage {
		f.wrong("sm_length", "is %d, at most %d", n, maxShortMessage)
		return
	}
	if left := len(f.b) - f.at; int(n) > left {
		f.fail("short_message", "wants %d octets, %d are left", n, left)
		return
	}
	from := f.at
	f.at += int(n)
	*v = f.b[from:f.at:f.at]
	if f.trace != nil {
		f.took("short_message", from, *v)
	}
}

// maxShortMessage is the most that short_message holds (SMPP 3.4 §5.2.22).
const maxShortMessage = 254

// tlvs takes the rest of a body, which must be whole TLVs.
func (f *fields) tlvs(v *TLVs) {
	if f.writing {
		if !v.whole() {
			f.fail("TLV", "they are not whole")
		}
		f.b = append(f.b, *v...)
		return
	}
	if f.at == len(f.b) {
		*v = nil
		return
	}
	from := f.at
	for f.at < len(f.b) {
		rest := f.b[f.at:]
		if len(rest) < 4 {
			f.fail("TLV", "its header is cut off")
			return
		}
		n := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		if n > len(rest) {
			f.fail("TLV", "%04x wants %d octets, %d are left", rest[:2], n-4, len(rest)-4)
			return
		}
		f.at += n
		if f.trace != nil {
			f.took(tagName(binary.BigEndian.Uint16(rest)), f.at-n, rest[4:n:n])
		}
	}
	*v = TLVs(f.b[from:f.at:f.at])
}

// header checks the length of the user data header of a message that has one.
func (f *fields) header(esmClass byte, content []byte) {
	if f.writing || f.err != nil || esmClass&ESMClassUDHI == 0 {
		return
	}
	if len(content) == 0 || int(content[0])+1 > len(content) {
		f.fail("short_message", "its UDHL runs past the message")
	}
}
