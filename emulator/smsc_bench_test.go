package emulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/smpp"
)

// echoCard answers each ENVELOPE with one message, which costs it nothing: what
// remains is the centre's own work, and the handset's.
type echoCard struct {
	send   func(tpdu []byte) error
	answer []byte
}

func (c *echoCard) Transmit([]byte) ([]byte, error) {
	return []byte{0x90, 0x00}, c.send(c.answer)
}

// benchmarkLines is how many telephones the benchmark's messages go to in turn.
const benchmarkLines = 1000

// BenchmarkSMSC puts challenges of one message through a centre: each is one
// submit_sm, one receipt, and one answer. The ESME is a process of its own that
// keeps four binds, as a gateway does, so that what is measured is the centre
// alone: its CPU time of user and system, at a rate that leaves it idle at times
// and as fast as it goes. Beside it stands what the connections alone cost.
func BenchmarkSMSC(b *testing.B) {
	for _, rate := range []int{2000, 0} {
		name := "as fast as it goes"
		if rate > 0 {
			name = fmt.Sprintf("%d a second", rate)
		}
		benchmarkSMSC(b, name, rate, func(b *testing.B) string { return benchmarkCentre(b, Network{}) })
		benchmarkSMSC(b, name+", with delays", rate, func(b *testing.B) string {
			return benchmarkCentre(b, Network{Delay: LogNormal{20 * time.Millisecond, 0.5}})
		})
		benchmarkSMSC(b, name+", connections alone", rate, bareCentre)
	}
}

func benchmarkSMSC(b *testing.B, name string, rate int, centre func(*testing.B) string) {
	b.Run(name, func(b *testing.B) {
		addr := centre(b)
		b.ResetTimer()
		before, mallocs := cpu(b), mallocs()
		answers := benchmarkESME(b, addr, b.N, rate)
		used, allocated := cpu(b)-before, mallocs.since()
		b.ReportMetric(float64(used.Microseconds())/float64(b.N), "µs-CPU/challenge")
		b.ReportMetric(float64(allocated)/float64(b.N), "mallocs/challenge")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "challenges/s")
		b.ReportMetric(answers[0], "µs-p50")
		b.ReportMetric(answers[1], "µs-p99")
		b.ReportMetric(0, "ns/op") // of a rate that is given
	})
}

func benchmarkCentre(b *testing.B, network Network) (addr string) {
	c := NewSMSC(func(string) (smpp.Account, bool) { return smpp.Account{Password: password}, true }, slog.New(slog.DiscardHandler))
	c.Network = network
	submit := sms.Submit{Destination: asker, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true,
		UserData: append([]byte{2, byte(sms.ResponsePacket), 0}, make([]byte, 110)...)}
	tpdu, err := submit.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchmarkLines {
		card := &echoCard{answer: tpdu}
		h := &Handset{Card: &echoCard{send: func([]byte) error { return nil }}, Person: &Actor{}, Log: c.Log}
		if err := h.SwitchOn(context.Background()); err != nil {
			b.Fatal(err)
		}
		h.Insert(card)
		c.Add(&Line{MSISDN: benchmarkNumber(i), Handset: h})
		card.send = h.Send
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = c.Serve(listener) }()
	b.Cleanup(func() { _ = c.Close() })
	return listener.Addr().String()
}

// bareCentre is a centre that does nothing but read and write: the response, a
// receipt and an answer go out in one piece, and what comes back is dropped.
func bareCentre(b *testing.B) (addr string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				readFrames(conn, answerBare)
			}()
		}
	}()
	return listener.Addr().String()
}

func answerBare(p smpp.PDU, out []byte) []byte {
	switch p.Command {
	case smpp.BindTransceiver:
		return (&smpp.PDU{Command: smpp.BindTransceiverResp, Sequence: p.Sequence, Body: []byte{0}}).Append(out)
	case smpp.SubmitSM:
		m, err := smpp.ParseShortMessage(p.Body)
		if err != nil {
			return out
		}
		m.Source, m.Dest = m.Dest, m.Source
		answer, err := m.Append(nil)
		if err != nil {
			return out
		}
		m.ESMClass, m.Message = 4, m.Message[:100]
		receipt, err := m.Append(nil)
		if err != nil {
			return out
		}
		out = (&smpp.PDU{Command: smpp.SubmitSMResp, Sequence: p.Sequence, Body: []byte("id\x00")}).Append(out)
		out = (&smpp.PDU{Command: smpp.DeliverSM, Sequence: 2 * p.Sequence, Body: receipt}).Append(out)
		return (&smpp.PDU{Command: smpp.DeliverSM, Sequence: 2*p.Sequence + 1, Body: answer}).Append(out)
	}
	return out
}

func benchmarkNumber(i int) simcard.MSISDN {
	return simcard.MSISDN(fmt.Sprintf("+9945010%05d", i))
}

// cpu is the CPU time that this process has taken.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type mallocCount uint64

func mallocs() mallocCount {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return mallocCount(m.Mallocs)
}

func (m mallocCount) since() uint64 { return uint64(mallocs() - m) }

