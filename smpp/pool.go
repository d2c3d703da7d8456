package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Pool is one operator: some binds to its SMSC that are kept up, and used as if
// they were one. Run keeps them up; Submit sends. It is a prometheus.Collector.
type Pool struct {
	Name    string      // of the operator, in logs and metrics
	Addr    string      // host:port
	Bind    BindRequest // system_id, password, …
	Binds   int         // how many; 1
	Pair    bool        // each a transmitter and a receiver, in place of a transceiver
	Rate    float64     // submit_sm a second that were agreed, over all binds; 0 is without limit
	TLS     *tls.Config // nil for none; ServerName is Addr's host if it has none
	IDs     IDs         // how the operator writes message ids
	Options Options     // of each bind; Handler and Log are the pool's
	// Handler takes what the operator delivers, as a session's does; it says when
	// a message is stored, and may refuse it.
	Handler func(ctx context.Context, p *Pool, m *ShortMessage) Status
	// Dial opens a connection; the default is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	Log  *slog.Logger

	once    sync.Once
	links   []*link
	pace    *pace
	descs   *descs
	waiting atomic.Int64
	retries atomic.Uint64
	turn    atomic.Uint64 // of the links

	mu      sync.Mutex
	changed chan struct{} // closed when a bind comes or goes
}

// init makes the links. It is done once, by whoever is first.
func (p *Pool) init() {
	p.once.Do(func() {
		if p.Log == nil {
			p.Log = slog.New(slog.DiscardHandler)
		}
		p.pace, p.descs, p.changed = newPace(p.Rate), newDescs(p.Name), make(chan struct{})
		roles := []Command{BindTransceiver}
		if p.Pair {
			roles = []Command{BindTransmitter, BindReceiver}
		}
		for range max(p.Binds, 1) {
			for _, role := range roles {
				n := len(p.links) + 1
				name := strconv.Itoa(n)
				p.links = append(p.links, &link{
					pool: p, name: name, role: role, stats: &stats{seconds: newSeconds(p.Name, n)},
					log: p.Log.With("operator", p.Name, "bind", name),
				})
			}
		}
	})
}

// Run keeps the binds up until the context ends, then unbinds.
func (p *Pool) Run(ctx context.Context) {
	p.init()
	var running sync.WaitGroup
	for _, l := range p.links {
		running.Go(func() { l.run(ctx) })
	}
	running.Wait()
}

// announce wakes those who wait for a bind.
func (p *Pool) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Bound reports whether messages can be submitted and received now.
func (p *Pool) Bound() bool {
	p.init()
	var transmits, receives bool
	for _, l := range p.links {
		if s := l.session.Load(); s != nil {
			transmits, receives = transmits || s.Transmits(), receives || s.Receives()
		}
	}
	return transmits && receives
}

