package report

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Value is a figure with its unit: what is written, and what a ratio is made of.
type Value struct {
	n    float64
	unit unit
}

type unit int

const (
	none unit = iota // there is no such figure
	count
	rate     // a second
	duration // in nanoseconds
	memory   // in octets
	cores
	share
)

func countOf(n int64) Value      { return Value{float64(n), count} }
func rateOf(n float64) Value     { return Value{n, rate} }
func took(d time.Duration) Value { return Value{float64(d), duration} }
func octets(n float64) Value     { return Value{n, memory} }
func coresOf(n float64) Value    { return Value{n, cores} }
func shareOf(n, of int64) Value {
	if of == 0 {
		return Value{}
	}
	return Value{float64(n) / float64(of), share}
}

// when is the value if something holds, and else none.
func (v Value) when(holds bool) Value {
	if !holds {
		return Value{}
	}
	return v
}

// ratio is how many times a the value b is.
func ratio(a, b Value) string {
	if a.unit == none || b.unit == none || a.n <= 0 || b.n < 0 {
		return ""
	}
	return digits(b.n/a.n, 2)
}

func (v Value) String() string {
	number, unit := v.Split()
	if unit == "" || unit == "%" || strings.HasPrefix(unit, "/") {
		return number + unit
	}
	return number + " " + unit
}

// Split is the figure and its unit, where it has one.
func (v Value) Split() (number, unit string) {
	switch v.unit {
	case count:
		return digits(v.n, 0), ""
	case rate:
		return threeDigits(v.n), "/s"
	case duration:
		return splitDuration(time.Duration(v.n))
	case memory:
		if v.n >= 1<<30 {
			return threeDigits(v.n / (1 << 30)), "GiB"
		}
		return threeDigits(v.n / (1 << 20)), "MiB"
	case cores:
		return digits(v.n, 2), ""
	case share:
		return percent(v.n), "%"
	}
	return "–", ""
}

func splitDuration(d time.Duration) (number, unit string) {
	switch abs := max(d, -d); {
	case abs == 0:
		return "0", "ms"
	case abs < time.Millisecond:
		return threeDigits(float64(d) / float64(time.Microsecond)), "µs"
	case abs < time.Second:
		return threeDigits(float64(d) / float64(time.Millisecond)), "ms"
	case abs < 2*time.Minute:
		return threeDigits(d.Seconds()), "s"
	}
	return threeDigits(d.Minutes()), "min"
}

// percent never rounds a few of many to none, nor nearly all to all.
func percent(share float64) string {
	switch p := 100 * share; {
	case p > 0 && p < 0.01:
		return "< 0.01"
	case p < 100 && p > 99.99:
		return "> 99.99"
	case p == 0 || p == 100:
		return digits(p, 0)
	case p < 10:
		return digits(p, 2)
	default:
		return digits(p, 1)
	}
}

// threeDigits writes a figure with the three digits that one remembers, and a
// larger one whole.
func threeDigits(n float64) string {
	switch abs := math.Abs(n); {
	case n == 0:
		return "0"
	case abs >= 99.95:
		return digits(n, 0)
	case abs >= 9.995:
		return digits(n, 1)
	}
	return digits(n, 2)
}

// digits writes a figure with so many digits after the point, and groups of
// thousands before it.
func digits(n float64, after int) string {
	text := strconv.FormatFloat(math.Abs(n), 'f', after, 64)
	whole, rest, _ := strings.Cut(text, ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if rest != "" {
		whole += "." + rest
	}
	if n < 0 && strings.Trim(whole, "0.") != "" {
		return "−" + whole
	}
	return whole
}

// many is a count with what is counted.
func many(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return digits(float64(n), 0) + " " + more
}
