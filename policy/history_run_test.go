package policy

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what some clients of a world did to some employees, and saw.
type history struct {
	w         *world
	employees []Employee
	start     time.Time

	mu        sync.Mutex
	all       []porcupine.Operation
	uncertain []uncertain
	met       map[string]bool // the faults
	answers   [3]int          // admissions: allowed, blocked, unknown
}

// uncertain is a save whose caller was not told how it ended.
type uncertain struct {
	operations []porcupine.Operation
	trouble    *trouble
}

func (w *world) newHistory(employees int) *history {
	h := &history{w: w, start: time.Now(), met: make(map[string]bool)}
	for range employees {
		h.employees = append(h.employees, w.newcomer())
	}
	return h
}

func (h *history) now() int64 { return int64(time.Since(h.start)) }

func (h *history) meet(fault string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met[fault] = true
}

// client does some operations, one after another, until it is told to stop.
func (h *history) client(r *rand.Rand, operations int, pause time.Duration, stop <-chan struct{}) {
	for range operations {
		n, e := h.w.nodes[r.IntN(len(h.w.nodes))], h.employees[r.IntN(len(h.employees))]
		switch d := r.IntN(20); {
		case d < 14:
			h.admit(r, n, e)
		case d < 17:
			h.read(n, e)
		default:
			h.save(r, n, e)
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(r.Int64N(int64(pause) + 1))):
		}
	}
}

func (h *history) read(n *node, e Employee) {
	call := h.now()
	if set, err := n.Record.Get(context.Background(), e); err == nil {
		h.add(porcupine.Operation{ClientId: n.number, Call: call, Return: h.now(), Output: output{is: registerOf(set)},
			Input: input{employee: e, kind: "read", node: n.number}})
	}
}

func (h *history) add(o ...porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, o...)
}

// The faults on the way of an admission.
var admitFaults = []struct {
	name string
	make func(r *rand.Rand) *trouble
}{
	{"load delayed before its put", func(r *rand.Rand) *trouble { return &trouble{script: put, before: sleep(r, 5)} }},
	{"put again", func(r *rand.Rand) *trouble { return &trouble{script: put, again: upTo(r, 5)} }},
	{"put's answer lost", func(r *rand.Rand) *trouble { return &trouble{script: put, lose: true} }},
	{"look again", func(r *rand.Rand) *trouble { return &trouble{script: look, again: upTo(r, 3)} }},
	{"lease delayed", func(r *rand.Rand) *trouble { return &trouble{script: lease, before: sleep(r, 10)} }},
	{"lease again", func(r *rand.Rand) *trouble { return &trouble{script: lease, again: upTo(r, 50)} }},
	{"epoch not written down", func(*rand.Rand) *trouble { return &trouble{epoch: "fails"} }},
	{"epoch written down without an answer", func(*rand.Rand) *trouble { return &trouble{epoch: "lost"} }},
	{"giving up delayed", func(r *rand.Rand) *trouble { return &trouble{script: endSaves, before: sleep(r, 3)} }},
}

func sleep(r *rand.Rand, ms int) func() {
	d := upTo(r, ms)
	return func() { time.Sleep(d) }
}

func upTo(r *rand.Rand, ms int) time.Duration {
	return time.Microsecond * time.Duration(1+r.IntN(1000*ms))
}

func (h *history) admit(r *rand.Rand, n *node, e Employee) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond+upTo(r, 120))
	defer cancel()
	provider := r.IntN(len(providers))
	t, fault := &trouble{}, ""
	if r.IntN(2) == 0 {
		f := admitFaults[r.IntN(len(admitFaults))]
		t, fault = f.make(r), f.name
	}
	call := h.now()
	allowed, known := n.admit(withTrouble(ctx, t), e, providers[provider])
	end := h.now()
	if t.met.Load() {
		h.meet(fault)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !known:
		h.answers[2]++
		return
	case allowed:
		h.answers[0]++
	default:
		h.answers[1]++
	}
	h.all = append(h.all, porcupine.Operation{ClientId: n.number, Call: call, Return: end, Output: output{allowed: allowed},
		Input: input{employee: e, kind: "admit", provider: provider, node: n.number}})
}

func someChange(r *rand.Rand) bits {
	bit := uint8(1) << r.IntN(named)
	switch r.IntN(10) {
	case 0:
		return bits{set: everything}
	case 1:
		return bits{clear: everything}
	case 2:
		return bits{set: everything &^ bit, clear: bit}
	case 3:
		return bits{set: bit, clear: everything &^ bit}
	case 4, 5, 6:
		return bits{clear: bit}
	}
	return bits{set: bit}
}

// attempt is a save as a test makes it.
type attempt struct {
	trouble
	history   *history
	node      *node
	employee  Employee
	cancelled time.Duration                   // when the caller goes away, if it does
	check     func(ctx context.Context) error // in the transaction
	also      error
	dead      bool // its node stopped
}

var errRefused = errors.New("the test refuses this")

