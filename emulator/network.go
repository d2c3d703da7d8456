package emulator

import "time"

// Network is what an operator's network does to short messages. The zero value
// is a perfect one: everything arrives at once, in order, and once.
//
// Probabilities are of each segment on each way, to the handset and from it.
// What befalls a segment is decided by the seed of the run, its number, which
// message of that number it is on that way, and which segment: the same seed
// decides the same, whatever the timing and however often it is sent again.
type Network struct {
	Delay     LogNormal // on each way
	Lost      float64   // vanishes, and no receipt tells of it
	Twice     float64   // arrives a second time, a delay later
	Reordered float64   // is held back until others have overtaken it
	Throttled float64   // of submit_sm: is answered ESME_RTHROTTLED the first time it comes

	ReceiptLate   float64       // of receipts: comes later, by ReceiptBy
	ReceiptBy     time.Duration // how much later
	ReceiptAbsent float64       // of receipts: never comes
}

// perfect reports that nothing is ever decided.
func (n *Network) perfect() bool { return *n == Network{} }

// way is the direction that a message goes in.
type way uint8

const (
	toHandset way = iota
	fromHandset
)

// place is what a decision about a segment is made by.
type place struct {
	number  string // the handset's digits
	ordinal uint64 // which of the number's messages on this way
	segment uint64 // of that message, from 1
	first   bool   // it was not there before: it is not sent again
}

// fate is what befalls one segment on its way.
type fate struct {
	lost, twice, reordered bool

	after time.Duration // it arrives
	again time.Duration // it arrives the second time
}

// The decisions on each way, by the names that chance knows them by.
var decisions = [...]struct{ lost, twice, reordered, delay, again string }{
	toHandset:   {"lost to handset", "twice to handset", "reordered to handset", "delay to handset", "delay again to handset"},
	fromHandset: {"lost from handset", "twice from handset", "reordered from handset", "delay from handset", "delay again from handset"},
}

// fate decides on a segment.
func (n *Network) fate(seed uint64, w way, p place) (f fate) {
	d := &decisions[w]
	if f.lost = p.happens(seed, d.lost, n.Lost); f.lost {
		return f
	}
	f.twice = p.happens(seed, d.twice, n.Twice)
	f.reordered = p.happens(seed, d.reordered, n.Reordered)
	f.after = n.delay(seed, d.delay, p)
	if f.reordered {
		f.after += n.heldBack()
	}
	if f.twice {
		f.again = f.after + n.delay(seed, d.again, p)
	}
	return f
}

func (p place) happens(seed uint64, what string, probability float64) bool {
	return probability > 0 && Chance(seed, what, p.number, p.ordinal, p.segment) < probability
}

func (n *Network) delay(seed uint64, what string, p place) time.Duration {
	if n.Delay.Sigma == 0 {
		return n.Delay.Median
	}
	return n.Delay.At(Normal(seed, what, p.number, p.ordinal, p.segment))
}

// heldBack is how long a segment is held for others to overtake it: all but one
// in forty are there after two deviations, and they set out together or nearly so.
func (n *Network) heldBack() time.Duration {
	return n.Delay.At(2) + 200*time.Millisecond
}
