package policy

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// upheavals befall Redis servers as a whole. Each begins and ends with all nodes
// on one server; the clients go on meanwhile.
var upheavals = []struct {
	name string
	run  func(t *testing.T, w *world, r *rand.Rand)
}{
	{"restarted empty", func(t *testing.T, w *world, r *rand.Rand) { w.restart(t, r, false) }},
	{"restarted with an old dump", func(t *testing.T, w *world, r *rand.Rand) { w.restart(t, r, true) }},
	{"moved to another server and back", moveAndBack},
	{"moved and back at once", func(t *testing.T, w *world, r *rand.Rand) {
		w.lay(w.nodes, 1, true)
		time.Sleep(upTo(r, 300))
		w.lay(w.nodes, 0, true)
	}},
	{"one node moved", func(t *testing.T, w *world, r *rand.Rand) {
		w.lay(w.nodes[:1], 1, true)
		time.Sleep(600 * time.Millisecond)
		w.lay(w.nodes[:1], 0, true)
	}},
	{"moved, old connections left", func(t *testing.T, w *world, r *rand.Rand) {
		w.lay(w.nodes, 1, false)
		time.Sleep(100*time.Millisecond + upTo(r, 400))
		w.lay(w.nodes, 1, true)
		time.Sleep(moveTime + 200*time.Millisecond)
		w.lay(w.nodes, 0, true)
	}},
}

// moveAndBack stays on the other server until saves are made there.
func moveAndBack(_ *testing.T, w *world, r *rand.Rand) {
	w.lay(w.nodes, 1, true)
	time.Sleep(moveTime + 200*time.Millisecond + upTo(r, 200))
	w.lay(w.nodes, 0, true)
}

func (w *world) lay(all []*node, server int, cut bool) {
	for _, n := range all {
		n.lines.lay(w.servers[server].Addr, cut)
	}
}

// restart kills the first server, and brings it back empty or with what it held
// some time before.
func (w *world) restart(t *testing.T, r *rand.Rand, dump bool) {
	w.prepareDump(t, dump)
	if dump {
		time.Sleep(100*time.Millisecond + upTo(r, 100))
	}
	w.servers[0].Kill()
	time.Sleep(upTo(r, 50))
	w.servers[0].Restart()
}

// long runs a history through an upheaval: clients are at it before, meanwhile
// and after.
func (w *world) long(t *testing.T, seed uint64, upheaval struct {
	name string
	run  func(t *testing.T, w *world, r *rand.Rand)
}) (failed string) {
	h := w.newHistory(24)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, i))
		all.Go(func() { h.client(r, 1<<30, 8*time.Millisecond, stop) })
	}
	r := rand.New(rand.NewPCG(seed, 100))
	time.Sleep(250 * time.Millisecond)
	upheaval.run(t, w, r)
	h.meet(upheaval.name)
	h.serviceReturns(t)
	time.Sleep(250 * time.Millisecond)
	close(stop)
	all.Wait()
	h.settle()
	w.tally.count(h)
	if ok, account := check(h.all); !ok {
		return upheaval.name + ": " + account
	}
	return ""
}

// serviceReturns waits until somebody is answered again.
func (h *history) serviceReturns(t *testing.T) {
	t.Helper()
	e := h.w.newcomer()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, known := h.w.nodes[0].admit(ctx, e, providers[0])
		cancel()
		if known {
			return
		}
		if time.Now().After(until) {
			t.Fatal("nobody is answered any more")
		}
	}
}
