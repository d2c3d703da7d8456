package proxytest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	never = 10 * time.Second       // what has not happened by then never will
	quiet = 100 * time.Millisecond // in which nothing is to happen
)

// pdu builds a PDU of that length whose every octet can be told from its number.
func pdu(number uint32, length int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(length))
	b = binary.BigEndian.AppendUint32(b, 4)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, number)
	for i := len(b); i < length; i++ {
		b = append(b, byte(number)+byte(i))
	}
	return b
}

func join(pdus [][]byte) []byte { return bytes.Join(pdus, nil) }

// batch is n PDUs of various lengths.
func batch(n int) (pdus [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		pdus = append(pdus, pdu(uint32(i), 16+rng.IntN(300)))
	}
	return pdus
}

// readPDU reads one PDU and its number, and insists that it is intact.
func readPDU(r io.Reader) (number uint32, err error) {
	header := make([]byte, 16)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, err
	}
	length, number := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[12:])
	if length < 16 || length > 1<<16 {
		return 0, fmt.Errorf("a PDU of %d octets", length)
	}
	body := make([]byte, length-16)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, err
	}
	if whole := append(header, body...); !bytes.Equal(whole, pdu(number, int(length))) {
		return 0, fmt.Errorf("PDU %d is damaged: %x", number, whole)
	}
	return number, nil
}

func readPDUs(t *testing.T, r io.Reader, n int) (numbers []uint32) {
	t.Helper()
	for range n {
		number, err := readPDU(r)
		if err != nil {
			t.Fatalf("after %d of %d PDUs: %v", len(numbers), n, err)
		}
		numbers = append(numbers, number)
	}
	return numbers
}

func write(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %x, %v; want %x", got[:n], err, want)
	}
}

// silence insists that nothing comes, no close either.
func silence(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(quiet))
	n, err := c.Read(make([]byte, 64))
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d octets came, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(never))
}

// eventually polls for what happens in a goroutine of the proxy.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for limit := time.Now().Add(never); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: it never happened", what)
		}
	}
}

// counted waits for a count: the ends see what was done before it is counted.
func counted(t *testing.T, p *Proxy, right func(Count) bool) {
	t.Helper()
	for limit := time.Now().Add(never); !right(p.Count()); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%+v", p.Count())
		}
	}
}

// listen is an SMSC for raw octets.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// start starts a proxy, and insists at the end that it leaves nothing behind.
func start(t *testing.T, target string) *Proxy {
	t.Helper()
	before := runtime.NumGoroutine()
	p, err := Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "no goroutine more than before", func() bool { return runtime.NumGoroutine() <= before })
	})
	return p
}

func connect(t *testing.T, p *Proxy, l net.Listener) (esme, smsc *net.TCPConn) {
	t.Helper()
	before := p.Count().Connections
	client, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(never))
		t.Cleanup(func() { c.Close() })
	}
	// The SMSC accepts before the proxy knows that its dial has succeeded.
	counted(t, p, func(c Count) bool { return c.Connections == before+1 })
	return client.(*net.TCPConn), server.(*net.TCPConn)
}

// pair is a proxy with one connection through it.
func pair(t *testing.T) (p *Proxy, esme, smsc *net.TCPConn) {
	t.Helper()
	l := listen(t)
	p = start(t, l.Addr().String())
	esme, smsc = connect(t, p, l)
	return p, esme, smsc
}

func apply(t *testing.T, p *Proxy, f Fault) {
	t.Helper()
	if n := p.Apply(f); n != 1 {
		t.Fatalf("%s was put on %d connections", f, n)
	}
	if p.Count().Faults[f.Kind] == 0 {
		t.Errorf("%s was not counted", f)
	}
}

