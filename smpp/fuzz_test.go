package smpp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
)

// Whatever a body is, it is refused with the name of a field, or it is written
// again octet by octet; and both ways to read a message agree.
func FuzzParse(f *testing.F) {
	for _, v := range append(codecGood(f), codecBad(f)...) {
		f.Add(uint32(parseFrame(v.raw).Command), v.raw[headerLen:])
	}
	f.Add(uint32(0x666), []byte{1})
	f.Fuzz(func(t *testing.T, command uint32, raw []byte) {
		pristine := bytes.Clone(raw)
		p := PDU{Command: Command(command), Body: raw}
		body, err := Parse(p.Command, raw)
		explained, explainErr := Explain(p)
		if !reflect.DeepEqual(err, explainErr) {
			t.Fatalf("parsed with %v, explained with %v", err, explainErr)
		}
		octets := 0
		for _, f := range explained {
			if f.Offset != octets || f.Name == "" {
				t.Fatalf("%+v is explained behind %d octets", f, octets)
			}
			octets += len(f.Octets)
		}
		field := new(FieldError)
		switch {
		case err == nil:
			again, err := body.Append([]byte("before"))
			if err != nil || !bytes.Equal(again, append([]byte("before"), raw...)) {
				t.Fatalf("%x is written again as %x %v", raw, again, err)
			}
			if octets != len(raw) {
				t.Fatalf("%d of %d octets are explained", octets, len(raw))
			}
			codecTyped(t, body)
			if m, ok := body.(*ShortMessage); ok {
				_, _ = ParseReceipt(m)
			}
		case errors.As(err, &field):
			if field.Field == "" || field.Offset < 0 || field.Offset > len(raw) || field.Status() == StatusOK {
				t.Fatalf("%+v, of %d octets", field, len(raw))
			}
		case p.Command.known():
			t.Fatalf("%s: %v", p.Command, err)
		}
		codecAgree(t, raw)
		if !bytes.Equal(raw, pristine) {
			t.Fatalf("%x was written to: %x", pristine, raw)
		}
	})
}

// Both ways to write a message agree, and what was written is read the same.
func FuzzShortMessage(f *testing.F) {
	f.Add("", "7777", "994500000001", "", "", []byte("hello"), []byte(nil), byte(0))
	f.Add("CMT", "imza", "994500000001", RelativeTime(0), "000000000200000R", []byte{2, 0x70, 0}, []byte{0x14, 0, 0, 0}, byte(0x40))
	f.Add("CMT\x00", "123456789012345678901", "", "", "", make([]byte, 255), []byte{1}, byte(0x40))
	f.Fuzz(func(t *testing.T, serviceType, source, dest, schedule, validity string, message, tlvs []byte, class byte) {
		m := &ShortMessage{
			ServiceType: serviceType, Source: Address{TON: class, Addr: source}, Dest: Address{NPI: class, Addr: dest},
			ScheduleTime: schedule, Validity: validity, Message: message, TLVs: tlvs, ESMClass: class, DataCoding: ^class,
		}
		codecAgreeWriting(t, m)
		frame, err := appendMessage([]byte("before"), SubmitSM, 7, m)
		if err != nil {
			if string(frame) != "before" {
				t.Fatalf("%q is left", frame)
			}
			return
		}
		codecAgree(t, frame[len("before")+headerLen:])
		got, err := ParseShortMessage(frame[len("before")+headerLen:])
		if err == nil && (got.ServiceType != serviceType || got.Source != m.Source || got.Dest != m.Dest || got.Validity != validity ||
			got.ScheduleTime != schedule || !bytes.Equal(got.Message, message) || !bytes.Equal(got.TLVs, tlvs)) {
			t.Fatalf("%+v is read as %+v", m, got)
		}
	})
}

