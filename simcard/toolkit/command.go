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
	SelectItem       Type = 0x24
	SetUpMenu        Type = 0x25
)

// Qualifier bits (TS 102 223 §8.6).
const (
	DisplayHighPriority = 0x01
	DisplayUserClears   = 0x80 // wait for the user, not for a delay
	InputHidden         = 0x04
	InputAnything       = 0x01 // clear: digits, *, # and + only
)

// Text is a text string element: its coding octet (00 packed 7-bit, 04 8-bit,
// 08 UCS-2) and the coded characters (TS 102 223 §8.15).
type Text struct {
	Coding byte
	Octets []byte
}

// Item is a line of a menu (TS 102 223 §8.9). Its text is an alpha field
// (TS 102 221 annex A). Identifiers begin at 1.
type Item struct {
	ID   byte
	Text []byte
}

// Command is one proactive command. Which fields count depends on the type:
//
//	DISPLAY TEXT        Text
//	GET INPUT           Text, MinInput, MaxInput
//	SELECT ITEM         Alpha (the title), Items
//	SET UP MENU         Alpha (the title), Items
//	SEND SHORT MESSAGE  Alpha (shown meanwhile), TPDU (an SMS-SUBMIT)
//
// Alpha is an alpha field (TS 102 221 annex A), nil if there is none: what
// that means, "say something of your own", is another thing than an empty one,
// "say nothing" (TS 102 223 §6.4.10).
type Command struct {
	Number    byte
	Type      Type
	Qualifier byte

	Text               Text
	MinInput, MaxInput byte
	Alpha              []byte
	Items              []Item
	TPDU               []byte
}

// Append appends the command as FETCH returns it: BER-TLV D0.
func (c *Command) Append(b []byte) ([]byte, error) {
	var scratch [256]byte
	body := appendTLV(scratch[:0], tagCommandDetails, c.Number, byte(c.Type), c.Qualifier)
	switch c.Type {
	case DisplayText:
		body = appendTLV(body, tagDevices, deviceUICC, deviceDisplay)
		body = appendCoded(body, tagText, c.Text.Coding, c.Text.Octets)
	case GetInput:
		body = appendTLV(body, tagDevices, deviceUICC, deviceTerminal)
		body = appendCoded(body, tagText, c.Text.Coding, c.Text.Octets)
		body = appendTLV(body, tagResponseLength, c.MinInput, c.MaxInput)
	case SelectItem, SetUpMenu:
		body = appendTLV(body, tagDevices, deviceUICC, deviceTerminal)
		if c.Alpha != nil || c.Type == SetUpMenu { // it is optional in SELECT ITEM only
			body = appendTLV(body, tagAlpha, c.Alpha...)
		}
		switch {
		case len(c.Items) > 0:
		case c.Type == SelectItem:
			return nil, errors.New("toolkit: nothing to select from")
		default: // an empty item takes the menu away
			body = appendTLV(body, tagItem)
		}
		for _, item := range c.Items {
			body = appendCoded(body, tagItem, item.ID, item.Text)
		}
	case SendShortMessage:
		body = appendTLV(body, tagDevices, deviceUICC, deviceNetwork)
		if c.Alpha != nil {
			body = appendTLV(body, tagAlpha, c.Alpha...)
		}
		body = appendTLV(body, tagSMSTPDU, c.TPDU...)
	default:
		return nil, fmt.Errorf("toolkit: command type %02x is not written", byte(c.Type))
	}
	whole := append(appendHeader(b, tagProactive, len(body)), body...)
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
	var room room
	list, err := outer(room[:0], octets, tagProactive)
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
	case SelectItem, SetUpMenu:
		if c.Alpha, err = find(list, tagAlpha); err != nil && c.Type == SetUpMenu {
			return c, err
		}
		c.Items, err = items(list, c.Type)
	case SendShortMessage:
		c.Alpha, _ = lookUp(list, tagAlpha)
		c.TPDU, err = find(list, tagSMSTPDU)
	}
	return c, err
}

// items reads the lines of a menu. One item without identifier and text in
// place of all takes a menu away (TS 102 223 §6.6.7).
func items(list []element, kind Type) (all []Item, err error) {
	empty := 0
	for _, e := range list {
		if e.tag != tagItem&tagBase {
			continue
		}
		var item Item
		value := e.value
		if value.Empty() {
			empty++
			continue
		}
		if !value.ReadUint8(&item.ID) || item.ID == 0 {
			return nil, fmt.Errorf("toolkit: the item at octet %d has identifier 0", e.offset)
		}
		item.Text = value
		all = append(all, item)
	}
	takesAway := kind == SetUpMenu && empty == 1 && len(all) == 0
	if !takesAway && (empty > 0 || len(all) == 0) {
		return nil, errors.New("toolkit: no items, or an empty one")
	}
	return all, nil
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
