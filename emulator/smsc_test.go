package emulator

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/smpp"
)

func TestChallengeComesBackAsSegments(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	s, taken := n.bind(t, nil)
	asked := long()
	asked.Digest = digestOf(asked.Algorithm, document)
	ids := submit(t, s, n.card.segments(t, asked))
	m := collect(t, taken, len(ids), once)
	a := n.answer(t, m.parts)
	if a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Fatalf("%s", a.Result)
	}
	if verdict, err := judge(t, a.Signature, document, n.card.cert); err != nil {
		t.Errorf("openssl: %s", verdict)
	}
	if len(ids) != 3 || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 3 {
		t.Errorf("ids %q", ids)
	}
	for _, id := range ids {
		if m.receipts[id] != smpp.Delivered {
			t.Errorf("message %s: %s, want DELIVRD", id, m.receipts[id])
		}
	}
}

func TestReceiptOnlyWhereAskedFor(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	s, taken := n.bind(t, nil)
	m := messages(n.card.segments(t, challenge()))[0]
	m.RegisteredDelivery = 0
	if _, err := s.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, taken, 0, once); len(got.receipts) > 0 {
		t.Errorf("receipts %v", got.receipts)
	}
}

func TestHandsetThatIsOffIsUndeliverable(t *testing.T) {
	n := newNetwork(t, Line{Off: true}, nil)
	s, taken := n.bind(t, nil)
	ids := submit(t, s, n.card.segments(t, challenge()))
	if m := collect(t, taken, 1, none); m.receipts[ids[0]] != smpp.Undeliverable {
		t.Errorf("%s, want UNDELIV", m.receipts[ids[0]])
	}
	(&terminal{TB: t, card: n.card}).idle()
}

// What a card or a radio link cannot take is undeliverable as well.
func TestMessageThatFitsNoTPDUIsUndeliverable(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	s, taken := n.bind(t, nil)
	for name, change := range map[string]func(*smpp.ShortMessage){
		"141 octets":              func(m *smpp.ShortMessage) { m.Message = append([]byte{0}, make([]byte, 140)...) },
		"a sender that is a name": func(m *smpp.ShortMessage) { m.Source = smpp.Address{TON: 5, Addr: "imza"} },
		"a sender that is none":   func(m *smpp.ShortMessage) { m.Source = smpp.Address{} },
	} {
		m := messages(n.card.segments(t, challenge()))[0]
		change(m)
		id, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if got := collect(t, taken, 1, none); got.receipts[id] != smpp.Undeliverable {
			t.Errorf("%s: %v, want UNDELIV", name, got.receipts)
		}
	}
}

func TestScrambledLine(t *testing.T) {
	n := newNetwork(t, Line{Scramble: true}, nil)
	s, taken := n.bind(t, nil)
	for range 2 { // the second time as the first
		asked := challenge()
		submit(t, s, n.card.segments(t, asked))
		parts := collect(t, taken, 1, twice).parts
		total := parts[0].Total
		if total < 2 {
			t.Fatalf("%d parts: nothing to scramble", total)
		}
		for i, p := range parts {
			if p.Sequence != total-uint8(i/2) {
				t.Errorf("part %d of %d comes as number %d", p.Sequence, total, i)
			}
		}
		for _, half := range []int{0, 1} {
			var each []sms.Part
			for i := half; i < len(parts); i += 2 {
				each = append(each, parts[i])
			}
			if a := n.answer(t, each); a.Result != applet.Signed || a.Reference != asked.Reference {
				t.Errorf("%s", a.Result)
			}
		}
	}
}

