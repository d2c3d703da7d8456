//go:build pcsc

package pcsc

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/simcard/pcsc/pcsctest"
)

var command = []byte{0x00, 0xA4, 0x00, 0x04, 0x02, 0x3F, 0x00}

// TestMain lets tests run at once that mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16")
	m.Run()
}

// TestCard runs each test in a reader of its own, all at once: that they do not
// disturb each other is half of it.
func TestCard(t *testing.T) {
	tests := []struct {
		name string
		run  func(*testing.T, pcsctest.Slot)
	}{
		{"transmits", testTransmit},
		{"takes turns", testTurns},
		{"is reset when closed", func(t *testing.T, s pcsctest.Slot) { testClose(t, s, false) }},
		{"is reset when closed, exclusive", func(t *testing.T, s pcsctest.Slot) { testClose(t, s, true) }},
		{"is held by one program", testInUse},
		{"dies in a command", func(t *testing.T, s pcsctest.Slot) { testDeath(t, s, false) }},
		{"dies in a command, exclusive", func(t *testing.T, s pcsctest.Slot) { testDeath(t, s, true) }},
		{"answers one octet", testOneOctet},
		{"answers no octets", testNoOctets},
		{"never answers", testSilence},
		{"never answers to power", testSilentPower},
		{"is mute", testMute},
		{"is pulled", testPulled},
		{"is reset by another Card", testResetByCard},
	}
	d := pcsctest.Start(t, len(tests)+1)
	t.Run("in its reader", func(t *testing.T) {
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, d.Readers[i])
			})
		}
		t.Run("next to them", func(t *testing.T) {
			t.Parallel()
			testNeighbour(t, d.Readers[len(tests)])
		})
	})
}

func testRefusals(t *testing.T, slot pcsctest.Slot) {
	if _, err := Connect(slot.Name, Options{}); !errors.Is(err, ErrNoCard) || !strings.Contains(err.Error(), slot.Name) {
		t.Errorf("an empty reader: %v", err)
	}
	if _, err := Connect("cupboard", Options{}); !errors.Is(err, ErrNoReader) || !strings.Contains(err.Error(), slot.Name) {
		t.Errorf("no such reader: %v", err)
	}
	_, err := Connect("TEST reader", Options{})
	if err == nil || errors.Is(err, ErrNoReader) || !strings.Contains(err.Error(), slot.Name) {
		t.Errorf("a name of many: %v", err)
	}
}

func testTransmit(t *testing.T, slot pcsctest.Slot) {
	long := bytes.Repeat([]byte{0xA5}, 65533)
	insert(t, slot, func(command []byte) []byte {
		switch command[1] {
		case 0xC0:
			return append(long[:len(long):len(long)], 0x90, 0x00)
		case 0xA4:
			return []byte{0x61, 0x10}
		}
		return echo(command)
	})
	await(t, slot, "a card", full)
	c, err := Connect(strings.TrimPrefix(strings.ToUpper(slot.Name), "IMZA "), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Name() != slot.Name || string(c.ATR()) != testATR {
		t.Errorf("%q, %X", c.Name(), c.ATR())
	}
	for _, bad := range [][]byte{nil, {}, make([]byte, maxCommand+1)} {
		if _, err := c.Transmit(bad); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%d octets: %v", len(bad), err)
		}
	}
	// T=0 goes through as it is: asking for the response is the caller's.
	if r, err := c.Transmit(command); err != nil || !bytes.Equal(r, []byte{0x61, 0x10}) {
		t.Errorf("%X, %v", r, err)
	}
	if r, err := c.Transmit([]byte{0x00, 0xC0, 0x00, 0x00, 0x00}); err != nil || len(r) != 65535 || !bytes.Equal(r[:len(long)], long) {
		t.Errorf("%d octets, %v", len(r), err)
	}
	longest := append([]byte{0x00, 0xDA, 0x00, 0x00, 0x00}, long[:65000]...)
	if r, err := c.Transmit(longest); err != nil || !bytes.Equal(r, echo(longest)) {
		t.Errorf("%d octets, %v", len(r), err)
	}
}

