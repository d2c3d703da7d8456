package smpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// centre is a server in memory.
type centre struct {
	t        *testing.T
	server   *Server
	listener *memListener
	served   chan error
}

func startCentre(t *testing.T, server *Server) *centre {
	t.Helper()
	c := &centre{t, server, newMemListener(), make(chan error, 1)}
	go func() { c.served <- server.Serve(c.listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-c.served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return c
}

// connect opens a connection that holds so much.
func (c *centre) connect(size int) *farSide {
	near, far := memPipe(size)
	c.listener.conns <- near
	c.t.Cleanup(func() { far.Close() })
	return &farSide{c.t, far}
}

// ask sends a bind and returns its answer.
func (c *centre) ask(f *farSide, role Command, id, password string) PDU {
	c.t.Helper()
	f.say(PDU{Command: role, Sequence: 1, Body: encoded(c.t, &BindRequest{SystemID: id, Password: password, InterfaceVersion: 0x34})})
	return f.want(role | response)
}

// bound connects and binds.
func (c *centre) bound(role Command) *farSide {
	c.t.Helper()
	f := c.connect(64 << 10)
	if p := c.ask(f, role, "imza", "secret"); p.Status != StatusOK {
		c.t.Fatal(p.Status)
	}
	return f
}

// gone fails unless the connection is closed and nothing more comes.
func (f *farSide) gone() {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(time.Hour))
	if p, err := ReadPDU(f.conn, MaxPDU); err != io.EOF {
		f.t.Fatalf("%s %v, want the end", p.Command, err)
	}
}

// Who may bind, and how often.
func TestServerAccounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := startCentre(t, &Server{Options: Options{SystemID: "centre"}, Account: func(id string) (Account, bool) {
			accounts := map[string]Account{"imza": {"secret", 2}, "other": {"", 0}}
			account, ok := accounts[id]
			return account, ok
		}})
		for _, r := range []struct {
			id, password string
			want         Status
		}{
			{"nobody", "secret", StatusInvalidSystemID},
			{"", "", StatusInvalidSystemID},
			{"imza", "wrong", StatusInvalidPassword},
			{"imza", "", StatusInvalidPassword},
			{"imza", "secretx", StatusInvalidPassword},
			{"other", "x", StatusInvalidPassword},
		} {
			f := c.connect(64 << 10)
			if p := c.ask(f, BindTransceiver, r.id, r.password); p.Status != r.want || p.Sequence != 1 {
				t.Errorf("%q %q: %+v, want %#x", r.id, r.password, p, uint32(r.want))
			}
			f.gone() // each password costs a connection
		}
		first, second := c.connect(1000), c.connect(1000)
		for role, f := range map[Command]*farSide{BindTransmitter: first, BindReceiver: second} {
			p := c.ask(f, role, "imza", "secret")
			body, err := Parse(p.Command, p.Body)
			if answer, ok := body.(*BindResponse); p.Status != StatusOK || err != nil || !ok || answer.SystemID != "centre" {
				t.Errorf("%s: %+v %v", role, p, err)
			} else if version, _ := answer.TLVs.Get(TagSCInterfaceVersion); !bytes.Equal(version, []byte{0x34}) {
				t.Errorf("interface version %x", version)
			}
		}
		third := c.connect(1000)
		if p := c.ask(third, BindTransceiver, "imza", "secret"); p.Status != StatusAlreadyBound {
			t.Errorf("the third bind: %+v", p)
		}
		third.gone()
		for range 5 { // without limit
			if p := c.ask(c.connect(1000), BindTransceiver, "other", ""); p.Status != StatusOK {
				t.Errorf("%+v", p)
			}
		}
		for _, leave := range []func(){
			func() { first.conn.Close() },
			func() { second.say(PDU{Command: Unbind, Sequence: 2}); second.want(UnbindResp); second.gone() },
		} {
			leave()
			synctest.Wait()
			if p := c.ask(c.connect(1000), BindTransceiver, "imza", "secret"); p.Status != StatusOK {
				t.Errorf("after one left: %+v", p)
			}
			if p := c.ask(c.connect(1000), BindTransceiver, "imza", "secret"); p.Status != StatusAlreadyBound {
				t.Errorf("one left, and another: %+v", p)
			}
		}
	})
}

