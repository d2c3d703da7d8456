package fleet

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/smpp"
)

// A telephone on whose screen something is, or whose card waits for the rest of a
// message, stays although there is room for few.
func TestBusyTelephonesStay(t *testing.T) {
	const cards = 30
	f, _ := enrolled(t, Plan{Seed: 1, Cards: cards, Operators: []Operator{{"one", "99450"}}})
	e := start(t, f, "people: [{share: 1, does: signs, think: {median: 50ms}}]", Options{Warm: 1})
	g := newESME(t, f)
	var asked sync.WaitGroup
	for i := range cards {
		asked.Go(func() {
			if got := g.ask(i, 1, 10*time.Second); got != "signed" {
				t.Errorf("card %d: %s", i, got)
			}
		})
	}
	asked.Wait()
	most := e.people.Warm()
	for i := range 6 { // they go as others come
		if got := g.ask(i, 2, 10*time.Second); got != "signed" {
			t.Errorf("card %d: %s", i, got)
		}
	}
	if n := e.people.Warm(); most < cards/2 || n > 2 {
		t.Errorf("%d telephones were warm, and then %d", most, n)
	}
}

// A line that somebody has stays, whatever comes.
func TestLinesInUseStay(t *testing.T) {
	f := newFleet(t, Plan{Seed: 1, Cards: 20, Operators: []Operator{{"one", "99450"}}})
	p := newCrowd(f, &Scenario{}, 1, slog.New(slog.DiscardHandler))
	p.Begin(1, func() {})
	defer p.Close()
	lines := p.networks[0]
	number := func(i int) string { return f.Subscriber(i).MSISDN.Digits() }
	held := lines.Line(number(0))
	for i := 1; i < 20; i++ {
		lines.Release(lines.Line(number(i)))
	}
	again := lines.Line(number(0))
	if again != held {
		t.Error("a line that is in use was unmade")
	}
	lines.Release(again)
	lines.Release(held)
	there := true
	for deadline := time.Now().Add(10 * time.Second); there && time.Now().Before(deadline); { // it may still be switched on
		for i := 1; i < 20; i++ {
			lines.Release(lines.Line(number(i)))
		}
		_, there = p.run.warm[0]
	}
	if there {
		t.Error("a line that nobody uses stays")
	}
	p.Close()
	if lines.Line(number(0)) != nil {
		t.Error("there is a line after the end")
	}
	lines.Release(held) // of a run that has ended
}

// A card that waits for the rest of a message stays, and has forgotten nothing
// when it comes; one that waited for long goes.
func TestHalfReceivedStays(t *testing.T) {
	const cards = 20
	f, _ := enrolled(t, Plan{Seed: 1, Cards: cards, Operators: []Operator{{"one", "99450"}}})
	e := start(t, f, "", Options{Warm: 1})
	g := newESME(t, f)
	g.text = strings.Repeat("imzalayın ", 8)
	messages := g.packet(0, 1, true)
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	submit := func(m *smpp.ShortMessage) {
		t.Helper()
		if _, err := g.sessions[0].Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	others := func(counter uint64) {
		t.Helper()
		for i := range cards - 1 {
			if got := g.ask(i+1, counter, 10*time.Second); got != "signed" {
				t.Errorf("card %d: %s", i+1, got)
			}
		}
	}
	submit(messages[0])
	others(1)
	came := g.await(0)
	submit(messages[1])
	select {
	case o := <-came:
		if o.String() != "signed" {
			t.Error(o)
		}
	case <-time.After(10 * time.Second):
		t.Error("the first half is forgotten")
	}
	submit(g.packet(0, 2, true)[0])
	others(2)
	e.people.mu.Lock()
	waiting := e.people.run.warm[0]
	if waiting != nil {
		waiting.used = waiting.used.Add(-2 * halfReceived)
	}
	e.people.mu.Unlock()
	if waiting == nil {
		t.Fatal("the telephone has gone")
	}
	others(3)
	e.people.mu.Lock()
	defer e.people.mu.Unlock()
	if e.people.run.warm[0] != nil {
		t.Error("a telephone waits for the rest for ever")
	}
}