// The faults of a save.
var saveFaults = []struct {
	name string
	make func(r *rand.Rand, a *attempt)
}{
	{"node stopped before a commit", func(r *rand.Rand, a *attempt) {
		a.script, a.drop, a.dead = endSaves, true, true
		a.check = func(context.Context) error { return errGone }
	}},
	{"node stopped after a commit", func(r *rand.Rand, a *attempt) {
		a.script, a.drop, a.dead = endSaves, true, true
	}},
	{"begin's answer lost", func(r *rand.Rand, a *attempt) { a.script, a.lose = beginSave, true }},
	{"end's answer lost", func(r *rand.Rand, a *attempt) { a.script, a.lose = endSaves, true }},
	{"begin again", func(r *rand.Rand, a *attempt) { a.script, a.again = beginSave, upTo(r, 8) }},
	{"end again", func(r *rand.Rand, a *attempt) { a.script, a.again = endSaves, upTo(r, 8) }},
	{"end delayed", func(r *rand.Rand, a *attempt) { a.script, a.before = endSaves, a.seen(r) }},
	{"commit failed without an answer", func(r *rand.Rand, a *attempt) { a.commit = "fails" }},
	{"commit's answer lost", func(r *rand.Rand, a *attempt) { a.commit = "lost" }},
	{"slow transaction", func(r *rand.Rand, a *attempt) {
		a.check = func(context.Context) error { time.Sleep(upTo(r, 3)); return nil }
	}},
	{"slow save given up", func(r *rand.Rand, a *attempt) { a.slowUntilGivenUp(r) }},
	{"caller gone", func(r *rand.Rand, a *attempt) { a.cancelled = upTo(r, 4) }},
	{"refused in the transaction", func(r *rand.Rand, a *attempt) { a.also = errRefused }},
}

// slowUntilGivenUp has the time of a save run out between its begin and its
// commit, so that others give it up.
func (a *attempt) slowUntilGivenUp(r *rand.Rand) {
	a.script, a.before = endSaves, a.seen(r)
	look := a.seen(r)
	a.begun = func() {
		a.outlive(context.Background(), a.node.Redis)
		look()
	}
}

// seen has somebody look, on another node, while the save stands still.
func (a *attempt) seen(r *rand.Rand) func() {
	wait, reads := upTo(r, 3), r.IntN(2) == 0
	return func() {
		n := a.history.w.other(r, a.node)
		if reads {
			a.history.read(n, a.employee)
		}
		a.history.admit(r, n, a.employee)
		time.Sleep(wait)
	}
}

// other is a node but this.
func (w *world) other(r *rand.Rand, n *node) *node {
	return w.nodes[(n.number+1+r.IntN(len(w.nodes)-1))%len(w.nodes)]
}

func (h *history) save(r *rand.Rand, n *node, e Employee) {
	a, fault := &attempt{history: h, node: n, employee: e}, ""
	if r.IntN(2) > 0 {
		f := saveFaults[r.IntN(len(saveFaults))]
		f.make(r, a)
		fault = f.name
	}
	employees := []Employee{e}
	if other := h.employees[r.IntN(len(h.employees))]; other != e {
		employees = append(employees, other)
	}
	c := someChange(r)
	call := h.now()
	sets, err := n.try(a, employees, c)
	end := h.now()
	if fault != "" && (a.script == nil || a.met.Load()) && (a.cancelled == 0 || err != nil) {
		h.meet(fault)
	}
	h.note(n, a, porcupine.Operation{ClientId: n.number, Call: call, Return: end}, employees, c, sets, err)
	if a.dead && r.IntN(5) > 0 {
		time.Sleep(upTo(r, 2))
		a.outlive(context.Background(), n.Redis)
		h.meet("dead save outlived")
	}
	if r.IntN(2) == 0 {
		h.admit(r, h.w.other(r, n), e)
	}
}

// try makes a save.
func (n *node) try(a *attempt, employees []Employee, c bits) ([]Set, error) {
	ctx := withTrouble(context.Background(), &a.trouble)
	if a.cancelled > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.cancelled)
		defer cancel()
	}
	s := Save{Employees: employees, Change: func(_ Employee, before Set) (Set, error) { return c.ofSet(before), nil }}
	if a.check != nil {
		s.Check = func(ctx context.Context, _ *sql.Tx) error { return a.check(ctx) }
	}
	if a.also != nil {
		s.Also = func(context.Context, *sql.Tx, []Changed) error { return a.also }
	}
	return n.Save(ctx, s)
}

// note writes a save into the history, of each employee a part. One that failed
// for certain changed nothing.
func (h *history) note(n *node, a *attempt, o porcupine.Operation, employees []Employee, c bits, sets []Set, err error) {
	if err != nil && !errors.Is(err, ErrUnavailable) {
		return
	}
	var parts []porcupine.Operation
	for i, e := range employees {
		o.Input = input{employee: e, kind: "save", change: c, node: n.number}
		o.Output = output{}
		if err == nil {
			o.Output = output{answered: true, is: registerOf(sets[i])}
		}
		parts = append(parts, o)
	}
	if err == nil {
		h.add(parts...)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uncertain = append(h.uncertain, uncertain{parts, &a.trouble})
}

// settle ends a history: what is uncertain is looked up in the record, and what
// the record says in the end is the last operation.
func (h *history) settle() {
	n := h.w.nodes[0]
	for _, u := range h.uncertain {
		onRecord, err := false, error(nil)
		if u.trouble.token != "" { // else it did not even begin
			onRecord, err = n.Record.giveUp(context.Background(), u.trouble.token)
		}
		end := h.now()
		if err != nil {
			end = never
		}
		for _, o := range u.operations {
			o.Return = end
			if onRecord || err != nil {
				h.all = append(h.all, o)
			}
		}
	}
	for _, e := range h.employees {
		h.read(n, e)
	}
	if h.savesRaced() {
		h.met["saves of one set on two nodes at once"] = true
	}
}

func (h *history) savesRaced() bool {
	for i, a := range h.all {
		for _, b := range h.all[:i] {
			x, y := a.Input.(input), b.Input.(input)
			if x.kind == "save" && y.kind == "save" && x.employee == y.employee && x.node != y.node && a.Call < b.Return && b.Call < a.Return {
				return true
			}
		}
	}
	return false
}
