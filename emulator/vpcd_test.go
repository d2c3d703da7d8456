package emulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// The other side of Plug, as vpcd of vsmartcard speaks: a card dials, and the
// reader sends messages of two octets of length and as many octets.

// reading is a virtual reader with a card in it, worked by hand.
type reading struct {
	t        *testing.T
	conn     *net.TCPConn
	card     *card
	pull     context.CancelFunc
	inserted atomic.Int32 // how often the card was told that it is in
	ended    chan error
}

// plugged puts a card into a reader, and pulls it at the end of the test.
func plugged(t *testing.T) *reading {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{t: t, card: newCard(t, nil), pull: cancel, ended: make(chan error, 1)}
	go func() {
		r.ended <- Plug(ctx, listener.Addr().String(), r.card.SIM, func() { r.inserted.Add(1) })
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.conn = conn.(*net.TCPConn)
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); conn.Close() })
	return r
}

// framed are messages as they go over the wire.
func framed(messages ...[]byte) (all []byte) {
	for _, m := range messages {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(m))), m...)
	}
	return all
}

func (r *reading) write(octets []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(octets); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reading) reply() []byte {
	r.t.Helper()
	var length [2]byte
	if _, err := io.ReadFull(r.conn, length[:]); err != nil {
		r.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r.conn, body); err != nil {
		r.t.Fatal(err)
	}
	return body
}

// is fails the test unless the next reply is what is wanted.
func (r *reading) is(what string, want []byte) {
	r.t.Helper()
	if got := r.reply(); !bytes.Equal(got, want) {
		r.t.Fatalf("%s is answered %x, want %x", what, got, want)
	}
}

// Transmit makes the reader a card for a terminal.
func (r *reading) Transmit(command []byte) ([]byte, error) {
	r.write(framed(command))
	return r.reply(), nil
}

// end waits for Plug to return.
func (r *reading) end() error {
	r.t.Helper()
	return receive(r.t, r.ended, "the end of Plug")
}

// What the reader sends may come in any pieces: the recorded dialogue has its
// recorded answers, in order.
func TestReaderMayCutItsMessagesAsItLikes(t *testing.T) {
	for name, send := range map[string]func(r *reading, all []byte){
		"length and body apart": func(r *reading, all []byte) {
			for len(all) > 0 {
				n := 2 + int(binary.BigEndian.Uint16(all))
				r.write(all[:2])
				r.write(all[2:n])
				all = all[n:]
			}
		},
		"all at once": func(r *reading, all []byte) { r.write(all) },
		"an octet at a time": func(r *reading, all []byte) {
			for i := range all {
				r.write(all[i : i+1])
			}
		},
		"seven at a time, across messages": func(r *reading, all []byte) {
			for len(all) > 0 {
				n := min(7, len(all))
				r.write(all[:n])
				all = all[n:]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := plugged(t)
			atr := []byte{vpcdATR}
			messages := [][]byte{{vpcdOn}, atr, {vpcdReset}, atr}
			dialogue := readDialogue(t)
			for _, e := range dialogue {
				messages = append(messages, e.command)
			}
			messages = append(messages, []byte{vpcdOff}, atr)
			go send(r, framed(messages...))
			r.is("the first ATR", r.card.ATR())
			r.is("the second ATR", r.card.ATR())
			for _, e := range dialogue {
				r.is(e.name, e.answer)
			}
			r.is("the ATR after power off", r.card.ATR())
		})
	}
}

