package smpp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// inUse is what the process has in use.
type inUse struct {
	goroutines int
	memory     int // heap and stacks
}

// settledUse is what is in use once all that ends has ended.
func settledUse() inUse {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return inUse{runtime.NumGoroutine(), int(m.HeapInuse + m.StackInuse)}
}

// wantUse waits until no more is in use than before, but for some slack.
func wantUse(t *testing.T, before inUse, slack int) {
	t.Helper()
	var now inUse
	for range 100 {
		if now = settledUse(); now.goroutines <= before.goroutines && now.memory <= before.memory+slack {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 16<<10)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("in use %+v, before %+v\n%s", now, before, stacks)
}

// A thousand sessions that end in many ways, by sockets, leave nothing behind
// on either side.
func TestThousandSessionsLeaveNothing(t *testing.T) {
	accounts := func(id string) (Account, bool) { return Account{Password: "secret"}, id == "imza" }
	server := &Server{Account: accounts, Options: Options{Handler: stored}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	endings := []func(s *Session, conn *net.TCPConn){
		func(s *Session, _ *net.TCPConn) { _ = s.Close() },
		func(_ *Session, conn *net.TCPConn) { conn.Close() },
		func(_ *Session, conn *net.TCPConn) { _ = conn.SetLinger(0); conn.Close() }, // a reset
		func(_ *Session, conn *net.TCPConn) { _ = conn.CloseWrite() },
		func(_ *Session, conn *net.TCPConn) { _, _ = conn.Write([]byte{0, 0, 0, 1}) }, // it gets a nack and the end
		func(s *Session, _ *net.TCPConn) { s.respond(PDU{Command: Unbind, Sequence: 99}) },
		func(s *Session, conn *net.TCPConn) { // with requests under way
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { _, _ = s.Submit(context.Background(), sms("x")) })
			}
			conn.Close()
			all.Wait()
		},
	}
	session := func(n int) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		request := BindRequest{SystemID: "imza", Password: "secret"}
		if n%10 == 9 {
			request.Password = "wrong"
		}
		s, err := Bind(t.Context(), conn, BindTransceiver, request, Options{Handler: stored})
		if (err == nil) == (n%10 == 9) {
			t.Errorf("bind %d: %v", n, err)
		}
		if err != nil {
			return
		}
		if _, err := s.Submit(t.Context(), sms("x")); err != nil {
			t.Error(err)
		}
		endings[n%len(endings)](s, conn.(*net.TCPConn))
		select {
		case <-s.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("session %d, ending %d, does not end", n, n%len(endings))
		}
		s.wait()
	}
	var before inUse
	for n := range 1000 {
		session(n)
		if n == 99 { // what is made once has been
			time.Sleep(20 * time.Millisecond)
			before = settledUse()
		}
	}
	wantUse(t, before, 1<<20)
	_ = server.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// A pool that has bound a thousand times has no more than after the first ones,
// and nothing when it has ended: a bubble does not end with goroutines in it.
func TestThousandRebindsLeaveNothing(t *testing.T) {
	before := settledUse()
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		far.bind = func(n int) Status { return []Status{StatusOK, StatusOK, StatusAlreadyBound, farHangUp}[n%4] }
		far.unreachable = func(n int) bool { return n%7 == 0 }
		far.submit = func(n int, _ string) Status {
			return []Status{farHangUp, StatusNotBound, farHangUp, farSilent}[n%4]
		}
		far.bound = func(n int, c *farSide) { // the silent ones too, once their session has lasted
			time.AfterFunc(time.Duration(n%7)*time.Second, func() { c.conn.Close() })
		}
		p := &Pool{Binds: 2, Dial: far.dial, Options: Options{Timeout: time.Second}}
		running(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for n := range 5 {
			all.Go(func() {
				for ctx.Err() == nil {
					_, _ = p.Submit(ctx, nil, segments(fmt.Sprint(n), 2)...)
				}
			})
		}
		goroutines := 0
		for n := 0; n < 1000; n = len(far.attempts()) {
			time.Sleep(10 * time.Second)
			if goroutines == 0 && n > 50 {
				goroutines = runtime.NumGoroutine()
			}
		}
		if now := runtime.NumGoroutine(); now > goroutines+20 {
			t.Errorf("%d goroutines, %d after the first fifty binds", now, goroutines)
		}
		cancel()
		all.Wait()
	})
	wantUse(t, before, 2<<20)
}
