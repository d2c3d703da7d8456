package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model that histories are checked against: of each employee one register,
// which saves change and admissions and the record's readers read. What an
// operation shows must be so at one moment between its call and its return, and
// all of them must have such moments (linearizability). So an admission that
// starts after a save has returned sees it, and nobody sees what was before a
// change that somebody has already seen, be it in the record only.
//
// An admission that was refused because nothing was certain is always right, and
// not in the history. A save whose caller was not told how it ended is looked up
// when all is over: if it is on record it happened at some time after its call,
// else never.

// register is a permission set in small. Bit i is set where providers[i] is
// blocked; the last is no exception of any set, so its bit is the default.
type register struct {
	blocked uint8
	version int64
}

var providers = [...]Provider{"bank", "notary", "tax", "post", "joined-later"}

const (
	named      = len(providers) - 1
	everything = 1<<len(providers) - 1
)

func registerOf(s Set) register {
	r := register{version: s.Version}
	for i, p := range providers {
		if !s.Allows(p) {
			r.blocked |= 1 << i
		}
	}
	return r
}

// bits are a change of some.
type bits struct{ clear, set uint8 }

func (c bits) of(r register) register {
	blocked := r.blocked&^c.clear | c.set
	if blocked != r.blocked {
		r.version++
	}
	r.blocked = blocked
	return r
}

// ofSet makes the same change as a manager does: one provider after another, or
// all at once.
func (c bits) ofSet(s Set) Set {
	if (c.clear|c.set)>>named&1 == 1 {
		s = Set{BlockAll: c.set>>named&1 == 1}
	}
	for i, p := range providers[:named] {
		if bit := uint8(1) << i; (c.clear|c.set)&bit != 0 {
			s = s.With(p, c.set&bit == 0)
		}
	}
	return s
}

// input is an operation: one of three.
type input struct {
	employee Employee
	kind     string // "save", "admit" or "read"
	change   bits
	provider int
	node     int
}

// output is what it came to: for a save without an answer, nothing.
type output struct {
	is       register // of a save and a read
	answered bool
	allowed  bool // of an admission
}

var model = porcupine.Model{
	Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
		of := make(map[Employee][]porcupine.Operation)
		for _, o := range all {
			e := o.Input.(input).employee
			of[e] = append(of[e], o)
		}
		for _, part := range of {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		r, i, o := state.(register), in.(input), out.(output)
		switch i.kind {
		case "save":
			is := i.change.of(r)
			return !o.answered || is == o.is, is
		case "read":
			return r == o.is, r
		}
		return o.allowed == (r.blocked>>i.provider&1 == 0), r
	},
}

// never is when an operation that was not answered returns.
const never = math.MaxInt64

// check says whether a history can be explained; if not, it tells it.
func check(all []porcupine.Operation) (ok bool, account string) {
	for _, part := range model.Partition(all) {
		switch porcupine.CheckOperationsTimeout(model, part, 20*time.Second) {
		case porcupine.Unknown:
			return false, "the check of this took too long:\n" + tell(part)
		case porcupine.Illegal:
			return false, "no order explains this:\n" + tell(shortest(part))
		}
	}
	return true, ""
}

// shortest is the beginning of a history up to what cannot be explained.
func shortest(all []porcupine.Operation) []porcupine.Operation {
	until := func(end int64) (part []porcupine.Operation) {
		for _, o := range all {
			if o.Return > end {
				// It may have happened, and nobody was told.
				if o.Call > end || o.Input.(input).kind != "save" {
					continue
				}
				o.Return, o.Output = never, output{}
			}
			part = append(part, o)
		}
		return part
	}
	for _, o := range slices.SortedFunc(slices.Values(all), func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) }) {
		if part := until(o.Return); porcupine.CheckOperationsTimeout(model, part, 5*time.Second) == porcupine.Illegal {
			return part
		}
	}
	return all
}

func tell(all []porcupine.Operation) string {
	var b strings.Builder
	for _, o := range slices.SortedFunc(slices.Values(all), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) }) {
		i, out := o.Input.(input), o.Output.(output)
		end := "       …"
		if o.Return != never {
			end = fmt.Sprintf("%8.3f", float64(o.Return)/1e6)
		}
		fmt.Fprintf(&b, "%8.3f %s ms  node %d %-5s ", float64(o.Call)/1e6, end, i.node, i.kind)
		switch {
		case i.kind == "save":
			fmt.Fprintf(&b, "clear %05b set %05b", i.change.clear, i.change.set)
			if out.answered {
				fmt.Fprintf(&b, " -> %05b version %d", out.is.blocked, out.is.version)
			}
		case i.kind == "read":
			fmt.Fprintf(&b, "-> %05b version %d", out.is.blocked, out.is.version)
		default:
			fmt.Fprintf(&b, "bit %d -> allowed %t", i.provider, out.allowed)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
