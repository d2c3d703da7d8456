package load

import "math/bits"

// Subscriber is somebody who may be asked.
type Subscriber struct {
	MSISDN, UserID, FIN string
	Certificates        []Wanted // which the card has; one of them is asked for
}

// Wanted is a certificate as a request names it.
type Wanted struct {
	Type Certificate
	VOEN string // empty: a citizen's
}

// mix is the finaliser of splitmix64: each bit of the result depends on each of x.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// What is decided by chance. Each decision is drawn from the seed, what it is
// and the number of the request alone, and never from a stream of random numbers
// that is shared: so that it is the same in each run with that seed, whatever
// comes sooner or later.
const (
	drawRefused = iota + 1
	drawProvider
	drawCertificate
	drawBlocked
	drawPermutation
)

// draw is a decision's 64 random bits.
func draw(seed uint64, what int, n uint64) uint64 {
	return mix(mix(mix(seed)^uint64(what)) ^ n)
}

// chance is whether something of a share happens.
func chance(bits64 uint64, share float64) bool { return float64(bits64>>11)/(1<<53) < share }

// below is a number below n.
func below(bits64 uint64, n int) int {
	high, _ := bits.Mul64(bits64, uint64(n))
	return int(high)
}

// permutation puts the numbers from 0 to n-1 in another order, with nothing to be
// kept for any of them: a Feistel network over the next power of four, walked
// until it is back within n.
type permutation struct {
	seed uint64
	n    uint64
	half uint
}

func newPermutation(seed uint64, n int) permutation {
	return permutation{seed, uint64(n), uint(bits.Len64(uint64(n-1))+1) / 2}
}

// at is the number at a place.
func (p permutation) at(place int) int {
	x := uint64(place)
	for {
		if x = p.encipher(x); x < p.n {
			return int(x)
		}
	}
}

func (p permutation) encipher(x uint64) uint64 {
	mask := uint64(1)<<p.half - 1
	left, right := x>>p.half, x&mask
	for round := range uint64(4) {
		left, right = right, left^draw(p.seed, drawPermutation, round<<56|right)&mask
	}
	return left<<p.half | right
}
