package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/smpp"
)

const handsetPassword = "antenna"

// newCentre is a message centre that handsets of other processes may bind to.
func newCentre(t testing.TB, handsetPassword string, lines ...Line) *network {
	t.Helper()
	n := &network{card: newCard(t, nil)}
	n.SMSC = NewSMSC(func(id string) (smpp.Account, bool) {
		return smpp.Account{Password: password}, id == "imza" || id == "other"
	}, slog.New(slog.DiscardHandler))
	n.HandsetPassword = handsetPassword
	for i := range lines {
		n.Add(&lines[i])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- n.Serve(listener) }()
	t.Cleanup(func() {
		_ = n.Close()
		if err := receive(t, served, "the end of Serve"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return n
}

// aerial is a handset's connection to a centre.
type aerial struct {
	t     testing.TB
	leave context.CancelFunc
	ended chan error
}

// attach connects a handset and waits until the connection stands. A number that
// was just given up may still be bound for a moment.
func attach(t testing.TB, n *network, number simcard.MSISDN, h *Handset) *aerial {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		a := tryAttach(t, n.addr, handsetPassword, number, h)
		select {
		case <-a.attached:
			return &a.aerial
		case err := <-a.ended:
			if !errors.Is(err, smpp.StatusAlreadyBound) || time.Since(began) > wait {
				t.Fatalf("not attached: %v", err)
			}
		case <-time.After(wait):
			t.Fatal("not attached")
		}
	}
}

type attempt struct {
	aerial
	attached chan struct{}
}

func tryAttach(t testing.TB, addr, password string, number simcard.MSISDN, h *Handset) *attempt {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attempt{aerial{t, cancel, make(chan error, 1)}, make(chan struct{})}
	t.Cleanup(cancel)
	go func() {
		a.ended <- Attach(ctx, addr, password, number, h, func() { close(a.attached) }, slog.New(slog.DiscardHandler))
	}()
	return a
}

func (a *aerial) end() error {
	a.t.Helper()
	return receive(a.t, a.ended, "the end of Attach")
}

// carried is a telephone with a person, switched on, without a network.
func carried(t testing.TB, card simcard.Card, p Person) *Handset {
	t.Helper()
	h := &Handset{Card: card, Person: p, Log: slog.New(slog.DiscardHandler)}
	if err := h.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.SwitchOff)
	return h
}

// until waits for something that comes about elsewhere.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(began) > wait {
			t.Fatalf("%s does not come about", what)
		}
	}
}

func (c *SMSC) has(number simcard.MSISDN) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote[number.Digits()] != nil
}

// A whole signature whose handset is in another process: of a number that the
// centre has, and of one that it hears of from the handset.
func TestRemoteHandsetSigns(t *testing.T) {
	for name, lines := range map[string][]Line{"a number of the centre": {{MSISDN: line}}, "a new number": nil} {
		t.Run(name, func(t *testing.T) {
			n := newCentre(t, handsetPassword, lines...)
			h := carried(t, n.card, &Actor{PIN2: testPIN2, Behaviour: WrongOnce})
			attach(t, n, line, h)
			s, taken := n.bind(t, nil)
			for range 2 {
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
				for _, id := range ids {
					if m.receipts[id] != smpp.Delivered {
						t.Errorf("message %s: %s, want DELIVRD", id, m.receipts[id])
					}
				}
			}
		})
	}
}

