package emulator

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/smpp"
)

// song is one message through a network in which one thing is certain.
func song(t *testing.T, network Network) (a *aviary, heard []*smpp.ShortMessage, took time.Duration) {
	t.Helper()
	a = newAviary(t, Line{}, func(c *SMSC) { c.Network = network })
	s, taken := a.bind(t, nil)
	began := time.Now()
	if _, err := s.Submit(t.Context(), whistle(bird(1), 1, 1)[0]); err != nil {
		t.Fatal(err)
	}
	var last time.Time
	for quiet := time.After(400 * time.Millisecond); ; {
		select {
		case m := <-taken:
			heard, last = append(heard, m), time.Now()
			quiet = time.After(400 * time.Millisecond)
		case <-quiet:
			return a, heard, last.Sub(began)
		}
	}
}

func TestWhatANetworkDoes(t *testing.T) {
	const delay = 60 * time.Millisecond
	for name, c := range map[string]struct {
		network                      Network
		envelopes, answers, receipts int
		least                        time.Duration
		stats                        Stats
	}{
		"nothing": {Network{}, 1, 1, 1, 0, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 1}, FromHandset: Fates{Accepted: 1, Delivered: 1}, Receipts: Fates{Accepted: 1, Delivered: 1}}},
		"delays": {Network{Delay: LogNormal{Median: delay}}, 1, 1, 1, 2 * delay, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 1}, FromHandset: Fates{Accepted: 1, Delivered: 1}, Receipts: Fates{Accepted: 1, Delivered: 1}}},
		"loses": {Network{Lost: 1}, 0, 0, 0, 0, Stats{ToHandset: Fates{Accepted: 1, Lost: 1}}},
		// The parrot says the same twice, and each of that comes twice.
		"doubles": {Network{Twice: 1}, 2, 4, 1, 0, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 2, Twice: 1}, FromHandset: Fates{Accepted: 2, Delivered: 4, Twice: 2}, Receipts: Fates{Accepted: 1, Delivered: 1}}},
		"holds back": {Network{Reordered: 1}, 1, 1, 1, 400 * time.Millisecond, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 1, Reordered: 1}, FromHandset: Fates{Accepted: 1, Delivered: 1, Reordered: 1}, Receipts: Fates{Accepted: 1, Delivered: 1}}},
		"gives no receipt": {Network{ReceiptAbsent: 1}, 1, 1, 0, 0, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 1}, FromHandset: Fates{Accepted: 1, Delivered: 1}, Receipts: Fates{Accepted: 1, Lost: 1}}},
		"gives late receipts": {Network{ReceiptLate: 1, ReceiptBy: delay}, 1, 1, 1, delay, Stats{
			ToHandset: Fates{Accepted: 1, Delivered: 1}, FromHandset: Fates{Accepted: 1, Delivered: 1}, Receipts: Fates{Accepted: 1, Delivered: 1, Late: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for what does not come
			a, heard, took := song(t, c.network)
			answers, receipts := 0, 0
			for _, m := range heard {
				if m.IsReceipt() {
					receipts++
				} else {
					answers++
				}
			}
			if n := len(a.heard(bird(1))); n != c.envelopes || answers != c.answers || receipts != c.receipts {
				t.Errorf("%d envelopes, %d answers, %d receipts; want %d, %d, %d", n, answers, receipts, c.envelopes, c.answers, c.receipts)
			}
			if len(heard) > 0 && took < c.least {
				t.Errorf("took %s, less than %s", took, c.least)
			}
			c.stats.Binds = 1
			if got := a.Stats(); got != c.stats {
				t.Errorf("%+v\nwant %+v", got, c.stats)
			}
		})
	}
}

// Held back long enough: of two segments that are sent together the first comes
// second.
func TestReorderedSegmentIsOvertaken(t *testing.T) {
	network := Network{Delay: LogNormal{10 * time.Millisecond, 0.3}, Reordered: 0.5}
	var number string
	seed := uint64(5)
	held := func(number string, segment uint64, w way) bool {
		return network.fate(seed, w, place{number: number, segment: segment}).reordered
	}
	for i := 0; ; i++ { // a number whose first segment is held back and the second is not
		if number = bird(i); held(number, 1, toHandset) && !held(number, 2, toHandset) {
			break
		}
	}
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network = network; c.Begin(seed) })
	s, _ := a.bind(t, nil)
	for _, m := range whistle(number, 1, 2) {
		if _, err := s.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both segments", func() bool { return len(a.heard(number)) == 2 })
	if heard := a.heard(number); heard[0][7] != '2' || heard[1][7] != '1' {
		t.Errorf("%q", heard)
	}
}

