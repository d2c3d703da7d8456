package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imza/emulator/load"
)

// Verdict is what figures come to, in a sentence.
type Verdict struct {
	Kind string // good, bad, or plain: to be known
	Text string
	More []string
}

const (
	good  = "good"
	bad   = "bad"
	plain = "plain"
)

// differences says in words what does not agree. The records are counted anew: a
// balance is not believed for being written at the end.
func (r *Run) differences() (all []string) {
	all = r.Balance.Differences()
	if e := r.Results.Ending; e != nil {
		for _, end := range slices.Sorted(maps.Keys(ends(e.Balance.Ends, r.Balance.Ends))) {
			if said, are := e.Balance.Ends[end], r.Balance.Ends[end]; said != are {
				all = append(all, fmt.Sprintf("%s: %d in the balance, %d in the file", end, said, are))
			}
		}
	}
	return all
}

func ends(a, b map[load.End]int64) map[load.End]int64 {
	both := maps.Clone(a)
	if both == nil {
		return b
	}
	maps.Copy(both, b)
	return both
}

// verdicts are of one run.
func (r *Run) verdicts() (all []Verdict) {
	if cut := r.Results.Cut; cut != nil {
		all = append(all, Verdict{bad, fmt.Sprintf("The file has no ending: at octet %d %s. The figures are of the requests before it, and nobody drew their balance.", cut.Offset, cut.What), nil})
	}
	if e := r.Results.Ending; e != nil {
		if differences := r.differences(); len(differences) > 0 {
			all = append(all, Verdict{bad, "The balance does not agree.", differences})
		} else {
			all = append(all, Verdict{good, "Every request is accounted for: " + r.account() + ".", nil})
		}
	}
	if len(r.Balance.Faults) > 0 {
		all = append(all, Verdict{bad, "There were faults: requests of which came what must not.", faults(r.Balance.Faults)})
	}
	if e := r.Results.Ending; e != nil {
		if e.CutShort {
			all = append(all, Verdict{bad, "The run was cut short" + because(e.Why), nil})
		}
		if len(e.Notes) > 0 {
			v := Verdict{Kind: plain, Text: "What the figures must be read with:"}
			for _, note := range e.Notes {
				v.More = append(v.More, sentence(note))
			}
			all = append(all, v)
		}
	}
	return all
}

// account is the balance on one line.
func (r *Run) account() string {
	parts := []string{digits(float64(r.signed()), 0) + " signed"}
	if n := r.refused(); n > 0 {
		parts = append(parts, digits(float64(n), 0)+" refused")
	}
	if n := r.Balance.Ended() - r.signed() - r.refused(); n > 0 {
		parts = append(parts, digits(float64(n), 0)+" with another end")
	}
	return digits(float64(r.Balance.Asked), 0) + " asked = " + strings.Join(parts, " + ")
}

func faults(counts map[string]int64) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, digits(float64(counts[name]), 0)+" × "+name)
	}
	return all
}

func because(why string) string {
	if why == "" {
		return "."
	}
	return ": " + strings.TrimRight(why, ".") + "."
}

func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return strings.TrimSuffix(string(unicode.ToUpper(first))+s[size:], ".") + "."
}

// verdicts of one run, or of two beside each other.
func verdicts(runs []*Run) []Verdict {
	if len(runs) == 1 {
		return runs[0].verdicts()
	}
	var all []Verdict
	for i, r := range runs {
		for _, v := range r.verdicts() {
			v.Text = letter(i) + ": " + v.Text
			all = append(all, v)
		}
	}
	return append(all, outcomes(runs[0], runs[1]))
}

