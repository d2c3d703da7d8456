package report

import (
	"cmp"
	"slices"

	"imza/emulator/load"
)

// Comparison is of what became of two runs' requests, one by one.
type Comparison struct {
	SameSeed bool
	Compared int
	Alone    int // requests that only one of the runs has
	Others   int // that the runs asked of somebody else
	Differ   int
	First    []Difference // of those that differ
	Kinds    []Kind       // the most frequent first
}

// Difference is a request that ended in two ways.
type Difference struct {
	Phase      string
	Index      uint32
	Subscriber uint32
	A, B       load.End
}

// Kind is a way to differ.
type Kind struct {
	A, B  load.End
	Count int
}

// few is how many differences are listed.
const few = 5

// Compare sets the requests of two runs beside each other: within each phase in
// the order in which they were due. What is aside goes by the clock and is left
// out.
func Compare(a, b *Run) Comparison {
	c := Comparison{SameSeed: a.Results.Run.Seed == b.Results.Run.Seed}
	if !c.SameSeed {
		return c
	}
	kinds := map[[2]load.End]int{}
	left, right := inOrder(a.Results), inOrder(b.Results)
	for i := range max(len(left), len(right)) {
		var x, y []*load.Request
		if i < len(left) {
			x = left[i]
		}
		if i < len(right) {
			y = right[i]
		}
		c.Alone += max(len(x), len(y)) - min(len(x), len(y))
		for j := range min(len(x), len(y)) {
			c.one(x[j], y[j], a.Results.Run.Phases[x[j].Phase].Name, kinds)
		}
	}
	for pair, count := range kinds {
		c.Kinds = append(c.Kinds, Kind{pair[0], pair[1], count})
	}
	slices.SortFunc(c.Kinds, func(x, y Kind) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.A, y.A), cmp.Compare(x.B, y.B))
	})
	return c
}

func (c *Comparison) one(x, y *load.Request, phase string, kinds map[[2]load.End]int) {
	c.Compared++
	if x.Subscriber != y.Subscriber || x.Provider != y.Provider {
		c.Others++
		return
	}
	if x.End == y.End {
		return
	}
	c.Differ++
	kinds[[2]load.End{x.End, y.End}]++
	if len(c.First) < few {
		c.First = append(c.First, Difference{phase, x.Index, x.Subscriber, x.End, y.End})
	}
}

// Same reports whether every request of one ended as that of the other.
func (c *Comparison) Same() bool {
	return c.SameSeed && c.Compared > 0 && c.Alone == 0 && c.Others == 0 && c.Differ == 0
}

// inOrder are the requests of each phase that is not aside, in their order.
func inOrder(results *load.Results) [][]*load.Request {
	all := make([][]*load.Request, len(results.Run.Phases))
	for i := range results.Requests {
		if r := &results.Requests[i]; !results.Run.Phases[r.Phase].Aside {
			all[r.Phase] = append(all[r.Phase], r)
		}
	}
	for _, phase := range all {
		slices.SortFunc(phase, func(x, y *load.Request) int { return cmp.Compare(x.Index, y.Index) })
	}
	return all
}
