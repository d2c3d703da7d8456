package smpp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What is delivered as soon as Bound told of the session goes out behind the
// response to the bind: before it, an ESME would throw it away.
func TestDeliveredBeforeTheBindIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		listener := newMemListener()
		v := &Server{Bound: func(s *Session) {
			go func() { _ = s.Deliver(context.Background(), sms("x")) }()
			time.Sleep(time.Millisecond) // Bound takes a lock, say
		}}
		go v.Serve(listener)
		near, conn := memPipe(64 << 10)
		listener.conns <- near
		t.Cleanup(func() { conn.Close(); _ = v.Close() })
		far := &farSide{t, conn}
		far.say(PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})})
		far.want(BindTransceiverResp)
		far.want(DeliverSM)
	})
}

// centre is an SMSC in memory that answers what answer says.
func centreDial(t *testing.T, answer func(bind int, p PDU) *PDU) func(context.Context, string) (net.Conn, error) {
	var mu sync.Mutex
	n := 0
	return func(context.Context, string) (net.Conn, error) {
		near, far := memPipe(64 << 10)
		mu.Lock()
		n++
		bind := n
		mu.Unlock()
		go func() {
			defer far.Close()
			for {
				p, err := ReadPDU(far, MaxPDU)
				if err != nil {
					return
				}
				back := &PDU{Command: p.Command | response, Sequence: p.Sequence}
				switch p.Command {
				case SubmitSM:
					back.Body = []byte("1\x00")
					if a := answer(bind, p); a != nil {
						back = a
						back.Command, back.Sequence = p.Command|response, p.Sequence
					}
				case BindTransceiver:
					back.Body = []byte("s\x00")
				}
				if _, err := far.Write(back.Append(nil)); err != nil || p.Command == Unbind {
					return
				}
			}
		}()
		return near, nil
	}
}

// A pace that is lowered holds for those who wait already.
func TestThrottleSlowsThoseWhoWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Duration
		began := time.Now()
		p := &Pool{Name: "op", Rate: 100, Options: Options{Window: 1000}, Dial: centreDial(t, func(int, PDU) *PDU {
			mu.Lock()
			at = append(at, time.Since(began))
			mu.Unlock()
			if d := time.Since(began); d > time.Second && d < 1100*time.Millisecond {
				return &PDU{Status: StatusThrottled}
			}
			return nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		for range 1000 {
			go func() { _, _ = p.Submit(ctx, nil, sms("x")) }()
		}
		time.Sleep(4 * time.Second)
		limit := p.pace.rate()
		cancel()
		<-stopped
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, d := range at {
			if d > 2*time.Second && d <= 3*time.Second {
				n++
			}
		}
		if n > 75 {
			t.Errorf("%d submit_sm in the second after a throttle to about 50 a second (limit now %.1f)", n, limit)
		}
	})
}

// A pace that has recovered helps those who began to wait while it was slow.
func TestRecoveryHelpsThoseWhoWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &Pool{Name: "op", Rate: 100, Options: Options{Window: 1000}, Dial: centreDial(t, func(int, PDU) *PDU { return nil })}
		p.init()
		p.pace.set(1)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		var all sync.WaitGroup
		began := time.Now()
		for range 200 {
			all.Go(func() { _, _ = p.Submit(ctx, nil, sms("x")) })
		}
		all.Wait()
		// 1, 2.1, 3.3, 4.6, … a second: 200 are through in about 16 s.
		if d := time.Since(began); d > 40*time.Second {
			t.Errorf("200 messages took %s, the pace being %.0f a second by then", d, p.pace.rate())
		}
		cancel()
		<-stopped
		time.Sleep(time.Minute) // what the far side still does
	})
}

// Who would have to wait for the pace longer than its context lasts ends with
// the context's error.
func TestContextEndsWhileWaitingForTheRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &Pool{Name: "op", Rate: 1, Dial: centreDial(t, func(int, PDU) *PDU { return nil })}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		_, _ = p.Submit(ctx, nil, sms("x"))
		short, end := context.WithTimeout(ctx, 500*time.Millisecond)
		defer end()
		began := time.Now()
		_, err := p.Submit(short, nil, sms("x"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		cancel()
		<-stopped
		time.Sleep(time.Minute) // what the far side still does
	})
}

// What was never sent on a session that an enquire_link ended is not told to be
// unanswered, that is sent.
func TestNeverSentIsNotUnanswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		far.want(EnquireLink)
		<-s.Done()
		_, err := s.Submit(t.Context(), sms("x"))
		if !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnanswered) {
			t.Errorf("%v is ErrUnanswered (and ErrTimeout: %v)", err, errors.Is(err, ErrTimeout))
		}
	})
}

