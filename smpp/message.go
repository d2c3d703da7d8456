package smpp

import (
	"bytes"
	"fmt"
	"time"
)

// Address is a source or destination: type of number, numbering plan, and the
// number, at most 20 characters (in data_sm and alert_notification, 64).
type Address struct {
	TON, NPI byte
	Addr     string
}

// International returns the address of an E.164 number, given without plus.
func International(digits string) Address { return Address{TON: 1, NPI: 1, Addr: digits} }

// Lengths that several bodies have in common, the NUL included.
const (
	maxMessageID   = 65
	maxLongAddress = 65
)

// Bits of esm_class (SMPP 3.4 §5.2.12). They are bits: Kannel, for one, sends
// UDHI together with a messaging mode.
const (
	ESMClassUDHI    = 0x40
	esmClassType    = 0x3C // of a deliver_sm: what kind of message it is
	esmClassReceipt = 0x04
)

// Values of registered_delivery's two lowest bits: when a receipt is wanted
// (SMPP 3.4 §5.2.17).
const (
	ReceiptOnFinal   = 0x01 // when the message is delivered or has failed
	ReceiptOnFailure = 0x02
)

// ShortMessage is the body of submit_sm and deliver_sm, which are alike
// (SMPP 3.4 §4.4.1, §4.6.1).
type ShortMessage struct {
	ServiceType        string
	Source, Dest       Address
	ESMClass           byte
	ProtocolID         byte
	Priority           byte
	ScheduleTime       string
	Validity           string // see RelativeTime
	RegisteredDelivery byte
	Replace            byte
	DataCoding         byte
	DefaultMsgID       byte
	Message            []byte // at most 254 octets; with UDHI, its header first
	TLVs               TLVs
}

func (m *ShortMessage) fields(f *fields) {
	f.cstring("service_type", &m.ServiceType, 6)
	f.octet("source_addr_ton", &m.Source.TON)
	f.octet("source_addr_npi", &m.Source.NPI)
	f.cstring("source_addr", &m.Source.Addr, 21)
	f.octet("dest_addr_ton", &m.Dest.TON)
	f.octet("dest_addr_npi", &m.Dest.NPI)
	f.cstring("destination_addr", &m.Dest.Addr, 21)
	f.octet("esm_class", &m.ESMClass)
	f.octet("protocol_id", &m.ProtocolID)
	f.octet("priority_flag", &m.Priority)
	f.cstring("schedule_delivery_time", &m.ScheduleTime, 17)
	f.cstring("validity_period", &m.Validity, 17)
	f.octet("registered_delivery", &m.RegisteredDelivery)
	f.octet("replace_if_present_flag", &m.Replace)
	f.octet("data_coding", &m.DataCoding)
	f.octet("sm_default_msg_id", &m.DefaultMsgID)
	f.shortMessage(&m.Message)
	f.tlvs(&m.TLVs)
	f.header(m.ESMClass, m.Content())
}

// Append implements Body.
func (m *ShortMessage) Append(b []byte) ([]byte, error) {
	if m.fits() {
		return m.write(b), nil
	}
	return appendBody(b, m)
}

// check tells whether a message can be written.
func (m *ShortMessage) check() error {
	if m.fits() {
		return nil
	}
	_, err := m.Append(nil)
	return err
}

// ParseShortMessage reads the body of a submit_sm or deliver_sm, as Parse does.
func ParseShortMessage(body []byte) (m ShortMessage, err error) {
	if m.read(body) {
		return m, nil
	}
	f := fields{b: body}
	m.fields(&f)
	return m, f.err
}

// Content is what the message carries: short_message, or message_payload in
// its place (SMPP 3.4 §5.3.2.32).
func (m *ShortMessage) Content() []byte {
	if len(m.Message) == 0 {
		if payload, ok := m.TLVs.Get(TagMessagePayload); ok {
			return payload
		}
	}
	return m.Message
}

// Data is the body of data_sm, either way (SMPP 3.4 §4.7.1). What it carries is
// in message_payload.
type Data struct {
	ServiceType        string
	Source, Dest       Address
	ESMClass           byte
	RegisteredDelivery byte
	DataCoding         byte
	TLVs               TLVs
}

func (d *Data) fields(f *fields) {
	f.cstring("service_type", &d.ServiceType, 6)
	f.address("source", "source_addr", &d.Source, maxLongAddress)
	f.address("dest", "destination_addr", &d.Dest, maxLongAddress)
	f.octet("esm_class", &d.ESMClass)
	f.octet("registered_delivery", &d.RegisteredDelivery)
	f.octet("data_coding", &d.DataCoding)
	f.tlvs(&d.TLVs)
	f.header(d.ESMClass, d.content())
}

func (d *Data) content() []byte {
	payload, _ := d.TLVs.Get(TagMessagePayload)
	return payload
}

// Append implements Body.
func (d *Data) Append(b []byte) ([]byte, error) { return appendBody(b, d) }

// ShortMessage is the same as a submit_sm or deliver_sm says it.
func (d *Data) ShortMessage() *ShortMessage {
	return &ShortMessage{
		ServiceType: d.ServiceType, Source: d.Source, Dest: d.Dest, ESMClass: d.ESMClass,
		RegisteredDelivery: d.RegisteredDelivery, DataCoding: d.DataCoding, TLVs: d.TLVs,
	}
}

// MessageResponse is the body of submit_sm_resp, data_sm_resp and
// deliver_sm_resp; in the last the id is unused, and empty.
type MessageResponse struct {
	MessageID string // at most 64 characters
	TLVs      TLVs
}

func (r *MessageResponse) fields(f *fields) {
	f.cstring("message_id", &r.MessageID, maxMessageID)
	f.tlvs(&r.TLVs)
}

// Append implements Body.
func (r *MessageResponse) Append(b []byte) ([]byte, error) { return appendBody(b, r) }

// messageID reads the id from a submit_sm_resp that accepts the message: what
// stands before its NUL. It was accepted also if the id is missing, or too long.
func messageID(body []byte) string {
	id, _, _ := bytes.Cut(body, []byte{0})
	return string(id)
}

// RelativeTime writes a duration as validity_period wants it, "relative to the
// SMSC's time" (SMPP 3.4 §7.1.1.2): YYMMDDhhmmss000R. It is at least a second
// and less than 32 days, since nobody knows how long a month is to an SMSC.
func RelativeTime(d time.Duration) string {
	const longest = 32*24*time.Hour - time.Second
	s := int64(min(max(d, time.Second), longest) / time.Second)
	return fmt.Sprintf("0000%02d%02d%02d%02d000R", s/86400, s/3600%24, s/60%60, s%60)
}

// ParseRelativeTime reads what RelativeTime writes, with its own limits: a time
// with months or years, or an absolute one, is not read.
func ParseRelativeTime(s string) (d time.Duration, ok bool) {
	if len(s) != 16 || s[:4] != "0000" || s[12:] != "000R" {
		return 0, false
	}
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		tens, ones := s[4+2*i]-'0', s[5+2*i]-'0'
		if tens > 9 || ones > 9 {
			return 0, false
		}
		d += time.Duration(10*tens+ones) * unit
	}
	return d, true
}
