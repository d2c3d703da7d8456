package smpp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Sessions are tested in bubbles, where the clock goes by leaps and what a
// promise says of time can be held to the nanosecond. Sockets cannot be there,
// so both ends are joined by buffers in memory.

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	// Channels must not cross a bubble's border, and calls keeps some. The second
	// collection empties a sync.Pool.
	empty := func() { runtime.GC(); runtime.GC() }
	empty()
	defer empty()
	synctest.Test(t, test)
}

// memWay is one direction of a connection: a buffer that holds so much, as a
// socket's does.
type memWay struct {
	mu           sync.Mutex
	moved        *sync.Cond
	data         []byte
	size         int
	ended        bool // who writes has closed
	deaf         bool // who reads has
	reads, write memDeadline
}

// memDeadline is when reading or writing ends; zero is never.
type memDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *memDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (w *memWay) setDeadline(d *memDeadline, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = at, nil
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), w.wake)
	}
	w.moved.Broadcast()
}

func (w *memWay) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moved.Broadcast()
}

func (w *memWay) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.data)
}

// memConn is one end of a connection in memory.
type memConn struct{ in, out *memWay }

// memPipe makes both ends; each direction holds size octets.
func memPipe(size int) (a, b *memConn) {
	way := func() *memWay {
		w := &memWay{size: size}
		w.moved = sync.NewCond(&w.mu)
		return w
	}
	to, from := way(), way()
	return &memConn{in: from, out: to}, &memConn{in: to, out: from}
}

func (c *memConn) Read(b []byte) (int, error) {
	w := c.in
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.deaf:
			return 0, net.ErrClosed
		case w.reads.passed():
			return 0, os.ErrDeadlineExceeded
		case len(w.data) > 0:
			n := copy(b, w.data)
			w.data = w.data[n:]
			w.moved.Broadcast()
			return n, nil
		case w.ended:
			return 0, io.EOF
		}
		w.moved.Wait()
	}
}

func (c *memConn) Write(b []byte) (n int, err error) {
	w := c.out
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.ended:
			return n, net.ErrClosed
		case w.write.passed():
			return n, os.ErrDeadlineExceeded
		case w.deaf:
			return n, io.ErrClosedPipe
		case n == len(b):
			return n, nil
		}
		if room := min(w.size-len(w.data), len(b)-n); room > 0 {
			w.data = append(w.data, b[n:n+room]...)
			n += room
			w.moved.Broadcast()
			continue
		}
		w.moved.Wait()
	}
}

func (c *memConn) Close() error {
	for _, w := range []*memWay{c.in, c.out} {
		w.mu.Lock()
		if w == c.in {
			w.deaf = true
		} else {
			w.ended = true
		}
		w.moved.Broadcast()
		w.mu.Unlock()
	}
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error { c.in.setDeadline(&c.in.reads, t); return nil }

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.write, t)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memConn) LocalAddr() net.Addr  { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr { return memAddr{} }

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "memory" }

// farSide is the other end of a session, played PDU by PDU.
type farSide struct {
	t    *testing.T
	conn *memConn
}

// next reads one PDU.
func (f *farSide) next() PDU {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(time.Hour)) // so that a test that is wrong ends
	p, err := ReadPDU(f.conn, MaxPDU)
	if err != nil {
		f.t.Fatalf("the far side reads: %v", err)
	}
	return p
}

// want reads one PDU that must be this command.
func (f *farSide) want(c Command) PDU {
	f.t.Helper()
	p := f.next()
	if p.Command != c {
		f.t.Fatalf("%s came, want %s", p.Command, c)
	}
	return p
}

// wantAnswer reads the response to sequence that must have this status.
func (f *farSide) wantAnswer(c Command, sequence uint32, status Status) PDU {
	f.t.Helper()
	p := f.want(c)
	if p.Sequence != sequence || p.Status != status {
		f.t.Fatalf("%s has sequence %d and status %#x, want %d and %#x", c, p.Sequence, uint32(p.Status), sequence, uint32(status))
	}
	return p
}

// none fails if anything came that was not read.
func (f *farSide) none() {
	f.t.Helper()
	synctest.Wait()
	if n := f.conn.in.waiting(); n > 0 {
		f.t.Fatalf("%s came, want nothing", f.next().Command)
	}
}

func (f *farSide) say(all ...PDU) {
	f.t.Helper()
	for _, p := range all {
		if _, err := f.conn.Write(p.Append(nil)); err != nil {
			f.t.Fatalf("the far side writes %s: %v", p.Command, err)
		}
	}
}

// accept answers a submit_sm or deliver_sm well.
func (f *farSide) accept(p PDU, id string) {
	f.t.Helper()
	f.say(PDU{Command: p.Command | response, Sequence: p.Sequence, Body: append([]byte(id), 0)})
}

