package load

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"
)

// plan is who asks whom in which request. It is known from the seed and the
// number of the request, so that a second run with the same seed asks the same.
type plan struct {
	phases  []Phase
	begin   []time.Duration // of each
	span    time.Duration   // of all
	flips   int             // the phase of flips; -1: there is none
	order   permutation     // of the subscribers
	turning int             // so many of them, in that order, are asked in turn
	blocked []pair          // whom policy refuses
	refused map[int]int     // which provider may not ask, by subscriber: the same, to look up
	flipped []pair          // whose blocks are flipped; nobody else asks them
}

// pair is a subscriber of an organisation, and a provider.
type pair struct {
	subscriber int
	who        Subscriber
	wanted     Wanted
	provider   int
}

// Shares of the subscribers, and at most how many, of whom something is said.
const (
	mostBlocked = 1000
	mostFlipped = 2000
)

// makePlan draws it.
func (g *Generator) makePlan() (*plan, error) {
	p := &plan{phases: g.Phases, flips: -1, order: newPermutation(g.Seed, g.Cards), turning: g.Cards, refused: make(map[int]int)}
	for _, phase := range p.phases {
		p.begin = append(p.begin, p.span)
		p.span += phase.Duration
	}
	if g.Flips > 0 {
		p.flips = len(p.phases)
		p.phases = append(p.phases[:len(p.phases):len(p.phases)], Phase{Name: "flips", From: g.Flips, To: g.Flips, Duration: p.span, Aside: true})
		p.begin = append(p.begin, 0)
		p.flipped = g.takePairs(p, min(mostFlipped, g.Cards/10, int(math.Ceil(g.Flips*flipLasts.Seconds()))))
		if len(p.flipped) == 0 {
			return nil, errors.New("blocks cannot be flipped: there are too few subscribers of organisations")
		}
	}
	if g.Refused > 0 {
		left := p.turning
		p.blocked = g.takePairs(p, min(mostBlocked, max(1, g.Cards/10)))
		if len(p.blocked) == 0 {
			return nil, errors.New("nobody can be refused by policy: there are too few subscribers of organisations")
		}
		for _, b := range p.blocked {
			p.refused[b.subscriber] = b.provider
		}
		if len(g.Providers) > 1 {
			p.turning = left // another provider may ask them, and must be let
		}
	}
	if p.turning < 1 {
		return nil, fmt.Errorf("%d subscribers are too few", g.Cards)
	}
	return p, nil
}

// takePairs takes subscribers of organisations from the end of the order, but at
// most half of it: with those whom it passes over, who are not of one, they are not
// asked in turn.
func (g *Generator) takePairs(p *plan, most int) (all []pair) {
	for least := max(1, p.turning/2); len(all) < most && p.turning > least; {
		p.turning--
		i := p.order.at(p.turning)
		who := g.Subscriber(i)
		for _, w := range who.Certificates {
			if w.VOEN != "" {
				all = append(all, pair{i, who, w, below(draw(g.Seed, drawProvider, uint64(i)), len(g.Providers))})
				break
			}
		}
	}
	return all
}

// next is the next request, which is due then. It is called by whoever asks, in
// the order in which requests are due.
func (g *Generator) next(phase int, due time.Duration) *asked {
	k := g.numbered.Add(1) - 1
	g.account.open()
	a := &asked{Request: newRequest(k, phase, due)}
	p := g.plan
	if len(p.blocked) > 0 && !p.phases[phase].Aside && chance(draw(g.Seed, drawRefused, k), g.Refused) {
		a.of(p.blocked[below(draw(g.Seed, drawBlocked, k), len(p.blocked))])
		a.Expect = ExpectRefuse
		return a
	}
	i := p.order.at(int(k % uint64(p.turning)))
	who := g.Subscriber(i)
	provider := below(draw(g.Seed, drawProvider, k), len(g.Providers))
	if forbidden, ok := p.refused[i]; ok && provider == forbidden {
		provider = (provider + 1) % len(g.Providers)
	}
	a.of(pair{i, who, who.Certificates[below(draw(g.Seed, drawCertificate, k), len(who.Certificates))], provider})
	return a
}

