package load

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Metrics come in the text format of Prometheus, a sample on each line:
//
//	# TYPE name gauge
//	name{label="value",label="value"} 12.5
//
// It is read by hand, since it is read each second while the machine is to do
// something else.

// metric is a sample.
type metric struct {
	name   string
	labels string // as they are written
	value  float64
	gauge  bool
}

// label is a label's value. None that is read has an escape in it.
func (m *metric) label(name string) string {
	for rest := m.labels; rest != ""; {
		key, after, found := strings.Cut(rest, `="`)
		value, next, closed := strings.Cut(after, `"`)
		if !found || !closed {
			return ""
		}
		if key == name {
			return value
		}
		rest = strings.TrimPrefix(next, ",")
	}
	return ""
}

// eachMetric goes over all samples; lines that are none are passed over.
func eachMetric(body []byte, each func(metric)) {
	gauge := ""
	for line := range bytes.Lines(body) {
		text := strings.TrimSpace(string(line))
		if typed, ok := strings.CutPrefix(text, "# TYPE "); ok {
			name, kind, _ := strings.Cut(typed, " ")
			if gauge = ""; kind == "gauge" {
				gauge = name
			}
			continue
		}
		if text == "" || text[0] == '#' {
			continue
		}
		var m metric
		rest := ""
		if open := strings.IndexByte(text, '{'); open >= 0 {
			shut := strings.LastIndexByte(text, '}')
			if shut < open {
				continue
			}
			m.name, m.labels, rest = text[:open], text[open+1:shut], text[shut+1:]
		} else {
			m.name, rest, _ = strings.Cut(text, " ")
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		var err error
		if m.value, err = strconv.ParseFloat(fields[0], 64); err != nil || math.IsNaN(m.value) {
			continue
		}
		m.gauge = m.name == gauge
		each(m)
	}
}

// noDepths are gauges that are no depth of anything.
var noDepths = []string{"_up", "_limit", "_info", "_seconds", "_cards", "_operators", "_telephones"}

// depth is what a gauge of imza is called in a sample: imza_smpp_waiting of an
// operator is "smpp waiting azercell".
func (m *metric) depth() (name string, ok bool) {
	name, ours := strings.CutPrefix(m.name, "imza_")
	if !m.gauge || !ours || slices.ContainsFunc(noDepths, func(end string) bool { return strings.HasSuffix(name, end) }) {
		return "", false
	}
	return strings.TrimSpace(strings.ReplaceAll(name, "_", " ") + " " + m.label("operator")), true
}
