//go:build linux

// Package pcsctest runs a pcscd with virtual readers for tests, so that what
// speaks PC/SC is tested against the real thing. It needs pcscd and
// vsmartcard-vpcd, and the right to write /run/pcscd, which is root's; it uses
// no cgo, so its users need no build tag.
//
// A virtual reader is a TCP port that its card dials. Each message on that
// connection is a length of two octets, big-endian, then so many octets. From
// the reader, a single octet is 00 power off, 01 power on, 02 reset, none of
// which is answered, or 04, which is answered by the ATR; anything else is a
// command and is answered by its response. A response of no octets at all
// blocks the reader until the card hangs up.
//
// vpcd listens on ALL addresses of the machine and asks for no password, and
// no setting changes that: whoever reaches the machine while a test runs can
// play its card.
package pcsctest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These paths are compiled into pcscd and into its clients: only one pcscd
// can run on a machine.
const (
	socketPath = "/run/pcscd/pcscd.comm"
	pidPath    = "/run/pcscd/pcscd.pid"
)

const patience = 10 * time.Second // for a start that takes a tenth of a second

// Daemon is a pcscd that belongs to one test. Its methods are to be called
// from the test's own goroutine.
type Daemon struct {
	Readers []Slot

	t       testing.TB
	program string
	args    []string
	ports   []int // all that pcscd opens

	process *os.Process // nil while there is none
	exited  chan struct{}
	output  *output
}

// Slot is one virtual reader.
type Slot struct {
	Name string // as PC/SC has it
	Port int    // on 127.0.0.1, for the card to dial
}

// Start runs a pcscd with n virtual readers, 1 to 16, until the test ends.
// Tests that want one at the same time, in other processes too, wait for each
// other; so a test must not start a second one. A pcscd that runs already, of
// somebody else's, fails the test and is left alone.
//
// pcscd makes the readers in pairs: if n is odd, it lists one more.
func Start(t testing.TB, n int) *Daemon {
	t.Helper()
	if n < 1 || n > 16 {
		t.Fatalf("pcsctest: %d readers: pcscd has 1 to 16", n)
	}
	d := &Daemon{t: t, program: program(t), output: new(output)}
	library := driver(t)
	// Not t.TempDir: a test's name can have a #, which begins a comment in
	// reader.conf.
	folder, err := os.MkdirTemp("", "imza-pcscd-")
	if err != nil {
		t.Fatalf("pcsctest: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	lock(t)
	foreign(t)
	t.Cleanup(d.end)
	config := d.configure(folder, library, n)
	d.args = []string{"--foreground", "--config", config}
	// Builds with polkit ask it about every client, and refuse all if it is away.
	if help, _ := exec.Command(d.program, "--help").CombinedOutput(); bytes.Contains(help, []byte("--disable-polkit")) {
		d.args = append(d.args, "--disable-polkit")
	}
	d.run()
	return d
}

// Kill ends pcscd at once, as a crash does: its socket's file stays. It returns
// when the process and its ports are gone.
func (d *Daemon) Kill() {
	d.t.Helper()
	if d.process == nil {
		return
	}
	if err := d.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Errorf("pcsctest: cannot kill pcscd: %v", err)
	}
	<-d.exited
	d.process = nil
	if !eventually(func() bool { return listening(d.t, d.ports) == 0 }) {
		d.t.Error("pcsctest: pcscd is dead and its ports are still open")
	}
}

// Restart starts pcscd again with the same readers on the same ports, and kills
// it first if it runs. The readers are empty until their cards dial again.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Kill()
	d.run()
}

// run starts pcscd and waits until a client would find all readers.
func (d *Daemon) run() {
	d.t.Helper()
	sweep()
	command := exec.Command(d.program, d.args...)
	command.Stdout, command.Stderr = d.output, d.output
	// The daemon does not outlive a test that dies. The kernel means the death of
	// the thread that started it, so that thread has to stay.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		d.t.Fatalf("pcsctest: %v", err)
	}
	d.process, d.exited = command.Process, exited
	ready := eventually(func() bool { return d.dead() || listening(d.t, d.ports) == len(d.ports) && answers() })
	if !ready || d.dead() {
		d.t.Fatal("pcsctest: pcscd did not come up")
	}
}

// end is the test's end. SIGTERM would have pcscd wait for each reader's
// poll, and for ever if a card is stuck.
func (d *Daemon) end() {
	if d.process != nil && d.dead() {
		d.t.Errorf("pcsctest: pcscd died by itself")
	}
	d.Kill()
	sweep()
	if d.t.Failed() && d.output.Len() > 0 {
		d.t.Logf("pcscd said:\n%s", d.output)
	}
}

func (d *Daemon) dead() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

// sweep removes what a killed pcscd leaves: the next one refuses to start if
// the number in the pid file belongs to any process by now.
func sweep() {
	_ = os.Remove(socketPath)
	_ = os.Remove(pidPath)
}

// answers reports whether pcscd takes connections, which it does after it has
// set up the readers of its configuration.
func answers() bool {
	conn, err := net.Dial("unix", socketPath)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// foreign fails the test if there is a pcscd that is none of ours. One that a
// dead test left may need a moment to die.
func foreign(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(time.Second)
	for answers() {
		if time.Now().After(deadline) {
			t.Fatalf("pcsctest: a pcscd that no test started is running (%s): stop it first, since only one can run on a machine", owner())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lock waits until no other test, of this process or another, has a pcscd, and
// keeps it so until this test ends.
func lock(t testing.TB) {
	t.Helper()
	path := filepath.Join(os.TempDir(), "imza-pcscd.lock")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	// Linux may refuse O_CREATE on another user's file in a shared folder.
	if errors.Is(err, os.ErrNotExist) {
		file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	}
	if err != nil {
		t.Fatalf("pcsctest: %v", err)
	}
	t.Cleanup(func() { file.Close() })
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			t.Fatalf("pcsctest: locking %s: %v", path, err)
		case !waiting:
			t.Log("pcsctest: waiting for another test's pcscd to end")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// program finds pcscd, which is not on every user's path.
func program(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pcscd", "/usr/sbin/pcscd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("pcsctest: there is no pcscd: make test installs it (Debian: pcscd vsmartcard-vpcd)")
	return ""
}

// driver reads vpcd's shared library.
func driver(t testing.TB) []byte {
	t.Helper()
	for _, pattern := range []string{"/usr/lib*/pcsc/drivers/serial/libifdvpcd.so", "/usr/lib/*/pcsc/drivers/serial/libifdvpcd.so"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if library, err := os.ReadFile(path); err == nil {
				return library
			}
		}
	}
	t.Fatal("pcsctest: there is no libifdvpcd.so: make test installs it (Debian: vsmartcard-vpcd)")
	return nil
}

func eventually(condition func() bool) bool {
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// output keeps the beginning of what pcscd says.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p[:min(len(p), 1<<16-o.text.Len())])
	return len(p), nil
}

func (o *output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Len()
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
