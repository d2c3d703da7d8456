package simcard

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// FCP is what a card tells of a file when it is selected (file control
// parameters, TS 102 221 §11.1.1.3):
//
//	62 L  82 L descriptor (1), coding (1), for records: size (2), number (1)
//	      83 02 file id   84 L AID   8A 01 life cycle   8B 03 access rules
//	      80 02 size      88 L short file id
//	      C6 L  90 L PIN status, a bit each    83 01 key reference …
type FCP struct {
	ID         uint16 // 0 of an ADF that has none
	AID        AID    // of an ADF
	EF         bool
	Size       int // octets of an EF
	RecordSize int // of a linear fixed EF
	Records    int
	pins       []pinStatus
}

type pinStatus struct {
	reference byte
	asks      bool
}

// Asks reports whether a PIN is to be verified: one that the file names, and
// that is not disabled.
func (f *FCP) Asks(reference byte) bool {
	for _, p := range f.pins {
		if p.reference == reference {
			return p.asks
		}
	}
	return false
}

const (
	descriptorType  = 0x3F // bits 6 to 1
	descriptorDF    = 0x38 // and 39 is an EF of BER-TLVs
	descriptorShape = 0x07
	shapeLinear     = 0x02 // linear fixed
)

// ErrNoFile says that the card has no such file.
var ErrNoFile = errors.New("simcard: the card has no such file")

// ParseFCP reads the answer to a SELECT. Elements that are not listed above are
// passed over.
func ParseFCP(octets []byte) (f FCP, err error) {
	whole := cryptobyte.String(octets)
	template, tag, ok := readTLV(&whole)
	if !ok || tag != 0x62 || !whole.Empty() {
		return f, errors.New("simcard: octet 0 is not of an FCP template of this length")
	}
	for !template.Empty() {
		at := len(octets) - len(template)
		value, tag, ok := readTLV(&template)
		if !ok {
			return f, fmt.Errorf("simcard: the FCP's element at octet %d runs past the end", at)
		}
		if !f.element(tag, value) {
			return f, fmt.Errorf("simcard: the FCP's element %02X at octet %d is not what it should be", tag, at)
		}
	}
	return f, nil
}

func (f *FCP) element(tag uint8, value cryptobyte.String) bool {
	switch tag {
	case 0x82:
		return f.descriptor(value)
	case 0x83:
		return value.ReadUint16(&f.ID) && value.Empty()
	case 0x84:
		f.AID = AID(value)
	case 0x80:
		if f.Size = 0; len(value) < 2 || len(value) > 3 {
			return false
		}
		for _, octet := range value {
			f.Size = f.Size<<8 | int(octet)
		}
	case 0xC6:
		return f.pinStatus(value)
	}
	return true
}

func (f *FCP) descriptor(value cryptobyte.String) bool {
	var descriptor, coding, records uint8
	var size uint16
	if !value.ReadUint8(&descriptor) || !value.ReadUint8(&coding) {
		return false
	}
	f.EF = descriptor&descriptorType != descriptorDF
	if !f.EF || descriptor&descriptorShape != shapeLinear {
		return true
	}
	if !value.ReadUint16(&size) || !value.ReadUint8(&records) || !value.Empty() {
		return false
	}
	f.RecordSize, f.Records = int(size), int(records)
	return true
}

// pinStatus reads the PIN status template (TS 102 221 §9.5.2): a bit for each of
// the key references that follow, the highest first.
func (f *FCP) pinStatus(value cryptobyte.String) bool {
	var enabled cryptobyte.String
	for n := 0; !value.Empty(); {
		content, tag, ok := readTLV(&value)
		switch {
		case !ok:
			return false
		case tag == 0x90:
			enabled = content
		case tag == 0x83:
			if len(content) != 1 || n/8 >= len(enabled) {
				return false
			}
			f.pins = append(f.pins, pinStatus{content[0], enabled[n/8]&(0x80>>(n%8)) != 0})
			n++
		}
	}
	return true
}

// readTLV reads one BER-TLV with a tag of one octet and a length of up to three.
func readTLV(s *cryptobyte.String) (value cryptobyte.String, tag uint8, ok bool) {
	var first, short uint8
	var long uint16
	if !s.ReadUint8(&tag) || !s.ReadUint8(&first) {
		return nil, tag, false
	}
	n := int(first)
	switch {
	case first == 0x81:
		ok = s.ReadUint8(&short)
		n = int(short)
	case first == 0x82:
		ok = s.ReadUint16(&long)
		n = int(long)
	default:
		ok = first < 0x80
	}
	return value, tag, ok && s.ReadBytes((*[]byte)(&value), n)
}
