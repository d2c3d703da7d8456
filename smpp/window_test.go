package smpp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who finds no room waits, and is let in in the order of coming.
func TestWindowLetsInInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Window: 2})
		var dones []<-chan result
		for n := range 10 {
			dones = append(dones, submitting(t.Context(), s, sms(fmt.Sprint(n))))
			synctest.Wait()
		}
		var open []PDU
		for n := range 10 {
			p := far.want(SubmitSM)
			if text := said(t, p); text != fmt.Sprint(n) {
				t.Fatalf("%s went out as the %d.", text, n)
			}
			if open = append(open, p); len(open) == 2 {
				far.none()
				far.accept(open[0], said(t, open[0]))
				open = open[1:]
			}
		}
		far.accept(open[0], "9")
		for n, done := range dones {
			if r := <-done; r.id != fmt.Sprint(n) || r.err != nil {
				t.Errorf("request %d: %+v", n, r)
			}
		}
		if s.Unanswered() != 0 {
			t.Errorf("%d are unanswered", s.Unanswered())
		}
	})
}

// Who comes while others wait does not go before them, even if there is room
// that moment.
func TestWindowIsNotJumped(t *testing.T) {
	w := window{size: 1}
	if ok, _ := w.take(); !ok {
		t.Fatal("the first found no room")
	}
	_, first := w.take()
	w.release() // now the place is the first one's
	if ok, _ := w.take(); ok || !first.room || w.used != 1 {
		t.Errorf("room for one who came later: %t, for the first: %t, used %d", ok, first.room, w.used)
	}
}

// Who waits for room leaves when its context ends. Its turn is passed on and
// its place is not lost.
func TestWindowObeysTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Window: 1, Timeout: time.Minute})
		first := submitting(t.Context(), s, sms("first"))
		asked := far.want(SubmitSM)
		var left []<-chan result
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			left = append(left, submitting(ctx, s, sms("leaves")))
		}
		synctest.Wait()
		stays := submitting(t.Context(), s, sms("stays"))
		for _, done := range left {
			if r := <-done; r.err != context.DeadlineExceeded || r.after != time.Second {
				t.Errorf("who left: %v after %s", r.err, r.after)
			}
		}
		far.accept(asked, "1")
		<-first
		p := far.want(SubmitSM)
		if text := said(t, p); text != "stays" {
			t.Errorf("%q went out", text)
		}
		far.accept(p, "2")
		<-stays
		if s.Unanswered() != 0 {
			t.Errorf("%d places are taken by nobody", s.Unanswered())
		}
	})
}

// Room that comes at the moment that who waited for it leaves is neither lost
// nor given twice.
func TestWindowRoomAsTheContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := boundESME(t, Options{Window: 1, Enquire: time.Hour})
		for range 200 {
			if err := s.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan error)
			go func() { got <- s.acquire(ctx) }()
			synctest.Wait()
			s.mu.Lock() // both at once
			cancel()
			s.window.release()
			s.mu.Unlock()
			err := <-got
			if want := map[bool]int{true: 1, false: 0}[err == nil]; s.Unanswered() != want {
				t.Fatalf("acquire: %v, %d places are taken", err, s.Unanswered())
			}
			if err == nil {
				s.release()
			}
		}
	})
}