// What a connection that is not bound may say, and how long it may take.
func TestServerBeforeTheBind(t *testing.T) {
	const timeout = 10 * time.Second
	bubble(t, func(t *testing.T) {
		c := startCentre(t, &Server{Options: Options{Timeout: timeout, Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			t.Error("a message was taken before a bind")
			return "", StatusOK
		}}})
		f := c.connect(1000)
		began := time.Now()
		f.say(PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))})
		f.wantAnswer(SubmitSMResp, 2, StatusNotBound)
		f.say(PDU{Command: 0x666, Sequence: 3})
		f.wantAnswer(GenericNack, 3, StatusInvalidCommand)
		f.say(PDU{Command: SubmitSMResp, Sequence: 3})
		for n := range uint32(20) { // to be busy is not to bind
			time.Sleep(timeout / 21)
			f.say(PDU{Command: EnquireLink, Sequence: n})
			f.wantAnswer(EnquireLinkResp, n, StatusOK)
		}
		f.gone()
		if at := time.Since(began); at != timeout {
			t.Errorf("gone after %s, want %s", at, timeout)
		}
		f = c.connect(1000)
		f.say(PDU{Command: Unbind, Sequence: 4})
		f.wantAnswer(UnbindResp, 4, StatusOK)
		f.gone()
		f = c.connect(1000)
		began = time.Now()
		f.gone() // it said nothing at all
		if at := time.Since(began); at != timeout {
			t.Errorf("gone after %s, want %s", at, timeout)
		}
		f = c.connect(10) // and this one does not read
		f.say(PDU{Command: EnquireLink, Sequence: 1})
		time.Sleep(timeout)
		synctest.Wait()
		if _, err := f.conn.Write([]byte{0}); err == nil {
			t.Error("a connection that reads nothing is kept")
		}
	})
}

// Messages are taken on those who transmit, with the id that the handler gives,
// and delivered to those who receive.
func TestServerRoles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sessions := make(chan *Session, 1)
		c := startCentre(t, &Server{Bound: func(s *Session) { sessions <- s }, Options: Options{Handler: stored}})
		for role, want := range map[Command]struct{ submit, deliver Status }{
			BindTransmitter: {StatusOK, StatusNotBound},
			BindReceiver:    {StatusNotBound, StatusOK},
			BindTransceiver: {StatusOK, StatusOK},
		} {
			f := c.bound(role)
			f.say(PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))})
			answers := []PDU{f.wantAnswer(SubmitSMResp, 2, want.submit)}
			f.say(PDU{Command: DataSM, Sequence: 3, Body: encoded(t, &Data{TLVs: TLVs(nil).Add(TagMessagePayload, []byte("x"))})})
			answers = append(answers, f.wantAnswer(DataSMResp, 3, want.submit))
			for _, p := range answers {
				if want.submit == StatusOK && string(p.Body) != "kept\x00" {
					t.Errorf("%s: the id is %q", role, p.Body)
				}
			}
			f.say(PDU{Command: DeliverSM, Sequence: 4, Body: encoded(t, sms("x"))}) // that is for an ESME
			f.wantAnswer(DeliverSMResp, 4, StatusNotBound)
			f.say(PDU{Command: BindTransceiver, Sequence: 5, Body: encoded(t, &BindRequest{})})
			f.wantAnswer(BindTransceiverResp, 5, StatusAlreadyBound)
			s := <-sessions
			done := make(chan error)
			go func() { done <- s.Deliver(t.Context(), sms("x")) }()
			if want.deliver == StatusOK {
				f.say(PDU{Command: DeliverSMResp, Sequence: f.want(DeliverSM).Sequence, Status: StatusTemporary, Body: []byte{0}})
				want.deliver = StatusTemporary
			}
			if err := <-done; !errors.Is(err, want.deliver) {
				t.Errorf("%s: deliver: %v, want %v", role, err, want.deliver)
			}
		}
	})
}

// A refusal has no id.
func TestServerRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := startCentre(t, &Server{Options: Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			return "id", StatusInvalidDest
		}}})
		f := c.bound(BindTransceiver)
		f.say(PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))})
		if p := f.wantAnswer(SubmitSMResp, 2, StatusInvalidDest); len(p.Body) > 0 {
			t.Errorf("it has the body %x", p.Body)
		}
	})
}

