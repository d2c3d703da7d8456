package smpp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// badEnd is one end of ours, bound, to which the test writes whatever it likes.
type badEnd struct {
	t    *testing.T
	conn net.Conn // the far side's
	ours func() *Session
	side side
}

// badStored accepts every message.
func badStored(context.Context, *Session, *ShortMessage) (string, Status) { return "1", StatusOK }

const badPatience = 10 * time.Second // more than anything takes: nothing may hang

// badServer runs a server until the test ends.
func badServer(t *testing.T, server *Server) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func badDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(badPatience))
	return conn
}

// badAtServer is a raw ESME, bound to our server.
func badAtServer(t *testing.T, options Options) *badEnd {
	t.Helper()
	bound := make(chan *Session, 1)
	addr := badServer(t, &Server{Options: options, Bound: func(s *Session) { bound <- s }})
	e := &badEnd{t: t, conn: badDial(t, addr), side: smsc}
	e.write((&PDU{Command: BindTransceiver, Sequence: 1, Body: badBody(t, &BindRequest{SystemID: "x"})}).Append(nil))
	e.want(PDU{Command: BindTransceiverResp, Sequence: 1})
	s := <-bound
	e.ours = func() *Session { return s }
	return e
}

// badAtESME is a raw SMSC that our ESME is bound to.
func badAtESME(t *testing.T, options Options) *badEnd {
	t.Helper()
	ours, far := badPair(t)
	bound := make(chan *Session, 1)
	go func() {
		s, err := Bind(context.Background(), ours, BindTransceiver, BindRequest{SystemID: "x"}, options)
		if err != nil {
			t.Errorf("bind: %v", err)
		}
		bound <- s
	}()
	e := &badEnd{t: t, conn: far, side: esme}
	e.want(PDU{Command: BindTransceiver, Sequence: 1})
	e.write((&PDU{Command: BindTransceiverResp, Sequence: 1, Body: []byte("smsc\x00")}).Append(nil))
	s := <-bound
	if s == nil {
		t.FailNow()
	}
	e.ours = func() *Session { return s }
	t.Cleanup(func() { far.Close(); <-s.Done(); s.wait() })
	return e
}

// badPair are the two ends of a connection.
func badPair(t *testing.T) (ours, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ours, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); far.Close() })
	_ = far.SetDeadline(time.Now().Add(badPatience))
	return ours, far
}

// badEnds are the two sides that bad input may come to.
var badEnds = map[string]func(*testing.T, Options) *badEnd{"server": badAtServer, "ESME": badAtESME}

// badWrong are the messages that do not go to a side.
var badWrong = map[side]Command{smsc: DeliverSM, esme: SubmitSM}

func badBody(t testing.TB, body Body) []byte {
	t.Helper()
	raw, err := body.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (e *badEnd) write(raw []byte) {
	e.t.Helper()
	if _, err := e.conn.Write(raw); err != nil {
		e.t.Fatal(err)
	}
}

// want reads the next frame. Its command, status and sequence must be as wanted.
func (e *badEnd) want(want PDU) {
	e.t.Helper()
	p, err := ReadPDU(e.conn, MaxPDU)
	if err != nil {
		e.t.Fatalf("%v, want %s, status %#x, sequence %d", err, want.Command, uint32(want.Status), want.Sequence)
	}
	if p.Command != want.Command || p.Status != want.Status || p.Sequence != want.Sequence {
		e.t.Fatalf("%s, status %#x, sequence %d, want %s, status %#x, sequence %d",
			p.Command, uint32(p.Status), p.Sequence, want.Command, uint32(want.Status), want.Sequence)
	}
	if _, err := Parse(p.Command, p.Body); err != nil {
		e.t.Errorf("%s is answered with a body that does not parse: %v", want.Command, err)
	}
}

// lives checks that nothing else has come, and enquire_link is answered.
func (e *badEnd) lives() {
	e.t.Helper()
	e.write((&PDU{Command: EnquireLink, Sequence: 0x7FFFFFFF}).Append(nil))
	e.want(PDU{Command: EnquireLinkResp, Sequence: 0x7FFFFFFF})
}

// ends checks that nothing else comes but the end.
func (e *badEnd) ends() {
	e.t.Helper()
	// A connection that is closed with octets unread is reset, not ended.
	if p, err := ReadPDU(e.conn, MaxPDU); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		e.t.Errorf("want the end, and nothing before it: %+v %v", p, err)
	}
}