// sms is a message that says text.
func sms(text string) *ShortMessage {
	return &ShortMessage{Source: Address{TON: 5, Addr: "imza"}, Dest: International("994500000001"), Message: []byte(text)}
}

func encoded(t *testing.T, body Body) []byte {
	t.Helper()
	raw, err := body.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// said is the text of a submit_sm or deliver_sm.
func said(t *testing.T, p PDU) string {
	t.Helper()
	m, err := ParseShortMessage(p.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Message)
}

// bindOver binds an ESME's session to a far side over a connection that holds
// so much.
func bindOver(t *testing.T, size int, role Command, options Options) (*Session, *farSide) {
	t.Helper()
	near, far := memPipe(size)
	f := &farSide{t, far}
	var s *Session
	bound := make(chan error, 1)
	go func() {
		var err error
		s, err = Bind(t.Context(), near, role, BindRequest{SystemID: "imza", Password: "secret"}, options)
		bound <- err
	}()
	p := f.want(role)
	f.say(PDU{Command: role | response, Sequence: p.Sequence, Body: []byte("smsc\x00")})
	if err := <-bound; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		far.Close()
		_ = s.Close()
	})
	return s, f
}

// boundESME is what most tests need.
func boundESME(t *testing.T, options Options) (*Session, *farSide) {
	t.Helper()
	return bindOver(t, 64<<10, BindTransceiver, options)
}

// result is what became of a request.
type result struct {
	id    string
	err   error
	after time.Duration // since it was made
}

// submitting submits beside the test.
func submitting(ctx context.Context, s *Session, m *ShortMessage) <-chan result {
	done := make(chan result, 1)
	began := time.Now()
	go func() {
		id, err := s.Submit(ctx, m)
		done <- result{id, err, time.Since(began)}
	}()
	return done
}

// stored is a handler that takes everything.
func stored(context.Context, *Session, *ShortMessage) (string, Status) { return "kept", StatusOK }

// A deliver_sm that carries the number of a submit in flight is no response to
// it, nor is a response to another command.
func TestSequencesOfBothSidesAreApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Handler: stored})
		done := submitting(t.Context(), s, sms("ours"))
		ours := far.want(SubmitSM)
		far.say(PDU{Command: DeliverSM, Sequence: ours.Sequence, Body: encoded(t, sms("theirs"))})
		far.wantAnswer(DeliverSMResp, ours.Sequence, StatusOK)
		far.say(PDU{Command: EnquireLink, Sequence: ours.Sequence})
		far.wantAnswer(EnquireLinkResp, ours.Sequence, StatusOK)
		far.say(PDU{Command: EnquireLinkResp, Sequence: ours.Sequence}, PDU{Command: DataSMResp, Sequence: ours.Sequence, Status: StatusSystemError})
		synctest.Wait()
		if n := s.Unanswered(); n != 1 {
			t.Fatalf("%d requests are unanswered, want the submit", n)
		}
		far.accept(ours, "right")
		if r := <-done; r.id != "right" || r.err != nil {
			t.Errorf("%q %v", r.id, r.err)
		}
		if n := s.options.stats.late.Load(); n != 2 {
			t.Errorf("%d responses to nothing were counted, want 2", n)
		}
	})
}

// Sequence numbers are 1 to 7FFFFFFF, and none is used that still waits.
func TestSequenceNumbersWrap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Window: 100})
		from := func(sequence uint32) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sequence = sequence
		}
		next := func() (uint32, <-chan result) {
			done := submitting(t.Context(), s, sms("x"))
			return far.want(SubmitSM).Sequence, done
		}
		from(0)
		one, _ := next()
		two, second := next()
		from(maxSequence - 2)
		var got []uint32
		for range 4 {
			n, _ := next()
			got = append(got, n)
		}
		if want := []uint32{maxSequence - 1, maxSequence, 3, 4}; one != 1 || two != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("numbers %d, %d, %d, want 1, 2, %d", one, two, got, want)
		}
		far.accept(PDU{Command: SubmitSM, Sequence: two}, "second")
		if r := <-second; r.id != "second" {
			t.Errorf("after the wrap number 2 ends as %+v", r)
		}
		from(maxSequence)
		if n, _ := next(); n != 2 { // 1 still waits, 2 no longer
			t.Errorf("number %d, want 2", n)
		}
	})
}