// Who sends a bind, a message and an unbind in one packet has all of them
// answered, in this order.
func TestServerUnbindBehindAMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := startCentre(t, &Server{Options: Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			time.Sleep(5 * time.Millisecond)
			return "kept", StatusOK
		}}})
		for range 20 {
			f := c.connect(64 << 10)
			f.say(
				PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})},
				PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))},
				PDU{Command: Unbind, Sequence: 3})
			f.wantAnswer(BindTransceiverResp, 1, StatusOK)
			f.wantAnswer(SubmitSMResp, 2, StatusOK)
			f.wantAnswer(UnbindResp, 3, StatusOK)
			f.gone()
		}
	})
}

// hastyListener fails before it accepts.
type hastyListener struct {
	*memListener
	errs chan error
}

func (l hastyListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.memListener.Accept()
	}
}

// To be out of file descriptors for a while does not end a server; what is
// broken for good does.
func TestServerOutlivesATransientError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := hastyListener{newMemListener(), make(chan error, 10)}
		l.errs <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		l.errs <- &net.OpError{Op: "accept", Err: syscall.ECONNABORTED}
		server := &Server{}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		near, far := memPipe(1000)
		l.conns <- near
		f := &farSide{t, far}
		f.say(PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})})
		f.want(BindTransceiverResp)
		broken := errors.New("broken")
		l.errs <- broken
		near, idle := memPipe(1000)
		l.conns <- near
		if err := <-served; err != broken {
			t.Errorf("%v", err)
		}
		far.Close()
		idle.Close()
		_ = server.Close()
	})
}

// A server that was closed serves no more.
func TestServerServeAfterClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		server := new(Server)
		for range 2 {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := server.Serve(newMemListener()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// Close ends all that goes on, within its bound: sessions that are idle, that
// work, that wait for an answer, that read nothing, and connections that have
// not bound.
func TestServerClosesDuringAllKindsOfWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sessions := make(chan *Session, 1)
		left := make(chan struct{}, 10)
		c := startCentre(t, &Server{Bound: func(s *Session) { sessions <- s }, Options: Options{Handler: func(ctx context.Context, _ *Session, m *ShortMessage) (string, Status) {
			if string(m.Message) == "stuck" {
				<-ctx.Done()
			} else {
				time.Sleep(time.Second)
			}
			left <- struct{}{}
			return "kept", StatusOK
		}}})
		idle := c.bound(BindTransceiver)
		<-sessions
		works := c.bound(BindTransceiver)
		<-sessions
		works.say(PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))})
		stuck := c.bound(BindTransceiver)
		<-sessions
		stuck.say(PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("stuck"))})
		waits := c.bound(BindTransceiver)
		delivered := make(chan error, 1)
		s := <-sessions
		go func() { delivered <- s.Deliver(t.Context(), sms("x")) }()
		waits.want(DeliverSM)
		deaf := c.connect(32)
		deaf.say(PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})})
		<-sessions
		deaf.say(PDU{Command: EnquireLink, Sequence: 2}, PDU{Command: EnquireLink, Sequence: 3})
		silent := c.connect(1000)
		half := c.connect(1000)
		_, _ = half.conn.Write([]byte{0, 0, 0, 40, 0, 0})
		synctest.Wait()

		began := time.Now()
		closed := make(chan error)
		go func() { closed <- c.server.Close() }()
		for _, f := range []*farSide{silent, half} {
			f.gone()
		}
		f := idle
		f.say(PDU{Command: UnbindResp, Sequence: f.want(Unbind).Sequence})
		f.gone()
		if at := time.Since(began); at != 0 {
			t.Errorf("who does nothing was kept for %s", at)
		}
		works.wantAnswer(SubmitSMResp, 2, StatusOK)
		works.say(PDU{Command: UnbindResp, Sequence: works.want(Unbind).Sequence})
		works.gone()
		if at := time.Since(began); at != time.Second {
			t.Errorf("who worked for a second was kept for %s", at)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if at := time.Since(began); at > 4*time.Second {
			t.Errorf("Close took %s", at)
		}
		if err := <-delivered; !errors.Is(err, ErrUnanswered) {
			t.Errorf("what was not acknowledged: %v", err)
		}
		if len(left) != 2 {
			t.Errorf("%d handlers have returned, want 2", len(left))
		}
		waits.want(Unbind)
		waits.gone()
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		if len(c.server.sessions)+len(c.server.binds)+len(c.server.open) > 0 {
			t.Errorf("still kept: %d sessions, %v, %d connections", len(c.server.sessions), c.server.binds, len(c.server.open))
		}
	})
}