// badRow is one frame, and its answer: none if Command is 0 and nothing is due.
type badRow struct {
	name string
	send PDU
	want PDU
}

// badRows are the frames that a session survives. c is the message that goes
// this way, submit_sm or deliver_sm; the other is the one that does not.
func badRows(t testing.TB, side side) (rows []badRow) {
	c, wrong := DeliverSM, SubmitSM
	if side == smsc {
		c, wrong = SubmitSM, DeliverSM
	}
	good := badBody(t, codecMessage())
	add := func(name string, command Command, body []byte, status Status) {
		rows = append(rows, badRow{name, PDU{Command: command, Body: body}, PDU{Command: command | response, Status: status}})
	}
	nack := func(name string, command Command, body []byte) {
		rows = append(rows, badRow{name, PDU{Command: command, Body: body}, PDU{Command: GenericNack, Status: 3}})
	}
	none := func(name string, command Command, status Status, body []byte) {
		rows = append(rows, badRow{name: name, send: PDU{Command: command, Status: status, Body: body}})
	}
	// unchecked writes a message without a look at limits.
	unchecked := func(set func(*ShortMessage)) []byte {
		m := *codecMessage()
		set(&m)
		return m.write(nil)
	}
	long := strings.Repeat("9", 21)

	// Bodies that do not parse.
	add("sm_length past the PDU", c, good[:len(good)-1], 0x01)
	add("sm_length far past the PDU", c, good[:len(good)-140], 0x01)
	add("sm_length 255", c, unchecked(func(m *ShortMessage) { m.Message = make([]byte, 255) }), 0x01)
	add("cut off before sm_length", c, good[:len(good)-141], 0x01)
	add("TLV overrun", c, append(bytes.Clone(good), 4, 0x24, 0, 9, 1), 0xC0)
	add("TLV overrun by 65,535", c, append(bytes.Clone(good), 4, 0x24, 0xFF, 0xFF), 0xC0)
	add("TLV header cut off", c, append(bytes.Clone(good), 4, 0x24, 0), 0xC0)
	add("stray octet", c, append(bytes.Clone(good), 0), 0xC0)
	add("no body", c, nil, 0x15)
	add("missing NUL of service_type", c, []byte("abc"), 0x15)
	add("service_type too long", c, unchecked(func(m *ShortMessage) { m.ServiceType = "sixsix" }), 0x15)
	add("missing NUL of source_addr", c, []byte("\x00\x01\x01994"), 0x0A)
	add("source_addr too long", c, unchecked(func(m *ShortMessage) { m.Source.Addr = long }), 0x0A)
	add("missing NUL of destination_addr", c, []byte("\x00\x01\x01\x00\x01\x01994"), 0x0B)
	add("destination_addr too long", c, unchecked(func(m *ShortMessage) { m.Dest.Addr = long }), 0x0B)
	add("destination_addr far too long", c, unchecked(func(m *ShortMessage) { m.Dest.Addr = strings.Repeat("9", 60_000) }), 0x0B)
	add("schedule_delivery_time too long", c, unchecked(func(m *ShortMessage) { m.ScheduleTime = long }), 0x61)
	add("validity_period too long", c, unchecked(func(m *ShortMessage) { m.Validity = long }), 0x62)
	add("UDHL past the message", c, unchecked(func(m *ShortMessage) { m.Message = []byte{200, 1, 2} }), 0x01)
	add("UDHL past the message, with a mode beside UDHI", c, unchecked(func(m *ShortMessage) { m.ESMClass, m.Message = 0x43, []byte{3, 1, 2} }), 0x01)
	add("UDHI without a message", c, unchecked(func(m *ShortMessage) { m.Message = nil }), 0x01)
	add("UDHL past message_payload", c, unchecked(func(m *ShortMessage) { m.Message, m.TLVs = nil, TLVs(nil).Add(TagMessagePayload, []byte{9, 0}) }), 0x01)
	data := badBody(t, &Data{Dest: International("994500000001"), TLVs: TLVs(nil).Add(TagMessagePayload, []byte("x"))})
	add("data_sm, TLV overrun", DataSM, data[:len(data)-1], 0xC0)
	add("data_sm, missing NUL", DataSM, []byte("x"), 0x15)
	add("data_sm, UDHI without a payload", DataSM, badBody(t, &Data{ESMClass: ESMClassUDHI}), 0x01)
	add("enquire_link with a stray octet", EnquireLink, []byte{1}, 0xC0)
	add("query_sm, missing NUL", QuerySM, []byte("id"), 0x0C)
	add("cancel_sm, no body", CancelSM, nil, 0x15)
	add("replace_sm, no body", ReplaceSM, nil, 0x0C)
	add("submit_multi, no destinations", SubmitMulti, make([]byte, 40), 0x33)
	add("submit_multi, dest_flag 3", SubmitMulti, []byte{0, 0, 0, 0, 1, 3, 0, 0}, 0x40)
	add("submit_multi, 254 destinations that are not there", SubmitMulti, []byte{0, 0, 0, 0, 254}, 0x40)
	add("second bind that does not parse", BindTransceiver, []byte("x"), 0x0F)

	// Commands that there are not.
	nack("unknown command", 0x00000666, nil)
	nack("unknown command with a body", 0x000000FF, good)
	nack("unknown command, of a vendor", 0x00010200, []byte{0xFF})
	nack("command 0", 0, nil)
	nack("unknown response", 0x80000666, nil)
	nack("outbind to who is bound", Outbind, badBody(t, new(OutbindRequest)))
	nack("outbind that does not parse", Outbind, []byte{1})
	nack("outbind_resp, which there is not", Outbind|response, nil)
	nack("alert_notification_resp, which there is not", AlertNotification|response, nil)

	// Commands that are not due.
	bind := badBody(t, &BindRequest{SystemID: "x"})
	for _, again := range []Command{BindTransceiver, BindTransmitter, BindReceiver} {
		add("second "+again.String(), again, bind, 0x05)
	}
	add("a message the wrong way", wrong, good, 0x04)
	add("a message the wrong way that does not parse", wrong, []byte("abc"), 0x04)
	query, cancel, replace := badBody(t, new(Query)), badBody(t, new(Cancel)), badBody(t, new(Replace))
	multi := badBody(t, codecDests(254))
	if side == smsc {
		add("query_sm", QuerySM, query, 0x67)
		add("cancel_sm", CancelSM, cancel, 0x11)
		add("replace_sm", ReplaceSM, replace, 0x13)
		add("submit_multi", SubmitMulti, multi, 0x45)
	} else {
		add("query_sm", QuerySM, query, 0x04)
		add("cancel_sm", CancelSM, cancel, 0x04)
		add("replace_sm", ReplaceSM, replace, 0x04)
		add("submit_multi", SubmitMulti, multi, 0x04)
	}

	// What is carried.
	add("unknown TLV", c, TLVs(bytes.Clone(good)).Add(0x3FFF, []byte{1}), 0)
	add("TLVs twice, empty, and of an operator's own", c, TLVs(bytes.Clone(good)).Add(0x1400, nil).Add(0x1400, []byte{1}).Add(0xFFFF, nil), 0)
	add("message_payload of 64 KiB", c, unchecked(func(m *ShortMessage) { m.Message, m.TLVs = nil, TLVs(nil).Add(TagMessagePayload, make([]byte, 65_535)) }), 0)
	add("all as usual", c, good, 0)
	add("data_sm", DataSM, data, 0)
	add("enquire_link with an unknown TLV", EnquireLink, TLVs(nil).Add(0x3FFF, nil), 0)
	rows = append(rows, badRow{"a status in a request", PDU{Command: c, Status: 0xFF, Body: good}, PDU{Command: c | response}})

	// What has no answer.
	none("alert_notification", AlertNotification, 0, badBody(t, new(Alert)))
	none("alert_notification that does not parse", AlertNotification, 0, []byte{1, 2, 'x'})
	none("generic_nack of nothing", GenericNack, 3, nil)
	none("generic_nack that does not parse", GenericNack, 3, []byte{1})
	for _, answer := range []Command{SubmitSMResp, DeliverSMResp, DataSMResp, EnquireLinkResp, UnbindResp, BindTransceiverResp, QuerySMResp, SubmitMultiResp} {
		none(answer.String()+" to nothing", answer, 0, nil)
		none(answer.String()+" to nothing, with a body that does not parse", answer, 0x58, bytes.Repeat([]byte{'x'}, 70))
	}
	return rows
}

