package smpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The agreed rate holds after an outage, too: it does not save up.
func TestRateAfterAnOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		began := time.Now()
		far := &farSMSC{t: t, unreachable: func(int) bool { return time.Since(began) < time.Minute }}
		p := &Pool{Rate: 10, Dial: far.dial, Options: Options{Window: 100}}
		running(t, p)
		for range 700 {
			go func() { _, _ = p.Submit(t.Context(), nil, sms("x")) }()
		}
		time.Sleep(70 * time.Second)
		inSecond := map[int]int{}
		most := 0
		for n := 1; n <= len(far.attempts()); n++ {
			for _, h := range far.heard(n) {
				if h.command == SubmitSM {
					s := int(h.at.Sub(began).Seconds())
					inSecond[s]++
					most = max(most, inSecond[s])
				}
			}
		}
		if most > 12 {
			t.Errorf("rate 10/s agreed, %d submit_sm in one second", most)
		}
	})
}

// Those who wait for room are not kept by a bind that stalls.
func TestStalledBindHoldsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, submit: func(n int, _ string) Status {
			if n == 1 {
				return farSilent
			}
			time.Sleep(time.Millisecond)
			return StatusOK
		}}
		p := &Pool{Binds: 2, Dial: far.dial}
		running(t, p)
		far.conn(2)
		synctest.Wait()
		began := time.Now()
		var mu sync.Mutex
		buckets := map[int]int{}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, _ = p.Submit(t.Context(), nil, sms("x"))
				mu.Lock()
				buckets[int(time.Since(began).Seconds())]++
				mu.Unlock()
			})
		}
		all.Wait()
		if n := len(far.texts(1)); n > 10 {
			t.Errorf("window 10, yet %d were sent over the bind that never answered; messages by seconds taken: %v", n, buckets)
		} else {
			t.Logf("%v", buckets)
		}
	})
}

// What a busy bind turns away goes over another that is not.
func TestBusyBindKeepsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, submit: func(n int, _ string) Status {
			if n == 1 {
				return StatusThrottled
			}
			return StatusOK
		}}
		p := &Pool{Binds: 2, Rate: 100, Dial: far.dial}
		running(t, p)
		far.conn(2)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := p.Submit(ctx, nil, sms("x")); err != nil {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		if failed.Load() > 0 {
			t.Errorf("%d of 20 one-segment messages not sent in two minutes, while bind 2 was idle", failed.Load())
		}
	})
}

// One throttle after a quiet second halves the rate, no more.
func TestOneThrottleAfterQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n atomic.Int64
		far := &farSMSC{t: t, submit: func(int, string) Status {
			if n.Add(1) == 2 {
				return StatusThrottled
			}
			return StatusOK
		}}
		p := &Pool{Rate: 1000, Dial: far.dial, Options: Options{Window: 100}}
		running(t, p)
		far.conn(1)
		for range 2 {
			_, _ = p.Submit(t.Context(), nil, sms("x"))
		}
		rate := p.pace.rate()
		began := time.Now()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { _, _ = p.Submit(t.Context(), nil, sms("x")) })
		}
		all.Wait()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("one throttle: rate 1000 -> %g; the next 1000 messages, none throttled, took %s (1 s was agreed)", rate, took)
		}
	})
}

// What is in flight when the other side unbinds may still be answered.
func TestUnbindLeavesTimeForResponses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, f := boundESME(t, Options{})
		var results []<-chan result
		for range 5 {
			results = append(results, submitting(t.Context(), s, sms("x")))
		}
		var asked []PDU
		for range 5 {
			asked = append(asked, f.want(SubmitSM))
		}
		f.say(PDU{Command: Unbind, Sequence: 9})
		go func() {
			time.Sleep(50 * time.Millisecond)
			for _, p := range asked {
				_, _ = f.conn.Write((&PDU{Command: SubmitSMResp, Sequence: p.Sequence, Body: []byte("id\x00")}).Append(nil))
			}
		}()
		unanswered := 0
		for _, r := range results {
			if got := <-r; errors.Is(got.err, ErrUnanswered) {
				unanswered++
			}
		}
		time.Sleep(time.Second)
		if unanswered > 0 {
			t.Errorf("%d of 5 told unanswered; their responses came 50 ms after the unbind", unanswered)
		}
	})
}