// newRequest is a request of which nothing is known but when it is due.
func newRequest(index uint64, phase int, due time.Duration) Request {
	return Request{Index: uint32(index), Phase: uint8(phase), Due: due.Truncate(time.Microsecond),
		Sent: Never, Accepted: Never, Pushed: Never, Answered: Never, Verified: Never, Released: Never}
}

func (a *asked) of(p pair) {
	a.Subscriber, a.Provider, a.Certificate = uint32(p.subscriber), uint8(p.provider), p.wanted.Type
	a.who, a.wanted = p.who, p.wanted
}

// Limits of a test.
const (
	maxProviders = 255
	maxPhases    = 250 // a record has an octet for it
	minTimeout   = time.Second
	// MaxTimeout is how long a request may last at most.
	MaxTimeout = 10 * time.Minute
	// MaxFlips is how many blocks may be flipped a second.
	MaxFlips = 100
)

// plainText is what a request may have in it without an escape.
var plainText = regexp.MustCompile(`^[ !#-\[\]-~]{1,100}$`)

// check tells what is wrong with the fields.
func (g *Generator) check() error {
	switch {
	case len(g.Providers) == 0 || len(g.Providers) > maxProviders:
		return fmt.Errorf("%d providers; 1 to %d are possible", len(g.Providers), maxProviders)
	case g.Cards < 1:
		return errors.New("nobody is enrolled")
	case len(g.Phases) == 0 || len(g.Phases) > maxPhases:
		return fmt.Errorf("%d phases; 1 to %d are possible", len(g.Phases), maxPhases)
	case g.Timeout < minTimeout || g.Timeout > MaxTimeout || g.Timeout%time.Second != 0:
		return fmt.Errorf("a timeout of %s; whole seconds from %s to %s are possible", g.Timeout, minTimeout, MaxTimeout)
	case !plainText.MatchString(g.Text):
		return errors.New("the text is to be of 1 to 100 ASCII characters, without quotes and backslashes")
	case !(g.Refused >= 0 && g.Refused < 1):
		return fmt.Errorf("a share of %v that is refused; less than 1 is possible", g.Refused)
	case !(g.Flips >= 0 && g.Flips <= MaxFlips):
		return fmt.Errorf("%v flips a second; up to %d are possible", g.Flips, MaxFlips)
	case (g.Refused > 0 || g.Flips > 0) && g.AdminKey == "":
		return errors.New("blocks want an administrator's key")
	case g.VerifyEvery < 0:
		return errors.New("one in so many that are verified is less than nothing")
	case len(g.Restarts) > 0 && g.Emulator == "":
		return errors.New("who restarts an operator is the emulator, and none is named")
	}
	var span time.Duration
	for i := range g.Phases {
		if err := g.Phases[i].Check(); err != nil {
			return err
		}
		span += g.Phases[i].Duration
	}
	for _, r := range g.Restarts {
		if r.After >= span {
			return fmt.Errorf("operator %s is to be restarted after %s, when the run is over", r.Operator, r.After)
		}
	}
	if span > maxDuration {
		return fmt.Errorf("all phases last %s; up to a week is possible", span)
	}
	return nil
}

// crowded says that subscribers are so few that some will be asked who are still
// busy; empty: they are not.
func (g *Generator) crowded() string {
	rate := 0.0
	for _, phase := range g.plan.phases {
		if phase.Callers == 0 && !phase.Aside {
			rate = max(rate, phase.From, phase.To)
		}
		if phase.Callers > g.plan.turning {
			return fmt.Sprintf("%d callers share %d subscribers: some will be asked while they are busy", phase.Callers, g.plan.turning)
		}
	}
	if round := seconds(float64(g.plan.turning) / max(rate, 1e-9)); round < g.Timeout {
		return fmt.Sprintf("%d subscribers are all asked within %s: who has not answered by then (a request lasts up to %s) will be asked while busy",
			g.plan.turning, round.Round(time.Millisecond), g.Timeout)
	}
	return ""
}
