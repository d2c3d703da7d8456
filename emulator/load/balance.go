package load

import (
	"fmt"
	"maps"
	"slices"
)

// Balance is the account of a run: what was asked, and what became of it.
type Balance struct {
	Asked  int64            `json:"asked"`
	Ends   map[End]int64    `json:"ends"`
	Faults map[string]int64 `json:"faults,omitempty"` // requests with a fault, by Fault.String
	// Lines are the counts that must agree with those that somebody else keeps.
	Lines []Line `json:"lines,omitempty"`
	// Unseen says why there are no such lines, though there should be.
	Unseen string `json:"unseen,omitempty"`
}

// Line is two counts that must be the same.
type Line struct {
	What  string `json:"what"`
	Here  int64  `json:"here"`  // by the load tester
	There int64  `json:"there"` // by the gateway's own counters, or by the records in the file
	// Less and More are by how much There may be less and more. Of a request that
	// was not answered nobody here knows whether the gateway has counted it.
	Less int64 `json:"less,omitempty"`
	More int64 `json:"more,omitempty"`
}

// OK reports whether they are.
func (l Line) OK() bool { return l.Here-l.Less <= l.There && l.There <= l.Here+l.More }

// OK reports whether all agrees, and no request was at fault.
func (b *Balance) OK() bool { return len(b.Faults) == 0 && len(b.Differences()) == 0 }

// Count adds a request.
func (b *Balance) Count(r *Request) {
	if b.Ends == nil {
		b.Ends = make(map[End]int64)
	}
	b.Ends[r.End]++
	if r.Fault != NoFault {
		if b.Faults == nil {
			b.Faults = make(map[string]int64)
		}
		b.Faults[r.Fault.String()]++
	}
}

// Ended is how many have an end.
func (b *Balance) Ended() (n int64) {
	for _, count := range b.Ends {
		n += count
	}
	return n
}

// Differences says in words what does not agree.
func (b *Balance) Differences() (all []string) {
	if ended := b.Ended(); ended != b.Asked {
		all = append(all, fmt.Sprintf("asked %d, ended %d: %d are missing", b.Asked, ended, b.Asked-ended))
	}
	if b.Unseen != "" {
		all = append(all, b.Unseen)
	}
	for _, l := range b.Lines {
		if !l.OK() {
			all = append(all, fmt.Sprintf("%s: %d here, %d there", l.What, l.Here, l.There))
		}
	}
	return all
}

// Sorted returns the ends that there were: signed first, then by their count.
func (b *Balance) Sorted() []End {
	return slices.SortedFunc(maps.Keys(b.Ends), func(x, y End) int {
		switch {
		case x == Signed:
			return -1
		case y == Signed:
			return 1
		case b.Ends[x] != b.Ends[y]:
			return int(b.Ends[y] - b.Ends[x])
		}
		return slices.Compare([]byte(x), []byte(y))
	})
}

// FaultsSorted returns the faults that there were, in order.
func (b *Balance) FaultsSorted() []string { return slices.Sorted(maps.Keys(b.Faults)) }

// Recount draws the balance of the records in a file: a file is whole if that is
// the balance at its end.
func (all *Results) Recount() Balance {
	var b Balance
	for i := range all.Requests {
		b.Count(&all.Requests[i])
	}
	b.Asked = b.Ended()
	return b
}
