package gateway

import (
	"context"
	"time"
)

// AdmitUnsent admits as Admit does, and sends no challenge.
func (g *Gateway) AdmitUnsent(ctx context.Context, r Request) (*Transaction, error) {
	t, err := g.prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	return g.decide(ctx, t, r)
}

// EndUnsure blocks a transaction as a challenge that waited is, of which an
// earlier attempt may have reached the telephone.
func (g *Gateway) EndUnsure(ctx context.Context, t *Transaction) (State, error) {
	return g.finish(ctx, t, outcome{state: Blocked, line: unsure})
}

// Expire is what the sweep of a node makes of a transaction.
func (g *Gateway) Expire(ctx context.Context, t *Transaction) (State, error) {
	return g.finish(ctx, t, outcome{state: Expired})
}

// UnderWay is how many transactions a node keeps in mind, or waits for.
func (g *Gateway) UnderWay() int {
	g.underWay.mu.Lock()
	defer g.underWay.mu.Unlock()
	return max(len(g.underWay.ids), len(g.underWay.lines))
}

// Forget drops what a node keeps in mind of transactions with an earlier deadline.
func (g *Gateway) Forget(before time.Time) { g.underWay.forget(before) }

// Unsure is what a node remembers of an attempt to end a transaction whose answer
// was lost.
func (g *Gateway) Unsure(id string) { g.metrics.unsure(id) }
