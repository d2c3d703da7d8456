package smpp

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace is how fast messages are submitted to an operator: at most as fast as
// was agreed, and slower while the operator says that it is too busy. Only what
// we submit is paced; acknowledgements and enquire_link never wait.
type pace struct {
	agreed  rate.Limit // rate.Inf if nothing was
	limiter *rate.Limiter
	gate    chan struct{} // who holds it is the next; see wait

	mu       sync.Mutex
	slowedAt time.Time // when the limit was lowered last
	raisedAt time.Time // or raised
	second   time.Time // the second that accepted is of
	accepted float64   // in it
	lately   float64   // accepted in the second before

	took, turnedAway float64 // since the limit was lowered last
}

// How the pace follows an operator that throttles: half as fast each time, or as
// fast as messages were accepted lately if that is less, but once for all that
// was under way; then a tenth faster with every second that goes well. Without
// an agreed rate it begins at what was accepted in the second before, or at
// unknown, and is lifted at freely.
const (
	slower   = 0.5
	slowerAt = 500 * time.Millisecond
	faster   = 1.1
	fasterAt = time.Second
	slowest  = 1
	unknown  = 100
	many     = 5 // one of so many
	freely   = 100_000
)

func newPace(agreed float64) *pace {
	p := &pace{agreed: rate.Limit(agreed), gate: make(chan struct{}, 1)}
	if agreed <= 0 {
		p.agreed = rate.Inf
	}
	p.limiter = rate.NewLimiter(p.agreed, burst(p.agreed))
	return p
}

// burst is what may go at once: what is due in a tenth of a second.
func burst(limit rate.Limit) int { return max(1, int(min(float64(limit)/10, 10_000))) }

// rate is how many messages a second may go now; infinite is without limit.
func (p *pace) rate() float64 {
	if limit := p.limiter.Limit(); limit != rate.Inf {
		return float64(limit)
	}
	return math.Inf(1)
}

// wait waits until the next message may go. A limiter fixes the time of those
// who wait when they come; so only one of them is there at a time, and the
// others are held to the limit as it is when their turn has come.
func (p *pace) wait(ctx context.Context) error {
	if p.limiter.Limit() == rate.Inf {
		return ctx.Err()
	}
	select {
	case p.gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.gate }()
	return p.next(ctx)
}

// next is the wait of one who has been at the head before.
func (p *pace) next(ctx context.Context) error {
	if p.limiter.Limit() == rate.Inf {
		return ctx.Err()
	}
	mine := p.limiter.Reserve()
	timer := time.NewTimer(mine.Delay())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		mine.Cancel()
	}
	return ctx.Err()
}

// well notes that a message was accepted.
func (p *pace) well(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := now.Sub(p.second); passed >= time.Second {
		p.lately = p.accepted
		if passed >= 2*time.Second {
			p.lately = 0
		}
		p.second, p.accepted = now, 0
	}
	p.accepted++
	p.took++
	limit := p.limiter.Limit()
	if limit == p.agreed || now.Sub(p.slowedAt) < fasterAt || now.Sub(p.raisedAt) < fasterAt {
		return
	}
	p.raisedAt = now
	limit = limit*faster + 1
	if limit >= p.agreed || limit >= freely {
		limit = p.agreed
	}
	p.set(limit)
}

// throttled slows down, and reports whether it did so now. A full queue may be
// that of one telephone: it counts as the operator's if many are.
func (p *pace) throttled(now time.Time, status Status) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turnedAway++
	if now.Sub(p.slowedAt) < slowerAt || status == StatusQueueFull && p.turnedAway*many <= p.took {
		return false
	}
	p.slowedAt, p.took, p.turnedAway = now, 0, 0
	limit := p.rate()
	if measured := p.measured(now); measured > 0 {
		limit = min(limit, 2*measured) // it may never have been reached
	} else if math.IsInf(limit, 1) {
		limit = unknown
	}
	p.set(rate.Limit(max(limit*slower, slowest)))
	return true
}

// measured is how many a second were accepted lately, 0 if that cannot be said:
// of the second before, which is over, and not of one long ago.
func (p *pace) measured(now time.Time) float64 {
	switch passed := now.Sub(p.second); {
	case passed >= 2*time.Second:
		return 0
	case passed >= time.Second:
		return p.accepted
	}
	return p.lately
}

func (p *pace) set(limit rate.Limit) {
	p.limiter.SetLimit(limit)
	p.limiter.SetBurst(burst(limit))
}
