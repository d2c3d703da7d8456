package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one of ours that goes on until it is stopped.
type process struct {
	name    string
	command *exec.Cmd
	log     string        // the file that has what it says
	ended   chan struct{} // closed when it has
}

// begin starts a process in a folder.
func begin(name, dir, program string, args ...string) (*process, error) {
	p := &process{name: name, command: exec.Command(program, args...), log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.command.Dir, p.command.Stdout, p.command.Stderr = dir, log, log
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { _ = p.command.Wait(); close(p.ended) }() // how it ended is in its log
	return p, nil
}

// stop ends a process as Ctrl-C does, and at once if it does not.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// failure is what a process that ended by itself said last.
func (p *process) failure() error {
	text, err := os.ReadFile(p.log)
	return errors.Join(fmt.Errorf("%s has ended: %s", p.name, bytes.TrimSpace(text[max(0, len(text)-2000):])), err)
}

// await waits until a page of the process is there.
func (p *process) await(ctx context.Context, url func() (string, error)) error {
	var last error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); sleep(ctx, 20*time.Millisecond) {
		select {
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		var address string
		if address, last = url(); last == nil {
			if _, last = fetch(ctx, address); last == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not ready: %w", p.name, last)
}

// fetch gets a page.
func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return body, err
}

// spent is the CPU time that a process has taken (proc(5), /proc/pid/stat).
func (p *process) spent() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), ") ") // a name may have blanks in it
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.command.Process.Pid, text)
	}
	return ticks(fields[11], fields[12])
}

// tick is the unit in which Linux tells CPU time.
const tick = 10 * time.Millisecond

func ticks(fields ...string) (d time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		d += time.Duration(n) * tick
	}
	return d, nil
}

// busy is the CPU time that all of the machine has taken: user, nice, system,
// irq and softirq (proc(5), /proc/stat).
func busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	return ticks(fields[1], fields[2], fields[3], fields[6], fields[7])
}

// freeAddr is an address of this machine at which nobody listens at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// sleep waits, at most until the context ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
