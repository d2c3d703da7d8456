package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"

	"imza/emulator/load"
)

// spread of percentiles, each with a colour and a shape.
var spread = []struct {
	name, colour, shape string
	percent             float64
}{
	{"median", "--blue", "circle", 50},
	{"p90", "--green", "diamond", 90},
	{"p99", "--orange", "rect", 99},
	{"p99.9", "--purple", "triangle", 99.9},
	{"slowest", "--grey", "circle", 100},
}

// phaseChart is a row a phase, with its percentiles on it.
func phaseChart(runs []*Run) (c Chart, rows int) {
	var names []string
	var rowPhases []*Phase
	for j := range max(len(runs[0].Phases), len(runs[len(runs)-1].Phases)) { // those of two runs one below the other
		for i, r := range runs {
			if j < len(r.Phases) && r.Phases[j].Signed > 0 && !r.Phases[j].Aside {
				rowPhases = append(rowPhases, &r.Phases[j])
				names = append(names, strings.TrimSpace(r.Phases[j].Name+" "+only(len(runs) > 1, letter(i))))
			}
		}
	}
	low, high := math.Inf(1), 0.0
	var joined []opts.LineData // from the first to the last percentile of a row, then a gap
	for row, p := range rowPhases {
		from, to := ms(p.Percentile(50)), ms(p.Percentile(100))
		low, high = min(low, from), max(high, to)
		joined = append(joined, opts.LineData{Value: [2]any{max(from, 0.001), row}}, opts.LineData{Value: [2]any{max(to, 0.001), row}}, opts.LineData{Value: [2]any{nil, row}})
	}
	low, high = decades(low, high)
	chart := rowChart(names, opts.XAxis{Type: "log", Min: low, Max: high}, "44")
	chart.Legend.ItemWidth, chart.Legend.ItemHeight = 11, 11
	line := charts.NewLine().AddSeries("", joined, stroke("--edge", "solid", 3))
	chart.Overlap(line)
	for _, at := range spread {
		dots := charts.NewScatter()
		points := make([]opts.ScatterData, len(rowPhases))
		for row, p := range rowPhases {
			points[row] = opts.ScatterData{Name: names[row], Value: [2]any{max(ms(p.Percentile(at.percent)), 0.001), row}}
		}
		dots.AddSeries(at.name, points, charts.WithSeriesOpts(func(s *charts.SingleSeries) {
			s.Color, s.Symbol, s.SymbolSize = at.colour, at.shape, 11
			s.ItemStyle = &opts.ItemStyle{Color: at.colour, Opacity: opts.Float(1)}
		}))
		chart.Overlap(dots)
	}
	return Chart{X: axisMS, Y: axisName, Option: chart.JSON()}, len(rowPhases)
}

func only(holds bool, text string) string {
	if holds {
		return text
	}
	return ""
}

// rowChart begins a chart of named rows, the first on top.
func rowChart(names []string, x opts.XAxis, top string) *charts.Bar {
	c := charts.NewBar()
	c.SetGlobalOptions(charts.WithXAxisOpts(x),
		charts.WithYAxisOpts(opts.YAxis{Type: "category", Data: names, Inverse: opts.Bool(true), SplitLine: &opts.SplitLine{Show: opts.Bool(false)}}),
		charts.WithGridOpts(grid(top)), charts.WithLegendOpts(legend()), charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "item"}))
	return c
}

// stepColours tell whose time it is: grey the load tester's, orange what happens
// outside of the gateway, with the operator, the telephone and the person.
var stepColours = [...]string{"--grey", "--blue", "--blue-pale", "--orange", "--green", "--purple"}

// stepChart is where the time goes, in the mean.
func stepChart(runs []*Run) Chart {
	names := []string{"mean"}
	if len(runs) > 1 {
		names = []string{"A", "B"}
	}
	c := rowChart(names, opts.XAxis{Type: "value", Min: 0}, "52")
	for i, name := range stepNames {
		data := make([]opts.BarData, len(runs))
		for j, r := range runs {
			data[j].Value = ms(max(0, r.Steps[i].Mean))
		}
		c.AddSeries(name, data, charts.WithSeriesOpts(func(s *charts.SingleSeries) {
			s.Stack, s.Color, s.BarWidth = "way", stepColours[i], "26"
			s.ItemStyle = &opts.ItemStyle{Color: stepColours[i], BorderColor: "--card", BorderWidth: 1}
		}))
	}
	return Chart{X: axisMS, Y: axisName, Option: c.JSON()}
}

// endChart is how requests ended.
func endChart(runs []*Run) (c Chart, rows int) {
	ends := runs[0].Balance.Sorted()
	if len(runs) == 2 {
		for _, e := range runs[1].Balance.Sorted() {
			if _, known := runs[0].Balance.Ends[e]; !known {
				ends = append(ends, e)
			}
		}
	}
	names := make([]string, len(ends))
	for i, e := range ends {
		names[i] = endName(e)
	}
	top := "0"
	if len(runs) > 1 {
		top = "34" // for the legend
	}
	chart := rowChart(names, opts.XAxis{Type: "value", Min: 0, Show: opts.Bool(false)}, top)
	chart.GridList[0].Right = "130" // for what is written beside the bars
	chart.Legend.Show = opts.Bool(len(runs) > 1)
	for run, r := range runs {
		data := make([]opts.BarData, len(ends))
		for i, e := range ends {
			n := r.Balance.Ends[e]
			colour := endColour(e)
			if len(runs) > 1 {
				colour = palette[run]
			}
			data[i] = opts.BarData{Name: names[i], Value: n, ItemStyle: &opts.ItemStyle{Color: colour},
				Label: &opts.Label{Show: opts.Bool(true), Position: "right", Color: "--pale", Formatter: fmt.Sprintf("%s  ·  %s", countOf(n), shareOf(n, r.Balance.Ended()))}}
		}
		chart.AddSeries(letter(run), data, charts.WithSeriesOpts(func(s *charts.SingleSeries) { s.Color, s.BarWidth = palette[run], "16" }))
	}
	return Chart{X: axisCount, Y: axisName, Option: chart.JSON()}, len(ends) * len(runs)
}

// endColour tells signatures, refusals and what the gateway does not know of from
// people's other ends.
func endColour(e load.End) string {
	switch {
	case e == load.Signed:
		return "--blue"
	case e.Refused():
		return "--grey"
	case !e.Known():
		return "--bad"
	}
	return "--orange"
}
