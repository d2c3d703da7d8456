// Command benchmark asks one question of four deciders, all in this process:
// may this employee of this organisation sign for this provider, by his
// permission set (allowed or blocked by default, with exceptions)?
//
//	imza       policy.Set.Allows
//	casbin     the exceptions are links of a role, so that one look into its map
//	           decides; a policy line for each costs fifty times more, or worse, at 1,000
//	cedar-go   one permit, and a group of which the exceptions are members
//	OPA        one rule, partially evaluated for the set and then indexed
//
// Only the decision is measured, and it is made as easy for the others as it
// can be. They know this one set only, as policy.Set does, so that neither
// organisation nor employee is to be found. Policies are compiled before, and
// what differs by the default (allowed or blocked) is compiled in as well. The
// requests are built before, in the types of each; policy.Set takes a string
// as it comes. Of the ways tried to write the policy for each, the fastest
// stands here; all take the public interface that their documentation names.
//
// A fifth line is casbin's cached enforcer. It does not decide but recalls what
// was decided when the same was asked before, so it is measured and printed,
// with the cache warm, and not counted among those who decide.
//
// The questions are many different providers in no order, so that neither the
// branch predictor nor a cache line knows the answer beforehand. First all must
// agree on some thousands of random cases. The exit status is 1 if they do not,
// and also if policy.Set is not faster than each decider by the bar in every
// case of the table but the largest sets: a search among a thousand exceptions,
// which no person makes, is nearer to a look into a map. Those are printed and
// told apart. "make bench-policy" runs it.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// bar is how many times faster than the fastest of the others ours has to be,
// for sets of at most ordinary exceptions.
const (
	bar      = 20
	ordinary = 10
)

// errBar says that somebody is nearer than the bar.
var errBar = errors.New("below the bar")

func main() {
	each := flag.Duration("time", 60*time.Millisecond, "how long each measurement takes")
	rounds := flag.Int("rounds", 5, "how often each is taken; the median is printed")
	seed := flag.Uint64("seed", rand.Uint64(), "of the sets and providers")
	flag.Parse()
	if err := run(os.Stdout, *seed, *each, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, seed uint64, each time.Duration, rounds int) error {
	r := rand.New(rand.NewPCG(seed, 0))
	asked, err := agree(r, deciders)
	if err != nil {
		return fmt.Errorf("seed %d: %w", seed, err)
	}
	fmt.Fprintf(out, "All agree on %d random cases (seed %d).\n\n", asked, seed)
	testing.Init() // has the flag that says how long testing.Benchmark takes
	if err := flag.Set("test.benchtime", each.String()); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "default\texceptions\tasked for\tdecider\tns a decision\tallocations\tdecisions/s\ttimes ours\t")
	nearest, large, recalled := margin{times: math.Inf(1)}, margin{times: math.Inf(1)}, margin{times: math.Inf(1)}
	for _, c := range cases(r) {
		figures, err := c.measure(rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		for i, f := range figures {
			times := f.ns / figures[0].ns
			fmt.Fprintf(table, "%s\t%s\t%.1f\t%d\t%.0f\t%.1f\t\n", c.columns(), deciders[i].name, f.ns, f.allocations, 1e9/f.ns, times)
			switch {
			case i == 0:
			case deciders[i].recalls:
				recalled.lower(times, deciders[i].name, c)
			case len(c.set.Exceptions) > ordinary:
				large.lower(times, deciders[i].name, c)
			default:
				nearest.lower(times, deciders[i].name, c)
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOurs is %s; that one recalls and is not counted.\n"+
		"In the largest sets ours is %s, the fastest of the others at its best.\n"+
		"In sets of up to %d exceptions ours is %s, the fastest of the others at its best; the bar is %d.\n",
		recalled, large, ordinary, nearest, bar)
	if nearest.times < bar {
		return fmt.Errorf("%w: %.1f times, not %d", errBar, nearest.times, bar)
	}
	return nil
}

// margin is how much faster ours is than somebody, where that is least.
type margin struct {
	times float64
	name  string
	c     benchmarkCase
}

func (m *margin) lower(times float64, name string, c benchmarkCase) {
	if times < m.times {
		*m = margin{times, name, c}
	}
}

func (m margin) String() string {
	return fmt.Sprintf("%.1f times as fast as %s (%s)", m.times, m.name, m.c)
}

// figure is what one decision costs.
type figure struct {
	ns          float64
	allocations int64
}

// measure takes every decider in turn, some rounds, so that all see the same
// weather, and gives the median of each.
func (c benchmarkCase) measure(rounds int) ([]figure, error) {
	asks := make([]decide, len(deciders))
	for i, d := range deciders {
		var err error
		if asks[i], err = d.prepare(c.set, c.asked); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
	}
	all := make([][]figure, len(deciders))
	for range rounds {
		for i, ask := range asks {
			f, err := measure(ask, c.want)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", deciders[i].name, err)
			}
			all[i] = append(all[i], f)
		}
	}
	medians := make([]figure, len(deciders))
	for i, figures := range all {
		slices.SortFunc(figures, func(a, b figure) int { return cmp.Compare(a.ns, b.ns) })
		medians[i] = figures[len(figures)/2]
	}
	return medians, nil
}

// measure asks all the questions over and over; the answer to each is want.
func measure(ask decide, want bool) (figure, error) {
	var failed error
	for i := range questions { // whoever keeps what he learns may learn it now
		if _, err := ask(i); err != nil {
			return figure{}, err
		}
	}
	r := testing.Benchmark(func(b *testing.B) {
		i := 0
		for b.Loop() {
			allowed, err := ask(i % questions)
			if err == nil && allowed != want {
				err = fmt.Errorf("question %d is answered with %t", i%questions, allowed)
			}
			if failed = err; err != nil {
				b.FailNow()
			}
			i++
		}
	})
	return figure{float64(r.T.Nanoseconds()) / float64(max(r.N, 1)), r.AllocsPerOp()}, failed
}