// However a stream is cut, ReadPDU and frameReader find the same frames in it,
// and the same end, and no octet is lost.
func FuzzFrames(f *testing.F) {
	for _, v := range codecGood(f) {
		f.Add(v.raw, uint16(len(v.raw)))
	}
	for _, c := range codecFrames {
		f.Add([]byte(c.text+c.behind), uint16(3))
	}
	for _, raw := range badFraming {
		f.Add(raw, uint16(5))
	}
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint16) {
		whole := bytes.NewReader(stream)
		reader := &frameReader{r: codecChunks{bytes.NewReader(stream), int(chunk) + 1}, limit: MaxPDU}
		var written []byte
		for {
			want, wantErr := ReadPDU(whole, MaxPDU)
			got, err := reader.next()
			for _, kind := range []error{nil, io.EOF, io.ErrUnexpectedEOF, ErrFraming} {
				if errors.Is(err, kind) != errors.Is(wantErr, kind) {
					t.Fatalf("behind %d octets: %v, want %v", len(written), err, wantErr)
				}
			}
			if cap(reader.buffer) > max(smallBuffer, 4*len(stream)) {
				t.Fatalf("a buffer of %d for %d octets", cap(reader.buffer), len(stream))
			}
			if err != nil {
				break
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v, want %+v", got, want)
			}
			written = got.Append(written)
			if !bytes.HasPrefix(stream, written) {
				t.Fatalf("%x is written again as %x", stream, written)
			}
		}
	})
}

// A receipt is read or refused; what was read can be written, and is read the
// same again.
func FuzzReceipt(f *testing.F) {
	for _, v := range codecGood(f) {
		if m, err := ParseShortMessage(v.raw[headerLen:]); err == nil && m.IsReceipt() {
			f.Add(m.Message, []byte(m.TLVs))
		}
	}
	f.Add([]byte("id:1 stat:DELIVRD err:001 text:"), []byte{0, 0x1E, 0, 2, '7', 0})
	f.Add([]byte("ID: 1;STAT: failed"), []byte{4, 0x23, 0, 3, 3, 0, 27, 4, 0x27, 0, 1, 42})
	f.Fuzz(func(t *testing.T, text, tlvs []byte) {
		m := &ShortMessage{ESMClass: esmClassReceipt, Message: text, TLVs: tlvs}
		r, err := ParseReceipt(m)
		if err != nil {
			if r != (Receipt{}) && r.State != 0 {
				t.Fatalf("%+v beside %v", r, err)
			}
			return
		}
		if r.MessageID == "" || r.State < Enroute || r.State > Rejected {
			t.Fatalf("%+v", r)
		}
		_ = r.Absent()
		if len(r.MessageID) > 64 || bytes.HasSuffix([]byte(r.MessageID), []byte{0}) {
			return
		}
		if r.Error.Network == 0 && bytes.Contains(bytes.ToLower([]byte(r.MessageID)), []byte(":")) {
			return // an id that looks like the text's other fields
		}
		again, err := ParseReceipt(NewReceipt(codecMessage(), r, time.Unix(0, 0), time.Unix(0, 0)))
		if err != nil || again.MessageID != r.MessageID || again.State != r.State {
			t.Fatalf("%+v is read again as %+v %v", r, again, err)
		}
	})
}

// fuzzConn is a connection in memory: what is to be read is there, in pieces,
// and its end comes when the test says so. Writes never wait.
type fuzzConn struct {
	mu      sync.Mutex
	changed *sync.Cond
	in, out []byte
	piece   int
	hungUp  bool // by the test
	closed  bool // by the session
	drained bool // all was read, and is being dealt with no more
}

func newFuzzConn(in []byte, piece int) *fuzzConn {
	c := &fuzzConn{in: in, piece: piece}
	c.changed = sync.NewCond(&c.mu)
	return c
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) == 0 && !c.hungUp && !c.closed {
		c.drained = true
		c.changed.Broadcast()
		c.changed.Wait()
	}
	switch {
	case c.closed:
		return 0, net.ErrClosed
	case len(c.in) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(len(c.in), c.piece)])
	c.in = c.in[n:]
	return n, nil
}

func (c *fuzzConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, p...)
	c.changed.Broadcast()
	return len(p), nil
}

func (c *fuzzConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changed.Broadcast()
	return nil
}

func (c *fuzzConn) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (c *fuzzConn) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

// fuzzPatience is more than a session may take for what is there.
const fuzzPatience = 10 * time.Second

// until waits for a condition, or the session's end.
func (c *fuzzConn) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	over := false
	timer := time.AfterFunc(fuzzPatience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		over = true
		c.changed.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && !condition() {
		if over {
			t.Fatalf("it hangs: %s; %x was written", what, c.out)
		}
		c.changed.Wait()
	}
}

// frames is how many whole frames were written.
func (c *fuzzConn) frames() (n int) {
	for rest := c.out; len(rest) >= 4; n++ {
		length := int(binary.BigEndian.Uint32(rest))
		if length < headerLen || length > len(rest) {
			break
		}
		rest = rest[length:]
	}
	return n
}

