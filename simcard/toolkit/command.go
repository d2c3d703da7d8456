package toolkit

import (
	"errors"
	"fmt"
)

// Type is a proactive command's type (TS 102 223 §9.4).
type Type byte

// The commands that a signing applet needs.
const (
	SendShortMessage Type = 0x13
	DisplayText      Type = 0x21
	GetInput         Type = 0x23
)

// Qualifier bits (TS 102 223 §8.6).
const (
	DisplayHighPriority = 0x01
	DisplayUserClears   = 0x80 // wait for the user, not for a delay
	InputHidden         = 0x04 // bits 1 and 2 clear: digits only, default alphabet
)

// Text is a text string element: its coding octet (00 packed 7-bit, 04 8-bit,
// 08 UCS-2) and the coded characters (TS 102 223 §8.15).
type Text struct {
	Coding byte
	Octets []byte
}

// Command is one proactive command. Which fields count depends on the type:
//
//	DISPLAY TEXT        Text
//	GET INPUT           Text, MinInput, MaxInput
//	SEND SHORT MESSAGE  TPDU (an SMS-SUBMIT)
type Command struct {
	Number    byte
	Type      Type
	Qualifier byte

	Text               Text
	MinInput, MaxInput byte
	TPDU               []byte
}

// Append appends the command as FETCH returns it: BER-TLV D0.
func (c *Command) Append(b []byte) ([]byte, error) {
	body := appendTLV(nil, tagCommandDetails, c.Number, byte(c.Type), c.Qualifier)
	switch c.Type {
	case DisplayText:
		body = appendTLV(body, tagDevices, deviceUICC, deviceDisplay)
		body = appendTLV(body, tagText, append([]byte{c.Text.Coding}, c.Text.Octets...)...)
	case GetInput:
		body = appendTLV(body, tagDevices, deviceUICC, deviceTerminal)
		body = appendTLV(body, tagText, append([]byte{c.Text.Coding}, c.Text.Octets...)...)
		body = appendTLV(body, tagResponseLength, c.MinInput, c.MaxInput)
	case SendShortMessage:
		body = appendTLV(body, tagDevices, deviceUICC, deviceNetwork)
		body = appendTLV(body, tagSMSTPDU, c.TPDU...)
	default:
		return nil, fmt.Errorf("toolkit: command type %02x is not written", byte(c.Type))
	}
	whole := appendTLV(b, tagProactive, body...)
	// FETCH carries at most 256 octets, and a BER-TLV length in it at most 81 xx
	// (TS 102 223 §6.2).
	if len(whole)-len(b) > 256 {
		return nil, fmt.Errorf("toolkit: a proactive command of %d octets, at most 256", len(whole)-len(b))
	}
	return whole, nil
}

// ParseCommand reads a fetched proactive command. Of a type that is not listed
// above only number, type and qualifier are read, so that a terminal can say
// that it is beyond its capabilities.
func ParseCommand(octets []byte) (c Command, err error) {
	list, err := outer(octets, tagProactive)
	if err != nil {
		return c, err
	}
	if err := c.details(list); err != nil {
		return c, err
	}
	switch c.Type {
	case DisplayText:
		c.Text, err = text(list)
	case GetInput:
		if c.Text, err = text(list); err != nil {
			return c, err
		}
		limits, err := find(list, tagResponseLength)
		if err != nil {
			return c, err
		}
		if !limits.ReadUint8(&c.MinInput) || !limits.ReadUint8(&c.MaxInput) || !limits.Empty() || c.MinInput > c.MaxInput {
			return c, errors.New("toolkit: response length is not a minimum and a maximum")
		}
	case SendShortMessage:
		var tpdu []byte
		tpdu, err = find(list, tagSMSTPDU)
		c.TPDU = tpdu
	}
	return c, err
}

func (c *Command) details(list []element) error {
	details, err := find(list, tagCommandDetails)
	if err != nil {
		return err
	}
	var kind uint8
	if !details.ReadUint8(&c.Number) || !details.ReadUint8(&kind) || !details.ReadUint8(&c.Qualifier) || !details.Empty() {
		return errors.New("toolkit: command details are not three octets")
	}
	c.Type = Type(kind)
	return nil
}

func text(list []element) (t Text, err error) {
	value, err := find(list, tagText)
	if err != nil {
		return t, err
	}
	// A text string of no octets is a null text (TS 102 223 §8.15).
	if !value.Empty() {
		value.ReadUint8(&t.Coding)
		t.Octets = value
	}
	return t, nil
}
