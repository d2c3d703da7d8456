package load

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Provider is who asks.
type Provider struct{ ID, Key string }

// Generator is a load test. Its fields are set before Run and not changed after.
type Generator struct {
	URL        string
	Providers  []Provider
	Cards      int                  // how many subscribers there are
	Subscriber func(int) Subscriber // knows each of them, by its number
	Scenario   string               // how they behave, for the header

	Seed    uint64
	Phases  []Phase
	Even    bool          // requests are due evenly, not as Poisson's process
	Timeout time.Duration // of a request
	Text    string        // which telephones show; ASCII without quotes

	Refused  float64 // the share of requests that policy must refuse
	Flips    float64 // blocks that are flipped, a second
	AdminKey string  // for both of them

	VerifyEvery int  // one signature in so many is verified; 0: none
	Shared      bool // others ask this gateway, too: its counters are not compared

	Emulator string    // the address of its control server; empty: there is none
	Restarts []Restart // of its operators
	Redis    string    // the address of the gateway's, redis://…; empty: it is not looked at

	Command  string          // which this is, for the header, with no secret in it
	Out      io.Writer       // where the results go; what is also an io.ReaderAt is read again at the end
	Progress io.Writer       // where it is told how it goes
	Live     bool            // Progress is a terminal, whose line is written over
	Halt     <-chan struct{} // closed: what is under way is not waited for

	api            *client // what is measured
	control        *client // what is not
	emulator       *client // nil: there is none
	redisOptions   *redis.Options
	authorizations []string
	anchors        *x509.CertPool
	plan           *plan
	started        time.Time
	results        *Writer
	health         health
	account        account
	told           told
	countingTakes  time.Duration // 0: countingTakes
	slots          chan struct{}
	underWay       sync.WaitGroup
	numbered       atomic.Uint64 // requests so far, but for those of flips
	verified       atomic.Int64
	stop           context.CancelCauseFunc
}

// grace is how long is waited for what is under way when a run is stopped.
const grace = 5 * time.Second

// Run makes the test and returns its end, whose balance tells whether all is
// well. An error says that the test did not begin. When ctx is done, asking
// stops, and what is under way is waited for a little.
func (g *Generator) Run(ctx context.Context) (*Ending, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	before, err := g.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer g.liftBlocks()
	asking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	g.stop = stop
	g.started = time.Now()
	if g.results, err = NewWriter(g.Out, g.header()); err != nil {
		return nil, fmt.Errorf("the results cannot be written: %w", err)
	}
	watching := g.watch()
	g.restartOperators(asking)
	g.ask(asking)
	g.await(asking)
	watching()
	why := stopped(ctx, asking)
	ending := g.account.ending()
	ending.CutShort, ending.Why = why != "", why
	if n := ending.Balance.Ends[RefusedBusy]; n > 0 {
		if text := g.crowded(); text != "" {
			ending.Notes = append(ending.Notes, fmt.Sprintf("%s requests came when the subscriber was busy: %s", Thousands(n), text))
		}
	}
	g.compare(ending, before)
	g.recount(ending)
	if err := g.results.End(*ending); err != nil {
		ending.CutShort, ending.Why = true, cmp.Or(ending.Why, "the results could not be written: "+err.Error())
	}
	return ending, nil
}

// stopped says why asking was stopped before its time; empty: it was not.
func stopped(whole, asking context.Context) string {
	switch cause := context.Cause(asking); cause {
	case nil:
		return ""
	case context.Cause(whole):
		return "interrupted"
	default:
		return cause.Error()
	}
}

// ask makes all requests, phase by phase.
func (g *Generator) ask(ctx context.Context) {
	var flips sync.WaitGroup
	if g.plan.flips >= 0 {
		flips.Go(func() { g.flip(ctx) })
	}
	for i := range g.plan.phases {
		if ctx.Err() != nil {
			break
		}
		if p := &g.plan.phases[i]; p.Callers > 0 {
			g.closedLoop(ctx, i, g.plan.begin[i])
		} else if i != g.plan.flips {
			g.openLoop(ctx, i, g.plan.begin[i])
		}
	}
	flips.Wait()
}

// tooLate is how far the load tester may fall behind before it gives up.
const tooLate = 10 * time.Second

// openLoop asks when requests are due, whatever becomes of those before. One
// that is late is asked at once, and late: due stays due.
func (g *Generator) openLoop(ctx context.Context, phase int, begin time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for after := range g.plan.phases[phase].arrivals(g.Seed, phase, g.Even) {
		due := begin + after
		if wait := due - time.Since(g.started); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if wait < -tooLate {
			g.stop(fmt.Errorf("the rate could not be kept: requests are %s behind", (-wait).Round(time.Second)))
		}
		a := g.next(phase, due)
		if !g.slot(ctx) { // it was due, and is accounted for
			a.End = NotSent
			g.record(a)
			continue
		}
		g.underWay.Go(func() {
			g.one(a)
			<-g.slots
		})
	}
}

// slot takes one of the connections, unless asking is over.
func (g *Generator) slot(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case g.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// closedLoop has callers who ask again when they have got an end. It tells what
// the gateway bears, and little of how long one waits: a slow answer delays the
// next request, which then does not wait.
func (g *Generator) closedLoop(ctx context.Context, phase int, begin time.Duration) {
	p := &g.plan.phases[phase]
	until := begin + p.Duration
	for range p.Callers {
		g.underWay.Go(func() {
			for ctx.Err() == nil {
				due := time.Since(g.started)
				if due >= until {
					return
				}
				a := g.next(phase, due)
				g.one(a)
				if a.End == Unanswered { // a gateway that is away is not asked a million times
					time.Sleep(again)
				}
			}
		})
	}
	select {
	case <-time.After(time.Until(g.started.Add(until))):
	case <-ctx.Done():
	}
}

// one is a request from the beginning to its end.
func (g *Generator) one(a *asked) {
	if g.begin(a) {
		g.wait(a)
	}
	g.record(a)
}

// record accounts for a request that has an end, and writes it down. A disk that
// is full stops the run; the account is kept in memory all the same.
func (g *Generator) record(a *asked) {
	a.Fault = judge(&a.Request)
	g.account.close(&a.Request)
	if err := g.results.Request(&a.Request); err != nil {
		g.stop(fmt.Errorf("the results could not be written: %w", err))
	}
}

// await waits for what is under way: to its end if the run was not stopped, and
// otherwise as long as one who pressed Ctrl-C may be kept.
func (g *Generator) await(ctx context.Context) {
	done := make(chan struct{})
	go func() { g.underWay.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	select {
	case <-done:
		return
	case <-time.After(grace):
	case <-g.Halt:
	}
	g.api.halt()
	<-done
}

// health knows whether the gateway has answered at all of late.
type health struct {
	patience time.Duration // 0: patience

	mu      sync.Mutex
	failing time.Time // since when nothing but failures came; zero: something did
	latest  time.Time // when the last of them came
	last    error
}

func (h *health) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		h.failing = time.Time{}
	default:
		h.latest, h.last = time.Now(), err
		if h.failing.IsZero() {
			h.failing = h.latest
		}
	}
}

// patience is how long a gateway may do nothing but fail.
const patience = 10 * time.Second

// lost says that the gateway is: failures have gone on to come for so long. That
// nothing came after one is no sign, since a poll may last longer.
func (h *health) lost() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing.IsZero() || h.latest.Sub(h.failing) < cmp.Or(h.patience, patience) {
		return nil
	}
	return fmt.Errorf("%s of nothing but failures: %w", cmp.Or(h.patience, patience), h.last)
}
