package smpp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
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
	Error     NetworkError // why, if the operator says it
}

// NetworkError is the network's own error code (network_error_code, SMPP 3.4
// §5.3.2.31). Without the TLV it is what "err:" of the text says, with network
// 0.
type NetworkError struct {
	Network byte // 3 is GSM
	Code    uint16
}

// AbsentSubscriber is what GSM networks say of a telephone that is switched off
// or out of reach (TS 29.002 §17.6.1, code 27). There is another one for short
// messages, absentSubscriberSM, 6.
var AbsentSubscriber = NetworkError{Network: 3, Code: 27}

const absentSubscriberSM = 6

// Absent reports that the message did not get through because the telephone
// could not be reached: the network says so, or it was tried until the message
// expired.
func (r Receipt) Absent() bool {
	switch r.State {
	case Expired:
		return true
	case Undeliverable:
		return r.Error == AbsentSubscriber || r.Error == NetworkError{3, absentSubscriberSM} || r.Error == NetworkError{0, AbsentSubscriber.Code}
	}
	return false
}

// IsReceipt tells whether a deliver_sm is a receipt and not a message.
func (m *ShortMessage) IsReceipt() bool { return m.ESMClass&esmClassType == esmClassReceipt }

// WantsReceipt tells whether a receipt was asked for in this case.
func (m *ShortMessage) WantsReceipt(s State) bool {
	switch m.RegisteredDelivery & 0x03 {
	case ReceiptOnFinal:
		return s != Enroute && s != Accepted
	case ReceiptOnFailure:
		return s.Failed()
	}
	return false
}

// Operators write the text with their own blanks, case and abbreviations, so id
// and stat are looked for apart, in front of "text:".
var (
	receiptID   = regexp.MustCompile(`(?i)\bid:\s*([^\s,;]+)`)
	receiptStat = regexp.MustCompile(`(?i)\bstat:\s*([a-z]+)`)
	// What follows an id that is empty.
	receiptLabel = regexp.MustCompile(`(?i)^(sub|dlvrd|submit|done|stat|err|text):`)
	receiptErr   = regexp.MustCompile(`(?i)\berr:\s*([0-9]{1,5})\b`)
	receiptRest  = regexp.MustCompile(`(?i)\btext:`)
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
	if id, ok := m.TLVs.Get(TagReceiptedMessageID); ok {
		r.MessageID = string(bytes.TrimRight(id, "\x00"))
	} else {
		r.MessageID = receiptTextID(m.Content())
	}
	text := receiptFields(m.Content())
	if r.MessageID == "" {
		return Receipt{}, errors.New("smpp: a receipt without the message's id")
	}
	r.Error = networkError(m.TLVs, text)
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

// receiptFields is a receipt's text without the message's own.
func receiptFields(text []byte) []byte {
	if rest := receiptRest.FindIndex(text); rest != nil {
		return text[:rest[0]]
	}
	return text
}

// receiptTextID is the id in a receipt's text, empty if there is none.
func receiptTextID(text []byte) string {
	match := receiptID.FindSubmatch(receiptFields(text))
	if match == nil || receiptLabel.Match(match[1]) {
		return ""
	}
	return string(match[1])
}

func networkError(tlvs TLVs, text []byte) (e NetworkError) {
	if v, ok := tlvs.Get(TagNetworkErrorCode); ok && len(v) == 3 {
		return NetworkError{v[0], binary.BigEndian.Uint16(v[1:])}
	}
	if match := receiptErr.FindSubmatch(text); match != nil {
		if code, err := strconv.ParseUint(string(match[1]), 10, 16); err == nil {
			e.Code = uint16(code)
		}
	}
	return e
}

// NewReceipt makes the deliver_sm that tells the sender of m what became of it.
func NewReceipt(m *ShortMessage, r Receipt, submitted, done time.Time) *ShortMessage {
	delivered := 0
	if r.State == Delivered {
		delivered = 1
	}
	const minutes = "0601021504"
	text := fmt.Sprintf("id:%s sub:001 dlvrd:%03d submit date:%s done date:%s stat:%s err:%03d text:",
		r.MessageID, delivered, submitted.UTC().Format(minutes), done.UTC().Format(minutes), r.State, r.Error.Code)
	tlvs := TLVs(nil).Add(TagReceiptedMessageID, append([]byte(r.MessageID), 0)).Add(TagMessageState, []byte{byte(r.State)})
	if r.Error.Network != 0 {
		tlvs = tlvs.Add(TagNetworkErrorCode, binary.BigEndian.AppendUint16([]byte{r.Error.Network}, r.Error.Code))
	}
	return &ShortMessage{
		Source: m.Dest, Dest: m.Source, ESMClass: esmClassReceipt, Message: []byte(text), TLVs: tlvs,
	}
}

// IDs is how an operator writes message ids. Some write the same number in hex
// in submit_sm_resp and in decimal in receipts, or the other way round.
type IDs struct {
	Response Radix // in submit_sm_resp
	Receipt  Radix // in receipts
}

// Radix is 10 or 16 where ids are numbers, and 0 where they are only names.
type Radix int

// submitted is an id from a submit_sm_resp in the form that Receipted gives.
func (i IDs) submitted(id string) string { return i.Response.plain(id) }

// Receipted is the id of a receipt in the form that Submit returns. Where the two
// are written differently, the text has it in the receipts' way, and
// receipted_message_id in the other.
func (i IDs) Receipted(m *ShortMessage, r Receipt) string {
	if i.Response == i.Receipt {
		return i.Receipt.plain(r.MessageID)
	}
	if id := receiptTextID(m.Content()); id != "" {
		return i.Receipt.plain(id)
	}
	return i.Response.plain(r.MessageID)
}

// plain is a number in decimal, and what is none as it is.
func (r Radix) plain(id string) string {
	if r == 0 {
		return id
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(id), "0x"), int(r), 64)
	if err != nil {
		return id
	}
	return strconv.FormatUint(n, 10)
}
