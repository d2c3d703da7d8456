package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"imza/emulator/load"
)

// tellEnding prints what a load test came to: its balance first, which tells
// whether the rest may be believed. A balance that is not exact is an error, and
// so is a run that did not go to its end.
func tellEnding(s streams, g *load.Generator, e *load.Ending, file string) error {
	if g.Live {
		fmt.Fprintln(s.err)
	}
	tellBalance(s.out, &e.Balance)
	tellPhases(s.out, g.Figures())
	if n := g.Verified(); n > 0 {
		fmt.Fprintf(s.out, "%s of the signatures were verified with code that is not the gateway's.\n", load.Thousands(n))
	}
	for _, note := range e.Notes {
		fmt.Fprintf(s.out, "Note: %s.\n", note)
	}
	if e.CutShort {
		fmt.Fprintf(s.out, "Cut short: %s.\n", e.Why)
	}
	fmt.Fprintf(s.out, "The results are in %s: imza report %s --html report.html\n", file, file)
	var wrong error
	if e.CutShort {
		wrong = fmt.Errorf("the run was cut short: %s", e.Why)
	}
	if !e.OK() {
		wrong = errors.Join(errors.New("the balance is not exact, or something must not have been"), wrong)
	}
	return wrong
}

// tellBalance prints the account.
func tellBalance(w io.Writer, b *load.Balance) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "asked\t%s\t\n", load.Thousands(b.Asked))
	for _, end := range b.Sorted() {
		fmt.Fprintf(t, "%s\t%s\t\n", end, load.Thousands(b.Ends[end]))
	}
	fmt.Fprintf(t, "missing\t%s\t\n", load.Thousands(b.Asked-b.Ended()))
	_ = t.Flush()
	for _, fault := range b.FaultsSorted() {
		fmt.Fprintf(w, "FAULT: %s: %s\n", fault, load.Thousands(b.Faults[fault]))
	}
	for _, difference := range b.Differences() {
		fmt.Fprintf(w, "DIFFERENCE: %s\n", difference)
	}
	if b.OK() {
		fmt.Fprintf(w, "The balance is exact: nothing is missing, and %d counts agree with those of the gateway and of the file.\n", len(b.Lines))
	}
}

// tellPhases prints how long it took, from when requests were due.
func tellPhases(w io.Writer, phases []load.Figures) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "phase\tasked\tsigned\tp50\tp99\tp99.9\tmax\t\n")
	for _, p := range phases {
		if p.Asked == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t", p.Phase.Name, load.Thousands(p.Asked), load.Thousands(p.Signed))
		for _, q := range []float64{50, 99, 99.9, 100} {
			if p.Signed == 0 {
				fmt.Fprint(t, "–\t")
				continue
			}
			fmt.Fprintf(t, "%s\t", load.Short(p.At(q)))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}