// Nothing is sent to who has unbound.
func TestNothingIsSentAfterUnbind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hold := make(chan struct{})
		s, f := boundESME(t, Options{Window: 1, Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { <-hold; return "", StatusOK }})
		first := submitting(t.Context(), s, sms("1"))
		one := f.want(SubmitSM)
		second := submitting(t.Context(), s, sms("2"))
		synctest.Wait()
		f.say(PDU{Command: DeliverSM, Sequence: 8, Body: encoded(t, sms("m"))}, PDU{Command: Unbind, Sequence: 9})
		synctest.Wait()
		f.accept(one, "1")
		<-first
		synctest.Wait()
		if f.conn.in.waiting() > 0 {
			p := f.next()
			close(hold)
			got := <-second
			t.Errorf("%s sent after the far side's unbind; told: %v", p.Command, got.err)
			return
		}
		close(hold)
	})
}

// A message that is answered "not bound" time and again does not end all
// sessions.
func TestNotBoundOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var sent atomic.Int64
		far := &farSMSC{t: t}
		far.submit = func(_ int, text string) Status {
			if text == "bad" {
				return StatusNotBound
			}
			return StatusOK
		}
		p := &Pool{Dial: far.dial}
		running(t, p)
		far.conn(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _, _ = p.Submit(ctx, nil, sms("bad")) }()
		ok, worst := 0, time.Duration(0)
		for ctx.Err() == nil {
			began := time.Now()
			if _, err := p.Submit(ctx, nil, sms("good")); err == nil {
				ok++
				worst = max(worst, time.Since(began))
			}
			time.Sleep(100 * time.Millisecond)
		}
		_ = &sent
		if n := len(far.attempts()); n > 3 {
			t.Errorf("one message answered 0x04: %d binds in a minute; %d good messages (600 possible), the slowest took %s", n, ok, worst)
		}
	})
}

// Failover leaves alone what was accepted.
func TestAcceptedSegmentsAreNotSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var once atomic.Bool
		far := &farSMSC{t: t, submit: func(n int, text string) Status {
			if text == "m-4" && once.CompareAndSwap(false, true) {
				return farHangUp
			}
			return StatusOK
		}}
		p := &Pool{Binds: 2, Dial: far.dial}
		running(t, p)
		far.conn(2)
		_, _ = p.Submit(t.Context(), nil, segments("m", 5)...)
		if n := len(far.texts(1)) + len(far.texts(2)); n > 6 {
			t.Errorf("4 of 5 accepted, the last unanswered: %d submit_sm in all, 6 are enough", n)
		}
	})
}

type lines struct{ n atomic.Int64 }

func (l *lines) Write(b []byte) (int, error) {
	l.n.Add(int64(bytes.Count(b, []byte("\n"))))
	return len(b), nil
}

// A peer that sends many bodies that do not parse has one line in the log.
func TestMalformedBodiesDoNotFloodTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var l lines
		s, f := boundESME(t, Options{Handler: stored, Log: slog.New(slog.NewTextHandler(&l, nil))})
		go func() { _, _ = io.Copy(io.Discard, f.conn) }()
		for i := range 10000 {
			f.say(PDU{Command: DeliverSM, Sequence: uint32(i)})
		}
		synctest.Wait()
		_ = s
		if l.n.Load() > 100 {
			t.Errorf("10,000 PDUs of 16 octets made %d lines of log", l.n.Load())
		}
	})
}

// A failure is told once, though the error of each attempt has another port.
func TestSameFailureIsToldOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	var b lockedBuffer
	p := &Pool{Name: "o", Addr: ln.Addr().String(), Log: slog.New(slog.NewTextHandler(&b, nil))}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	p.Run(ctx)
	if n := strings.Count(b.String(), "no bind"); n > 1 {
		t.Errorf("the same failure was logged %d times:\n%s", n, b.String())
	}
}

// What was accepted counts, though its caller has left.
func TestSubmitsAreCountedWithoutTheirCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, submit: func(int, string) Status { time.Sleep(2 * time.Second); return StatusOK }}
		p := &Pool{Dial: far.dial}
		running(t, p)
		far.conn(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := p.Submit(ctx, nil, sms("x"))
		time.Sleep(5 * time.Second)
		if got := p.links[0].stats.submits.Load(); got != 1 {
			t.Errorf("the operator accepted 1, submits_total is %d; Submit: %v, unanswered %v", got, err, errors.Is(err, ErrUnanswered))
		}
	})
}