func TestWhoMayAttach(t *testing.T) {
	local := Line{MSISDN: "+994500000007"}
	for name, c := range map[string]struct {
		centre, password string
		number           simcard.MSISDN
		want             smpp.Status
	}{
		"a wrong password":            {handsetPassword, "Antenna", line, smpp.StatusInvalidPassword},
		"no password":                 {handsetPassword, "", line, smpp.StatusInvalidPassword},
		"an ESME's password":          {handsetPassword, password, line, smpp.StatusInvalidPassword},
		"a centre that wants none":    {"", "", line, smpp.StatusInvalidSystemID},
		"the number of a local phone": {handsetPassword, handsetPassword, local.MSISDN, smpp.StatusInvalidSystemID},
	} {
		t.Run(name, func(t *testing.T) {
			phone := local
			phone.Handset = carried(t, newCard(t, nil), person())
			n := newCentre(t, c.centre, phone)
			h := carried(t, n.card, person())
			a := tryAttach(t, n.addr, c.password, c.number, h)
			if err := a.end(); !errors.Is(err, c.want) {
				t.Errorf("ends with %v, want %v", err, c.want)
			}
			select {
			case <-a.attached:
				t.Error("it is told that it is attached")
			default:
			}
			if err := h.send(nil); err == nil {
				t.Error("the handset has a network")
			}
			s, _ := n.bind(t, nil)
			m := messages(n.card.segments(t, challenge()))[0]
			if _, err := s.Submit(t.Context(), m); !errors.Is(err, smpp.StatusInvalidDest) {
				t.Errorf("a message to %s: %v", line, err)
			}
		})
	}
}

// A number is where it was first: the second is refused, the first goes on, and
// when it has gone the number is free.
func TestSecondHandsetOfANumberIsRefused(t *testing.T) {
	n := newCentre(t, handsetPassword)
	first := attach(t, n, line, carried(t, n.card, &Actor{PIN2: testPIN2, Behaviour: Signs}))
	other := newCard(t, nil)
	h := carried(t, other, &Actor{PIN2: testPIN2, Behaviour: Cancels})
	if err := tryAttach(t, n.addr, handsetPassword, line, h).end(); !errors.Is(err, smpp.StatusAlreadyBound) {
		t.Errorf("the second: %v", err)
	}
	s, taken := n.bind(t, nil)
	submit(t, s, n.card.segments(t, challenge()))
	if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.Signed {
		t.Errorf("the first: %s", a.Result)
	}
	first.leave()
	if err := first.end(); !errors.Is(err, context.Canceled) {
		t.Errorf("the first ends with %v", err)
	}
	until(t, "the free number", func() bool { return !n.has(line) })
	attach(t, n, line, h)
	n.card = other
	submit(t, s, other.segments(t, challenge()))
	if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.CancelledByUser {
		t.Errorf("the second, now: %s", a.Result)
	}
}

