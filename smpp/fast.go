package smpp

import "strings"

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
	// All strings are cut from one copy. What does not fit there is not in order.
	text := string(body[:min(len(body), maxHead)])
	at := 0
	if m.ServiceType, at = cutText(text, at, 6); at+2 > len(text) {
		return false
	}
	m.Source.TON, m.Source.NPI = text[at], text[at+1]
	if m.Source.Addr, at = cutText(text, at+2, 21); at+2 > len(text) {
		return false
	}
	m.Dest.TON, m.Dest.NPI = text[at], text[at+1]
	if m.Dest.Addr, at = cutText(text, at+2, 21); at+3 > len(text) {
		return false
	}
	m.ESMClass, m.ProtocolID, m.Priority = text[at], text[at+1], text[at+2]
	m.ScheduleTime, at = cutText(text, at+3, 17)
	if m.Validity, at = cutText(text, at, 17); at+5 > len(text) {
		return false
	}
	m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID = text[at], text[at+1], text[at+2], text[at+3]
	return m.readRest(body[at+5:], int(text[at+4]))
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

// cutText cuts a C-octet string of at most size octets, and returns where the
// next field begins: behind all there is, if the string is not in order.
func cutText(text string, at, size int) (s string, next int) {
	switch {
	case at >= len(text):
		return "", maxHead + 1
	case text[at] == 0: // most are empty
		return "", at + 1
	}
	n := strings.IndexByte(text[at:], 0)
	if n < 0 || n >= size {
		return "", maxHead + 1
	}
	return text[at : at+n], at + n + 1
}
