package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Request is what became of one.
type Request struct {
	Index       uint32
	Subscriber  uint32
	Phase       uint8
	Provider    uint8
	Certificate Certificate
	Expect      Expect
	End         End
	Fault       Fault
	Status      uint16
	Due         time.Duration // since Run.Started
	Sent        Moment
	Accepted    Moment
	Pushed      Moment
	Answered    Moment
	Verified    Moment
	Released    Moment
}

// Latency is from when the request was due until its end was there. A request
// whose end never came has none.
func (r *Request) Latency() (time.Duration, bool) { return r.Released.After() }

// Moment is in microseconds after a request was due.
type Moment int32

// Never is the moment of what was not reached.
const Never Moment = math.MinInt32

// Reached reports whether there was such a moment.
func (m Moment) Reached() bool { return m != Never }

// After is how long after due it was.
func (m Moment) After() (time.Duration, bool) {
	if m == Never {
		return 0, false
	}
	return time.Duration(m) * time.Microsecond, true
}

// since turns a duration after due into a moment. One that does not fit, half an
// hour away, is as far as it goes.
func since(d time.Duration) Moment {
	return Moment(min(max(d.Microseconds(), math.MinInt32+1), math.MaxInt32))
}

// Certificate is the type of certificate that was asked for.
type Certificate uint8

// The types, as the API names them.
const (
	Citizen Certificate = iota
	Business
	Government
)

var certificates = []string{"citizen", "business", "government"}

func (c Certificate) String() string { return nameOf(certificates, c) }

// ParseCertificate reads a type's name.
func ParseCertificate(name string) (Certificate, error) {
	for i, known := range certificates {
		if name == known {
			return Certificate(i), nil
		}
	}
	return 0, fmt.Errorf("load: %q is no type of certificate", name)
}

// Expect is what must become of a request.
type Expect uint8

// What is expected.
const (
	ExpectAccept   Expect = iota // whatever the person then does; not refused by policy
	ExpectRefuse                 // with blocked_by_organisation, or since it cannot be asked just now
	ExpectUnsigned               // it is blocked while under way: anything but a signature
	ExpectEither                 // it is not known which, since a block changes meanwhile
)

var expectations = []string{"accept", "refuse", "unsigned", "either"}

func (e Expect) String() string { return nameOf(expectations, e) }

// End is what became of a request: a final state of the gateway's, "refused:" and
// the code of a refusal, or one of the load tester's own.
type End string

// Ends of a request.
const (
	Signed              End = "signed"
	CancelledByUser     End = "cancelled_by_user"
	PINBlocked          End = "pin_blocked"
	Undeliverable       End = "undeliverable"
	Absent              End = "absent"
	CardError           End = "card_error"
	SignatureInvalid    End = "signature_invalid"
	Blocked             End = "blocked"
	CancelledByProvider End = "cancelled_by_provider"
	Expired             End = "expired"

	RefusedByPolicy End = refused + "blocked_by_organisation"
	RefusedUnknown  End = refused + "policy_unavailable"
	RefusedBusy     End = refused + "subscriber_busy"
	RefusedPrompts  End = refused + "too_many_prompts"

	Unanswered   End = "unanswered"     // no answer, or none that tells whether it was accepted
	Lost         End = "lost"           // accepted, and then its end could not be had
	StillPending End = "still_pending"  // long after its deadline
	NotWaitedFor End = "not_waited_for" // the run was stopped before it ended
	NotSent      End = "not_sent"       // it was due, and the run was stopped before it was sent
)

// refused is what the end of a request that was refused begins with.
const refused = "refused:"

// Refused reports whether the gateway refused it.
func (e End) Refused() bool { return strings.HasPrefix(string(e), refused) }

// code is the refusal's, if it is one.
func (e End) code() (string, bool) { return strings.CutPrefix(string(e), refused) }

// Known reports whether the gateway said how it ended.
func (e End) Known() bool {
	switch e {
	case Unanswered, Lost, StillPending, NotWaitedFor, NotSent:
		return false
	}
	return true
}

// knownEnds are in every header; others get a number when they come.
var knownEnds = []End{
	Signed, CancelledByUser, PINBlocked, Undeliverable, Absent, CardError, SignatureInvalid, Blocked, CancelledByProvider, Expired,
	RefusedByPolicy, RefusedUnknown, RefusedBusy, RefusedPrompts,
	Unanswered, Lost, StillPending, NotWaitedFor, NotSent,
}

// Fault is what must not have become of a request.
type Fault uint8

// Faults.
const (
	NoFault             Fault = iota
	AcceptedBlocked           // it had to be refused by policy, and was accepted
	RefusedOtherwise          // it had to be refused by policy, and was refused as something else
	RefusedAllowed            // policy refused what it allows
	SignedBlocked             // a signature was released after its block was saved
	DoesNotVerify             // the signature is not one of what was asked
	EndedLate                 // it ended after its deadline, or not at all
	AnswerNotUnderstood       // the gateway's answer is none
)

var faults = []string{"", "accepted although blocked", "refused, but not by policy", "refused by policy although allowed", "signed although blocked",
	"the signature does not verify", "ended after its deadline", "an answer that is none"}

func (f Fault) String() string { return nameOf(faults, f) }

func nameOf[N ~uint8](names []string, n N) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("%d", n)
}

// recordSize is how many octets a record has.
const recordSize = 48

// appendRecord appends a request whose end has a number.
func appendRecord(b []byte, r *Request, end uint8) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, r.Index)
	b = le.AppendUint32(b, r.Subscriber)
	b = append(b, r.Phase, r.Provider, uint8(r.Certificate), uint8(r.Expect), end, uint8(r.Fault))
	b = le.AppendUint16(b, r.Status)
	b = le.AppendUint64(b, uint64(r.Due.Microseconds()))
	for _, m := range [...]Moment{r.Sent, r.Accepted, r.Pushed, r.Answered, r.Verified, r.Released} {
		b = le.AppendUint32(b, uint32(m))
	}
	return b
}

// parseRecord reads a request and the number of its end.
func parseRecord(b []byte) (r Request, end uint8, err error) {
	if len(b) != recordSize {
		return r, 0, fmt.Errorf("a request of %d octets, it has %d", len(b), recordSize)
	}
	le := binary.LittleEndian
	r.Index, r.Subscriber = le.Uint32(b), le.Uint32(b[4:])
	r.Phase, r.Provider, r.Certificate, r.Expect, end, r.Fault = b[8], b[9], Certificate(b[10]), Expect(b[11]), b[12], Fault(b[13])
	r.Status = le.Uint16(b[14:])
	due := int64(le.Uint64(b[16:]))
	if due < 0 || due > math.MaxInt64/int64(time.Microsecond) {
		return r, 0, errors.New("due is out of range")
	}
	r.Due = time.Duration(due) * time.Microsecond
	for i, m := range [...]*Moment{&r.Sent, &r.Accepted, &r.Pushed, &r.Answered, &r.Verified, &r.Released} {
		*m = Moment(le.Uint32(b[24+4*i:]))
	}
	for _, known := range []struct {
		what string
		n    uint8
		of   int
	}{{"certificate", b[10], len(certificates)}, {"expect", b[11], len(expectations)}, {"fault", b[13], len(faults)}} {
		if int(known.n) >= known.of {
			return r, 0, fmt.Errorf("%s %d is none of the %d that are known", known.what, known.n, known.of)
		}
	}
	return r, end, nil
}