// Each request has its own deadline, exactly. What answers later is counted and
// harms nobody.
func TestEachRequestHasItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		s, far := boundESME(t, Options{Timeout: timeout, Enquire: time.Hour})
		var dones []<-chan result
		var asked []PDU
		for range 3 {
			dones = append(dones, submitting(t.Context(), s, sms("x")))
			asked = append(asked, far.want(SubmitSM))
			time.Sleep(time.Second)
		}
		answered := submitting(t.Context(), s, sms("answered"))
		p := far.want(SubmitSM)
		time.Sleep(timeout - 4*time.Second)
		far.accept(p, "in time")
		if r := <-answered; r.err != nil {
			t.Error(r.err)
		}
		for i, done := range dones {
			r := <-done
			if !errors.Is(r.err, ErrTimeout) || !errors.Is(r.err, ErrUnanswered) || errors.Is(r.err, ErrClosed) || r.after != timeout {
				t.Errorf("request %d: %v after %s, want a time-out after %s", i, r.err, r.after, timeout)
			}
			if i == 0 {
				far.say(PDU{Command: EnquireLinkResp, Sequence: far.want(EnquireLink).Sequence})
				synctest.Wait()
			} else {
				p := far.want(EnquireLink) // each asks again, the last was answered
				far.say(PDU{Command: EnquireLinkResp, Sequence: p.Sequence})
			}
		}
		far.accept(asked[0], "late")
		synctest.Wait()
		st := s.options.stats
		if st.overdue.Load() != 3 || st.late.Load() != 1 || s.Unanswered() != 0 || s.Err() != nil {
			t.Errorf("%d overdue, %d late, %d unanswered, session %v", st.overdue.Load(), st.late.Load(), s.Unanswered(), s.Err())
		}
		done := submitting(t.Context(), s, sms("next"))
		far.accept(far.want(SubmitSM), "fresh")
		if r := <-done; r.id != "fresh" || r.err != nil {
			t.Errorf("%+v", r)
		}
	})
}

// An enquiry that somebody made has a deadline too, and the answer ends it.
func TestEnquire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Timeout: time.Second})
		go func() {
			p := far.want(EnquireLink)
			far.say(PDU{Command: EnquireLinkResp, Sequence: p.Sequence})
		}()
		if err := s.Enquire(t.Context()); err != nil {
			t.Error(err)
		}
		began := time.Now()
		if err := s.Enquire(t.Context()); !errors.Is(err, ErrTimeout) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// A request that stays unanswered raises the question whether the other side is
// there: it has as long again to show that it is.
func TestOverdueRequestAsksWhetherThePeerIsThere(t *testing.T) {
	const timeout = 10 * time.Second
	for name, c := range map[string]struct {
		sign func(far *farSide, probe PDU) // of life
		dies bool
	}{
		"no answer":   {func(*farSide, PDU) {}, true},
		"answers":     {func(far *farSide, p PDU) { far.say(PDU{Command: EnquireLinkResp, Sequence: p.Sequence}) }, false},
		"nacks":       {func(far *farSide, p PDU) { far.say(PDU{Command: GenericNack, Status: 3, Sequence: p.Sequence}) }, false},
		"asks itself": {func(far *farSide, _ PDU) { far.say(PDU{Command: EnquireLink, Sequence: 5}) }, false},
		"delivers": {func(far *farSide, _ PDU) {
			far.say(PDU{Command: DeliverSM, Sequence: 6, Body: encoded(far.t, sms("m"))})
		}, false},
		"answers what's old": {func(far *farSide, _ PDU) { far.say(PDU{Command: SubmitSMResp, Sequence: 2, Body: []byte("1\x00")}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, far := boundESME(t, Options{Timeout: timeout, Enquire: 5 * time.Minute, Handler: stored})
				began := time.Now()
				done := submitting(t.Context(), s, sms("x"))
				far.want(SubmitSM)
				probe := far.want(EnquireLink)
				if at := time.Since(began); at != timeout {
					t.Errorf("enquire_link after %s, want %s", at, timeout)
				}
				if r := <-done; r.after != timeout {
					t.Errorf("the request ended after %s", r.after)
				}
				time.Sleep(timeout - time.Second)
				c.sign(far, probe)
				if !c.dies {
					time.Sleep(2*time.Second + timeout)
					if s.Err() != nil {
						t.Errorf("the session ended: %v", s.Err())
					}
					return
				}
				second := submitting(t.Context(), s, sms("y"))
				<-s.Done()
				if at := time.Since(began); at != 2*timeout || !errors.Is(s.Err(), ErrTimeout) {
					t.Errorf("the session ended after %s, %v, want %s", at, s.Err(), 2*timeout)
				}
				if r := <-second; !errors.Is(r.err, ErrUnanswered) {
					t.Errorf("what was sent last: %v", r.err)
				}
			})
		})
	}
}

