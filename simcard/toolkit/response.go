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
// result, and for GET INPUT what was typed.
type Response struct {
	Number    byte
	Type      Type
	Qualifier byte
	Result    Result
	Info      []byte // additional information on the result
	Text      *Text  // of GET INPUT
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
	b = appendTLV(b, tagResult, append([]byte{byte(r.Result)}, r.Info...)...)
	if r.Text != nil {
		b = appendTLV(b, tagText, append([]byte{r.Text.Coding}, r.Text.Octets...)...)
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
	if t, err := text(list); err == nil {
		r.Text = &t
	}
	return r, nil
}

// SMSDownload appends the data of an ENVELOPE (SMS-PP DOWNLOAD) with an
// SMS-DELIVER TPDU (TS 31.111 §7.1.1): D1, device identities, TPDU. The
// address of the service centre is optional and left out.
func SMSDownload(b, tpdu []byte) []byte {
	body := appendTLV(nil, tagDevices, deviceNetwork, deviceUICC)
	body = appendTLV(body, tagSMSTPDU, tpdu...)
	return appendTLV(b, tagSMSPPDownload, body...)
}

// ParseSMSDownload returns the TPDU of an ENVELOPE (SMS-PP DOWNLOAD).
func ParseSMSDownload(octets []byte) (tpdu []byte, err error) {
	list, err := outer(octets, tagSMSPPDownload)
	if err != nil {
		return nil, err
	}
	devices, err := find(list, tagDevices)
	if err != nil {
		return nil, err
	}
	var from, to uint8
	if !devices.ReadUint8(&from) || !devices.ReadUint8(&to) || !devices.Empty() || from != deviceNetwork || to != deviceUICC {
		return nil, errors.New("toolkit: an SMS-PP download goes from the network to the UICC")
	}
	return find(list, tagSMSTPDU)
}
