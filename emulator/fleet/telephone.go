package fleet

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"imza/emulator"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/toolkit"
)

// telephone is a handset with a card of the fleet, and the person who holds it.
type telephone struct {
	network *network
	run     *run
	index   int

	made    sync.Once
	failed  error
	line    emulator.Line
	handset emulator.Handset
	card    *emulator.SIM
	mark    slotMark // of the certificate that the card was made with
	sort    Sort
	actor   emulator.Actor

	power    sync.Mutex  // over switching the handset on and off; not for its sessions to take
	changing atomic.Bool // the card is to go to another handset

	// Under crowd.mu.
	users        int // of the line
	used         time.Time
	newer, older *telephone
}

// make makes card, handset and person.
func (t *telephone) make() {
	f := t.network.people.fleet
	w := f.who(t.index)
	t.line = emulator.Line{MSISDN: f.msisdn(t.index), Operator: f.plan.Operators[t.network.operator].Name}
	t.sort = sortOf(t.network.people.sorts, t.run.seed, t.line.MSISDN.Digits())
	if t.sort.Does == Off {
		t.line.Off = true // for good: it needs no card
		return
	}
	if t.sort.Does == Away {
		t.line.Off, t.line.Back = true, t.sort.Back
	}
	profile, err := t.profile(&w)
	if err != nil {
		t.failed = err
		return
	}
	t.actor = t.sort.actor(profile.PIN1.Digits, profile.PIN2.Digits)
	if t.sort.Think.Median > 0 {
		t.actor.Think = t.think
	}
	if t.card, t.failed = emulator.NewSIM(profile, t.remember); t.failed != nil {
		return
	}
	t.handset.Person, t.handset.Log = t, t.network.people.log
	t.handset.Insert(t.card)
	t.line.Handset = &t.handset
	if t.network.connect != nil {
		t.network.connect(&t.line)
	}
	if t.failed = t.handset.SwitchOn(t.run.ctx); t.failed == nil {
		t.network.people.made.Add(1)
	}
}

// profile is what the card remembers.
func (t *telephone) profile(w *who) (*emulator.Profile, error) {
	f := t.network.people.fleet
	id := iccid(t.index)
	keys, err := ota.DeriveKeys(f.masterKey, string(id))
	if err != nil {
		return nil, err
	}
	private, err := f.private(t.index, firstKey)
	if err != nil {
		return nil, err
	}
	certificate, mark, err := f.certificates.get(t.index)
	if err != nil {
		return nil, err
	}
	t.mark = mark
	p := emulator.NewProfile(id, keys, w.digits("pin 1", 4), w.digits("pin 2", 5), w.digits("puk", 8))
	p.FullOnly = w.old
	m := &t.run.memories[t.index]
	p.Counter, p.Reference = m.counter, m.reference
	p.PIN1.Tries -= int(m.pin1)
	p.PIN2.Tries -= int(m.pin2)
	p.PUK.Tries -= int(m.puk)
	if t.sort.Does == Blocked {
		p.PIN2.Tries = 0
	}
	return p, p.LendKey(firstKey, applet.Sign, private, certificate)
}

// remember keeps what the card has to remember: it is the card's save.
func (t *telephone) remember(p *emulator.Profile) error {
	m := &t.run.memories[t.index]
	m.counter, m.reference = p.Counter, p.Reference
	fresh := emulator.NewPIN("").Tries
	m.pin1, m.pin2, m.puk = byte(fresh-p.PIN1.Tries), byte(fresh-p.PIN2.Tries), byte(emulator.NewPUK("").Tries-p.PUK.Tries)
	return nil
}

// certified reports whether the card's certificate is still the one in its slot.
func (t *telephone) certified() bool {
	mark, err := t.network.people.fleet.certificates.mark(t.index)
	return err != nil || mark == t.mark || t.card == nil
}

// halfReceived is how long a card is kept for the rest of a message: longer than
// a network takes. Its loss would do no harm after that.
const halfReceived = time.Minute

// idle reports whether nothing would be lost with the telephone.
func (t *telephone) idle(now time.Time) bool {
	if t.card == nil {
		return true
	}
	return !t.changing.Load() && t.handset.Idle() && t.card.Idle() && (!t.card.Receiving() || now.Sub(t.used) > halfReceived)
}

// unmake ends whatever goes on.
func (t *telephone) unmake() {
	t.made.Do(func() { t.failed = errEnded }) // it may be in the making
	t.power.Lock()
	defer t.power.Unlock()
	if t.card != nil {
		t.handset.SwitchOff()
	}
}

var errEnded = errors.New("the run has ended")

// sortOf is the sort of people that somebody is of.
func sortOf(sorts []Sort, seed uint64, number string) Sort {
	u := emulator.Chance(seed, "person", number)
	for _, s := range sorts {
		if u < s.Share {
			return s
		}
		u -= s.Share
	}
	return Sort{Does: Signs}
}

// looksAwayFor is how long a handset shows a prompt to somebody who does not
// look, if the scenario says nothing else.
const looksAwayFor = 30 * time.Second

// actor is who replies to prompts.
func (s *Sort) actor(pin1, pin2 string) emulator.Actor {
	a := emulator.Actor{PIN1: pin1, PIN2: pin2, Behaviour: emulator.Signs}
	switch s.Does {
	case Cancels:
		a.Behaviour = emulator.Cancels
	case WrongOnce:
		a.Behaviour = emulator.WrongOnce
	case WrongAlways:
		a.Behaviour = emulator.WrongAlways
	case Absent:
		a.Behaviour, a.GivesUp = emulator.Absent, s.Think.Median
		if a.GivesUp == 0 {
			a.GivesUp = looksAwayFor
		}
	}
	return a
}

// think is what passes before the person replies to a prompt: by the seed, the
// number, and which prompt of the run it is.
func (t *telephone) think(ctx context.Context) {
	m := &t.run.memories[t.index]
	m.prompts++
	pause(ctx, t.sort.Think.At(emulator.Normal(t.run.seed, "think", t.line.MSISDN.Digits(), uint64(m.prompts))))
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Prompt implements emulator.Person.
func (t *telephone) Prompt(ctx context.Context, p emulator.Prompt) emulator.Reply {
	m := &t.run.memories[t.index]
	if t.sort.Does != ChangesTelephone || m.changedTelephone {
		return t.actor.Prompt(ctx, p)
	}
	m.changedTelephone = true
	if t.actor.Think != nil {
		t.actor.Think(ctx)
	}
	t.changing.Store(true)
	go t.change()
	<-ctx.Done() // the telephone is switched off over this prompt
	return emulator.Reply{Result: toolkit.NoUserResponse}
}

// Note implements emulator.Person.
func (*telephone) Note(string) {}

// change puts the card into another handset, which is one that knows nothing of
// what the card wanted before.
func (t *telephone) change() {
	defer t.changing.Store(false)
	t.power.Lock()
	defer t.power.Unlock()
	t.handset.SwitchOff()
	t.card.Reset()
	if t.run.ctx.Err() != nil {
		return
	}
	if err := t.handset.SwitchOn(t.run.ctx); err != nil {
		t.network.people.log.Warn("fleet: a telephone stays off", "card", t.index, "err", err)
	}
}