// badFraming are lengths that cannot be right, and what may come behind them.
var badFraming = map[string][]byte{
	"length 0":                     {0, 0, 0, 0},
	"length 1":                     {0, 0, 0, 1},
	"length 15":                    {0, 0, 0, 15},
	"length 15, a header behind":   {0, 0, 0, 15, 0, 0, 0, 0x15, 0, 0, 0, 0, 0, 0, 0, 1},
	"length 0, many more behind":   make([]byte, 40_000),
	"length 70,001":                {0, 1, 0x11, 0x71, 0, 0, 0, 4},
	"length 0x7fffffff":            {0x7F, 0xFF, 0xFF, 0xFF},
	"length 0x80000010":            {0x80, 0, 0, 0x10},
	"length 0xffffffff":            {0xFF, 0xFF, 0xFF, 0xFF},
	"length 0xffffffff, as a text": []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	"another protocol":             []byte("GET / HTTP/1.1\r\n\r\n"),
}

// badSequences are numbers that requests may have, 0 and those beyond the limit
// too: a response has its request's.
var badSequences = []uint32{1, 77, 0x7FFFFFFF, 0, 0x80000000, 0xFFFFFFFF}

// Each row by itself: the right answer, and the session lives.
func TestBadBodies(t *testing.T) {
	for name, start := range badEnds {
		t.Run(name, func(t *testing.T) {
			e := start(t, Options{Handler: badStored})
			for i, row := range badRows(t, e.side) {
				t.Run(row.name, func(t *testing.T) {
					e.t = t
					sequence := badSequences[i%len(badSequences)]
					row.send.Sequence, row.want.Sequence = sequence, sequence
					e.write(row.send.Append(nil))
					if row.want.Command != 0 {
						e.want(row.want)
					}
					e.lives()
				})
			}
		})
	}
}

