//go:build linux

package pcsctest

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestDaemon has pcscd ask for a card's ATR in the first and the last reader,
// before and after a crash.
func TestDaemon(t *testing.T) {
	d := Start(t, 3)
	if len(d.Readers) != 3 || d.Readers[2].Name != "imza test reader 2 00 00" {
		t.Fatalf("readers %v", d.Readers)
	}
	asked(t, d.Readers[0].Port)
	asked(t, d.Readers[2].Port)

	first := d.process.Pid
	d.Kill()
	if answers() {
		t.Error("pcscd answers after it was killed")
	}
	if _, err := os.Stat(socketPath); err != nil {
		t.Errorf("a crash leaves the socket's file, and here: %v", err)
	}
	if conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", d.Readers[0].Port)); err == nil {
		conn.Close()
		t.Error("a dead reader takes a card")
	}
	d.Kill()
	d.Restart()
	asked(t, d.Readers[0].Port)
	d.Restart()
	asked(t, d.Readers[2].Port)
	if d.process.Pid == first {
		t.Error("the same process after a restart")
	}
}

// TestEnd has all readers that pcscd can have, and nothing left of them at the
// end.
func TestEnd(t *testing.T) {
	var d *Daemon
	t.Run("#", func(t *testing.T) {
		d = Start(t, 16)
		asked(t, d.Readers[15].Port)
	})
	if d == nil {
		return // and why is told above
	}
	if d.process != nil || !d.dead() {
		t.Error("pcscd is still there")
	}
	if open := listening(t, d.ports); open > 0 {
		t.Errorf("%d ports are still open", open)
	}
}

// asked plays a card until the reader wants its ATR.
func asked(t *testing.T, port int) {
	t.Helper()
	card, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	_ = card.SetDeadline(time.Now().Add(patience))
	var message [3]byte
	for message != [3]byte{0, 1, 4} {
		if _, err := io.ReadFull(card, message[:]); err != nil {
			t.Fatalf("waiting for the reader to ask for the ATR: %v", err)
		}
	}
}
