package smpp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// farSMSC is an operator in memory. What it answers is the test's to say.
type farSMSC struct {
	t    *testing.T
	size int // of each connection; 64 KiB

	// Each may be nil, for an operator that is well. n is the number of the
	// connection, from 1.
	unreachable func(n int) bool
	bind        func(n int) Status
	submit      func(n int, text string) Status
	bound       func(n int, conn *farSide)

	mu      sync.Mutex
	conns   []*farConn // all there ever were
	refused int
}

// Beside what SMPP has, an operator may do this on a request.
const (
	farSilent Status = 0xFFFF0001 + iota // not answer
	farHangUp                            // close the connection
)

// farConn is one connection to a farSMSC.
type farConn struct {
	n     int
	side  *farSide
	at    time.Time
	role  Command
	heard []farHeard
}

// farHeard is one request that came.
type farHeard struct {
	command  Command
	sequence uint32
	text     string
	at       time.Time
}

func (f *farSMSC) dial(context.Context, string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &farConn{n: len(f.conns) + 1, at: time.Now()}
	f.conns = append(f.conns, c)
	if f.unreachable != nil && f.unreachable(c.n) {
		f.refused++
		return nil, errors.New("nobody is there")
	}
	if f.size == 0 {
		f.size = 64 << 10
	}
	near, far := memPipe(f.size)
	c.side = &farSide{f.t, far}
	go f.serve(c)
	return near, nil
}

func (f *farSMSC) serve(c *farConn) {
	defer c.side.conn.Close()
	for {
		p, err := ReadPDU(c.side.conn, MaxPDU)
		if err != nil {
			return
		}
		h := farHeard{command: p.Command, sequence: p.Sequence, at: time.Now()}
		answer := PDU{Command: p.Command | response, Sequence: p.Sequence}
		switch p.Command {
		case SubmitSM:
			h.text = said(f.t, p)
			answer.Body = append([]byte(h.text), fmt.Sprint("@", c.n, "\x00")...)
		case BindTransceiver, BindTransmitter, BindReceiver:
			answer.Body = []byte("far\x00")
		}
		f.mu.Lock()
		c.heard = append(c.heard, h)
		f.mu.Unlock()
		switch p.Command {
		case SubmitSM:
			if f.submit != nil {
				answer.Status = f.submit(c.n, h.text)
			}
		case BindTransceiver, BindTransmitter, BindReceiver:
			f.mu.Lock()
			c.role = p.Command
			f.mu.Unlock()
			if f.bind != nil {
				answer.Status = f.bind(c.n)
			}
		}
		switch {
		case answer.Status == farSilent || p.Command&response != 0:
			continue
		case answer.Status == farHangUp:
			return
		case answer.Status != StatusOK:
			answer.Body = nil
		}
		if _, err := c.side.conn.Write(answer.Append(nil)); err != nil || p.Command == Unbind {
			return
		}
		if c.role == p.Command && f.bound != nil {
			f.bound(c.n, c.side)
		}
	}
}

// texts are the messages that came over a connection, in order.
func (f *farSMSC) texts(n int) (all []string) {
	for _, h := range f.heard(n) {
		if h.command == SubmitSM {
			all = append(all, h.text)
		}
	}
	return all
}

func (f *farSMSC) heard(n int) []farHeard {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > len(f.conns) {
		return nil
	}
	return slices.Clone(f.conns[n-1].heard)
}

// attempts are when it was dialled.
func (f *farSMSC) attempts() (all []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		all = append(all, c.at)
	}
	return all
}

// conn is the n-th connection, once it is bound.
func (f *farSMSC) conn(n int) *farSide {
	f.t.Helper()
	for range 1000 {
		synctest.Wait()
		f.mu.Lock()
		if len(f.conns) >= n && f.conns[n-1].role != 0 {
			defer f.mu.Unlock()
			return f.conns[n-1].side
		}
		f.mu.Unlock()
		time.Sleep(time.Second)
	}
	f.t.Fatalf("connection %d does not come", n)
	return nil
}

// running runs a pool until the test ends, or stop is called.
func running(t *testing.T, p *Pool) (stop func()) {
	t.Helper()
	if p.Name == "" {
		p.Name = "operator"
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); p.Run(ctx) }()
	stop = func() { cancel(); <-stopped }
	t.Cleanup(stop)
	return stop
}

