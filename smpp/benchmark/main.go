// Command benchmark prints how many submit_sm a second go over one connection
// on this machine: for the clients that it knows against one and the same
// server, and for our server under one and the same client. The bare loops
// that serve as those keep no state and wait for nothing, so they are the
// upper bound. "make bench-smpp" runs it.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	foreign "github.com/fiorix/go-smpp/smpp"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"

	"imza/smpp"
)

// client submits over one connection for a while, with so many unanswered at
// most, and says how many were answered each second.
type client func(addr string, window int, d time.Duration) (perSecond float64, err error)

func main() {
	seconds := flag.Float64("seconds", 1, "how long each measurement takes")
	rounds := flag.Int("rounds", 3, "how often each is taken; the median is printed")
	flag.Parse()
	if err := run(os.Stdout, time.Duration(*seconds*float64(time.Second)), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, d time.Duration, rounds int) error {
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer bare.Close()
	go serveBare(bare)
	ours, stop, err := serveOurs()
	if err != nil {
		return err
	}
	defer stop()
	rows := []row{
		{"bare loop", "bare loop", bare.Addr().String(), bareClient},
		{"imza", "bare loop", bare.Addr().String(), ourClient},
		{"go-smpp", "bare loop", bare.Addr().String(), goSMPPClient},
		{"node-smpp", "bare loop", bare.Addr().String(), nodeClient},
		{"bare loop", "imza", ours, bareClient},
		{"imza", "imza", ours, ourClient},
	}
	windows := []int{1, 100, 1000}
	figures := make(map[string][]float64)
	for range rounds { // in turns, so that all see the same weather
		for _, r := range rows {
			for _, w := range windows {
				perSecond, err := r.client(r.addr, w, d)
				if err != nil {
					return fmt.Errorf("%s at %s, window %d: %w", r.name, r.server, w, err)
				}
				figures[r.key(w)] = append(figures[r.key(w)], perSecond)
			}
		}
	}
	median := func(r row, w int) float64 {
		all := figures[r.key(w)]
		slices.Sort(all)
		return all[len(all)/2]
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "submit_sm a second\tserver\twindow 1\twindow 100\twindow 1000\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%s\t", r.name, r.server)
		for _, w := range windows {
			fmt.Fprintf(table, "%.0f\t", median(r, w))
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	codec, err := measureCodec()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nAt window 100 the imza client does %.1f times what go-smpp does, and %.2f of the bare loop;\n"+
		"the imza server bears %.2f of what the bare loop bears.\n"+
		"The codec encodes and decodes a submit_sm of %d octets in %.0f ns with %d allocations.\n",
		median(rows[1], 100)/median(rows[2], 100), median(rows[1], 100)/median(rows[0], 100), median(rows[4], 100)/median(rows[0], 100),
		codec.octets, codec.ns, codec.allocations)
	return nil
}

// codec is what it costs to encode a message and decode it again.
type codec struct {
	octets      int
	ns          float64
	allocations int64
}

func measureCodec() (codec, error) {
	var failed error
	octets := 0
	r := testing.Benchmark(func(b *testing.B) {
		m, buffer := message(), make([]byte, 0, 512)
		b.ReportAllocs()
		for b.Loop() {
			if buffer, failed = m.Append(buffer[:0]); failed == nil {
				_, failed = smpp.ParseShortMessage(buffer)
			}
			if failed != nil {
				b.FailNow()
			}
		}
		octets = 16 + len(buffer)
	})
	return codec{octets, float64(r.T.Nanoseconds()) / float64(max(r.N, 1)), r.AllocsPerOp()}, failed
}

// row is one line of the table.
type row struct {
	name, server string
	addr         string
	client       client
}

func (r row) key(window int) string { return fmt.Sprint(r.name, r.server, window) }

// message is 190 octets as a PDU: a segment of a challenge.
func message() *smpp.ShortMessage {
	return &smpp.ShortMessage{
		Source: smpp.Address{TON: 5, Addr: "bench"}, Dest: smpp.International("994500000001"),
		ESMClass: smpp.ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0xF6,
		Message: append([]byte{2, 0x70, 0}, make([]byte, 137)...),
	}
}

// serveBare answers binds and submits, and does nothing else.
func serveBare(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			id := []byte("0123456789abcde\x00")
			var out []byte
			_ = eachFrame(conn, func(command smpp.Command, sequence uint32, more bool) error {
				answer := smpp.PDU{Command: command | 1<<31, Sequence: sequence}
				if command != smpp.Unbind && command != smpp.EnquireLink {
					answer.Body = id // a message's, or the server's own
				}
				out = answer.Append(out)
				if more {
					return nil
				}
				_, err := conn.Write(out)
				out = out[:0]
				return err
			})
		}()
	}
}