func TestForwardsBothWays(t *testing.T) {
	p, esme, smsc := pair(t)
	pdus := batch(20_000)
	all := join(pdus)
	var both sync.WaitGroup
	for _, ends := range [][2]*net.TCPConn{{esme, smsc}, {smsc, esme}} {
		both.Go(func() {
			_, _ = ends[0].Write(all)
			_ = ends[0].CloseWrite()
		})
		both.Go(func() { // a close of one direction passes, and the other goes on
			if got, err := io.ReadAll(ends[1]); err != nil || !bytes.Equal(got, all) {
				t.Errorf("%d octets of %d came, %v", len(got), len(all), err)
			}
		})
	}
	both.Wait()
	counted(t, p, func(c Count) bool { return c.Connections == 1 && c.Forwarded == 2*len(pdus) })
	if c := p.Count(); c.Swallowed+c.Torn+c.Lost+c.Overtaken != 0 {
		t.Errorf("%+v", c)
	}
}

func TestResetPasses(t *testing.T) {
	_, esme, smsc := pair(t)
	reset(esme)
	if _, err := smsc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the SMSC reads %v", err)
	}
}

func TestUnreachableTarget(t *testing.T) {
	l := listen(t)
	_ = l.Close()
	p := start(t, l.Addr().String())
	esme, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer esme.Close()
		_, err = esme.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	counted(t, p, func(c Count) bool { return c.Unreachable == 1 })
}

func TestStallHoldsAndGoesOn(t *testing.T) {
	p, esme, smsc := pair(t)
	apply(t, p, Fault{Kind: Stall, Direction: ToSMSC})
	write(t, esme, pdu(1, 50))
	silence(t, smsc)
	write(t, smsc, pdu(2, 50)) // the other direction lives
	expect(t, esme, pdu(2, 50))
	_ = esme.CloseWrite()
	silence(t, smsc)
	p.Lift()
	expect(t, smsc, pdu(1, 50))
	if _, err := smsc.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the close came as %v", err)
	}
	counted(t, p, func(c Count) bool { return c.Stalled == 1 && c.Forwarded == 2 })
}

