package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Handler takes a message that the other side sent: a deliver_sm on the ESME,
// a submit_sm on the SMSC, a data_sm on either. The message is acknowledged
// when it returns, with the status it returns, and with the id if it was sent
// to an SMSC: so it returns once the message is stored. It runs beside the
// session, which goes on reading. The context ends with the session.
type Handler func(ctx context.Context, s *Session, m *ShortMessage) (id string, status Status)

// Options are what a session keeps to; the zero value means the defaults.
type Options struct {
	Window   int           // requests that may be unanswered towards the other side; 10
	Inbound  int           // messages in the handler at once, the next is told "queue full"; 2,000
	Timeout  time.Duration // for each request, the bind and each write; 10 s
	Enquire  time.Duration // silence after which enquire_link is sent; 30 s
	Handler  Handler
	SystemID string       // what a server calls itself
	Log      *slog.Logger // nothing of what messages say goes there; none if nil
	// Malformed, if set, is told of messages that do not parse and were refused.
	Malformed func(error)

	stats *stats // where the session counts; of its own if nil
	room  func() // told when there is room in the window; it must not wait
}

func (o Options) withDefaults() Options {
	if o.Window == 0 {
		o.Window = 10
	}
	if o.Inbound == 0 {
		o.Inbound = 2000
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Enquire == 0 {
		o.Enquire = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.stats == nil {
		o.stats = new(stats)
	}
	return o
}

// Errors of a request, beside a Status, which is the other side's refusal.
var (
	// ErrClosed: the session ended before the request was sent.
	ErrClosed = errors.New("smpp: the session is closed")
	// ErrUnanswered: the request was sent, and what became of it is not known.
	ErrUnanswered = errors.New("smpp: sent and not answered")
	// ErrTimeout: there was no response in time. Such a request is unanswered.
	ErrTimeout = fmt.Errorf("%w in time", ErrUnanswered)
)

// Session is one bound connection. Its methods are safe for concurrent use.
type Session struct {
	conn    net.Conn
	options Options
	side    side
	role    Command      // the bind: what may be sent in which direction
	request BindRequest  // how it was bound
	answer  BindResponse // and what was said to that

	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc
	gone   sync.WaitGroup // reader, writer
	taken  sync.WaitGroup // handlers
	tasks  chan task      // for hands that have nothing to do
	hands  atomic.Int32   // how many there are

	mu       sync.Mutex
	sequence uint32
	pending  map[uint32]*call
	window   window
	inbound  int        // messages in the handler
	octets   int        // of them
	out      []byte     // encoded, to be written; see queue
	writing  bool       // the writer runs
	moved    *sync.Cond // out was written, a request was answered, or the session has ended
	heard    time.Time
	probe    *call     // the enquire_link that is not answered
	missedAt time.Time // when a message was left unanswered, with none answered since
	unheeded int       // enquire_link in a row that were not answered
	leaving  bool      // the other side has unbound
	timer    *time.Timer
	wakeAt   time.Time // when the timer fires
	ended    bool

	finished   []*call // the reader's own, between two uses
	complained bool    // the reader's: a body that did not parse was told of
}

// side is which end of the connection a session is.
type side bool

const (
	esme side = false
	smsc side = true
)

// newSession makes a session of a connection that was just bound. It does
// nothing before run: what is asked of it meanwhile waits behind first, which
// is the response to the bind.
func newSession(conn net.Conn, options Options, side side, role Command, first ...PDU) *Session {
	s := &Session{
		conn: conn, options: options, side: side, role: role,
		sequence: 1, pending: make(map[uint32]*call), writing: true, tasks: make(chan task),
	}
	s.window.size = options.Window
	s.moved = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for _, p := range first {
		s.out = p.Append(s.queue())
	}
	return s
}

// run is the session from here to its end: it reads from where the bind left
// off.
func (s *Session) run(r *frameReader) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.heard = time.Now()
	// The first tick finds out when the next is due.
	s.wakeAt = s.heard.Add(min(s.options.Enquire, s.options.Timeout))
	s.timer = time.AfterFunc(min(s.options.Enquire, s.options.Timeout), s.tick)
	s.writing = false
	if len(s.out) > 0 {
		s.wake()
	}
	s.gone.Add(1)
	s.mu.Unlock()
	defer s.gone.Done()
	r.limit = MaxPDU
	s.end(s.read(r))
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.ctx.Done() }

// Err is why the session has ended, nil while it has not.
func (s *Session) Err() error { return context.Cause(s.ctx) }

// Receives reports whether messages may be delivered on the session: it was
// not bound as a transmitter (SMPP 3.4 §2.2).
func (s *Session) Receives() bool { return s.role != BindTransmitter }

// Transmits reports whether messages may be submitted on the session.
func (s *Session) Transmits() bool { return s.role != BindReceiver }

// Request is the bind that the session began with.
func (s *Session) Request() BindRequest { return s.request }

// Answer is what the SMSC said of itself when it was bound to.
func (s *Session) Answer() BindResponse { return s.answer }

// TLS tells how the connection is secured; empty if it is not.
func (s *Session) TLS() string {
	conn, ok := s.conn.(*tls.Conn)
	if !ok {
		return ""
	}
	state := conn.ConnectionState()
	text := fmt.Sprintf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		text += ", certificate of " + state.PeerCertificates[0].Subject.String()
	}
	return text
}

