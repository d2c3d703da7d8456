package report

import (
	"maps"
	"slices"
	"strings"

	"imza/emulator/load"
)

// Sheet is a table, of the terminal and of the page alike.
type Sheet struct {
	Title   string
	Columns []string
	Rows    []Row
}

// Row is a row of a sheet. Its kind is how it is shown: sum, bad, aside, with
// the row below.
type Row struct {
	Kind  string
	Cells []string
}

// line is a row before it is written: what can be set beside another run's.
type line struct {
	name   string
	kind   string
	values []Value
}

// beside writes lines; those of two runs with the same name come one below the
// other, with their ratio.
func beside(title string, columns []string, runs [][]line) Sheet {
	if len(runs) == 1 {
		s := Sheet{Title: title, Columns: columns}
		for _, l := range runs[0] {
			s.Rows = append(s.Rows, Row{l.kind, append([]string{l.name}, written(l.values)...)})
		}
		return s
	}
	s := Sheet{Title: title, Columns: slices.Insert(slices.Clone(columns), 1, "")}
	for _, name := range names(runs) {
		group := []line{}
		for run, lines := range runs {
			if at := slices.IndexFunc(lines, func(l line) bool { return l.name == name }); at >= 0 {
				group = append(group, lines[at])
				s.Rows = append(s.Rows, Row{lines[at].kind, append([]string{name, letter(run)}, written(lines[at].values)...)})
			}
		}
		if len(group) == 2 {
			for at := len(s.Rows) - 2; at < len(s.Rows); at++ {
				s.Rows[at].Kind = strings.TrimSpace(s.Rows[at].Kind + " with") // the row below
			}
			cells := []string{name, "B / A"}
			for i := range group[0].values {
				cells = append(cells, ratio(group[0].values[i], group[1].values[i]))
			}
			s.Rows = append(s.Rows, Row{"aside", cells})
		}
	}
	for i := len(s.Rows) - 1; i > 0; i-- { // a name is said once
		if s.Rows[i].Cells[0] == s.Rows[i-1].Cells[0] {
			s.Rows[i].Cells[0] = ""
		}
	}
	return s
}

