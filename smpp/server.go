package smpp

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"time"
)

// Server is the SMSC's side: it takes connections, lets them bind, and runs a
// session for each.
type Server struct {
	Options Options
	// Authenticate judges a bind; StatusOK lets it in.
	Authenticate func(BindRequest) Status
	// Bound is told of every session that begins, before it is served.
	Bound func(*Session)

	mu       sync.Mutex
	listener net.Listener
	closed   bool
	sessions map[*Session]struct{}
	open     map[net.Conn]struct{} // not bound yet
	serving  sync.WaitGroup
}

// Serve takes connections until Close.
func (v *Server) Serve(listener net.Listener) error {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return net.ErrClosed
	}
	v.listener = listener
	v.sessions, v.open = make(map[*Session]struct{}), make(map[net.Conn]struct{})
	v.mu.Unlock()
	for {
		conn, err := listener.Accept()
		if err != nil {
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
	s, err := v.bind(conn)
	v.mu.Lock()
	delete(v.open, conn)
	if err == nil {
		if v.closed {
			s.cancel(ErrClosed)
		}
		v.sessions[s] = struct{}{}
	}
	v.mu.Unlock()
	if err != nil {
		return
	}
	if v.Bound != nil {
		v.Bound(s)
	}
	s.wait()
	v.mu.Lock()
	delete(v.sessions, s)
	v.mu.Unlock()
}

// bind reads until the connection is bound. Whoever does not get there in time
// or sends anything else is gone.
func (v *Server) bind(conn net.Conn) (*Session, error) {
	options := v.Options.withDefaults()
	if err := conn.SetDeadline(time.Now().Add(options.Timeout)); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	for {
		p, err := ReadPDU(reader, maxPDUUnbound)
		if err != nil {
			if errors.Is(err, ErrFraming) {
				_, _ = conn.Write((&PDU{Command: GenericNack, Status: StatusInvalidLength}).Append(nil))
			}
			return nil, err
		}
		if p.Command&response != 0 {
			continue // we have asked nothing
		}
		request, answer := v.judge(p)
		ok := answer.Status == StatusOK && answer.Command != GenericNack && p.Command != EnquireLink
		if !ok {
			if _, err := conn.Write(answer.Append(nil)); err != nil {
				return nil, err
			}
			if p.Command == EnquireLink {
				continue
			}
			return nil, answer.Status
		}
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return nil, err
		}
		answer.Body = appendCString(nil, options.SystemID)
		answer.Body = TLVs(answer.Body).Add(TagSCInterfaceVersion, []byte{interfaceVersion})
		return newSession(conn, reader, options, p.Command, request, answer), nil
	}
}

// judge answers one frame of a connection that is not bound.
func (v *Server) judge(p PDU) (BindRequest, PDU) {
	answer := PDU{Command: p.Command | response, Sequence: p.Sequence}
	switch p.Command {
	case BindTransceiver, BindTransmitter, BindReceiver:
	case EnquireLink:
		return BindRequest{}, answer
	case SubmitSM, DeliverSM, Unbind:
		answer.Status = StatusNotBound
		return BindRequest{}, answer
	default:
		return BindRequest{}, PDU{Command: GenericNack, Status: StatusInvalidCommand, Sequence: p.Sequence}
	}
	request, err := ParseBindRequest(p.Body)
	switch {
	case err != nil || request.SystemID == "":
		answer.Status = StatusBindFailed
	case v.Authenticate != nil:
		answer.Status = v.Authenticate(request)
	}
	return request, answer
}