// What was throttled on a bind that then stalls goes over another.
func TestThrottledAndThenStalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var thr atomic.Bool
		far := &farSMSC{t: t}
		far.submit = func(n int, text string) Status {
			switch {
			case n == 1 && text == "m" && thr.CompareAndSwap(false, true):
				return StatusThrottled
			case n == 1:
				return farSilent
			}
			return StatusOK
		}
		p := &Pool{Binds: 2, Dial: far.dial, Options: Options{Window: 2}}
		running(t, p)
		far.conn(2)
		synctest.Wait()
		first := p.links[0].session.Load()
		second := p.links[1].session.Load()
		if first.conn.(*memConn).out != far.conns[0].side.conn.in {
			first, second = second, first
		}
		for range 2 { // so that m goes over the first
			_ = second.acquire(t.Context())
		}
		began := time.Now()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = p.Submit(t.Context(), nil, sms("m")) }()
		synctest.Wait()
		for range 2 { // fill the window of the first
			go func() { _, _ = first.Submit(t.Context(), sms("filler")) }()
		}
		synctest.Wait()
		second.release()
		second.release()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("throttled, then its bind stalled: %s, though the other bind was free; over the first went %q", took, far.texts(1))
		}
	})
}

// A far side that sends, and answers nothing at all, is given up.
func TestSendsButNeverAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, f := boundESME(t, Options{Handler: stored})
		go func() { _, _ = io.Copy(io.Discard, f.conn) }()
		go func() {
			for i := uint32(1); ; i++ {
				time.Sleep(5 * time.Second)
				if _, err := f.conn.Write((&PDU{Command: EnquireLink, Sequence: i}).Append(nil)); err != nil {
					return
				}
			}
		}()
		for range 100 {
			submitting(t.Context(), s, sms("x"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		asked := 0
		for ctx.Err() == nil && s.Err() == nil {
			if _, err := s.Submit(ctx, sms("x")); errors.Is(err, ErrTimeout) {
				asked++
			}
		}
		defer time.Sleep(time.Minute)
		defer f.conn.Close()
		if s.Err() == nil {
			t.Errorf("after an hour with %d submits and all enquire_links unanswered the session stands", asked)
		}
	})
}

// A wrong password is not tried by every bind.
func TestRefusedBindsAreNotRepeatedByAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, bind: func(int) Status { return StatusInvalidPassword }}
		p := &Pool{Binds: 10, Dial: far.dial}
		running(t, p)
		time.Sleep(10 * time.Minute)
		if n := len(far.attempts()); n > 50 {
			t.Errorf("in ten minutes %d binds with a wrong password, the first 10 at once", n)
		}
	})
}

// Many that are throttled at once do not come again at once.
func TestManyThrottledAtOnce(t *testing.T) {
	for _, agreed := range []float64{0, 1000} {
		t.Run(fmt.Sprint(agreed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				var second time.Time
				inSecond, throttled := 0, 0
				far := &farSMSC{t: t, submit: func(int, string) Status {
					mu.Lock()
					defer mu.Unlock()
					if now := time.Now(); now.Sub(second) >= time.Second {
						second, inSecond = now, 0
					}
					if inSecond++; inSecond > 100 {
						throttled++
						return StatusThrottled
					}
					return StatusOK
				}}
				p := &Pool{Dial: far.dial, Rate: agreed, Options: Options{Window: 5000}}
				running(t, p)
				far.conn(1)
				began := time.Now()
				var all sync.WaitGroup
				var last []time.Duration
				for range 5000 {
					all.Go(func() {
						_, _ = p.Submit(t.Context(), nil, sms("x"))
						mu.Lock()
						last = append(last, time.Since(began))
						mu.Unlock()
					})
				}
				all.Wait()
				t.Logf("5000 messages, 100/s possible (50 s): %s, %d throttled, half by %s", time.Since(began), throttled, last[2500])
			})
		})
	}
}

// Those who waited for a bind share all that come.
func TestWaitersShareTheBinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, bind: func(n int) Status { time.Sleep(time.Duration(n) * 10 * time.Millisecond); return StatusOK },
			submit: func(int, string) Status { time.Sleep(10 * time.Millisecond); return StatusOK }}
		p := &Pool{Binds: 4, Dial: far.dial}
		var all sync.WaitGroup
		began := time.Now()
		for range 1000 {
			all.Go(func() { _, _ = p.Submit(t.Context(), nil, sms("x")) })
		}
		synctest.Wait()
		running(t, p)
		all.Wait()
		var n []int
		for i := range 4 {
			n = append(n, len(far.texts(i+1)))
		}
		if n[3] < 100 {
			t.Errorf("1000 waited, 4 binds came up within 40 ms: over each went %v, all done after %s (2.5 s if shared)", n, time.Since(began))
		}
	})
}

