// Package load asks a gateway for signatures as many providers would, and writes
// down what became of every single request.
//
// A results file is written while the run goes on, and reports are made from it
// afterwards. It begins with the octets
//
//	"imza-load" 01 0A   the 01 is the version
//
// and goes on in frames, each of which is
//
//	kind     1        H, N, R, S or E
//	length   uvarint  of the payload
//	payload
//
// of these kinds:
//
//	H  JSON, Run: how the run was meant; the first frame, and only that
//	N  1 octet and text: the name of an end that the header did not know; it
//	   comes before the first request that ended so
//	R  48 octets, Request: one request, written when it has ended
//	S  JSON, Sample: the processes and queues, about each second
//	E  JSON, Ending: the balance; the last frame. A file without it was cut off.
//
// A request, all numbers little-endian:
//
//	 0  index       u32  in the order in which they were due, from 0; those about
//	                     blocks that are flipped have numbers of their own from 2³¹
//	 4  subscriber  u32  the number of the card
//	 8  phase       u8   in Run.Phases
//	 9  provider    u8   in Run.Providers
//	10  certificate u8   Certificate
//	11  expect      u8   Expect
//	12  end         u8   in Run.Ends, and the N frames
//	13  fault       u8   Fault
//	14  status      u16  of the last answer of HTTP, 0 if there was none
//	16  due         i64  µs since Run.Started
//	24  sent        i32  µs after due, and so are the next; −2³¹: not reached
//	28  accepted    i32
//	32  pushed      i32
//	36  answered    i32
//	40  verified    i32
//	44  released    i32
//
// # Whose clock
//
// Due, sent, accepted and released are told by the load tester's clock: due is
// when the request was to be made, whether or not the load tester was able to,
// sent is when it was made, accepted when its answer was there, released when
// the answer that brought its end was. Pushed, answered and verified are told by
// the gateway's: when the operator had taken the challenge, when the card's
// answer was whole, when it was judged. A duration is exact between two moments
// of the same clock. Between accepted and pushed, and between verified and
// released, it is off by as much as the clocks differ, and may be less than
// nothing; on one machine that is next to nothing.
//
// The files:
//
//	results.go, record.go          what is in a results file
//	writer.go, reader.go           how it is written and read
//	schedule.go                    when requests are due
//	plan.go, subscribers.go        whom they ask, and as whom
//	prepare.go                     what must be before the first of them
//	run.go                         a run, by open or closed loop
//	ask.go, client.go, fields.go   one request, from due to its end
//	blocks.go, flips.go            what policy must refuse
//	judge.go                       whether that may have become of a request
//	account.go, balance.go         asked = signed + each other end
//	counters.go, exposition.go     the gateway's own account, to compare
//	watch.go, usage_unix.go        processes and queues, each second
//	progress.go                    how the run goes, on the terminal
package load

import (
	"fmt"
	"time"
)

// magic is what a results file begins with; versionAt is where its version is.
const (
	magic     = "imza-load\x01\n"
	versionAt = 9
)

// Kinds of frames.
const (
	frameHeader = 'H'
	frameName   = 'N'
	frameRecord = 'R'
	frameSample = 'S'
	frameEnding = 'E'
)

// maxFrame is more octets than any frame has.
const maxFrame = 16 << 20

// Run is how a run was meant: all that is known when it begins.
type Run struct {
	Started   time.Time `json:"started"`
	Seed      uint64    `json:"seed"`
	Command   string    `json:"command"` // with no secret in it
	URL       string    `json:"url"`
	Phases    []Phase   `json:"phases"`
	Providers []string  `json:"providers"`
	Cards     int       `json:"cards"` // how many subscribers may be asked
	Scenario  string    `json:"scenario,omitempty"`
	Host      Host      `json:"host"`
	Ends      []End     `json:"ends"` // by the number that a record has
}

// Host is the machine of the load tester.
type Host struct {
	Cores int    `json:"cores"`
	Model string `json:"model"` // of the processor
}

// Phase is a part of a run. In an open loop requests are due at a rate that goes
// evenly From one To another; in a closed loop each of the Callers asks again
// when its last request has ended, and From and To are 0.
type Phase struct {
	Name     string        `json:"name"`
	From     float64       `json:"from,omitempty"` // requests a second
	To       float64       `json:"to,omitempty"`
	Callers  int           `json:"callers,omitempty"`
	Duration time.Duration `json:"duration"` // in nanoseconds
	// Aside is true of what is in the balance and in no percentile: warming up,
	// and blocks that are flipped.
	Aside bool `json:"aside,omitempty"`
}

// Sample is how it was at one moment.
type Sample struct {
	At        int64              `json:"at"` // ms since Run.Started
	Processes []Process          `json:"processes,omitempty"`
	Depths    map[string]float64 `json:"depths,omitempty"` // of queues, by name
}

// Process is what a process had used by then.
type Process struct {
	Name string  `json:"name"` // "gateway", "emulator", "load", "redis"
	CPU  float64 `json:"cpu"`  // seconds so far
	RSS  float64 `json:"rss"`  // octets
}

// Ending is how a run ended.
type Ending struct {
	Ended    time.Time `json:"ended"`
	CutShort bool      `json:"cutShort"`
	Why      string    `json:"why,omitempty"` // it was cut short
	Balance  Balance   `json:"balance"`
	// Notes are what whoever reads the figures must know: a rate that could not
	// be kept, say.
	Notes []string `json:"notes,omitempty"`
}

// OK reports whether the balance is exact and no request was at fault.
func (e *Ending) OK() bool { return e.Balance.OK() }

// name names an end.
func (r *Run) name(code uint8) (End, error) {
	if int(code) >= len(r.Ends) {
		return "", fmt.Errorf("end %d is none of the %d that are known", code, len(r.Ends))
	}
	return r.Ends[code], nil
}
