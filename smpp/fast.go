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
		noNUL(m.ServiceType) && noNUL(m.Source.Addr) && noNUL(m.Dest.Addr) && noNUL(m.ScheduleTime) && noNUL(m.Validity)
}

func noNUL(s string) bool { return s == "" || strings.IndexByte(s, 0) < 0 }

func (m *ShortMessage) write(b []byte) []byte {
	b = append(b, m.ServiceType...)
	b = append(b, 0, m.Source.TON, m.Source.NPI)
	b = append(b, m.Source.Addr...)
	b = append(b, 0, m.Dest.TON, m.Dest.NPI)
	b = append(b, m.Dest.Addr...)
	b = append(b, 0, m.ESMClass, m.ProtocolID, m.Priority)
	b = append(append(b, m.ScheduleTime...), 0)
	b = append(append(b, m.Validity...), 0)
	b = append(b, m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID, byte(len(m.Message)))
	b = append(b, m.Message...)
	return append(b, m.TLVs...)
}

// read reads a body that is in order, and reports whether it was.
func (m *ShortMessage) read(body []byte) bool {
	// All strings are cut from one copy. What does not fit there is not in order.
	head := head{text: string(body[:min(len(body), maxHead)])}
	m.ServiceType = head.cstring(6)
	m.Source.TON, m.Source.NPI = head.octet(0), head.octet(1)
	head.at += 2
	m.Source.Addr = head.cstring(21)
	m.Dest.TON, m.Dest.NPI = head.octet(0), head.octet(1)
	head.at += 2
	m.Dest.Addr = head.cstring(21)
	m.ESMClass, m.ProtocolID, m.Priority = head.octet(0), head.octet(1), head.octet(2)
	head.at += 3
	m.ScheduleTime = head.cstring(17)
	m.Validity = head.cstring(17)
	m.RegisteredDelivery, m.Replace, m.DataCoding, m.DefaultMsgID = head.octet(0), head.octet(1), head.octet(2), head.octet(3)
	length := int(head.octet(4))
	head.at += 5
	if head.at > len(head.text) || length > maxShortMessage || head.at+length > len(body) {
		return false
	}
	rest := body[head.at:]
	m.Message = rest[:length:length]
	m.TLVs = nil
	if len(rest) > length {
		m.TLVs = TLVs(rest[length:len(rest):len(rest)])
		if !m.TLVs.whole() {
			return false
		}
	}
	if m.ESMClass&ESMClassUDHI == 0 {
		return true
	}
	content := m.Content()
	return len(content) > 0 && int(content[0]) < len(content)
}

// head is the first octets of a body. After something that is not in order at
// is behind its end, and stays there.
type head struct {
	text string
	at   int
}

func (h *head) octet(i int) byte {
	if h.at+i >= len(h.text) {
		return 0
	}
	return h.text[h.at+i]
}

func (h *head) cstring(size int) string {
	if h.at >= len(h.text) {
		h.at = 2 * maxHead
		return ""
	}
	if h.text[h.at] == 0 {
		h.at++
		return ""
	}
	rest := h.text[h.at:]
	n := strings.IndexByte(rest, 0)
	if n < 0 || n >= size {
		h.at = 2 * maxHead
		return ""
	}
	h.at += n + 1
	return rest[:n]
}