// Close may come at any moment of a bind.
func TestServerClosesAtAnyMoment(t *testing.T) {
	for n := range 20 {
		bubble(t, func(t *testing.T) {
			server := &Server{Bound: func(*Session) { time.Sleep(time.Duration(n%3) * time.Microsecond) }}
			l := newMemListener()
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			near, far := memPipe(1000)
			l.conns <- near
			go func() {
				p := PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})}
				_, _ = far.Write(p.Append(nil))
				for {
					p, err := ReadPDU(far, MaxPDU)
					if err != nil {
						return
					}
					if p.Command == Unbind {
						_, _ = far.Write((&PDU{Command: UnbindResp, Sequence: p.Sequence}).Append(nil))
					}
				}
			}()
			for range n {
				runtime.Gosched()
			}
			time.Sleep(time.Duration(n%4) * time.Microsecond)
			began := time.Now()
			_ = server.Close()
			if at := time.Since(began); at > time.Second {
				t.Errorf("Close took %s", at)
			}
			if err := <-served; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
}

// What a server's sessions cost that do nothing.
const (
	idleGoroutines = 2        // of each
	idleMemory     = 16 << 10 // octets of each, goroutine stacks included
)

// One process holds thousands of binds, and each costs little.
func TestServerOfThousands(t *testing.T) {
	if testing.Short() {
		t.Skip("it opens thousands of connections")
	}
	const binds = 2000
	server := new(Server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conns := make([]net.Conn, 0, binds)
	bind := (&PDU{Command: BindTransceiver, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "x"})}).Append(nil)
	before := settledUse()
	for range binds {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.Write(bind); err != nil {
			t.Fatal(err)
		}
		if p, err := ReadPDU(conn, MaxPDU); err != nil || p.Status != StatusOK {
			t.Fatalf("%+v %v", p, err)
		}
	}
	after := settledUse()
	goroutines := float64(after.goroutines-before.goroutines) / binds
	memory := (after.memory - before.memory) / binds
	t.Logf("an idle session costs %.2f goroutines and %d octets", goroutines, memory)
	if goroutines > idleGoroutines+.1 || memory > idleMemory {
		t.Errorf("an idle session costs %.2f goroutines and %d octets, want at most %d and %d", goroutines, memory, idleGoroutines, idleMemory)
	}
	for _, i := range []int{0, binds / 2, binds - 1} { // all are alive
		if _, err := conns[i].Write((&PDU{Command: EnquireLink, Sequence: 2}).Append(nil)); err != nil {
			t.Fatal(err)
		}
		if p, err := ReadPDU(conns[i], MaxPDU); err != nil || p.Command != EnquireLinkResp {
			t.Errorf("%+v %v", p, err)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	_ = server.Close()
	<-served
	if n := runtime.NumGoroutine(); n > before.goroutines+5 {
		t.Errorf("%d goroutines are left of %d", n, before.goroutines)
	}
}

// Bound is told of each session before anything else of it is served, with what
// it was bound as.
func TestServerTellsOfBinds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told []string
		c := startCentre(t, &Server{
			Bound: func(s *Session) {
				told = append(told, fmt.Sprint("bound ", s.Request().SystemID, s.Transmits(), s.Receives()))
			},
			Options: Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
				told = append(told, "message")
				return "", StatusOK
			}}})
		f := c.connect(64 << 10)
		f.say(
			PDU{Command: BindTransmitter, Sequence: 1, Body: encoded(t, &BindRequest{SystemID: "imza"})},
			PDU{Command: SubmitSM, Sequence: 2, Body: encoded(t, sms("x"))})
		f.want(BindTransmitterResp)
		f.want(SubmitSMResp)
		if want := []string{"bound imzatrue false", "message"}; !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}
