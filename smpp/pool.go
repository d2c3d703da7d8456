package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
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
	queued  atomic.Int64  // those who wait for a place
	head    chan struct{} // held by the first of them
	room    chan struct{} // takes a value when there may be one
	first   chan struct{} // held by the link that binds while no other is bound

	mu      sync.Mutex
	changed chan struct{} // closed when a bind comes or goes
	refused time.Time     // until when no link tries, since a bind was refused
}

// init makes the links. It is done once, by whoever is first.
func (p *Pool) init() {
	p.once.Do(func() {
		if p.Log == nil {
			p.Log = slog.New(slog.DiscardHandler)
		}
		p.pace, p.descs, p.changed = newPace(p.Rate), newDescs(p.Name), make(chan struct{})
		p.head, p.room, p.first = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
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

// place takes a place in the window of the bind that has the least to do, or of
// the one that is preferred if that has room. It waits until there is a bind and
// room; only the first of those who wait looks, so that all have their turn.
func (p *Pool) place(ctx context.Context, prefer *Session) (l *link, s *Session, err error) {
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if p.queued.Load() == 0 {
		if l, s = p.take(prefer); l != nil {
			return l, s, nil
		}
	}
	p.queued.Add(1)
	defer p.queued.Add(-1)
	select {
	case p.head <- struct{}{}:
		defer func() { <-p.head }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if l, s = p.take(prefer); l != nil {
			return l, s, nil
		}
		select {
		case <-p.room:
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// hasRoom tells the first of those who wait for a place that there may be one.
func (p *Pool) hasRoom() {
	if p.queued.Load() == 0 {
		return
	}
	select {
	case p.room <- struct{}{}:
	default: // it is told already
	}
}

// take takes a place if there is one now. A bind that has left a message
// unanswered counts only if there is no other, with room or without.
func (p *Pool) take(prefer *Session) (*link, *Session) {
	first := int(p.turn.Add(1) % uint64(len(p.links))) // those that have nothing to do share as well
	for {
		var best *link
		var session *Session
		least, trusted := 0, false
		for i := range p.links {
			l := p.links[(first+i)%len(p.links)]
			s := l.session.Load()
			if s == nil || !s.Transmits() {
				continue
			}
			o := s.offer()
			if o.trusted && !trusted {
				best, trusted = nil, true
			}
			if s == prefer {
				o.load = -1
			}
			if o.room && o.trusted == trusted && (best == nil || o.load < least) {
				best, session, least = l, s, o.load
			}
		}
		if best == nil || session.tryAcquire() {
			return best, session
		}
	}
}

// Submit sends the messages, segments of one message, over one bind, and
// returns the SMSC's id of each. It waits for a bind, for room in its window
// and for the agreed rate as long as the context allows; turn is asked when the
// wait is over, just before anything is sent, and its error ends it.
//
// What a busy SMSC turns away is sent again, and so is what a bind left
// unanswered that died or is silent, over another if there is one: the far side
// must bear a segment that comes twice. Any other refusal is a Status.
func (p *Pool) Submit(ctx context.Context, turn func() error, messages ...*ShortMessage) (ids []string, err error) {
	ids, _, err = p.Send(ctx, turn, messages...)
	return ids, err
}

// Send is Submit, and tells whether a segment may have been taken before, with
// the id unknown: what then becomes of the message with the id, or a refusal,
// does not say that it did not get through.
func (p *Pool) Send(ctx context.Context, turn func() error, messages ...*ShortMessage) (ids []string, twice bool, err error) {
	p.init()
	for _, m := range messages {
		if err := m.check(); err != nil {
			return nil, false, err
		}
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	o := outgoing{messages: messages, ids: make([]string, len(messages)), accepted: make([]bool, len(messages))}
	for attempt := 0; ; attempt++ {
		var err error
		if o.link, o.session, err = p.place(ctx, o.begunOn()); err != nil {
			return nil, o.twice, err
		}
		err = p.over(ctx, &o, turn)
		switch {
		case err == nil:
			return o.ids, o.twice, nil
		case ctx.Err() != nil:
			return nil, o.twice, ctx.Err()
		case !p.again(&o, err):
			return nil, o.twice, err
		}
		if pause(ctx, backoff(attempt)); ctx.Err() != nil {
			return nil, o.twice, ctx.Err()
		}
	}
}

// outgoing is one message on its way.
type outgoing struct {
	messages  []*ShortMessage
	link      *link
	session   *Session // a place in its window is ours; later, the one before
	ids       []string // of the segments that were accepted
	accepted  []bool
	forgotten bool // an SMSC said that the bind was none
	twice     bool // a segment was left unanswered, and may have been taken
}

// begunOn is the session that has accepted a part of the message, if any.
func (o *outgoing) begunOn() *Session {
	if slices.Contains(o.accepted, true) {
		return o.session
	}
	return nil
}

// again reports whether what is left of a message is to be sent again.
func (p *Pool) again(o *outgoing, err error) bool {
	var status Status
	switch {
	case !errors.As(err, &status):
		if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnanswered) {
			return false
		}
	case status.busy():
		if p.pace.throttled(time.Now(), status) {
			o.link.log.Warn("smpp: the operator is busy", "status", status, "rate", p.pace.rate())
		}
	case status == StatusNotBound && !o.forgotten: // a new bind may help; if not, it is this message
		o.forgotten = true
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
		if first {
			sent[i], failed = p.sendFirst(ctx, o.session, turn, m)
		} else {
			sent[i], failed = p.sendNext(ctx, o.session, m)
		}
		if failed != nil {
			break
		}
		first = false
	}
	for i, c := range sent {
		if c == nil {
			continue
		}
		id, err := o.session.await(ctx, c)
		if err == nil {
			o.ids[i], o.accepted[i] = p.IDs.submitted(id), true
			p.pace.well(time.Now())
			continue
		}
		o.twice = o.twice || errors.Is(err, ErrUnanswered)
		if failed == nil || !errors.As(failed, new(Status)) {
			failed = err // a refusal tells more than that the bind has died since
		}
	}
	return failed
}

// sendFirst sends what a place was taken for, once the rate and turn agree.
func (p *Pool) sendFirst(ctx context.Context, s *Session, turn func() error, m *ShortMessage) (*call, error) {
	err := p.pace.wait(ctx)
	if err == nil && turn != nil {
		err = turn()
	}
	if err != nil {
		s.release()
		return nil, err
	}
	return s.begin(SubmitSM, m)
}

// sendNext sends a further segment. It goes before all messages that have not
// begun, since half a message is of no use to anybody.
func (p *Pool) sendNext(ctx context.Context, s *Session, m *ShortMessage) (*call, error) {
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	if err := p.pace.next(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s.begin(SubmitSM, m)
}