// Off, on and reset have no reply, and the card forgets what it forgets with its
// power: PINs that were given, the file that was selected, what is on the screen.
func TestPowerAndReset(t *testing.T) {
	for name, control := range map[string]byte{"off": vpcdOff, "on": vpcdOn, "reset": vpcdReset} {
		t.Run(name, func(t *testing.T) {
			r := plugged(t)
			r.card.profile.ADM = NewPUK(testADM)
			x := &terminal{TB: t, card: r}
			key := applet.KeyRecord{Number: 9, Operation: applet.Sign, Kind: applet.P256}
			if sw := x.do(simcard.Command{INS: insVerify, P2: simcard.ADM, Data: padded(testADM)}).SW; sw != simcard.SWOK {
				t.Fatalf("VERIFY: %s", sw)
			}
			x.bring(r.card.segments(t, challenge()))
			input := x.confirm()
			r.write(framed([]byte{control}))
			x.idle()
			if sw := x.respond(typed(input, testPIN2)); sw != simcard.SWConditions {
				t.Errorf("the session lives on: %s", sw)
			}
			if sw := x.envelope(deliver(t, r.card.segments(t, challenge())[0])); sw != simcard.SWConditions {
				t.Errorf("the terminal's profile is still there: %s", sw)
			}
			if sw := x.do(simcard.Command{INS: insVerify, P2: p2PIN2}).SW; sw != simcard.SWReferencedData {
				t.Errorf("the applet is still selected: %s", sw)
			}
			x.do(simcard.Select(simcard.Signer))
			if sw := x.do(simcard.Command{INS: simcard.GenerateKeyPair, Data: key.GenerateKey()}).SW; sw != simcard.SWSecurityStatus {
				t.Errorf("the ADM key counts as given: %s", sw)
			}
			boot(t, r)
			x.signs(r.card)
		})
	}
}

// Messages of lengths that no command has.
func TestMessagesOfOddLengths(t *testing.T) {
	wrong := []byte{0x67, 0x00}
	r := plugged(t)
	for octet := range 256 {
		switch byte(octet) {
		case vpcdOff, vpcdOn, vpcdReset, vpcdATR:
			continue
		}
		r.write(framed([]byte{byte(octet)}))
		r.is("an octet that is no control", wrong)
	}
	for _, n := range []int{2, 3, 262, 263, 1 << 15, 1<<16 - 1} {
		r.write(framed(append([]byte{0x80, simcard.Envelope, 0, 0}[:min(n, 4)], make([]byte, max(n-4, 0))...)))
		r.is("a message without a command's length", wrong)
	}
	controls := []byte{vpcdOn, vpcdATR} // two octets are a command that is too short, not two controls
	r.write(framed(controls))
	r.is("two controls in one", wrong)
	r.write(framed([]byte{vpcdATR}))
	r.is("the ATR", r.card.ATR())
	(&terminal{TB: t, card: r}).signs(r.card)
}

// The reader has nothing to say with an empty message, and a connection that is
// out of step ends rather than that it goes on.
func TestEmptyMessageEndsTheConnection(t *testing.T) {
	r := plugged(t)
	r.write(framed(nil))
	if err := r.end(); err == nil || !strings.Contains(err.Error(), "empty message") {
		t.Errorf("%v", err)
	}
	if n, err := r.conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection is still open: %d octets, %v", n, err)
	}
}

// A connection that ends, wherever it does, ends Plug with an error, and half a
// command is none.
func TestReaderThatGoesAway(t *testing.T) {
	for _, close := range []func(*net.TCPConn){
		func(c *net.TCPConn) { c.Close() },
		func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }, // a reset
		func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		for _, octets := range []int{0, 1, 2, 3, 7, -1} { // -1: all but one
			r := plugged(t)
			whole := framed(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.SMSDownload(nil, deliver(t, r.card.segments(t, challenge())[0]))}.Append(nil))
			if octets < 0 {
				octets += len(whole)
			}
			r.write(whole[:octets])
			close(r.conn)
			if err := r.end(); err == nil || errors.Is(err, context.Canceled) {
				t.Errorf("cut off after %d of %d octets: %v", octets, len(whole), err)
			}
			if r.card.saves > 0 {
				t.Errorf("cut off after %d of %d octets, and the card has taken it", octets, len(whole))
			}
		}
	}
}

