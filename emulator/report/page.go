package report

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

// The page and what is in it. page/echarts is of ECharts 6.1.0 as npm has it
// (dist/echarts.common.min.js), unchanged.
//
//go:embed page
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "page/page.html"))

// page is what page.html is filled with.
type page struct {
	Title, Eyebrow, Headline, How string
	Two                           bool
	Verdicts                      []Verdict
	Tiles                         []tile
	Sections                      []section
	Runs                          []facts
	Charts                        []Chart
	Policy                        string
	Style                         template.CSS
	ECharts, Script               template.JS
}

// tile is a figure that matters, of each run.
type tile struct {
	Name   string
	Values []figure
	Ratio  string
}

type figure struct{ Number, Unit string }

// section is a part of the page: what is drawn, and the figures behind it.
type section struct {
	ID, Title, Text string
	Panels          []panel
	Sheets          []Sheet
}

// panel is a place for a chart.
type panel struct {
	ID, Letter, Caption, Says string
	Height                    int // 0: the style sheet's
}

// facts are how a run was made.
type facts struct {
	Letter, Title string
	Facts         []fact
}

type fact struct {
	Name, Value string
	Code        bool
}

const howToRead = `A request's latency counts from the moment when it was due, whether or not the load tester managed to send it then, so that nothing that stands in a queue looks fast; p99 is the time within which 99 of 100 signatures were released. ` +
	`Sending, acceptance and release are told by the load tester's clock and the steps between them by the gateway's: a step from one clock to the other is off by as much as the clocks differ.`

// Page writes one run, or two side by side, as a page that needs nothing else.
func Page(w io.Writer, runs ...*Run) error {
	p := &page{Headline: headline(runs), How: howToRead, Two: len(runs) > 1, Verdicts: verdicts(runs), Tiles: tiles(runs)}
	p.Title = "imza: " + p.Headline
	p.Eyebrow = "load test · " + runs[0].Results.Run.Started.UTC().Format("2 January 2006, 15:04 UTC")
	if p.Two {
		p.Eyebrow = "two load tests side by side · A is " + runs[0].Name + ", B is " + runs[1].Name
	}
	p.fill(runs)
	for i, r := range runs {
		p.Runs = append(p.Runs, r.facts(only(p.Two, letter(i))))
	}
	style, err := files.ReadFile("page/style.css")
	if err != nil {
		return err
	}
	p.Style = template.CSS(style)
	if p.ECharts, err = script("page/echarts/echarts.common.min.js"); err != nil {
		return err
	}
	if p.Script, err = script("page/page.js"); err != nil {
		return err
	}
	// Nothing is fetched, and no script runs but these two, whatever the names in a
	// results file say. Tooltips carry their style with them.
	p.Policy = "default-src 'none'; style-src 'unsafe-inline'; script-src " + hash(p.ECharts) + " " + hash(p.Script)
	var out bytes.Buffer // half a page is none
	if err := pageTemplate.Execute(&out, p); err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}

func script(name string) (template.JS, error) {
	text, err := files.ReadFile(name)
	return template.JS(text), err
}

func hash(s template.JS) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// tiles are the figures of the headline.
func tiles(runs []*Run) (all []tile) {
	names := []string{"signatures a second", "median, due to released", "p99", "p99.9", "CPU a signature, all processes", "faults"}
	for _, name := range names {
		t := tile{Name: name}
		var values []Value
		for _, r := range runs {
			for _, l := range figures(r) {
				if l.name == name {
					values = append(values, l.values[0])
				}
			}
		}
		for _, v := range values {
			number, unit := v.Split()
			t.Values = append(t.Values, figure{number, strings.TrimPrefix(unit, "/s")})
		}
		if len(values) == 2 {
			t.Ratio = ratio(values[0], values[1])
		}
		all = append(all, t)
	}
	return all
}