// What a handset says of where a message is from, and of receipts, is not taken:
// it is from the number that the handset is bound as.
func TestRemoteHandsetCannotSpeakForAnother(t *testing.T) {
	n := newCentre(t, handsetPassword, Line{MSISDN: line, Operator: "imza"})
	s, err := n.dial(t, smpp.BindRequest{SystemID: line.Digits(), Password: handsetPassword}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, taken := n.bind(t, nil)
	for _, source := range []smpp.Address{{}, smpp.International("994500000002"), smpp.International(asker.Digits), {TON: 5, Addr: "imza"}, {TON: 2, NPI: 1, Addr: line.Digits()}} {
		forged := smpp.NewReceipt(messages(n.card.segments(t, challenge()))[0], smpp.Receipt{MessageID: "1", State: smpp.Delivered}, time.Now(), time.Now())
		for name, m := range map[string]*smpp.ShortMessage{
			"an answer": {ESMClass: smpp.ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0xF6, RegisteredDelivery: smpp.ReceiptOnFinal,
				Validity: "000000000500000R", Priority: 1, Message: []byte{2, 0x71, 0, 1, 2, 3}},
			"a receipt": forged,
		} {
			m.Source, m.Dest = source, smpp.International(asker.Digits)
			if _, err := s.Submit(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			got := receive(t, taken, "what the handset sent")
			want := &smpp.ShortMessage{Source: smpp.International(line.Digits()), Dest: m.Dest, ESMClass: m.ESMClass & smpp.ESMClassUDHI,
				ProtocolID: m.ProtocolID, DataCoding: m.DataCoding, Message: m.Message}
			if got.IsReceipt() || len(got.TLVs) > 0 || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s from %+v comes as %+v", name, source, got)
			}
		}
	}
	if _, err := s.Submit(t.Context(), &smpp.ShortMessage{Message: []byte{1}}); !errors.Is(err, smpp.StatusInvalidDest) {
		t.Errorf("a message to nobody: %v", err)
	}
	if len(taken) > 0 {
		t.Error("more came than was sent")
	}
}

// Who binds for one direction only is half a telephone, and has no number.
func TestHalfATelephoneIsNone(t *testing.T) {
	n := newCentre(t, handsetPassword)
	for number, role := range map[simcard.MSISDN]smpp.Command{"+994500000001": smpp.BindTransmitter, "+994500000002": smpp.BindReceiver} {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		s, err := smpp.Bind(t.Context(), conn, role, smpp.BindRequest{SystemID: number.Digits(), Password: handsetPassword}, smpp.Options{})
		if err != nil {
			t.Fatal(err)
		}
		receive(t, s.Done(), "the end of the session")
		if n.has(number) {
			t.Errorf("%s has a number", role)
		}
		_ = s.Close()
	}
}

// What a handset sends goes to the operator of its line, and to nobody else.
func TestRemoteHandsetsAnswerGoesToItsOperator(t *testing.T) {
	n := newCentre(t, handsetPassword, Line{MSISDN: line, Operator: "imza"})
	foreign := make(chan *smpp.ShortMessage, 100)
	other, err := n.dial(t, smpp.BindRequest{SystemID: "other", Password: password}, func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
		foreign <- m
		return "", smpp.StatusOK
	})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s, taken := n.bind(t, nil)
	attach(t, n, line, carried(t, n.card, &Actor{PIN2: testPIN2, Behaviour: Signs}))
	for range 5 {
		submit(t, s, n.card.segments(t, challenge()))
		if a := n.answer(t, collect(t, taken, 1, once).parts); a.Result != applet.Signed {
			t.Errorf("%s", a.Result)
		}
	}
	if len(foreign) > 0 {
		t.Errorf("another operator got %+v", <-foreign)
	}
}

// Receipts tell an absent handset from one that did not take it.
func TestReceiptsOfRemoteHandsets(t *testing.T) {
	gone := smpp.AbsentSubscriber
	for name, c := range map[string]struct {
		card   func(*card) simcard.Card // nil: nothing is attached
		change func(*smpp.ShortMessage)
		want   smpp.Receipt
	}{
		"none is attached": {nil, nil, smpp.Receipt{State: smpp.Undeliverable, Error: gone}},
		"taken":            {func(c *card) simcard.Card { return c }, nil, smpp.Receipt{State: smpp.Delivered}},
		"no data download": {func(c *card) simcard.Card { return c }, func(m *smpp.ShortMessage) { m.ProtocolID = 0 }, smpp.Receipt{State: smpp.Delivered}},
		"it fits no TPDU":  {func(c *card) simcard.Card { return c }, func(m *smpp.ShortMessage) { m.Message = make([]byte, 141) }, smpp.Receipt{State: smpp.Undeliverable}},
		"the card is gone, which is as if the telephone were off": {func(c *card) simcard.Card { return &diesAt{Card: c, ins: simcard.Envelope, n: 1} }, nil, smpp.Receipt{State: smpp.Undeliverable, Error: gone}},
		"the card's memory fails":                                 {func(c *card) simcard.Card { c.cut = cut{at: 1}; return c }, nil, smpp.Receipt{State: smpp.Undeliverable}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCentre(t, handsetPassword, Line{MSISDN: line})
			if c.card != nil {
				attach(t, n, line, carried(t, c.card(n.card), &Actor{PIN2: testPIN2, Behaviour: Signs}))
			}
			s, taken := n.bind(t, nil)
			m := messages(n.card.segments(t, challenge()))[0]
			if c.change != nil {
				c.change(m)
			}
			id, err := s.Submit(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			for {
				got := receive(t, taken, "a receipt")
				if !got.IsReceipt() {
					continue
				}
				r, err := smpp.ParseReceipt(got)
				if err != nil {
					t.Fatal(err)
				}
				if c.want.MessageID = id; r.MessageID != id || r.State != c.want.State || (r.Error == gone) != (c.want.Error == gone) {
					t.Errorf("the receipt is %+v, want %+v", r, c.want)
				}
				return
			}
		})
	}
}

