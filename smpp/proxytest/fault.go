package proxytest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is what a fault does.
type Kind uint8

const (
	// Cut ends a connection towards both sides: at once, wherever the stream
	// is, or with N > 0 inside the next PDU that begins in the direction.
	Cut Kind = iota
	// Stall forwards nothing for a while and then goes on; a close waits too.
	// Hardly anything is read meanwhile, so that the sender feels it.
	Stall
	// HalfOpen swallows all that comes, closes and resets included, for good:
	// what a NAT that forgot the connection looks like. The connection ends when
	// both ends have closed.
	HalfOpen
	// Delay lets each PDU wait by chance up to Wait; their order stays.
	Delay
	// Reorder holds up to N PDUs, none longer than Wait, and lets them go in an
	// order of chance.
	Reorder
	// Trickle forwards octet by octet with a pause of Wait, N octets if N > 0.
	Trickle
	// Refuse resets new connections. It leaves the live ones alone.
	Refuse
)

var kindNames = [...]string{"cut", "stall", "half-open", "delay", "reorder", "trickle", "refuse"}

func (k Kind) String() string { return kindNames[k] }

// Direction is where the octets that a fault strikes are going.
type Direction uint8

// The directions. The ESME is who connects to the proxy, the SMSC its target.
const (
	Both Direction = iota
	ToSMSC
	ToESME
)

func (d Direction) String() string { return [...]string{"both ways", "to SMSC", "to ESME"}[d] }

// Fault is one fault with all its parameters: applied again, it does the same,
// as far as the traffic is the same.
type Fault struct {
	Kind      Kind
	Direction Direction
	All       bool // strikes every live connection, not one picked by chance
	// For is how long it lasts, 0 until Lift. A Cut that waits for a PDU cuts
	// when For is over, PDU or not.
	For time.Duration
	// Wait is the longest that Delay and Reorder withhold a PDU, and the pause
	// after each octet of a Trickle.
	Wait time.Duration
	// N is how many PDUs Reorder holds, how many octets Trickle lasts, and how
	// many octets of a PDU a Cut lets through, at most all but the last.
	N     int
	Reset bool   // Cut with RST, not FIN
	Seed  uint64 // decides what is left to chance
}

// String is the fault for a test's log: what is needed to apply it again.
func (f Fault) String() string {
	struck, end := "one connection", "FIN"
	if f.All {
		struck = "all connections"
	}
	if f.Reset {
		end = "RST"
	}
	s := fmt.Sprintf("%s %s, %s, for %s", f.Kind, f.Direction, struck, f.For)
	switch f.Kind {
	case Cut:
		s += fmt.Sprintf(", n %d, %s", f.N, end)
	case Delay:
		s += fmt.Sprintf(", wait %s", f.Wait)
	case Reorder, Trickle:
		s += fmt.Sprintf(", wait %s, n %d", f.Wait, f.N)
	}
	return s + fmt.Sprintf(", seed %#x", f.Seed)
}

// withDefaults makes a Reorder without numbers one that bites.
func (f Fault) withDefaults() Fault {
	if f.Kind == Reorder && f.N == 0 {
		f.N = 8
	}
	if f.Kind == Reorder && f.Wait == 0 {
		f.Wait = 20 * time.Millisecond
	}
	return f
}

// chance is a duration below limit.
func chance(rng *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(limit)))
}

// Random makes up a fault of one of the kinds, of any if none is given, that
// lasts at most longest; HalfOpen lasts for good all the same. It is for
// Proxy.Apply, its String for the log.
func Random(rng *rand.Rand, longest time.Duration, kinds ...Kind) Fault {
	f := Fault{
		Kind:      Kind(rng.IntN(len(kindNames))),
		Direction: Direction(rng.IntN(3)),
		All:       rng.IntN(4) == 0,
		For:       1 + chance(rng, longest),
		Seed:      rng.Uint64(),
	}
	if len(kinds) > 0 {
		f.Kind = kinds[rng.IntN(len(kinds))]
	}
	switch f.Kind {
	case Cut:
		f.Reset = rng.IntN(2) == 0
		f.N = max(0, rng.IntN(128)-64) // half of them at once
	case Delay:
		f.Wait = 1 + chance(rng, longest)/4
	case Reorder:
		f.N = 2 + rng.IntN(15)
		f.Wait = 1 + chance(rng, longest)/4
	case Trickle:
		f.N = 1 + rng.IntN(2000)
		f.Wait = chance(rng, 100*time.Microsecond)
	}
	return f
}