func TestStallEndsByItself(t *testing.T) {
	p, esme, smsc := pair(t)
	began := time.Now()
	apply(t, p, Fault{Kind: Stall, For: quiet})
	write(t, esme, pdu(1, 50))
	expect(t, smsc, pdu(1, 50))
	if took := time.Since(began); took < quiet {
		t.Errorf("it came after %s", took)
	}
	began = time.Now()
	apply(t, p, Fault{Kind: Stall, For: quiet})
	_ = esme.CloseWrite() // with nothing before it
	if _, err := smsc.Read(make([]byte, 1)); err != io.EOF || time.Since(began) < quiet {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// A stall is felt by who sends, and costs no octet even if it strikes in the
// middle of a write to an end that does not read.
func TestStallPushesBack(t *testing.T) {
	p, esme, smsc := pair(t)
	_ = smsc.SetReadBuffer(readBuffer)
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint32(500_000) {
			n, err := esme.Write(pdu(i, 200))
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	standing := func() bool {
		before := sent.Load()
		time.Sleep(quiet / 2)
		return before > 0 && before == sent.Load()
	}
	eventually(t, "the SMSC does not read", standing)
	apply(t, p, Fault{Kind: Stall})
	counted(t, p, func(c Count) bool { return c.Stalled == 1 })
	read := make(chan int64)
	go func() { // what the kernel has already comes, the rest does not
		n, _ := io.Copy(io.Discard, smsc)
		read <- n
	}()
	eventually(t, "the proxy does not read", standing)
	if n := sent.Load(); n >= 50<<20 { // 100 are offered
		t.Errorf("%d octets were taken under a stall", n)
	}
	_ = esme.SetWriteDeadline(time.Now())
	<-done
	_ = esme.CloseWrite()
	p.Lift()
	if n := <-read; n != sent.Load() {
		t.Errorf("%d octets came of %d", n, sent.Load())
	}
}

func TestHalfOpenSwallows(t *testing.T) {
	l := listen(t)
	p := start(t, l.Addr().String())
	esme, smsc := connect(t, p, l)
	apply(t, p, Fault{Kind: HalfOpen})
	pdus := batch(100)
	write(t, esme, join(pdus))
	write(t, smsc, join(pdus))
	silence(t, smsc)
	silence(t, esme)
	counted(t, p, func(c Count) bool { return c.Swallowed == 2*len(pdus) })
	p.Lift()
	_ = esme.Close()
	silence(t, smsc) // which is not told
	write(t, smsc, join(pdus))
	counted(t, p, func(c Count) bool { return c.Swallowed == 3*len(pdus) })
	_ = smsc.Close()
	eventually(t, "the connection ends", func() bool { return p.Apply(Fault{Kind: Stall}) == 0 })
	if c := p.Count(); c.Forwarded != 0 {
		t.Errorf("%+v", c)
	}
}

func TestHalfOpenOneWay(t *testing.T) {
	p, esme, smsc := pair(t)
	write(t, esme, pdu(1, 60)[:20])
	expect(t, smsc, pdu(1, 60)[:20])
	apply(t, p, Fault{Kind: HalfOpen, Direction: ToSMSC})
	write(t, esme, pdu(1, 60)[20:])
	write(t, smsc, pdu(2, 60))
	expect(t, esme, pdu(2, 60))
	silence(t, smsc)
	counted(t, p, func(c Count) bool { return c.Swallowed == 1 && c.Forwarded == 1 })
	reset(esme) // the news would go through the direction that is half open
	silence(t, smsc)
	write(t, smsc, pdu(3, 60))
	silence(t, smsc)
	counted(t, p, func(c Count) bool { return c.Swallowed == 2 || c.Forwarded == 2 })
}

func TestCutAtOnce(t *testing.T) {
	for name, f := range map[string]Fault{"RST": {Reset: true}, "FIN": {}} {
		t.Run(name, func(t *testing.T) {
			p, esme, smsc := pair(t)
			write(t, esme, pdu(1, 90)[:40])
			expect(t, smsc, pdu(1, 90)[:40])
			apply(t, p, f)
			if !f.Reset {
				write(t, esme, pdu(1, 90)[40:]) // must not turn it into RST
			}
			for end, c := range map[string]*net.TCPConn{"ESME": esme, "SMSC": smsc} {
				_, err := c.Read(make([]byte, 1))
				if f.Reset && !errors.Is(err, syscall.ECONNRESET) || !f.Reset && err != io.EOF {
					t.Errorf("the %s reads %v", end, err)
				}
			}
			counted(t, p, func(c Count) bool { return c.Cut == 1 && c.Torn == 1 && c.Forwarded == 0 })
			if p.Apply(Fault{Kind: Stall}) != 0 {
				t.Error("it is still alive")
			}
		})
	}
}

func TestCutWithinPDU(t *testing.T) {
	for n, came := range map[int]int{1: 1, 7: 7, 16: 16, 500: 69} { // never whole
		for _, rst := range []bool{false, true} {
			p, esme, smsc := pair(t)
			first := pdu(1, 40)
			write(t, esme, first[:3]) // even the length is on its way
			expect(t, smsc, first[:3])
			apply(t, p, Fault{Kind: Cut, Direction: ToSMSC, N: n, Reset: rst})
			write(t, smsc, pdu(9, 30))
			expect(t, esme, pdu(9, 30))
			write(t, esme, first[3:])
			expect(t, smsc, first[3:])
			write(t, esme, slices.Concat(pdu(2, 70), pdu(3, 70)))
			got, err := io.ReadAll(smsc)
			if !bytes.Equal(got, pdu(2, 70)[:came]) || rst != errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("n %d: %x came, %v", n, got, err)
			}
			counted(t, p, func(c Count) bool { return c.Cut == 1 && c.Torn == 1 && c.Forwarded == 2 })
		}
	}
}

// A cut that waits for a PDU in vain comes all the same.
func TestCutWithoutPDU(t *testing.T) {
	p, esme, _ := pair(t)
	apply(t, p, Fault{Kind: Cut, N: 5, For: 10 * time.Millisecond})
	if _, err := esme.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v", err)
	}
	counted(t, p, func(c Count) bool { return c.Cut == 1 && c.Torn == 0 })
}

func TestDelayKeepsTheOrder(t *testing.T) {
	p, esme, smsc := pair(t)
	pdus := batch(300)
	const wait = 50 * time.Millisecond
	apply(t, p, Fault{Kind: Delay, Wait: wait, Direction: ToSMSC})
	began := time.Now()
	write(t, esme, join(pdus))
	expect(t, smsc, join(pdus))
	if took := time.Since(began); took < wait/2 { // the latest of 300 chances
		t.Errorf("all came within %s", took)
	}
	counted(t, p, func(c Count) bool {
		return c.Delayed == len(pdus) && c.Forwarded == len(pdus) && c.Overtaken == 0
	})
}

// No more is held than fits, what comes beyond is pushed back, and none is lost.
func TestDelayPushesBack(t *testing.T) {
	p, esme, smsc := pair(t)
	pdus := batch(10_000)
	apply(t, p, Fault{Kind: Delay, Wait: never})
	go func() { _, _ = esme.Write(join(pdus)) }()
	counted(t, p, func(c Count) bool { return c.Delayed >= maxHeld/400 })
	time.Sleep(quiet)
	if c := p.Count(); c.Delayed > len(pdus)/2 {
		t.Errorf("%+v", c)
	}
	p.Lift()
	expect(t, smsc, join(pdus))
	counted(t, p, func(c Count) bool { return c.Forwarded == len(pdus) && c.Overtaken == 0 })
}

func TestReorderMovesWholePDUs(t *testing.T) {
	p, esme, smsc := pair(t)
	pdus := batch(500)
	write(t, esme, pdus[0][:10]) // one is on its way already
	expect(t, smsc, pdus[0][:10])
	apply(t, p, Fault{Kind: Reorder, N: 10, Direction: ToSMSC})
	go func() {
		rest := join(pdus)[10:]
		for len(rest) > 0 { // in pieces that know nothing of PDUs
			n := min(len(rest), 1+rand.IntN(700))
			_, _ = esme.Write(rest[:n])
			rest = rest[n:]
		}
	}()
	expect(t, smsc, pdus[0][10:])
	numbers := readPDUs(t, smsc, len(pdus)-1)
	overtaken, newest := 0, uint32(0)
	for _, number := range numbers {
		if number < newest {
			overtaken++
		}
		newest = max(newest, number)
	}
	slices.Sort(numbers)
	for i, number := range numbers {
		if number != uint32(i+1) {
			t.Fatalf("PDU %d is missing or came twice", i+1)
		}
	}
	if overtaken < 100 {
		t.Errorf("%d were overtaken", overtaken)
	}
	counted(t, p, func(c Count) bool { return c.Overtaken == overtaken && c.Forwarded == len(pdus) })
	silence(t, smsc)
}

func TestReorderWithholdsNothingForEver(t *testing.T) {
	p, esme, smsc := pair(t)
	const wait = 50 * time.Millisecond
	apply(t, p, Fault{Kind: Reorder, N: 100, Wait: wait})
	began := time.Now()
	write(t, esme, join(batch(10)))
	numbers := readPDUs(t, smsc, 10)
	if took := time.Since(began); took < wait || slices.IsSorted(numbers) {
		t.Errorf("%d after %s", numbers, took)
	}
	// Neither what is held nor the half PDU behind it outlives the fault.
	apply(t, p, Fault{Kind: Reorder, N: 100, Wait: never})
	write(t, esme, join([][]byte{pdu(1, 30), pdu(2, 30), pdu(3, 30)[:20]}))
	silence(t, smsc)
	p.Lift()
	expect(t, smsc, join([][]byte{pdu(1, 30), pdu(2, 30), pdu(3, 30)[:20]}))
	// Nor a close.
	apply(t, p, Fault{Kind: Reorder, N: 100, Wait: never, Direction: ToSMSC})
	write(t, esme, slices.Concat(pdu(3, 30)[20:], pdu(4, 30), pdu(5, 30)[:3]))
	_ = esme.CloseWrite()
	if got, err := io.ReadAll(smsc); err != nil || !bytes.Equal(got, slices.Concat(pdu(3, 30)[20:], pdu(4, 30), pdu(5, 30)[:3])) {
		t.Errorf("%x %v", got, err)
	}
}

func TestCutLosesWhatIsHeld(t *testing.T) {
	p, esme, smsc := pair(t)
	apply(t, p, Fault{Kind: Delay, Wait: never, Seed: 3})
	write(t, esme, join(batch(5)))
	counted(t, p, func(c Count) bool { return c.Delayed == 5 })
	apply(t, p, Fault{Kind: Cut})
	if got, err := io.ReadAll(smsc); err != nil || len(got) > 0 {
		t.Errorf("%x %v", got, err)
	}
	counted(t, p, func(c Count) bool { return c.Lost == 5 })
}

func TestTrickleKeepsAllOctets(t *testing.T) {
	p, esme, smsc := pair(t)
	all := join(batch(10))
	const octets, pause = 300, 200 * time.Microsecond
	apply(t, p, Fault{Kind: Trickle, N: octets, Wait: pause, Direction: ToSMSC})
	began := time.Now()
	write(t, esme, all)
	expect(t, smsc, all[:1])
	next := make([]byte, octets)
	if n, err := smsc.Read(next); err != nil || n == octets || !bytes.Equal(next[:n], all[1:1+n]) {
		t.Errorf("%d octets at once, %v", n, err)
	} else {
		expect(t, smsc, all[1+n:])
	}
	if took := time.Since(began); took < octets*pause {
		t.Errorf("all came within %s", took)
	}
	counted(t, p, func(c Count) bool { return c.Trickled == octets && c.Forwarded == 10 })
}

func TestRefuse(t *testing.T) {
	l := listen(t)
	p := start(t, l.Addr().String())
	esme, smsc := connect(t, p, l)
	p.Apply(Fault{Kind: Refuse})
	refused, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer refused.Close()
		_, err = refused.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
	write(t, esme, pdu(1, 20))
	expect(t, smsc, pdu(1, 20))
	counted(t, p, func(c Count) bool { return c.Refused == 1 && c.Faults[Refuse] == 1 })
	p.Lift()
	connect(t, p, l)
	p.Apply(Fault{Kind: Refuse, For: time.Millisecond})
	time.Sleep(time.Millisecond)
	connect(t, p, l)
}

func TestOneOrAll(t *testing.T) {
	l := listen(t)
	p := start(t, l.Addr().String())
	const n = 8
	for range n {
		connect(t, p, l)
	}
	picked := make(map[*conn]bool)
	for seed := range uint64(100) {
		p.mu.Lock()
		one, again := p.pick(Fault{Seed: seed}), p.pick(Fault{Seed: seed})
		p.mu.Unlock()
		if len(one) != 1 || one[0] != again[0] {
			t.Fatalf("seed %d picks %v and %v", seed, one, again)
		}
		picked[one[0]] = true
	}
	if len(picked) != n {
		t.Errorf("chance reaches %d connections of %d", len(picked), n)
	}
	apply(t, p, Fault{Kind: Cut})
	if got := p.Apply(Fault{Kind: Cut, All: true}); got != n-1 {
		t.Errorf("%d connections were left", got)
	}
	counted(t, p, func(c Count) bool { return c.Cut == n && c.Faults[Cut] == n })
}

// Where no PDU ends any more, faults that ask for whole ones let all pass.
func TestImpossibleLength(t *testing.T) {
	for _, length := range []uint32{0, 15, maxLength + 1, 0xFFFFFFFF} {
		p, esme, smsc := pair(t)
		apply(t, p, Fault{Kind: Reorder, N: 50, Wait: never})
		bad := slices.Concat(pdu(1, 30), binary.BigEndian.AppendUint32(nil, length), []byte("what else"))
		write(t, esme, bad)
		expect(t, smsc, bad)
		write(t, esme, []byte("goes on"))
		expect(t, smsc, []byte("goes on"))
	}
}

func TestFramerInAnyPieces(t *testing.T) {
	stream := join(batch(50))
	for size := 1; size < 400; size++ {
		var f framer
		pdus := 0
		for piece := range slices.Chunk(stream, size) {
			for len(piece) > 0 {
				n, whole := f.next(piece)
				if piece = piece[n:]; whole {
					pdus++
				}
			}
		}
		if pdus != 50 || f.seen != 0 {
			t.Fatalf("in pieces of %d: %d PDUs and %d octets", size, pdus, f.seen)
		}
	}
}

func TestRandomRepeats(t *testing.T) {
	one, two := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(1, 1))
	kinds, texts := make(map[Kind]int), make(map[string]bool)
	for range 1000 {
		f := Random(one, time.Second)
		if again := Random(two, time.Second); again != f {
			t.Fatalf("%s, then %s", f, again)
		}
		if f.For <= 0 || f.For > time.Second {
			t.Errorf("%s", f)
		}
		kinds[f.Kind]++
		texts[f.String()] = true
	}
	if len(kinds) != len(kindNames) || len(texts) != 1000 {
		t.Errorf("%v, %d texts", kinds, len(texts))
	}
	if f := Random(one, time.Second, Stall); f.Kind != Stall {
		t.Errorf("%s", f)
	}
}