// Whoever pulls the card does not wait for the reader: not for its next message,
// not for the rest of one, and not until it reads what the card has said.
func TestCardIsPulledAtOnce(t *testing.T) {
	before := runtime.NumGoroutine()
	for name, prepare := range map[string]func(r *reading){
		"nothing was said": func(*reading) {},
		"a length was":     func(r *reading) { r.write([]byte{0, 5}) },
		"half a message":   func(r *reading) { r.write([]byte{0, 5, 0x80, 0x12}) },
		"after a message":  func(r *reading) { r.write(framed([]byte{vpcdATR})); r.reply() },
		"replies pile up": func(r *reading) { // until the card reads no more, since its replies are not read
			many := bytes.Repeat(framed([]byte{vpcdATR}), 10_000)
			for {
				if err := r.conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
					r.t.Fatal(err)
				}
				if _, err := r.conn.Write(many); err != nil {
					return
				}
			}
		},
	} {
		r := plugged(t)
		prepare(r)
		time.Sleep(5 * time.Millisecond) // it reads
		began := time.Now()
		r.pull()
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		r.conn.Close()
	}
	goroutinesEnd(t, before)
}

func TestNoReaderIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	c := newCard(t, nil)
	told := func() { t.Error("inserted into nothing") }
	if err := Plug(t.Context(), addr, c.SIM, told); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Plug(ctx, addr, c.SIM, told); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A card that comes second waits without a word: it is in with the reader's
// first word, and that is told once.
func TestInsertedIsToldOnceWithTheFirstWord(t *testing.T) {
	r := plugged(t)
	time.Sleep(20 * time.Millisecond)
	if r.inserted.Load() != 0 {
		t.Error("inserted before the reader has said anything")
	}
	for range 3 {
		r.write(framed([]byte{vpcdATR}))
		r.is("the ATR", r.card.ATR())
	}
	if n := r.inserted.Load(); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// Length and body leave in one write: who waits for octets gets all of a reply
// with the first read, however short or long it is.
func TestRepliesComeInOnePiece(t *testing.T) {
	r := plugged(t)
	room := make([]byte, 1<<10)
	for range 100 {
		for _, command := range [][]byte{{vpcdATR}, {0x00, 0xA4, 0x00, 0x04, 2, 0x3F, 0x00}, {0x00, 0xC0, 0x00, 0x00, 0x1D}, {0x80, 0x12, 0, 0, 0}} {
			r.write(framed(command))
			n, err := r.conn.Read(room)
			if err != nil || n < 4 || n != 2+int(binary.BigEndian.Uint16(room)) {
				t.Fatalf("%x: the first read brings %x, %v", command, room[:n], err)
			}
		}
	}
}

// vpcd writes length and body apart, by sockets that wait with the second for the
// acknowledgement of the first; a card that acknowledges late makes 25 commands
// a second.
func TestCommandsDoNotWaitForAcknowledgements(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("vpcd is of Linux")
	}
	r := plugged(t)
	if err := r.conn.SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	const commands = 100
	began := time.Now()
	for range commands {
		r.write([]byte{0, 5})
		r.write([]byte{0x80, 0x12, 0, 0, 0})
		r.is("FETCH", []byte{0x69, 0x85})
	}
	if took := time.Since(began); took > commands*20*time.Millisecond {
		t.Errorf("%d commands took %s", commands, took)
	}
}

// A whole signature through a reader.
func TestPluggedCardSigns(t *testing.T) {
	r := plugged(t)
	boot(t, r)
	x := &terminal{TB: t, card: r}
	for range 2 {
		x.signs(r.card)
	}
	r.pull()
	if err := r.end(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	boot(t, r.card)
	(&terminal{TB: t, card: r.card}).signs(r.card) // the card is the same outside of it
}

// goroutinesEnd fails the test unless there are no more goroutines than before,
// once those that end have ended.
func goroutinesEnd(t *testing.T, before int) {
	t.Helper()
	now := 0
	for range 200 {
		if now = runtime.NumGoroutine(); now <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 64<<10)
	t.Errorf("%d goroutines, before %d\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
}
