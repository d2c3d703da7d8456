package gateway_test

import (
	"testing"
	"time"

	"imza/gateway"
	"imza/policy/redistest"
)

// A node may believe that a transaction is under way which has ended without its
// hearing of it. The telephone's next answer may come to that node all the same: it
// is acknowledged, so it must not be lost.
func TestAnswerToANodeThatBelievesWhatIsOver(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, w *world, server *redistest.Server, p *telephone){
		// It ended it itself, and the answer of the script was lost.
		"its own end": func(t *testing.T, w *world, _ *redistest.Server, p *telephone) {
			tx := w.admit(p, time.Minute)
			w.operator.next()
			_, end, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("a signature"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := w.gateway.MakeBareCall(t.Context(), end); err != nil || got[0] != "ended" {
				t.Fatal(got, err)
			}
		},
		// Redis is killed and comes back empty.
		"Redis lost it": func(t *testing.T, w *world, server *redistest.Server, p *telephone) {
			w.admit(p, time.Minute)
			w.operator.next()
			server.Kill()
			server.Restart()
			w.awaitPolicy()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			w := newWorld(t, server.Addr)
			w.short = true
			p := w.enrol(1)
			second, _ := w.node()
			end(t, w, server, p)
			var next *gateway.Transaction
			for deadline := time.Now().Add(10 * time.Second); next == nil; time.Sleep(10 * time.Millisecond) {
				var err error
				if next, err = second.Admit(t.Context(), request(p, time.Minute)); err != nil && time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			receive(t, w.gateway, p, p.answer(w.operator.next()))
			got, err := second.Get(t.Context(), provider, next.ID, 5*time.Second)
			if err != nil || got.State != gateway.Signed {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// An end is counted once, by the node that brought it about: also if another one
// does not know what became of an attempt of its own.
func TestEndIsCountedOnceAmongNodes(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	w.short = true
	p := w.enrol(1)
	second, ofSecond := w.node()
	tx := w.admit(p, time.Minute)
	answer := p.answer(w.operator.next())
	w.gateway.Unsure(tx.ID)
	receive(t, second, p, answer)
	receive(t, w.gateway, p, answer) // the network brings it twice
	first := w.count("imza_transactions_ended_total", "signed")
	w.metrics = ofSecond
	if other := w.count("imza_transactions_ended_total", "signed"); first != 0 || other != 1 {
		t.Errorf("the one that did not end it counts %d, the one that did %d", first, other)
	}
}

// Of what is not known only so much is remembered, and the last always is.
func TestUnsureIsBounded(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	for i := range 10_000 {
		w.gateway.Unsure(time.Unix(int64(i), 0).String())
	}
	w.gateway.Unsure(tx.ID)
	_, end, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("a signature"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.gateway.MakeBareCall(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if _, err := w.gateway.Expire(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if n := w.count("imza_transactions_ended_total", "signed"); n != 1 {
		t.Errorf("the end is counted %d times", n)
	}
}