func TestThrottledOnceAndThenTaken(t *testing.T) {
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network = Network{Throttled: 1} })
	s, taken := a.bind(t, nil)
	for i := range 3 {
		m := whistle(bird(1), byte(i), 1)[0]
		if _, err := s.Submit(t.Context(), m); err != smpp.StatusThrottled {
			t.Fatalf("the first time: %v", err)
		}
		if _, err := s.Submit(t.Context(), m); err != nil {
			t.Fatalf("the second time: %v", err)
		}
	}
	for range 6 {
		receive(t, taken, "an answer or a receipt")
	}
	if got := a.Stats(); got.Throttled != 3 || got.ToHandset.Accepted != 3 {
		t.Errorf("%+v", got)
	}
}

func TestRate(t *testing.T) {
	a := newAviary(t, Line{}, func(c *SMSC) { c.Rate = 100 })
	s, _ := a.bind(t, func(context.Context, *smpp.Session, *smpp.ShortMessage) (string, smpp.Status) {
		return "", smpp.StatusOK
	})
	took, throttled := 0, 0
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
		switch _, err := s.Submit(t.Context(), whistle(bird(took), 1, 1)[0]); err {
		case nil:
			took++
		case smpp.StatusThrottled:
			throttled++
		default:
			t.Fatal(err)
		}
	}
	if took < 40 || took > 65 || throttled == 0 || a.Stats().Throttled != uint64(throttled) {
		t.Errorf("%d taken, %d throttled in half a second; %+v", took, throttled, a.Stats())
	}
}

// outcome is what became of all messages of a run: how often each segment came to
// its card and each answer and receipt to the ESME.
type outcome map[string]int

// sing sends each of many numbers a few messages of two segments, one after the
// other, in an order and at moments that differ each time. Meanwhile something may
// happen.
func (a *aviary) sing(t *testing.T, seed uint64, meanwhile func()) outcome {
	t.Helper()
	const numbers, songs = 60, 3
	a.Begin(seed)
	got := make(outcome)
	var mu sync.Mutex
	pool := &smpp.Pool{Addr: a.addr, Binds: 3, Bind: smpp.BindRequest{SystemID: "imza", Password: password},
		Handler: func(_ context.Context, _ *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
			what := "receipt of " + m.Source.Addr
			if !m.IsReceipt() {
				what = "answer " + string(m.Message[len(m.Message)-said:])
			}
			mu.Lock()
			defer mu.Unlock()
			got[what]++
			return smpp.StatusOK
		}}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { pool.Run(ctx) })
	for n := range byte(songs) {
		var singing sync.WaitGroup
		for _, i := range rand.Perm(numbers) {
			singing.Go(func() {
				time.Sleep(rand.N(20 * time.Millisecond))
				if _, err := pool.Submit(ctx, nil, whistle(bird(i), n, 2)...); err != nil {
					t.Errorf("%s: %v", bird(i), err)
				}
			})
		}
		meanwhile()
		singing.Wait()
		a.settle()
	}
	cancel()
	running.Wait()
	return got
}

// settle waits until nothing moves any more.
func (a *aviary) settle() {
	for before := (Stats{}); ; time.Sleep(60 * time.Millisecond) {
		now := a.Stats()
		if now == before && now.Held == 0 && now.Waiting == 0 {
			return
		}
		before = now
	}
}

var stormy = Network{
	Delay: LogNormal{5 * time.Millisecond, 1}, Lost: 0.2, Twice: 0.2, Reordered: 0.1,
	ReceiptLate: 0.2, ReceiptBy: 30 * time.Millisecond, ReceiptAbsent: 0.2,
}

// The same seed gives the same outcome of each message, whatever the order and
// the timing; another seed gives another.
func TestSeedDecides(t *testing.T) {
	t.Parallel() // it waits most of the time
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network = stormy })
	first := a.sing(t, 7, func() {})
	if again := a.sing(t, 7, func() {}); !maps.Equal(first, again) {
		t.Errorf("with the same seed %d outcomes differ of %d", differ(first, again), len(first))
	}
	other := a.sing(t, 8, func() {})
	if n := differ(first, other); n < len(first)/5 {
		t.Errorf("with another seed %d outcomes differ of %d", n, len(first))
	}
	if len(first) < 100 {
		t.Errorf("%d outcomes", len(first))
	}
}