// An idle session of a server costs one goroutine.
func TestGoroutinesPerIdleSession(t *testing.T) {
	listener := newMemListener()
	v := &Server{}
	go v.Serve(listener)
	const binds = 100
	before := runtime.NumGoroutine()
	var all []*memConn
	for range binds {
		near, conn := memPipe(4 << 10)
		listener.conns <- near
		far := &farSide{t, conn}
		far.say(PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})})
		far.want(BindTransceiverResp)
		all = append(all, conn)
	}
	time.Sleep(100 * time.Millisecond)
	if n := runtime.NumGoroutine() - before; n > binds+5 {
		t.Errorf("%d goroutines for %d idle sessions", n, binds)
	}
	for _, c := range all {
		c.Close()
	}
	_ = v.Close()
}

// A peer that unbinds without end has one answer, not a goroutine each.
func TestUnbindsWithoutEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, far := boundESME(t, Options{Handler: func(ctx context.Context, _ *Session, _ *ShortMessage) (string, Status) {
			<-ctx.Done()
			return "", StatusOK
		}})
		far.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("x"))})
		before := runtime.NumGoroutine()
		for range 10_000 {
			far.say(PDU{Command: Unbind, Sequence: 2})
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > 100 {
			t.Errorf("%d goroutines wait for the same handler", n)
		}
	})
}

// A message is not sent if its context had ended before.
func TestNotSentWithAContextThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Submit(ctx, sms("x"))
		if errors.Is(err, ErrUnanswered) {
			t.Error(err)
		}
		far.none()
	})
}

// A place in the window that is given back without a response wakes Close.
func TestCloseIsToldOfAPlaceGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		if err := s.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		closed := make(chan time.Duration)
		go func() { _ = s.Close(); closed <- time.Since(began) }()
		synctest.Wait()
		bad := sms("x")
		bad.Dest.Addr = strings.Repeat("9", 21)
		if _, err := s.begin(SubmitSM, bad); err == nil {
			t.Fatal("begun")
		}
		p := far.want(Unbind)
		far.say(PDU{Command: UnbindResp, Sequence: p.Sequence})
		if d := <-closed; d > time.Second {
			t.Errorf("Close took %s", d)
		}
	})
}

// refused_total, "refused for good", does not count what is sent again: over a
// bind that the SMSC has forgotten, or that was unanswered when it ended.
func TestWhatIsSentAgainWasNotRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &Pool{Name: "op", Dial: centreDial(t, func(bind int, _ PDU) *PDU {
			if bind == 1 {
				time.Sleep(time.Second)
				return &PDU{Status: StatusNotBound}
			}
			return nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if _, err := p.Submit(ctx, nil, sms("x")); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := p.links[0].stats.refused.Load(); n != 0 {
			t.Errorf("%d were refused for good, and all were accepted", n)
		}
		cancel()
		<-stopped
		time.Sleep(time.Minute) // what the far side still does
	})
}

// retries_total, "messages that were sent again", does not count who gave up.
func TestWhoGivesUpDoesNotRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &Pool{Name: "op", Dial: centreDial(t, func(int, PDU) *PDU { time.Sleep(5 * time.Second); return nil })}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		short, end := context.WithTimeout(ctx, time.Second)
		defer end()
		if _, err := p.Submit(short, nil, sms("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := p.retries.Load(); n != 0 {
			t.Errorf("%d messages were sent again", n)
		}
		cancel()
		<-stopped
		time.Sleep(time.Minute) // what the far side still does
	})
}

// With an agreed rate those who come at once do not all choose the same bind.
func TestBindsShareTheLoadUnderARate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		over := map[int]int{}
		p := &Pool{Name: "op", Binds: 4, Rate: 100, Dial: centreDial(t, func(bind int, _ PDU) *PDU {
			mu.Lock()
			defer mu.Unlock()
			over[bind]++
			return nil
		})}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() { p.Run(ctx); close(stopped) }()
		time.Sleep(time.Second) // all are bound
		var all sync.WaitGroup
		for range 400 {
			all.Go(func() { _, _ = p.Submit(ctx, nil, sms("x")) })
		}
		all.Wait()
		if max(over[1], over[2], over[3], over[4]) > 150 {
			t.Errorf("400 messages went over 4 binds as %s", fmt.Sprint(over))
		}
		cancel()
		<-stopped
		time.Sleep(time.Minute) // what the far side still does
	})
}

// A throttle after a quiet hour halves the pace; what went through in a second
// long ago says nothing.
func TestThrottleAfterAQuietHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPace(1000)
		p.well(time.Now())
		time.Sleep(time.Hour)
		p.throttled(time.Now(), StatusThrottled)
		if p.rate() != 500 {
			t.Errorf("%.1f a second, want half of 1000", p.rate())
		}
	})
}

