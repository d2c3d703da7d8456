package smpp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"imza/smpp"
)

// This file listens in on a connection, and has tshark judge what crossed it.

// direction tells who sent a PDU.
type direction bool

const (
	fromESME direction = true
	fromSMSC direction = false
)

func (d direction) String() string {
	if d == fromESME {
		return "ESME"
	}
	return "SMSC"
}

// tap stands between an ESME and an SMSC, and keeps each PDU that passes. It
// needs no right to capture, unlike tshark on the interface, and misses nothing.
type tap struct {
	addr, target string
	serving      sync.WaitGroup

	mu      sync.Mutex
	pdus    []tapped
	rest    map[direction]int // octets behind the last whole PDU
	changed chan struct{}     // closed when pdus grows
	open    []net.Conn
	closed  bool
}

type tapped struct {
	from direction
	raw  []byte
}

// startTap listens for ESMEs, for an SMSC that listens on target.
func startTap(t *testing.T, target string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: listener.Addr().String(), target: target, changed: make(chan struct{}), rest: make(map[direction]int)}
	p.serving.Go(func() {
		for {
			esme, err := listener.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() { p.connect(esme) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		for _, conn := range p.open {
			conn.Close()
		}
		p.mu.Unlock()
		p.serving.Wait()
	})
	return p
}

func (p *tap) connect(esme net.Conn) {
	defer esme.Close()
	smsc, err := net.Dial("tcp", p.target)
	if err != nil {
		return // so that the ESME sees that nobody listens
	}
	defer smsc.Close()
	p.mu.Lock()
	p.open = append(p.open, esme, smsc)
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pass(smsc, esme, fromESME) })
	both.Go(func() { p.pass(esme, smsc, fromSMSC) })
	both.Wait()
}