func TestUnknownNumbersAreRefused(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	s, taken := n.bind(t, nil)
	for _, number := range []string{"994500000002", "", "+994500000001", "99450000000", "imza"} {
		m := messages(n.card.segments(t, challenge()))[0]
		m.Dest.Addr = number
		if id, err := s.Submit(t.Context(), m); !errors.Is(err, smpp.StatusInvalidDest) || id != "" {
			t.Errorf("%q: %q %v, want StatusInvalidDest", number, id, err)
		}
	}
	if len(taken) > 0 {
		t.Error("a receipt for what was refused")
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	for who, want := range map[[2]string]smpp.Status{
		{"imza", "wrong"}: smpp.StatusInvalidPassword, {"imza", ""}: smpp.StatusInvalidPassword,
		{"other", password}: smpp.StatusInvalidSystemID, {"IMZA", password}: smpp.StatusInvalidSystemID,
	} {
		r := smpp.BindRequest{SystemID: who[0], Password: who[1]}
		if s, err := n.dial(t, r, nil); !errors.Is(err, want) {
			t.Errorf("%s with %q: %v", r.SystemID, r.Password, err)
			if err == nil {
				s.Close()
			}
		}
	}
}

func TestAnswerWaitsForSomebodyWhoIsBound(t *testing.T) {
	n, looking, act, sent := held(t)
	s, taken := n.bind(t, nil)
	asked := challenge()
	submit(t, s, n.card.segments(t, asked))
	collect(t, taken, 1, none)
	receive(t, looking, "the prompt")
	theirs := n.anybody()
	_ = s.Close()
	receive(t, theirs.Done(), "the centre's end of the session")
	close(act)
	receive(t, sent, "the answer's first message") // with nobody there to take it
	_, taken = n.bind(t, nil)
	if a := n.answer(t, collect(t, taken, 0, once).parts); a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Errorf("%s", a.Result)
	}
}

func TestWhatIsNotTakenComesAgain(t *testing.T) {
	for _, status := range []smpp.Status{smpp.StatusTemporary, smpp.StatusQueueFull, smpp.StatusThrottled, smpp.StatusSystemError} {
		t.Run(status.Error(), func(t *testing.T) {
			t.Parallel() // each waits for the centre's pause
			n := newNetwork(t, Line{}, nil)
			var refused atomic.Int32
			taken := make(chan *smpp.ShortMessage, 100)
			s, _ := n.bind(t, func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
				if !m.IsReceipt() && refused.Add(1) <= 5 {
					return "", status
				}
				taken <- m
				return "", smpp.StatusOK
			})
			submit(t, s, n.card.segments(t, challenge()))
			if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.Signed {
				t.Errorf("%s", a.Result)
			}
			if refused.Load() <= 5 {
				t.Error("nothing was refused")
			}
		})
	}
}

func TestWhatIsRefusedForGoodIsDropped(t *testing.T) {
	for _, status := range []smpp.Status{smpp.StatusPermanent, smpp.StatusInvalidMessage, smpp.StatusInvalidDest, smpp.StatusInvalidCommand, 0x400} {
		n := newNetwork(t, Line{}, nil)
		var offered atomic.Int32
		n.bind(t, func(context.Context, *smpp.Session, *smpp.ShortMessage) (string, smpp.Status) {
			offered.Add(1)
			return "", status
		})
		given := make(chan struct{})
		go func() {
			defer close(given)
			n.hand(&outgoing{m: messages(n.card.segments(t, challenge()))[0], to: new(fates)})
		}()
		receive(t, given, "the end of a delivery")
		if offered.Load() != 1 {
			t.Errorf("%v: offered %d times", status, offered.Load())
		}
	}
}

// S7 from the other side: a session that dies with a message unacknowledged
// has not taken it.
func TestWhatWasNotAcknowledgedComesAgain(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	begun := make(chan struct{}, 100)
	s, _ := n.bind(t, func(ctx context.Context, _ *smpp.Session, _ *smpp.ShortMessage) (string, smpp.Status) {
		begun <- struct{}{}
		<-ctx.Done() // dies before it has stored anything
		return "", smpp.StatusOK
	})
	ids := submit(t, s, n.card.segments(t, challenge()))
	receive(t, begun, "a message")
	_ = s.Close()
	_, taken := n.bind(t, nil)
	m := collect(t, taken, 1, once)
	if a := n.answer(t, m.parts); a.Result != applet.Signed || m.receipts[ids[0]] != smpp.Delivered {
		t.Errorf("%s, receipt %s", a.Result, m.receipts[ids[0]])
	}
}

