package report

import (
	"cmp"
	"slices"
	"time"

	"imza/emulator/load"
)

// Series is how a run went over time, in equal parts.
type Series struct {
	Every  time.Duration
	End    time.Duration // of the last part
	Parts  []Part
	Due    int // the last part in which a request was due
	Marks  []Mark
	Depths []Depth
}

// Part is a second, or a few.
type Part struct {
	Asked  int // were due in it
	Signed int // were released in it
	Other  int // ended otherwise in it
	// Latency of the signatures that were due in it; all are 0 if there were none.
	P50, P99, Max time.Duration
}

// Mark is when a phase begins and ends.
type Mark struct {
	Name       string
	From, Till time.Duration
	Aside      bool
}

// Depth is how long a queue was.
type Depth struct {
	Name  string
	At    []time.Duration
	Value []float64
	Most  float64
}

// maxParts is how many points a line may have: more than a screen shows.
const maxParts = 400

// every is how long a part is.
func every(length time.Duration) time.Duration {
	steps := []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600}
	for _, s := range steps {
		if length <= s*time.Second*maxParts {
			return s * time.Second
		}
	}
	return length / maxParts
}

// ended is when it was known how a request ended; when it was due, if never.
func ended(r *load.Request) time.Duration {
	after, _ := r.Latency()
	return max(0, r.Due+after)
}

func series(results *load.Results, phases []Phase) Series {
	var s Series
	for i := range results.Requests {
		s.End = max(s.End, results.Requests[i].Due, ended(&results.Requests[i]))
	}
	for i := range results.Samples {
		s.End = max(s.End, time.Duration(results.Samples[i].At)*time.Millisecond)
	}
	s.Every = every(s.End)
	s.Parts = make([]Part, s.End/s.Every+1)
	latencies := make([][]time.Duration, len(s.Parts))
	for i := range results.Requests {
		r := &results.Requests[i]
		due := int(r.Due / s.Every)
		s.Parts[due].Asked++
		s.Due = max(s.Due, due)
		end := &s.Parts[ended(r)/s.Every]
		if r.End != load.Signed {
			end.Other++
			continue
		}
		end.Signed++
		if after, ok := r.Latency(); ok {
			latencies[due] = append(latencies[due], after)
		}
	}
	for i, all := range latencies {
		if len(all) > 0 {
			slices.Sort(all)
			p := &s.Parts[i]
			p.P50, p.P99, p.Max = at(all, 50), at(all, 99), all[len(all)-1]
		}
	}
	s.Marks = marks(phases)
	s.Depths = depths(results.Samples)
	return s
}

// at is within which so many of a hundred are.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

// marks are the phases that come one after the other. What goes on beside them is
// not one.
func marks(phases []Phase) (all []Mark) {
	for _, p := range phases {
		if from := p.Begin; len(all) == 0 || from >= all[len(all)-1].Till-time.Second {
			if len(all) > 0 {
				all[len(all)-1].Till = from
			}
			all = append(all, Mark{p.Name, from, from + p.Length, p.Aside})
		}
	}
	return all
}

// depths are of all queues in which something ever was, the longest first.
func depths(samples []load.Sample) []Depth {
	var all []Depth
	index := map[string]int{}
	for _, s := range samples {
		for name, value := range s.Depths {
			i, known := index[name]
			if !known {
				i = len(all)
				index[name] = i
				all = append(all, Depth{Name: name})
			}
			d := &all[i]
			d.At = append(d.At, time.Duration(s.At)*time.Millisecond)
			d.Value = append(d.Value, value)
			d.Most = max(d.Most, value)
		}
	}
	all = slices.DeleteFunc(all, func(d Depth) bool { return d.Most == 0 })
	slices.SortFunc(all, func(a, b Depth) int {
		return cmp.Or(cmp.Compare(b.Most, a.Most), cmp.Compare(a.Name, b.Name))
	})
	return all
}
