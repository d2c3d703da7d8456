package load

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// account is what a run knows of its requests in memory, apart from the file: it
// counts them when they are made and again when they have ended.
type account struct {
	asked     atomic.Int64
	unflipped atomic.Int64 // flips for which no subscriber was left

	mu        sync.Mutex
	balance   Balance
	accepted  int64
	uncertain int64 // sent, and it is not known whether they were accepted
	endless   int64 // accepted, and it is not known how they ended
	lag       *hdrhistogram.Histogram
	phases    []*Figures
	second    second
	notes     []string
}

// Figures are those of one phase, in which all that were signed count.
type Figures struct {
	Phase         Phase
	Asked, Signed int64
	Latency       *hdrhistogram.Histogram // in µs, from due to released
}

// At is the latency that so many in a hundred did not exceed.
func (f *Figures) At(percent float64) time.Duration {
	return time.Duration(f.Latency.ValueAtQuantile(percent)) * time.Microsecond
}

// second is what ended within the last one, or a few of them.
type second struct {
	signed, refused int64
	latencies       []Moment
}

// longest is the longest latency that a histogram has a place for, in µs.
const longest = int64(time.Hour / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

func (c *account) begin(phases []Phase) {
	c.lag = newHistogram()
	for _, p := range phases {
		c.phases = append(c.phases, &Figures{Phase: p, Latency: newHistogram()})
	}
}

// open counts a request that is made.
func (c *account) open() { c.asked.Add(1) }

// close counts how one ended.
func (c *account) close(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.balance.Count(r)
	if r.Accepted.Reached() {
		c.accepted++
	}
	switch {
	case r.End == NotSent:
	case !r.End.Known() && r.Accepted.Reached():
		c.endless++
	case !r.End.Known():
		c.uncertain++
	}
	if r.Sent.Reached() && r.Index < flipIndex {
		record(c.lag, r.Sent)
	}
	p := c.phases[r.Phase]
	p.Asked++
	if r.End == Signed {
		p.Signed++
		c.second.signed++
		record(p.Latency, r.Released)
		c.second.latencies = append(c.second.latencies, r.Released)
	}
	if r.End.Refused() {
		c.second.refused++
	}
}

func record(h *hdrhistogram.Histogram, m Moment) {
	_ = h.RecordValue(min(max(int64(m), 0), longest)) // which is within what it has a place for
}

// take takes what the last second had, and begins the next.
func (c *account) take() (s second, ended, faults int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, c.second = c.second, second{}
	for _, n := range c.balance.Faults {
		faults += n
	}
	return s, c.balance.Ended(), faults
}

// percentile is the latency than which a share of all were faster.
func (s *second) percentile(share float64) string {
	if len(s.latencies) == 0 {
		return "-"
	}
	slices.Sort(s.latencies)
	d, _ := s.latencies[min(int(share*float64(len(s.latencies))), len(s.latencies)-1)].After()
	return Short(d)
}

// How late requests may go out without a word, and how late before it must be said
// that what was asked for was not done.
const (
	lagging = 10 * time.Millisecond
	failing = time.Second
)

// ending draws the balance of what is in memory.
func (c *account) ending() *Ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &Ending{Ended: time.Now(), Balance: c.balance, Notes: slices.Clone(c.notes)}
	e.Balance.Asked = c.asked.Load()
	if late := c.late(99); late > lagging {
		what := "the load tester itself was late"
		if late > failing {
			what = "the rate could not be kept"
		}
		e.Notes = append(e.Notes, fmt.Sprintf("%s: 1 request in 100 went out %s or more after it was due, the latest %s; latency counts from when it was due", what, late, c.late(100)))
	}
	if n := c.unflipped.Load(); n > 0 {
		e.Notes = append(e.Notes, fmt.Sprintf("%d blocks were not flipped: those whose blocks are flipped were all busy", n))
	}
	return e
}

// late is by how much that many in a hundred went out late, or less.
func (c *account) late(percent float64) time.Duration {
	return (time.Duration(c.lag.ValueAtQuantile(percent)) * time.Microsecond).Round(100 * time.Microsecond)
}

// mostNotes is how many remarks are kept.
const mostNotes = 20

// remark notes what whoever reads the figures must know.
func (g *Generator) remark(text string) {
	c := &g.account
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < mostNotes {
		c.notes = append(c.notes, text)
	}
}

// Figures are those of each phase. They are for after Run.
func (g *Generator) Figures() (all []Figures) {
	g.account.mu.Lock()
	defer g.account.mu.Unlock()
	for _, p := range g.account.phases {
		all = append(all, *p)
	}
	return all
}

// Verified is how many signatures were verified.
func (g *Generator) Verified() int64 { return g.verified.Load() }