// An ESME of several sessions: any of them gets what comes in.
func TestAnswerGoesToOneOfThoseWhoAreBound(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	taken := make(chan *smpp.ShortMessage, 100)
	into := func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
		taken <- m
		return "", smpp.StatusOK
	}
	first, _ := n.bind(t, into)
	n.bind(t, into)
	n.bind(t, into)
	submit(t, first, n.card.segments(t, challenge()))
	if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
	if len(taken) > 0 {
		t.Error("something came to two of them")
	}
}

// Who bound to send only gets nothing (SMPP 3.4 §2.2): its answers wait for
// somebody who receives.
func TestTransmitterReceivesNothing(t *testing.T) {
	n, _, act, sent := held(t)
	close(act)
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	exchange := func(p smpp.PDU) smpp.PDU {
		t.Helper()
		if _, err := conn.Write(p.Append(nil)); err != nil {
			t.Fatal(err)
		}
		answer, err := smpp.ReadPDU(conn, smpp.MaxPDU)
		if err != nil || answer.Sequence != p.Sequence || answer.Status != smpp.StatusOK {
			t.Fatalf("%s is answered %+v, %v", p.Command, answer, err)
		}
		return answer
	}
	bind := smpp.BindRequest{SystemID: "imza", Password: password, InterfaceVersion: 0x34}
	exchange(smpp.PDU{Command: smpp.BindTransmitter, Sequence: 1, Body: encoded(t, &bind)})
	exchange(smpp.PDU{Command: smpp.SubmitSM, Sequence: 2, Body: encoded(t, messages(n.card.segments(t, challenge()))[0])})
	receive(t, sent, "the answer's first message")
	exchange(smpp.PDU{Command: smpp.EnquireLink, Sequence: 3}) // nothing came in between
	_, taken := n.bind(t, nil)
	if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
	exchange(smpp.PDU{Command: smpp.EnquireLink, Sequence: 4})
}

func encoded(t *testing.T, b smpp.Body) []byte {
	t.Helper()
	raw, err := b.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Close in the middle of all kinds of work: nothing hangs, nothing races.
func TestCloseAtAnyMoment(t *testing.T) {
	for i := range 20 {
		n, looking, _, _ := held(t)
		s, _ := n.bind(t, func(context.Context, *smpp.Session, *smpp.ShortMessage) (string, smpp.Status) {
			return "", smpp.StatusTemporary // so that there is always something to deliver
		})
		parts := n.card.segments(t, challenge())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				if _, err := s.Submit(context.Background(), messages(parts)[0]); err != nil {
					return
				}
			}
		}()
		if i%2 == 0 {
			receive(t, looking, "the prompt")
		}
		closed := make(chan struct{})
		go func() { defer close(closed); _ = n.Close() }()
		receive(t, closed, "the end")
		receive(t, stopped, "the end of submitting")
	}
}

// The gateway's own pool against this centre, which goes away and comes back.
func TestESMEFindsTheCentreAgain(t *testing.T) {
	n := newNetwork(t, Line{}, nil)
	taken := make(chan *smpp.ShortMessage, 100)
	e := &smpp.Pool{Addr: n.addr, Bind: smpp.BindRequest{SystemID: "imza", Password: password},
		Handler: func(_ context.Context, _ *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
			taken <- m
			return smpp.StatusOK
		}}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); e.Run(ctx) }()
	defer func() { cancel(); <-stopped }()
	for range 2 {
		asked := challenge()
		limit, done := context.WithTimeout(ctx, wait)
		ids, err := e.Submit(limit, func() error { return nil }, messages(n.card.segments(t, asked))...)
		done()
		if err != nil {
			t.Fatal(err)
		}
		m := collect(t, taken, len(ids), once)
		if a := n.answer(t, m.parts); a.Result != applet.Signed || a.Reference != asked.Reference {
			t.Errorf("%s", a.Result)
		}
		theirs := n.anybody()
		_ = theirs.Close() // the centre unbinds
	}
}
