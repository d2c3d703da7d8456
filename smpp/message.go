package smpp

import (
	"bytes"
	"fmt"
	"time"
)

// Address is a source or destination: type of number, numbering plan, and up
// to 20 characters.
type Address struct {
	TON, NPI byte
	Addr     string
}

// International returns the address of an E.164 number, given without plus.
func International(digits string) Address { return Address{TON: 1, NPI: 1, Addr: digits} }

// Bits of esm_class (SMPP 3.4 §5.2.12). They are bits: Kannel, for one, sends
// UDHI together with a messaging mode.
const (
	ESMClassUDHI    = 0x40
	esmClassType    = 0x3C // of a deliver_sm: what kind of message it is
	esmClassReceipt = 0x04
)

// ReceiptOnFinal asks for a receipt when the message is delivered or has
// failed (registered_delivery, SMPP 3.4 §5.2.17).
const ReceiptOnFinal = 0x01

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

// Append appends the body to b.
func (m *ShortMessage) Append(b []byte) []byte {
	b = appendCString(b, m.ServiceType)
	b = appendCString(append(b, m.Source.TON, m.Source.NPI), m.Source.Addr)
	b = appendCString(append(b, m.Dest.TON, m.Dest.NPI), m.Dest.Addr)
	b = append(b, m.ESMClass, m.ProtocolID, m.Priority)
	b = appendCString(b, m.ScheduleTime)
	b = appendCString(b, m.Validity)
	b = append(b, m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID, byte(len(m.Message)))
	b = append(b, m.Message...)
	return append(b, m.TLVs...)
}

// ParseShortMessage reads the body of a submit_sm or deliver_sm. Message and
// TLVs alias body.
func ParseShortMessage(body []byte) (m ShortMessage, err error) {
	c := newCursor(body)
	m.ServiceType = c.cstring("service_type", 6)
	m.Source = Address{c.octet("source_addr_ton"), c.octet("source_addr_npi"), c.cstring("source_addr", 21)}
	m.Dest = Address{c.octet("dest_addr_ton"), c.octet("dest_addr_npi"), c.cstring("destination_addr", 21)}
	m.ESMClass, m.ProtocolID, m.Priority = c.octet("esm_class"), c.octet("protocol_id"), c.octet("priority_flag")
	m.ScheduleTime = c.cstring("schedule_delivery_time", 17)
	m.Validity = c.cstring("validity_period", 17)
	m.RegisteredDelivery, m.Replace = c.octet("registered_delivery"), c.octet("replace_if_present_flag")
	m.DataCoding, m.DefaultMsgID = c.octet("data_coding"), c.octet("sm_default_msg_id")
	m.Message = c.octets("short_message", int(c.octet("sm_length")))
	m.TLVs = c.tlvs()
	if c.err == nil && m.ESMClass&ESMClassUDHI != 0 {
		if content := m.Content(); len(content) == 0 || int(content[0])+1 > len(content) {
			return m, &FieldError{"short_message", len(body) - len(m.TLVs) - len(m.Message), "its UDHL runs past the message"}
		}
	}
	return m, c.err
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

// RelativeTime writes a duration as validity_period wants it, "relative to the
// SMSC's time" (SMPP 3.4 §7.1.1.2): YYMMDDhhmmss000R.
func RelativeTime(d time.Duration) string {
	s := int64(max(d, time.Second) / time.Second)
	return fmt.Sprintf("%02d%02d%02d%02d%02d%02d000R", 0, 0, s/86400%100, s/3600%24, s/60%60, s%60)
}

// BindRequest is the body of the three binds (SMPP 3.4 §4.1.1).
type BindRequest struct {
	SystemID, Password, SystemType string
	InterfaceVersion               byte
	TON, NPI                       byte
	AddressRange                   string
}

// interfaceVersion is 3.4.
const interfaceVersion = 0x34

// Append appends the body to b.
func (r *BindRequest) Append(b []byte) []byte {
	b = appendCString(b, r.SystemID)
	b = appendCString(b, r.Password)
	b = appendCString(b, r.SystemType)
	return appendCString(append(b, r.InterfaceVersion, r.TON, r.NPI), r.AddressRange)
}

// ParseBindRequest reads the body of a bind.
func ParseBindRequest(body []byte) (r BindRequest, err error) {
	c := newCursor(body)
	r.SystemID = c.cstring("system_id", 16)
	r.Password = c.cstring("password", 9)
	r.SystemType = c.cstring("system_type", 13)
	r.InterfaceVersion, r.TON, r.NPI = c.octet("interface_version"), c.octet("addr_ton"), c.octet("addr_npi")
	r.AddressRange = c.cstring("address_range", 41)
	return r, c.err
}

// messageID reads the body of a submit_sm_resp that accepts the message: what
// stands before its NUL. It was accepted also if the id is missing, or too long.
func messageID(body []byte) string {
	id, _, _ := bytes.Cut(body, []byte{0})
	return string(id)
}
