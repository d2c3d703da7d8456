package smpp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// This file starts and stops the programs that peers are.

// event is what a script in testdata/peers tells, one JSON object a line.
type event struct {
	Event              string
	Port               int    // listening
	ID                 string // of a message
	Stat               string // receipt
	Status             int    // of a response
	Expected           bool   // of a response: it answers what was asked
	Source, Dest       string
	ESMClass           byte   `json:"esm_class"`
	ProtocolID         byte   `json:"protocol_id"`
	DataCoding         byte   `json:"data_coding"`
	RegisteredDelivery byte   `json:"registered_delivery"`
	Hex                string // short_message
}

func (e event) body(t *testing.T) []byte {
	t.Helper()
	body, err := hex.DecodeString(e.Hex)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	return body
}

// process is a peer that runs as a program of its own.
type process struct {
	t      *testing.T
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	events chan event // closed at the end of its stdout
	kept   []event    // read while another kind was waited for
	exited chan struct{}
	err    error // how it exited, once exited is closed
}

// startProcess runs a program until the test ends, at the latest.
func startProcess(ctx context.Context, t *testing.T, name string, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	log := new(safeBuffer)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	cmd.Stdout = in
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; make deps installs it", err)
	}
	p := &process{t: t, name: filepath.Base(name), cmd: cmd, stdin: stdin, events: make(chan event, 100), exited: make(chan struct{})}
	go p.read(out)
	go func() {
		p.err = cmd.Wait()
		in.Close()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has exited, or should have
		<-p.exited
		if t.Failed() {
			t.Logf("the end of what %s wrote to stderr:\n%s", p.name, log.tail())
		}
	})
	return p
}

// read takes the events of a script; other programs' words are left alone.
func (p *process) read(out io.Reader) {
	defer close(p.events)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			p.events <- e
		}
	}
}

// next returns the next event of a kind.
func (p *process) next(ctx context.Context, kind string) event {
	p.t.Helper()
	for i, e := range p.kept {
		if e.Event == kind {
			p.kept = append(p.kept[:i], p.kept[i+1:]...)
			return e
		}
	}
	for {
		select {
		case e, ok := <-p.events:
			switch {
			case !ok:
				p.t.Fatalf("%s ended without %s; it had told %+v", p.name, kind, p.kept)
			case e.Event == kind:
				return e
			}
			p.kept = append(p.kept, e)
		case <-ctx.Done():
			p.t.Fatalf("%s: no %s: %v; it told %+v", p.name, kind, ctx.Err(), p.kept)
		}
	}
}

// wait waits until the program has exited of itself, and well.
func (p *process) wait(ctx context.Context) {
	p.t.Helper()
	select {
	case <-p.exited:
		if p.err != nil {
			p.t.Errorf("%s: %v", p.name, p.err)
		}
	case <-ctx.Done():
		p.t.Fatalf("%s does not exit: %v", p.name, ctx.Err())
	}
}

// awaitListener waits until a daemon listens: it gives no other sign.
func (p *process) awaitListener(ctx context.Context, addr string) {
	p.t.Helper()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.exited:
			p.t.Fatalf("%s has exited: %v", p.name, p.err)
		case <-ctx.Done():
			p.t.Fatalf("%s does not listen on %s: %v", p.name, addr, err)
		}
	}
}

// tell writes to the program's stdin.
func (p *process) tell(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, text); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// endOfInput asks a script to unbind.
func (p *process) endOfInput() { _ = p.stdin.Close() }

// interrupt asks a daemon to stop.
func (p *process) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Errorf("%s: %v", p.name, err)
	}
}

// safeBuffer is a buffer that a running program may write to.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// tail is the end of it, long enough to see why a peer failed.
func (b *safeBuffer) tail() string {
	const enough = 16 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.buffer.Bytes()
	return string(text[max(0, len(text)-enough):])
}

// A peer that is missing is a failure: who skips these tests believes that they
// passed.

func needCommands(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v; make deps installs it", err)
		}
	}
}

func needNode(t *testing.T) {
	t.Helper()
	needCommands(t, "node")
	if _, err := os.Stat("testdata/peers/node_modules/smpp"); err != nil {
		t.Fatalf("node-smpp is missing: %v; make deps installs it", err)
	}
}

func needPerlModule(t *testing.T, name string) {
	t.Helper()
	needCommands(t, "perl")
	if out, err := exec.Command("perl", "-M"+name, "-e", "1").CombinedOutput(); err != nil {
		t.Fatalf("perl has no %s; make deps installs it\n%s", name, out)
	}
}
