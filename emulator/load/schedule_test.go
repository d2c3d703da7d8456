package load

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParsePhases(t *testing.T) {
	got, err := ParsePhases("100:10s, 100-1000:30s,1000:1m")
	want := []Phase{{Name: "100/s", From: 100, To: 100, Duration: 10 * time.Second},
		{Name: "100-1000/s", From: 100, To: 1000, Duration: 30 * time.Second}, {Name: "1000/s", From: 1000, To: 1000, Duration: time.Minute}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for text, wanted := range map[string]string{"": "RATE:DURATION", "100": "RATE:DURATION", "x:1s": "no rate", "NaN:1s": "no rate", "1-y:1s": "no rate", "1:1": "no duration"} {
		if _, err := ParsePhases(text); err == nil || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, p := range []Phase{{From: 1, To: 1}, {From: -1, To: 2, Duration: 1}, {Duration: 1}, {From: math.Inf(1), Duration: 1}, {Callers: -1, Duration: 1}} {
		if p.Check() == nil {
			t.Errorf("%+v is said to be good", p)
		}
	}
}

// The arrivals are as many as the rate says, at each part of a ramp too, and the
// same each time.
func TestArrivals(t *testing.T) {
	for _, p := range []Phase{{From: 500, To: 500}, {From: 0, To: 1000}, {From: 1000, To: 0}, {From: 900, To: 100}} {
		p.Duration = 20 * time.Second
		for _, even := range []bool{true, false} {
			var first []time.Duration
			for due := range p.arrivals(7, 1, even) {
				first = append(first, due)
			}
			if !slices.IsSorted(first) || first[0] < 0 || first[len(first)-1] >= p.Duration {
				t.Fatalf("%+v: out of order, or of the phase", p)
			}
			for part := time.Second; part <= p.Duration; part += time.Second {
				n, _ := slices.BinarySearch(first, part)
				want := p.expected(part)
				allowed := 1.0
				if !even {
					allowed = 5 * math.Sqrt(want+1) // five times the deviation of Poisson's distribution
				}
				if math.Abs(float64(n)-want) > allowed {
					t.Errorf("%v-%v/s, even %v: %d by %s; want about %.0f", p.From, p.To, even, n, part, want)
				}
			}
			if again := slices.Collect(p.arrivals(7, 1, even)); !slices.Equal(first, again) {
				t.Error("the same seed has other arrivals")
			}
			if other := slices.Collect(p.arrivals(8, 1, even)); !even && slices.Equal(first, other) {
				t.Error("another seed has the same arrivals")
			}
		}
	}
}

// The gaps of a Poisson process are exponential: their deviation is their mean.
func TestPoisson(t *testing.T) {
	p := Phase{From: 1000, To: 1000, Duration: 60 * time.Second}
	var last time.Duration
	var sum, squares float64
	n := 0.0
	for due := range p.arrivals(1, 0, false) {
		gap := (due - last).Seconds()
		sum, squares, last, n = sum+gap, squares+gap*gap, due, n+1
	}
	mean := sum / n
	if deviation := math.Sqrt(squares/n - mean*mean); math.Abs(deviation/mean-1) > 0.03 {
		t.Errorf("mean gap %v, deviation %v", mean, deviation)
	}
}

func TestPermutation(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 64, 100, 1000, 65537} {
		seen := make([]bool, n)
		p := newPermutation(3, n)
		inPlace := 0
		for place := range n {
			x := p.at(place)
			if seen[x] {
				t.Fatalf("%d of %d is there twice", x, n)
			}
			if seen[x] = true; x == place {
				inPlace++
			}
		}
		if n >= 64 && inPlace > 10 {
			t.Errorf("%d of %d are where they were", inPlace, n)
		}
	}
}

// expected is how many requests are due by a time of the phase, on average: the
// rate, summed up.
func (p *Phase) expected(t time.Duration) float64 {
	s := t.Seconds()
	return p.From*s + (p.To-p.From)/p.Duration.Seconds()*s*s/2
}