// After a silence the other side is asked, and again after the next one; it is
// left alone while it is heard.
func TestKeepAlive(t *testing.T) {
	const enquire, timeout = 30 * time.Second, 10 * time.Second
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Timeout: timeout, Enquire: enquire})
		for range 3 {
			last := time.Now()
			p := far.want(EnquireLink)
			if at := time.Since(last); at != enquire {
				t.Errorf("enquire_link after %s of silence, want %s", at, enquire)
			}
			far.say(PDU{Command: EnquireLinkResp, Sequence: p.Sequence})
			synctest.Wait()
		}
		for range 20 {
			time.Sleep(enquire - time.Second)
			far.say(PDU{Command: EnquireLink, Sequence: 1})
			far.want(EnquireLinkResp)
			done := submitting(t.Context(), s, sms("x")) // our own traffic counts when it is answered
			p := far.want(SubmitSM)
			time.Sleep(time.Second)
			far.accept(p, "1")
			<-done
		}
		last := time.Now()
		far.want(EnquireLink)
		if at := time.Since(last); at != enquire {
			t.Errorf("enquire_link after %s, want %s", at, enquire)
		}
		<-s.Done()
		if at := time.Since(last); at != enquire+timeout || !errors.Is(s.Err(), ErrTimeout) {
			t.Errorf("ended after %s: %v", at, s.Err())
		}
	})
}

// What cannot be written for as long as a request may take ends the session.
func TestWriteDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		s, far := bindOver(t, 128, BindTransceiver, Options{Timeout: timeout, Enquire: time.Hour})
		began := time.Now()
		for n := range uint32(20) { // more than the connection holds of answers
			far.say(PDU{Command: EnquireLink, Sequence: n + 1})
		}
		<-s.Done()
		if at := time.Since(began); at != timeout || !errors.Is(s.Err(), os.ErrDeadlineExceeded) {
			t.Errorf("ended after %s: %v, want %s and a write deadline", at, s.Err(), timeout)
		}
	})
}

// A request to a peer that reads nothing costs its caller the deadline.
func TestSubmitToAPeerThatNeverReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 10 * time.Second
		s, _ := bindOver(t, 64, BindTransceiver, Options{Timeout: timeout})
		if r := <-submitting(t.Context(), s, sms("more than the connection holds, of which nothing is read")); r.after != timeout || !errors.Is(r.err, ErrUnanswered) {
			t.Errorf("%v after %s", r.err, r.after)
		}
		<-s.Done()
	})
}

// A bind that is not answered, or cannot even be written, ends in time, and the
// connection with it.
func TestBindDeadline(t *testing.T) {
	const timeout = 10 * time.Second
	for name, c := range map[string]struct {
		size   int
		within time.Duration // what the caller grants; 0 is without end
		want   time.Duration
	}{
		"not answered":      {1000, 0, timeout},
		"not read":          {4, 0, timeout},
		"caller in a hurry": {1000, time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				near, far := memPipe(c.size)
				ctx := t.Context()
				if c.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.within)
					defer cancel()
				}
				began := time.Now()
				_, err := Bind(ctx, near, BindTransceiver, BindRequest{SystemID: "imza"}, Options{Timeout: timeout})
				if at := time.Since(began); err == nil || at != c.want {
					t.Errorf("%v after %s, want %s", err, at, c.want)
				}
				if _, err := io.ReadAll(far); err != nil {
					t.Errorf("the connection is not closed: %v", err)
				}
			})
		})
	}
	t.Run("caller leaves", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			near, _ := memPipe(1000)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			began := time.Now()
			if _, err := Bind(ctx, near, BindTransceiver, BindRequest{SystemID: "imza"}, Options{}); err == nil || time.Since(began) != time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	})
}

// What answers a bind: its own response or a generic_nack, and nothing else.
func TestBindAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		say  []PDU
		want error
	}{
		"refused":               {[]PDU{{Command: BindTransceiverResp, Status: StatusInvalidPassword, Sequence: 1}}, StatusInvalidPassword},
		"nack":                  {[]PDU{{Command: GenericNack, Status: StatusSystemError, Sequence: 1}}, StatusSystemError},
		"nack without reason":   {[]PDU{{Command: GenericNack, Sequence: 1}}, StatusInvalidCommand},
		"impossible length":     {[]PDU{{Command: BindTransceiverResp, Sequence: 1, Body: make([]byte, 2000)}}, ErrFraming},
		"without a body":        {[]PDU{{Command: BindTransceiverResp, Sequence: 1}}, nil},
		"a body of nonsense":    {[]PDU{{Command: BindTransceiverResp, Sequence: 1, Body: []byte("no end")}}, nil},
		"others before it":      {[]PDU{{Command: Outbind, Sequence: 1}, {Command: BindTransceiverResp, Sequence: 9, Status: 8}, {Command: BindReceiverResp, Sequence: 1, Status: 8}, {Command: BindTransceiverResp, Sequence: 1}}, nil},
		"closes without a word": {nil, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				near, conn := memPipe(64 << 10)
				far := &farSide{t, conn}
				far.say(c.say...)
				conn.out.mu.Lock()
				conn.out.ended = c.want == io.EOF
				conn.out.mu.Unlock()
				s, err := Bind(t.Context(), near, BindTransceiver, BindRequest{SystemID: "imza"}, Options{})
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%v, want %v", err, c.want)
				}
				if s != nil {
					conn.Close()
					_ = s.Close()
				}
			})
		})
	}
}