// outcomes says whether requests ended in the same ways.
func outcomes(a, b *Run) Verdict {
	c := Compare(a, b)
	switch {
	case !c.SameSeed:
		return Verdict{plain, fmt.Sprintf("Outcomes are not compared one by one: the seeds are %d and %d.", a.Results.Run.Seed, b.Results.Run.Seed), nil}
	case c.Same():
		return Verdict{good, "Outcomes: the same, request by request, for all " + many(int64(c.Compared), "request", "requests") + " by seed " + fmt.Sprint(a.Results.Run.Seed) + ".", nil}
	}
	v := Verdict{Kind: plain, Text: fmt.Sprintf("Outcomes: %s differ of %s.", digits(float64(c.Differ), 0), many(int64(c.Compared), "request", "requests"))}
	for _, k := range c.Kinds[:min(few, len(c.Kinds))] {
		v.More = append(v.More, fmt.Sprintf("%s × %s in A, %s in B", digits(float64(k.Count), 0), endName(k.A), endName(k.B)))
	}
	for _, d := range c.First {
		v.More = append(v.More, fmt.Sprintf("request %d of phase %s (subscriber %d): %s in A, %s in B", d.Index, d.Phase, d.Subscriber, endName(d.A), endName(d.B)))
	}
	if c.Others > 0 {
		v.More = append(v.More, many(int64(c.Others), "request was", "requests were")+" made of somebody else: the runs were not the same")
	}
	if c.Alone > 0 {
		v.More = append(v.More, many(int64(c.Alone), "request is", "requests are")+" in one of the runs only")
	}
	return v
}

// letter is what a run is called beside another.
func letter(i int) string { return string(rune('A' + i)) }

// endName is an end as people read it.
func endName(e load.End) string {
	if code, ok := strings.CutPrefix(string(e), "refused:"); ok {
		return "refused: " + strings.ReplaceAll(code, "_", " ")
	}
	return strings.ReplaceAll(string(e), "_", " ")
}

// headline is the one sentence.
func headline(runs []*Run) string {
	r := runs[0]
	if len(runs) == 2 {
		return compared(r, runs[1])
	}
	if r.Whole.Signed == 0 {
		return "No signature was made"
	}
	return fmt.Sprintf("%s signatures a second, 99 of 100 within %s", threeDigits(r.Whole.Rate), took(r.Whole.Percentile(99)))
}

// compared says how B differs from A.
func compared(a, b *Run) string {
	if a.Whole.Signed == 0 || b.Whole.Signed == 0 {
		return "Two runs side by side"
	}
	signed := "B signs as many a second as A"
	if factor := b.Whole.Rate / a.Whole.Rate; math.Abs(factor-1) >= 0.01 {
		signed = "B signs " + by(factor, "more", "fewer", "many") + " a second " + map[bool]string{true: "as", false: "than"}[factor >= 2] + " A"
	}
	slow := "at the same p99"
	if factor := float64(b.Whole.Percentile(99)) / float64(max(1, a.Whole.Percentile(99))); math.Abs(factor-1) >= 0.01 {
		slow = "at a p99 that is " + by(factor, "higher", "lower", "high")
	}
	return signed + ", " + slow
}

// by is a change in words: by the hundred, or as a factor where that is large.
func by(factor float64, more, less, as string) string {
	switch {
	case factor >= 2:
		return threeDigits(factor) + " times as " + as
	case factor > 1:
		return digits(100*(factor-1), 1) + "% " + more
	}
	return digits(100*(1-factor), 1) + "% " + less
}

// phaseInWords says how a phase was meant.
func phaseInWords(p *load.Phase) string {
	text := p.Name + ": "
	switch {
	case p.Callers > 0:
		text += many(int64(p.Callers), "caller", "callers") + ", each asking again when its last request has ended"
	case p.From != p.To:
		text += "from " + plainRate(p.From) + " to " + plainRate(p.To)
	case p.To > 0:
		text += plainRate(p.To)
	}
	if p.Duration > 0 {
		text += " for " + p.Duration.String()
	}
	text = strings.Replace(text, p.Name+": "+p.Name, p.Name, 1) // named by its rate
	if p.Aside {
		text += " (in the balance, in no percentile)"
	}
	return strings.TrimSuffix(text, ": ")
}

// plainRate is a rate as it was asked for.
func plainRate(n float64) string { return strconv.FormatFloat(n, 'g', -1, 64) + "/s" }
