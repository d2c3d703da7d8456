package smpp

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	foreign "github.com/fiorix/go-smpp/smpp"
	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

func message() *ShortMessage {
	return &ShortMessage{
		Source: Address{TON: 5, Addr: "imza"}, Dest: International("994500000001"),
		ESMClass: ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0xF6, RegisteredDelivery: ReceiptOnFinal,
		Validity: RelativeTime(2 * time.Minute), Message: append([]byte{2, 0x70, 0}, bytes.Repeat([]byte{0xA5}, 137)...),
	}
}

// go-smpp writes the same octets and reads ours the same.
func TestCodecAgreesWithGoSMPP(t *testing.T) {
	m := message()
	ours := (&PDU{Command: SubmitSM, Sequence: 7, Body: m.Append(nil)}).Append(nil)
	decoded, err := pdu.Decode(bytes.NewReader(ours))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[pdufield.Name]string{
		pdufield.SourceAddr: "imza", pdufield.DestinationAddr: "994500000001", pdufield.ValidityPeriod: m.Validity,
	} {
		if got := decoded.Fields()[name].String(); got != want {
			t.Errorf("go-smpp reads %s as %q, want %q", name, got, want)
		}
	}
	for name, want := range map[pdufield.Name]byte{
		pdufield.ESMClass: 0x40, pdufield.ProtocolID: 0x7F, pdufield.DataCoding: 0xF6, pdufield.RegisteredDelivery: 1,
	} {
		if got := decoded.Fields()[name].Bytes(); len(got) != 1 || got[0] != want {
			t.Errorf("go-smpp reads %s as %x, want %02x", name, got, want)
		}
	}
	built := pdu.NewSubmitSM(nil)
	f := built.Fields()
	for name, value := range map[pdufield.Name]any{
		pdufield.SourceAddrTON: 5, pdufield.SourceAddr: "imza", pdufield.DestAddrTON: 1, pdufield.DestAddrNPI: 1,
		pdufield.DestinationAddr: "994500000001", pdufield.ProtocolID: 0x7F, pdufield.ValidityPeriod: m.Validity,
		pdufield.RegisteredDelivery: 1, pdufield.ShortMessage: pdutext.Raw("no header"),
	} {
		if err := f.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	built.Header().Seq = 9
	var theirs bytes.Buffer
	if err := built.SerializeTo(&theirs); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPDU(bytes.NewReader(theirs.Bytes()), MaxPDU)
	if err != nil || p.Command != SubmitSM || p.Sequence != 9 {
		t.Fatalf("%+v %v", p, err)
	}
	read, err := ParseShortMessage(p.Body)
	if err != nil || string(read.Message) != "no header" || read.Dest != International("994500000001") || read.Source != m.Source {
		t.Errorf("%+v %v", read, err)
	}
	p.Body = read.Append(nil)
	if again := p.Append(nil); !bytes.Equal(again, theirs.Bytes()) {
		t.Errorf("written again\n%x, go-smpp wrote\n%x", again, theirs.Bytes())
	}
}

func TestMessageRoundTripAndPrefixes(t *testing.T) {
	m := message()
	m.TLVs = TLVs(nil).Add(0x1400, []byte{1}).Add(0x1400, []byte{2}).Add(TagReceiptedMessageID, []byte("x\x00"))
	body := m.Append(nil)
	got, err := ParseShortMessage(body)
	if err != nil || !reflect.DeepEqual(&got, m) {
		t.Fatalf("%+v %v, want %+v", got, err, m)
	}
	whole := map[int]bool{ // a body may end where a TLV could begin
		len(body) - len(m.TLVs): true, len(body) - 11: true, len(body) - 6: true,
	}
	for n := range body {
		_, err := ParseShortMessage(body[:n])
		var field *FieldError
		if whole[n] != (err == nil) || (err != nil && !errors.As(err, &field)) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestFrames(t *testing.T) {
	for text, want := range map[string]error{
		"":                                     io.EOF,
		"0000000f":                             ErrFraming,
		"00000000":                             ErrFraming,
		"7fffffff" + "00000004":                ErrFraming,
		"00000010" + "00000015":                io.ErrUnexpectedEOF,
		"00000011000000150000000000000001":     io.ErrUnexpectedEOF,
		"00000010000000150000000000000001":     nil,
		"0000001100000015000000000000000100ff": nil,
	} {
		raw, _ := hex.DecodeString(text)
		if _, err := ReadPDU(bytes.NewReader(raw), MaxPDU); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func TestReceipts(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	for _, state := range []State{Delivered, Undeliverable, Expired} {
		m := NewReceipt(message(), Receipt{"00a7", state}, now, now)
		if m.Source.Addr != "994500000001" || !m.IsReceipt() {
			t.Errorf("%+v", m)
		}
		if r, err := ParseReceipt(m); err != nil || r != (Receipt{"00a7", state}) || r.State.Failed() == (state == Delivered) {
			t.Errorf("with TLVs: %+v %v", r, err)
		}
		m.TLVs = nil
		if r, err := ParseReceipt(m); err != nil || r != (Receipt{"00a7", state}) {
			t.Errorf("from its text: %+v %v", r, err)
		}
	}
	// SMPP 3.4 appendix B, as Kannel writes it.
	kannel := &ShortMessage{ESMClass: 4, Message: []byte("id:6f1f8d2e sub:001 dlvrd:000 submit date:2611221030 done date:2611221031 stat:UNDELIV err:027 text:")}
	if r, err := ParseReceipt(kannel); err != nil || r != (Receipt{"6f1f8d2e", Undeliverable}) {
		t.Errorf("%+v %v", r, err)
	}
	// As operators write it.
	for text, want := range map[string]State{
		"stat:delivrd id:1":                          Delivered,
		"id: 1 sub:001 stat: Undeliv":                Undeliverable,
		"ID:1,sub:001,stat:REJECTED":                 Rejected,
		"id:1\nstat:EXPIR":                           Expired,
		"id:1 stat:FAILED err:001":                   Undeliverable,
		"id:1 stat:UNDELIV text:id:2 stat:DELIVRD":   Undeliverable,
		"id:1 stat:ACCEPTED submit date:2611221030 ": Accepted,
	} {
		if r, err := ParseReceipt(&ShortMessage{ESMClass: 4, Message: []byte(text)}); err != nil || r != (Receipt{"1", want}) {
			t.Errorf("%q: %+v %v", text, r, err)
		}
	}
	half := &ShortMessage{ESMClass: 4, Message: []byte("stat:UNDELIV"), TLVs: TLVs(nil).Add(TagReceiptedMessageID, []byte("7\x00"))}
	if r, err := ParseReceipt(half); err != nil || r != (Receipt{"7", Undeliverable}) {
		t.Errorf("%+v %v", r, err)
	}
	own := &ShortMessage{ESMClass: 4, TLVs: TLVs(nil).Add(TagReceiptedMessageID, []byte("7\x00")).Add(TagMessageState, []byte{42})}
	if r, err := ParseReceipt(own); err != nil || r != (Receipt{"7", Unknown}) {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []string{"", "id:1", "stat:DELIVRD", "id:1 stat:NOSUCHS", "text:id:1 stat:DELIVRD"} {
		if r, err := ParseReceipt(&ShortMessage{ESMClass: 4, Message: []byte(bad)}); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
}

func TestRelativeTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		2 * time.Minute: "000000000200000R", 90 * time.Second: "000000000130000R", 25*time.Hour + time.Second: "000001010001000R", 0: "000000000001000R",
	} {
		if got := RelativeTime(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// serve runs a server on a free port until the test ends.
func serve(t *testing.T, server *Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func checkPassword(r BindRequest) Status {
	if r.SystemID != "imza" || r.Password != "secret" {
		return StatusInvalidPassword
	}
	return StatusOK
}

func connect(t *testing.T, addr string, options Options) *Session {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Bind(t.Context(), conn, BindRequest{SystemID: "imza", Password: "secret"}, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSubmitAndDeliver(t *testing.T) {
	var number atomic.Int64
	server := &Server{Authenticate: checkPassword, Options: Options{Window: 50, SystemID: "smsc",
		Handler: func(ctx context.Context, s *Session, m *ShortMessage) (string, Status) {
			n := number.Add(1)
			back := &ShortMessage{Source: m.Dest, Dest: m.Source, ESMClass: ESMClassUDHI, Message: m.Message}
			if err := s.Deliver(ctx, back); err != nil {
				return "", StatusSystemError
			}
			return "id" + strconv.FormatInt(n, 10), StatusOK
		}}}
	addr := serve(t, server)
	var delivered atomic.Int64
	s := connect(t, addr, Options{Window: 20, Handler: func(_ context.Context, _ *Session, m *ShortMessage) (string, Status) {
		if !bytes.Equal(m.Message, message().Message) || m.Source.Addr != "994500000001" {
			t.Errorf("delivered %+v", m)
		}
		delivered.Add(1)
		return "", StatusOK
	}})
	var all sync.WaitGroup
	ids := sync.Map{}
	for range 500 {
		all.Go(func() {
			id, err := s.Submit(t.Context(), message())
			if _, twice := ids.LoadOrStore(id, true); err != nil || twice || !strings.HasPrefix(id, "id") {
				t.Errorf("id %q, %v", id, err)
			}
		})
	}
	all.Wait()
	if delivered.Load() != 500 {
		t.Errorf("%d delivered", delivered.Load())
	}
}

func TestBindIsChecked(t *testing.T) {
	addr := serve(t, &Server{Authenticate: checkPassword})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := Bind(t.Context(), conn, BindRequest{SystemID: "imza", Password: "wrong"}, Options{}); !errors.Is(err, StatusInvalidPassword) {
		t.Errorf("%v", err)
	}
}

// The rows of SMPP.md's table of bad input.
func TestBadInput(t *testing.T) {
	addr := serve(t, &Server{Options: Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { return "1", StatusOK }}})
	good := message().Append(nil)
	noUDH := message()
	noUDH.Message = []byte{200, 1, 2}
	longAddress := message()
	longAddress.Dest.Addr = strings.Repeat("9", 21)
	bind := (&BindRequest{SystemID: "x"}).Append(nil)
	for name, c := range map[string]struct {
		send  PDU
		raw   []byte
		want  PDU
		lives bool
	}{
		"length 0":              {raw: []byte{0, 0, 0, 0}, want: PDU{Command: GenericNack, Status: StatusInvalidLength}},
		"length 15":             {raw: []byte{0, 0, 0, 15}, want: PDU{Command: GenericNack, Status: StatusInvalidLength}},
		"length 0x7fffffff":     {raw: []byte{0x7f, 0xff, 0xff, 0xff}, want: PDU{Command: GenericNack, Status: StatusInvalidLength}},
		"sm_length past PDU":    {send: PDU{Command: SubmitSM, Body: good[:len(good)-1]}, want: PDU{Command: SubmitSMResp, Status: StatusInvalidMessage}, lives: true},
		"TLV overrun":           {send: PDU{Command: SubmitSM, Body: append(bytes.Clone(good), 4, 0x24, 0, 9, 1)}, want: PDU{Command: SubmitSMResp, Status: StatusInvalidMessage}, lives: true},
		"missing NUL":           {send: PDU{Command: SubmitSM, Body: []byte("abc")}, want: PDU{Command: SubmitSMResp, Status: StatusInvalidMessage}, lives: true},
		"address too long":      {send: PDU{Command: SubmitSM, Body: longAddress.Append(nil)}, want: PDU{Command: SubmitSMResp, Status: StatusInvalidMessage}, lives: true},
		"UDHL past the message": {send: PDU{Command: SubmitSM, Body: noUDH.Append(nil)}, want: PDU{Command: SubmitSMResp, Status: StatusInvalidMessage}, lives: true},
		"unknown command":       {send: PDU{Command: 0x00000666}, want: PDU{Command: GenericNack, Status: StatusInvalidCommand}, lives: true},
		"second bind":           {send: PDU{Command: BindTransceiver, Body: bind}, want: PDU{Command: BindTransceiverResp, Status: StatusAlreadyBound}, lives: true},
		"deliver_sm to an SMSC": {send: PDU{Command: DeliverSM, Body: good}, want: PDU{Command: DeliverSMResp, Status: StatusNotBound}, lives: true},
		"unknown TLV":           {send: PDU{Command: SubmitSM, Body: TLVs(bytes.Clone(good)).Add(0x3FFF, []byte{1})}, want: PDU{Command: SubmitSMResp, Status: StatusOK}, lives: true},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			exchange := func(raw []byte) PDU {
				t.Helper()
				if _, err := conn.Write(raw); err != nil {
					t.Fatal(err)
				}
				p, err := ReadPDU(conn, MaxPDU)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			if p := exchange((&PDU{Command: BindTransceiver, Sequence: 1, Body: bind}).Append(nil)); p.Status != StatusOK {
				t.Fatalf("bind: %+v", p)
			}
			raw := c.raw
			if raw == nil {
				c.send.Sequence, c.want.Sequence = 77, 77
				raw = c.send.Append(nil)
			}
			if p := exchange(raw); p.Command != c.want.Command || p.Status != c.want.Status || p.Sequence != c.want.Sequence {
				t.Errorf("answered %+v, want %+v", p, c.want)
			}
			if !c.lives {
				if _, err := ReadPDU(conn, MaxPDU); !errors.Is(err, io.EOF) {
					t.Errorf("the session goes on: %v", err)
				}
				return
			}
			if p := exchange((&PDU{Command: EnquireLink, Sequence: 78}).Append(nil)); p.Command != EnquireLinkResp {
				t.Errorf("the session is dead: %+v", p)
			}
		})
	}
}

// go-smpp's Transceiver is a foreign ESME at our SMSC.
func TestForeignESME(t *testing.T) {
	got := make(chan *ShortMessage, 1)
	server := &Server{Authenticate: checkPassword, Options: Options{Handler: func(ctx context.Context, s *Session, m *ShortMessage) (string, Status) {
		got <- m
		return "abc", StatusOK
	}}}
	addr := serve(t, server)
	client := &foreign.Transceiver{Addr: addr, User: "imza", Passwd: "secret"}
	if status := <-client.Bind(); status.Status() != foreign.Connected {
		t.Fatalf("bind: %v", status.Error())
	}
	defer client.Close()
	sent, err := client.Submit(&foreign.ShortMessage{Src: "imza", Dst: "994500000001", Text: pdutext.Raw("hello")})
	if err != nil || sent.RespID() != "abc" {
		t.Fatalf("id %q, %v", sent.RespID(), err)
	}
	if m := <-got; string(m.Message) != "hello" || m.Dest.Addr != "994500000001" {
		t.Errorf("%+v", m)
	}
}

// A deliver_sm that carries the number of a submit in flight must not be taken
// for its response.
func TestSequenceNumbersOfBothSidesAreApart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		bind, _ := ReadPDU(conn, MaxPDU)
		_, _ = conn.Write((&PDU{Command: BindTransceiverResp, Sequence: bind.Sequence, Body: []byte("s\x00")}).Append(nil))
		submit, _ := ReadPDU(conn, MaxPDU)
		_, _ = conn.Write((&PDU{Command: DeliverSM, Sequence: submit.Sequence, Body: message().Append(nil)}).Append(nil))
		if p, _ := ReadPDU(conn, MaxPDU); p.Command != DeliverSMResp || p.Sequence != submit.Sequence {
			t.Errorf("deliver_sm was answered with %+v", p)
		}
		_, _ = conn.Write((&PDU{Command: SubmitSMResp, Sequence: submit.Sequence, Body: []byte("right\x00")}).Append(nil))
		_, _ = ReadPDU(conn, MaxPDU)
	}()
	s := connect(t, listener.Addr().String(), Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { return "", StatusOK }})
	if id, err := s.Submit(t.Context(), message()); id != "right" || err != nil {
		t.Errorf("%q %v", id, err)
	}
}

// A stalled SMSC costs a request its deadline, not the caller its life.
func TestStalledPeer(t *testing.T) {
	stall := make(chan struct{})
	addr := serve(t, &Server{Options: Options{Handler: func(ctx context.Context, _ *Session, _ *ShortMessage) (string, Status) {
		select {
		case <-stall:
		case <-ctx.Done():
		}
		return "", StatusOK
	}}})
	defer close(stall)
	s := connect(t, addr, Options{Timeout: 50 * time.Millisecond, Window: 1})
	if _, err := s.Submit(t.Context(), message()); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Submit(ctx, message()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// The ESME comes back after the SMSC was away, and what it was asked to send
// meanwhile goes out then.
func TestESMEOutlivesTheSMSC(t *testing.T) {
	handler := func(context.Context, *Session, *ShortMessage) (string, Status) { return "1", StatusOK }
	first := &Server{Options: Options{Handler: handler}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	go first.Serve(listener)
	e := &ESME{Addr: addr, Bind: BindRequest{SystemID: "imza"}, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); e.Run(ctx) }()
	defer func() { cancel(); <-stopped }()
	always := func() error { return nil }
	if _, err := e.Submit(ctx, always, message(), message()); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	sent := make(chan error, 1)
	go func() { _, err := e.Submit(ctx, always, message()); sent <- err }()
	second := &Server{Options: Options{Handler: handler}}
	if listener, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	go second.Serve(listener)
	defer second.Close()
	select {
	case err := <-sent:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("not sent")
	}
	refused := errors.New("no")
	if _, err := e.Submit(ctx, func() error { return refused }, message()); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}

func FuzzBody(f *testing.F) {
	f.Add(message().Append(nil))
	f.Add((&BindRequest{SystemID: "imza", Password: "x"}).Append(nil))
	f.Add(NewReceipt(message(), Receipt{"1", Delivered}, time.Unix(0, 0), time.Unix(0, 0)).Append(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		if m, err := ParseShortMessage(body); err == nil {
			if again := m.Append(nil); !bytes.Equal(again, body) {
				t.Fatalf("%x written again as %x", body, again)
			}
			_, _ = ParseReceipt(&m)
		}
		if r, err := ParseBindRequest(body); err == nil {
			if again := r.Append(nil); !bytes.HasPrefix(body, again) {
				t.Fatalf("%x written again as %x", body, again)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add((&PDU{Command: SubmitSM, Sequence: 1, Body: message().Append(nil)}).Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ReadPDU(bytes.NewReader(raw), MaxPDU)
		if err == nil && !bytes.HasPrefix(raw, p.Append(nil)) {
			t.Fatalf("%x written again as %x", raw, p.Append(nil))
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	m := message()
	buffer := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buffer = m.Append(buffer[:0])
		if _, err := ParseShortMessage(buffer); err != nil {
			b.Fatal(err)
		}
	}
}

// Messages of several segments pass through a window that is smaller than they
// are together, and one that is smaller than each.
func TestSegmentsDoNotDeadlockTheWindow(t *testing.T) {
	handler := func(context.Context, *Session, *ShortMessage) (string, Status) {
		time.Sleep(time.Millisecond)
		return "1", StatusOK
	}
	addr := serve(t, &Server{Options: Options{Handler: handler}})
	for _, window := range []int{1, 2, 10} {
		e := &ESME{Addr: addr, Bind: BindRequest{SystemID: "imza"}, Options: Options{Window: window}, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		stopped := make(chan struct{})
		go func() { defer close(stopped); e.Run(ctx) }()
		var all sync.WaitGroup
		for range 30 {
			all.Go(func() {
				turns := 0
				ids, err := e.Submit(ctx, func() error { turns++; return nil }, message(), message(), message())
				if err != nil || len(ids) != 3 || ids[2] != "1" || turns != 1 {
					t.Errorf("window %d: %q, %d turns, %v", window, ids, turns, err)
				}
			})
		}
		all.Wait()
		cancel()
		<-stopped
	}
}

// An SMSC that takes every bind and drops it is not bound to in a loop.
func TestRebindPauses(t *testing.T) {
	var binds atomic.Int64
	addr := serve(t, &Server{Bound: func(s *Session) { binds.Add(1); s.cancel(ErrClosed) }})
	e := &ESME{Addr: addr, Bind: BindRequest{SystemID: "imza"}, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	e.Run(ctx)
	if n := binds.Load(); n < 2 || n > 10 {
		t.Errorf("%d binds in a second", n)
	}
}

// A peer that asks without end and reads nothing fills its own connection, not
// our memory.
func TestPeerThatNeverReads(t *testing.T) {
	sessions := make(chan *Session, 1)
	addr := serve(t, &Server{Options: Options{Timeout: 2 * time.Second}, Bound: func(s *Session) { sessions <- s }})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write((&PDU{Command: BindTransceiver, Sequence: 1, Body: (&BindRequest{SystemID: "x"}).Append(nil)}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	s := <-sessions
	flood := bytes.Repeat((&PDU{Command: EnquireLink, Sequence: 7}).Append(nil), 4096)
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil { // until the connection is full, or dropped
		_, err = conn.Write(flood)
		s.mu.Lock()
		waiting := len(s.out)
		s.mu.Unlock()
		if waiting > 2*maxOut {
			t.Fatalf("%d octets wait to be written", waiting)
		}
	}
	select {
	case <-s.Done(): // its write has timed out
	case <-time.After(10 * time.Second):
		t.Error("the session with a peer that never reads lives on")
	}
}

// Who unbinds behind a message still has it acknowledged.
func TestUnbindBehindAMessage(t *testing.T) {
	addr := serve(t, &Server{Options: Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) {
		time.Sleep(5 * time.Millisecond)
		return "kept", StatusOK
	}}})
	for range 20 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		var all []byte
		for _, p := range []PDU{
			{Command: BindTransceiver, Sequence: 1, Body: (&BindRequest{SystemID: "x"}).Append(nil)},
			{Command: SubmitSM, Sequence: 2, Body: message().Append(nil)},
			{Command: Unbind, Sequence: 3},
		} {
			all = p.Append(all)
		}
		if _, err := conn.Write(all); err != nil {
			t.Fatal(err)
		}
		var got []Command
		for {
			p, err := ReadPDU(conn, MaxPDU)
			if err != nil {
				break
			}
			got = append(got, p.Command)
		}
		conn.Close()
		if !reflect.DeepEqual(got, []Command{BindTransceiverResp, SubmitSMResp, UnbindResp}) {
			t.Fatalf("answered %v", got)
		}
	}
}

// No messages are taken on a receiver, none delivered on a transmitter.
func TestRoles(t *testing.T) {
	sessions := make(chan *Session, 1)
	addr := serve(t, &Server{Bound: func(s *Session) { sessions <- s }, Options: Options{
		Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { return "1", StatusOK }}})
	for role, want := range map[Command]Status{BindReceiver: StatusNotBound, BindTransmitter: StatusOK, BindTransceiver: StatusOK} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all := (&PDU{Command: role, Sequence: 1, Body: (&BindRequest{SystemID: "x"}).Append(nil)}).Append(nil)
		all = (&PDU{Command: SubmitSM, Sequence: 2, Body: message().Append(nil)}).Append(all)
		if _, err := conn.Write(all); err != nil {
			t.Fatal(err)
		}
		bound, err := ReadPDU(conn, MaxPDU)
		if err != nil || bound.Command != role|response {
			t.Fatalf("%+v %v", bound, err)
		}
		if p, err := ReadPDU(conn, MaxPDU); err != nil || p.Status != want {
			t.Errorf("%s: submit_sm answered with %+v %v", role, p, err)
		}
		s := <-sessions
		if role == BindTransmitter {
			if err := s.Deliver(t.Context(), message()); !errors.Is(err, StatusNotBound) {
				t.Errorf("deliver_sm on a transmitter: %v", err)
			}
		}
	}
}
