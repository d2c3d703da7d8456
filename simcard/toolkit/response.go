package toolkit

import "errors"

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
	var room room
	list, err := elements(room[:0], octets)
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
	if value, ok := lookUp(list, tagItemID); ok {
		if !value.ReadUint8(&r.Item) || !value.Empty() {
			return r, errors.New("toolkit: the item identifier is not one octet")
		}
	}
	if _, ok := lookUp(list, tagText); ok {
		t, err := text(list)
		if err != nil {
			return r, err
		}
		r.Text = &t
	}
	return r, nil
}

// SMSDownload appends the data of an ENVELOPE (SMS-PP DOWNLOAD) with an
// SMS-DELIVER TPDU (TS 31.111 §7.1.1): D1, device identities, TPDU. The
// address of the service centre is optional and left out.
func SMSDownload(b, tpdu []byte) []byte {
	var scratch [256]byte
	body := appendTLV(scratch[:0], tagDevices, deviceNetwork, deviceUICC)
	body = appendTLV(body, tagSMSTPDU, tpdu...)
	return appendTLV(b, tagSMSPPDownload, body...)
}

// Envelope is what an ENVELOPE brings the card.
type Envelope struct {
	TPDU []byte // of an SMS-PP download; nil in a menu selection
	Item byte   // of a menu selection
}

// ParseEnvelope reads the data of an ENVELOPE. TPDU aliases octets.
func ParseEnvelope(octets []byte) (e Envelope, err error) {
	var room room
	switch {
	case len(octets) > 0 && octets[0] == tagSMSPPDownload:
		list, err := outer(room[:0], octets, tagSMSPPDownload)
		if err != nil {
			return e, err
		}
		if !between(list, deviceNetwork, deviceUICC) {
			return e, errors.New("toolkit: an SMS-PP download goes from the network to the UICC")
		}
		e.TPDU, err = find(list, tagSMSTPDU)
		return e, err
	case len(octets) > 0 && octets[0] == tagMenuSelection:
		list, err := outer(room[:0], octets, tagMenuSelection)
		if err != nil {
			return e, err
		}
		if !between(list, deviceKeypad, deviceUICC) {
			return e, errors.New("toolkit: a menu selection goes from the keypad to the UICC")
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
	return e, errors.New("toolkit: an envelope that is neither SMS-PP download nor menu selection")
}

// between reports whether the device identities are these two.
func between(list []element, from, to byte) bool {
	devices, _ := lookUp(list, tagDevices)
	return len(devices) == 2 && devices[0] == from && devices[1] == to
}

// MenuSelection appends the data of an ENVELOPE (MENU SELECTION) (TS 102 223
// §7.2): D3, device identities, item identifier.
func MenuSelection(b []byte, item byte) []byte {
	var scratch [16]byte
	body := appendTLV(scratch[:0], tagDevices, deviceKeypad, deviceUICC)
	body = appendTLV(body, tagItemID, item)
	return appendTLV(b, tagMenuSelection, body...)
}