// eachFrame calls f with all that comes; more tells that the next is here too.
func eachFrame(conn net.Conn, f func(command smpp.Command, sequence uint32, more bool) error) error {
	r := bufio.NewReaderSize(conn, 256<<10)
	for {
		head, err := r.Peek(16)
		if err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(head)
		command, sequence := smpp.Command(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint32(head[12:])
		if _, err := r.Discard(int(length)); err != nil {
			return err
		}
		if err := f(command, sequence, r.Buffered() >= 16); err != nil {
			return err
		}
	}
}

// serveOurs runs our SMSC's side with a handler that takes everything.
func serveOurs() (addr string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var ids atomic.Uint64
	server := &smpp.Server{Options: smpp.Options{SystemID: "imza", Handler: func(context.Context, *smpp.Session, *smpp.ShortMessage) (string, smpp.Status) {
		return strconv.FormatUint(ids.Add(1), 16), smpp.StatusOK
	}}}
	go server.Serve(listener)
	return listener.Addr().String(), func() { _ = server.Close() }, nil
}

// bareClient keeps the window full from one loop: as many as were answered are
// sent again.
func bareClient(addr string, window int, d time.Duration) (float64, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	bind, err := (&smpp.BindRequest{SystemID: "bench", InterfaceVersion: 0x34}).Append(nil)
	if err != nil {
		return 0, err
	}
	body, err := message().Append(nil)
	if err != nil {
		return 0, err
	}
	out := (&smpp.PDU{Command: smpp.BindTransceiver, Sequence: 1, Body: bind}).Append(nil)
	if _, err := conn.Write(out); err != nil {
		return 0, err
	}
	if _, err := smpp.ReadPDU(conn, smpp.MaxPDU); err != nil {
		return 0, err
	}
	sequence, answered, due := uint32(1), 0, window
	fill := func() error {
		out = out[:0]
		for ; due > 0; due-- {
			sequence++
			out = (&smpp.PDU{Command: smpp.SubmitSM, Sequence: sequence, Body: body}).Append(out)
		}
		_, err := conn.Write(out)
		return err
	}
	if err := fill(); err != nil {
		return 0, err
	}
	began := time.Now()
	over := errors.New("time is up")
	err = eachFrame(conn, func(command smpp.Command, _ uint32, more bool) error {
		answered++
		due++
		switch {
		case command != smpp.SubmitSMResp:
			return fmt.Errorf("answered with %s", command)
		case more:
			return nil
		case time.Since(began) > d:
			return over
		}
		return fill()
	})
	if !errors.Is(err, over) {
		return 0, err
	}
	return float64(answered) / time.Since(began).Seconds(), nil
}

// together runs as many callers as the window has room for, until time is up.
func together(window int, d time.Duration, submit func() error) (float64, error) {
	var answered atomic.Int64
	failed := make([]error, window)
	var callers sync.WaitGroup
	began := time.Now()
	for i := range window {
		callers.Go(func() {
			n := int64(0)
			for time.Since(began) < d && failed[i] == nil {
				failed[i] = submit()
				n++
			}
			answered.Add(n)
		})
	}
	callers.Wait()
	return float64(answered.Load()) / time.Since(began).Seconds(), errors.Join(failed...)
}

func ourClient(addr string, window int, d time.Duration) (float64, error) {
	ctx := context.Background()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
	}
	s, err := smpp.Bind(ctx, conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: "bench"}, smpp.Options{Window: window})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	m := message()
	return together(window, d, func() error {
		_, err := s.Submit(ctx, m)
		return err
	})
}

func goSMPPClient(addr string, window int, d time.Duration) (float64, error) {
	t := &foreign.Transmitter{Addr: addr, User: "bench", WindowSize: uint(window) + 1}
	defer t.Close()
	if status := <-t.Bind(); status.Status() != foreign.Connected {
		return 0, fmt.Errorf("bind: %w", status.Error())
	}
	m := message()
	return together(window, d, func() error {
		_, err := t.Submit(&foreign.ShortMessage{SourceAddrTON: m.Source.TON, Src: m.Source.Addr, DestAddrTON: 1, DestAddrNPI: 1, Dst: m.Dest.Addr,
			ESMClass: m.ESMClass, ProtocolID: m.ProtocolID, Text: pdutext.Raw(m.Message)})
		return err
	})
}

// nodeClient runs node-smpp, which "make deps" installs.
func nodeClient(addr string, window int, d time.Duration) (float64, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	out, err := exec.Command("node", "smpp/testdata/peers/bench.js", host, port, strconv.Itoa(window),
		strconv.FormatFloat(d.Seconds(), 'f', -1, 64)).Output()
	if err != nil {
		return 0, fmt.Errorf("node smpp/testdata/peers/bench.js: %w (make deps installs what it needs)", err)
	}
	var figures struct{ Submits, Seconds float64 }
	if err := json.Unmarshal(out, &figures); err != nil {
		return 0, err
	}
	return figures.Submits / figures.Seconds, nil
}