// A handset that goes in the middle of a delivery may have taken it or not: a
// receipt of either kind could be wrong, so there is none.
func TestRemoteHandsetGoneInTheMiddle(t *testing.T) {
	n := newCentre(t, handsetPassword)
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{}, 1)
	_, err = smpp.Bind(t.Context(), conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: line.Digits(), Password: handsetPassword},
		smpp.Options{Handler: func(ctx context.Context, _ *smpp.Session, _ *smpp.ShortMessage) (string, smpp.Status) {
			begun <- struct{}{}
			<-ctx.Done()
			return "", smpp.StatusOK
		}})
	if err != nil {
		t.Fatal(err)
	}
	s, taken := n.bind(t, nil)
	submit(t, s, n.card.segments(t, challenge()))
	receive(t, begun, "the message")
	conn.Close()
	until(t, "the free number", func() bool { return !n.has(line) })
	// It comes back, and goes again while its person reads.
	who := person(reply(0), entry(testPIN2), reply(0), entry(testPIN2))
	who.held = make(chan struct{})
	h := carried(t, n.card, who)
	a := attach(t, n, line, h)
	ids := submit(t, s, n.card.segments(t, challenge()))
	receive(t, who.looking, "the challenge")
	m := collect(t, taken, 1, none)
	if m.receipts[ids[0]] != smpp.Delivered || len(m.receipts) != 1 {
		t.Errorf("receipts %v, want DELIVRD of %s", m.receipts, ids[0])
	}
	a.leave()
	_ = a.end()
	until(t, "the free number", func() bool { return !n.has(line) })
	close(who.held)
	h.running.Wait() // the answer has nowhere to go
	attach(t, n, line, h)
	asked := challenge()
	submit(t, s, n.card.segments(t, asked))
	if got := n.answer(t, collect(t, taken, 1, once).parts); got.Result != applet.Signed || got.Reference != asked.Reference {
		t.Errorf("%s", got.Result)
	}
	if len(taken) > 0 {
		t.Errorf("there is more: %+v", <-taken)
	}
}

// busy is a card whose toolkit takes no envelope some times.
type busy struct {
	simcard.Card
	left      atomic.Int32
	envelopes atomic.Int32
}

func (b *busy) Transmit(command []byte) ([]byte, error) {
	if command[1] == simcard.Envelope {
		b.envelopes.Add(1)
		if b.left.Add(-1) >= 0 {
			return []byte{0x93, 0x00}, nil
		}
	}
	return b.Card.Transmit(command)
}

// The centre comes again with what a busy card did not take, to a handset of its
// own and to one elsewhere.
func TestBusyCardIsTriedAgain(t *testing.T) {
	for name, remote := range map[string]bool{"local": false, "remote": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for the centre's pauses
			c := newCard(t, nil)
			b := &busy{Card: c}
			b.left.Store(3)
			h := carried(t, b, &Actor{PIN2: testPIN2, Behaviour: Signs})
			l := Line{MSISDN: line}
			if !remote {
				l.Handset = h
			}
			n := newCentre(t, handsetPassword, l)
			n.card = c
			if remote {
				attach(t, n, line, h)
			}
			s, taken := n.bind(t, nil)
			began := time.Now()
			ids := submit(t, s, c.segments(t, challenge()))
			m := collect(t, taken, 1, once)
			if a := n.answer(t, m.parts); a.Result != applet.Signed || m.receipts[ids[0]] != smpp.Delivered {
				t.Errorf("%s, receipt %s", a.Result, m.receipts[ids[0]])
			}
			if took := time.Since(began); took < 3*busyPause || b.envelopes.Load() != 4 {
				t.Errorf("%d envelopes in %s", b.envelopes.Load(), took)
			}
		})
	}
}

