package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/term"

	"imza/emulator/fleet"
	"imza/emulator/load"
)

// loadCommand asks a gateway for signatures of the cards of a fleet.
type loadCommand struct {
	Fleet string `default:"./emulated" placeholder:"DIR" help:"The folder of \"imza emulator\", whose cards \"imza enrol\" has enrolled. Default: ./emulated."`
	Out   string `default:"results.imza" placeholder:"FILE" help:"Where the results go, for \"imza report\". Default: results.imza."`
	Cards int    `placeholder:"N" help:"How many of the enrolled subscribers are asked, from the first on. Default: all."`
	Seed  uint64 `default:"1" placeholder:"N" help:"Whom, when and as whom is asked follows from it, and what people and networks do. Default: 1."`

	Rate    float64       `group:"How much" placeholder:"N" help:"Requests a second, whatever becomes of those before (open loop)."`
	Callers int           `group:"How much" placeholder:"N" help:"In place of a rate: so many callers, each of whom asks again when the last request has ended (closed loop)."`
	For     time.Duration `group:"How much" placeholder:"TIME" help:"How long. Default: 30s."`
	Phases  string        `group:"How much" placeholder:"RATE:TIME,…" help:"In place of these: several rates, and ramps from one to another, such as 100:10s,100-1000:30s,1000:1m."`
	Warmup  time.Duration `group:"How much" placeholder:"TIME" help:"Ask for so long before, which is in the balance and in no percentile."`
	Even    bool          `group:"How much" help:"Requests are due at even distances, and not as those of many who do not know of each other (Poisson)."`
	Timeout time.Duration `group:"How much" default:"60s" placeholder:"TIME" help:"How long a person may take. Default: 60s."`

	Refused string  `group:"What must be" default:"0" placeholder:"SHARE" help:"Share of requests that policy must refuse, such as 2%: some subscribers are blocked before and unblocked after."`
	Flips   float64 `group:"What must be" placeholder:"N" help:"Blocks a second that are saved while a request is under way, which must then not be signed."`
	Key     string  `group:"What must be" env:"IMZA_ADMIN_KEY" help:"The administrator's key, for these two."`
	Verify  int     `group:"What must be" default:"100" placeholder:"N" help:"Verify one signature in N with code that is not the gateway's; 0: none. Default: 100."`
	Shared  bool    `group:"What must be" help:"Others ask this gateway meanwhile: do not compare the balance with its own counters."`

	URL      string   `name:"url" group:"Who else" env:"IMZA_URL" help:"The gateway. Default: the one the cards were enrolled into."`
	Emulator string   `group:"Who else" default:"http://127.0.0.1:2780" placeholder:"URL" help:"The emulator's control address; none: it is not told of the run. Default: http://127.0.0.1:2780."`
	Restart  []string `group:"Who else" placeholder:"OPERATOR@TIME/TIME" help:"Have the emulator restart an operator's centre after the first time, away for the second (2s), such as azercell@10s."`
	Redis    string   `group:"Who else" placeholder:"URL" help:"The gateway's Redis, whose CPU and memory are to be in the report."`
	Pprof    string   `group:"Who else" placeholder:"ADDR" help:"Serve this process's profiles at an address of this machine, like 127.0.0.1:6062."`

	refused  float64
	phases   []load.Phase
	restarts []load.Restart
}

const (
	defaultLoadRate = 100
	defaultLoadTime = 30 * time.Second
	noEmulator      = "none"
)

// Validate reads what flags say.
func (c *loadCommand) Validate() (err error) {
	if c.phases, err = c.readPhases(); err != nil {
		return err
	}
	if c.refused, err = readShare(c.Refused); err != nil {
		return fmt.Errorf("--refused: %w", err)
	}
	for _, text := range c.Restart {
		r, err := load.ParseRestart(text)
		if err != nil {
			return fmt.Errorf("--restart: %w", err)
		}
		c.restarts = append(c.restarts, r)
	}
	switch {
	case c.Cards < 0:
		return fmt.Errorf("--cards: %d: there are no fewer than none", c.Cards)
	case c.Verify < 0:
		return fmt.Errorf("--verify: %d: one in so many, or 0", c.Verify)
	case !(c.Flips >= 0 && c.Flips <= load.MaxFlips):
		return fmt.Errorf("--flips: %v: up to %d a second", c.Flips, load.MaxFlips)
	case c.Timeout < time.Second || c.Timeout > load.MaxTimeout || c.Timeout%time.Second != 0:
		return fmt.Errorf("--timeout: %s: whole seconds up to %s", c.Timeout, load.MaxTimeout)
	case (c.refused > 0 || c.Flips > 0) && c.Key == "":
		return errors.New("--key: blocks want an administrator's key, here or in IMZA_ADMIN_KEY")
	case len(c.restarts) > 0 && c.Emulator == noEmulator:
		return errors.New("--restart: who restarts an operator is the emulator")
	}
	return c.checkAddresses()
}

