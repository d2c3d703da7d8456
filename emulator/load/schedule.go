package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Limits of a phase.
const (
	maxRate     = 100_000
	maxDuration = 7 * 24 * time.Hour
)

// ParsePhases reads the phases of an open loop: RATE:DURATION, or FROM-TO:DURATION
// for a ramp, with commas between them.
func ParsePhases(text string) (all []Phase, err error) {
	for part := range strings.SplitSeq(text, ",") {
		rates, duration, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found {
			return nil, fmt.Errorf("%q is not RATE:DURATION", part)
		}
		from, to, ramp := strings.Cut(rates, "-")
		p := Phase{Name: rates + "/s"}
		if p.From, err = parseRate(from); err != nil {
			return nil, err
		}
		p.To = p.From
		if ramp {
			if p.To, err = parseRate(to); err != nil {
				return nil, err
			}
		}
		if p.Duration, err = time.ParseDuration(duration); err != nil {
			return nil, fmt.Errorf("%q is no duration such as 30s", duration)
		}
		all = append(all, p)
	}
	return all, nil
}

func parseRate(text string) (float64, error) {
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(rate) {
		return 0, fmt.Errorf("%q is no rate in requests a second", text)
	}
	return rate, nil
}

// Check tells what is wrong with a phase.
func (p *Phase) Check() error {
	switch {
	case p.Duration <= 0 || p.Duration > maxDuration:
		return fmt.Errorf("phase %s: it lasts %s; more than nothing and up to a week is possible", p.Name, p.Duration)
	case p.Callers < 0 || p.Callers > maxUnderWay:
		return fmt.Errorf("phase %s: %d callers; 1 to %d are possible", p.Name, p.Callers, maxUnderWay)
	case p.Callers > 0:
		return nil
	case !(p.From >= 0 && p.From <= maxRate && p.To >= 0 && p.To <= maxRate):
		return fmt.Errorf("phase %s: up to %d requests a second are possible", p.Name, maxRate)
	case p.From+p.To == 0:
		return errors.New("phase " + p.Name + ": nothing is asked in it")
	}
	return nil
}

// after is the time by which so many are due, on average.
func (p *Phase) after(n float64) time.Duration {
	slope := (p.To - p.From) / p.Duration.Seconds()
	if slope == 0 {
		return seconds(n / p.From)
	}
	// Of p.From·t + slope·t²/2 = n the root that is there first; in this form it
	// does not lose its digits where the slope is small. A rate that falls to
	// nothing never gets to what lies beyond.
	root := p.From*p.From + 2*slope*n
	if root < 0 {
		return p.Duration
	}
	return seconds(2 * n / (p.From + math.Sqrt(root)))
}

func seconds(s float64) time.Duration {
	if s >= maxDuration.Seconds() {
		return maxDuration
	}
	return time.Duration(s * float64(time.Second))
}

// arrivals tells when the requests of a phase are due, from its beginning. By
// Poisson's process they come as if from many who do not know of each other; the
// same seed and phase have the same arrivals. Evenly they are half a gap apart
// from the ends.
func (p *Phase) arrivals(seed uint64, phase int, even bool) func(yield func(time.Duration) bool) {
	return func(yield func(time.Duration) bool) {
		random := rand.New(rand.NewPCG(seed, mix(uint64(phase))))
		n := -0.5
		if !even {
			n = 0
		}
		for {
			if n++; !even {
				n += random.ExpFloat64() - 1
			}
			due := p.after(n)
			if due >= p.Duration || !yield(due) {
				return
			}
		}
	}
}