// An ESME that sends and an SMSC that answers, under all faults at once: what
// comes is intact and comes once, and the counts agree with what the ends saw.
func TestStorm(t *testing.T) {
	l := listen(t)
	p := start(t, l.Addr().String())
	var ends sync.WaitGroup
	ends.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			ends.Go(func() { defer c.Close(); answer(t, c) })
		}
	})
	stop := make(chan struct{})
	var answers atomic.Int64
	for range 8 {
		ends.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					answers.Add(ask(t, p.Addr()))
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 300 {
		p.Apply(Random(rng, 20*time.Millisecond))
		time.Sleep(time.Duration(rng.IntN(int(4 * time.Millisecond))))
	}
	close(stop)
	_ = p.Close()
	_ = l.Close()
	ends.Wait()
	c := p.Count()
	t.Logf("%d answers, %+v", answers.Load(), c)
	if c.Cut == 0 || c.Torn == 0 || c.Swallowed == 0 || c.Delayed == 0 || c.Overtaken == 0 || c.Trickled == 0 || c.Stalled == 0 || c.Refused == 0 {
		t.Error("a fault did not bite")
	}
	if answers.Load() == 0 || answers.Load() > int64(c.Forwarded) {
		t.Errorf("%d answers", answers.Load())
	}
}

// ask sends PDUs and reads the answers until the connection ends or is silent.
func ask(t *testing.T, addr string) (answers int64) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer c.Close()
	seen := make(map[uint32]bool)
	for number := uint32(0); ; {
		for range 10 {
			number++
			if _, err := c.Write(pdu(number, 16+int(number%200))); err != nil {
				return answers
			}
		}
		_ = c.SetDeadline(time.Now().Add(quiet))
		for range 10 {
			got, err := readPDU(c)
			if err != nil {
				return answers + passing(t, err)
			}
			if seen[got] || got > number {
				t.Errorf("PDU %d came twice or was never sent", got)
			}
			seen[got] = true
			answers++
		}
	}
}