// segments of the message with this name.
func segments(name string, n int) (all []*ShortMessage) {
	for i := range n {
		all = append(all, sms(fmt.Sprint(name, "-", i)))
	}
	return all
}

func TestPoolSharesTheLoad(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, submit: func(int, string) Status { time.Sleep(10 * time.Millisecond); return StatusOK }}
		p := &Pool{Binds: 3, Dial: far.dial}
		running(t, p)
		far.conn(3)
		synctest.Wait()
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				for range 20 {
					if _, err := p.Submit(t.Context(), nil, sms("x")); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		for n := range 3 {
			if got := len(far.texts(n + 1)); got < 150 || got > 250 {
				t.Errorf("%d of 600 went over bind %d", got, n+1)
			}
		}
	})
}

// All segments of a message go over one bind, in order, through any window, and
// the ids come back in order.
func TestPoolKeepsAMessageTogether(t *testing.T) {
	for _, window := range []int{1, 2, 10} {
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far := &farSMSC{t: t, submit: func(int, string) Status { time.Sleep(time.Millisecond); return StatusOK }}
				p := &Pool{Binds: 3, Dial: far.dial, Options: Options{Window: window}}
				running(t, p)
				const messages, parts = 50, 4
				var all sync.WaitGroup
				for n := range messages {
					all.Go(func() {
						turns := 0
						ids, err := p.Submit(t.Context(), func() error { turns++; return nil }, segments(fmt.Sprint(n), parts)...)
						if err != nil || len(ids) != parts || turns != 1 {
							t.Errorf("%q, %d turns, %v", ids, turns, err)
							return
						}
						_, bind, _ := strings.Cut(ids[0], "@")
						for i, id := range ids {
							if id != fmt.Sprintf("%d-%d@%s", n, i, bind) {
								t.Errorf("message %d has the ids %q", n, ids)
							}
						}
					})
				}
				all.Wait()
				total := 0
				for n := range 3 {
					next := map[string]int{}
					for _, text := range far.texts(n + 1) {
						total++
						var message, part int
						if _, err := fmt.Sscanf(text, "%d-%d", &message, &part); err != nil || next[fmt.Sprint(message)] != part {
							t.Errorf("segment %s out of order", text)
						}
						next[fmt.Sprint(message)]++
					}
				}
				if total != messages*parts {
					t.Errorf("%d segments came, want %d", total, messages*parts)
				}
			})
		})
	}
}

// A bind that dies, or leaves a segment unanswered, or has been forgotten by the
// other side, means that what it did not accept goes again over another; the
// caller hears nothing of it but the ids.
func TestPoolSendsAgainOverAnotherBind(t *testing.T) {
	for name, c := range map[string]struct {
		binds  int
		answer Status
	}{
		"hangs up, another bind":   {2, farHangUp},
		"hangs up, the only bind":  {1, farHangUp},
		"silent, another bind":     {2, farSilent},
		"forgotten, another bind":  {2, StatusNotBound},
		"forgotten, the only bind": {1, StatusNotBound},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				bad := 0 // the connection that does it
				far := &farSMSC{t: t, submit: func(n int, text string) Status {
					mu.Lock()
					defer mu.Unlock()
					if bad == 0 && text == "m-1" {
						bad = n
						return c.answer
					}
					return StatusOK
				}}
				p := &Pool{Binds: c.binds, Dial: far.dial}
				running(t, p)
				far.conn(c.binds)
				turns := 0
				ids, err := p.Submit(t.Context(), func() error { turns++; return nil }, segments("m", 3)...)
				if err != nil || turns != 2 {
					t.Fatalf("%q, %d turns, %v", ids, turns, err)
				}
				for i, id := range ids {
					text, bind, _ := strings.Cut(id, "@")
					if text != fmt.Sprintf("m-%d", i) || i == 1 && bind == fmt.Sprint(bad) {
						t.Errorf("ids %q after connection %d failed", ids, bad)
					}
				}
				sent := map[string]int{}
				for n := range c.binds + 1 {
					for _, text := range far.texts(n + 1) {
						sent[text]++
					}
				}
				// What was accepted before the end is not sent again. A dead connection
				// may have swallowed the answer to the third.
				if sent["m-0"] != 1 && c.answer != farHangUp || sent["m-1"] != 2 || sent["m-2"] > 2 {
					t.Errorf("sent %v", sent)
				}
				if p.retries.Load() != 1 {
					t.Errorf("%d retries", p.retries.Load())
				}
			})
		})
	}
}

