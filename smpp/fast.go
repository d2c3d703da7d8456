package smpp

import (
	"bytes"
	"strings"
)

// This file reads and writes the messages that are in order, which are nearly
// all, at a third of the cost: by the same list as ShortMessage.fields, which
// takes over where anything is amiss and says what. A fuzz test holds the two
// together.

// fits reports whether all fields can be written as they are.
func (m *ShortMessage) fits() bool {
	return len(m.ServiceType) < 6 && len(m.Source.Addr) < 21 && len(m.Dest.Addr) < 21 &&
		len(m.ScheduleTime) < 17 && len(m.Validity) < 17 && len(m.Message) <= maxShortMessage &&
		(len(m.TLVs) == 0 || m.TLVs.whole()) && noNUL(m.ServiceType) && noNUL(m.Source.Addr) && noNUL(m.Dest.Addr) && noNUL(m.ScheduleTime) && noNUL(m.Validity)
}

func noNUL(s string) bool { return s == "" || strings.IndexByte(s, 0) < 0 }

func (m *ShortMessage) write(b []byte) []byte {
	b = append(appendText(b, m.ServiceType), 0, m.Source.TON, m.Source.NPI)
	b = append(appendText(b, m.Source.Addr), 0, m.Dest.TON, m.Dest.NPI)
	b = append(appendText(b, m.Dest.Addr), 0, m.ESMClass, m.ProtocolID, m.Priority)
	b = append(appendText(b, m.ScheduleTime), 0)
	b = append(appendText(b, m.Validity), 0, m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID, byte(len(m.Message)))
	b = append(b, m.Message...)
	return append(b, m.TLVs...)
}

// appendText appends a string; most are empty.
func appendText(b []byte, s string) []byte {
	if s == "" {
		return b
	}
	return append(b, s...)
}

// read reads a body that is in order, and reports whether it was.
func (m *ShortMessage) read(body []byte) bool {
	var service, source, dest, schedule, validity span
	at := 0
	if service, at = cut(body, at, 6); at+2 > len(body) {
		return false
	}
	m.Source.TON, m.Source.NPI = body[at], body[at+1]
	if source, at = cut(body, at+2, 21); at+2 > len(body) {
		return false
	}
	m.Dest.TON, m.Dest.NPI = body[at], body[at+1]
	if dest, at = cut(body, at+2, 21); at+3 > len(body) {
		return false
	}
	m.ESMClass, m.ProtocolID, m.Priority = body[at], body[at+1], body[at+2]
	schedule, at = cut(body, at+3, 17)
	if validity, at = cut(body, at, 17); at+5 > len(body) {
		return false
	}
	m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID = body[at], body[at+1], body[at+2], body[at+3]
	// All strings are cut from one copy, which goes no further than the last.
	text := string(body[:max(service.to, source.to, dest.to, schedule.to, validity.to)])
	m.ServiceType, m.Source.Addr, m.Dest.Addr = service.of(text), source.of(text), dest.of(text)
	m.ScheduleTime, m.Validity = schedule.of(text), validity.of(text)
	return m.readRest(body[at+5:], int(body[at+4]))
}

// readRest reads what stands behind sm_length.
func (m *ShortMessage) readRest(rest []byte, length int) bool {
	if length > maxShortMessage || length > len(rest) {
		return false
	}
	m.Message, m.TLVs = rest[:length:length], nil
	if len(rest) > length {
		if m.TLVs = TLVs(rest[length:len(rest):len(rest)]); !m.TLVs.whole() {
			return false
		}
	}
	if m.ESMClass&ESMClassUDHI == 0 {
		return true
	}
	content := m.Content()
	return len(content) > 0 && int(content[0]) < len(content)
}

// span is where a string is; one that is empty is nowhere.
type span struct{ from, to int }

func (s span) of(text string) string { return text[s.from:s.to] }

// cut finds a C-octet string of at most size octets, and where the next field
// begins: behind all there could be, if the string is not in order.
func cut(body []byte, at, size int) (s span, next int) {
	const nowhere = 1 << 30
	switch {
	case at >= len(body):
		return span{}, nowhere
	case body[at] == 0: // most are empty
		return span{}, at + 1
	}
	n := bytes.IndexByte(body[at:min(len(body), at+size)], 0)
	if n < 0 {
		return span{}, nowhere
	}
	return span{at, at + n}, at + n + 1
}
