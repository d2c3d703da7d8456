package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// link is one bind of a pool that is kept up: it is dialled and bound, and both
// again whenever the session ends.
type link struct {
	pool  *Pool
	name  string // its number in the pool
	role  Command
	stats *stats
	log   *slog.Logger

	session atomic.Pointer[Session]
}

// Backoff between attempts to bind and to send again: from the first to the
// last, doubled each time, and each somewhere in the upper half of it.
const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 5 * time.Second
	// refusedBackoff is after a bind that was refused by name or password: who
	// tries those fast is locked out.
	refusedBackoff = 30 * time.Second
)

func backoff(attempt int) time.Duration {
	return min(firstBackoff<<min(attempt, 10), lastBackoff)
}

// pause waits for the upper half of d, at random, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// run keeps the bind up until the context ends, then unbinds.
func (l *link) run(ctx context.Context) {
	var ending sync.WaitGroup
	defer ending.Wait()
	said := "" // the last failure that was logged: each is told once
	for attempt := 0; ctx.Err() == nil; attempt++ {
		s, err := l.connect(ctx)
		if err != nil {
			if kind := kindOf(err); kind != said && ctx.Err() == nil {
				said = kind
				l.log.Warn("smpp: no bind", "smsc", l.pool.Addr, "err", err)
			}
			wait := backoff(attempt)
			if isRefusal(err) {
				wait = refusedBackoff
			}
			pause(ctx, wait)
			continue
		}
		said = ""
		began := time.Now()
		l.stats.binds.Add(1)
		l.log.Info("smpp: bound", "smsc", l.pool.Addr, "as", l.role, "smsc_id", s.Answer().SystemID)
		select {
		case <-s.Done():
			l.log.Warn("smpp: the session ended", "smsc", l.pool.Addr, "err", s.Err())
			l.set(nil)
			ending.Go(s.wait) // its handlers
			// One that takes every bind and drops it is not bound to in a loop.
			if time.Since(began) > lastBackoff {
				attempt = 0
			}
			pause(ctx, backoff(attempt))
		case <-ctx.Done():
			l.set(nil)
			_ = s.Close() // it has ended in either case
		}
	}
}

// kindOf is what two failures have in common if they are of the same kind: the
// text of one of the network has a port that is new each time.
func kindOf(err error) string {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Op + ": " + network.Err.Error()
	}
	return err.Error()
}

func (l *link) set(s *Session) {
	l.session.Store(s)
	l.pool.announce()
}

func (l *link) connect(ctx context.Context) (*Session, error) {
	leave, err := l.pool.mayBind(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	s, err := l.bind(ctx)
	switch { // before the next one looks
	case err == nil:
		l.set(s)
	case isRefusal(err):
		l.pool.wasRefused()
	}
	return s, err
}

// isRefusal tells a bind that was refused for whom it was for.
func isRefusal(err error) bool {
	return errors.Is(err, StatusInvalidPassword) || errors.Is(err, StatusInvalidSystemID) || errors.Is(err, StatusBindFailed)
}

// wasRefused keeps all links from trying for a while, unless a bind stands: then
// name and password are right, and there are enough binds.
func (p *Pool) wasRefused() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.standing() {
		p.refused = time.Now().Add(refusedBackoff / 2)
	}
}

// standing reports whether there is a bind. The caller holds mu.
func (p *Pool) standing() bool {
	return slices.ContainsFunc(p.links, func(l *link) bool { return l.session.Load() != nil })
}