// However often binds die under many messages, all of them come through.
func TestPoolOutlivesDyingBinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		served := 0
		far := &farSMSC{t: t, submit: func(int, string) Status {
			mu.Lock()
			defer mu.Unlock()
			if served++; served%20 == 0 && served < 400 {
				return farHangUp
			}
			return StatusOK
		}}
		p := &Pool{Binds: 2, Dial: far.dial}
		running(t, p)
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				if ids, err := p.Submit(t.Context(), nil, segments(fmt.Sprint(n), 2)...); err != nil || len(ids) != 2 {
					t.Errorf("%q %v", ids, err)
				}
			})
		}
		all.Wait()
		if len(far.attempts()) < 5 {
			t.Errorf("there were %d connections", len(far.attempts()))
		}
	})
}

// Of a message that a busy operator took in part, only the rest is sent again,
// over the same bind.
func TestPoolSendsAgainWhatWasThrottled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := map[string]int{}
		far := &farSMSC{t: t, submit: func(_ int, text string) Status {
			mu.Lock()
			defer mu.Unlock()
			seen[text]++
			switch {
			case text == "m-1" && seen[text] <= 2:
				return StatusThrottled
			case text == "m-3" && seen[text] <= 3:
				return StatusQueueFull
			}
			return StatusOK
		}}
		p := &Pool{Binds: 3, Dial: far.dial}
		running(t, p)
		far.conn(3)
		turns := 0
		ids, err := p.Submit(t.Context(), func() error { turns++; return nil }, segments("m", 4)...)
		if err != nil || turns != 4 {
			t.Fatalf("%d turns, %v", turns, err)
		}
		_, bind, _ := strings.Cut(ids[0], "@")
		if want := []string{"m-0@" + bind, "m-1@" + bind, "m-2@" + bind, "m-3@" + bind}; !reflect.DeepEqual(ids, want) {
			t.Errorf("ids %q", ids)
		}
		var n int
		_, _ = fmt.Sscan(bind, &n)
		if got := far.texts(n); !reflect.DeepEqual(got, []string{"m-0", "m-1", "m-2", "m-3", "m-1", "m-3", "m-1", "m-3", "m-3"}) {
			t.Errorf("sent %q", got)
		}
	})
}

// What was throttled of a message goes over another bind if its own has died
// since.
func TestPoolThrottledAndThenDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		far.submit = func(n int, text string) Status {
			if n == 1 && text == "m-1" {
				time.AfterFunc(time.Millisecond, func() { far.conns[0].side.conn.Close() })
				return StatusThrottled
			}
			return StatusOK
		}
		p := &Pool{Dial: far.dial}
		running(t, p)
		ids, err := p.Submit(t.Context(), nil, segments("m", 2)...)
		if err != nil || !reflect.DeepEqual(ids, []string{"m-0@1", "m-1@2"}) {
			t.Errorf("%q %v", ids, err)
		}
	})
}

// Any other refusal ends a message, as what the operator said.
func TestPoolTellsARefusal(t *testing.T) {
	for name, answers := range map[string]map[string]Status{
		"the only segment":         {"m-0": StatusInvalidDest},
		"a segment among others":   {"m-1": StatusInvalidDest},
		"and then hangs up":        {"m-0": StatusInvalidDest, "m-2": farHangUp},
		"hangs up before all came": {"m-0": StatusInvalidDest, "m-1": farHangUp},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far := &farSMSC{t: t, submit: func(_ int, text string) Status { return answers[text] }}
				p := &Pool{Dial: far.dial}
				running(t, p)
				ids, err := p.Submit(t.Context(), nil, segments("m", 3)...)
				var got Status
				if ids != nil || !errors.As(err, &got) || got != StatusInvalidDest || errors.Is(err, ErrUnanswered) {
					t.Errorf("%q %v", ids, err)
				}
				if got := far.texts(1); len(got) > 3 || len(far.texts(2)) > 0 {
					t.Errorf("sent again: %q", got)
				}
			})
		})
	}
}

