package emulator

import (
	"encoding/binary"
	"math"
	"time"
)

// What befalls a message and what a person does is decided by chance, and yet
// the same at each run of a seed: a decision depends on what it is about and on
// nothing else, least of all on which goroutine came first. So it is computed
// from the seed, from what is decided, and from the number and the ordinals that
// it is decided for; no decision takes anything from a stream that another has
// taken from before.

// Bits gives 64 bits for one decision. They are spread evenly and are no secret:
// no key may be made of them.
func Bits(seed uint64, what, number string, ordinal ...uint64) uint64 {
	h := mix(seed + golden)
	h = absorb(h, what)
	h = absorb(h, number)
	for _, n := range ordinal {
		h = mix(h ^ n + golden)
	}
	return mix(h + uint64(len(ordinal)))
}

// Chance gives a number from 0 to just below 1 for one decision, all alike
// likely: something of probability p comes to pass where it is below p.
func Chance(seed uint64, what, number string, ordinal ...uint64) float64 {
	return float64(Bits(seed, what, number, ordinal...)>>11) / (1 << 53)
}

// Normal gives a normally distributed number for one decision, of mean 0 and
// deviation 1.
func Normal(seed uint64, what, number string, ordinal ...uint64) float64 {
	// The middle of its 2^-53, so that it is never 0, whose quantile is infinite.
	u := (float64(Bits(seed, what, number, ordinal...)>>11) + 0.5) / (1 << 53)
	return math.Sqrt2 * math.Erfinv(2*u-1)
}

// LogNormal is how long something takes of which half is done before the median,
// and a little takes much longer: people and networks are like that. A Sigma of
// 0 is always the median.
type LogNormal struct {
	Median time.Duration
	Sigma  float64
}

// At is how long it takes for a normally distributed number, such as Normal
// gives. It is at most a day, whatever the sigma.
func (l LogNormal) At(normal float64) time.Duration {
	if l.Sigma == 0 {
		return l.Median
	}
	const longest = float64(24 * time.Hour)
	return time.Duration(min(float64(l.Median)*math.Exp(l.Sigma*normal), longest))
}

// golden is 2^64 by the golden ratio, which splitmix64 counts in.
const golden = 0x9E3779B97F4A7C15

// mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014): each bit of its
// argument changes half of the bits that come out.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// absorb takes in a string, and its length, so that "ab", "c" is not "a", "bc".
func absorb(h uint64, s string) uint64 {
	h = mix(h ^ uint64(len(s)) + golden)
	for len(s) >= 8 {
		h = mix(h ^ binary.LittleEndian.Uint64([]byte(s[:8])) + golden)
		s = s[8:]
	}
	var last [8]byte
	copy(last[:], s)
	return mix(h ^ binary.LittleEndian.Uint64(last[:]) + golden)
}