func testTurns(t *testing.T, slot pcsctest.Slot) {
	var busy atomic.Int32
	_, c := hold(t, slot, func(command []byte) []byte {
		if busy.Add(1) != 1 {
			return []byte{0x6F, 0x00}
		}
		defer busy.Add(-1)
		return echo(command)
	}, Options{})
	var all sync.WaitGroup
	for caller := range byte(8) {
		all.Go(func() {
			for i := range byte(50) {
				mine := []byte{0x00, 0xDA, caller, i}
				if r, err := c.Transmit(mine); err != nil || !bytes.Equal(r, echo(mine)) {
					t.Errorf("sent %X, got %X, %v", mine, r, err)
				}
			}
		})
	}
	all.Wait()
}

func testClose(t *testing.T, slot pcsctest.Slot, exclusive bool) {
	v, c := hold(t, slot, echo, Options{Exclusive: exclusive})
	if _, err := c.Transmit(command); err != nil {
		t.Fatal(err)
	}
	if n := v.resets(); n != 0 {
		t.Errorf("%d resets before it is closed", n)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := v.resets(); n != 1 {
		t.Errorf("%d resets after it is closed", n)
	}
	if _, err := c.Transmit(command); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again := connectTo(t, slot, Options{Exclusive: true})
	if _, err := again.Transmit(command); err != nil {
		t.Errorf("the next one to connect: %v", err)
	}
}

func testInUse(t *testing.T, slot pcsctest.Slot) {
	_, c := hold(t, slot, echo, Options{})
	await(t, slot, "a card that is shared", func(r Reader) bool { return !r.InUse })
	if _, err := Connect(slot.Name, Options{Exclusive: true}); !errors.Is(err, ErrInUse) {
		t.Errorf("a shared card wanted alone: %v", err)
	}
	_ = c.Close()
	c = connectTo(t, slot, Options{Exclusive: true})
	await(t, slot, "a card in use", func(r Reader) bool { return r.InUse && full(r) })
	for _, exclusive := range []bool{false, true} {
		if _, err := Connect(slot.Name, Options{Exclusive: exclusive}); !errors.Is(err, ErrInUse) {
			t.Errorf("a card in use: %v", err)
		}
	}
	if _, err := c.Transmit(command); err != nil {
		t.Error(err)
	}
}

// testDeath has the next card come before pcscd looks, so that it sees no change.
func testDeath(t *testing.T, slot pcsctest.Slot, exclusive bool) {
	_, c := hold(t, slot, func([]byte) []byte { return death }, Options{Exclusive: exclusive})
	if _, err := c.Transmit(command); !errors.Is(err, ErrGone) {
		t.Errorf("the card died: %v", err)
	}
	insert(t, slot, echo)
	wantDead(t, c, ErrGone)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		next, err := Connect(slot.Name, Options{Exclusive: exclusive})
		if err == nil {
			_, err = next.Transmit(command)
			_ = next.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the next card: %v", err)
		}
	}
}

// wantDead has a command fail for the reason, and so the next one, and then
// closes.
func wantDead(t *testing.T, c *Card, reason error) {
	t.Helper()
	_, first := c.Transmit(command)
	if !errors.Is(first, reason) {
		t.Errorf("the card died: %v", first)
	}
	begin := time.Now()
	if _, err := c.Transmit(command); err != first {
		t.Errorf("after %v: %v", first, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("a dead card took %v to close", took)
	}
}

func testOneOctet(t *testing.T, slot pcsctest.Slot) {
	_, c := hold(t, slot, func([]byte) []byte { return []byte{0x90} }, Options{})
	wantDead(t, c, ErrGone)
}

func testNoOctets(t *testing.T, slot pcsctest.Slot) {
	v, c := hold(t, slot, func([]byte) []byte { return []byte{0} }, Options{})
	c.timeout = 200 * time.Millisecond // but not for Connect: others hang in theirs
	wantDead(t, c, ErrTimeout)
	v.pull()
	await(t, slot, "no card", empty)
}

func testSilence(t *testing.T, slot pcsctest.Slot) {
	v, c := hold(t, slot, func([]byte) []byte { return silence }, Options{})
	c.timeout = 200 * time.Millisecond // but not for Connect: others hang in theirs
	var all sync.WaitGroup             // who waits for a turn has the same fate
	for range 3 {
		all.Go(func() {
			if _, err := c.Transmit(command); !errors.Is(err, ErrTimeout) || errors.Is(err, ErrGone) {
				t.Errorf("a card that does not answer: %v", err)
			}
		})
	}
	begin := time.Now()
	all.Wait()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v to give up the card", took)
	}
	wantDead(t, c, ErrTimeout)
	if _, err := Connect(slot.Name, Options{}); !errors.Is(err, ErrTimeout) {
		t.Errorf("connecting to a reader that is given up: %v", err)
	}
	v.pull() // which ends the call that was left behind
	<-c.ended
	await(t, slot, "no card", empty)
	insert(t, slot, echo)
	await(t, slot, "a card", full)
	if _, err := connectTo(t, slot, Options{}).Transmit(command); err != nil {
		t.Errorf("the next card: %v", err)
	}
}