// fuzzAnswer is what a bound session must say to a frame; ok is false if
// nothing. It says by the rules what asked and message do by the code.
func fuzzAnswer(side side, p PDU) (key badKey, ok bool) {
	key = badKey{p.Command | response, StatusOK, p.Sequence}
	_, err := Parse(p.Command, p.Body)
	field := new(FieldError)
	switch wrong := badWrong[side]; {
	case !p.Command.known() || p.Command == Outbind:
		return badKey{GenericNack, StatusInvalidCommand, p.Sequence}, true
	case p.Command&response != 0 || p.Command == AlertNotification:
		return badKey{}, false
	case p.Command == wrong:
		key.status = StatusNotBound
	case errors.As(err, &field):
		key.status = field.Status()
	case p.Command == Unbind:
	case p.Command == EnquireLink || p.Command == SubmitSM || p.Command == DeliverSM || p.Command == DataSM:
	case p.Command == BindReceiver || p.Command == BindTransmitter || p.Command == BindTransceiver:
		key.status = StatusAlreadyBound
	case side == esme:
		key.status = StatusNotBound
	default:
		key.status = map[Command]Status{QuerySM: 0x67, CancelSM: 0x11, ReplaceSM: 0x13, SubmitMulti: 0x45}[p.Command]
	}
	return key, true
}

// Whatever is sent to a session: it does not panic or hang, what it writes are
// whole PDUs, each the answer to one frame, none is missing, and it is gone
// when the other side is.
func FuzzSession(f *testing.F) {
	var all []byte
	for i, v := range append(codecGood(f), codecBad(f)...) {
		all = append(all, v.raw...)
		if i%23 == 0 {
			f.Add(byte(i), uint16(i), v.raw)
		}
	}
	for kind := range byte(3) {
		f.Add(kind, uint16(1000), all)
		for _, row := range badRows(f, side(kind == 0)) {
			if len(row.send.Body) < 300 {
				f.Add(kind, uint16(7), row.send.Append(nil))
			}
		}
		for _, raw := range badFraming {
			if len(raw) < 300 {
				f.Add(kind, uint16(7), append((&PDU{Command: SubmitSM, Sequence: 5, Body: codecMessage().write(nil)}).Append(nil), raw...))
			}
		}
		f.Add(kind, uint16(0), slices.Concat(
			(&PDU{Command: BindTransceiver, Sequence: 1, Body: make([]byte, 7)}).Append(nil),
			(&PDU{Command: SubmitSM, Sequence: 2, Body: make([]byte, 17)}).Append(nil),
			(&PDU{Command: Unbind, Sequence: 3}).Append(nil),
			(&PDU{Command: EnquireLink, Sequence: 4}).Append(nil)))
	}
	f.Fuzz(func(t *testing.T, kind byte, piece uint16, stream []byte) {
		switch kind % 3 {
		case 0:
			fuzzBound(t, smsc, int(piece)+1, stream)
		case 1:
			fuzzBound(t, esme, int(piece)+1, stream)
		default:
			fuzzUnbound(t, int(piece)+1, stream)
		}
	})
}

// fuzzStored accepts a message, once it has looked at it.
func fuzzStored(_ context.Context, _ *Session, m *ShortMessage) (string, Status) {
	_, _ = ParseReceipt(m)
	return "1", StatusOK
}

