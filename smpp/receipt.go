package smpp

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
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

// Operators write the text with their own blanks, case and abbreviations, so id
// and stat are looked for apart, in front of "text:".
var (
	receiptID   = regexp.MustCompile(`(?i)\bid:\s*([^\s,;]+)`)
	receiptStat = regexp.MustCompile(`(?i)\bstat:\s*([a-z]+)`)
	receiptRest = regexp.MustCompile(`(?i)\btext:`)
)

// ParseState reads a state as receipts write it: its first five letters tell,
// in either case; "failed" is Undeliverable.
func ParseState(text string) (State, error) {
	upper := strings.ToUpper(text)
	if strings.HasPrefix(upper, "FAIL") {
		return Undeliverable, nil
	}
	for state, name := range stateText {
		if strings.HasPrefix(upper, name[:5]) {
			return state, nil
		}
	}
	return 0, fmt.Errorf("smpp: a receipt with stat:%q", text)
}

// ParseReceipt reads a receipt: each half from its TLV or, where that is
// missing, from the text (SMPP 3.4 §5.3.2.12, §5.3.2.35, appendix B).
func ParseReceipt(m *ShortMessage) (r Receipt, err error) {
	text := m.Content()
	if rest := receiptRest.FindIndex(text); rest != nil {
		text = text[:rest[0]]
	}
	if id, ok := m.TLVs.Get(TagReceiptedMessageID); ok {
		r.MessageID = string(bytes.TrimRight(id, "\x00"))
	} else if match := receiptID.FindSubmatch(text); match != nil {
		r.MessageID = string(match[1])
	}
	if r.MessageID == "" {
		return Receipt{}, errors.New("smpp: a receipt without the message's id")
	}
	if state, ok := m.TLVs.Get(TagMessageState); ok && len(state) == 1 {
		if r.State = State(state[0]); stateText[r.State] == "" {
			r.State = Unknown // an operator's own
		}
		return r, nil
	}
	match := receiptStat.FindSubmatch(text)
	if match == nil {
		return Receipt{}, errors.New("smpp: a receipt without the message's state")
	}
	r.State, err = ParseState(string(match[1]))
	return r, err
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
