package policy

import (
	"math/rand/v2"
	"testing"

	"imza/policy/redistest"
)

// said is the decision in the plainest words: what a manager said last of this
// provider, or of all, in the order in which it was said.
type said struct {
	provider Provider // "": all
	allowed  bool
}

func reference(all []said, p Provider) bool {
	allowed := true
	for _, s := range all {
		if s.provider == p || s.provider == "" {
			allowed = s.allowed
		}
	}
	return allowed
}

// awkward names begin with one another, or look like what is beside them in
// Redis.
var awkward = []Provider{"a", "a-", "a-b", "aa", "0", "x", "x-a", "default", "epoch", "version", "allow", "block", "bank", "bank-2"}

func somethingSaid(r *rand.Rand) said {
	s := said{awkward[r.IntN(len(awkward))], r.IntN(2) == 0}
	if r.IntN(8) == 0 {
		s.provider = ""
	}
	return s
}

func (s said) change(set Set) Set {
	if s.provider == "" {
		return Set{BlockAll: !s.allowed}
	}
	return set.With(s.provider, s.allowed)
}

// However a set came to be, it decides as the reference does, and its form is
// the one that there is for it.
func TestDecisionAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		var set Set
		var all []said
		for range r.IntN(25) {
			s := somethingSaid(r)
			all, set = append(all, s), s.change(set)
		}
		var exceptions int
		for _, p := range append(awkward, "joined-later") {
			want := reference(all, p)
			if set.Allows(p) != want {
				t.Fatalf("after %v: %+v allows %s: %t", all, set, p, !want)
			}
			if want == set.BlockAll {
				exceptions++
			}
		}
		if exceptions != len(set.Exceptions) {
			t.Fatalf("%+v has %d exceptions, and needs %d", set, len(set.Exceptions), exceptions)
		}
	}
}

// The decision inside Redis is the same, for sets that were saved and loaded.
func TestDecisionInRedis(t *testing.T) {
	redistest.Each(t, func(t *testing.T, addr string) {
		w := openWorldAt(t, addr, onSQLite(t), nil)
		r := rand.New(rand.NewPCG(7, 8))
		for range 40 {
			e := w.newcomer()
			var all []said
			for range 1 + r.IntN(3) {
				var more []said
				for range 1 + r.IntN(6) {
					more = append(more, somethingSaid(r))
				}
				change := func(_ Employee, set Set) (Set, error) {
					for _, s := range more {
						set = s.change(set)
					}
					return set, nil
				}
				if _, err := w.nodes[0].Save(t.Context(), Save{Employees: []Employee{e}, Change: change}); err != nil {
					t.Fatal(err)
				}
				all = append(all, more...)
			}
			set, err := w.nodes[1].Record.Get(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range append(awkward, "joined-later") {
				want := reference(all, p)
				yes, known := w.nodes[1].admit(t.Context(), e, p)
				if yes != want || !known || set.Allows(p) != want {
					t.Fatalf("after %v, %s: in Redis %t (known: %t), in the record %t", all, p, yes, known, set.Allows(p))
				}
			}
		}
	})
}
