// Package report makes figures of what a load test wrote down: a table for the
// terminal and one page that needs nothing but itself. With two runs it sets them
// side by side.
//
// Figures are made from the records of requests, never from other figures. What a
// phase says of latency is said of its signatures, from when each was due until
// it was released; phases that are aside (warming up, blocks that are flipped)
// are in the balance and in no percentile.
//
//	report.go      what is known of a run
//	phase.go       percentiles, as a whole and by phase and step
//	series.go      how it went, second by second
//	process.go     what processes used
//	compare.go     two runs, request by request
//	verdict.go     what the figures come to, in sentences
//	value.go       how a figure is written
//	sheet.go       the tables, of the terminal and of the page
//	text.go        the terminal's
//	charts.go      what is drawn over time
//	rows.go        what is drawn in rows: phases, steps, ends
//	page.go, page/ the page
package report

import (
	"time"

	"imza/emulator/load"
)

// Run is what is known of a run.
type Run struct {
	Name      string // of its file
	Results   *load.Results
	Balance   load.Balance
	Whole     Phase // all phases that are not aside
	Phases    []Phase
	Steps     []Step // of the whole
	Series    Series
	Processes []Process
}

// Of makes figures of results.
func Of(name string, results *load.Results) *Run {
	r := &Run{Name: name, Results: results, Balance: results.Recount()}
	if e := results.Ending; e != nil {
		r.Balance.Lines, r.Balance.Asked, r.Balance.Unseen = e.Balance.Lines, e.Balance.Asked, e.Balance.Unseen
	}
	measured, aside := releases(results)
	r.Phases = phases(results, measured, aside)
	r.Whole = whole(r.Phases, measured)
	r.Steps = steps(results)
	r.Series = series(results, r.Phases)
	r.Processes = processes(results, append(measured, aside...))
	return r
}

// OK reports whether the run was whole, not cut short, its balance is exact and no request was at
// fault.
func (r *Run) OK() bool {
	if e := r.Results.Ending; e != nil && e.CutShort {
		return false
	}
	return r.Results.Cut == nil && len(r.differences()) == 0 && len(r.Balance.Faults) == 0
}

// refused counts the requests that the gateway refused.
func (r *Run) refused() (n int64) {
	for end, count := range r.Balance.Ends {
		if end.Refused() {
			n += count
		}
	}
	return n
}

// signed is how many signatures there were, of all phases.
func (r *Run) signed() int64 { return r.Balance.Ends[load.Signed] }

// length is from the beginning to the last that is known of.
func (r *Run) length() time.Duration {
	if e := r.Results.Ending; e != nil {
		return max(0, e.Ended.Sub(r.Results.Run.Started))
	}
	return r.Series.End
}
