package smpp

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// receiptOf is a deliver_sm with a receipt's text.
func receiptOf(text string, tlvs TLVs) *ShortMessage {
	return &ShortMessage{ESMClass: esmClassReceipt, Message: []byte(text), TLVs: tlvs}
}

// Receipts as SMPP 3.4 appendix B has them, and as operators write them.
func TestReceiptText(t *testing.T) {
	const dates = " sub:001 dlvrd:001 submit date:2611221030 done date:2611221031 "
	for _, c := range []struct {
		text string
		want Receipt
	}{
		{"id:0123456789" + dates + "stat:ENROUTE err:000 text:hello", Receipt{MessageID: "0123456789", State: Enroute}},
		{"id:0123456789" + dates + "stat:DELIVRD err:000 text:", Receipt{MessageID: "0123456789", State: Delivered}},
		{"id:0123456789" + dates + "stat:EXPIRED err:005 text:", Receipt{"0123456789", Expired, NetworkError{0, 5}}},
		{"id:0123456789" + dates + "stat:DELETED err:000 text:", Receipt{MessageID: "0123456789", State: Deleted}},
		{"id:0123456789" + dates + "stat:UNDELIV err:001 text:", Receipt{"0123456789", Undeliverable, NetworkError{0, 1}}},
		{"id:0123456789" + dates + "stat:ACCEPTD err:000 text:", Receipt{MessageID: "0123456789", State: Accepted}},
		{"id:0123456789" + dates + "stat:UNKNOWN err:000 text:", Receipt{MessageID: "0123456789", State: Unknown}},
		{"id:0123456789" + dates + "stat:REJECTD err:000 text:", Receipt{MessageID: "0123456789", State: Rejected}},
		// As Kannel writes it.
		{"id:6f1f8d2e sub:001 dlvrd:000 submit date:2611221030 done date:2611221031 stat:UNDELIV err:027 text:", Receipt{"6f1f8d2e", Undeliverable, NetworkError{0, 27}}},
		// Blanks, case, order, separators and abbreviations are the operator's.
		{"stat:delivrd id:1", Receipt{MessageID: "1", State: Delivered}},
		{"id: 1 sub:001 stat: Undeliv", Receipt{MessageID: "1", State: Undeliverable}},
		{"ID:1,sub:001,stat:REJECTED", Receipt{MessageID: "1", State: Rejected}},
		{"id:1;stat:DELIVERED;err:1", Receipt{"1", Delivered, NetworkError{0, 1}}},
		{"id:1\nstat:EXPIR", Receipt{MessageID: "1", State: Expired}},
		{"Id:1\r\nStat:Failed\r\nErr: 12", Receipt{"1", Undeliverable, NetworkError{0, 12}}},
		{"id:1 stat:FAILED err:001", Receipt{"1", Undeliverable, NetworkError{0, 1}}},
		{"id:1 stat:ACCEPTED submit date:2611221030 ", Receipt{MessageID: "1", State: Accepted}},
		{"id:a1-B2:c_3 stat:DELIVRD", Receipt{MessageID: "a1-B2:c_3", State: Delivered}},
		{"\x05\x00\x03\x01\x02\x01id:1 stat:DELIVRD", Receipt{MessageID: "1", State: Delivered}},
		// "stat" is not "state", "id" not the end of another word.
		{"msgid:7 id:1 mystat:EXPIRED stat:DELIVRD", Receipt{MessageID: "1", State: Delivered}},
		// The message's own text stands behind "text:", and is not looked at.
		{"id:1 stat:UNDELIV text:id:2 stat:DELIVRD err:009", Receipt{MessageID: "1", State: Undeliverable}},
		{"id:1 stat:UNDELIV Text: id:2 stat:DELIVRD", Receipt{MessageID: "1", State: Undeliverable}},
		// Codes that are no number of two octets are none.
		{"id:1 stat:UNDELIV err:65535", Receipt{"1", Undeliverable, NetworkError{0, 65535}}},
		{"id:1 stat:UNDELIV err:65536", Receipt{MessageID: "1", State: Undeliverable}},
		{"id:1 stat:UNDELIV err:123456", Receipt{MessageID: "1", State: Undeliverable}},
		{"id:1 stat:UNDELIV err:1b", Receipt{MessageID: "1", State: Undeliverable}},
		{"id:1 stat:UNDELIV err: text:", Receipt{MessageID: "1", State: Undeliverable}},
	} {
		if r, err := ParseReceipt(receiptOf(c.text, nil)); err != nil || r != c.want {
			t.Errorf("%q: %+v %v, want %+v", c.text, r, err, c.want)
		}
		payload := &ShortMessage{ESMClass: esmClassReceipt, TLVs: TLVs(nil).Add(TagMessagePayload, []byte(c.text))}
		if r, err := ParseReceipt(payload); err != nil || r != c.want {
			t.Errorf("%q in message_payload: %+v %v, want %+v", c.text, r, err, c.want)
		}
	}
	for _, bad := range []string{
		"", "id:1", "stat:DELIVRD", "id:", "id:1 stat:", "id:1 stat:NOSUCHS", "id:1 stat:DELI", "id:1 stat:1",
		"text:id:1 stat:DELIVRD", "id:1 text:stat:DELIVRD", "id1 stat:DELIVRD", "\x00\xff\xfe", "hello",
	} {
		if r, err := ParseReceipt(receiptOf(bad, nil)); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
}

// Each half is its TLV's or, where that is missing, the text's.
func TestReceiptPrecedence(t *testing.T) {
	const text = "id:text1 stat:EXPIRED err:005 text:"
	id, state := []byte("tlv1\x00"), []byte{byte(Delivered)}
	for _, c := range []struct {
		what, text string
		tlvs       TLVs
		want       Receipt // none: refused
	}{
		{"text alone", text, nil, Receipt{"text1", Expired, NetworkError{0, 5}}},
		{"id's TLV", text, TLVs(nil).Add(TagReceiptedMessageID, id), Receipt{"tlv1", Expired, NetworkError{0, 5}}},
		{"state's TLV", text, TLVs(nil).Add(TagMessageState, state), Receipt{"text1", Delivered, NetworkError{0, 5}}},
		{"both", text, TLVs(nil).Add(TagMessageState, state).Add(TagReceiptedMessageID, id), Receipt{"tlv1", Delivered, NetworkError{0, 5}}},
		{"TLVs alone", "", TLVs(nil).Add(TagReceiptedMessageID, id).Add(TagMessageState, state), Receipt{MessageID: "tlv1", State: Delivered}},
		{"halves", "stat:UNDELIV", TLVs(nil).Add(TagReceiptedMessageID, id), Receipt{MessageID: "tlv1", State: Undeliverable}},
		{"the other halves", "id:text1", TLVs(nil).Add(TagMessageState, state), Receipt{MessageID: "text1", State: Delivered}},
		{"unknown TLVs", text, TLVs(nil).Add(0x1400, id).Add(0x1401, nil), Receipt{"text1", Expired, NetworkError{0, 5}}},
		{"first of two", "", TLVs(nil).Add(TagReceiptedMessageID, id).Add(TagReceiptedMessageID, []byte("2")).Add(TagMessageState, state).Add(TagMessageState, []byte{5}), Receipt{MessageID: "tlv1", State: Delivered}},
		{"an id without NUL", text, TLVs(nil).Add(TagReceiptedMessageID, []byte("tlv1")), Receipt{"tlv1", Expired, NetworkError{0, 5}}},
		{"an id with two", text, TLVs(nil).Add(TagReceiptedMessageID, []byte("tlv1\x00\x00")), Receipt{"tlv1", Expired, NetworkError{0, 5}}},
		{"an empty id", "stat:EXPIRED", TLVs(nil).Add(TagReceiptedMessageID, []byte{0}), Receipt{}},
		{"a state of no octets", text, TLVs(nil).Add(TagMessageState, nil), Receipt{"text1", Expired, NetworkError{0, 5}}},
		{"a state of two", text, TLVs(nil).Add(TagMessageState, []byte{0, 2}), Receipt{"text1", Expired, NetworkError{0, 5}}},
		{"an operator's own state", text, TLVs(nil).Add(TagMessageState, []byte{42}), Receipt{"text1", Unknown, NetworkError{0, 5}}},
		{"state 0", text, TLVs(nil).Add(TagMessageState, []byte{0}), Receipt{"text1", Unknown, NetworkError{0, 5}}},
		{"no id", "", TLVs(nil).Add(TagMessageState, state), Receipt{}},
		{"no state", "", TLVs(nil).Add(TagReceiptedMessageID, id), Receipt{}},
		{"network's TLV", text, TLVs(nil).Add(TagNetworkErrorCode, []byte{3, 0, 27}), Receipt{"text1", Expired, NetworkError{3, 27}}},
		{"network's TLV, 16 bits", text, TLVs(nil).Add(TagNetworkErrorCode, []byte{8, 0x12, 0x34}), Receipt{"text1", Expired, NetworkError{8, 0x1234}}},
		{"network's TLV, of no error", text, TLVs(nil).Add(TagNetworkErrorCode, []byte{3, 0, 0}), Receipt{"text1", Expired, NetworkError{3, 0}}},
		{"network's TLV, too short", text, TLVs(nil).Add(TagNetworkErrorCode, []byte{3, 27}), Receipt{"text1", Expired, NetworkError{0, 5}}},
		{"network's TLV, too long", text, TLVs(nil).Add(TagNetworkErrorCode, []byte{3, 0, 0, 27}), Receipt{"text1", Expired, NetworkError{0, 5}}},
	} {
		r, err := ParseReceipt(receiptOf(c.text, c.tlvs))
		if r != c.want || (err != nil) != (c.want == Receipt{}) {
			t.Errorf("%s: %+v %v, want %+v", c.what, r, err, c.want)
		}
	}
}

func TestParseState(t *testing.T) {
	for state := Enroute; state <= Rejected; state++ {
		text := state.String()
		if len(text) != 7 {
			t.Errorf("state %d is written %q", state, text)
		}
		for _, text := range []string{text, strings.ToLower(text), text[:5], text + "X"} {
			if got, err := ParseState(text); err != nil || got != state {
				t.Errorf("%q: %s %v, want %s", text, got, err, state)
			}
		}
		if got, err := ParseState(text[:4]); err == nil {
			t.Errorf("%q: %s", text[:4], got)
		}
		if failed := slices.Contains([]State{Expired, Deleted, Undeliverable, Rejected}, state); state.Failed() != failed {
			t.Errorf("%s has failed: %v", state, state.Failed())
		}
	}
	for _, text := range []string{"FAILED", "fail", "Failure"} {
		if got, err := ParseState(text); err != nil || got != Undeliverable {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	if State(42).String() != "state 42" || State(42).Failed() || State(0).Failed() {
		t.Errorf("%s", State(42))
	}
}

func TestAbsent(t *testing.T) {
	for _, c := range []struct {
		r    Receipt
		want bool
	}{
		{Receipt{State: Expired}, true},
		{Receipt{State: Expired, Error: NetworkError{3, 1}}, true},
		{Receipt{State: Undeliverable, Error: AbsentSubscriber}, true},
		{Receipt{State: Undeliverable, Error: NetworkError{3, 27}}, true},
		{Receipt{State: Undeliverable, Error: NetworkError{3, 6}}, true},
		{Receipt{State: Undeliverable, Error: NetworkError{0, 27}}, true}, // from the text
		{Receipt{State: Undeliverable, Error: NetworkError{0, 6}}, false}, // might be anything of the operator's
		{Receipt{State: Undeliverable}, false},
		{Receipt{State: Undeliverable, Error: NetworkError{3, 1}}, false},
		{Receipt{State: Undeliverable, Error: NetworkError{1, 27}}, false}, // not GSM
		{Receipt{State: Undeliverable, Error: NetworkError{3, 0x1B00}}, false},
		{Receipt{State: Rejected, Error: AbsentSubscriber}, false},
		{Receipt{State: Deleted, Error: AbsentSubscriber}, false},
		{Receipt{State: Delivered, Error: AbsentSubscriber}, false},
		{Receipt{State: Enroute, Error: AbsentSubscriber}, false},
		{Receipt{State: Unknown, Error: AbsentSubscriber}, false},
	} {
		if got := c.r.Absent(); got != c.want {
			t.Errorf("%+v: absent is %v", c.r, got)
		}
	}
}

// esm_class is looked at by bits: others may be set beside a receipt's.
func TestIsReceipt(t *testing.T) {
	for class := range 256 {
		m := ShortMessage{ESMClass: byte(class)}
		if want := class>>2&0x0F == 1; m.IsReceipt() != want {
			t.Errorf("esm_class %02x is a receipt: %v", class, m.IsReceipt())
		}
	}
}

func TestWantsReceipt(t *testing.T) {
	for registered := range 256 {
		m := ShortMessage{RegisteredDelivery: byte(registered)}
		for state := Enroute; state <= Rejected; state++ {
			want := registered&3 == ReceiptOnFinal && state != Enroute && state != Accepted || registered&3 == ReceiptOnFailure && state.Failed()
			if got := m.WantsReceipt(state); got != want {
				t.Errorf("registered_delivery %02x, %s: %v", registered, state, got)
			}
		}
	}
}

// What NewReceipt writes is read as it was meant, with the TLVs and without,
// after a way over the wire.
func TestNewReceipt(t *testing.T) {
	submitted := time.Date(2026, 11, 22, 13, 30, 59, 0, time.FixedZone("AZT", 4*3600))
	done := submitted.Add(90 * time.Second)
	m := codecMessage()
	for state := Enroute; state <= Rejected; state++ {
		for _, e := range []NetworkError{{}, {0, 27}, AbsentSubscriber, {3, 65535}} {
			for _, id := range []string{"00a7", "1", strings.Repeat("f", 64)} {
				want := Receipt{id, state, e}
				made := NewReceipt(m, want, submitted, done)
				if !made.IsReceipt() || made.Source != m.Dest || made.Dest != m.Source || made.ESMClass&ESMClassUDHI != 0 {
					t.Errorf("%+v", made)
				}
				body, err := made.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				got, err := ParseShortMessage(body)
				if err != nil || !reflect.DeepEqual(&got, made) {
					t.Fatalf("%+v %v", got, err)
				}
				if r, err := ParseReceipt(&got); err != nil || r != want {
					t.Errorf("with TLVs: %+v %v, want %+v", r, err, want)
				}
				got.TLVs = nil
				want.Error.Network = 0 // the text does not tell
				if r, err := ParseReceipt(&got); err != nil || r != want {
					t.Errorf("from its text: %+v %v, want %+v", r, err, want)
				}
			}
		}
	}
	made := NewReceipt(m, Receipt{"00a7", Undeliverable, AbsentSubscriber}, submitted, done)
	const want = "id:00a7 sub:001 dlvrd:000 submit date:2611220930 done date:2611220932 stat:UNDELIV err:027 text:"
	if string(made.Message) != want {
		t.Errorf("%q, want %q", made.Message, want)
	}
	tlvs := TLVs(nil).Add(TagReceiptedMessageID, []byte("00a7\x00")).Add(TagMessageState, []byte{5}).Add(TagNetworkErrorCode, []byte{3, 0, 27})
	if !bytes.Equal(made.TLVs, tlvs) {
		t.Errorf("%x, want %x", []byte(made.TLVs), []byte(tlvs))
	}
	made = NewReceipt(m, Receipt{MessageID: "1", State: Delivered}, submitted, done)
	if !strings.Contains(string(made.Message), "dlvrd:001") {
		t.Errorf("%q", made.Message)
	}
	if _, ok := made.TLVs.Get(TagNetworkErrorCode); ok {
		t.Error("an error that there is not is told")
	}
}

// An id of a response and one of a receipt are brought to one form.
func TestIDs(t *testing.T) {
	for _, c := range []struct {
		ids               IDs
		response, receipt string
		same              bool
	}{
		{IDs{}, "00a7", "00a7", true},
		{IDs{}, "00a7", "00A7", false},
		{IDs{}, "a7", "167", false},
		{IDs{Response: 16, Receipt: 10}, "a7", "167", true},
		{IDs{Response: 16, Receipt: 10}, "00A7", "167", true},
		{IDs{Response: 16, Receipt: 10}, "0xA7", "0000167", true},
		{IDs{Response: 16, Receipt: 10}, "10", "10", false},
		{IDs{Response: 10, Receipt: 16}, "167", "000000a7", true},
		{IDs{Response: 10, Receipt: 16}, "167", "0XA7", true},
		{IDs{Response: 10, Receipt: 10}, "0167", "167", true},
		{IDs{Response: 16, Receipt: 16}, "00A7", "a7", true},
		{IDs{Response: 16, Receipt: 10}, "ffffffffffffffff", "18446744073709551615", true},
		// What is no number is the same only if it is written so.
		{IDs{Response: 16, Receipt: 10}, "x-1", "x-1", true},
		{IDs{Response: 10, Receipt: 10}, "1-2", "1-2", true},
		{IDs{Response: 10, Receipt: 10}, "", "", true},
		{IDs{Response: 16, Receipt: 16}, "-a7", "a7", false},
		{IDs{Response: 16, Receipt: 16}, "1ffffffffffffffff", "1ffffffffffffffff", true},
	} {
		a, b := c.ids.submitted(c.response), receiptedText(c.ids, c.receipt)
		if (a == b) != c.same {
			t.Errorf("%+v: %q is %q and %q is %q", c.ids, c.response, a, c.receipt, b)
		}
	}
	for n := range uint64(1000) {
		n *= 0x9E3779B97F4A7C15
		ids := IDs{Response: 16, Receipt: 10}
		if a, b := ids.submitted(fmt.Sprintf("%016X", n)), receiptedText(ids, fmt.Sprint(n)); a != b || a != fmt.Sprint(n) {
			t.Fatalf("%d: %q, %q", n, a, b)
		}
	}
}

// receiptedText is the id of a receipt that has it in its text.
func receiptedText(i IDs, id string) string {
	return i.Receipted(&ShortMessage{ESMClass: 4, Message: []byte("id:" + id + " stat:DELIVRD")}, Receipt{MessageID: id})
}

// Where both are there and written differently, each is read in its own way.
func TestReceiptedTLVAndText(t *testing.T) {
	ids := IDs{Response: 16, Receipt: 10}
	tlv := TLVs(nil).Add(TagReceiptedMessageID, []byte("1A2B\x00")).Add(TagMessageState, []byte{byte(Delivered)})
	for name, m := range map[string]*ShortMessage{
		"TLV in hex, text in decimal": {ESMClass: 4, TLVs: tlv, Message: []byte("id:6699 stat:DELIVRD")},
		"TLV alone":                   {ESMClass: 4, TLVs: tlv},
		"text alone":                  {ESMClass: 4, Message: []byte("id:6699 stat:DELIVRD")},
	} {
		r, err := ParseReceipt(m)
		if got := ids.Receipted(m, r); err != nil || got != ids.submitted("1A2B") {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}