// What was said at the bind can be asked for, and messages that came in one
// packet with the answer are not lost.
func TestBindKeepsWhatFollows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, conn := memPipe(64 << 10)
		far := &farSide{t, conn}
		answer := BindResponse{SystemID: "theirs", TLVs: TLVs(nil).Add(TagSCInterfaceVersion, []byte{0x34})}
		far.say(PDU{Command: BindReceiverResp, Sequence: 1, Body: encoded(t, &answer)}, PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("at once"))})
		got := make(chan string, 1)
		s, err := Bind(t.Context(), near, BindReceiver, BindRequest{SystemID: "imza", Password: "secret"}, Options{
			Handler: func(_ context.Context, _ *Session, m *ShortMessage) (string, Status) {
				got <- string(m.Message)
				return "", StatusOK
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { conn.Close(); _ = s.Close() }()
		if text := <-got; text != "at once" {
			t.Errorf("%q came", text)
		}
		asked := far.want(BindReceiver)
		body, err := Parse(asked.Command, asked.Body)
		if r, ok := body.(*BindRequest); err != nil || !ok || r.SystemID != "imza" || r.Password != "secret" || r.InterfaceVersion != 0x34 || asked.Sequence != 1 {
			t.Errorf("the bind was %+v %v", body, err)
		}
		far.wantAnswer(DeliverSMResp, 1, StatusOK)
		version, _ := s.Answer().TLVs.Get(TagSCInterfaceVersion)
		if s.Answer().SystemID != "theirs" || !bytes.Equal(version, []byte{0x34}) || s.Request().SystemID != "imza" || s.Transmits() || !s.Receives() {
			t.Errorf("%+v %+v", s.Answer(), s.Request())
		}
	})
}

// A message is acknowledged once the handler has returned and not before, with
// the status it chose. Meanwhile the session does all else.
func TestAcknowledgedOnceStored(t *testing.T) {
	for _, status := range []Status{StatusOK, StatusTemporary, StatusPermanent, StatusQueueFull} {
		for _, command := range []Command{DeliverSM, DataSM} {
			t.Run(fmt.Sprintf("%s %#x", command, uint32(status)), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					storing := make(chan struct{})
					var got *ShortMessage
					s, far := boundESME(t, Options{Handler: func(_ context.Context, _ *Session, m *ShortMessage) (string, Status) {
						got = m
						<-storing
						return "", status
					}})
					m := sms("hello")
					body := encoded(t, m)
					if command == DataSM {
						body = encoded(t, &Data{Source: m.Source, Dest: m.Dest, TLVs: TLVs(nil).Add(TagMessagePayload, m.Message)})
					}
					far.say(PDU{Command: command, Sequence: 77, Body: body})
					far.none()
					far.say(PDU{Command: EnquireLink, Sequence: 78})
					far.wantAnswer(EnquireLinkResp, 78, StatusOK)
					done := submitting(t.Context(), s, sms("ours"))
					far.accept(far.want(SubmitSM), "1")
					if r := <-done; r.err != nil {
						t.Error(r.err)
					}
					time.Sleep(5 * time.Second)
					far.none()
					close(storing)
					p := far.wantAnswer(command|response, 77, status)
					if !bytes.Equal(p.Body, []byte{0}) {
						t.Errorf("the response has the body %x", p.Body)
					}
					if string(got.Content()) != "hello" || got.Dest != m.Dest || got.Source != m.Source {
						t.Errorf("%+v", got)
					}
				})
			})
		}
	}
}

// What is more than may be in the handler at once is sent away, to come again.
func TestTooManyMessagesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		storing := make(chan struct{})
		s, far := boundESME(t, Options{Inbound: 2, Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			<-storing
			return "", StatusOK
		}})
		for n := range uint32(3) {
			far.say(PDU{Command: DeliverSM, Sequence: 10 + n, Body: encoded(t, sms("x"))})
		}
		far.wantAnswer(DeliverSMResp, 12, StatusQueueFull)
		far.none()
		storing <- struct{}{}
		far.want(DeliverSMResp)
		far.say(PDU{Command: DeliverSM, Sequence: 13, Body: encoded(t, sms("x"))}) // there is room again
		far.none()
		close(storing)
		far.want(DeliverSMResp)
		far.want(DeliverSMResp)
		if st := s.options.stats; st.full.Load() != 1 || st.messages.Load() != 3 {
			t.Errorf("%d turned away, %d taken", st.full.Load(), st.messages.Load())
		}
	})
}

