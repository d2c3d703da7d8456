package fleet

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"imza/emulator"
)

// crowd is all who hold the cards of a fleet, with their telephones, as a
// scenario has them. A telephone with its card is made when a message comes for it
// and unmade when others were used since. What a card remembers is kept for as
// long as a run lasts, and never in a file: each run begins with fresh cards, so
// that the same seed gives the same run.
type crowd struct {
	fleet    *Fleet
	sorts    []Sort
	most     int // warm telephones, as far as they are idle
	log      *slog.Logger
	networks []*network

	begins sync.Mutex // one Begin at a time
	mu     sync.Mutex
	run    *run // nil: none has begun, or one is ending

	made, unmade atomic.Uint64
}

// run is what happens from one Begin to the next.
type run struct {
	seed     uint64
	ctx      context.Context
	cancel   context.CancelFunc
	memories []memory
	warm     map[int]*telephone
	newest   *telephone // of a list by when they were used last
	oldest   *telephone
}

// memory is what a card remembers that differs from a fresh one, and what its
// person has done.
type memory struct {
	counter          uint64 // of the last packet
	prompts          uint32 // that the person was shown
	reference        byte
	pin1, pin2, puk  byte // tries that are gone
	changedTelephone bool
}

// defaultWarm is how many telephones stay made: those of a few seconds at full
// load.
const defaultWarm = 8_000

// newCrowd makes the people of a fleet, who are there once a run begins.
func newCrowd(f *Fleet, s *Scenario, warm int, log *slog.Logger) *crowd {
	p := &crowd{fleet: f, sorts: s.People, most: warm, log: log}
	for i := range f.plan.Operators {
		p.networks = append(p.networks, &network{people: p, operator: i})
	}
	return p
}

// Begin ends the run and begins another: every card and person is as at the
// start. between is called while nobody is there.
func (p *crowd) Begin(seed uint64, between func()) {
	p.begins.Lock()
	defer p.begins.Unlock()
	p.end()
	between()
	r := &run{seed: seed, memories: make([]memory, p.fleet.plan.Cards), warm: make(map[int]*telephone)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	p.run = r
	p.mu.Unlock()
}

// Close ends the run.
func (p *crowd) Close() {
	p.begins.Lock()
	defer p.begins.Unlock()
	p.end()
}

func (p *crowd) end() {
	p.mu.Lock()
	r := p.run
	p.run = nil
	p.mu.Unlock()
	if r == nil {
		return
	}
	r.cancel()
	for _, t := range r.warm { // nobody changes it any more
		t.unmake()
	}
}

// network is an operator's part of the people: emulator.Lines of its SMSC.
type network struct {
	people   *crowd
	operator int
	connect  func(*emulator.Line)
}

// index is the card with a number.
func (n *network) index(number string) (int, bool) {
	f := n.people.fleet
	digits, ok := strings.CutPrefix(number, f.plan.Operators[n.operator].Prefix)
	if !ok || len(digits) != 7 {
		return 0, false
	}
	place := 0
	for _, digit := range []byte(digits) {
		if digit < '0' || digit > '9' {
			return 0, false
		}
		place = 10*place + int(digit-'0')
	}
	i := (place-firstNumber)*len(f.plan.Operators) + n.operator
	return i, place >= firstNumber && i < f.plan.Cards
}

// Has implements emulator.Lines.
func (n *network) Has(number string) bool {
	_, ok := n.index(number)
	return ok
}

// Line implements emulator.Lines: it makes the telephone if it is cold.
func (n *network) Line(number string) *emulator.Line {
	i, ok := n.index(number)
	if !ok {
		return nil
	}
	for {
		t := n.people.take(n, i)
		if t == nil {
			return nil
		}
		fresh := false
		t.made.Do(func() { t.make(); fresh = true })
		if t.failed != nil {
			if !errors.Is(t.failed, errEnded) {
				n.people.log.Warn("fleet: no telephone", "card", i, "err", t.failed)
			}
			n.people.drop(t)
			return nil
		}
		if fresh || t.certified() || !n.people.drop(t) {
			return &t.line
		}
	}
}

// Release implements emulator.Lines.
func (n *network) Release(l *emulator.Line) {
	i, ok := n.index(l.MSISDN.Digits())
	if !ok {
		return
	}
	p := n.people
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return
	}
	if t := p.run.warm[i]; t != nil && &t.line == l { // else it is of another run
		t.users--
	}
}

// take finds a telephone, which may not be made yet, and keeps it until it is
// released; nil: nobody is there.
func (p *crowd) take(n *network, i int) *telephone {
	now := time.Now()
	p.mu.Lock()
	r := p.run
	if r == nil {
		p.mu.Unlock()
		return nil
	}
	t := r.warm[i]
	if t == nil {
		t = &telephone{network: n, run: r, index: i}
		r.warm[i] = t
		r.toFront(t)
	} else if r.newest != t {
		r.unlink(t)
		r.toFront(t)
	}
	t.users++
	t.used = now
	old := r.tooMany(p.most, now)
	p.mu.Unlock()
	for _, t := range old {
		t.unmake()
		p.unmade.Add(1)
	}
	return t
}

// drop gives a telephone back and removes it, so that the next message makes it
// anew: one that could not be made, or whose card has another certificate by now.
// Where something is going on it stays, and reports false: the user still has it.
func (p *crowd) drop(t *telephone) bool {
	p.mu.Lock()
	r := p.run
	if t.failed == nil && (t.users > 1 || !t.idle(t.used)) {
		p.mu.Unlock()
		return false
	}
	t.users--
	if r != t.run || r.warm[t.index] != t { // somebody else has
		p.mu.Unlock()
		return true
	}
	delete(r.warm, t.index)
	r.unlink(t)
	p.mu.Unlock()
	t.unmake()
	return true
}

// mostLooks is how many telephones are looked at each time: a few are busy, and
// more than one goes where there were too many busy ones before.
const mostLooks = 8

// tooMany takes away the telephones that were not used for longest, as far as
// there are too many and they are idle. A busy one is looked at again later.
func (r *run) tooMany(most int, now time.Time) (old []*telephone) {
	for range mostLooks {
		if len(r.warm) <= most {
			break
		}
		t := r.oldest
		r.unlink(t)
		if t.users > 0 || !t.idle(now) {
			r.toFront(t)
			continue
		}
		delete(r.warm, t.index)
		old = append(old, t)
	}
	return old
}

func (r *run) toFront(t *telephone) {
	t.older, t.newer = r.newest, nil
	if r.newest != nil {
		r.newest.newer = t
	} else {
		r.oldest = t
	}
	r.newest = t
}

func (r *run) unlink(t *telephone) {
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		r.newest = t.older
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		r.oldest = t.newer
	}
	t.newer, t.older = nil, nil
}

// Warm is how many telephones are made at this moment.
func (p *crowd) Warm() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return 0
	}
	return len(p.run.warm)
}
