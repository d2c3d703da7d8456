package smpp

import (
	"crypto/subtle"
	"errors"
	"net"
	"sync"
	"time"
)

// Server is the SMSC's side: it takes connections, lets them bind, and runs a
// session for each. An idle session costs one goroutine and a small buffer, so
// one process serves thousands. For TLS it is given a tls listener.
type Server struct {
	Options Options // of each session
	// Account finds who may bind; nil lets everybody in.
	Account func(systemID string) (Account, bool)
	// Bound is told of every session that begins, before it does anything: it must
	// not wait for what the session is to do.
	Bound func(*Session)

	mu       sync.Mutex
	listener net.Listener
	closed   bool
	sessions map[*Session]struct{}
	binds    map[string]int        // sessions of each system_id
	open     map[net.Conn]struct{} // not bound yet
	serving  sync.WaitGroup
}

// Account is what an ESME was given.
type Account struct {
	Password string
	Binds    int // at most so many at once; 0 is without limit
}

// Serve takes connections until Close.
func (v *Server) Serve(listener net.Listener) error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return net.ErrClosed
	}
	v.listener = listener
	v.sessions, v.open, v.binds = make(map[*Session]struct{}), make(map[net.Conn]struct{}), make(map[string]int)
	v.mu.Unlock()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if v.transient(err) {
				continue
			}
			return err
		}
		v.mu.Lock()
		if v.closed {
			v.mu.Unlock()
			conn.Close()
			return net.ErrClosed
		}
		v.serving.Add(1)
		v.open[conn] = struct{}{}
		v.mu.Unlock()
		go func() { defer v.serving.Done(); v.serve(conn) }()
	}
}

// transient waits and reports true if a connection could not be taken but the
// next may: the process is out of file descriptors, or the peer was gone again.
func (v *Server) transient(err error) bool {
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	var timeout interface{ Temporary() bool }
	if closed || !errors.As(err, &timeout) || !timeout.Temporary() {
		return false
	}
	time.Sleep(10 * time.Millisecond)
	return true
}

// Close stops listening, unbinds all sessions and waits for them to end.
func (v *Server) Close() error {
	v.mu.Lock()
	v.closed = true
	var err error
	if v.listener != nil {
		err = v.listener.Close()
	}
	for conn := range v.open {
		conn.Close()
	}
	sessions := make([]*Session, 0, len(v.sessions))
	for s := range v.sessions {
		sessions = append(sessions, s)
	}
	v.mu.Unlock()
	var closing sync.WaitGroup
	for _, s := range sessions {
		closing.Go(func() { _ = s.Close() })
	}
	closing.Wait()
	v.serving.Wait()
	return err
}

func (v *Server) serve(conn net.Conn) {
	defer conn.Close()
	s, reader := v.bind(conn)
	v.mu.Lock()
	delete(v.open, conn)
	v.mu.Unlock()
	if s == nil {
		return
	}
	defer v.left(s)
	if v.Bound != nil {
		v.Bound(s)
	}
	s.run(reader)
	s.wait()
}

// left counts a session out.
func (v *Server) left(s *Session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.sessions, s)
	if v.binds[s.request.SystemID]--; v.binds[s.request.SystemID] == 0 {
		delete(v.binds, s.request.SystemID)
	}
}

// bind reads until the connection is bound, and makes its session. Who does not get there in time is gone; so is who is refused,
// since each password then costs a connection.
func (v *Server) bind(conn net.Conn) (*Session, *frameReader) {
	options := v.Options.withDefaults()
	if err := conn.SetDeadline(time.Now().Add(options.Timeout)); err != nil {
		return nil, nil
	}
	reader := &frameReader{r: conn, limit: maxPDUUnbound}
	for {
		p, err := reader.next()
		if errors.Is(err, ErrFraming) {
			_, _ = conn.Write((&PDU{Command: GenericNack, Status: StatusInvalidLength}).Append(nil))
		}
		if err != nil {
			return nil, nil
		}
		if p.answers() {
			continue // we have asked nothing
		}
		request, answer := v.judge(p)
		if request != nil && answer.Status == StatusOK {
			s := v.admit(conn, options, p.Command, request, &answer)
			if s != nil {
				return s, reader
			}
		}
		if request != nil {
			options.Log.Info("smpp: bind refused", "system_id", request.SystemID, "from", conn.RemoteAddr(), "status", answer.Status)
		}
		if _, err := conn.Write(answer.Append(nil)); err != nil || request != nil || p.Command == Unbind {
			return nil, nil
		}
	}
}

// judge answers one frame of a connection that is not bound; request is set if
// it is a bind that parses.
func (v *Server) judge(p PDU) (request *BindRequest, answer PDU) {
	answer = PDU{Command: p.Command | response, Sequence: p.Sequence}
	body, err := Parse(p.Command, p.Body)
	var field *FieldError
	switch {
	case !p.Command.known() || p.Command == Outbind || p.Command == AlertNotification:
		return nil, PDU{Command: GenericNack, Status: StatusInvalidCommand, Sequence: p.Sequence}
	case errors.As(err, &field):
		answer.Status = field.Status()
		return nil, answer
	case p.Command == EnquireLink || p.Command == Unbind:
		return nil, answer
	}
	request, ok := body.(*BindRequest)
	if !ok {
		answer.Status = StatusNotBound
		return nil, answer
	}
	answer.Status = v.authenticate(request)
	return request, answer
}

func (v *Server) authenticate(r *BindRequest) Status {
	if v.Account == nil {
		return StatusOK
	}
	account, ok := v.Account(r.SystemID)
	switch same := subtle.ConstantTimeCompare([]byte(account.Password), []byte(r.Password)); {
	case !ok:
		return StatusInvalidSystemID
	case same != 1:
		return StatusInvalidPassword
	}
	return StatusOK
}

// admit makes the session of a bind, unless there are too many of its system_id.
func (v *Server) admit(conn net.Conn, options Options, role Command, r *BindRequest, answer *PDU) *Session {
	limit := 0
	if v.Account != nil {
		account, _ := v.Account(r.SystemID)
		limit = account.Binds
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed: // Close has gone through the sessions
		answer.Status = StatusSystemError
		return nil
	case limit > 0 && v.binds[r.SystemID] >= limit:
		answer.Status = StatusAlreadyBound
		return nil
	}
	body := BindResponse{SystemID: options.SystemID}
	if r.InterfaceVersion >= interfaceVersion { // others know no TLVs (SMPP 3.4 §3.4)
		body.TLVs = body.TLVs.Add(TagSCInterfaceVersion, []byte{interfaceVersion})
	}
	raw, err := body.Append(nil)
	if err != nil || conn.SetDeadline(time.Time{}) != nil {
		answer.Status = StatusSystemError
		return nil
	}
	answer.Body = raw
	options.Log = options.Log.With("system_id", r.SystemID, "from", conn.RemoteAddr())
	s := newSession(conn, options, smsc, role, *answer)
	r.TLVs = append(TLVs(nil), r.TLVs...)
	s.request, s.answer = *r, body
	v.binds[r.SystemID]++
	v.sessions[s] = struct{}{}
	return s
}