// A bind that answers enquire_link but no submit_sm has the least to do, always,
// and yet is not chosen again and again.
func TestBindThatSwallowsMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Name: "op", Binds: 2, Dial: far.dial}
		p.init()
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		// Bound in this order, so that the first link has the first connection.
		far.submit = func(n int, _ string) Status {
			if n == 1 {
				return farSilent
			}
			return StatusOK
		}
		go func() {
			var all sync.WaitGroup
			all.Go(func() { p.links[0].run(ctx) })
			time.Sleep(time.Second)
			all.Go(func() { p.links[1].run(ctx) })
			all.Wait()
			close(stopped)
		}()
		far.conn(2)
		short, end := context.WithTimeout(ctx, 2*time.Minute)
		defer end()
		if ids, err := p.Submit(short, nil, sms("x")); err != nil {
			t.Errorf("%q %v; sent %d times over the bind that swallows, %d times over the other", ids, err, len(far.texts(1)), len(far.texts(2)))
		}
		cancel()
		<-stopped
	})
}

// An impossible command_length in place of the response to a bind is nacked.
func TestBindNacksAFramingError(t *testing.T) {
	ours, far := badPair(t)
	go Bind(context.Background(), ours, BindTransceiver, BindRequest{SystemID: "x"}, Options{})
	e := &badEnd{t: t, conn: far}
	e.want(PDU{Command: BindTransceiver, Sequence: 1})
	e.write([]byte{0, 0, 0, 15})
	e.want(PDU{Command: GenericNack, Status: 2})
}

// The offset of an octet whose value is wrong is that octet's.
func TestOffsetOfAWrongValue(t *testing.T) {
	m := codecMessage()
	body := m.write(nil)
	at := len(body) - 141
	body[at] = 255
	_, err := Parse(SubmitSM, body)
	f := new(FieldError)
	if errors.As(err, &f); f.Field != "sm_length" || f.Offset != at {
		t.Errorf("%v, it is at %d", err, at)
	}
	for name, body := range map[string][]byte{"number_of_dests": {0, 0, 0, 0, 0}, "dest_flag": {0, 0, 0, 0, 1, 3}} {
		_, err := Parse(SubmitMulti, body)
		if errors.As(err, &f); f.Field != name || f.Offset != len(body)-1 {
			t.Errorf("%v, it is at %d", err, len(body)-1)
		}
	}
}

// The field behind an empty id is not taken for it.
func TestEmptyReceiptID(t *testing.T) {
	if r, err := ParseReceipt(&ShortMessage{ESMClass: 4, Message: []byte("id: stat:DELIVRD")}); err == nil {
		t.Errorf("%+v", r)
	}
	if r, err := ParseReceipt(&ShortMessage{ESMClass: 4, Message: []byte("id: sub:001 dlvrd:001 stat:DELIVRD err:000")}); err == nil {
		t.Errorf("%+v", r)
	}
}

// A validity is less than 32 days, and does not begin anew.
func TestRelativeTimeDoesNotWrap(t *testing.T) {
	for _, days := range []time.Duration{32, 33, 100, 101, 10_000} {
		if got := RelativeTime(days * 24 * time.Hour); got != "000031235959000R" {
			t.Errorf("%d days are %s", days, got)
		}
	}
}

// An id that cannot be sent is an error to the other side, not a body that it
// cannot read.
func TestHandlerIDIsChecked(t *testing.T) {
	for _, id := range []string{strings.Repeat("x", 65), "a\x00b"} {
		conn := newFuzzConn(nil, 1)
		conn.in, _ = appendMessage(nil, SubmitSM, 1, codecMessage())
		s := newSession(conn, Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { return id, StatusOK }}.withDefaults(), smsc, BindTransceiver)
		go s.run(&frameReader{r: conn})
		conn.until(t, "no answer", func() bool { return conn.frames() > 0 })
		fuzzHangUp(t, conn, s)
		p := parseFrame(conn.out)
		if p.Command != SubmitSMResp || p.Status != StatusSystemError {
			t.Errorf("%d octets of an id are answered with %s, %s", len(id), p.Command, p.Status.Text())
		}
	}
}

// TLVs that are not whole are an error, not a body that the other side refuses.
func TestBrokenTLVsAreNotWritten(t *testing.T) {
	for _, tlvs := range []TLVs{{1, 2, 3}, TLVs(nil).Add(TagMessagePayload, make([]byte, 65_536))} {
		field := new(FieldError)
		if _, err := (&ShortMessage{TLVs: tlvs}).Append(nil); !errors.As(err, &field) || field.Field != "TLV" {
			t.Errorf("submit_sm: %v", err)
		}
		if _, err := (&Empty{TLVs: tlvs}).Append(nil); !errors.As(err, &field) || field.Field != "TLV" {
			t.Errorf("enquire_link: %v", err)
		}
	}
}