func answer(t *testing.T, c net.Conn) {
	for {
		number, err := readPDU(c)
		if err == nil {
			_, err = c.Write(pdu(number, 16+int(number%100)))
		}
		if err != nil {
			passing(t, err)
			return
		}
	}
}

// passing insists that an error is one of the connection, not of what came.
func passing(t *testing.T, err error) int64 {
	var network net.Error
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &network) {
		t.Error(err)
	}
	return 0
}

// BenchmarkForward is PDUs of 190 octets, written by the chunk, through the
// proxy, and directly for comparison.
func BenchmarkForward(b *testing.B) {
	for _, through := range []bool{true, false} {
		b.Run(map[bool]string{true: "proxy", false: "direct"}[through], func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			addr := l.Addr().String()
			if through {
				p, err := Listen(addr)
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				addr = p.Addr()
			}
			esme, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer esme.Close()
			smsc, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer smsc.Close()
			block := bytes.Repeat(pdu(1, 190), 300)
			b.SetBytes(int64(len(block)))
			b.ResetTimer()
			go func() {
				for range b.N {
					_, _ = esme.Write(block)
				}
			}()
			if _, err := io.CopyBuffer(io.Discard, io.LimitReader(smsc, int64(b.N*len(block))), make([]byte, chunk)); err != nil {
				b.Fatal(err)
			}
		})
	}
}
