package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"imza/emulator/load"
)

// Phase is what became of a phase's requests.
type Phase struct {
	Name   string
	Aside  bool
	Begin  time.Duration // when its first request was due
	Length time.Duration // for which requests were due
	Asked  int64
	Signed int64
	Rate   float64 // signatures a second
	// Latency is of signatures, in microseconds from due to released.
	Latency *hdrhistogram.Histogram
}

// Other is how many requests ended without a signature.
func (p *Phase) Other() int64 { return p.Asked - p.Signed }

// AskedRate is how many requests were due in a second.
func (p *Phase) AskedRate() float64 { return perSecond(p.Asked, p.Length) }

// Percentile is within which so many of a hundred signatures were released.
func (p *Phase) Percentile(percent float64) time.Duration {
	return time.Duration(p.Latency.ValueAtQuantile(percent)) * time.Microsecond
}

// histogram is of microseconds up to an hour, with three digits that hold.
func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Hour.Microseconds(), 3)
}

// record adds microseconds. Less than nothing, between two clocks, is nothing.
func record(h *hdrhistogram.Histogram, us int64) {
	h.RecordValue(min(max(us, 0), h.HighestTrackableValue())) // which is then in range
}

func perSecond(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// releases are the moments of all signatures, in order: of phases that are
// measured, and of those that are aside.
func releases(results *load.Results) (measured, aside []time.Duration) {
	for i := range results.Requests {
		r := &results.Requests[i]
		after, ok := r.Latency()
		switch {
		case !ok || r.End != load.Signed:
		case results.Run.Phases[r.Phase].Aside:
			aside = append(aside, r.Due+after)
		default:
			measured = append(measured, r.Due+after)
		}
	}
	slices.Sort(measured)
	slices.Sort(aside)
	return measured, aside
}

// between counts moments from one until another.
func between(sorted []time.Duration, from, until time.Duration) int64 {
	a, _ := slices.BinarySearch(sorted, from)
	b, _ := slices.BinarySearch(sorted, until)
	return int64(max(0, b-a))
}

// phases are those of which there are requests, in the order of the run.
func phases(results *load.Results, measured, aside []time.Duration) []Phase {
	all := make([]Phase, len(results.Run.Phases))
	last := make([]time.Duration, len(all))
	for i := range results.Requests {
		r := &results.Requests[i]
		p := &all[r.Phase]
		if p.Asked == 0 || r.Due < p.Begin {
			p.Begin = r.Due
		}
		last[r.Phase] = max(last[r.Phase], r.Due)
		p.Asked++
		if p.Latency == nil {
			p.Latency = histogram()
		}
		if after, ok := r.Latency(); ok && r.End == load.Signed {
			p.Signed++
			record(p.Latency, after.Microseconds())
		}
	}
	cut := results.Ending == nil || results.Ending.CutShort
	for i := range all {
		p, meant := &all[i], results.Run.Phases[i]
		if p.Asked == 0 {
			continue // it is left out
		}
		p.Name, p.Aside = meant.Name, meant.Aside
		p.Length = last[i] - p.Begin
		if !cut {
			p.Length = max(p.Length, meant.Duration)
		}
		if p.Aside {
			p.Rate = sustained(p, aside)
		} else {
			p.Rate = sustained(p, measured)
		}
	}
	return slices.DeleteFunc(all, func(p Phase) bool { return p.Asked == 0 })
}

// sustained is how many signatures were released in a second. They are counted
// for as long as requests were due, but later by the median latency: people who
// think for three seconds would else look like a gateway that does nothing for
// three seconds, and one that falls behind would be given what it did later.
func sustained(p *Phase, released []time.Duration) float64 {
	begin := p.Begin + p.Percentile(50)
	return perSecond(between(released, begin, begin+p.Length), p.Length)
}

// whole is all that is measured, as one phase.
func whole(phases []Phase, measured []time.Duration) Phase {
	all := Phase{Name: "all", Latency: histogram()}
	var end time.Duration
	for i := range phases {
		p := &phases[i]
		if p.Aside {
			continue
		}
		if all.Asked == 0 || p.Begin < all.Begin {
			all.Begin = p.Begin
		}
		end = max(end, p.Begin+p.Length)
		all.Asked += p.Asked
		all.Signed += p.Signed
		all.Latency.Merge(p.Latency)
	}
	all.Length = end - all.Begin
	if all.Asked > 0 {
		all.Rate = sustained(&all, measured)
	}
	return all
}

// Step is a part of the way of a signature.
type Step struct {
	Name    string
	Mean    time.Duration
	Latency *hdrhistogram.Histogram // in microseconds
	total   int64
}

// stepNames are what lies between two moments of a request, and a colour.
var stepNames = [...]string{"due → sent", "sent → accepted", "accepted → pushed", "pushed → answered", "answered → verified", "verified → released"}

// moments of a request, in order.
func moments(r *load.Request) [len(stepNames) + 1]load.Moment {
	return [...]load.Moment{0, r.Sent, r.Accepted, r.Pushed, r.Answered, r.Verified, r.Released}
}

// steps are of the signatures of which every moment is known, so that their means
// add up.
func steps(results *load.Results) []Step {
	all := make([]Step, len(stepNames))
	for i := range all {
		all[i] = Step{Name: stepNames[i], Latency: histogram()}
	}
	for i := range results.Requests {
		r := &results.Requests[i]
		m := moments(r)
		if r.End != load.Signed || results.Run.Phases[r.Phase].Aside || slices.Contains(m[:], load.Never) {
			continue
		}
		for i := range all {
			us := int64(m[i+1]) - int64(m[i])
			all[i].total += us
			record(all[i].Latency, us)
		}
	}
	for i := range all {
		all[i].Mean = time.Duration(all[i].total/cmp.Or(all[i].Latency.TotalCount(), 1)) * time.Microsecond
	}
	return all
}