// A restart changes no decision: what the ESME sends again since it was left
// unanswered meets with what it met with before. It may only come once more.
func TestRestartChangesNoDecision(t *testing.T) {
	t.Parallel() // it waits most of the time
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network = stormy })
	calm := a.sing(t, 7, func() {})
	restarted := a.sing(t, 7, func() {
		time.Sleep(rand.N(20 * time.Millisecond))
		if err := a.Restart(20 * time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	for what, n := range calm {
		if restarted[what] < n {
			t.Errorf("%s came %d times, and %d times with a restart", what, n, restarted[what])
		}
	}
	for what := range restarted {
		if calm[what] == 0 {
			t.Errorf("%s came only with a restart", what)
		}
	}
}

func differ(a, b outcome) (n int) {
	for what := range a {
		if a[what] != b[what] {
			n++
		}
	}
	for what := range b {
		if a[what] == 0 {
			n++
		}
	}
	return n
}

// What the network holds when a new run begins is of the run before.
func TestBeginForgetsWhatTheNetworkHolds(t *testing.T) {
	a := newAviary(t, Line{}, func(c *SMSC) { c.Network = Network{Delay: LogNormal{Median: 200 * time.Millisecond}} })
	s, _ := a.bind(t, nil)
	for i := range 5 {
		if _, err := s.Submit(t.Context(), whistle(bird(i), 1, 1)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if held := a.Stats().Held; held != 5 {
		t.Errorf("%d held", held)
	}
	a.Begin(2)
	if held := a.Stats().Held; held != 0 {
		t.Errorf("%d held after Begin", held)
	}
	time.Sleep(300 * time.Millisecond)
	for i := range 5 {
		if n := len(a.heard(bird(i))); n != 0 {
			t.Errorf("%s: %d envelopes", bird(i), n)
		}
	}
}

// What waits for an ESME is not the network's any more.
func TestBeginKeepsWhatWaitsForAnESME(t *testing.T) {
	a := newAviary(t, Line{}, func(*SMSC) {})
	var refused atomic.Int32
	taken := make(chan *smpp.ShortMessage, 10)
	s, _ := a.bind(t, func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
		if refused.Add(1) <= 2 {
			return "", smpp.StatusTemporary
		}
		taken <- m
		return "", smpp.StatusOK
	})
	if _, err := s.Submit(t.Context(), whistle(bird(1), 1, 1)[0]); err != nil {
		t.Fatal(err)
	}
	until(t, "the refusal of both", func() bool { return refused.Load() == 2 })
	a.Begin(2)
	for range 2 {
		receive(t, taken, "the answer or the receipt")
	}
}

func TestHandsetThatComesBack(t *testing.T) {
	t.Parallel() // it waits most of the time
	const back = 300 * time.Millisecond
	a := newAviary(t, Line{Off: true, Back: back}, func(*SMSC) {})
	s, taken := a.bind(t, nil)
	send := func(n byte, validity string) (began time.Time) {
		t.Helper()
		began = time.Now()
		for _, m := range whistle(bird(1), n, 2) {
			m.Validity = validity
			if _, err := s.Submit(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			time.Sleep(back / 3) // the later segment finds it off as long as the first
		}
		return began
	}
	for n := range byte(2) { // the second message as the first
		began := send(n, "000000000100000R")
		for i := range 4 {
			receive(t, taken, fmt.Sprintf("receipt or answer %d", i))
		}
		if took := time.Since(began); took < back || took > back+back/2 {
			t.Errorf("message %d is there after %s", n, took)
		}
	}
	// One that is valid for less long expires meanwhile.
	a = newAviary(t, Line{Off: true, Back: time.Hour}, func(*SMSC) {})
	s, taken = a.bind(t, nil)
	began := send(2, "000000000001000R")
	if got := collect(t, taken, 2, none); time.Since(began) < time.Second || len(got.parts) != 0 {
		t.Errorf("%+v after %s", got, time.Since(began))
	} else {
		for _, state := range got.receipts {
			if state != smpp.Expired {
				t.Errorf("%s, want EXPIRED", state)
			}
		}
	}
	if held := a.Stats().Held; held != 0 || len(a.heard(bird(1))) != 0 {
		t.Errorf("%d held, %d envelopes", held, len(a.heard(bird(1))))
	}
}
