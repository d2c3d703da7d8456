package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// capture keeps every PDU that crosses a connection, in either direction.
type capture struct {
	mu   sync.Mutex
	pdus [][]byte
}

// wiretap is a connection that tells a capture what it carries.
type wiretap struct {
	net.Conn
	capture  *capture
	in, out  []byte // not whole PDUs yet
	sideways sync.Mutex
}

func (w *wiretap) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.sideways.Lock()
	w.in = w.capture.take(append(w.in, b[:n]...))
	w.sideways.Unlock()
	return n, err
}

func (w *wiretap) Write(b []byte) (int, error) {
	w.sideways.Lock()
	w.out = w.capture.take(append(w.out, b...))
	w.sideways.Unlock()
	return w.Conn.Write(b)
}

// take keeps the whole PDUs of a stream and returns the rest of it.
func (c *capture) take(stream []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(stream) >= 4 {
		n := int(binary.BigEndian.Uint32(stream))
		if n < 16 || n > len(stream) {
			break
		}
		c.pdus = append(c.pdus, append([]byte(nil), stream[:n]...))
		stream = stream[n:]
	}
	return stream
}

// dissect has tshark read the PDUs and returns what it says of them.
func (c *capture) dissect(t *testing.T) string {
	t.Helper()
	c.mu.Lock()
	var dump strings.Builder
	for _, p := range c.pdus {
		for i := 0; i < len(p); i += 16 {
			fmt.Fprintf(&dump, "%06x % x\n", i, p[i:min(i+16, len(p))])
		}
	}
	c.mu.Unlock()
	dir := t.TempDir()
	hex, pcap := filepath.Join(dir, "pdus.hex"), filepath.Join(dir, "pdus.pcap")
	if err := os.WriteFile(hex, []byte(dump.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("text2pcap", "-q", "-T", "40000,2775", hex, pcap).CombinedOutput(); err != nil {
		t.Fatalf("text2pcap: %v\n%s", err, out)
	}
	tshark := exec.Command("tshark", "-r", pcap, "-d", "tcp.port==2775,smpp", "-V", "-O", "smpp,gsm_sms,gsm_sms_ud")
	tshark.Stderr = nil // it warns of running as root
	out, err := tshark.Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return string(out)
}

// Wireshark's dissector finds nothing malformed in what crosses the operator's
// port, and sees what TS 31.115 wants to be seen: class 2, PID 7F, the toolkit
// security headers in both directions, segments.
func TestTsharkReadsTheOperatorsPort(t *testing.T) {
	var c capture
	p := boot(t, upCommand{dial: func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		return &wiretap{Conn: conn, capture: &c}, err
	}, Think: time.Millisecond})
	for _, n := range []int{1, 2, 6, 10} {
		provider{t, p}.await(provider{t, p}.ask(n, 20), "")
	}
	text := c.dissect(t)
	if strings.Contains(text, "Malformed") || strings.Contains(text, "Expert Info (Error") {
		t.Errorf("malformed:\n%s", text)
	}
	for want, least := range map[string]int{
		"Operation: Submit_sm ":          4,
		"Operation: Deliver_sm ":         10,
		"Protocol id.: 0x7f":             10,
		"Class 2":                        10,
		"User Data Header Length":        10,
		"(U)SIM Toolkit Security Header": 7,
		"Concatenated short messages, 8-bit reference number": 6,
	} {
		if n := strings.Count(text, want); n < least {
			t.Errorf("tshark says %q %d times, at least %d were due", want, n, least)
		}
	}
	if t.Failed() {
		t.Logf("%.20000s", text)
	}
}