// Where a session does not take messages they are refused, and it takes none to
// send.
func TestRolesOfAnESME(t *testing.T) {
	for _, c := range []struct {
		role    Command
		handler Handler
		deliver Status // what deliver_sm and data_sm are answered with
		submit  bool
	}{
		{BindTransceiver, stored, StatusOK, true},
		{BindReceiver, stored, StatusOK, false},
		{BindTransmitter, stored, StatusNotBound, true},
		{BindTransceiver, nil, StatusNotBound, true},
	} {
		t.Run(c.role.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, far := bindOver(t, 64<<10, c.role, Options{Handler: c.handler})
				far.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("x"))})
				far.wantAnswer(DeliverSMResp, 1, c.deliver)
				far.say(PDU{Command: DataSM, Sequence: 2, Body: encoded(t, &Data{TLVs: TLVs(nil).Add(TagMessagePayload, []byte("x"))})})
				far.wantAnswer(DataSMResp, 2, c.deliver)
				far.say(PDU{Command: SubmitSM, Sequence: 3, Body: encoded(t, sms("x"))}) // that is for an SMSC
				far.wantAnswer(SubmitSMResp, 3, StatusNotBound)
				done := submitting(t.Context(), s, sms("x"))
				if c.submit {
					far.accept(far.want(SubmitSM), "1")
				}
				if r := <-done; (r.err == nil) != c.submit || !c.submit && !errors.Is(r.err, StatusNotBound) {
					t.Errorf("submit: %v", r.err)
				}
				far.none()
			})
		})
	}
}

// A refusal is the Status that it came with.
func TestRefusalIsAStatus(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		for _, status := range []Status{StatusInvalidDest, StatusThrottled, 0x400} {
			done := submitting(t.Context(), s, sms("x"))
			far.say(PDU{Command: SubmitSMResp, Status: status, Sequence: far.want(SubmitSM).Sequence})
			var got Status
			if r := <-done; !errors.As(r.err, &got) || got != status || errors.Is(r.err, ErrUnanswered) {
				t.Errorf("%v, want %#x", r.err, uint32(status))
			}
		}
	})
}

// A message that cannot be written costs nothing but itself.
func TestMessageThatCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Window: 1})
		bad := sms("x")
		bad.Dest.Addr = "123456789012345678901"
		var field *FieldError
		for range 3 {
			if r := <-submitting(t.Context(), s, bad); !errors.As(r.err, &field) || field.Field != "destination_addr" {
				t.Errorf("%v", r.err)
			}
		}
		huge := sms("")
		huge.TLVs = huge.TLVs.Add(TagMessagePayload, make([]byte, 65535)).Add(0x1400, make([]byte, 65535))
		if r := <-submitting(t.Context(), s, huge); !errors.As(r.err, &field) {
			t.Errorf("%v", r.err)
		}
		far.none()
		done := submitting(t.Context(), s, sms("good"))
		far.accept(far.want(SubmitSM), "1")
		if r := <-done; r.err != nil || s.Unanswered() != 0 {
			t.Errorf("%v, %d unanswered", r.err, s.Unanswered())
		}
	})
}

// An unbind is answered behind what was taken before it, and ends the session.
func TestUnbindBehindMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			time.Sleep(500 * time.Millisecond)
			return "", StatusOK
		}})
		done := submitting(t.Context(), s, sms("unanswered"))
		far.want(SubmitSM)
		far.say(
			PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("a"))},
			PDU{Command: DeliverSM, Sequence: 2, Body: encoded(t, sms("b"))},
			PDU{Command: Unbind, Sequence: 3})
		far.want(DeliverSMResp)
		far.want(DeliverSMResp)
		far.wantAnswer(UnbindResp, 3, StatusOK)
		if _, err := ReadPDU(far.conn, MaxPDU); err != io.EOF {
			t.Errorf("after the unbind: %v", err)
		}
		if r := <-done; !errors.Is(r.err, ErrUnanswered) || errors.Is(r.err, ErrClosed) {
			t.Errorf("the request that was not answered: %v", r.err)
		}
		if !errors.Is(s.Err(), errUnbound) {
			t.Errorf("%v", s.Err())
		}
		if r := <-submitting(t.Context(), s, sms("too late")); !errors.Is(r.err, ErrClosed) || errors.Is(r.err, ErrUnanswered) {
			t.Errorf("a request after the end: %v", r.err)
		}
	})
}

// While an unbind waits for the handler, responses are still read.
func TestUnbindLetsResponsesIn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			time.Sleep(500 * time.Millisecond)
			return "", StatusOK
		}})
		done := submitting(t.Context(), s, sms("x"))
		p := far.want(SubmitSM)
		far.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("a"))}, PDU{Command: Unbind, Sequence: 3})
		far.accept(p, "just in time")
		if r := <-done; r.id != "just in time" || r.err != nil {
			t.Errorf("%+v", r)
		}
		far.want(DeliverSMResp)
		far.want(UnbindResp)
	})
}

