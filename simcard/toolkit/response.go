package toolkit

import (
	"errors"
	"fmt"
)

// Result is the general result of a proactive command (TS 102 223 §8.12).
type Result byte

// Results that imza's handsets and cards use.
const (
	Done               Result = 0x00
	SessionEnded       Result = 0x10 // by the user
	Backward           Result = 0x11
	NoUserResponse     Result = 0x12
	TerminalBusy       Result = 0x20
	NetworkBusy        Result = 0x21
	UserRefused        Result = 0x22
	BeyondCapabilities Result = 0x30
	NotUnderstood      Result = 0x32
	SMSError           Result = 0x35
)

// OK reports whether the command was performed: 00 to 0F, some with remarks.
func (r Result) OK() bool { return r < 0x10 }

// Response is a TERMINAL RESPONSE: the details of the command it answers, the
// result, and for GET INPUT what was typed, for SELECT ITEM what was chosen.
type Response struct {
	Number    byte
	Type      Type
	Qualifier byte
	Result    Result
	Info      []byte // additional information on the result
	Text      *Text  // of GET INPUT
	Item      byte   // of SELECT ITEM; 0: none
}

// Respond begins a response to a command.
func (c *Command) Respond(result Result) Response {
	return Response{Number: c.Number, Type: c.Type, Qualifier: c.Qualifier, Result: result}
}

// Append appends the data of a TERMINAL RESPONSE.
func (r *Response) Append(b []byte) []byte {
	b = appendTLV(b, tagCommandDetails, r.Number, byte(r.Type), r.Qualifier)
	// Device identities come without the comprehension bit in a response
	// (TS 102 223 §6.8.2); many terminals set it, as the vectors do, and so
	// does this one.
	b = appendTLV(b, tagDevices, deviceTerminal, deviceUICC)
	b = appendCoded(b, tagResult, byte(r.Result), r.Info)
	if r.Text != nil {
		b = appendCoded(b, tagText, r.Text.Coding, r.Text.Octets)
	}
	if r.Item != 0 {
		b = appendTLV(b, tagItemID, r.Item)
	}
	return b
}

// ParseResponse reads the data of a TERMINAL RESPONSE.
func ParseResponse(octets []byte) (r Response, err error) {
	list, err := elements(octets)
	if err != nil {
		return r, err
	}
	var c Command
	if err := c.details(list); err != nil {
		return r, err
	}
	result, err := find(list, tagResult)
	if err != nil {
		return r, err
	}
	var general uint8
	if !result.ReadUint8(&general) {
		return r, errors.New("toolkit: the result is empty")
	}
	r = c.Respond(Result(general))
	r.Info = result
	if value, err := find(list, tagItemID); err == nil {
		if !value.ReadUint8(&r.Item) || !value.Empty() {
			return r, errors.New("toolkit: the item identifier is not one octet")
		}
	}
	if t, err := text(list); err == nil {
		r.Text = &t
	}
	return r, nil
}

// SMSDownload appends the data of an ENVELOPE (SMS-PP DOWNLOAD) with an
// SMS-DELIVER TPDU (TS 31.111 §7.1.1): D1, device identities, TPDU. The
// address of the service centre is optional and left out.
func SMSDownload(b, tpdu []byte) []byte {
	var room [256]byte
	body := appendTLV(room[:0], tagDevices, deviceNetwork, deviceUICC)
	body = appendTLV(body, tagSMSTPDU, tpdu...)
	return appendTLV(b, tagSMSPPDownload, body...)
}

// Envelope is what an ENVELOPE brings the card.
type Envelope struct {
	TPDU []byte // of an SMS-PP download; nil in a menu selection
	Item byte   // of a menu selection
}

// ErrEnvelope says that an ENVELOPE is neither of those that are read here.
var ErrEnvelope = errors.New("toolkit: an envelope that is neither SMS-PP download nor menu selection")

// ParseEnvelope reads the data of an ENVELOPE. TPDU aliases octets.
func ParseEnvelope(octets []byte) (e Envelope, err error) {
	switch {
	case len(octets) > 0 && octets[0] == tagSMSPPDownload:
		list, err := outer(octets, tagSMSPPDownload)
		if err != nil {
			return e, err
		}
		if err := between(list, deviceNetwork, deviceUICC); err != nil {
			return e, fmt.Errorf("%w: an SMS-PP download goes from the network to the UICC", err)
		}
		e.TPDU, err = find(list, tagSMSTPDU)
		return e, err
	case len(octets) > 0 && octets[0] == tagMenuSelection:
		list, err := outer(octets, tagMenuSelection)
		if err != nil {
			return e, err
		}
		if err := between(list, deviceKeypad, deviceUICC); err != nil {
			return e, fmt.Errorf("%w: a menu selection goes from the keypad to the UICC", err)
		}
		value, err := find(list, tagItemID)
		if err != nil {
			return e, err
		}
		if !value.ReadUint8(&e.Item) || !value.Empty() || e.Item == 0 {
			return e, errors.New("toolkit: the item identifier is not one octet other than 0")
		}
		return e, nil
	}
	return e, ErrEnvelope
}

// between checks the device identities.
func between(list []element, from, to byte) error {
	devices, err := find(list, tagDevices)
	if err != nil {
		return err
	}
	var source, destination uint8
	if !devices.ReadUint8(&source) || !devices.ReadUint8(&destination) || !devices.Empty() || source != from || destination != to {
		return errors.New("toolkit: device identities")
	}
	return nil
}

// MenuSelection appends the data of an ENVELOPE (MENU SELECTION) (TS 102 223
// §7.2): D3, device identities, item identifier.
func MenuSelection(b []byte, item byte) []byte {
	var room [16]byte
	body := appendTLV(room[:0], tagDevices, deviceKeypad, deviceUICC)
	body = appendTLV(body, tagItemID, item)
	return appendTLV(b, tagMenuSelection, body...)
}