// fill adds the sections.
func (p *page) fill(runs []*Run) {
	s := scaleOf(runs)
	if p.Two {
		p.Sections = append(p.Sections, section{ID: "summary", Title: "B beside A", Text: "The last column is how many times A's figure B's is.", Sheets: []Sheet{summary(runs)}})
	}
	every := "each second"
	if e := max(runs[0].Series.Every, runs[len(runs)-1].Series.Every); e > time.Second {
		every = "every " + e.String()
	}
	p.section(section{ID: "latency", Title: "Latency over time", Text: "From due to released, of the signatures that were due in " + every + ". The scale is logarithmic."},
		p.overTime(runs, "latency", "Latency over time: median, p99 and the slowest", "", func(r *Run) Chart { return latencyChart(r, s) })...)
	p.section(section{ID: "throughput", Title: "Throughput", Text: "Requests count when they were due, signatures and other ends when they came."},
		p.overTime(runs, "throughput", "Requests asked, signatures and other ends a second", "", func(r *Run) Chart { return throughputChart(r, s) })...)

	chart, rows := phaseChart(runs)
	phases := section{ID: "percentiles", Title: "Percentiles by phase", Sheets: []Sheet{byPhase(runs)}}
	if rows > 0 {
		p.section(phases, p.place("percentiles-chart", "Percentiles of latency, a row a phase", 90+34*rows, chart))
	} else {
		p.section(phases)
	}
	steps := section{ID: "steps", Title: "Where the time goes", Text: "The way of a signature, in the mean of those of which every moment is known. Pushed to answered is the operator, the telephone, the card and the person; it is less than nothing where the answer was there before the operator had acknowledged the challenge.", Sheets: []Sheet{byStep(runs)}}
	if known := runs[0].Steps[0].Latency.TotalCount() + runs[len(runs)-1].Steps[0].Latency.TotalCount(); known > 0 {
		p.section(steps, p.place("steps-chart", "Mean time of each step", 110+44*len(runs), stepChart(runs)))
	} else {
		p.section(steps)
	}
	chart, rows = endChart(runs)
	p.section(section{ID: "outcomes", Title: "Outcomes and balance", Text: "What was asked must be what was signed, refused and ended otherwise, and each account must be that of the other side.",
		Sheets: append([]Sheet{byEnd(runs)}, accounts(runs)...)}, p.place("outcomes-chart", "How requests ended", 40+26*rows, chart))
	if sampled(runs, func(r *Run) int { return len(r.Series.Depths) }) {
		p.section(section{ID: "queues", Title: "Queues", Text: "How many were waiting or under way." + more(runs)},
			p.overTime(runs, "queues", "Depths of queues over time", "", func(r *Run) Chart { return depthChart(r, s) })...)
	}
	if sampled(runs, func(r *Run) int { return len(r.Processes) }) {
		panels := p.overTime(runs, "cpu", "Cores that each process kept busy", "CPU, cores kept busy", func(r *Run) Chart { return cpuChart(r, s) })
		panels = append(panels, p.overTime(runs, "memory", "Memory of each process", "Memory", func(r *Run) Chart { return memoryChart(r, s) })...)
		p.section(section{ID: "processes", Title: "CPU and memory", Sheets: []Sheet{byProcess(runs)}}, panels...)
	}
}

func sampled(runs []*Run, n func(*Run) int) bool {
	for _, r := range runs {
		if n(r) > 0 {
			return true
		}
	}
	return false
}

// more says that there are more queues than are drawn.
func more(runs []*Run) string {
	for _, r := range runs {
		if n := len(r.Series.Depths); n > mostLines {
			return fmt.Sprintf(" The %d longest of %d are drawn.", mostLines, n)
		}
	}
	return ""
}

func (p *page) section(s section, panels ...panel) {
	s.Panels = panels
	p.Sections = append(p.Sections, s)
}

// place adds a chart and returns where it goes.
func (p *page) place(id, says string, height int, c Chart) panel {
	c.ID = id
	p.Charts = append(p.Charts, c)
	return panel{ID: id, Says: says, Height: height}
}

// overTime adds a chart of each run.
func (p *page) overTime(runs []*Run, id, says, caption string, of func(*Run) Chart) (all []panel) {
	for i, r := range runs {
		at := p.place(id+"-chart-"+strings.ToLower(letter(i)), says, 0, of(r))
		at.Letter, at.Caption = only(p.Two, letter(i)), caption
		all = append(all, at)
	}
	return all
}

// facts are how the run was made.
func (r *Run) facts(letter string) facts {
	run := &r.Results.Run
	f := facts{Letter: letter, Title: "How it was made"}
	add := func(name, value string, code bool) {
		if value != "" {
			f.Facts = append(f.Facts, fact{name, value, code})
		}
	}
	add("Results", r.Name, true)
	add("Command", run.Command, true)
	add("Gateway", run.URL, true)
	add("Started", run.Started.UTC().Format("2006-01-02 15:04:05 UTC"), false)
	add("Took", r.length().Round(100*time.Millisecond).String(), false)
	add("Seed", fmt.Sprint(run.Seed), false)
	add("Scenario", run.Scenario, false)
	add("Subscribers", countOf(int64(run.Cards)).String(), false)
	add("Providers", strings.Join(run.Providers, ", "), false)
	for i := range run.Phases {
		add(only(i == 0, "Phases")+only(i > 0, " "), phaseInWords(&run.Phases[i]), false)
	}
	add("Machine", machine(run.Host.Cores, run.Host.Model), false)
	return f
}

func machine(cores int, model string) string {
	if cores == 0 {
		return model
	}
	return strings.TrimSuffix(many(int64(cores), "core", "cores")+", "+model, ", ")
}
