package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/smpp"
)

// parrot is a card that answers each ENVELOPE with one message, which says the
// same, and is the same segment of as many.
type parrot struct {
	send func(tpdu []byte) error

	mu    sync.Mutex
	heard []string // the end of each message that it got
}

// said is how many octets a parrot says again.
const said = 8

func (p *parrot) Transmit(command []byte) ([]byte, error) {
	if command[1] != simcard.Envelope {
		return []byte{0x90, 0x00}, nil
	}
	ending := command[len(command)-said:]
	p.mu.Lock()
	p.heard = append(p.heard, string(ending))
	p.mu.Unlock()
	ud := []byte{5, 0, 3, ending[5] - '0', ending[6] - '0', ending[7] - '0'}
	submit := sms.Submit{Destination: asker, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true, UserData: append(ud, ending...)}
	tpdu, err := submit.Append(nil)
	if err != nil {
		return nil, err
	}
	return []byte{0x90, 0x00}, p.send(tpdu)
}

// aviary is a centre with the lines of many numbers, each with a parrot, which
// are made when they are asked for.
type aviary struct {
	*network
	like Line // what all are like

	mu    sync.Mutex
	lines map[string]*Line
	held  int // not released
	asked int
}

func (a *aviary) Has(number string) bool { return strings.HasPrefix(number, "99450999") }

func (a *aviary) Line(number string) *Line {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lines[number]
	if l == nil {
		card, copied := new(parrot), a.like
		l = &copied
		l.MSISDN, l.Handset = simcard.MSISDN("+"+number), &Handset{Card: card, Person: person(), Log: a.Log}
		if err := l.Handset.SwitchOn(context.Background()); err != nil {
			return nil
		}
		a.Connect(l)
		card.send = l.Handset.Send
		a.lines[number] = l
	}
	a.asked++
	a.held++
	return l
}

func (a *aviary) Release(*Line) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held--
}

// heard is what came to the card of a number.
func (a *aviary) heard(number string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.lines[number]
	if l == nil {
		return nil
	}
	p := l.Handset.Card.(*parrot)
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

// newAviary serves on a port of this machine; set may change the centre before.
func newAviary(t testing.TB, like Line, set func(*SMSC)) *aviary {
	t.Helper()
	a := &aviary{network: new(network), like: like, lines: make(map[string]*Line)}
	a.SMSC = NewSMSC(func(id string) (smpp.Account, bool) { return smpp.Account{Password: password}, id == "imza" }, slog.New(slog.DiscardHandler))
	a.Lines, a.HandsetPassword = a, handsetPassword
	set(a.SMSC)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.addr = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- a.Serve(listener) }()
	t.Cleanup(func() {
		_ = a.Close()
		if err := receive(t, served, "the end of Serve"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return a
}

// bird is a number of an aviary.
func bird(i int) string { return fmt.Sprintf("99450999%04d", i) }

// whistle is a message in as many segments, each of which ends with the last four
// digits of its number, n, the number of segments, and which it is.
func whistle(number string, n, segments byte) (all []*smpp.ShortMessage) {
	for i := range segments {
		ud := []byte{5, 0, 3, n, segments, i + 1}
		all = append(all, &smpp.ShortMessage{
			Source: smpp.International(asker.Digits), Dest: smpp.International(number),
			ESMClass: smpp.ESMClassUDHI, ProtocolID: sms.PIDDataDownload, DataCoding: sms.DCSClass2Binary,
			RegisteredDelivery: smpp.ReceiptOnFinal, Message: fmt.Appendf(ud, "%s%02d%d%d", number[8:], n, segments, i+1),
		})
	}
	return all
}

func TestLinesAreAskedForWhatWasNotAdded(t *testing.T) {
	a := newAviary(t, Line{}, func(*SMSC) {})
	s, taken := a.bind(t, nil)
	for i := range 20 {
		if _, err := s.Submit(t.Context(), whistle(bird(i%10), byte(i/10), 1)[0]); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a receipt and an answer
			if m := receive(t, taken, "what comes back"); m.Source.Addr != bird(i%10) {
				t.Errorf("%s instead of %s", m.Source.Addr, bird(i%10))
			}
		}
	}
	if _, err := s.Submit(t.Context(), whistle("994500000009", 0, 1)[0]); !errors.Is(err, smpp.StatusInvalidDest) {
		t.Errorf("a number that nobody has: %v", err)
	}
	until(t, "the release of each", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.held == 0 })
	if a.asked != 20 || len(a.lines) != 10 {
		t.Errorf("%d lines, asked for %d times", len(a.lines), a.asked)
	}
	// A number that Lines has is not given to a handset elsewhere.
	h := &Handset{Card: new(parrot), Person: person(), Log: a.Log}
	if err := Attach(t.Context(), a.addr, handsetPassword, simcard.MSISDN("+"+bird(1)), h, nil, a.Log); !errors.Is(err, smpp.StatusInvalidSystemID) {
		t.Errorf("attached: %v", err)
	}
}
