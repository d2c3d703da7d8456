package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/smpp"
)

const (
	line     = simcard.MSISDN("+994500000001")
	password = "open-me"
)

// network is a message centre with one line, on a port of this machine alone.
type network struct {
	*SMSC
	addr    string
	card    *card
	handset *Handset
}

func newNetwork(t testing.TB, l Line, p Person) *network {
	t.Helper()
	n := &network{card: newCard(t, nil)}
	n.SMSC = NewSMSC(func(id string) (smpp.Account, bool) { return smpp.Account{Password: password}, id == "imza" }, slog.New(slog.DiscardHandler))
	if p == nil {
		p = &Actor{PIN2: testPIN2, Behaviour: Signs}
	}
	n.handset = &Handset{Card: n.card, Person: p, Log: n.Log}
	if err := n.handset.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.MSISDN, l.Handset = line, n.handset
	n.Add(&l)
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

// bind binds as the gateway does. handle may be nil: all is taken, into a
// channel.
func (n *network) bind(t testing.TB, handle smpp.Handler) (*smpp.Session, <-chan *smpp.ShortMessage) {
	t.Helper()
	taken := make(chan *smpp.ShortMessage, 100)
	if handle == nil {
		handle = func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
			taken <- m
			return "", smpp.StatusOK
		}
	}
	s, err := n.dial(t, smpp.BindRequest{SystemID: "imza", Password: password}, handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, taken
}

func (n *network) dial(t testing.TB, request smpp.BindRequest, handle smpp.Handler) (*smpp.Session, error) {
	t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	s, err := smpp.Bind(ctx, conn, smpp.BindTransceiver, request, smpp.Options{Handler: handle})
	if err != nil {
		conn.Close()
	}
	return s, err
}

// anybody is the centre's end of a session that receives.
func (n *network) anybody() *smpp.Session {
	n.esmes.mu.Lock()
	defer n.esmes.mu.Unlock()
	return n.esmes.choose(new(outgoing))
}

// messages are the submit_sm of a challenge.
func messages(segments [][]byte) (all []*smpp.ShortMessage) {
	for _, ud := range segments {
		all = append(all, &smpp.ShortMessage{
			Source: smpp.International(asker.Digits), Dest: smpp.International(line.Digits()),
			ESMClass: smpp.ESMClassUDHI, ProtocolID: sms.PIDDataDownload, DataCoding: sms.DCSClass2Binary,
			RegisteredDelivery: smpp.ReceiptOnFinal, Message: ud,
		})
	}
	return all
}

// submit sends a challenge and returns the centre's ids.
func submit(t testing.TB, s *smpp.Session, segments [][]byte) (ids []string) {
	t.Helper()
	for _, m := range messages(segments) {
		id, err := s.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// mail is what came in for a challenge: its receipts, and the answer's parts
// in the order in which they came.
type mail struct {
	receipts map[string]smpp.State
	parts    []sms.Part
}

// collect takes what comes until all of it is there.
func collect(t testing.TB, taken <-chan *smpp.ShortMessage, receipts int, whole func([]sms.Part) bool) mail {
	t.Helper()
	m := mail{receipts: make(map[string]smpp.State)}
	for len(m.receipts) < receipts || !whole(m.parts) {
		got := receive(t, taken, fmt.Sprintf("more than %d receipts and %d parts", len(m.receipts), len(m.parts)))
		if got.IsReceipt() {
			r, err := smpp.ParseReceipt(got)
			if err != nil {
				t.Fatal(err)
			}
			m.receipts[r.MessageID] = r.State
			continue
		}
		if got.Source != smpp.International(line.Digits()) || got.Dest != smpp.International(asker.Digits) ||
			got.ESMClass != smpp.ESMClassUDHI || got.ProtocolID != sms.PIDDataDownload || got.DataCoding != sms.DCSClass2Binary {
			t.Fatalf("the answer comes as %+v", got)
		}
		part, err := sms.ParseUserData(bytes.Clone(got.Message))
		if err != nil {
			t.Fatal(err)
		}
		m.parts = append(m.parts, part)
	}
	return m
}

func none([]sms.Part) bool { return true }

// once is that each part of an answer is there; twice, that it is so twice.
func once(parts []sms.Part) bool  { return len(parts) > 0 && len(parts) == int(parts[0].Total) }
func twice(parts []sms.Part) bool { return len(parts) > 0 && len(parts) == 2*int(parts[0].Total) }

func (n *network) answer(t testing.TB, parts []sms.Part) applet.Answer {
	t.Helper()
	m, err := sms.Join(parts)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := n.card.open(t, m)
	return a
}

// held is a network whose person waits until told, and a channel that tells
// when the handset has sent something.
func held(t *testing.T) (n *network, looking chan struct{}, act chan struct{}, sent chan struct{}) {
	t.Helper()
	looking, act, sent = make(chan struct{}, 10), make(chan struct{}), make(chan struct{}, 10)
	n = newNetwork(t, Line{}, &Actor{PIN2: testPIN2, Behaviour: Signs, Think: func(ctx context.Context) {
		looking <- struct{}{}
		select {
		case <-act:
		case <-ctx.Done():
		}
	}})
	send := n.handset.Send
	n.handset.Send = func(tpdu []byte) error {
		defer func() { sent <- struct{}{} }()
		return send(tpdu)
	}
	return n, looking, act, sent
}
