package smpp

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// State is what became of a message (message_state, SMPP 3.4 §5.2.28).
type State byte

// The states.
const (
	Enroute       State = 1
	Delivered     State = 2
	Expired       State = 3
	Deleted       State = 4
	Undeliverable State = 5
	Accepted      State = 6
	Unknown       State = 7
	Rejected      State = 8
)

// stateText is how a receipt's text writes a state (SMPP 3.4 appendix B).
var stateText = map[State]string{
	Enroute: "ENROUTE", Delivered: "DELIVRD", Expired: "EXPIRED", Deleted: "DELETED",
	Undeliverable: "UNDELIV", Accepted: "ACCEPTD", Unknown: "UNKNOWN", Rejected: "REJECTD",
}

func (s State) String() string {
	if text, ok := stateText[s]; ok {
		return text
	}
	return fmt.Sprintf("state %d", byte(s))
}

// Failed reports that the message will not arrive.
func (s State) Failed() bool {
	return s == Expired || s == Deleted || s == Undeliverable || s == Rejected
}

// Receipt is a delivery receipt: which message, and what became of it.
type Receipt struct {
	MessageID string
	State     State
}

// IsReceipt tells whether a deliver_sm is a receipt and not a message.
func (m *ShortMessage) IsReceipt() bool { return m.ESMClass&esmClassType == esmClassReceipt }

var receiptText = regexp.MustCompile(`(?i)\bid:(\S+).*\bstat:([A-Z]{7})`)

// ParseReceipt reads a receipt from its TLVs or, where they are missing, from
// its text (SMPP 3.4 §5.3.2.12, §5.3.2.35, appendix B).
func ParseReceipt(m *ShortMessage) (Receipt, error) {
	var r Receipt
	if id, ok := m.TLVs.Get(TagReceiptedMessageID); ok {
		for len(id) > 0 && id[len(id)-1] == 0 {
			id = id[:len(id)-1]
		}
		r.MessageID = string(id)
	}
	if state, ok := m.TLVs.Get(TagMessageState); ok && len(state) == 1 {
		r.State = State(state[0])
	}
	if r.MessageID != "" && r.State != 0 {
		return r, nil
	}
	match := receiptText.FindSubmatch(m.Content())
	if match == nil {
		return Receipt{}, errors.New("smpp: a receipt without id and stat")
	}
	if r.MessageID == "" {
		r.MessageID = string(match[1])
	}
	for state, text := range stateText {
		if r.State == 0 && text == string(match[2]) {
			r.State = state
		}
	}
	if r.State == 0 {
		return Receipt{}, fmt.Errorf("smpp: a receipt with stat:%s", match[2])
	}
	return r, nil
}

// NewReceipt makes the deliver_sm that tells the sender of m what became of it.
func NewReceipt(m *ShortMessage, r Receipt, submitted, done time.Time) *ShortMessage {
	delivered := 0
	if r.State == Delivered {
		delivered = 1
	}
	const minutes = "0601021504"
	text := fmt.Sprintf("id:%s sub:001 dlvrd:%03d submit date:%s done date:%s stat:%s err:000 text:",
		r.MessageID, delivered, submitted.UTC().Format(minutes), done.UTC().Format(minutes), r.State)
	return &ShortMessage{
		Source: m.Dest, Dest: m.Source, ESMClass: esmClassReceipt, Message: []byte(text),
		TLVs: TLVs(nil).Add(TagReceiptedMessageID, append([]byte(r.MessageID), 0)).Add(TagMessageState, []byte{byte(r.State)}),
	}
}