// mayBind waits for its turn to bind: while no bind stands one link tries at a
// time, and not for a while after name or password were refused. leave lets the
// next one try.
func (p *Pool) mayBind(ctx context.Context) (leave func(), err error) {
	leave = func() {}
	turn := p.first
	var due <-chan time.Time // when we may try, once it is our turn
	for {
		p.mu.Lock()
		stands, changed := p.standing(), p.changed
		p.mu.Unlock()
		if stands || ctx.Err() != nil {
			leave()
			return func() {}, ctx.Err()
		}
		select {
		case turn <- struct{}{}:
			turn, leave = nil, func() { <-p.first }
			p.mu.Lock()
			due = time.After(time.Until(p.refused))
			p.mu.Unlock()
		case <-due:
			return leave, nil
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (l *link) bind(ctx context.Context) (*Session, error) {
	options := l.pool.Options.withDefaults()
	options.stats, options.Log, options.room = l.stats, l.log, l.pool.hasRoom
	if handler := l.pool.Handler; handler != nil {
		options.Handler = func(ctx context.Context, _ *Session, m *ShortMessage) (string, Status) {
			return "", handler(ctx, l.pool, m)
		}
	}
	return l.pool.bind(ctx, l.role, options)
}

// BindOnce dials and binds one session that nobody keeps up, beside the pool's
// own.
func (p *Pool) BindOnce(ctx context.Context, role Command) (*Session, error) {
	return p.bind(ctx, role, p.Options.withDefaults())
}

func (p *Pool) bind(ctx context.Context, role Command, options Options) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	return Bind(ctx, conn, role, p.Bind, options)
}

// dial opens a connection, with TLS if that is configured.
func (p *Pool) dial(ctx context.Context) (net.Conn, error) {
	dial := p.Dial
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := dial(ctx, p.Addr)
	if err != nil || p.TLS == nil {
		return conn, err
	}
	config := p.TLS.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(p.Addr)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("smpp: tls: %w", err)
	}
	return secured, nil
}

// Bind binds a connection that is there, in one of the three roles:
// BindTransceiver, BindTransmitter or BindReceiver. It closes a connection that
// could not be bound. A refusal is a Status.
func Bind(ctx context.Context, conn net.Conn, role Command, request BindRequest, options Options) (*Session, error) {
	s, err := bind(ctx, conn, role, request, options.withDefaults())
	if err != nil {
		conn.Close()
		// Whichever noticed first: the context closed the connection, or its
		// deadline came.
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = ErrTimeout
		} else if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("smpp: bind: %w", err)
	}
	return s, nil
}

func bind(ctx context.Context, conn net.Conn, role Command, request BindRequest, options Options) (*Session, error) {
	deadline := time.Now().Add(options.Timeout)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	request.InterfaceVersion = interfaceVersion
	body, err := request.Append(nil)
	if err != nil {
		return nil, err
	}
	asked := PDU{Command: role, Sequence: 1, Body: body}
	if _, err := conn.Write(asked.Append(nil)); err != nil {
		return nil, err
	}
	reader := &frameReader{r: conn, limit: maxPDUUnbound}
	answer, err := answerTo(asked, reader)
	if errors.Is(err, ErrFraming) {
		_, _ = conn.Write((&PDU{Command: GenericNack, Status: StatusInvalidLength}).Append(nil))
	}
	if err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err() // the connection is closed, or about to be
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	s := newSession(conn, options, esme, role)
	s.request, s.answer = request, answer
	go s.run(reader)
	return s, nil
}

// answerTo reads the response to a bind; nothing else is due before it.
func answerTo(asked PDU, reader *frameReader) (BindResponse, error) {
	for {
		p, err := reader.next()
		if err != nil {
			return BindResponse{}, err
		}
		if p.Sequence != asked.Sequence || p.Command != asked.Command|response && p.Command != GenericNack {
			continue
		}
		switch {
		case p.Status != StatusOK:
			return BindResponse{}, p.Status
		case p.Command == GenericNack:
			return BindResponse{}, StatusInvalidCommand
		}
		// It is bound, whatever the SMSC says of itself.
		body, _ := Parse(p.Command, p.Body)
		if answer, ok := body.(*BindResponse); ok {
			answer.TLVs = append(TLVs(nil), answer.TLVs...)
			return *answer, nil
		}
		return BindResponse{}, nil
	}
}
