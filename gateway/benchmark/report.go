package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"imza/emulator/load"
)

// results are all that was measured.
type results struct {
	*options
	parts            []figure // of the floor, each alone
	floor            []figure // by turn
	whole            []turn
	half, slow, hold atRate
}

// atRate is a test at a rate that was asked for.
type atRate struct {
	turn
	asked float64
}

// The bars: how many times as many signatures as the whole path the floor may
// make, and how long one may take at 500 a second.
const (
	mostRatio = 2.0
	mostP99   = 50 * time.Millisecond
)

// median is the middle one of a figure of all turns, or between the two that are.
func median[T any](all []T, of func(*T) float64) float64 {
	values := make([]float64, len(all))
	for i := range all {
		values[i] = of(&all[i])
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func (r *results) print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s, %d processors, %s; Redis and SQLite on the same machine; %d cards, P-256, short answers.\n\n", load.Processor(), runtime.NumCPU(), runtime.Version(), r.cards)
	for _, table := range []func(io.Writer){r.printParts, r.printRounds, r.printCosts, r.printLatency} {
		w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
		table(w)
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return r.judge(out)
}

func (r *results) printParts(w io.Writer) {
	fmt.Fprintf(w, "the floor, each part alone\ta second\tµs of CPU\tin Redis\t\n")
	var sum figure
	for _, p := range r.parts {
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t\n", p.Name, p.PerSecond, p.Program, p.Redis)
		sum.Program, sum.Redis = sum.Program+p.Program, sum.Redis+p.Redis
	}
	fmt.Fprintf(w, "sum\t\t%.1f\t%.1f\t\n", sum.Program, sum.Redis)
	fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t\n", together, r.floorRate(), median(r.floor, func(f *figure) float64 { return f.Program }),
		median(r.floor, func(f *figure) float64 { return f.Redis }))
}

func (r *results) printRounds(w io.Writer) {
	fmt.Fprintf(w, "signatures a second\twhole path\tfloor\tfloor / whole\tby CPU\tother work on the machine\t\n")
	for i := range r.whole {
		whole, floor := &r.whole[i], &r.floor[i]
		fmt.Fprintf(w, "turn %d\t%.0f\t%.0f\t%.2f\t%.2f\t%.1f processors\t\n", i+1, whole.perSecond, floor.PerSecond, floor.PerSecond/whole.perSecond,
			whole.cpu()/floor.cpu(), whole.others)
	}
	fmt.Fprintf(w, "median\t%.0f\t%.0f\t%.2f\t%.2f\t\t\n", r.wholeRate(), r.floorRate(), r.ratio(), r.ratioByCPU())
}

func (f *figure) cpu() float64 { return f.Program + f.Redis }

func (r *results) wholeRate() float64 {
	return median(r.whole, func(t *turn) float64 { return t.perSecond })
}

func (r *results) floorRate() float64 {
	return median(r.floor, func(f *figure) float64 { return f.PerSecond })
}

// ratio is the median of the turns' own, since both sides of one see the same.
func (r *results) ratio() float64 {
	return medianOf(len(r.whole), func(i int) float64 { return r.floor[i].PerSecond / r.whole[i].perSecond })
}

// ratioByCPU says the same of the time on processors, which other work on the
// machine hardly changes.
func (r *results) ratioByCPU() float64 {
	return medianOf(len(r.whole), func(i int) float64 { return r.whole[i].cpu() / r.floor[i].cpu() })
}

func medianOf(n int, of func(int) float64) float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = of(i)
	}
	return median(values, func(v *float64) float64 { return *v })
}

func (r *results) printCosts(w io.Writer) {
	fmt.Fprintf(w, "one signature\tgateway\temulator\tload\tRedis\tall\tallocations in the gateway\tSMS\treceipts\t\n")
	line := func(name string, turns []turn) {
		fmt.Fprintf(w, "%s", name)
		for _, of := range []func(*turn) float64{
			func(t *turn) float64 { return t.gateway }, func(t *turn) float64 { return t.emulator }, func(t *turn) float64 { return t.load },
			func(t *turn) float64 { return t.redis }, (*turn).cpu,
		} {
			fmt.Fprintf(w, "\t%.0f µs", median(turns, of))
		}
		fmt.Fprintf(w, "\t%.0f\t%.2f\t%.2f\t\n", median(turns, func(t *turn) float64 { return t.allocations }),
			median(turns, func(t *turn) float64 { return t.messages }), median(turns, func(t *turn) float64 { return t.receipts }))
	}
	line(fmt.Sprintf("CPU, %d callers", r.callers), r.whole)
	for _, at := range r.rates() {
		line(fmt.Sprintf("CPU, at %.0f/s", at.asked), []turn{at.turn})
	}
}

// rates are the tests at rates, as far as they were made.
func (r *results) rates() (all []*atRate) {
	for _, at := range []*atRate{&r.half, &r.slow, &r.hold} {
		if at.asked > 0 {
			all = append(all, at)
		}
	}
	return all
}

func (r *results) printLatency(w io.Writer) {
	fmt.Fprintf(w, "from due to released\tp50\tp99\tp99.9\tlongest\tsigned\ta second\t\n")
	line := func(name string, t *turn) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.0f\t\n", name, short(t.within(500)), short(t.within(990)), short(t.within(999)), short(t.within(1000)), t.signed, t.perSecond)
	}
	line(fmt.Sprintf("%d callers, turn 1", r.callers), &r.whole[0])
	for _, at := range r.rates() {
		line(fmt.Sprintf("at %.0f/s", at.asked), &at.turn)
	}
}

// short is a duration in as many digits as anybody reads.
func short(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// judge says which bars hold, and what else must be known. It is an error if not
// all that was asked was signed.
func (r *results) judge(out io.Writer) error {
	say := func(holds bool, format string, args ...any) {
		word := "holds"
		if !holds {
			word = "DOES NOT HOLD"
		}
		fmt.Fprintf(out, "%s: %s\n", fmt.Sprintf(format, args...), word)
	}
	say(r.ratio() <= mostRatio, "the floor makes %.2f times as many as the whole path, at most %.1f", r.ratio(), mostRatio)
	say(r.slow.within(990) <= mostP99, "p99 at 500/s is %s, at most %s", short(r.slow.within(990)), short(mostP99))
	if r.hold.asked > 0 {
		// Poisson's process asks a little more or less than was meant.
		say(r.hold.perSecond >= 0.98*r.hold.asked && len(r.hold.amiss) == 0, "%.0f/s for %s: %.0f/s", r.hold.asked, r.span, r.hold.perSecond)
	}
	wrong := false
	tell := func(name string, t *turn) {
		for _, note := range t.notes {
			fmt.Fprintf(out, "%s: %s\n", name, note)
		}
		for _, what := range t.amiss {
			wrong = true
			fmt.Fprintf(out, "%s: AMISS: %s\n", name, what)
		}
	}
	for i := range r.whole {
		tell(fmt.Sprintf("turn %d", i+1), &r.whole[i])
	}
	for _, at := range r.rates() {
		tell(fmt.Sprintf("at %.0f/s", at.asked), &at.turn)
	}
	if wrong {
		return errAmiss
	}
	return nil
}

var errAmiss = errors.New("not all that was asked was signed and accounted for")
