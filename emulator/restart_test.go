package emulator

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"imza/simcard"
	"imza/smpp"
)

// A restart as ESMEs see it: the connection breaks with nothing said, nobody
// listens for a while, and then somebody does on the same port.
func TestRestartCutsWithoutAWord(t *testing.T) {
	a := newAviary(t, Line{}, func(*SMSC) {})
	conn, err := net.Dial("tcp", a.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bind := smpp.BindRequest{SystemID: "imza", Password: password, InterfaceVersion: 0x34}
	frame := smpp.PDU{Command: smpp.BindTransceiver, Sequence: 1, Body: encoded(t, &bind)}
	if _, err := conn.Write(frame.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if p, err := smpp.ReadPDU(conn, smpp.MaxPDU); err != nil || p.Status != smpp.StatusOK {
		t.Fatal(p, err)
	}
	const down = 200 * time.Millisecond
	began, back := time.Now(), make(chan error, 1)
	go func() { back <- a.Restart(down) }()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); len(rest) > 0 || errors.Is(err, net.ErrClosed) {
		t.Errorf("said %x, then %v", rest, err)
	}
	if took := time.Since(began); took > down {
		t.Errorf("cut after %s", took)
	}
	if _, err := net.Dial("tcp", a.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("while it is down: %v", err)
	}
	if err := a.Restart(0); err == nil {
		t.Error("restarted while it restarts")
	}
	if err := receive(t, back, "the end of the restart"); err != nil || time.Since(began) < down {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	for range 20 { // one after the other, with nobody there
		if err := a.Restart(0); err != nil {
			t.Fatal(err)
		}
	}
	a.bind(t, nil)
}

// What was accepted goes on: what the network holds, and what waits for an ESME.
func TestRestartKeepsWhatWasAccepted(t *testing.T) {
	const messages = 20
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network.Delay.Median = 100 * time.Millisecond })
	s, _ := a.bind(t, nil)
	ids := make(map[string]bool)
	for i := range messages {
		id, err := s.Submit(t.Context(), whistle(bird(i), 1, 1)[0])
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if err := a.Restart(0); err != nil {
		t.Fatal(err)
	}
	// All is at the ESME's door before there is one.
	until(t, "what waits", func() bool { return a.Stats().Waiting == 2*messages })
	_, taken := a.bind(t, nil)
	answers := make(map[string]bool)
	for range 2 * messages {
		m := receive(t, taken, "an answer or a receipt")
		if !m.IsReceipt() {
			answers[m.Source.Addr] = true
			continue
		}
		r, err := smpp.ParseReceipt(m)
		if err != nil || !ids[r.MessageID] || r.State != smpp.Delivered {
			t.Errorf("%+v, %v", r, err)
		}
		delete(ids, r.MessageID)
	}
	if len(ids) > 0 || len(answers) != messages {
		t.Errorf("%d receipts are missing, %d answers came", len(ids), len(answers))
	}
	until(t, "nothing waits", func() bool { return a.Stats().Waiting == 0 })
}

// Restarts while an ESME does all it can, again and again: nothing that was
// accepted is lost.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel() // it waits most of the time
	a := newAviary(t, Line{}, func(*SMSC) {})
	calm := a.sing(t, 0, func() {})
	for n := range 3 {
		restarted := a.sing(t, 0, func() {
			time.Sleep(time.Duration(n) * 3 * time.Millisecond)
			if err := a.Restart(time.Duration(n) * 10 * time.Millisecond); err != nil {
				t.Error(err)
			}
		})
		for what, times := range calm {
			if restarted[what] < times {
				t.Errorf("%s came %d times, and %d times with restarts", what, times, restarted[what])
			}
		}
	}
}

func TestRestartWhereThereIsNothing(t *testing.T) {
	c := NewSMSC(func(string) (smpp.Account, bool) { return smpp.Account{}, true }, nil)
	if err := c.Restart(0); err == nil {
		t.Error("restarted before Serve")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Restart(0); err == nil {
		t.Error("restarted after Close")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Serve(listener); !errors.Is(err, net.ErrClosed) {
		t.Errorf("served after Close: %v", err)
	}
}

// Close while the port is down ends both Serve (newAviary sees to that) and
// Restart.
func TestCloseWhileItRestarts(t *testing.T) {
	a := newAviary(t, Line{}, func(*SMSC) {})
	a.bind(t, nil)
	back := make(chan error, 1)
	go func() { back <- a.Restart(time.Hour) }()
	until(t, "the port to close", func() bool {
		conn, err := net.Dial("tcp", a.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, back, "the end of the restart"); err == nil {
		t.Error("restarted although it was closed")
	}
}

// A handset in another process is cut off as well, and may come back.
func TestRestartCutsHandsetsOff(t *testing.T) {
	n := newCentre(t, handsetPassword)
	h := &Handset{Card: newCard(t, nil), Person: person(), Log: n.Log}
	first := attach(t, n, line, h)
	if err := n.Restart(0); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, first.ended, "the end of the connection"); err == nil {
		t.Error("it ended well")
	}
	attach(t, n, line, h)
	if !n.has(simcard.MSISDN(line)) {
		t.Error("the centre does not know of it")
	}
}