// A message that cannot be written is nothing to try again.
func TestPoolDoesNotRepeatWhatCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Dial: far.dial}
		running(t, p)
		bad := sms("x")
		bad.ServiceType = "too long"
		var field *FieldError
		if _, err := p.Submit(t.Context(), nil, bad); !errors.As(err, &field) || p.retries.Load() != 0 {
			t.Errorf("%v, %d retries", err, p.retries.Load())
		}
	})
}

// checkPauses checks the time between attempts: the n-th pause is in the upper
// half of what is due.
func checkPauses(t *testing.T, attempts []time.Time, due func(n int) time.Duration) {
	t.Helper()
	distinct := map[time.Duration]bool{}
	for n := range len(attempts) - 1 {
		pause := attempts[n+1].Sub(attempts[n])
		if d := due(n); pause < d/2 || pause > d {
			t.Errorf("pause %d is %s, want %s to %s", n, pause, d/2, d)
		}
		distinct[pause] = true
	}
	if len(distinct) < (len(attempts)-1)*3/4 {
		t.Errorf("pauses are the same again and again: %v", distinct)
	}
}

// An operator that cannot be reached, or says "already bound" since it has not
// noticed that the last session is dead, is tried again, ever more slowly.
func TestPoolBacksOff(t *testing.T) {
	const failures = 12
	for name, far := range map[string]*farSMSC{
		"unreachable":   {unreachable: func(n int) bool { return n <= failures }},
		"already bound": {bind: func(n int) Status { return map[bool]Status{true: StatusAlreadyBound}[n <= failures] }},
		"hangs up":      {bind: func(n int) Status { return map[bool]Status{true: farHangUp}[n <= failures] }},
		"bind and hang up": {bound: func(n int, c *farSide) {
			if n <= failures {
				c.conn.Close()
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far.t = t
				p := &Pool{Dial: far.dial}
				running(t, p)
				began := time.Now()
				id, err := p.Submit(t.Context(), nil, sms("waits"))
				for err == nil && id[0] != fmt.Sprint("waits@", failures+1) {
					id, err = p.Submit(t.Context(), nil, sms("waits")) // it got through to one that hung up
				}
				if err != nil {
					t.Fatal(err)
				}
				attempts := far.attempts()
				if len(attempts) != failures+1 {
					t.Errorf("%d attempts", len(attempts))
				}
				checkPauses(t, attempts, func(n int) time.Duration {
					return min(50*time.Millisecond<<n, 5*time.Second)
				})
				if passed := time.Since(began); passed > time.Minute {
					t.Errorf("bound after %s", passed)
				}
			})
		})
	}
}

// Who is refused by name or password does not try fast: that locks accounts.
func TestPoolWithAWrongPassword(t *testing.T) {
	for _, status := range []Status{StatusInvalidPassword, StatusInvalidSystemID} {
		t.Run(fmt.Sprintf("%#x", uint32(status)), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far := &farSMSC{t: t, bind: func(int) Status { return status }}
				p := &Pool{Dial: far.dial}
				running(t, p)
				time.Sleep(10 * time.Minute)
				attempts := far.attempts()
				if len(attempts) < 20 || len(attempts) > 41 {
					t.Errorf("%d attempts in ten minutes", len(attempts))
				}
				checkPauses(t, attempts, func(int) time.Duration { return 30 * time.Second })
			})
		})
	}
}

// A session that lasted is bound anew at once, or nearly, and failures after it
// count from the beginning.
func TestPoolRebindsSoonAfterALongSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, unreachable: func(n int) bool { return n != 8 && n < 11 }}
		p := &Pool{Dial: far.dial}
		running(t, p)
		c := far.conn(8)
		time.Sleep(time.Minute)
		ended := time.Now()
		c.conn.Close()
		far.conn(11)
		attempts := far.attempts()
		checkPauses(t, append([]time.Time{ended}, attempts[8:11]...), func(n int) time.Duration { return 50 * time.Millisecond << n })
	})
}