// across writes lines of one figure or a few; those of two runs stand beside each
// other, with their ratio.
func across(title string, columns []string, runs [][]line) Sheet {
	if len(runs) == 1 {
		return beside(title, columns, runs)
	}
	s := Sheet{Title: title, Columns: columns[:1:1]}
	for _, c := range columns[1:] {
		s.Columns = append(s.Columns, c+" A", "B", "B / A")
	}
	for _, name := range names(runs) {
		row := Row{Cells: []string{name}}
		var both [2][]Value
		for run, lines := range runs {
			both[run] = make([]Value, len(columns)-1)
			if at := slices.IndexFunc(lines, func(l line) bool { return l.name == name }); at >= 0 {
				copy(both[run], lines[at].values)
				if row.Kind != bad {
					row.Kind = lines[at].kind
				}
			}
		}
		for i := range both[0] {
			a, b := both[0][i], both[1][i]
			row.Cells = append(row.Cells, a.String(), b.String(), ratio(a, b))
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

func written(values []Value) (cells []string) {
	for _, v := range values {
		cells = append(cells, v.String())
	}
	return cells
}

// names are of all lines, in the order of the first run that has them.
func names(runs [][]line) (all []string) {
	for _, lines := range runs {
		for _, l := range lines {
			if !slices.Contains(all, l.name) {
				all = append(all, l.name)
			}
		}
	}
	return all
}

// each makes the lines of every run.
func each(runs []*Run, of func(*Run) []line) (all [][]line) {
	for _, r := range runs {
		all = append(all, of(r))
	}
	return all
}

// summary is what matters, a figure a row.
func summary(runs []*Run) Sheet {
	s := Sheet{Columns: []string{""}}
	if len(runs) == 1 {
		s.Columns = append(s.Columns, "")
	} else {
		s.Columns = append(s.Columns, "A", "B", "B / A")
	}
	all := each(runs, figures)
	for i, l := range all[0] {
		row := Row{l.kind, []string{l.name, l.values[0].String()}}
		if len(all) == 2 {
			b := all[1][i].values[0]
			row.Cells = append(row.Cells, b.String(), ratio(l.values[0], b))
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

// figures are those of the summary; every run has the same.
func figures(r *Run) []line {
	w := &r.Whole
	made := w.Signed > 0
	all := []line{
		{"signatures a second", "", []Value{rateOf(w.Rate)}},
		{"median, due to released", "", []Value{took(w.Percentile(50)).when(made)}},
		{"p99", "", []Value{took(w.Percentile(99)).when(made)}},
		{"p99.9", "", []Value{took(w.Percentile(99.9)).when(made)}},
		{"asked", "", []Value{countOf(r.Balance.Asked)}},
		{"signed", "", []Value{countOf(r.signed())}},
		{"refused", "", []Value{countOf(r.refused())}},
		{"other ends", "", []Value{countOf(r.Balance.Ended() - r.signed() - r.refused())}},
		{"faults", "", []Value{countOf(r.faults())}},
		{"CPU a signature, all processes", "", []Value{r.cpu()}},
	}
	return all
}

func (r *Run) faults() (n int64) {
	for _, count := range r.Balance.Faults {
		n += count
	}
	return n
}

// cpu is what a signature cost all processes together.
func (r *Run) cpu() Value {
	all := Process{}
	for _, p := range r.Processes {
		all.PerSignature += p.PerSignature
	}
	return took(all.PerSignature).when(all.PerSignature > 0)
}

// byPhase is a row a phase.
func byPhase(runs []*Run) Sheet {
	columns := []string{"Phase", "Asked", "asked/s", "Signed", "signed/s", "Other ends", "p50", "p90", "p99", "p99.9", "max"}
	return beside("By phase, from due to released", columns, each(runs, func(r *Run) (all []line) {
		for i := range r.Phases {
			p := &r.Phases[i]
			all = append(all, phaseLine(p, map[bool]string{true: "aside"}[p.Aside]))
		}
		if len(all) > 1 {
			all = append(all, phaseLine(&r.Whole, "sum"))
		}
		return all
	}))
}

func phaseLine(p *Phase, kind string) line {
	name := p.Name
	if p.Aside {
		name += " (aside)"
	}
	made := p.Signed > 0
	values := []Value{countOf(p.Asked), rateOf(p.AskedRate()), countOf(p.Signed), rateOf(p.Rate), countOf(p.Other())}
	for _, percent := range []float64{50, 90, 99, 99.9, 100} {
		values = append(values, took(p.Percentile(percent)).when(made))
	}
	return line{name, kind, values}
}

// byStep is a row a step.
func byStep(runs []*Run) Sheet {
	columns, percents := []string{"Step", "mean", "p50", "p90", "p99", "p99.9", "max"}, []float64{50, 90, 99, 99.9, 100}
	if len(runs) > 1 { // as many as there is room for
		columns, percents = []string{"Step", "mean", "p50", "p99"}, []float64{50, 99}
	}
	return across("By step", columns, each(runs, func(r *Run) (all []line) {
		for _, step := range r.Steps {
			made := step.Latency.TotalCount() > 0
			l := line{name: step.Name, values: []Value{took(step.Mean).when(made)}}
			for _, percent := range percents {
				l.values = append(l.values, stepAt(step, percent).when(made))
			}
			all = append(all, l)
		}
		return all
	}))
}

func stepAt(s Step, percent float64) Value {
	return Value{float64(s.Latency.ValueAtQuantile(percent)) * 1e3, duration}
}

// byProcess is a row a process.
func byProcess(runs []*Run) Sheet {
	columns := []string{"Process", "CPU a signature", "Cores", "Peak memory"}
	return across("", columns, each(runs, func(r *Run) (all []line) {
		for _, p := range r.Processes {
			all = append(all, line{p.Name, "", []Value{took(p.PerSignature).when(p.PerSignature > 0), coresOf(p.MeanCores), octets(p.PeakMemory)}})
		}
		if len(all) > 1 {
			all = append(all, line{"all", "sum", []Value{r.cpu(), total(all, 1), total(all, 2)}})
		}
		return all
	}))
}

func total(lines []line, column int) (sum Value) {
	for _, l := range lines {
		sum = Value{sum.n + l.values[column].n, l.values[column].unit}
	}
	return sum
}

// byEnd is how requests ended, and the sum that must be what was asked.
func byEnd(runs []*Run) Sheet {
	columns := []string{"End", "Requests", "Share"}
	if len(runs) > 1 {
		columns = columns[:2]
	}
	return across("Outcomes", columns, each(runs, func(r *Run) (all []line) {
		ended := r.Balance.Ended()
		for _, end := range r.Balance.Sorted() {
			n := r.Balance.Ends[end]
			all = append(all, line{endName(end), "", []Value{countOf(n), shareOf(n, ended)}[:len(columns)-1]})
		}
		kind := "sum"
		if ended != r.Balance.Asked {
			kind = bad
		}
		all = append(all, line{"all ends", kind, []Value{countOf(ended), shareOf(ended, ended)}[:len(columns)-1]})
		return append(all, line{"asked", kind, []Value{countOf(r.Balance.Asked), shareOf(r.Balance.Asked, ended)}[:len(columns)-1]})
	}))
}

// accounts are what must agree, a sheet a run.
func accounts(runs []*Run) (all []Sheet) {
	for i, r := range runs {
		s := Sheet{Title: "Accounts that must agree", Columns: []string{"What", "by the load tester", "by the other side", "Difference"}}
		if len(runs) > 1 {
			s.Title += ": " + letter(i)
		}
		for _, l := range r.Balance.Lines {
			s.Rows = append(s.Rows, accountRow(l))
		}
		for _, name := range slices.Sorted(maps.Keys(r.Balance.Faults)) {
			s.Rows = append(s.Rows, Row{bad, []string{"fault: " + name, digits(float64(r.Balance.Faults[name]), 0), "0", ""}})
		}
		if len(s.Rows) > 0 {
			all = append(all, s)
		}
	}
	return all
}

func accountRow(l load.Line) Row {
	there := digits(float64(l.There), 0)
	if l.More > 0 {
		there += " (up to " + digits(float64(l.More), 0) + " more are allowed)"
	}
	row := Row{"", []string{l.What, digits(float64(l.Here), 0), there, digits(float64(l.There-l.Here), 0)}}
	if !l.OK() {
		row.Kind = bad
	}
	return row
}
