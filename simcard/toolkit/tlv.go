// Package toolkit reads and writes what handset and card say to each other of
// the Card Application Toolkit (ETSI TS 102 223, 3GPP TS 31.111): proactive
// commands that the card wants carried out, terminal responses that tell how
// it went, and the envelopes that bring the card a short message or a choice
// from its menu.
//
//	proactive command   D0 L  81 03 number type qualifier  82 02 source dest  …
//	terminal response         81 03 number type qualifier  82 02 source dest  83 L result …
//	SMS-PP download     D1 L  82 02 83 81  86 L centre  8B L TPDU
//	menu selection      D3 L  82 02 01 81  90 01 item
//
// A tag's bit 8 says that the element must be understood; elements are taken
// with and without it (TS 101 220 §7.1.1).
package toolkit

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Tags, with bit 8 where imza writes it (TS 101 220 §7.2).
const (
	tagProactive      = 0xD0
	tagSMSPPDownload  = 0xD1
	tagMenuSelection  = 0xD3
	tagCommandDetails = 0x81
	tagDevices        = 0x82
	tagResult         = 0x83
	tagAlpha          = 0x85
	tagSMSTPDU        = 0x8B
	tagText           = 0x8D
	tagItem           = 0x8F
	tagItemID         = 0x90
	tagResponseLength = 0x91
)

const tagBase = 0x7F // without the comprehension bit

// Devices (TS 102 223 §8.7).
const (
	deviceKeypad   = 0x01
	deviceDisplay  = 0x02
	deviceUICC     = 0x81
	deviceTerminal = 0x82
	deviceNetwork  = 0x83
)

// element is one COMPREHENSION-TLV.
type element struct {
	tag    byte // without the comprehension bit
	offset int
	value  cryptobyte.String
}

// room is where most have place for their elements, on the caller's stack: a
// card reads one such list for every command.
type room [5]element

// elements splits a sequence of COMPREHENSION-TLVs, which are appended to list.
func elements(list []element, octets []byte) ([]element, error) {
	s := cryptobyte.String(octets)
	for !s.Empty() {
		e := element{offset: len(octets) - len(s)}
		var tag uint8
		s.ReadUint8(&tag)
		if tag == 0 || tag == 0xFF || tag&tagBase == tagBase {
			return nil, fmt.Errorf("toolkit: tag %02x at octet %d", tag, e.offset)
		}
		e.tag = tag & tagBase
		if !readValue(&s, &e.value) {
			return nil, fmt.Errorf("toolkit: element %02x at octet %d runs past the end", tag, e.offset)
		}
		list = append(list, e)
	}
	return list, nil
}

// readValue reads a BER length (one octet, 81 xx or 82 xx xx; TS 101 220 §7.1.2)
// and the value.
func readValue(s *cryptobyte.String, value *cryptobyte.String) bool {
	var first uint8
	if !s.ReadUint8(&first) {
		return false
	}
	n := int(first)
	switch {
	case first == 0x81:
		var length uint8
		if !s.ReadUint8(&length) {
			return false
		}
		n = int(length)
	case first == 0x82:
		var length uint16
		if !s.ReadUint16(&length) {
			return false
		}
		n = int(length)
	case first >= 0x80:
		return false
	}
	return s.ReadBytes((*[]byte)(value), n)
}

// outer opens the one BER-TLV that octets are, and reads what is in it.
func outer(list []element, octets []byte, tag byte) ([]element, error) {
	s := cryptobyte.String(octets)
	var got uint8
	var value cryptobyte.String
	if !s.ReadUint8(&got) || got != tag {
		return nil, fmt.Errorf("toolkit: tag at octet 0 is not %02x", tag)
	}
	if !readValue(&s, &value) || !s.Empty() {
		return nil, errors.New("toolkit: the length at octet 1 does not match the octets that follow")
	}
	return elements(list, value)
}

// lookUp is the first element with a tag, if there is one.
func lookUp(list []element, tag byte) (cryptobyte.String, bool) {
	for i := range list {
		if list[i].tag == tag&tagBase {
			return list[i].value, true
		}
	}
	return nil, false
}

// find is the first element with a tag.
func find(list []element, tag byte) (cryptobyte.String, error) {
	value, ok := lookUp(list, tag)
	if !ok {
		return nil, fmt.Errorf("toolkit: no element %02x", tag)
	}
	return value, nil
}

// appendTLV appends tag, shortest length and value.
func appendTLV(b []byte, tag byte, value ...byte) []byte {
	return append(appendHeader(b, tag, len(value)), value...)
}

// appendCoded is appendTLV of a value that begins with an octet of its own: the
// coding of a text, the identifier of an item.
func appendCoded(b []byte, tag, first byte, rest []byte) []byte {
	return append(append(appendHeader(b, tag, 1+len(rest)), first), rest...)
}

// appendHeader appends tag and shortest length of a value of n octets.
func appendHeader(b []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(b, tag, byte(n))
	case n < 0x100:
		return append(b, tag, 0x81, byte(n))
	}
	return append(b, tag, 0x82, byte(n>>8), byte(n))
}
