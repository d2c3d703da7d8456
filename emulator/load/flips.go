package load

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// flipLasts is about how long a flip may keep its subscriber.
const flipLasts = 10 * time.Second

// flipIndex is where the numbers of requests about flips begin.
const flipIndex = 1 << 31

// Requests of a flip.
const (
	flipBefore  = iota // it is under way when the block is saved
	flipBlocked        // it comes after
	flipAgain          // it comes when the block is lifted
	flipRequests
)

// flip flips blocks at a rate, until asking stops. Each flip has a subscriber to
// itself; one for which none is left is left out, and said.
func (g *Generator) flip(ctx context.Context) {
	free := make(chan pair, len(g.plan.flipped))
	for _, p := range g.plan.flipped {
		free <- p
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	n := uint32(0)
	for due := range g.plan.phases[g.plan.flips].arrivals(g.Seed, g.plan.flips, true) {
		timer.Reset(max(0, due-time.Since(g.started)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case p := <-free:
			index := flipIndex + n*flipRequests
			g.underWay.Go(func() {
				g.flipOne(p, index, due)
				free <- p
			})
		default:
			g.account.unflipped.Add(1)
		}
		n++
	}
}

// flipOne asks, saves a block while that is under way, and judges what may come
// of it: the promise is that a block is in force when its save has returned.
func (g *Generator) flipOne(p pair, index uint32, due time.Duration) {
	first := g.flipRequest(p, index+flipBefore, due)
	if !g.begin(first) {
		g.record(first)
		return // nothing is under way
	}
	if err := g.saveBlock(p, http.MethodPut); err != nil {
		g.remark("a block could not be saved: " + err.Error())
		first.Expect = ExpectEither // it may be saved or not
		g.wait(first)
		g.record(first)
		g.unblock(p)
		return
	}
	// The save has returned. What has not ended by now must not become a
	// signature; what has, was faster.
	var waiting sync.WaitGroup
	if err := g.look(first, 0); err == nil && first.End == "" {
		first.Expect = ExpectUnsigned
	} else if err != nil {
		first.Expect = ExpectEither
	}
	if first.End == "" {
		waiting.Go(func() { g.wait(first) })
	}
	second := g.flipRequest(p, index+flipBlocked, time.Since(g.started))
	second.Expect = ExpectRefuse
	g.one(second)
	waiting.Wait() // as long as it is under way the block must stay, since the end asks again
	if first.Expect == ExpectAccept && first.End == Blocked {
		first.Expect = ExpectUnsigned // it ended between the save and the look, and rightly so
	}
	g.record(first)
	if !g.unblock(p) {
		return
	}
	g.one(g.flipRequest(p, index+flipAgain, time.Since(g.started)))
}

func (g *Generator) flipRequest(p pair, index uint32, due time.Duration) *asked {
	g.account.open()
	a := &asked{Request: newRequest(uint64(index), g.plan.flips, due)}
	a.of(p)
	return a
}

func (g *Generator) saveBlock(p pair, method string) error {
	path := fmt.Sprintf("/v1/admin/organisations/%s/employees/%s/blocks/%s", p.wanted.VOEN, p.who.FIN, url.PathEscape(g.Providers[p.provider].ID))
	return g.control.control(message{method: method, path: path, authorization: "Bearer " + g.AdminKey, patience: patience}, nil)
}

// unblock lifts a block, whatever it takes: who stays blocked would be refused in
// the next run.
func (g *Generator) unblock(p pair) bool {
	err := g.persist(func() error { return g.saveBlock(p, http.MethodDelete) })
	if err != nil {
		g.remark("a block could not be lifted, and stays: " + err.Error())
	}
	return err == nil
}

// persist tries again for a while, unless one is told not to wait.
func (g *Generator) persist(try func() error) (err error) {
	for begin := time.Now(); ; {
		if err = try(); err == nil || time.Since(begin) > patience {
			return err
		}
		select {
		case <-time.After(again):
		case <-g.Halt:
			return err
		}
	}
}