// What stays busy is given up at some time, which is when the message expires if
// that is sooner, and at once when the centre closes.
func TestBusyCardIsNotTriedForEver(t *testing.T) {
	b := &busy{Card: newCard(t, nil)}
	b.left.Store(1 << 30)
	n := newCentre(t, "", Line{MSISDN: line, Handset: carried(t, b, person())})
	m := messages(n.card.segments(t, challenge()))[0]
	s, taken := n.bind(t, nil)
	n.deliver(&terminating{m: m, id: "old", session: n.anybody(), submitted: time.Now().Add(-busyFor - time.Second)})
	if got := collect(t, taken, 1, none); got.receipts["old"] != smpp.Expired || b.envelopes.Load() != 1 {
		t.Errorf("receipts %v after %d envelopes", got.receipts, b.envelopes.Load())
	}
	m.Validity = "000000000001000R" // a second
	began := time.Now()
	id, err := s.Submit(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(t, taken, 1, none); got.receipts[id] != smpp.Expired || time.Since(began) < busyPause || time.Since(began) > time.Second+busyPause {
		t.Errorf("receipts %v after %s", got.receipts, time.Since(began))
	}
	before := b.envelopes.Load()
	m.Validity = ""
	if _, err := s.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	until(t, "the next envelope", func() bool { return b.envelopes.Load() > before })
	began = time.Now()
	_ = n.Close()
	before = b.envelopes.Load()
	if took := time.Since(began); took > busyPause+time.Second {
		t.Errorf("closed after %s", took)
	}
	time.Sleep(2 * busyPause)
	if after := b.envelopes.Load(); after != before {
		t.Errorf("%d envelopes after the end", after-before)
	}
}

// A challenge more than a card has room for, while its person looks at the first:
// it is taken when there is room, and each is answered once.
func TestOneChallengeMoreThanACardTakes(t *testing.T) {
	looking, act := make(chan struct{}, 100), make(chan struct{})
	n := newCentre(t, handsetPassword)
	attach(t, n, line, carried(t, n.card, &Actor{PIN2: testPIN2, Behaviour: Signs, Think: func(ctx context.Context) {
		looking <- struct{}{}
		select {
		case <-act:
		case <-ctx.Done():
		}
	}}))
	s, taken := n.bind(t, nil)
	var asked []applet.Reference
	answers := make(map[applet.Reference][]applet.Result)
	ask := func() (id string) {
		c := challenge()
		c.Short = true // so that each answer is one message
		asked = append(asked, c.Reference)
		return submit(t, s, n.card.segments(t, c))[0]
	}
	take := func() (receipt string) {
		got := receive(t, taken, "a receipt or an answer")
		if got.IsReceipt() {
			r, err := smpp.ParseReceipt(got)
			if err != nil || r.State != smpp.Delivered {
				t.Fatalf("a receipt %+v, %v", r, err)
			}
			return r.MessageID
		}
		part, err := sms.ParseUserData(got.Message)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := n.card.open(t, sms.Message{Kind: part.Kind, Payload: part.Payload})
		answers[a.Reference] = append(answers[a.Reference], a.Result)
		return ""
	}
	for i := range 1 + mostProposals { // one after another, as their counters rise
		if id := ask(); take() != id {
			t.Fatalf("challenge %d is not taken at once", i)
		}
	}
	receive(t, looking, "the first challenge")
	last := ask()
	time.Sleep(busyPause / 2)
	if len(taken) > 0 {
		t.Errorf("while the card is full comes %+v", <-taken)
	}
	close(act)
	for done := false; !done || len(answers) < len(asked); {
		done = take() == last || done
	}
	for i, reference := range asked {
		want := []applet.Result{applet.Busy}
		if i == 0 || i == len(asked)-1 && answers[reference][0] == applet.Signed { // the last may find the screen free
			want = []applet.Result{applet.Signed}
		}
		if !slices.Equal(answers[reference], want) {
			t.Errorf("challenge %d is answered %v, want %v", i, answers[reference], want)
		}
	}
}

// Attach ends with its context, and with the centre, at once; and the handset
// has no network then.
func TestAttachEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*network, *aerial)
		want func(error) bool
	}{
		"with its context": {func(_ *network, a *aerial) { a.leave() }, func(err error) bool { return errors.Is(err, context.Canceled) }},
		"with the centre":  {func(n *network, _ *aerial) { _ = n.Close() }, func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) }},
		"with the session": {func(n *network, _ *aerial) { n.mu.Lock(); s := n.remote[line.Digits()]; n.mu.Unlock(); _ = s.Close() },
			func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newCentre(t, handsetPassword)
			h := carried(t, n.card, person())
			a := attach(t, n, line, h)
			until(t, "the handset", func() bool { return n.has(line) })
			began := time.Now()
			c.end(n, a)
			if err := a.end(); !c.want(err) {
				t.Errorf("ends with %v", err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			until(t, "the number's end", func() bool { return !n.has(line) })
			submitted := sms.Submit{Destination: asker, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true, UserData: []byte{2, 0x71, 0}}
			tpdu, err := submitted.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.send(tpdu); err == nil {
				t.Error("the handset still has a network")
			}
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	told := func() { t.Error("attached to nothing") }
	h := &Handset{Log: slog.New(slog.DiscardHandler)}
	if err := Attach(t.Context(), listener.Addr().String(), handsetPassword, line, h, told, h.Log); err == nil {
		t.Error("attached to nobody")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Attach(ctx, listener.Addr().String(), handsetPassword, line, h, told, h.Log); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Handsets that come and go in all ways, with work under way, leave nothing
// behind.
func TestRemoteHandsetsLeaveNothing(t *testing.T) {
	func() {
		n := newCentre(t, handsetPassword)
		warm := attach(t, n, "+994500000099", carried(t, newCard(t, nil), person()))
		before := runtime.NumGoroutine()
		s, _ := n.bind(t, nil)
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				number := simcard.MSISDN(fmt.Sprintf("+9945000001%02d", i))
				c := newCard(t, nil)
				h := &Handset{Card: c, Person: &Actor{PIN2: testPIN2, Behaviour: Signs}, Log: slog.New(slog.DiscardHandler)}
				if err := h.SwitchOn(context.Background()); err != nil {
					t.Error(err)
					return
				}
				defer h.SwitchOff()
				wrong := map[bool]string{true: "wrong", false: handsetPassword}[i%4 == 3]
				a := tryAttach(t, n.addr, wrong, number, h)
				if i%4 == 3 {
					if err := a.end(); !errors.Is(err, smpp.StatusInvalidPassword) {
						t.Errorf("with a wrong password: %v", err)
					}
					return
				}
				select {
				case <-a.attached:
				case err := <-a.ended:
					t.Errorf("not attached: %v", err)
					return
				}
				m := messages(c.segments(t, challenge()))[0]
				m.Dest = smpp.International(number.Digits())
				if _, err := s.Submit(t.Context(), m); err != nil {
					t.Error(err)
				}
				if i%4 == 1 {
					n.mu.Lock()
					theirs := n.remote[number.Digits()]
					n.mu.Unlock()
					_ = theirs.Close()
				} else {
					a.leave()
				}
				<-a.ended
			})
		}
		all.Wait()
		_ = s.Close() // and with it those who wait for its messages
		goroutinesEnd(t, before)
		warm.leave()
		_ = warm.end()
	}()
}
