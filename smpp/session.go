package smpp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Handler takes a message that the other side sent: a deliver_sm on the ESME,
// a submit_sm on the SMSC. The message is acknowledged when it returns, with
// the status it returns, and with the id if it was a submit_sm: so it returns
// once the message is stored. It runs beside the session, which goes on
// reading. The context ends with the session.
type Handler func(ctx context.Context, s *Session, m *ShortMessage) (id string, status Status)

// Options are what a session keeps to; the zero value means the defaults.
type Options struct {
	Window   int           // requests that may be unanswered towards the other side; 10
	Inbound  int           // messages in the handler at once, the next is told "queue full"; 256
	Timeout  time.Duration // for each request, the bind and each write; 10 s
	Enquire  time.Duration // silence after which enquire_link is sent; 30 s
	Handler  Handler
	SystemID string // what a server calls itself
	// Malformed, if set, is told of messages that do not parse and were refused.
	Malformed func(error)
}

func (o Options) withDefaults() Options {
	if o.Window == 0 {
		o.Window = 10
	}
	if o.Inbound == 0 {
		o.Inbound = 256
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Enquire == 0 {
		o.Enquire = 30 * time.Second
	}
	return o
}

// Errors of a session. A request that ends with either may have been carried
// out or not.
var (
	ErrClosed  = errors.New("smpp: the session is closed")
	ErrTimeout = errors.New("smpp: no response in time")
)

// Session is one bound connection. Its methods are safe for concurrent use.
type Session struct {
	conn    net.Conn
	options Options
	peer    BindRequest // on the server's side: who bound
	role    Command     // the bind: what may be sent in which direction

	window  chan struct{} // a token for each unanswered request of ours
	inbound chan struct{} // a token for each message in the handler

	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc
	gone   sync.WaitGroup // reader, writer, keepAlive
	taken  sync.WaitGroup // handlers

	writing  sync.Mutex // from taking out until it is written; before mu
	mu       sync.Mutex
	sequence uint32
	pending  map[uint32]*call
	out      []byte // encoded, to be written
	wake     chan struct{}
	drained  chan struct{} // takes a value when out was taken to be written
	heard    time.Time
}

// call is one request that waits for its response.
type call struct {
	command  Command
	response chan PDU // takes one
}

// newSession starts a session on a connection that is bound already; first, if
// any, is what it writes before all else.
func newSession(conn net.Conn, reader *bufio.Reader, options Options, role Command, peer BindRequest, first ...PDU) *Session {
	s := &Session{
		conn: conn, options: options, peer: peer, role: role,
		window: make(chan struct{}, options.Window), inbound: make(chan struct{}, options.Inbound),
		sequence: 1, pending: make(map[uint32]*call), heard: time.Now(),
		wake: make(chan struct{}, 1), drained: make(chan struct{}, 1),
	}
	for _, p := range first {
		s.send(p)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.gone.Add(3)
	go func() { defer s.gone.Done(); s.cancel(s.read(reader)) }()
	go func() { defer s.gone.Done(); s.cancel(s.write()) }()
	go func() { defer s.gone.Done(); s.keepAlive() }()
	context.AfterFunc(s.ctx, func() { conn.Close() })
	return s
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the session has ended, nil while it has not.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// Receives reports whether messages may be delivered on the session: it was
// not bound as a transmitter (SMPP 3.4 §2.2).
func (s *Session) Receives() bool { return s.role != BindTransmitter }

// Peer is what the ESME said of itself in its bind; of a server's sessions.
func (s *Session) Peer() BindRequest { return s.peer }

// Close unbinds, waits for the other side to agree, and closes. Requests that
// are still unanswered then end with ErrClosed.
func (s *Session) Close() error {
	ctx, cancel := context.WithTimeout(s.ctx, min(s.options.Timeout, time.Second))
	defer cancel()
	if p, err := s.begin(Unbind, nil); err == nil {
		_, _ = s.await(ctx, p) // it is closed in either case
	}
	s.cancel(ErrClosed)
	s.wait()
	return nil
}

// wait returns when nothing of the session runs any more.
func (s *Session) wait() {
	s.gone.Wait()
	s.taken.Wait()
}

// Submit sends one submit_sm and waits for its response: the SMSC's id for the
// message. A refusal is a Status.
func (s *Session) Submit(ctx context.Context, m *ShortMessage) (id string, err error) {
	if err := s.acquire(ctx); err != nil {
		return "", err
	}
	p, err := s.begin(SubmitSM, m)
	if err != nil {
		s.release()
		return "", err
	}
	return s.submitted(ctx, p)
}

// Deliver sends one deliver_sm and waits until it is acknowledged. A refusal
// is a Status.
func (s *Session) Deliver(ctx context.Context, m *ShortMessage) error {
	if !s.Receives() {
		return StatusNotBound
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	p, err := s.begin(DeliverSM, m)
	if err != nil {
		return err
	}
	_, err = s.await(ctx, p)
	return err
}

func (s *Session) submitted(ctx context.Context, p waiting) (string, error) {
	defer s.release()
	answer, err := s.await(ctx, p)
	if err != nil {
		return "", err
	}
	return messageID(answer.Body), nil
}

// acquire waits for room in the window.
func (s *Session) acquire(ctx context.Context) error {
	select {
	case s.window <- struct{}{}:
		return nil
	case <-s.ctx.Done():
		return s.closed()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) release() { <-s.window }

// closed is the error of what a session's end left unanswered.
func (s *Session) closed() error {
	if cause := s.Err(); cause != nil && !errors.Is(cause, ErrClosed) {
		return fmt.Errorf("%w: %w", ErrClosed, cause)
	}
	return ErrClosed
}

// waiting is a request that is on its way.
type waiting struct {
	sequence uint32
	call     *call
}

// maxSequence is the highest sequence_number (SMPP 3.4 §5.1.4).
const maxSequence = 0x7FFFFFFF

// begin puts a request on its way. m is nil for one without a body.
func (s *Session) begin(command Command, m *ShortMessage) (waiting, error) {
	var body []byte
	if m != nil {
		if len(m.Message) > 254 {
			return waiting{}, fmt.Errorf("smpp: short_message of %d octets, at most 254", len(m.Message))
		}
		body = m.Append(make([]byte, 0, 96+len(m.Message)+len(m.TLVs)))
	}
	w := waiting{call: &call{command: command, response: make(chan PDU, 1)}}
	s.mu.Lock()
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return w, s.closed()
	}
	for taken := true; taken; _, taken = s.pending[s.sequence] {
		if s.sequence++; s.sequence > maxSequence {
			s.sequence = 1
		}
	}
	w.sequence = s.sequence
	s.pending[w.sequence] = w.call
	s.send(PDU{Command: command, Sequence: w.sequence, Body: body})
	s.mu.Unlock()
	return w, nil
}

// await waits for the response to a request. Its status, if not well, is the
// error.
func (s *Session) await(ctx context.Context, w waiting) (PDU, error) {
	timer := time.NewTimer(s.options.Timeout)
	defer timer.Stop()
	defer func() {
		s.mu.Lock()
		delete(s.pending, w.sequence)
		s.mu.Unlock()
	}()
	var err error
	select {
	case p := <-w.call.response:
		return answered(p)
	case <-timer.C:
		err = ErrTimeout
	case <-s.ctx.Done():
		err = s.closed()
	case <-ctx.Done():
		err = ctx.Err()
	}
	select { // what came at the same moment counts
	case p := <-w.call.response:
		return answered(p)
	default:
		return PDU{}, err
	}
}

func answered(p PDU) (PDU, error) {
	switch {
	case p.Status != StatusOK:
		return p, p.Status
	case p.Command == GenericNack: // a nack without a reason is one all the same
		return p, StatusInvalidCommand
	}
	return p, nil
}

// match hands a response to the request that it answers: by number and by
// command. Sequence numbers of both sides are apart, since only responses come
// here.
func (s *Session) match(p PDU) {
	s.mu.Lock()
	c := s.pending[p.Sequence]
	if c != nil && (p.Command == c.command|response || p.Command == GenericNack) {
		delete(s.pending, p.Sequence)
	} else {
		c = nil // late, or to nothing we asked
	}
	s.mu.Unlock()
	if c != nil {
		c.response <- p
	}
}