// What is submitted while the operator is away goes out when it is back.
func TestPoolOutlivesTheSMSC(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, unreachable: func(n int) bool { return n > 1 && n < 9 }}
		p := &Pool{Dial: far.dial}
		waits := make(chan error)
		go func() { _, err := p.Submit(t.Context(), nil, sms("before Run")); waits <- err }()
		synctest.Wait()
		if p.Bound() {
			t.Error("bound already")
		}
		running(t, p)
		if err := <-waits; err != nil {
			t.Error(err)
		}
		if !p.Bound() {
			t.Error("not bound")
		}
		far.conn(1).conn.Close()
		synctest.Wait()
		if p.Bound() {
			t.Error("still bound")
		}
		if ids, err := p.Submit(t.Context(), nil, sms("while it is away")); err != nil || ids[0] != "while it is away@9" {
			t.Errorf("%q %v", ids, err)
		}
	})
}

// A pair is a transmitter and a receiver: what is sent goes over the one, what
// comes is taken on the other, and it is bound when both are.
func TestPoolOfAPair(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var refuse sync.Map
		refuse.Store(BindReceiver, true)
		far := &farSMSC{t: t}
		far.bind = func(n int) Status {
			far.mu.Lock()
			role := far.conns[n-1].role
			far.mu.Unlock()
			if _, yes := refuse.Load(role); yes {
				return StatusSystemError
			}
			return StatusOK
		}
		got := make(chan string, 1)
		p := &Pool{Pair: true, Binds: 2, Dial: far.dial}
		p.Handler = func(_ context.Context, from *Pool, m *ShortMessage) Status {
			if from != p {
				t.Error("the handler is told of another pool")
			}
			got <- string(m.Message)
			return StatusTemporary
		}
		running(t, p)
		time.Sleep(time.Second)
		synctest.Wait()
		if p.Bound() {
			t.Error("bound without a receiver")
		}
		refuse.Delete(BindReceiver)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !p.Bound() {
			t.Error("not bound")
		}
		roles := map[Command][]*farConn{}
		far.mu.Lock()
		for _, c := range far.conns {
			if open := len(c.heard) == 1 && c.side.conn.in.waiting() == 0; open {
				roles[c.role] = append(roles[c.role], c)
			}
		}
		far.mu.Unlock()
		if len(roles[BindTransmitter]) != 2 || len(roles[BindReceiver]) < 2 || len(roles[BindTransceiver]) > 0 {
			t.Fatalf("bound as %v", roles)
		}
		for n := range 20 {
			if _, err := p.Submit(t.Context(), nil, sms(fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
		}
		far.mu.Lock()
		receivers := roles[BindReceiver]
		for _, c := range receivers {
			if len(c.heard) > 1 {
				t.Errorf("a receiver was asked %s", c.heard[1].command)
			}
		}
		far.mu.Unlock()
		last := receivers[len(receivers)-1]
		last.side.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("theirs"))})
		if text := <-got; text != "theirs" {
			t.Errorf("%q came", text)
		}
		synctest.Wait()
		if h := far.heard(last.n); len(h) != 2 || h[1].command != DeliverSMResp {
			t.Errorf("the message was answered with %+v", h)
		}
	})
}

// turn is asked when nothing is left to wait for, and may still say no.
func TestPoolAsksForTheTurnLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var silent sync.Map
		silent.Store("holds the window", true)
		far := &farSMSC{t: t, unreachable: func(n int) bool { return n < 5 }, submit: func(_ int, text string) Status {
			if _, yes := silent.Load(text); yes {
				return farSilent
			}
			return StatusOK
		}}
		p := &Pool{Dial: far.dial, Options: Options{Window: 1, Timeout: time.Minute}}
		running(t, p)
		refused := errors.New("no longer wanted")
		asked := make(chan time.Time, 1)
		turn := func() error { asked <- time.Now(); return refused }
		if _, err := p.Submit(t.Context(), turn, segments("no", 2)...); err != refused {
			t.Errorf("%v", err)
		}
		if at := <-asked; at.Before(far.attempts()[4]) {
			t.Error("asked before there was a bind")
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = p.Submit(ctx, nil, sms("holds the window")) }()
		synctest.Wait()
		done := make(chan error)
		go func() { _, err := p.Submit(t.Context(), turn, segments("no", 2)...); done <- err }()
		time.Sleep(time.Second)
		select {
		case <-asked:
			t.Error("asked before there was room")
		default:
		}
		far.mu.Lock()
		c := far.conns[4]
		sequence := c.heard[len(c.heard)-1].sequence
		far.mu.Unlock()
		c.side.accept(PDU{Command: SubmitSM, Sequence: sequence}, "1")
		if err := <-done; err != refused {
			t.Errorf("%v", err)
		}
		cancel()
		if got := far.texts(5); !reflect.DeepEqual(got, []string{"holds the window"}) {
			t.Errorf("%q was sent", got)
		}
		if _, err := p.Submit(t.Context(), nil, sms("fits")); err != nil { // the places came back
			t.Error(err)
		}
	})
}