// pass copies one direction. What is written is kept already, so that a request
// is always in front of its response.
func (p *tap) pass(to, from net.Conn, d direction) {
	var stream []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		stream = p.keep(append(stream, chunk[:n]...), d)
		if n > 0 {
			if _, err := to.Write(chunk[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

// keep keeps the whole PDUs of a stream and returns the rest of it.
func (p *tap) keep(stream []byte, d direction) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(stream) >= 4 {
		n := int(binary.BigEndian.Uint32(stream))
		if n < 16 || n > len(stream) {
			break
		}
		p.pdus = append(p.pdus, tapped{d, bytes.Clone(stream[:n])})
		stream = stream[n:]
		close(p.changed)
		p.changed = make(chan struct{})
	}
	p.rest[d] = len(stream)
	return stream
}

// await waits until a command has passed.
func (p *tap) await(ctx context.Context, t *testing.T, from direction, command smpp.Command) {
	t.Helper()
	for {
		p.mu.Lock()
		pdus, changed := p.pdus, p.changed
		p.mu.Unlock()
		for _, pdu := range pdus {
			if pdu.from == from && smpp.Command(binary.BigEndian.Uint32(pdu.raw[4:])) == command {
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no %s came from the %s: %v", command, from, ctx.Err())
		}
	}
}

// frame is a PDU as tshark reads it.
type frame struct {
	from             direction
	command          smpp.Command
	status, sequence uint64
	messageType      uint64 // of esm_class: 1 is a receipt
	udhi, pid, class uint64
	body             []byte
	problem          string
}

func needJudge(t *testing.T) {
	t.Helper()
	needCommands(t, "tshark", "text2pcap")
}

// esmePort and smscPort are the ports of the made up capture.
const esmePort, smscPort = "40000", "2775"

// dissect has tshark read all that has passed.
func (p *tap) dissect(ctx context.Context, t *testing.T) []frame {
	t.Helper()
	dir := t.TempDir()
	dump, capture := filepath.Join(dir, "pdus.hex"), filepath.Join(dir, "pdus.pcap")
	if err := os.WriteFile(dump, p.dump(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "text2pcap", "-q", "-D", "-T", esmePort+","+smscPort, dump, capture).CombinedOutput(); err != nil {
		t.Fatalf("text2pcap: %v\n%s", err, out)
	}
	args := []string{"-r", capture, "-d", "tcp.port==" + smscPort + ",smpp", "-T", "fields"}
	for _, name := range []string{"tcp.srcport", "smpp.command_id", "smpp.command_status", "smpp.sequence_number",
		"smpp.esm.submit.msg_type", "smpp.esm.submit.features", "smpp.protocol_id", "smpp.dcs.class",
		"smpp.message", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message"} {
		args = append(args, "-e", name)
	}
	tshark := exec.CommandContext(ctx, "tshark", args...)
	tshark.Stderr = io.Discard // it warns of running as root
	out, err := tshark.Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var frames []frame
	for line := range strings.Lines(string(out)) {
		frames = append(frames, parseFrame(t, strings.TrimRight(line, "\n")))
	}
	if len(frames) == 0 {
		t.Error("tshark sees nothing")
	}
	return frames
}

// dump writes what has passed as text2pcap reads it: I and O are the ESME's and
// the SMSC's.
func (p *tap) dump(t *testing.T) []byte {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for from, n := range p.rest {
		if n != 0 {
			t.Errorf("%d octets behind the last whole PDU from the %s", n, from)
		}
	}
	var dump bytes.Buffer
	for _, pdu := range p.pdus {
		dump.WriteString(map[direction]string{fromESME: "I\n", fromSMSC: "O\n"}[pdu.from])
		for i := 0; i < len(pdu.raw); i += 16 {
			fmt.Fprintf(&dump, "%06x % x\n", i, pdu.raw[i:min(i+16, len(pdu.raw))])
		}
	}
	return dump.Bytes()
}

func parseFrame(t *testing.T, line string) (f frame) {
	t.Helper()
	fields := strings.Split(line, "\t")
	number := func(i int) uint64 {
		if fields[i] == "" {
			return 0
		}
		n, err := strconv.ParseUint(fields[i], 0, 64)
		if err != nil {
			t.Errorf("tshark: %q: %v", line, err)
		}
		return n
	}
	f.from = direction(fields[0] == esmePort)
	f.command = smpp.Command(number(1))
	f.status, f.sequence, f.messageType, f.udhi, f.pid, f.class = number(2), number(3), number(4), number(5), number(6), number(7)
	var err error
	if f.body, err = hex.DecodeString(fields[8]); err != nil {
		t.Errorf("tshark: %q: %v", line, err)
	}
	f.problem = strings.TrimSpace(strings.Join(fields[9:], " "))
	return f
}

// judge checks an exchange as tshark saw it.
func judge(t *testing.T, frames []frame, peer quirks) {
	t.Helper()
	type kind struct {
		from    direction
		command smpp.Command
	}
	count := make(map[kind]int)
	submitted, delivered := [][]byte(nil), [][]byte(nil)
	for i, f := range frames {
		if f.problem != "" {
			t.Errorf("tshark on frame %d, %s from the %s: %s", i+1, f.command, f.from, f.problem)
		}
		count[kind{f.from, f.command}]++
		switch {
		case f.command == smpp.SubmitSM:
			submitted = append(submitted, checkClass2(t, f))
		case f.command == smpp.DeliverSM && f.messageType == 0:
			delivered = append(delivered, checkClass2(t, f))
		}
		if f.command&0x80000000 == 0 && f.command != smpp.EnquireLink {
			checkAnswered(t, f, frames[i+1:])
		}
	}
	checkBodies(t, "submit_sm as tshark has it", submitted, octets(0x70))
	checkBodies(t, "deliver_sm as tshark has it", delivered, octets(0x71))
	for what, want := range map[kind]int{
		{fromESME, smpp.BindTransceiver}: 1, {fromSMSC, smpp.BindTransceiverResp}: 1,
		{fromESME, smpp.SubmitSM}: 2, {fromSMSC, smpp.SubmitSMResp}: 2,
		{fromSMSC, smpp.DeliverSM}: 4, {fromESME, smpp.DeliverSMResp}: 4,
		{fromESME, smpp.Unbind}: 1, {fromSMSC, smpp.UnbindResp}: 1,
	} {
		if count[what] != want {
			t.Errorf("%d %s from the %s, want %d", count[what], what.command, what.from, want)
		}
	}
	if count[kind{fromESME, smpp.EnquireLinkResp}] == 0 || peer.enquires && count[kind{fromSMSC, smpp.EnquireLinkResp}] == 0 {
		t.Error("enquire_link was not asked or answered")
	}
}

func checkClass2(t *testing.T, f frame) (body []byte) {
	t.Helper()
	if f.udhi != 1 || f.pid != dataDownload || f.class != 2 {
		t.Errorf("%s: UDHI %d, PID %02x, class %d", f.command, f.udhi, f.pid, f.class)
	}
	return f.body
}

// checkAnswered checks that a request was answered, and well. The last
// enquire_link may not be: the other side unbinds meanwhile.
func checkAnswered(t *testing.T, request frame, later []frame) {
	t.Helper()
	for _, f := range later {
		if f.from != request.from && f.command == request.command|0x80000000 && f.sequence == request.sequence {
			if f.status != 0 {
				t.Errorf("%s was answered with status %x", request.command, f.status)
			}
			return
		}
	}
	t.Errorf("%s %d from the %s was not answered", request.command, request.sequence, request.from)
}

// The judge must know a bad PDU: one that says nothing finds nothing.
func TestTsharkSeesMalformedSMPP(t *testing.T) {
	needJudge(t)
	good := encode(t, toSIM(octets(0x70)[0]))
	short := bytes.Clone(good[:len(good)-1]) // its short_message ends too early
	short[3]--
	tap := startTap(t, "127.0.0.1:0")
	tap.keep(append(bytes.Clone(good), short...), fromESME)
	frames := tap.dissect(t.Context(), t)
	if len(frames) != 2 || frames[0].problem != "" || frames[1].problem == "" {
		t.Errorf("tshark has %+v", frames)
	}
}