// A handler that is stuck does not keep an unbind waiting for long.
func TestUnbindDoesNotWaitForever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, far := boundESME(t, Options{Handler: func(ctx context.Context, _ *Session, _ *ShortMessage) (string, Status) {
			<-ctx.Done()
			return "", StatusOK
		}})
		far.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("a"))}, PDU{Command: Unbind, Sequence: 3})
		began := time.Now()
		far.wantAnswer(UnbindResp, 3, StatusOK)
		if at := time.Since(began); at != time.Second {
			t.Errorf("answered after %s", at)
		}
	})
}

// Close waits for what is unanswered and for the handler, then unbinds. New
// requests are not taken meanwhile.
func TestCloseDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{Window: 1, Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
			time.Sleep(2 * time.Second)
			return "", StatusOK
		}})
		first := submitting(t.Context(), s, sms("first"))
		asked := far.want(SubmitSM)
		waits := submitting(t.Context(), s, sms("waits"))
		far.say(PDU{Command: DeliverSM, Sequence: 9, Body: encoded(t, sms("theirs"))})
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		for _, r := range []result{<-waits, <-submitting(t.Context(), s, sms("new"))} {
			if !errors.Is(r.err, ErrClosed) || errors.Is(r.err, ErrUnanswered) || r.after != 0 {
				t.Errorf("while it closes: %v after %s", r.err, r.after)
			}
		}
		time.Sleep(time.Second)
		far.none()
		far.accept(asked, "drained")
		if r := <-first; r.id != "drained" || r.err != nil {
			t.Errorf("%+v", r)
		}
		far.wantAnswer(DeliverSMResp, 9, StatusOK)
		far.say(PDU{Command: UnbindResp, Sequence: far.want(Unbind).Sequence})
		if err := <-closed; err != nil || !errors.Is(s.Err(), ErrClosed) {
			t.Errorf("%v, session %v", err, s.Err())
		}
		if _, err := ReadPDU(far.conn, MaxPDU); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
		if r := <-submitting(t.Context(), s, sms("new")); !errors.Is(r.err, ErrClosed) {
			t.Errorf("%v", r.err)
		}
		if err := s.Enquire(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// Close waits for responses alone, too.
func TestCloseWaitsForResponses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		done := submitting(t.Context(), s, sms("x"))
		p := far.want(SubmitSM)
		go func() { _ = s.Close() }()
		time.Sleep(2 * time.Second)
		far.none()
		far.accept(p, "drained")
		if r := <-done; r.id != "drained" || r.err != nil {
			t.Errorf("%+v", r)
		}
		far.say(PDU{Command: UnbindResp, Sequence: far.want(Unbind).Sequence})
		<-s.Done()
	})
}

// A peer that has stalled, whether it reads or not, delays Close so long and no
// longer. What was sent then is unanswered.
func TestCloseWithAStalledPeer(t *testing.T) {
	for name, c := range map[string]struct {
		size    int
		timeout time.Duration
		want    time.Duration
	}{
		"reads nothing":   {8, 10 * time.Second, 4 * time.Second},
		"answers nothing": {64 << 10, 10 * time.Second, 4 * time.Second},
		"short time-out":  {64 << 10, time.Second, 2 * time.Second},
		"shortest":        {8, time.Millisecond, 2 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, _ := bindOver(t, 64<<10, BindTransceiver, Options{Timeout: c.timeout})
				conn := s.conn.(*memConn)
				conn.out.mu.Lock()
				conn.out.size = c.size
				conn.out.mu.Unlock()
				done := submitting(t.Context(), s, sms("x"))
				synctest.Wait()
				began := time.Now()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if at := time.Since(began); at > c.want {
					t.Errorf("Close took %s, at most %s was promised", at, c.want)
				}
				if r := <-done; !errors.Is(r.err, ErrUnanswered) || errors.Is(r.err, ErrClosed) {
					t.Errorf("what was sent: %v", r.err)
				}
			})
		})
	}
}

// A connection that breaks ends everything at once: what was sent is
// unanswered, what was not is not.
func TestConnectionBreaks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan struct{})
		s, far := boundESME(t, Options{Window: 1, Handler: func(ctx context.Context, _ *Session, _ *ShortMessage) (string, Status) {
			<-ctx.Done()
			close(ended)
			return "", StatusOK
		}})
		sent := submitting(t.Context(), s, sms("sent"))
		far.want(SubmitSM)
		waits := submitting(t.Context(), s, sms("waits"))
		far.say(PDU{Command: DeliverSM, Sequence: 1, Body: encoded(t, sms("x"))})
		synctest.Wait()
		far.conn.Close()
		if r := <-sent; !errors.Is(r.err, ErrUnanswered) || errors.Is(r.err, ErrClosed) || r.after != 0 {
			t.Errorf("what was sent: %v after %s", r.err, r.after)
		}
		if r := <-waits; !errors.Is(r.err, ErrClosed) || errors.Is(r.err, ErrUnanswered) {
			t.Errorf("what waited: %v", r.err)
		}
		<-ended // the handler is told
		if s.Err() != io.EOF {
			t.Errorf("%v", s.Err())
		}
	})
}