// Unanswered is how many requests of this side are unanswered.
func (s *Session) Unanswered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.used
}

// Submit sends one submit_sm and waits for its response: the SMSC's id for the
// message. It waits for room in the window. A refusal is a Status.
func (s *Session) Submit(ctx context.Context, m *ShortMessage) (id string, err error) {
	if !s.Transmits() {
		return "", StatusNotBound
	}
	return s.ask(ctx, SubmitSM, m)
}

// Deliver sends one deliver_sm and waits until it is acknowledged. A refusal
// is a Status.
func (s *Session) Deliver(ctx context.Context, m *ShortMessage) error {
	if !s.Receives() {
		return StatusNotBound
	}
	_, err := s.ask(ctx, DeliverSM, m)
	return err
}

// Enquire asks the other side whether it is there, and waits for the answer.
func (s *Session) Enquire(ctx context.Context) error {
	c, err := s.begin(EnquireLink, nil)
	if err != nil {
		return err
	}
	_, err = s.await(ctx, c)
	return err
}

// Close sends no new requests, gives those that are unanswered and the messages
// in the handler some time to be answered, unbinds, and closes. A request that
// is still unanswered then ends with ErrUnanswered. A Handler must not call it,
// since it waits for them.
func (s *Session) Close() error {
	const drain, farewell = 3 * time.Second, time.Second
	s.mu.Lock()
	s.window.close()
	s.mu.Unlock()
	s.until(min(s.options.Timeout, drain), func() bool { return s.answered() && s.inbound == 0 })
	ctx, cancel := context.WithTimeout(s.ctx, min(s.options.Timeout, farewell))
	defer cancel()
	if c, err := s.begin(Unbind, nil); err == nil {
		_, _ = s.await(ctx, c) // it is closed in either case
	}
	s.end(ErrClosed)
	s.wait()
	return nil
}

// end ends the session; the first cause counts. Everybody who waits for
// something of it is told.
func (s *Session) end(cause error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.cancel(cause)
	if s.timer != nil {
		s.timer.Stop()
	}
	unanswered := ErrUnanswered
	if !errors.Is(cause, ErrClosed) {
		unanswered = fmt.Errorf("%w: %v", ErrUnanswered, cause)
	}
	for _, c := range s.pending {
		s.finish(c, "", unanswered)
		c.tell()
	}
	s.window.close()
	s.moved.Broadcast()
	s.mu.Unlock()
	s.conn.Close() // the cause is what counts
}

// wait returns when nothing of the session runs any more.
func (s *Session) wait() {
	s.gone.Wait()
	s.taken.Wait()
}