// checkAddresses looks at those that flags have. An address of Redis may have a
// password, so that nothing of it is told.
func (c *loadCommand) checkAddresses() error {
	if c.Redis != "" {
		if _, err := redis.ParseURL(c.Redis); err != nil {
			return errors.New("--redis: it is no address such as redis://127.0.0.1:6379/0")
		}
	}
	for flag, address := range map[string]string{"--url": c.URL, "--emulator": c.Emulator} {
		if address == "" || address == noEmulator && flag == "--emulator" {
			continue
		}
		if err := load.CheckAddress(address); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return nil
}

// readPhases makes the phases of whichever flags say how much is asked.
func (c *loadCommand) readPhases() (all []load.Phase, err error) {
	if c.Phases != "" {
		if c.Rate != 0 || c.Callers != 0 || c.For != 0 {
			return nil, errors.New("--phases: it says all that --rate, --callers and --for do")
		}
		if all, err = load.ParsePhases(c.Phases); err != nil {
			return nil, fmt.Errorf("--phases: %w", err)
		}
	} else {
		if c.Rate != 0 && c.Callers != 0 {
			return nil, errors.New("--callers: it is in place of --rate")
		}
		p := load.Phase{Name: fmt.Sprintf("%d callers", c.Callers), Callers: c.Callers, Duration: c.For}
		if c.Callers == 0 {
			if c.Rate == 0 {
				c.Rate = defaultLoadRate
			}
			p.Name, p.From, p.To = strconv.FormatFloat(c.Rate, 'f', -1, 64)+"/s", c.Rate, c.Rate
		}
		if p.Duration == 0 {
			p.Duration = defaultLoadTime
		}
		all = []load.Phase{p}
	}
	if c.Warmup != 0 {
		warm := all[0]
		warm.Name, warm.Duration, warm.Aside = "warm-up", c.Warmup, true
		warm.To = warm.From
		if warm.From == 0 && warm.Callers == 0 {
			warm.From, warm.To = all[0].To/10, all[0].To/10
		}
		all = append([]load.Phase{warm}, all...)
	}
	flag := map[bool]string{true: "--phases", false: "--rate, --callers or --for"}[c.Phases != ""]
	for i := range all {
		if err := all[i].Check(); err != nil {
			if all[i].Aside {
				flag = "--warmup"
			}
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
	}
	return all, nil
}

// readShare reads a share, such as 2% or 0.02.
func readShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share >= 0 && share < 1) {
		return 0, fmt.Errorf("%q is no share below all, such as 2%%", text)
	}
	return share, nil
}

// Run makes the test.
func (c *loadCommand) Run(ctx context.Context, s streams) (err error) {
	f, err := openFleet(c.Fleet)
	if err != nil {
		return err
	}
	defer f.Close()
	access, err := fleet.ReadAccess(c.Fleet)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (access.Enrolled == 0 || len(access.Providers) == 0) {
		return fmt.Errorf("--fleet: no card of %s is enrolled into a gateway: \"imza enrol\" does that", c.Fleet)
	}
	if err != nil {
		return err
	}
	if c.Cards > access.Enrolled {
		return fmt.Errorf("--cards: %d: %d are enrolled", c.Cards, access.Enrolled)
	}
	stopProfiles, err := serveProfiles(c.Pprof)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfiles()) }()
	out, err := openResults(c.Out)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { err = errors.Join(err, out.close()) }()
	g := c.generator(f, access, s)
	g.Out = out.writer()
	second := secondInterrupt(ctx)
	defer second.forget()
	g.Halt = second.came
	ending, err := g.Run(ctx)
	if err != nil {
		return err
	}
	return tellEnding(s, g, ending, c.Out)
}

