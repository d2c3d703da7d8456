package smpp

import "fmt"

// Body is what follows the header of a PDU; there is a type for each kind.
type Body interface {
	// Append appends the body to b. An error is a *FieldError, and b is then of
	// no use.
	Append(b []byte) ([]byte, error)
	fields(f *fields)
}

func appendBody(b []byte, body Body) ([]byte, error) {
	f := fields{writing: true, b: b, at: len(b)}
	body.fields(&f)
	return f.b, f.err
}

// Parse reads the body of a command. What it returns aliases raw where it is
// octets; strings are copies. An error is a *FieldError.
//
// A response to a request that was refused may have no body (SMPP 3.4 §4.4.2),
// and in practice others have none either: that is an Empty.
func Parse(c Command, raw []byte) (Body, error) { return parse(c, raw, nil) }

// Explain reads the body of a PDU into its fields. If it does not parse, those
// before the field that is wrong are returned too.
func Explain(p PDU) (all []Field, err error) {
	_, err = parse(p.Command, p.Body, func(f Field) { all = append(all, f) })
	return all, err
}

func parse(c Command, raw []byte, trace func(Field)) (Body, error) {
	body := bodyOf(c)
	if body == nil {
		return nil, fmt.Errorf("smpp: %s is not a command of SMPP 3.4", c)
	}
	if len(raw) == 0 && c&response != 0 {
		body = new(Empty)
	}
	f := fields{b: raw, trace: trace}
	body.fields(&f)
	if f.err != nil {
		return nil, f.err
	}
	return body, nil
}

// bodyOf makes an empty body of the type that a command has.
func bodyOf(c Command) Body {
	switch c {
	case BindReceiver, BindTransmitter, BindTransceiver:
		return new(BindRequest)
	case BindReceiverResp, BindTransmitterResp, BindTransceiverResp:
		return new(BindResponse)
	case Outbind:
		return new(OutbindRequest)
	case SubmitSM, DeliverSM:
		return new(ShortMessage)
	case SubmitSMResp, DeliverSMResp, DataSMResp:
		return new(MessageResponse)
	case DataSM:
		return new(Data)
	case SubmitMulti:
		return new(Multi)
	case SubmitMultiResp:
		return new(MultiResponse)
	case QuerySM:
		return new(Query)
	case QuerySMResp:
		return new(QueryResponse)
	case CancelSM:
		return new(Cancel)
	case ReplaceSM:
		return new(Replace)
	case AlertNotification:
		return new(Alert)
	case Unbind, UnbindResp, EnquireLink, EnquireLinkResp, GenericNack, CancelSMResp, ReplaceSMResp:
		return new(Empty)
	}
	return nil
}

// Empty is the body of unbind, enquire_link, generic_nack, and of responses
// that have none.
type Empty struct {
	TLVs TLVs
}

func (e *Empty) fields(f *fields) { f.tlvs(&e.TLVs) }

// Append implements Body.
func (e *Empty) Append(b []byte) ([]byte, error) { return appendBody(b, e) }