// Of a message with a segment that cannot be written nothing is sent.
func TestMessageThatCannotBeSentWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Dial: far.dial}
		running(t, p)
		far.conn(1)
		bad := sms("x")
		bad.ServiceType = "too long"
		_, err := p.Submit(t.Context(), nil, sms("m-0"), sms("m-1"), bad)
		if n := len(far.texts(1)); n > 0 {
			t.Errorf("%d segments of a message that cannot be written were sent: %v", n, err)
		}
	})
}

// Who waits for a place has it in turn, however many come later.
func TestPlacesAreGivenInTurn(t *testing.T) {
	for _, parts := range []int{1, 2} {
		for _, n := range []int{10, 11, 40} {
			t.Run(fmt.Sprint(parts, " segments, waiters ", n), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					far := &farSMSC{t: t, submit: func(int, string) Status { time.Sleep(100 * time.Millisecond); return StatusOK }}
					p := &Pool{Binds: 1, Dial: far.dial, Options: Options{Window: 1}}
					running(t, p)
					far.conn(1)
					synctest.Wait()
					var all sync.WaitGroup
					for i := range n {
						all.Go(func() { _, _ = p.Submit(t.Context(), nil, segments(fmt.Sprint(i), parts)...) })
						synctest.Wait()
					}
					// later ones keep coming
					stop := make(chan struct{})
					go func() {
						for i := n; i < 20*n; i++ {
							select {
							case <-stop:
								return
							case <-time.After(time.Duration(parts) * 100 * time.Millisecond):
							}
							go func() { _, _ = p.Submit(t.Context(), nil, segments(fmt.Sprint(i), parts)...) }()
						}
					}()
					all.Wait()
					close(stop)
					worst, who, pos := 0, "", 0
					for _, text := range far.texts(1) {
						var i, part int
						_, _ = fmt.Sscanf(text, "%d-%d", &i, &part)
						if part != 0 {
							continue
						}
						if i < n && pos-i > worst {
							worst, who = pos-i, text
						}
						pos++
					}
					if worst > 1 {
						t.Errorf("%s went %d messages later than its turn: %q", who, worst, far.texts(1)[:min(40, len(far.texts(1)))])
					}
				})
			})
		}
	}
}

// A bind that drops is bound again at once, though another is refused for good.
func TestRefusalOfOneBindDelaysNoOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		up := 0
		far := &farSMSC{t: t}
		far.bind = func(int) Status { // the operator allows two
			mu.Lock()
			defer mu.Unlock()
			if up >= 2 {
				return StatusBindFailed
			}
			up++
			return StatusOK
		}
		p := &Pool{Binds: 3, Dial: far.dial}
		running(t, p)
		time.Sleep(100 * time.Second)
		synctest.Wait()
		worst := time.Duration(0)
		for range 5 {
			for _, l := range p.links { // one drops
				if s := l.session.Load(); s != nil {
					mu.Lock()
					up--
					mu.Unlock()
					s.end(errUnbound)
					break
				}
			}
			began := time.Now()
			for {
				time.Sleep(10 * time.Millisecond)
				n := 0
				for _, l := range p.links {
					if l.session.Load() != nil {
						n++
					}
				}
				if n == 2 {
					break
				}
			}
			worst = max(worst, time.Since(began))
			time.Sleep(37 * time.Second)
		}
		if worst > 6*time.Second {
			t.Errorf("a second bind came back after %s, although one stands", worst)
		}
	})
}

// The same, and all drop.
func TestRefusalOfOneBindIsNoOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		up := 0
		far := &farSMSC{t: t}
		far.bind = func(int) Status {
			mu.Lock()
			defer mu.Unlock()
			if up >= 1 {
				return StatusBindFailed
			}
			up++
			return StatusOK
		}
		p := &Pool{Binds: 2, Dial: far.dial}
		running(t, p)
		time.Sleep(100 * time.Second)
		worst := time.Duration(0)
		for range 5 {
			synctest.Wait()
			for _, l := range p.links {
				if s := l.session.Load(); s != nil {
					mu.Lock()
					up--
					mu.Unlock()
					s.end(errUnbound)
				}
			}
			began := time.Now()
			if _, err := p.Submit(t.Context(), nil, sms("x")); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, time.Since(began))
			time.Sleep(37 * time.Second)
		}
		if worst > 6*time.Second {
			t.Errorf("no bind for %s after a good bind dropped", worst)
		}
	})
}

