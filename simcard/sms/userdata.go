// Package sms reads and writes what a short message carries: user data with
// its header, segments, the TPDUs on the radio side, and text (3GPP TS 23.040,
// TS 23.038, TS 31.115).
//
// The user data of an 8-bit message with a header (UDHI set), at most 140 octets:
//
//	UDHL 1  octets of header that follow
//	IEI 1, IEDL 1, data IEDL    again and again
//	payload
//
// A secured packet in one message has the UDH 02 70 00 (to the card) or
// 02 71 00 (from it). In several, the first has 07 00 03 rr tt 01 70 00 and
// the others 05 00 03 rr tt ss.
package sms

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MaxUserData is the octets of user data in one message (TS 23.040 §9.2.3.16).
const MaxUserData = 140

// MaxParts is the most segments a message may have, since their number is one
// octet.
const MaxParts = 255

// Information element identifiers (TS 23.040 §9.2.3.24).
const (
	ieConcat8  = 0x00 // reference 1, total 1, sequence 1
	ieConcat16 = 0x08 // reference 2, total 1, sequence 1
)

// Kind is the information element that says what a message carries: 70 to 7F
// are the (U)SIM Toolkit security headers (TS 23.040 §9.2.3.24, TS 31.115 §4).
type Kind byte

// The kinds that imza uses.
const (
	Plain           Kind = 0x00 // no security header
	CommandPacket   Kind = 0x70 // CPI
	ResponsePacket  Kind = 0x71 // RPI
	lastToolkitKind Kind = 0x7F
)

// Part is one message's user data, taken apart. A message that is not
// segmented is part 1 of 1.
type Part struct {
	Reference uint16
	Total     uint8
	Sequence  uint8 // 1 to Total
	Kind      Kind  // only the first part tells
	Payload   []byte
}

// ParseUserData reads the user data of a message whose UDHI is set. Payload
// aliases ud.
func ParseUserData(ud []byte) (Part, error) {
	if len(ud) > MaxUserData {
		return Part{}, fmt.Errorf("sms: %d octets of user data, at most %d", len(ud), MaxUserData)
	}
	p := Part{Total: 1, Sequence: 1}
	payload, err := eachElement(ud, p.element)
	if err != nil {
		return Part{}, err
	}
	p.Payload = payload
	return p, nil
}

// Element is one information element of a header, not looked into.
type Element struct {
	ID   uint8
	Data []byte
}

// Elements lists the information elements of user data whose UDHI is set, known
// or not, for those who look into captures.
func Elements(ud []byte) (all []Element, payload []byte, err error) {
	payload, err = eachElement(ud, func(id uint8, data cryptobyte.String) error {
		all = append(all, Element{id, data})
		return nil
	})
	return all, payload, err
}

func eachElement(ud []byte, f func(id uint8, data cryptobyte.String) error) (payload []byte, err error) {
	s := cryptobyte.String(ud)
	var header cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&header) {
		return nil, errors.New("sms: UDHL at octet 0 runs past the user data")
	}
	for !header.Empty() {
		offset := len(ud) - len(s) - len(header)
		var id uint8
		var data cryptobyte.String
		if !header.ReadUint8(&id) || !header.ReadUint8LengthPrefixed(&data) {
			return nil, fmt.Errorf("sms: information element at octet %d runs past UDHL", offset)
		}
		if err := f(id, data); err != nil {
			return nil, fmt.Errorf("sms: information element %02x at octet %d: %w", id, offset, err)
		}
	}
	return s, nil
}

// element takes in one information element. One that occurs twice counts the
// last time, unknown ones are passed over (TS 23.040 §9.2.3.24).
func (p *Part) element(id uint8, data cryptobyte.String) error {
	switch {
	case id == ieConcat8:
		var reference uint8
		if !data.ReadUint8(&reference) || !data.ReadUint8(&p.Total) || !data.ReadUint8(&p.Sequence) || !data.Empty() {
			return errors.New("is not three octets")
		}
		p.Reference = uint16(reference)
	case id == ieConcat16:
		if !data.ReadUint16(&p.Reference) || !data.ReadUint8(&p.Total) || !data.ReadUint8(&p.Sequence) || !data.Empty() {
			return errors.New("is not four octets")
		}
	case Kind(id) >= CommandPacket && Kind(id) <= lastToolkitKind:
		if !data.Empty() {
			return errors.New("has data, a security header has none")
		}
		p.Kind = Kind(id)
		return nil
	default:
		return nil
	}
	if p.Sequence == 0 || p.Sequence > p.Total {
		return fmt.Errorf("part %d of %d", p.Sequence, p.Total)
	}
	return nil
}

// Segment cuts a payload into the user data of as many messages as it needs,
// each with its header. The reference tells the messages of one sender apart;
// a single message does not carry it. Kind stands in the first only.
func Segment(kind Kind, payload []byte, reference uint8) ([][]byte, error) {
	if room := MaxUserData - 3; len(payload) <= room {
		ud := append(make([]byte, 0, 3+len(payload)), 2, byte(kind), 0)
		return [][]byte{append(ud, payload...)}, nil
	}
	const firstRoom, room = MaxUserData - 8, MaxUserData - 6
	total := 1 + (len(payload)-firstRoom+room-1)/room
	if total > MaxParts {
		return nil, fmt.Errorf("sms: %d octets need %d messages, at most %d", len(payload), total, MaxParts)
	}
	parts, all := make([][]byte, total), make([]byte, total*MaxUserData)
	for i := range parts {
		ud := all[i*MaxUserData : i*MaxUserData : (i+1)*MaxUserData]
		if i == 0 {
			ud = append(ud, 7, ieConcat8, 3, reference, byte(total), 1, byte(kind), 0)
		} else {
			ud = append(ud, 5, ieConcat8, 3, reference, byte(total), byte(i+1))
		}
		n := min(cap(ud)-len(ud), len(payload))
		parts[i], payload = append(ud, payload[:n]...), payload[n:]
	}
	return parts, nil
}

// Key names the message that a part belongs to among those of one sender.
func (p Part) Key() string {
	var b [3]byte
	binary.BigEndian.PutUint16(b[:], p.Reference)
	b[2] = p.Total
	return fmt.Sprintf("%x", b)
}