// One generic_nack, then the end.
func TestBadFraming(t *testing.T) {
	for name, start := range badEnds {
		for what, raw := range badFraming {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				e := start(t, Options{Handler: badStored})
				e.lives()
				e.write(raw)
				e.want(PDU{Command: GenericNack, Status: 2})
				e.ends()
				<-e.ours().Done()
				if err := e.ours().Err(); !errors.Is(err, ErrFraming) {
					t.Errorf("it ended with %v", err)
				}
			})
		}
	}
}

// A frame that is cut off ends the session without a word; it is not waited for
// beyond that, and nothing is left running.
func TestBadEnd(t *testing.T) {
	frame := (&PDU{Command: SubmitSM, Sequence: 5, Body: badBody(t, codecMessage())}).Append(nil)
	for name, start := range badEnds {
		e := start(t, Options{Handler: badStored})
		e.write(frame[:len(frame)-1])
		if err := e.conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		e.ends()
		<-e.ours().Done()
		if err := e.ours().Err(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: it ended with %v", name, err)
		}
		e.ours().wait()
	}
}

// badKey is an answer.
type badKey struct {
	command  Command
	status   Status
	sequence uint32
}

// All rows at random, thousands on one connection, as fast as they go: each gets
// its answer and none another's, whatever stood before it.
func TestBadMix(t *testing.T) {
	seed := badSeed(t)
	const frames = 4000
	for name, start := range badEnds {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, uint64(len(name))))
			var malformed atomic.Int64
			e := start(t, Options{Handler: badStored, Inbound: frames, Malformed: func(error) { malformed.Add(1) }})
			rows := badRows(t, e.side)
			var stream []byte
			want := map[badKey]int{}
			wantMalformed := 0
			for i := range frames {
				row := rows[random.IntN(len(rows))]
				if len(row.send.Body) > 1000 && random.IntN(20) > 0 {
					continue // they take their time
				}
				if _, err := Parse(row.send.Command, row.send.Body); errors.As(err, new(*FieldError)) && !row.send.answers() && row.send.Command != Outbind && row.want.Status != StatusNotBound {
					wantMalformed++
				}
				row.send.Sequence = uint32(i) + 1
				stream = row.send.Append(stream)
				if row.want.Command != 0 {
					want[badKey{row.want.Command, row.want.Status, row.send.Sequence}]++
				}
			}
			stream = (&PDU{Command: EnquireLink, Sequence: frames + 1}).Append(stream)
			want[badKey{EnquireLinkResp, StatusOK, frames + 1}]++
			go func() {
				for len(stream) > 0 { // in pieces that heed no frame's end
					n := min(len(stream), 1+random.IntN(20_000))
					if _, err := e.conn.Write(stream[:n]); err != nil {
						t.Error(err)
						return
					}
					stream = stream[n:]
				}
			}()
			for due := len(want); due > 0; due-- {
				p, err := ReadPDU(e.conn, MaxPDU)
				if err != nil {
					t.Fatalf("%d answers are missing: %v", due, err)
				}
				key := badKey{p.Command, p.Status, p.Sequence}
				if want[key]--; want[key] < 0 {
					t.Fatalf("an answer that was not due: %s, status %#x, sequence %d", p.Command, uint32(p.Status), p.Sequence)
				}
			}
			e.lives()
			e.write([]byte{0, 0, 0, 15})
			e.want(PDU{Command: GenericNack, Status: 2})
			e.ends()
			if got := int(malformed.Load()); got != wantMalformed {
				t.Errorf("Malformed was told of %d bodies, want %d", got, wantMalformed)
			}
			if got := e.ours().options.stats.malformed.Load(); int(got) != wantMalformed {
				t.Errorf("%d malformed bodies were counted, want %d", got, wantMalformed)
			}
			s := e.ours()
			<-s.Done()
			s.wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.inbound != 0 || len(s.pending) != 0 || cap(s.out) > 2*maxOut {
				t.Errorf("%d messages in the handler, %d requests pending, a queue of %d", s.inbound, len(s.pending), cap(s.out))
			}
		})
	}
}

