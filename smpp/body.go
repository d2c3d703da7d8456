package smpp

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// FieldError says which field of a body does not parse, and at which octet of
// the body.
type FieldError struct {
	Field   string
	Offset  int
	Problem string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("smpp: %s at octet %d of the body: %s", e.Field, e.Offset, e.Problem)
}

// cursor consumes a body. After the first field that does not parse it stands
// still, and err tells which it was.
type cursor struct {
	body []byte // all of it
	text string // the same octets; fields are cut from it at no further cost
	rest []byte
	err  error
}

func newCursor(body []byte) cursor { return cursor{body: body, text: string(body), rest: body} }

func (c *cursor) offset() int { return len(c.body) - len(c.rest) }

func (c *cursor) fail(field, problem string) {
	if c.err == nil {
		c.err = &FieldError{field, c.offset(), problem}
	}
	c.rest = nil
}

func (c *cursor) octet(field string) (b byte) {
	if c.err != nil {
		return 0
	}
	if len(c.rest) == 0 {
		c.fail(field, "is missing")
		return 0
	}
	b, c.rest = c.rest[0], c.rest[1:]
	return b
}

// cstring reads a C-octet string of at most size octets, its NUL included.
func (c *cursor) cstring(field string, size int) string {
	if c.err != nil {
		return ""
	}
	start := c.offset()
	n := strings.IndexByte(c.text[start:], 0)
	switch {
	case n < 0:
		c.fail(field, "has no NUL")
		return ""
	case n >= size:
		c.fail(field, fmt.Sprintf("has %d octets, at most %d", n, size-1))
		return ""
	}
	c.rest = c.rest[n+1:]
	return c.text[start : start+n]
}

func (c *cursor) octets(field string, n int) (b []byte) {
	if c.err != nil {
		return nil
	}
	if n > len(c.rest) {
		c.fail(field, fmt.Sprintf("wants %d octets, %d are left", n, len(c.rest)))
		return nil
	}
	b, c.rest = c.rest[:n:n], c.rest[n:]
	return b
}

func appendCString(b []byte, s string) []byte { return append(append(b, s...), 0) }

// TLVs are the optional parameters of a PDU as they came: in order, duplicates
// and unknown ones kept (SMPP 3.4 §3.2.4.1).
type TLVs []byte

// Tags that are read or written (SMPP 3.4 §5.3.2).
const (
	TagReceiptedMessageID = 0x001E
	TagMessagePayload     = 0x0424
	TagMessageState       = 0x0427
	TagSCInterfaceVersion = 0x0210
)

// tlvs takes the rest of a body, which must be whole TLVs.
func (c *cursor) tlvs() TLVs {
	if c.err != nil {
		return nil
	}
	all := c.rest
	for len(c.rest) > 0 {
		if len(c.rest) < 4 {
			c.fail("TLV", "its header is cut off")
			return nil
		}
		if n := int(binary.BigEndian.Uint16(c.rest[2:])); n > len(c.rest)-4 {
			c.fail(fmt.Sprintf("TLV %04x", binary.BigEndian.Uint16(c.rest)), fmt.Sprintf("wants %d octets, %d are left", n, len(c.rest)-4))
			return nil
		} else {
			c.rest = c.rest[4+n:]
		}
	}
	return TLVs(all)
}

// Get returns the value of the first TLV with a tag.
func (t TLVs) Get(tag uint16) (value []byte, ok bool) {
	for len(t) >= 4 {
		n := 4 + int(binary.BigEndian.Uint16(t[2:]))
		if n > len(t) {
			break
		}
		if binary.BigEndian.Uint16(t) == tag {
			return t[4:n:n], true
		}
		t = t[n:]
	}
	return nil, false
}

// Add appends a TLV.
func (t TLVs) Add(tag uint16, value []byte) TLVs {
	t = binary.BigEndian.AppendUint16(t, tag)
	t = binary.BigEndian.AppendUint16(t, uint16(len(value)))
	return append(t, value...)
}