// A generic_nack ends the request whose number it has, with its status, and one
// that has nobody's number is harmless.
func TestGenericNack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, far := boundESME(t, Options{})
		for sent, want := range map[Status]Status{StatusSystemError: StatusSystemError, StatusOK: StatusInvalidCommand} {
			done := submitting(t.Context(), s, sms("x"))
			p := far.want(SubmitSM)
			far.say(PDU{Command: GenericNack, Status: StatusSystemError}, PDU{Command: GenericNack, Status: StatusSystemError, Sequence: p.Sequence + 1})
			synctest.Wait()
			if s.Unanswered() != 1 {
				t.Fatal("the nack of another ended the request")
			}
			far.say(PDU{Command: GenericNack, Status: sent, Sequence: p.Sequence})
			var got Status
			if r := <-done; !errors.As(r.err, &got) || got != want {
				t.Errorf("nack %#x: %v, want %#x", uint32(sent), r.err, uint32(want))
			}
		}
		if st := s.options.stats; st.nacks.Load() != 2 || st.late.Load() != 4 || s.Err() != nil || s.Unanswered() != 0 {
			t.Errorf("%d nacks, %d late, session %v", st.nacks.Load(), st.late.Load(), s.Err())
		}
	})
}

// A peer that asks without end and reads nothing fills its own connection, not
// our memory, and is gone when a write has taken too long.
func TestPeerThatAsksAndNeverReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const timeout = 2 * time.Second
		s, far := boundESME(t, Options{Timeout: timeout})
		flood := bytes.Repeat((&PDU{Command: EnquireLink, Sequence: 7}).Append(nil), 4096)
		began := time.Now()
		most, taken := 0, 0
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				n, err := far.conn.Write(flood)
				taken += n
				if err != nil {
					return
				}
			}
		}()
		synctest.Wait() // the flood stands still
		s.mu.Lock()
		most = len(s.out)
		s.mu.Unlock()
		if most < maxOut || most > maxOut+headerLen {
			t.Errorf("%d octets wait to be written, want a little over %d", most, maxOut)
		}
		<-s.Done()
		<-stopped
		if at := time.Since(began); at != timeout || taken > 4*maxOut {
			t.Errorf("ended after %s, %d octets were taken", at, taken)
		}
	})
}

// Answers that are held back go out when the peer reads again, each once.
func TestBackPressureEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, far := boundESME(t, Options{})
		const all = 30_000
		go func() {
			var b []byte
			for n := range uint32(all) {
				p := PDU{Command: EnquireLink, Sequence: n + 1}
				b = p.Append(b)
			}
			_, _ = far.conn.Write(b)
		}()
		time.Sleep(time.Second)
		for n := range uint32(all) {
			if p := far.next(); p.Command != EnquireLinkResp || p.Sequence != n+1 {
				t.Fatalf("answer %d is %s %d", n+1, p.Command, p.Sequence)
			}
		}
	})
}

// Many callers and many messages both ways at once, by the real clock: it is
// for the race detector.
func TestBothWaysAtOnce(t *testing.T) {
	near, far := memPipe(8 << 10)
	var delivered, number atomic.Int64
	server := &Server{Options: Options{Window: 50, Handler: func(ctx context.Context, s *Session, m *ShortMessage) (string, Status) {
		back := &ShortMessage{Source: m.Dest, Dest: m.Source, Message: m.Message}
		if err := s.Deliver(ctx, back); err != nil {
			return "", StatusSystemError
		}
		return fmt.Sprint("id", number.Add(1)), StatusOK
	}}}
	listener := newMemListener()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	listener.conns <- far
	s, err := Bind(t.Context(), near, BindTransceiver, BindRequest{SystemID: "imza"}, Options{Window: 20,
		Handler: func(_ context.Context, _ *Session, m *ShortMessage) (string, Status) {
			if string(m.Message) != "there and back" || m.Source.Addr != "994500000001" {
				t.Errorf("delivered %+v", m)
			}
			delivered.Add(1)
			return "", StatusOK
		}})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var ids sync.Map
	for range 500 {
		all.Go(func() {
			id, err := s.Submit(t.Context(), sms("there and back"))
			if _, twice := ids.LoadOrStore(id, true); err != nil || twice {
				t.Errorf("id %q, %v", id, err)
			}
		})
	}
	all.Wait()
	if delivered.Load() != 500 {
		t.Errorf("%d delivered", delivered.Load())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_ = server.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// memListener hands out connections that it is given.
type memListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr{} }
