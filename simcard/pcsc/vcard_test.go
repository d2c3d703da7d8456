//go:build pcsc

package pcsc

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imza/simcard/pcsc/pcsctest"
)

// testATR is a T=0 card's, with as little as there can be.
const testATR = "\x3B\x00"

// What a virtual card does in place of answering.
var (
	silence = []byte("silence")
	death   = []byte("death")
)

// vcard is a virtual card: it dials its reader and answers as it is told.
type vcard struct {
	conn   net.Conn
	answer func(command []byte) []byte // a response, silence or death
	ended  chan struct{}

	mu     sync.Mutex
	heard  []byte        // the controls: 00 off, 01 on, 02 reset
	hung   chan struct{} // if set, do not give the ATR, and close this
	dieATR bool          // hang up when it is asked for after power on
}

func echo(command []byte) []byte { return append(command[:len(command):len(command)], 0x90, 0x00) }

// insert puts a card into a reader; pcscd notices within half a second.
func insert(t testing.TB, slot pcsctest.Slot, answer func([]byte) []byte) *vcard {
	t.Helper()
	return dial(t, slot, &vcard{answer: answer})
}

func dial(t testing.TB, slot pcsctest.Slot, v *vcard) *vcard {
	t.Helper()
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", slot.Port))
	if err != nil {
		t.Fatal(err)
	}
	v.conn, v.ended = conn, make(chan struct{})
	go v.serve()
	t.Cleanup(v.pull)
	return v
}

// pull takes the card out.
func (v *vcard) pull() {
	v.conn.Close()
	<-v.ended
}

func (v *vcard) serve() {
	defer close(v.ended)
	defer v.conn.Close()
	v.quickACK()
	for {
		var length [2]byte
		if _, err := io.ReadFull(v.conn, length[:]); err != nil {
			return
		}
		v.quickACK()
		message := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(v.conn, message); err != nil {
			return
		}
		response := v.respond(message)
		if &response[0] == &death[0] {
			return
		}
		if &response[0] == &silence[0] {
			continue
		}
		if len(response) == 1 && response[0] == 0 { // a response of no octets
			response = nil
		}
		out := append(binary.BigEndian.AppendUint16(nil, uint16(len(response))), response...)
		if _, err := v.conn.Write(out); err != nil {
			return
		}
	}
}

func (v *vcard) respond(message []byte) []byte {
	if len(message) > 1 {
		return v.answer(message)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case message[0] != 4:
		v.heard = append(v.heard, message[0])
		return silence
	case v.hung != nil:
		close(v.hung)
		return silence
	case v.dieATR && len(v.heard) > 0:
		return death
	}
	return []byte(testATR)
}

// hang makes the card keep its ATR to itself, and waits until that has blocked
// its reader, which asks for it to see whether the card is there.
func (v *vcard) hang() {
	hung := make(chan struct{})
	v.mu.Lock()
	v.hung = hung
	v.mu.Unlock()
	<-hung
}

func (v *vcard) resets() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Count(string(v.heard), "\x02")
}

// quickACK has the kernel acknowledge at once: vpcd sends the length and the
// message apart, and waits 40 ms between them else. Reading disarms it.
func (v *vcard) quickACK() {
	raw, err := v.conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1)
		})
	}
}

// await waits until the reader is as it ought to be.
func await(t testing.TB, slot pcsctest.Slot, what string, is func(Reader) bool) {
	t.Helper()
	var last Reader
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		list, err := List()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if r.Name == slot.Name {
				if last = r; is(r) {
					return
				}
			}
		}
	}
	t.Fatalf("%s never had %s: %+v", slot.Name, what, last)
}

func full(r Reader) bool  { return r.ATR != nil }
func empty(r Reader) bool { return r.ATR == nil }

// hold inserts a card and connects to it.
func hold(t testing.TB, slot pcsctest.Slot, answer func([]byte) []byte, o Options) (*vcard, *Card) {
	t.Helper()
	v := insert(t, slot, answer)
	await(t, slot, "a card", full)
	return v, connectTo(t, slot, o)
}

func connectTo(t testing.TB, slot pcsctest.Slot, o Options) *Card {
	t.Helper()
	c, err := Connect(slot.Name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