// Once the operator lets one in, the others bind as well.
func TestOthersBindOnceOneIsIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, bind: func(n int) Status {
			if n == 1 {
				return StatusInvalidPassword
			}
			return StatusOK
		}}
		p := &Pool{Binds: 8, Dial: far.dial}
		running(t, p)
		for !p.Bound() {
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		for {
			n := 0
			for _, l := range p.links {
				if l.session.Load() != nil {
					n++
				}
			}
			if n >= 7 { // the one that was refused may take its time
				break
			}
			time.Sleep(time.Millisecond)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("the other 6 binds came %s after the first", d)
		}
	})
}

// A pause may be as short as can be.
func TestShortestPause(t *testing.T) {
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("pause panics: %v", r)
		}
	}()
	pause(t.Context(), 1)
}

// Who waits for the pace with a place in hand sends nothing behind their unbind.
func TestNothingGoesBehindTheirUnbind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Binds: 1, Dial: far.dial, Rate: 2}
		running(t, p)
		side := far.conn(1)
		synctest.Wait()
		for range 6 {
			go func() { _, _ = p.Submit(t.Context(), nil, sms("x")) }()
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		before := len(far.texts(1))
		_, _ = side.conn.Write((&PDU{Command: Unbind, Sequence: 77}).Append(nil))
		began := time.Now()
		s := p.links[0].session.Load()
		<-s.Done()
		if n := len(far.texts(1)) - before; n > 0 {
			t.Errorf("%d submit_sm were sent after the other side unbound", n)
		}
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("the unbind was answered after %s, with nothing unanswered", d)
		}
	})
}

// Nor behind ours.
func TestNothingGoesWhileClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Binds: 1, Dial: far.dial, Rate: 1}
		stop := running(t, p)
		far.conn(1)
		synctest.Wait()
		for range 6 {
			go func() { _, _ = p.Submit(t.Context(), nil, sms("x")) }()
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		before, began := len(far.texts(1)), time.Now()
		stop()
		if d := time.Since(began); d > time.Second {
			t.Errorf("closing took %s, with nothing unanswered", d)
		}
		if n := len(far.texts(1)) - before; n > 0 {
			t.Errorf("%d submit_sm were sent after Run's context ended", n)
		}
	})
}

// A place in hand when the session ends is given back.
func TestPlaceInHandWhenTheSessionEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Binds: 1, Dial: far.dial}
		running(t, p)
		far.conn(1)
		synctest.Wait()
		s := p.links[0].session.Load()
		_, _ = p.Submit(t.Context(), func() error { s.end(errUnbound); return nil }, sms("x"))
		if n := s.Unanswered(); n != 0 {
			t.Errorf("%d unanswered in a session that has ended", n)
		}
	})
}

// Who waits is told when a bind is trusted again.
func TestTrustRegainedIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t, submit: func(int, string) Status { time.Sleep(8 * time.Second); return StatusOK }}
		p := &Pool{Binds: 2, Dial: far.dial, Options: Options{Window: 1, Timeout: 10 * time.Second}}
		running(t, p)
		far.conn(2)
		synctest.Wait()
		b := p.links[1].session.Load()
		b.mu.Lock() // an enquire_link that is not answered, sent 9 s ago
		b.sequence++
		b.probe = &call{command: EnquireLink, began: time.Now().Add(-9 * time.Second), alone: true, sequence: b.sequence}
		b.pending[b.sequence] = b.probe
		b.mu.Unlock()
		go func() { _, _ = p.Submit(t.Context(), nil, sms("a")) }()
		synctest.Wait()
		time.AfterFunc(1100*time.Millisecond, b.tick)
		began := time.Now()
		if _, err := p.Submit(t.Context(), nil, sms("b")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("took %s, though bind 2 was trusted and idle after 1.1 s", d)
		}
	})
}

// A dial that hangs does not keep others from binding where one stands.
func TestHangingDialHoldsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Binds: 4, Dial: far.dial}
		p.init()
		p.first <- struct{}{} // a link whose dial hangs; it began when no bind stood
		leaves := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			leave, err := p.mayBind(t.Context())
			if err == nil {
				leave()
			}
			leaves <- time.Since(began)
		}()
		synctest.Wait()
		s, err := p.links[1].bind(t.Context()) // one that was let by before succeeds
		if err != nil {
			t.Fatal(err)
		}
		p.links[1].set(s)
		time.AfterFunc(10*time.Second, func() { <-p.first })
		if d := <-leaves; d > time.Second {
			t.Errorf("waited %s for its turn although a bind stands", d)
		}
		_ = s.Close()
	})
}

var _ = context.Background