// Who waits for a bind, for room or for the rate does so as long as its context
// lasts.
func TestPoolWaitsAsLongAsTheContext(t *testing.T) {
	for name, c := range map[string]struct {
		far     *farSMSC
		rate    float64
		options Options
	}{
		"for a bind":       {far: &farSMSC{unreachable: func(int) bool { return true }}},
		"for room":         {far: &farSMSC{submit: func(int, string) Status { return farSilent }}, options: Options{Window: 1, Timeout: time.Hour}},
		"for an answer":    {far: &farSMSC{submit: func(int, string) Status { return farSilent }}, options: Options{Timeout: time.Hour}},
		"for the rate":     {far: &farSMSC{}, rate: 0.001},
		"for the operator": {far: &farSMSC{submit: func(int, string) Status { return StatusThrottled }}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c.far.t = t
				p := &Pool{Rate: c.rate, Options: c.options, Dial: c.far.dial}
				running(t, p)
				other, leave := context.WithCancel(t.Context())
				defer leave()
				go func() { _, _ = p.Submit(other, nil, sms("first")) }()
				time.Sleep(time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				began := time.Now()
				if _, err := p.Submit(ctx, nil, sms("second")); !errors.Is(err, context.Canceled) || time.Since(began) != time.Second {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				if _, err := p.Submit(ctx, nil, sms("third")); !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				if slices.Contains(c.far.texts(1), "third") {
					t.Error("sent for nobody")
				}
			})
		})
	}
}

// Run unbinds when its context ends, and then returns, whatever the other side
// does.
func TestPoolUnbindsAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Binds: 2, Pair: true, Dial: far.dial}
		stop := running(t, p)
		far.conn(4)
		synctest.Wait()
		began := time.Now()
		stop()
		if passed := time.Since(began); passed != 0 || p.Bound() {
			t.Errorf("Run returned after %s, bound: %t", passed, p.Bound())
		}
		for n := range 4 {
			if h := far.heard(n + 1); h[len(h)-1].command != Unbind {
				t.Errorf("bind %d: the last was %s", n+1, h[len(h)-1].command)
			}
		}
	})
	for name, far := range map[string]*farSMSC{
		"answers nothing":   {submit: func(int, string) Status { return farSilent }},
		"cannot be reached": {unreachable: func(int) bool { return true }},
		"does not let bind": {bind: func(int) Status { return farSilent }},
		"refuses":           {bind: func(int) Status { return StatusInvalidPassword }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far.t = t
				p := &Pool{Binds: 2, Dial: far.dial, Options: Options{Timeout: time.Minute}}
				stop := running(t, p)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { _, _ = p.Submit(ctx, nil, sms("x")) }()
				time.Sleep(time.Second)
				began := time.Now()
				stop()
				if passed := time.Since(began); passed > 4*time.Second {
					t.Errorf("Run returned after %s", passed)
				}
				cancel()
			})
		})
	}
}