// badSeed is IMZA_SEED, or one that is new each time.
func badSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("IMZA_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("IMZA_SEED=%d", seed)
	return seed
}

// All bad vectors over one live session: each request is answered by the field
// that is wrong with it, and the session lives.
func TestBadVectorsOverASession(t *testing.T) {
	for name, start := range badEnds {
		t.Run(name, func(t *testing.T) {
			e := start(t, Options{Handler: badStored})
			for i, v := range codecBad(t) {
				p := parseFrame(v.raw)
				p.Sequence = uint32(i) + 1
				want := PDU{Command: p.Command | response, Status: codecStatusOf(v.wrongField()), Sequence: p.Sequence}
				if v.wrongField() == "" {
					want.Status = StatusOK
				}
				switch wrong := badWrong[e.side]; {
				case p.Command == Outbind:
					want.Command, want.Status = GenericNack, StatusInvalidCommand
				case p.Command == AlertNotification || p.Command&response != 0:
					want.Command = 0
				case p.Command == wrong:
					want.Status = StatusNotBound
				}
				t.Run(v.Name, func(t *testing.T) {
					e.t = t
					e.write(p.Append(nil))
					if want.Command != 0 {
						e.want(want)
					}
					e.lives()
				})
			}
		})
	}
}

// The rows before a bind: what parses and is not due is refused, what does not
// parse is refused as it is later, and the connection may still bind.
func TestBadInputBeforeBind(t *testing.T) {
	good := badBody(t, codecMessage())
	bind := badBody(t, &BindRequest{SystemID: "x", Password: "secret"})
	addr := badServer(t, &Server{Options: Options{Handler: badStored}, Account: func(id string) (Account, bool) {
		return Account{Password: "secret"}, id == "x"
	}})
	const lives, ends = true, false
	for name, c := range map[string]struct {
		send  PDU
		want  PDU // none if 0
		lives bool
	}{
		"enquire_link":              {PDU{Command: EnquireLink}, PDU{Command: EnquireLinkResp}, lives},
		"enquire_link, stray octet": {PDU{Command: EnquireLink, Body: []byte{1}}, PDU{Command: EnquireLinkResp, Status: 0xC0}, lives},
		"submit_sm":                 {PDU{Command: SubmitSM, Body: good}, PDU{Command: SubmitSMResp, Status: 0x04}, lives},
		"submit_sm, cut off":        {PDU{Command: SubmitSM, Body: good[:len(good)-1]}, PDU{Command: SubmitSMResp, Status: 0x01}, lives},
		"submit_sm, TLV overrun":    {PDU{Command: SubmitSM, Body: append(bytes.Clone(good), 1, 2, 3)}, PDU{Command: SubmitSMResp, Status: 0xC0}, lives},
		"deliver_sm":                {PDU{Command: DeliverSM, Body: good}, PDU{Command: DeliverSMResp, Status: 0x04}, lives},
		"query_sm":                  {PDU{Command: QuerySM, Body: badBody(t, new(Query))}, PDU{Command: QuerySMResp, Status: 0x04}, lives},
		"unknown command":           {PDU{Command: 0x666, Body: []byte{1}}, PDU{Command: GenericNack, Status: 3}, lives},
		"unknown response":          {PDU{Command: 0x80000666}, PDU{Command: GenericNack, Status: 3}, lives},
		"outbind":                   {PDU{Command: Outbind, Body: badBody(t, new(OutbindRequest))}, PDU{Command: GenericNack, Status: 3}, lives},
		"alert_notification":        {PDU{Command: AlertNotification, Body: badBody(t, new(Alert))}, PDU{Command: GenericNack, Status: 3}, lives},
		"a response":                {PDU{Command: SubmitSMResp, Body: []byte("x\x00")}, PDU{}, lives},
		"a response, cut off":       {PDU{Command: SubmitSMResp, Body: []byte("x")}, PDU{}, lives},
		"generic_nack":              {PDU{Command: GenericNack, Status: 3}, PDU{}, lives},
		"bind, no body":             {PDU{Command: BindTransceiver}, PDU{Command: BindTransceiverResp, Status: 0x0F}, lives},
		"bind, password too long":   {PDU{Command: BindReceiver, Body: []byte("x\x00123456789\x00")}, PDU{Command: BindReceiverResp, Status: 0x0E}, lives},
		"bind, cut off":             {PDU{Command: BindTransmitter, Body: bind[:len(bind)-1]}, PDU{Command: BindTransmitterResp, Status: 0x02}, lives},
		"bind, wrong password":      {PDU{Command: BindTransceiver, Body: badBody(t, &BindRequest{SystemID: "x", Password: "guess"})}, PDU{Command: BindTransceiverResp, Status: 0x0E}, ends},
		"bind, unknown system_id":   {PDU{Command: BindTransceiver, Body: badBody(t, &BindRequest{SystemID: "y", Password: "secret"})}, PDU{Command: BindTransceiverResp, Status: 0x0F}, ends},
		"unbind":                    {PDU{Command: Unbind}, PDU{Command: UnbindResp}, ends},
		"a frame of 1,025 octets":   {PDU{Command: SubmitSM, Body: make([]byte, 1025-headerLen)}, PDU{Command: GenericNack, Status: 2}, ends},
		"a frame of 1,024 octets":   {PDU{Command: SubmitSM, Body: append(bytes.Clone(good), TLVs(nil).Add(0x1400, make([]byte, 1024-headerLen-len(good)-4))...)}, PDU{Command: SubmitSMResp, Status: 0x04}, lives},
	} {
		t.Run(name, func(t *testing.T) {
			e := &badEnd{t: t, conn: badDial(t, addr)}
			c.send.Sequence = 9
			if c.want.Status != StatusInvalidLength || c.want.Command != GenericNack {
				c.want.Sequence = 9
			}
			for range 2 { // as often as one likes, while it lives
				e.write(c.send.Append(nil))
				if c.want.Command != 0 {
					e.want(c.want)
				}
				if !c.lives {
					e.ends()
					return
				}
				e.lives()
			}
			e.write((&PDU{Command: BindTransceiver, Sequence: 10, Body: bind}).Append(nil))
			e.want(PDU{Command: BindTransceiverResp, Sequence: 10})
			e.lives()
		})
	}
	for what, raw := range badFraming {
		t.Run(what, func(t *testing.T) {
			e := &badEnd{t: t, conn: badDial(t, addr)}
			e.lives()
			e.write(raw)
			e.want(PDU{Command: GenericNack, Status: 2})
			e.ends()
		})
	}
}

