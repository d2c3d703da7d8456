package gateway_test

import (
	"testing"
	"time"

	"imza/gateway"
	"imza/policy/redistest"
	"imza/smpp"
)

// receive gives a card's answer to one of the nodes, whichever it was asked by.
func receive(t *testing.T, g *gateway.Gateway, p *telephone, segments [][]byte) {
	t.Helper()
	for _, ud := range segments {
		m := &smpp.ShortMessage{Source: smpp.International(p.number.Digits()), ESMClass: smpp.ESMClassUDHI, Message: ud}
		if status := g.Receive(t.Context(), nil, m); status != smpp.StatusOK {
			t.Fatal(status)
		}
	}
}

// An answer in one message is judged at once by the node that asked, and read from
// Redis by another one. Either way who waits hears of it at either node, and
// neither keeps anything of it in mind.
func TestAnswerAtEitherNode(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		w.short = true
		second, _ := w.node()
		p := w.enrol(1)
		nodes := []*gateway.Gateway{w.gateway, second}
		for at := range nodes {
			for waiting := range nodes {
				tx := w.admit(p, time.Minute)
				segments := p.answer(w.operator.next())
				if len(segments) != 1 {
					t.Fatalf("a short answer in %d messages", len(segments))
				}
				ended := make(chan *gateway.Transaction, 1)
				go func() {
					got, err := nodes[waiting].Get(t.Context(), provider, tx.ID, 20*time.Second)
					if err != nil {
						t.Error(err)
					}
					ended <- got
				}()
				time.Sleep(20 * time.Millisecond) // until it waits
				receive(t, nodes[at], p, segments)
				got := <-ended
				if got == nil || got.State != gateway.Signed || len(got.CMS) == 0 {
					t.Fatalf("answered at node %d, waited for at node %d: %+v", at, waiting, got)
				}
				for i, g := range nodes {
					again, err := g.Get(t.Context(), provider, tx.ID, 0)
					if err != nil {
						t.Fatal(err)
					}
					if again.State != got.State || string(again.CMS) != string(got.CMS) || !again.Ended.Equal(got.Ended) || !again.Answered.Equal(got.Answered) || !again.Verified.Equal(got.Verified) {
						t.Errorf("node %d shows %+v, who waited got %+v", i, again, got)
					}
				}
			}
		}
		for i, g := range nodes {
			for deadline := time.Now().Add(5 * time.Second); g.UnderWay() > 0; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("node %d keeps %d transactions in mind that have ended", i, g.UnderWay())
				}
			}
		}
	})
}

// A node that was not told of an end finds out by looking, and drops what it kept
// when the deadline is past.
func TestEndThatANodeIsNotToldOf(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	w.operator.next()
	if err := w.permissions.Redis.HSet(t.Context(), "imza:transaction:"+tx.ID, "state", "cancelled_by_user", "ended", time.Now().UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got, err := w.gateway.Get(t.Context(), provider, tx.ID, 20*time.Second)
	if err != nil || got.State != gateway.CancelledByUser {
		t.Fatalf("%+v, %v", got, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it was noticed after %s", took)
	}
	w.gateway.Forget(tx.Deadline)
	if n := w.gateway.UnderWay(); n != 1 {
		t.Errorf("%d are kept before the deadline is past", n)
	}
	w.gateway.Forget(tx.Deadline.Add(time.Millisecond))
	if n := w.gateway.UnderWay(); n != 0 {
		t.Errorf("%d are kept after the deadline", n)
	}
}

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
