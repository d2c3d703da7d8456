package smpp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// ESME keeps one session to an operator's SMSC up: it dials, binds, and does
// both again whenever the session ends.
type ESME struct {
	Addr    string      // host:port
	Bind    BindRequest // system_id, password, …
	Options Options
	// Dial opens the connection; the default is TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	Log  *slog.Logger

	mu      sync.Mutex
	session *Session
	changed chan struct{} // closed when session changes
}

// Backoff between attempts to bind and to send again: from the first to the
// last, doubled each time, and each somewhere in the upper half of it.
const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// pause is the backoff after a failed attempt, cut short if the context ends.
func pause(ctx context.Context, attempt int) {
	d := min(firstBackoff<<min(attempt, 10), lastBackoff)
	select {
	case <-time.After(d/2 + rand.N(d/2)):
	case <-ctx.Done():
	}
}

// Run keeps the session up until the context ends, then unbinds.
func (e *ESME) Run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		s, err := e.connect(ctx)
		if err != nil {
			e.Log.Warn("smpp: no bind", "smsc", e.Addr, "err", err)
			pause(ctx, attempt)
			continue
		}
		began := time.Now()
		e.Log.Info("smpp: bound", "smsc", e.Addr)
		e.set(s)
		select {
		case <-s.Done():
			e.Log.Warn("smpp: the session ended", "smsc", e.Addr, "err", s.Err())
			e.set(nil)
			// One that takes every bind and drops it is not bound to in a loop.
			if time.Since(began) > lastBackoff {
				attempt = -1
				continue
			}
			pause(ctx, attempt)
		case <-ctx.Done():
			e.set(nil)
			_ = s.Close() // it has ended in either case
		}
	}
}

func (e *ESME) connect(ctx context.Context) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, e.Options.withDefaults().Timeout)
	defer cancel()
	dial := e.Dial
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := dial(ctx, e.Addr)
	if err != nil {
		return nil, err
	}
	s, err := Bind(ctx, conn, e.Bind, e.Options)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// Bind binds a connection that is there, as a transceiver.
func Bind(ctx context.Context, conn net.Conn, request BindRequest, options Options) (*Session, error) {
	options = options.withDefaults()
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
	bind := PDU{Command: BindTransceiver, Sequence: 1, Body: request.Append(nil)}
	if _, err := conn.Write(bind.Append(nil)); err != nil {
		return nil, fmt.Errorf("smpp: bind: %w", err)
	}
	reader := bufio.NewReader(conn)
	for {
		p, err := ReadPDU(reader, maxPDUUnbound)
		if err != nil {
			return nil, fmt.Errorf("smpp: bind: %w", err)
		}
		if p.Sequence != bind.Sequence || (p.Command != BindTransceiverResp && p.Command != GenericNack) {
			continue // nothing else is due before the response
		}
		if _, err := answered(p); err != nil {
			return nil, fmt.Errorf("smpp: bind: %w", err)
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return nil, err
		}
		return newSession(conn, reader, options, BindTransceiver, BindRequest{}), nil
	}
}

func (e *ESME) set(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.session = s
	if e.changed != nil {
		close(e.changed)
		e.changed = nil
	}
}

// bound waits for a session other than the one that was found wanting.
func (e *ESME) bound(ctx context.Context, not *Session) (*Session, error) {
	for {
		e.mu.Lock()
		s := e.session
		if s != nil && s != not {
			e.mu.Unlock()
			return s, nil
		}
		if e.changed == nil {
			e.changed = make(chan struct{})
		}
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Bound reports whether there is a session now.
func (e *ESME) Bound() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.session != nil
}

// Submit sends the messages, segments of one message, over one session, and
// returns the SMSC's id of each. It waits for a session and for room in its
// window as long as the context allows; turn is asked when the wait is over,
// just before anything is sent, and its error ends it. A session that dies
// underneath, and an SMSC that is busy, mean that all of it is sent again: the
// far side must bear a segment that comes twice.
func (e *ESME) Submit(ctx context.Context, turn func() error, messages ...*ShortMessage) ([]string, error) {
	var s *Session
	var err error
	for attempt := 0; ; attempt++ {
		var dead *Session
		if s != nil && s.ctx.Err() != nil {
			dead = s
		}
		if s, err = e.bound(ctx, dead); err != nil {
			return nil, err
		}
		ids, err := s.submitAll(ctx, turn, messages)
		var status Status
		switch {
		case err == nil:
			return ids, nil
		case errors.Is(err, ErrClosed) || errors.Is(err, ErrTimeout):
		case errors.Is(err, StatusNotBound): // the SMSC has forgotten the bind
			s.cancel(err)
		case errors.As(err, &status) && (status == StatusThrottled || status == StatusQueueFull):
		default:
			return nil, err
		}
		if pause(ctx, attempt); ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// submitAll sends all segments before it waits for the first response. Each
// gives its room in the window back with its response, so that a message of
// more segments than the window passes through it.
func (s *Session) submitAll(ctx context.Context, turn func() error, messages []*ShortMessage) ([]string, error) {
	ids, failures := make([]string, len(messages)), make([]error, len(messages)+1)
	var sent sync.WaitGroup
	for i, m := range messages {
		w, err := s.inTurn(ctx, turn, m)
		if err != nil {
			failures[len(messages)] = err
			break
		}
		turn = nil // asked once, before the first
		if len(messages) == 1 {
			ids[i], failures[i] = s.submitted(ctx, w)
			break
		}
		sent.Go(func() { ids[i], failures[i] = s.submitted(ctx, w) })
	}
	sent.Wait()
	for _, err := range failures {
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// inTurn puts a message on its way once there is room and turn agrees.
func (s *Session) inTurn(ctx context.Context, turn func() error, m *ShortMessage) (w waiting, err error) {
	if err := s.acquire(ctx); err != nil {
		return w, err
	}
	if turn != nil {
		err = turn()
	}
	if err == nil {
		w, err = s.begin(SubmitSM, m)
	}
	if err != nil {
		s.release()
	}
	return w, err
}