// benchmarkESME runs the ESME in a process of its own, and returns half and
// 99 % of the times from a submit_sm to its answer, in µs.
func benchmarkESME(b *testing.B, addr string, n, rate int) (answers [2]float64) {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestESMEOfBenchmark$", "-test.v")
	c.Env = append(os.Environ(), fmt.Sprintf("SMSC_BENCHMARK=%s %d %d", addr, n, rate))
	out, err := c.CombinedOutput()
	_, line, ok := strings.Cut(string(out), "answers:")
	if _, scan := fmt.Sscan(line, &answers[0], &answers[1]); err != nil || !ok || scan != nil {
		b.Fatalf("the ESME: %v\n%s", err, out)
	}
	return answers
}

// TestESMEOfBenchmark is that process.
func TestESMEOfBenchmark(t *testing.T) {
	var addr string
	var n, rate int
	if _, err := fmt.Sscan(os.Getenv("SMSC_BENCHMARK"), &addr, &n, &rate); err != nil {
		t.Skip("runs for BenchmarkSMSC alone")
	}
	e := &bareESME{t: t, room: make(chan struct{}, 200), ended: make(chan time.Duration, n)}
	for range 4 {
		e.bind(addr)
	}
	go e.ask(n, rate)
	taken := make([]time.Duration, n)
	for i := range taken {
		taken[i] = receive(t, e.ended, "an answer")
	}
	slices.Sort(taken)
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	fmt.Println("answers:", us(taken[n/2]), us(taken[n*99/100]))
}

// bareESME is an ESME that costs little: frames are made by hand, and as many
// are read and written at once as there are.
type bareESME struct {
	t     *testing.T
	conns []net.Conn
	room  chan struct{} // fewer challenges at once than there are telephones
	ended chan time.Duration

	mu    sync.Mutex
	asked [benchmarkLines]struct { // the challenge of each telephone
		began time.Time
		took  time.Duration
		came  int
	}
}

func (e *bareESME) bind(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		e.t.Fatal(err)
	}
	request := smpp.BindRequest{SystemID: "imza", Password: password, InterfaceVersion: 0x34}
	frame := smpp.PDU{Command: smpp.BindTransceiver, Sequence: 1, Body: encoded(e.t, &request)}
	if _, err := conn.Write(frame.Append(nil)); err != nil {
		e.t.Fatal(err)
	}
	if answer, err := smpp.ReadPDU(conn, smpp.MaxPDU); err != nil || answer.Status != smpp.StatusOK {
		e.t.Fatal(answer, err)
	}
	e.conns = append(e.conns, conn)
	go e.read(conn)
}

// ask sends challenges: those that are due at each millisecond, or as many as
// there is room for. Each goes to the next telephone.
func (e *bareESME) ask(n, rate int) {
	template := messages([][]byte{append([]byte{2, byte(sms.CommandPacket), 0}, make([]byte, 110)...)})[0]
	start := time.Now()
	for i := range n {
		if rate > 0 {
			due := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(due.Truncate(time.Millisecond)))
		}
		e.room <- struct{}{}
		template.Dest.Addr = benchmarkNumber(i % benchmarkLines).Digits()
		frame := smpp.PDU{Command: smpp.SubmitSM, Sequence: uint32(i + 2), Body: encoded(e.t, template)}
		e.mu.Lock()
		e.asked[i%benchmarkLines].began = time.Now()
		e.mu.Unlock()
		if _, err := e.conns[i%len(e.conns)].Write(frame.Append(nil)); err != nil {
			e.t.Error(err)
			return
		}
	}
}

// read answers each deliver_sm.
func (e *bareESME) read(conn net.Conn) {
	readFrames(conn, func(p smpp.PDU, out []byte) []byte {
		if p.Command != smpp.DeliverSM {
			return out
		}
		e.delivered(p)
		return (&smpp.PDU{Command: smpp.DeliverSMResp, Sequence: p.Sequence, Body: []byte{0}}).Append(out)
	})
}

// readFrames reads frames until the connection ends, as many as there are at each
// read, and writes at once what answers them.
func readFrames(conn net.Conn, answer func(p smpp.PDU, out []byte) []byte) {
	buffer, have := make([]byte, 64<<10), 0
	var out []byte
	for {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return
		}
		have += n
		r := bytes.NewReader(buffer[:have])
		out = out[:0]
		for r.Len() >= 4 && r.Len() >= int(binary.BigEndian.Uint32(buffer[have-r.Len():])) {
			p, err := smpp.ReadPDU(r, smpp.MaxPDU)
			if err != nil {
				return
			}
			out = answer(p, out)
		}
		have = copy(buffer, buffer[have-r.Len():have])
		if _, err := conn.Write(out); err != nil && len(out) > 0 {
			return
		}
	}
}

// delivered takes a receipt or an answer. A challenge is over with both.
func (e *bareESME) delivered(p smpp.PDU) {
	m, err := smpp.ParseShortMessage(p.Body)
	if err != nil {
		e.t.Error(err)
		return
	}
	line, err := strconv.Atoi(m.Source.Addr[len(m.Source.Addr)-5:])
	if err != nil {
		e.t.Error(err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	asked := &e.asked[line]
	if !m.IsReceipt() {
		asked.took = time.Since(asked.began)
	}
	if asked.came++; asked.came == 2 {
		asked.came = 0
		e.ended <- asked.took
		<-e.room
	}
}
