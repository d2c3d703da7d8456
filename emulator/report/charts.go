package report

import (
	"math"
	"time"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
)

// Chart is something drawn on the page, with the unit of either axis: page.js
// writes their figures. Colours are names of the style sheet's, so that a chart
// follows the page by day and by night.
type Chart struct {
	ID     string         `json:"id"`
	X      string         `json:"x"`
	Y      string         `json:"y"`
	Option map[string]any `json:"option"`
}

// Units of axes, as page.js knows them.
const (
	axisClock  = "clock" // seconds
	axisMS     = "ms"
	axisRate   = "rate"
	axisCount  = "count"
	axisCores  = "cores"
	axisMemory = "memory" // MiB
	axisName   = "name"
)

// palette is for what has no colour of its own. Blue and orange come first: they
// are told apart by everybody.
var palette = []string{"--blue", "--orange", "--green", "--purple", "--grey"}

// scale is how far the axes go: the same for runs that are side by side.
type scale struct {
	end              float64 // seconds
	fastest, slowest float64 // ms, powers of ten around what there is
	rate, depth      float64
	cores, memory    float64
}

func scaleOf(runs []*Run) scale {
	s := scale{fastest: math.Inf(1)}
	for _, r := range runs {
		s.end = max(s.end, r.Series.End.Seconds())
		for i := range r.Series.Parts {
			p := &r.Series.Parts[i]
			length := r.Series.partLength(i)
			s.rate = max(s.rate, perSecond(int64(max(p.Asked, p.Signed, p.Other)), length))
			if p.Max > 0 {
				s.fastest, s.slowest = min(s.fastest, ms(p.P50)), max(s.slowest, ms(p.Max))
			}
		}
		for _, d := range r.Series.Depths {
			s.depth = max(s.depth, d.Most)
		}
		for _, p := range r.Processes {
			s.memory = max(s.memory, p.PeakMemory/(1<<20))
			for _, c := range p.Cores {
				s.cores = max(s.cores, c)
			}
		}
	}
	s.fastest, s.slowest = decades(s.fastest, s.slowest)
	s.rate, s.depth, s.cores, s.memory = round(max(s.rate, 5)), round(max(s.depth, 5)), round(s.cores), round(s.memory)
	return s
}

// decades are figures around a range that a logarithmic axis begins and ends at
// well.
func decades(from, to float64) (low, high float64) {
	if math.IsInf(from, 1) || to <= 0 {
		return 1, 1000
	}
	low, high = below(max(from, 0.001)), above(max(to, 0.001))
	if low == high {
		high = above(1.5 * high)
	}
	return low, high
}

// above and below are the next of 1, 2, 5, 10 …
func above(n float64) float64 { return 1 / below(1/n) }

func below(n float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(n)))
	for _, step := range []float64{5, 2} {
		if n >= step*power*0.9999 {
			return step * power
		}
	}
	return power
}

// round is the next figure that an axis ends at well; page.js divides it.
func round(n float64) float64 {
	if n <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(n)))
	for _, step := range []float64{1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10} {
		if n <= step*power*1.0001 {
			return step * power
		}
	}
	return 10 * power
}

func ms(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e3 }

// partLength is how long a part is; the last one may be short.
func (s *Series) partLength(i int) time.Duration {
	return min(s.Every, max(s.End-time.Duration(i)*s.Every, time.Millisecond))
}

// lines begins a chart over time.
func lines(s scale, y opts.YAxis) *charts.Line {
	c := charts.NewLine()
	c.SetGlobalOptions(
		charts.WithXAxisOpts(opts.XAxis{Type: "value", Min: 0, Max: s.end, SplitLine: &opts.SplitLine{Show: opts.Bool(false)}, AxisLine: &opts.AxisLine{Show: opts.Bool(true)}}),
		charts.WithYAxisOpts(y), charts.WithGridOpts(grid("44")), charts.WithLegendOpts(legend()),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "axis"}))
	return c
}

func grid(top string) opts.Grid {
	return opts.Grid{Left: "4", Right: "18", Top: top, Bottom: "4", ContainLabel: opts.Bool(true)}
}

func legend() opts.Legend {
	return opts.Legend{Show: opts.Bool(true), Type: "scroll", Left: "0", Top: "4", Padding: 0, ItemWidth: 28, ItemHeight: 9}
}

// stroke is how a line looks.
func stroke(colour, kind string, width float32) charts.SeriesOpts {
	return charts.WithSeriesOpts(func(s *charts.SingleSeries) {
		s.Color = colour
		s.Symbol = "none"
		s.LineStyle = &opts.LineStyle{Color: colour, Type: kind, Width: width}
	})
}

func filled(colour string) charts.SeriesOpts {
	return charts.WithAreaStyleOpts(opts.AreaStyle{Color: colour, Opacity: opts.Float(1)})
}