// Who binds in bits, or not at all, is gone in time, however busy it seems.
func TestBindIsNotWaitedForForever(t *testing.T) {
	addr := badServer(t, &Server{Options: Options{Timeout: 200 * time.Millisecond}})
	for name, raw := range map[string][]byte{
		"silence": nil, "two octets": {0, 0}, "a header": {0, 0, 3, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &badEnd{t: t, conn: badDial(t, addr)}
			e.write(raw)
			e.ends()
		})
	}
	t.Run("enquire_link without end", func(t *testing.T) {
		t.Parallel()
		conn := badDial(t, addr)
		began := time.Now()
		var err error
		for err == nil && time.Since(began) < badPatience {
			if _, err = conn.Write((&PDU{Command: EnquireLink, Sequence: 1}).Append(nil)); err == nil {
				_, err = ReadPDU(conn, MaxPDU)
			}
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// An SMSC that answers a bind with anything: it is bound, refused or an error,
// and never waited for beyond the deadline.
func TestBadAnswersToABind(t *testing.T) {
	refused := (&PDU{Command: BindTransceiverResp, Status: StatusBindFailed, Sequence: 1}).Append(nil)
	bound := func(body string) []byte {
		return (&PDU{Command: BindTransceiverResp, Sequence: 1, Body: []byte(body)}).Append(nil)
	}
	before := func(all ...PDU) (raw []byte) {
		for _, p := range all {
			raw = p.Append(raw)
		}
		return append(raw, bound("smsc\x00")...)
	}
	type outcome struct {
		raw      []byte
		want     error
		systemID string
	}
	cases := map[string]outcome{
		"bound":                         {bound("smsc\x00"), nil, "smsc"},
		"bound, unknown TLV":            {bound("smsc\x00\x3f\xff\x00\x01\x01"), nil, "smsc"},
		"bound, no body":                {bound(""), nil, ""},
		"bound, missing NUL":            {bound("smsc"), nil, ""},
		"bound, system_id too long":     {bound("0123456789abcdef\x00"), nil, ""},
		"bound, TLV overrun":            {bound("smsc\x00\x02\x10\x00\x09"), nil, ""},
		"refused":                       {refused, StatusBindFailed, ""},
		"nacked":                        {(&PDU{Command: GenericNack, Status: StatusInvalidLength, Sequence: 1}).Append(nil), StatusInvalidLength, ""},
		"nacked without a reason":       {(&PDU{Command: GenericNack, Sequence: 1}).Append(nil), StatusInvalidCommand, ""},
		"others first":                  {before(PDU{Command: EnquireLink, Sequence: 1}, PDU{Command: DeliverSM, Sequence: 1, Body: []byte("x")}, PDU{Command: 0x666, Sequence: 1}), nil, "smsc"},
		"another number first":          {before(PDU{Command: BindTransceiverResp, Status: StatusBindFailed, Sequence: 2}), nil, "smsc"},
		"another response first":        {before(PDU{Command: BindReceiverResp, Status: StatusBindFailed, Sequence: 1}), nil, "smsc"},
		"another's nack first":          {before(PDU{Command: GenericNack, Status: 3}), nil, "smsc"},
		"closed":                        {nil, io.EOF, ""},
		"closed in the middle":          {refused[:10], io.ErrUnexpectedEOF, ""},
		"a frame of 1,025 octets":       {(&PDU{Command: BindTransceiverResp, Sequence: 1, Body: make([]byte, 1025-headerLen)}).Append(nil), ErrFraming, ""},
		"a refusal with a body of junk": {(&PDU{Command: BindTransceiverResp, Status: 0x0E, Sequence: 1, Body: []byte{1, 2, 3}}).Append(nil), StatusInvalidPassword, ""},
	}
	for what, raw := range badFraming {
		cases[what] = outcome{raw, ErrFraming, ""}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ours, far := badPair(t)
			e := &badEnd{t: t, conn: far}
			done := make(chan error, 1)
			var s *Session
			go func() {
				var err error
				s, err = Bind(context.Background(), ours, BindTransceiver, BindRequest{SystemID: "x"}, Options{Handler: badStored, Timeout: 5 * time.Second})
				done <- err
			}()
			e.want(PDU{Command: BindTransceiver, Sequence: 1})
			e.write(c.raw)
			if errors.Is(c.want, io.EOF) || errors.Is(c.want, io.ErrUnexpectedEOF) {
				_ = far.Close()
			}
			err := <-done
			if !errors.Is(err, c.want) || (s == nil) == (c.want == nil) {
				t.Fatalf("bind: %v %v, want %v", s, err, c.want)
			}
			if s == nil {
				if _, err := ours.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the connection was left open: %v", err)
				}
				return
			}
			if s.Answer().SystemID != c.systemID {
				t.Errorf("bound to %q, want %q", s.Answer().SystemID, c.systemID)
			}
			e.lives()
			far.Close()
			<-s.Done()
			s.wait()
		})
	}
}