// A request whose caller gave up is still the other side's to answer: it keeps
// its place until it is, or until its time is up.
func TestWindowKeepsThePlaceOfWhoGaveUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		s, far := boundESME(t, Options{Window: 1, Timeout: timeout, Enquire: time.Hour})
		began := time.Now()
		gaveUp := func() PDU {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			done := submitting(ctx, s, sms("gives up"))
			p := far.want(SubmitSM)
			if r := <-done; !errors.Is(r.err, ErrUnanswered) || !errors.Is(r.err, context.DeadlineExceeded) || r.after != time.Second {
				t.Errorf("%v after %s", r.err, r.after)
			}
			return p
		}
		first := gaveUp()
		next := submitting(t.Context(), s, sms("next"))
		time.Sleep(time.Second)
		far.none()
		if s.Unanswered() != 1 {
			t.Errorf("%d are unanswered", s.Unanswered())
		}
		far.accept(first, "1") // nobody waits for it, and yet it is no late one
		p := far.want(SubmitSM)
		if at := time.Since(began); at != 2*time.Second {
			t.Errorf("the next went after %s", at)
		}
		far.accept(p, "2")
		<-next
		if n := s.options.stats.late.Load(); n != 0 {
			t.Errorf("%d late", n)
		}
		began = time.Now()
		gaveUp()
		next = submitting(t.Context(), s, sms("next"))
		for p = far.next(); p.Command == EnquireLink; p = far.next() {
			far.say(PDU{Command: EnquireLinkResp, Sequence: p.Sequence})
		}
		if at := time.Since(began); at != timeout || p.Command != SubmitSM {
			t.Errorf("%s after %s, want the next after %s", p.Command, at, timeout)
		}
		far.accept(p, "3")
		if r := <-next; r.err != nil {
			t.Error(r.err)
		}
	})
}

// However many ask, give up and are refused, the other side never sees more
// than the window unanswered, and in the end all places are free.
func TestWindowIsNeverExceeded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const window = 5
		s, far := boundESME(t, Options{Window: window, Timeout: time.Minute})
		var mu sync.Mutex
		open, most, seen := 0, 0, 0
		go func() {
			for {
				p, err := ReadPDU(far.conn, MaxPDU)
				if err != nil {
					return
				}
				if p.Command != SubmitSM {
					continue
				}
				mu.Lock()
				open++
				seen++
				most = max(most, open)
				mu.Unlock()
				time.AfterFunc(rand.N(100*time.Millisecond), func() {
					mu.Lock()
					defer mu.Unlock()
					open--
					answer := PDU{Command: SubmitSMResp, Sequence: p.Sequence, Body: []byte("1\x00")}
					switch rand.IntN(4) {
					case 0:
						answer = PDU{Command: SubmitSMResp, Sequence: p.Sequence, Status: StatusThrottled}
					case 1:
						answer = PDU{Command: GenericNack, Sequence: p.Sequence, Status: StatusSystemError}
					}
					_, _ = far.conn.Write(answer.Append(nil))
				})
			}
		}()
		var all sync.WaitGroup
		bad := sms("")
		bad.Message = make([]byte, 255)
		for n := range 500 {
			all.Go(func() {
				time.Sleep(rand.N(2 * time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond+rand.N(2*time.Second))
				defer cancel()
				m := sms("x")
				if n%10 == 0 {
					m = bad
				}
				_, _ = s.Submit(ctx, m)
			})
		}
		all.Wait()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if most != window || s.Unanswered() != 0 || seen < 100 {
			t.Errorf("at most %d of %d were unanswered, want %d; %d places are taken by nobody", most, seen, window, s.Unanswered())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.pending) != 0 {
			t.Errorf("%d requests are pending", len(s.pending))
		}
	})
}

// All who wait are told when the session ends, whichever way.
func TestWindowWakesAllAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(*Session, *farSide){
		"Close":             func(s *Session, _ *farSide) { _ = s.Close() },
		"broken connection": func(_ *Session, far *farSide) { far.conn.Close() },
		"unbind":            func(_ *Session, far *farSide) { far.say(PDU{Command: Unbind, Sequence: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, far := boundESME(t, Options{Window: 1})
				_ = submitting(t.Context(), s, sms("sent"))
				far.want(SubmitSM)
				var dones []<-chan result
				for range 20 {
					dones = append(dones, submitting(t.Context(), s, sms("waits")))
				}
				synctest.Wait()
				began := time.Now()
				go end(s, far)
				for _, done := range dones {
					if r := <-done; !errors.Is(r.err, ErrClosed) || errors.Is(r.err, ErrUnanswered) || time.Since(began) != 0 {
						t.Errorf("%v after %s", r.err, time.Since(began))
					}
				}
				<-s.Done()
			})
		})
	}
}