// testSilentPower has a card that does not give its ATR any more, when Connect
// powers it and when Close resets it.
func testSilentPower(t *testing.T, slot pcsctest.Slot) {
	v := insert(t, slot, echo)
	await(t, slot, "a card", full)
	v.hang()
	for range 2 {
		if _, err := Connect(slot.Name, Options{Timeout: 100 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
			t.Errorf("connecting: %v", err)
		}
	}
	v.pull()
	await(t, slot, "no card", empty)

	v, c := hold(t, slot, echo, Options{})
	c.timeout = 200 * time.Millisecond // but not for Connect: others hang in theirs
	if _, err := c.Transmit(command); err != nil {
		t.Error(err)
	}
	v.hang()
	if err := c.Close(); !errors.Is(err, ErrTimeout) {
		t.Errorf("closing: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing it once more: %v", err)
	}
	if _, err := c.Transmit(command); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	v.pull()
	<-c.ended
}

// testMute has a card that hangs up when it is powered, which vpcd shows as a
// mute one for the 0.4 s until it looks again.
func testMute(t *testing.T, slot pcsctest.Slot) {
	for range 10 {
		dial(t, slot, &vcard{answer: echo, dieATR: true})
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			list, err := List()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if r.Name == slot.Name && r.Mute {
					if r.ATR != nil {
						t.Errorf("a mute card has the ATR %X", r.ATR)
					}
					return
				}
			}
		}
	}
	t.Error("a mute card was never seen")
}

func testPulled(t *testing.T, slot pcsctest.Slot) {
	v, c := hold(t, slot, echo, Options{})
	v.pull()
	await(t, slot, "no card", empty)
	wantDead(t, c, ErrGone)
	testRefusals(t, slot)
}

func testResetByCard(t *testing.T, slot pcsctest.Slot) {
	v, a := hold(t, slot, echo, Options{})
	b := connectTo(t, slot, Options{})
	for _, c := range []*Card{a, b} {
		if _, err := c.Transmit(command); err != nil {
			t.Fatal(err)
		}
	}
	_ = a.Close()
	wantDead(t, b, ErrReset)
	if n := v.resets(); n != 1 {
		t.Errorf("%d resets, so two would throw each other out for ever", n)
	}
}

// testNeighbour goes on through all that the others do.
func testNeighbour(t *testing.T, slot pcsctest.Slot) {
	_, c := hold(t, slot, echo, Options{Exclusive: true})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		begin := time.Now()
		if r, err := c.Transmit(command); err != nil || !bytes.Equal(r, echo(command)) {
			t.Fatalf("%X, %v", r, err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("a command took %v beside cards that hang", took)
		}
	}
}

// TestReset has a real other program reset the card. It is alone, since OpenSC
// connects to every reader that is free for a moment.
func TestReset(t *testing.T) {
	slot := pcsctest.Start(t, 1).Readers[0]
	v, c := hold(t, slot, func([]byte) []byte { return []byte{0x6D, 0x00} }, Options{})
	if _, err := c.Transmit(command); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("opensc-tool", "--reader", slot.Name, "--card-driver", "default", "--reset")
	if out, err := other.CombinedOutput(); err != nil {
		t.Fatalf("opensc-tool: %v: %s", err, out)
	}
	_, err := c.Transmit(command)
	var code Code
	if !errors.Is(err, ErrReset) || !errors.Is(err, ErrGone) || !errors.As(err, &code) || code != 0x80100068 {
		t.Errorf("the card was reset: %v", err)
	}
	_ = c.Close()
	if n := v.resets(); n != 0 { // opensc-tool turns it off and on
		t.Errorf("%d resets in return", n)
	}
}