// A peer that does not heed the window, and whose responses are to requests that
// were never made, gets none of ours confused.
func TestBadResponses(t *testing.T) {
	e := badAtESME(t, Options{Timeout: badPatience})
	s := e.ours()
	for _, c := range []struct {
		name, body, id string
		status         Status
	}{
		{"as usual", "id\x00", "id", 0},
		{"no body", "", "", 0},
		{"missing NUL", "id", "id", 0},
		{"junk behind the id", "id\x00\xff\xff\xff", "id", 0},
		{"a long id", strings.Repeat("x", 100) + "\x00", strings.Repeat("x", 100), 0},
		{"refused, no body", "", "", StatusThrottled},
		{"refused, with junk", "\x01\x02\x03", "", StatusThrottled},
	} {
		t.Run(c.name, func(t *testing.T) {
			e.t = t
			type answer struct {
				id  string
				err error
			}
			got := make(chan answer, 1)
			go func() {
				id, err := s.Submit(context.Background(), codecMessage())
				got <- answer{id, err}
			}()
			p, err := ReadPDU(e.conn, MaxPDU)
			if err != nil || p.Command != SubmitSM {
				t.Fatalf("%+v %v", p, err)
			}
			for _, other := range []PDU{ // none of them answers it
				{Command: DeliverSMResp, Sequence: p.Sequence, Body: []byte("wrong\x00")},
				{Command: EnquireLinkResp, Sequence: p.Sequence},
				{Command: SubmitSMResp, Sequence: p.Sequence + 1, Body: []byte("wrong\x00")},
				{Command: SubmitSMResp, Sequence: p.Sequence | 1<<31, Body: []byte("wrong\x00")},
				{Command: GenericNack, Status: StatusInvalidLength},
				{Command: AlertNotification, Sequence: p.Sequence, Body: []byte{1}},
			} {
				e.write(other.Append(nil))
			}
			e.write((&PDU{Command: SubmitSMResp, Status: c.status, Sequence: p.Sequence, Body: []byte(c.body)}).Append(nil))
			e.write((&PDU{Command: SubmitSMResp, Sequence: p.Sequence, Body: []byte("twice\x00")}).Append(nil))
			a := <-got
			if a.id != c.id || c.status == 0 && a.err != nil || c.status != 0 && !errors.Is(a.err, c.status) {
				t.Errorf("%q %v", a.id, a.err)
			}
			e.lives()
		})
	}
}

