//go:build linux

package pcsctest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// tcpListen is TCP_LISTEN of Linux's include/net/tcp_states.h, as /proc has it.
const tcpListen = "0A"

// configure chooses the ports and writes pcscd's configuration into the folder.
// An entry gives two readers, on its port and the next; pcscd numbers the reader
// and the slot behind the entry's name, in hexadecimal.
func (d *Daemon) configure(folder string, library []byte, n int) (config string) {
	d.t.Helper()
	var text strings.Builder
	for entry := range (n + 1) / 2 {
		// Entries that name the same file share its variables, and so each
		// other's connections.
		path := filepath.Join(folder, fmt.Sprintf("vpcd%d.so", entry))
		if err := os.WriteFile(path, library, 0o755); err != nil {
			d.t.Fatalf("pcsctest: %v", err)
		}
		name, port := fmt.Sprintf("imza test reader %d", entry+1), pair(d.t, d.ports)
		fmt.Fprintf(&text, "FRIENDLYNAME \"%s\"\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n\n", name, port, path, port)
		for slot := range 2 {
			d.ports = append(d.ports, port+slot)
			if len(d.Readers) < n {
				d.Readers = append(d.Readers, Slot{Name: fmt.Sprintf("%s 00 %02X", name, slot), Port: port + slot})
			}
		}
	}
	config = filepath.Join(folder, "reader.conf")
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		d.t.Fatalf("pcsctest: %v", err)
	}
	return config
}

// pair finds two ports in a row that nobody has, below those that Linux gives
// to outgoing connections: pcscd opens them later, and again after each restart.
func pair(t testing.TB, chosen []int) int {
	t.Helper()
	used := make(map[int]bool)
	for _, port := range chosen {
		used[port] = true
	}
	// A listener on the IPv6 side has the port on the IPv4 side as well.
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		sockets(t, table, func(port int, _ string) { used[port] = true })
	}
	for range 1000 {
		if port := 20000 + 2*rand.IntN(6000); !used[port] && !used[port+1] {
			return port
		}
	}
	t.Fatal("pcsctest: no two free ports in a row")
	return 0
}

// listening counts the ports that are open. It does not dial: a connection
// would be the reader's card.
func listening(t testing.TB, ports []int) int {
	t.Helper()
	open := 0
	sockets(t, "/proc/net/tcp", func(port int, state string) {
		if state == tcpListen && slices.Contains(ports, port) {
			open++
		}
	})
	return open
}

// sockets goes through the kernel's table of TCP sockets, whose lines begin
// "sl local_address rem_address st", an address being ADDRESS:PORT in
// hexadecimal (Linux, Documentation/networking/proc_net_tcp.rst).
func sockets(t testing.TB, table string, each func(port int, state string)) {
	t.Helper()
	text, err := os.ReadFile(table)
	if errors.Is(err, os.ErrNotExist) {
		return // a kernel without IPv6
	}
	if err != nil {
		t.Fatalf("pcsctest: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if port, err := strconv.ParseUint(hex, 16, 16); err == nil {
			each(int(port), fields[3])
		}
	}
}

// owner says which process has pcscd's socket.
func owner() string {
	conn, err := net.Dial("unix", socketPath)
	if err != nil {
		return "gone by now"
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err.Error()
	}
	said := "pid unknown"
	_ = raw.Control(func(fd uintptr) {
		if peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			said = fmt.Sprintf("pid %d", peer.Pid)
		}
	})
	return said
}