func (c *loadCommand) generator(f *fleet.Fleet, access fleet.Access, s streams) *load.Generator {
	g := &load.Generator{
		URL: access.URL, Cards: access.Enrolled, Subscriber: subscribersOf(f),
		Seed: c.Seed, Phases: c.phases, Even: c.Even, Timeout: c.Timeout, Text: "imza load test",
		Refused: c.refused, Flips: c.Flips, AdminKey: c.Key, VerifyEvery: c.Verify, Shared: c.Shared,
		Emulator: c.Emulator, Restarts: c.restarts, Redis: c.Redis, Command: c.String(), Progress: s.err,
	}
	if c.URL != "" {
		g.URL = c.URL
	}
	if c.Cards > 0 {
		g.Cards = c.Cards
	}
	if c.Emulator == noEmulator {
		g.Emulator = ""
	}
	for _, p := range access.Providers {
		g.Providers = append(g.Providers, load.Provider(p))
	}
	if file, ok := s.err.(*os.File); ok {
		g.Live = term.IsTerminal(int(file.Fd()))
	}
	return g
}

// subscribersOf tells of a fleet's people what a request has to name.
func subscribersOf(f *fleet.Fleet) func(int) load.Subscriber {
	return func(i int) load.Subscriber {
		who := f.Subscriber(i)
		s := load.Subscriber{MSISDN: string(who.MSISDN), UserID: who.UserID, FIN: who.FIN, Certificates: make([]load.Wanted, len(who.Certificates))}
		for i, c := range who.Certificates {
			kind, err := load.ParseCertificate(c.Type)
			if err != nil {
				panic(err) // a fleet has no others
			}
			s.Certificates[i] = load.Wanted{Type: kind, VOEN: c.VOEN}
		}
		return s
	}
}

// String is the command as one could give it again. The keys are not in it, nor
// the address of Redis, which may have a password.
func (c *loadCommand) String() string {
	words := []string{"imza load --seed", strconv.FormatUint(c.Seed, 10)}
	add := func(given bool, flag string, value any) {
		if given {
			words = append(words, strings.TrimSpace(fmt.Sprint("--", flag, " ", value)))
		}
	}
	add(c.Phases != "", "phases", c.Phases)
	add(c.Phases == "" && c.Callers > 0, "callers", c.Callers)
	add(c.Phases == "" && c.Callers == 0, "rate", c.Rate)
	add(c.For > 0, "for", c.For)
	add(c.Warmup > 0, "warmup", c.Warmup)
	add(c.Even, "even", "")
	add(true, "timeout", c.Timeout)
	add(c.Cards > 0, "cards", c.Cards)
	add(c.refused > 0, "refused", c.Refused)
	add(c.Flips > 0, "flips", c.Flips)
	add(true, "verify", c.Verify)
	add(c.Shared, "shared", "")
	for _, r := range c.Restart {
		add(true, "restart", r)
	}
	return strings.Join(words, " ")
}

// interrupts tells of the second one: the first has ended the context.
type interrupts struct {
	came   <-chan struct{}
	forget func()
}

func secondInterrupt(ctx context.Context) interrupts {
	signals := make(chan os.Signal, 1)
	came := make(chan struct{})
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals) // a third one ends the process
		for n := 0; n < 2; {
			select {
			case <-signals:
				n++
			case <-done:
				return
			}
		}
		close(came)
	}()
	return interrupts{came, func() { close(done) }}
}

// resultsOut is a file that is emptied when the first result comes, so that a
// run that does not begin takes nothing away.
type resultsOut struct {
	*os.File
	regular, created, begun bool
}

func openResults(name string) (*resultsOut, error) {
	_, missing := os.Stat(name)
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	about, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &resultsOut{File: file, regular: about.Mode().IsRegular(), created: errors.Is(missing, fs.ErrNotExist)}, nil
}

// Write implements io.Writer.
func (f *resultsOut) Write(b []byte) (int, error) {
	if !f.begun && f.regular {
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
	}
	f.begun = true
	return f.File.Write(b)
}

// writer is what is written to; of what is no regular file nothing can be read
// again.
func (f *resultsOut) writer() io.Writer {
	if f.regular {
		return f
	}
	return struct{ io.Writer }{f}
}

func (f *resultsOut) close() error {
	err := f.Close()
	if f.created && !f.begun {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