// One unbind is obeyed; a flood of them behind a message that is still being
// stored does not have a goroutine each.
func TestUnbindFlood(t *testing.T) {
	const flood = 20_000
	stored := make(chan struct{})
	conn := newFuzzConn(nil, 1<<20)
	conn.in = (&PDU{Command: SubmitSM, Sequence: 1, Body: badBody(t, codecMessage())}).Append(nil)
	conn.in = append(conn.in, bytes.Repeat((&PDU{Command: Unbind, Sequence: 2}).Append(nil), flood)...)
	s := newSession(conn, Options{Handler: func(context.Context, *Session, *ShortMessage) (string, Status) { <-stored; return "1", StatusOK }}.withDefaults(), smsc, BindTransceiver)
	before := runtime.NumGoroutine()
	go s.run(&frameReader{r: conn})
	conn.until(t, "not all is read", func() bool { return conn.drained })
	if got := runtime.NumGoroutine() - before; got > flood/100 {
		t.Errorf("%d goroutines", got)
	}
	close(stored)
	fuzzHangUp(t, conn, s)
}

// What is announced and does not come costs nothing, on a live session either.
func TestAnnouncedFramesTakeNoMemory(t *testing.T) {
	ours, far := net.Pipe()
	defer far.Close()
	s := newSession(ours, Options{}.withDefaults(), smsc, BindTransceiver)
	reader := &frameReader{r: ours}
	go s.run(reader)
	frame := binary.BigEndian.AppendUint32(nil, MaxPDU)
	if _, err := far.Write(append(frame, make([]byte, 1000)...)); err != nil {
		t.Fatal(err)
	}
	far.Close()
	<-s.Done()
	s.wait()
	if cap(reader.buffer) > smallBuffer {
		t.Errorf("a buffer of %d octets for 1,004", cap(reader.buffer))
	}
	if reader.limit != MaxPDU {
		t.Errorf("a bound session takes %d octets", reader.limit)
	}
}