// Neither an operator that does not let us in nor one that is silent in the
// midst of a handshake takes longer than a request may.
func TestPoolGivesUpDialling(t *testing.T) {
	const timeout = 10 * time.Second
	t.Run("dial", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			took := make(chan time.Duration, 100)
			p := &Pool{Options: Options{Timeout: timeout}, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
				began := time.Now()
				<-ctx.Done()
				took <- time.Since(began)
				return nil, ctx.Err()
			}}
			running(t, p)
			if d := <-took; d != timeout {
				t.Errorf("given up after %s", d)
			}
			if d := <-took; d != timeout { // and tried again
				t.Errorf("given up after %s", d)
			}
		})
	})
	t.Run("TLS", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			took := make(chan time.Duration, 100)
			p := &Pool{Addr: "smsc.example:3550", Options: Options{Timeout: timeout}, TLS: new(tls.Config), Dial: func(context.Context, string) (net.Conn, error) {
				near, far := memPipe(64 << 10)
				began := time.Now()
				go func() {
					b := make([]byte, 1000)
					for {
						if _, err := far.Read(b); err != nil {
							took <- time.Since(began)
							return
						}
					}
				}()
				return near, nil
			}}
			running(t, p)
			if d := <-took; d != timeout {
				t.Errorf("given up after %s", d)
			}
		})
	})
}

// Ids that an operator writes in hex are the same number in its receipts.
func TestPoolReadsIDs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, conn := memPipe(64 << 10)
		far := &farSide{t, conn}
		p := &Pool{IDs: IDs{Response: 16, Receipt: 10}, Dial: func(context.Context, string) (net.Conn, error) { return near, nil }}
		stop := running(t, p)
		far.say(PDU{Command: BindTransceiverResp, Sequence: far.want(BindTransceiver).Sequence})
		done := make(chan []string)
		go func() { ids, _ := p.Submit(t.Context(), nil, sms("x")); done <- ids }()
		far.accept(far.want(SubmitSM), "00fF")
		if ids := <-done; !reflect.DeepEqual(ids, []string{"255"}) || receiptedText(p.IDs, "0255") != "255" {
			t.Errorf("%q", ids)
		}
		conn.Close()
		stop()
	})
}

// A message of no segments is sent, vacuously.
func TestPoolSubmitsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Dial: far.dial}
		running(t, p)
		if ids, err := p.Submit(t.Context(), func() error { t.Error("asked"); return nil }); len(ids) != 0 || err != nil {
			t.Errorf("%q %v", ids, err)
		}
	})
}

// testCA makes an authority and a certificate of it for a host.
func testCA(t *testing.T, host string) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	certify := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		return certificate, key
	}
	ca, caKey := certify(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "SMSC"}}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = []net.IP{ip}
	} else {
		leaf.DNSNames = []string{host}
	}
	certificate, key := certify(leaf, ca, caKey)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return roots, tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

// Over TLS from end to end, by sockets. Who has another name, or another
// authority, is not bound to, and hears no password.
func TestPoolOverTLS(t *testing.T) {
	roots, certificate := testCA(t, "127.0.0.1")
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{
		Account: func(id string) (Account, bool) { return Account{Password: "secret"}, id == "imza" },
		Options: Options{Handler: stored},
	}
	binds := make(chan string, 10)
	server.Bound = func(s *Session) { binds <- s.Request().SystemID }
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(tls.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	}()
	defer func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}()
	pool := func(config *tls.Config) *Pool {
		return &Pool{Name: "tls", Addr: inner.Addr().String(), TLS: config, Bind: BindRequest{SystemID: "imza", Password: "secret"}}
	}
	for name, config := range map[string]*tls.Config{
		"the address' own name": {RootCAs: roots},
		"a name that is given":  {RootCAs: roots, ServerName: "127.0.0.1"},
	} {
		p := pool(config)
		stop := running(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if ids, err := p.Submit(ctx, nil, segments("m", 2)...); err != nil || !reflect.DeepEqual(ids, []string{"kept", "kept"}) {
			t.Errorf("%s: %q %v", name, ids, err)
		}
		cancel()
		stop()
		if id := <-binds; id != "imza" {
			t.Errorf("%s: %q bound", name, id)
		}
	}
	others, _ := testCA(t, "127.0.0.1")
	for name, config := range map[string]*tls.Config{
		"another name":      {RootCAs: roots, ServerName: "smsc.example"},
		"another authority": {RootCAs: others},
	} {
		p := pool(config)
		p.init()
		s, err := p.links[0].connect(t.Context())
		var refused *tls.CertificateVerificationError
		if s != nil || !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(binds) > 0 {
		t.Error("somebody bound all the same")
	}
}