func fuzzBound(t *testing.T, side side, piece int, stream []byte) {
	due := map[badKey]int{}      // by whatever comes
	must := map[badKey]int{}     // before the session ends
	messages := map[badKey]int{} // of those, what the handler answers
	count, ends, framing := 0, false, false
	for rest := bytes.NewReader(stream); ; {
		p, err := ReadPDU(rest, MaxPDU)
		if err != nil {
			framing = errors.Is(err, ErrFraming)
			break
		}
		key, ok := fuzzAnswer(side, p)
		if !ok {
			continue
		}
		due[key]++
		if !ends {
			must[key]++
			count++
			if key.status == StatusOK && p.Command != EnquireLink && p.Command != Unbind {
				messages[key]++
			}
		}
		ends = ends || p.Command == Unbind && key.status == StatusOK
	}
	conn := newFuzzConn(stream, piece)
	s := newSession(conn, Options{Handler: fuzzStored, Inbound: 1 << 20}.withDefaults(), side, BindTransceiver)
	go s.run(&frameReader{r: conn})
	conn.until(t, "not all is answered", func() bool {
		return conn.drained && !ends && !framing && conn.frames() >= count
	})
	fuzzHangUp(t, conn, s)

	nack := badKey{GenericNack, StatusInvalidLength, 0}
	nacks := 0
	for _, p := range fuzzWritten(t, conn) {
		key := badKey{p.Command, p.Status, p.Sequence}
		if key == nack {
			nacks++
			continue
		}
		if due[key]--; due[key] < 0 {
			t.Fatalf("%s, status %#x, sequence %d was not due", p.Command, uint32(p.Status), p.Sequence)
		}
		must[key]--
	}
	if want := framing && !ends; want && nacks != 1 || nacks > 1 || nacks > 0 && !framing {
		t.Fatalf("%d times generic_nack with status 2; a wrong length: %v", nacks, framing)
	}
	for key, n := range must {
		if framing && !ends { // what is in the handler when the connection ends has no answer
			n -= messages[key]
		}
		if n > 0 {
			t.Fatalf("%s, status %#x, sequence %d is missing", key.command, uint32(key.status), key.sequence)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inbound != 0 || len(s.pending) != 0 || s.window.used != 0 || s.writing {
		t.Fatalf("%d in the handler, %d pending, %d in the window, writing: %v", s.inbound, len(s.pending), s.window.used, s.writing)
	}
}

// fuzzHangUp ends the connection, and waits until nothing of the session runs.
func fuzzHangUp(t *testing.T, conn *fuzzConn, s *Session) {
	t.Helper()
	conn.mu.Lock()
	conn.hungUp = true
	conn.changed.Broadcast()
	conn.mu.Unlock()
	gone := make(chan struct{})
	go func() { <-s.Done(); s.wait(); close(gone) }()
	select {
	case <-gone:
	case <-time.After(fuzzPatience):
		t.Fatal("the session outlives its connection")
	}
	if s.Err() == nil {
		t.Fatal("it has ended without a cause")
	}
}

// fuzzWritten is what was written, which must be whole PDUs that parse.
func fuzzWritten(t *testing.T, conn *fuzzConn) (all []PDU) {
	t.Helper()
	conn.mu.Lock()
	defer conn.mu.Unlock()
	for r := bytes.NewReader(conn.out); r.Len() > 0; {
		p, err := ReadPDU(r, MaxPDU)
		if err != nil {
			t.Fatalf("%x was written: %v", conn.out, err)
		}
		if _, err := Parse(p.Command, p.Body); err != nil || p.Command&response == 0 {
			t.Fatalf("%s was written, %x: %v", p.Command, p.Body, err)
		}
		all = append(all, p)
	}
	return all
}

// fuzzUnbound gives the stream to a server that the connection is not bound to.
func fuzzUnbound(t *testing.T, piece int, stream []byte) {
	v := &Server{
		Options:  Options{Handler: fuzzStored, Inbound: 1 << 20},
		sessions: make(map[*Session]struct{}), open: make(map[net.Conn]struct{}), binds: make(map[string]int),
	}
	sequences := map[uint32]int{0: 1} // each is answered as often as it came; 0 also by the nack of a wrong length
	for rest := bytes.NewReader(stream); ; {
		p, err := ReadPDU(rest, MaxPDU)
		if err != nil {
			break
		}
		sequences[p.Sequence]++
	}
	conn := newFuzzConn(stream, piece)
	served := make(chan struct{})
	go func() { v.serve(conn); close(served) }()
	conn.until(t, "not all is read", func() bool { return conn.drained })
	conn.mu.Lock()
	conn.hungUp = true
	conn.changed.Broadcast()
	conn.mu.Unlock()
	select {
	case <-served:
	case <-time.After(fuzzPatience):
		t.Fatal("it outlives its connection")
	}
	binds := 0
	for _, p := range fuzzWritten(t, conn) {
		if sequences[p.Sequence]--; sequences[p.Sequence] < 0 {
			t.Fatalf("%s, sequence %d was not due", p.Command, p.Sequence)
		}
		switch p.Command {
		case BindTransceiverResp, BindTransmitterResp, BindReceiverResp:
			if p.Status == StatusOK {
				binds++
			}
		}
	}
	if binds > 1 || len(v.sessions) != 0 || len(v.open) != 0 || len(v.binds) != 0 {
		t.Fatalf("bound %d times; %d sessions, %d connections, %v are left", binds, len(v.sessions), len(v.open), slices.Sorted(maps.Keys(v.binds)))
	}
}
