package main

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"imza/policy"
)

// questions is how many are asked in turn while a case is measured.
const questions = 256

// benchmarkCase is a set and providers it answers all alike.
type benchmarkCase struct {
	set      policy.Set
	excepted bool // whether the providers asked for are
	asked    []policy.Provider
	want     bool
}

func (c benchmarkCase) columns() string {
	fallback, kind := "allow", "other"
	if c.set.BlockAll {
		fallback = "block"
	}
	if c.excepted {
		kind = "excepted"
	}
	return fmt.Sprintf("%s\t%d\t%s", fallback, len(c.set.Exceptions), kind)
}

func (c benchmarkCase) String() string {
	kind, fallback := "another provider", "allowed"
	if c.excepted {
		kind = "an excepted provider"
	}
	if c.set.BlockAll {
		fallback = "blocked"
	}
	return fmt.Sprintf("%s by default, exceptions: %d, asked for %s", fallback, len(c.set.Exceptions), kind)
}

// cases are those of the table.
func cases(r *rand.Rand) []benchmarkCase {
	var all []benchmarkCase
	for _, n := range []int{1, 10, 1000} {
		for _, blockAll := range []bool{false, true} {
			set := randomSet(r, blockAll, n)
			for _, excepted := range []bool{true, false} {
				c := benchmarkCase{set: set, excepted: excepted, want: blockAll == excepted}
				for len(c.asked) < questions {
					p := randomProvider(r)
					if excepted {
						p = set.Exceptions[r.IntN(n)]
					}
					if slices.Contains(set.Exceptions, p) == excepted {
						c.asked = append(c.asked, p)
					}
				}
				all = append(all, c)
			}
		}
	}
	return all
}

// agree asks everybody the same of random sets, some of them large or empty,
// and says how much was asked. An error names the first question on which the
// answers differ.
func agree(r *rand.Rand, deciders []decider) (asked int, err error) {
	const sets, each = 150, 32
	for i := range sets {
		n := r.IntN(20)
		if i%50 == 49 {
			n = 1000
		}
		set := randomSet(r, r.IntN(2) == 0, n)
		providers := make([]policy.Provider, each)
		for k := range providers {
			providers[k] = randomProvider(r) // nobody heard of it yet
			if n > 0 && r.IntN(2) == 0 {
				providers[k] = set.Exceptions[r.IntN(n)]
			}
		}
		if err := agreeOn(set, providers, deciders); err != nil {
			return asked, err
		}
		asked += each
	}
	return asked, nil
}

// agreeOn asks twice, because some remember.
func agreeOn(set policy.Set, providers []policy.Provider, deciders []decider) error {
	asks := make([]decide, len(deciders))
	for i, d := range deciders {
		var err error
		if asks[i], err = d.prepare(set, providers); err != nil {
			return fmt.Errorf("%s: %+v: %w", d.name, set, err)
		}
	}
	for range 2 {
		for k, p := range providers {
			var first bool
			for i, ask := range asks {
				answer, err := ask(k)
				if err != nil {
					return fmt.Errorf("%s: %s and %+v: %w", deciders[i].name, p, set, err)
				}
				if i == 0 {
					first = answer
				}
				if answer != first {
					return fmt.Errorf("%s says %t, %s says %t of %s and %+v", deciders[0].name, first, deciders[i].name, answer, p, set)
				}
			}
		}
	}
	return nil
}

// randomSet has so many exceptions.
func randomSet(r *rand.Rand, blockAll bool, n int) policy.Set {
	set := policy.Set{Version: 1, BlockAll: blockAll}
	for len(set.Exceptions) < n {
		set = set.With(randomProvider(r), blockAll)
	}
	return set
}

// randomProvider is a name of 4 to 15 characters: hardly ever the same twice.
func randomProvider(r *rand.Rand) policy.Provider {
	const first, all = "abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789-"
	name := []byte{first[r.IntN(len(first))]}
	for range 3 + r.IntN(12) {
		name = append(name, all[r.IntN(len(all))])
	}
	return policy.Provider(name)
}
