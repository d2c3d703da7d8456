package smpp

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wantRate holds a pace to a rate, within what counting in floats costs.
func wantRate(t *testing.T, p *pace, want float64) {
	t.Helper()
	if got := p.rate(); got != want && math.Abs(got-want) > want/1e6 {
		t.Errorf("the rate is %g, want %g", got, want)
	}
}

// Being throttled halves the rate, once for all that was under way, and never
// to nothing.
func TestPaceSlowsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPace(1000)
		want := 1000.0
		for range 15 {
			want = max(want/2, 1)
			if !p.throttled(time.Now(), StatusThrottled) {
				t.Error("not slowed")
			}
			wantRate(t, p, want)
			time.Sleep(499 * time.Millisecond)
			if p.throttled(time.Now(), StatusThrottled) {
				t.Error("slowed twice within half a second")
			}
			wantRate(t, p, want)
			time.Sleep(time.Millisecond)
		}
	})
}

// With each second that goes well the rate rises by a tenth, up to what was
// agreed.
func TestPaceRecovers(t *testing.T) {
	for _, agreed := range []float64{100, 0} {
		t.Run(fmt.Sprint(agreed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPace(agreed)
				top := agreed
				if agreed == 0 {
					top = math.Inf(1)
				}
				wantRate(t, p, top)
				p.throttled(time.Now(), StatusThrottled)
				for range 6 {
					time.Sleep(500 * time.Millisecond)
					p.throttled(time.Now(), StatusThrottled)
				}
				slow := p.rate()
				if slow > 2 {
					t.Fatalf("the rate is %g", slow)
				}
				for range 9 { // what goes well too soon after does not count
					time.Sleep(100 * time.Millisecond)
					p.well(time.Now())
					wantRate(t, p, slow)
				}
				want := slow
				for seconds := 0; p.rate() < top; seconds++ {
					time.Sleep(100 * time.Millisecond)
					p.well(time.Now())
					want = want*1.1 + 1
					if want > top || agreed == 0 && want >= 100_000 {
						want = top
					}
					wantRate(t, p, want)
					for range 9 {
						time.Sleep(100 * time.Millisecond)
						p.well(time.Now())
						wantRate(t, p, want)
					}
					if seconds > 200 {
						t.Fatal("it does not recover")
					}
				}
				time.Sleep(time.Minute)
				p.well(time.Now())
				wantRate(t, p, top)
			})
		})
	}
}

// Where no rate was agreed, the first rate is of what went through until then.
func TestPaceIsMeasuredWhereNoneWasAgreed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPace(0)
		for range 3000 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.well(time.Now())
			time.Sleep(time.Millisecond)
		}
		p.throttled(time.Now(), StatusThrottled)
		if got := p.rate(); got < 450 || got > 1050 {
			t.Errorf("after 1000 a second the rate is %g, want that or half of it", got)
		}
	})
}

// Who waits leaves when the context ends.
func TestPaceObeysTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, agreed := range []float64{0.01, 0} {
			p := newPace(agreed)
			_ = p.wait(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			if agreed > 0 {
				time.AfterFunc(time.Second, cancel)
			} else {
				cancel()
			}
			began := time.Now()
			if err := p.wait(ctx); err != context.Canceled || agreed > 0 && time.Since(began) != time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		}
	})
}

// The agreed rate is kept over all binds together, and made use of.
func TestPoolKeepsTheAgreedRate(t *testing.T) {
	for _, agreed := range []int{5, 200} {
		t.Run(fmt.Sprint(agreed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				far := &farSMSC{t: t}
				p := &Pool{Binds: 3, Rate: float64(agreed), Dial: far.dial}
				running(t, p)
				far.conn(3)
				const seconds = 10
				began := time.Now()
				var all sync.WaitGroup
				for range seconds * agreed {
					all.Go(func() {
						if _, err := p.Submit(t.Context(), nil, sms("x")); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if took := time.Since(began).Seconds(); took < seconds*.9 || took > seconds*1.1 {
					t.Errorf("%d messages at %d a second took %.2f s", seconds*agreed, agreed, took)
				}
				var inSecond [2 * seconds]int
				for n := range 3 {
					for _, h := range far.heard(n + 1) {
						if h.command == SubmitSM {
							inSecond[int(h.at.Sub(began).Seconds())]++
						}
					}
				}
				for i, n := range inSecond {
					if n > agreed*11/10+1 {
						t.Errorf("%d in second %d", n, i)
					}
				}
			})
		})
	}
}

// Only what is submitted is paced: acknowledgements, answers and enquire_link
// go at once however slow the pace.
func TestPacePacesNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Rate: 0.001, Dial: far.dial, Handler: func(context.Context, *Pool, *ShortMessage) Status { return StatusOK }}
		running(t, p)
		c := far.conn(1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 20 {
			go func() { _, _ = p.Submit(ctx, nil, sms("x")) }()
		}
		synctest.Wait()
		for n := range uint32(50) {
			c.say(PDU{Command: DeliverSM, Sequence: 100 + n, Body: encoded(t, sms("m"))}, PDU{Command: EnquireLink, Sequence: 200 + n})
		}
		spoken := time.Now()
		synctest.Wait()
		count := map[Command]int{}
		for _, h := range far.heard(1) {
			count[h.command]++
			if h.at.After(spoken) {
				t.Errorf("%s came %s later", h.command, h.at.Sub(spoken))
			}
		}
		if count[DeliverSMResp] != 50 || count[EnquireLinkResp] != 50 || count[SubmitSM] != 1 {
			t.Errorf("%v", count)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		h := far.heard(1)
		if last := h[len(h)-1]; last.command != EnquireLink || last.at.Sub(spoken) != 30*time.Second {
			t.Errorf("the last was %s after %s", last.command, last.at.Sub(spoken))
		}
	})
}

// With an operator that takes fewer than are sent, the pace settles where most
// is taken and little turned away, and nothing is lost.
func TestPoolFindsThePaceOfABusyOperator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const takes = 50 // a second
		var mu sync.Mutex
		var second time.Time
		inSecond, taken, throttled := 0, 0, 0
		far := &farSMSC{t: t, submit: func(int, string) Status {
			mu.Lock()
			defer mu.Unlock()
			if now := time.Now(); now.Sub(second) >= time.Second {
				second, inSecond = now, 0
			}
			if inSecond++; inSecond > takes {
				throttled++
				return StatusThrottled
			}
			taken++
			return StatusOK
		}}
		p := &Pool{Binds: 2, Dial: far.dial}
		running(t, p)
		far.conn(2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		accepted := 0
		for range 40 {
			all.Go(func() {
				for ctx.Err() == nil {
					if _, err := p.Submit(ctx, nil, sms("x")); err == nil {
						mu.Lock()
						accepted++
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		if taken < 60*takes/2 || throttled > taken/3 || accepted < taken-40 {
			t.Errorf("in a minute %d were taken and %d throttled; %d were told accepted", taken, throttled, accepted)
		}
	})
}
