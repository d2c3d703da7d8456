package fleet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"imza/emulator"
	"imza/smpp"
)

// Emulator is a fleet's operators at work: a message centre each, and the people
// with their telephones.
type Emulator struct {
	// Failed is sent what ended a message centre, if it was not Close.
	Failed <-chan error

	fleet    *Fleet
	scenario *Scenario
	log      *slog.Logger
	people   *crowd
	centres  []*centre
	lock     *os.File
	running  sync.WaitGroup
	runs     atomic.Uint64

	mu       sync.Mutex
	restarts []*time.Timer // of this run
	closed   bool
}

// centre is an operator's message centre.
type centre struct {
	Centre
	smsc       *emulator.SMSC
	listener   net.Listener
	restarting atomic.Bool
}

// Options are how an emulator is run.
type Options struct {
	// Addr is the first operator's address; the others have the ports that follow.
	// Port 0 is a free one for each.
	Addr string
	Seed uint64 // of the first run
	// Warm is how many telephones stay made though they are idle; 0: a few seconds'
	// worth at full load.
	Warm int
	Log  *slog.Logger
}

// Start starts the operators, writes the gateway's file of them into the fleet's
// folder, and begins the first run. A fleet has one emulator at a time.
func Start(f *Fleet, s *Scenario, o Options) (_ *Emulator, err error) {
	if o.Warm == 0 {
		o.Warm = defaultWarm
	}
	failed := make(chan error, mostOperators)
	e := &Emulator{Failed: failed, fleet: f, scenario: s, log: o.Log, people: newCrowd(f, s, o.Warm, o.Log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.lock, err = lock(filepath.Join(f.dir, "lock")); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	centres, err := s.centres(f.plan.Operators)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	for i, c := range centres {
		if err := e.open(i, c, o); err != nil {
			return nil, fmt.Errorf("operator %s: %w", c.Name, err)
		}
	}
	if err := e.writeOperators(); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	e.Begin(o.Seed)
	for _, c := range e.centres {
		e.running.Go(func() {
			if err := c.smsc.Serve(c.listener); err != nil && !e.isClosed() {
				failed <- fmt.Errorf("operator %s: %w", c.Name, err)
			}
		})
	}
	return e, nil
}

func lock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another emulator", filepath.Dir(path)), file.Close())
	}
	return file, nil
}

// open makes an operator's message centre and takes its port.
func (e *Emulator) open(i int, c Centre, o Options) error {
	if c.Addr == "" {
		var err error
		if c.Addr, err = following(o.Addr, i); err != nil {
			return err
		}
	}
	if err := OnLoopback(c.Addr); err != nil {
		return err
	}
	password, err := passwordIn(filepath.Join(e.fleet.dir, c.passwordFile()))
	if err != nil {
		return err
	}
	account := smpp.Account{Password: password, Binds: c.Binds}
	smsc := emulator.NewSMSC(func(systemID string) (smpp.Account, bool) { return account, systemID == c.Name }, e.log)
	lines := e.people.networks[i]
	lines.connect = smsc.Connect
	smsc.Lines, smsc.Network, smsc.Rate = lines, *c.Network, c.Rate
	e.centres = append(e.centres, &centre{Centre: c, smsc: smsc})
	listener, err := net.Listen("tcp", c.Addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is taken: choose another address with --addr, like 127.0.0.1:0", c.Addr)
	}
	if err != nil {
		return err
	}
	e.centres[i].listener, e.centres[i].Addr = listener, listener.Addr().String()
	return nil
}

// following is an address whose port is so many higher.
func following(addr string, n int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	first, err := strconv.Atoi(port)
	if err != nil || first < 0 || first+n > 65535 {
		return "", fmt.Errorf("%s: there is no port %s and %d after it", addr, port, n)
	}
	if first > 0 {
		first += n
	}
	return net.JoinHostPort(host, strconv.Itoa(first)), nil
}

func (c *Centre) passwordFile() string { return c.Name + ".password" }

// passwordIn is what the gateway binds with. It is kept, so that a gateway that
// has read it goes on after the emulator was started again.
func passwordIn(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		password := rand.Text()[:8] // SMPP has no room for more
		return password, writeFile(path, []byte(password+"\n"))
	}
	return strings.TrimRight(string(text), "\r\n"), err
}

// Begin begins a new run: every card is as it was made, and what people do and
// what befalls their messages is decided by this seed.
func (e *Emulator) Begin(seed uint64) {
	e.people.Begin(seed, func() {
		for _, c := range e.centres {
			c.smsc.Begin(seed)
		}
	})
	e.runs.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, timer := range e.restarts {
		timer.Stop()
	}
	e.restarts = nil
	if e.closed {
		return
	}
	for _, c := range e.centres {
		if c.Centre.Restart.Down > 0 {
			e.restarts = append(e.restarts, time.AfterFunc(c.Centre.Restart.After, func() {
				if err := e.Restart(c.Name, c.Centre.Restart.Down); err != nil {
					e.log.Warn("fleet: not restarted", "operator", c.Name, "err", err)
				}
			}))
		}
	}
}

// ErrNoOperator says that the fleet has no operator of a name, ErrRestarting that
// its centre is restarting already.
var (
	ErrNoOperator = errors.New("fleet: no such operator")
	ErrRestarting = errors.New("fleet: the message centre is restarting")
)

// Restart takes an operator's message centre away for a while. It returns at once.
func (e *Emulator) Restart(operator string, down time.Duration) error {
	for _, c := range e.centres {
		if c.Name != operator {
			continue
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed || !c.restarting.CompareAndSwap(false, true) {
			return ErrRestarting
		}
		e.running.Go(func() {
			defer c.restarting.Store(false)
			if err := c.smsc.Restart(down); err != nil && !e.isClosed() {
				e.log.Error("fleet: a message centre did not come back", "operator", c.Name, "err", err)
			}
		})
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNoOperator, operator)
}

func (e *Emulator) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Close ends everything.
func (e *Emulator) Close() error {
	e.mu.Lock()
	e.closed = true
	for _, timer := range e.restarts {
		timer.Stop()
	}
	e.mu.Unlock()
	e.people.Close()
	var failures []error
	for _, c := range e.centres {
		failures = append(failures, c.smsc.Close())
		if c.listener != nil {
			if err := c.listener.Close(); !errors.Is(err, net.ErrClosed) {
				failures = append(failures, err)
			}
		}
	}
	e.running.Wait()
	if e.lock != nil {
		failures = append(failures, e.lock.Close())
	}
	return errors.Join(failures...)
}

// Fleet is whose operators these are.
func (e *Emulator) Fleet() *Fleet { return e.fleet }

// Centres are the message centres, with the addresses that they are at.
func (e *Emulator) Centres() (centres []Centre) {
	for _, c := range e.centres {
		centres = append(centres, c.Centre)
	}
	return centres
}