// shades mark every other phase, where there are several.
func shades(r *Run) charts.SeriesOpts {
	return charts.WithSeriesOpts(func(s *charts.SingleSeries) {
		if len(r.Series.Marks) < 2 {
			return
		}
		s.MarkAreas = &opts.MarkAreas{MarkAreaStyle: opts.MarkAreaStyle{
			Label: &opts.Label{Show: opts.Bool(true), Position: "insideTop", Color: "--pale", FontSize: 11}}}
		for i, m := range r.Series.Marks {
			colour := "--shade"
			if i%2 == 1 {
				colour = "transparent"
			}
			s.MarkAreas.Data = append(s.MarkAreas.Data, []opts.MarkAreaData{
				{Name: m.Name, XAxis: m.From.Seconds(), MarkAreaStyle: opts.MarkAreaStyle{ItemStyle: &opts.ItemStyle{Color: colour}}},
				{XAxis: m.Till.Seconds()}})
		}
	})
}

// overTime are points of all parts that are not too short to say something. A
// part without a value has a gap.
func (s *Series) overTime(of func(p *Part, length time.Duration) (float64, bool)) (points []opts.LineData) {
	for i := range s.Parts {
		length := s.partLength(i)
		if i > 0 && length < s.Every/2 {
			continue
		}
		at := (time.Duration(i)*s.Every + length/2).Seconds()
		if v, ok := of(&s.Parts[i], length); ok {
			points = append(points, opts.LineData{Value: [2]any{at, v}})
		} else {
			points = append(points, opts.LineData{Value: [2]any{at, nil}})
		}
	}
	return points
}

// latencyChart is p50, p99 and the slowest over time.
func latencyChart(r *Run, s scale) Chart {
	c := lines(s, opts.YAxis{Type: "log", Min: s.fastest, Max: s.slowest})
	of := func(v func(*Part) time.Duration) []opts.LineData {
		return r.Series.overTime(func(p *Part, _ time.Duration) (float64, bool) { return ms(v(p)), p.Max > 0 })
	}
	c.AddSeries("slowest", of(func(p *Part) time.Duration { return p.Max }), stroke("--grey", "solid", 1), shades(r)).
		AddSeries("p99", of(func(p *Part) time.Duration { return p.P99 }), stroke("--orange", "solid", 2)).
		AddSeries("median", of(func(p *Part) time.Duration { return p.P50 }), stroke("--blue", "solid", 2))
	return Chart{X: axisClock, Y: axisMS, Option: c.JSON()}
}

// throughputChart is what was asked and what came of it, a second.
func throughputChart(r *Run, s scale) Chart {
	c := lines(s, opts.YAxis{Type: "value", Min: 0, Max: s.rate})
	of := func(n func(*Part) int) []opts.LineData {
		return r.Series.overTime(func(p *Part, length time.Duration) (float64, bool) {
			return math.Round(10*perSecond(int64(n(p)), length)) / 10, true
		})
	}
	due := of(func(p *Part) int { return p.Asked })
	due = due[:min(len(due), r.Series.Due+1)] // nobody asks while the last ones are waited for
	c.AddSeries("signed", of(func(p *Part) int { return p.Signed }), stroke("--blue", "solid", 2), filled("--blue-soft"), shades(r)).
		AddSeries("asked", due, stroke("--grey", "dashed", 1.5)).
		AddSeries("other ends", of(func(p *Part) int { return p.Other }), stroke("--orange", "solid", 1.5))
	return Chart{X: axisClock, Y: axisRate, Option: c.JSON()}
}

// mostLines is how many lines a chart may have.
const mostLines = 8

func depthChart(r *Run, s scale) Chart {
	c := lines(s, opts.YAxis{Type: "value", Min: 0, Max: s.depth})
	for i, d := range r.Series.Depths[:min(mostLines, len(r.Series.Depths))] {
		points := make([]opts.LineData, len(d.At))
		for j := range d.At {
			points[j].Value = [2]any{d.At[j].Seconds(), d.Value[j]}
		}
		c.AddSeries(d.Name, points, stroke(palette[i%len(palette)], dashes[i/len(palette)], 1.75))
	}
	return Chart{X: axisClock, Y: axisCount, Option: c.JSON()}
}

var dashes = [...]string{"solid", "dashed", "dotted"}

// colourOf is a process's, the same on every page.
func colourOf(name string, i int) (colour, dash string) {
	if j := order(name); j < len(usual) {
		return palette[j], "solid"
	}
	return palette[i%len(palette)], "dashed"
}

func cpuChart(r *Run, s scale) Chart {
	c := lines(s, opts.YAxis{Type: "value", Min: 0, Max: s.cores})
	for i, p := range r.Processes {
		var points []opts.LineData
		for j, cores := range p.Cores {
			points = append(points, opts.LineData{Value: [2]any{p.At[j+1].Seconds(), math.Round(1000*cores) / 1000}})
		}
		colour, dash := colourOf(p.Name, i)
		c.AddSeries(p.Name, points, stroke(colour, dash, 1.75))
	}
	return Chart{X: axisClock, Y: axisCores, Option: c.JSON()}
}

func memoryChart(r *Run, s scale) Chart {
	c := lines(s, opts.YAxis{Type: "value", Min: 0, Max: s.memory})
	for i, p := range r.Processes {
		points := make([]opts.LineData, len(p.At))
		for j := range p.At {
			points[j].Value = [2]any{p.At[j].Seconds(), math.Round(10*p.Memory[j]/(1<<20)) / 10}
		}
		colour, dash := colourOf(p.Name, i)
		c.AddSeries(p.Name, points, stroke(colour, dash, 1.75))
	}
	return Chart{X: axisClock, Y: axisMemory, Option: c.JSON()}
}