// choose returns the bind with the least to do, and waits until there is one.
func (p *Pool) choose(ctx context.Context) (*link, *Session, error) {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		var best *link
		var session *Session
		least := 0
		first := int(p.turn.Add(1) % uint64(len(p.links))) // those that have nothing to do share as well
		for i := range p.links {
			l := p.links[(first+i)%len(p.links)]
			s := l.session.Load()
			if s == nil || !s.Transmits() {
				continue
			}
			load, ok := s.load()
			if ok && (best == nil || load < least) {
				best, session, least = l, s, load
			}
		}
		if best != nil {
			return best, session, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// load is how much a session has to do, for comparison with others; ok is false
// if it takes no more.
func (s *Session) load() (load int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	load = s.window.used + len(s.window.waiting)
	// One that has left a message unanswered comes after all others, but is tried
	// again after a while.
	const mistrust = time.Minute
	if s.probe != nil || !s.missedAt.IsZero() && time.Since(s.missedAt) < mistrust {
		load += 1 << 20
	}
	return load, !s.window.closed && !s.leaving
}

// Submit sends the messages, segments of one message, over one bind, and
// returns the SMSC's id of each. It waits for a bind, for room in its window
// and for the agreed rate as long as the context allows; turn is asked when the
// wait is over, just before anything is sent, and its error ends it.
//
// What a busy SMSC turns away is sent again over the same bind. A bind that
// dies or does not answer means that all of it is sent again, over another if
// there is one: the far side must bear a segment that comes twice. Any other
// refusal is a Status.
func (p *Pool) Submit(ctx context.Context, turn func() error, messages ...*ShortMessage) ([]string, error) {
	p.init()
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	var o outgoing
	for attempt := 0; ; attempt++ {
		if err := p.pace.wait(ctx); err != nil { // first, since binds change meanwhile
			return nil, err
		}
		if !o.stays() {
			l, s, err := p.choose(ctx)
			if err != nil {
				return nil, err
			}
			o = outgoing{messages: messages, link: l, session: s, ids: make([]string, len(messages)), accepted: make([]bool, len(messages))}
		}
		err := p.over(ctx, &o, turn)
		switch {
		case err == nil:
			return o.ids, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errElsewhere):
			attempt-- // nothing was sent
			continue
		case !p.again(&o, err):
			return nil, err
		}
		if pause(ctx, backoff(attempt)); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// outgoing is one message on its way over one bind.
type outgoing struct {
	messages []*ShortMessage
	link     *link
	session  *Session
	ids      []string // of the segments that were accepted
	accepted []bool
	busy     bool // the SMSC was too busy for the others
}

// stays reports whether the rest is to go where the segments before went.
func (o *outgoing) stays() bool { return o.busy && o.session.ctx.Err() == nil }

// again reports whether a message that came to nothing is to be sent again.
func (p *Pool) again(o *outgoing, err error) bool {
	var status Status
	o.busy = false
	switch {
	case !errors.As(err, &status):
		if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnanswered) {
			return false
		}
	case status.busy():
		o.busy = true
		if p.pace.throttled(time.Now()) {
			o.link.log.Warn("smpp: the operator is busy", "status", status, "rate", p.pace.rate())
		}
	case status == StatusNotBound: // the SMSC has forgotten the bind
		o.session.end(err)
	default:
		return false
	}
	p.retries.Add(1)
	return true
}

// busy tells "not now" from a refusal.
func (s Status) busy() bool { return s == StatusThrottled || s == StatusQueueFull }

// over sends all segments that were not accepted before it waits for the first
// response. Each gives its room in the window back with its response, so that a
// message of more segments than the window passes through it.
func (p *Pool) over(ctx context.Context, o *outgoing, turn func() error) (failed error) {
	sent := make([]*call, len(o.messages))
	first := true
	for i, m := range o.messages {
		if o.accepted[i] {
			continue
		}
		if !first { // which has waited for the pace already
			failed = p.pace.wait(ctx)
		}
		if failed == nil {
			sent[i], failed = o.session.inTurn(ctx, turn, m)
		}
		if failed != nil {
			break
		}
		first, turn = false, nil // asked once, before the first
	}
	if errors.Is(failed, errElsewhere) && !first {
		failed = ErrUnanswered // of what was sent before
	}
	for i, c := range sent {
		if c == nil {
			continue
		}
		id, err := o.session.await(ctx, c)
		o.link.stats.submitted(err)
		if err == nil {
			o.ids[i], o.accepted[i] = p.IDs.submitted(id), true
			p.pace.well(time.Now())
		} else if failed == nil || !errors.As(failed, new(Status)) {
			failed = err // a refusal tells more than that the bind has died since
		}
	}
	return failed
}

// inTurn puts a message on its way once there is room and turn agrees.
func (s *Session) inTurn(ctx context.Context, turn func() error, m *ShortMessage) (*call, error) {
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	if turn != nil {
		if err := turn(); err != nil {
			s.release()
			return nil, err
		}
	}
	return s.begin(SubmitSM, m)
}
