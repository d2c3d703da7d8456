package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"text/tabwriter"
	"time"

	"imza/emulator/fleet"
)

// emulatorCommand runs the operators alone, with as many SIM cards as one wants.
type emulatorCommand struct {
	Data     string `default:"./emulated" placeholder:"DIR" help:"Where the fleet is kept: its plan, the master key, certificates, and the operators' file for the gateway. Default: ./emulated."`
	Scenario string `default:"instant" placeholder:"NAME" help:"What people and networks do: instant, everyday, storm, or a YAML file (docs/load.md). Default: instant."`
	Addr     string `default:"127.0.0.1:2775" placeholder:"ADDR" help:"Address of the first operator; the others have the ports that follow. Port 0 takes free ones. Default: 127.0.0.1:2775."`
	Control  string `default:"127.0.0.1:2780" placeholder:"ADDR" help:"Address of metrics and of what a load test works the emulator with; port 0 takes a free one. Default: 127.0.0.1:2780."`
	Warm     int    `default:"8000" placeholder:"N" help:"How many telephones stay in memory though nothing goes on with them. Default: 8000."`
	Pprof    string `placeholder:"ADDR" help:"Serve the process's profiles at an address of this machine, like 127.0.0.1:6061."`
	Log      string `default:"warn" enum:"debug,info,warn,error" help:"What is logged to stderr: debug, info, warn or error."`

	// Of a new fleet. A folder that is there keeps to what it was made with.
	Cards         *int     `group:"A new fleet" placeholder:"N" help:"How many SIM cards there are. Default: 10000."`
	Seed          *uint64  `group:"A new fleet" placeholder:"N" help:"What cards, people and chance follow from. Default: 1."`
	Organisations *int     `group:"A new fleet" placeholder:"N" help:"How many organisations people work for. Default: 10."`
	RSA           *float64 `name:"rsa" group:"A new fleet" placeholder:"SHARE" help:"Share of cards with RSA-2048 keys, which come from a pool of 16. Default: 0."`
	Citizens      *float64 `group:"A new fleet" placeholder:"SHARE" help:"Share of cards with a citizen's certificate. Default: 0."`
	Government    *float64 `group:"A new fleet" placeholder:"SHARE" help:"Share of cards with a government certificate. Default: 0; the rest has business ones."`
	Old           *float64 `group:"A new fleet" placeholder:"SHARE" help:"Share of old cards, which give no short answers. Default: 0."`
}

const (
	defaultCards = 10_000
	defaultSeed  = 1
)

// Validate refuses more cards than there is memory for, before anything is made.
func (c *emulatorCommand) Validate() error {
	if c.Warm < 1 {
		return errors.New("--warm: at least 1")
	}
	if c.Cards == nil {
		return nil
	}
	if *c.Cards < 1 || *c.Cards > fleet.MaxCards {
		return fmt.Errorf("--cards: 1 to %d", fleet.MaxCards)
	}
	if err := fleet.CheckMemory(*c.Cards, c.Warm); err != nil {
		return fmt.Errorf("--cards: %w", err)
	}
	return nil
}

// Run runs the operators until the process is told to stop.
func (c *emulatorCommand) Run(ctx context.Context, s streams) (err error) {
	began := time.Now()
	log, err := newLog(s.err, c.Log)
	if err != nil {
		return err
	}
	scenario, err := fleet.ReadScenario(c.Scenario)
	if err != nil {
		return fmt.Errorf("--scenario: %w", err)
	}
	cards, err := c.open(scenario)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cards.Close()) }()
	plan := cards.Plan()
	if err := fleet.CheckMemory(plan.Cards, c.Warm); err != nil {
		return err
	}
	roomy, settle := context.WithCancel(ctx)
	defer settle()
	go fleet.RoomyHeap(roomy, plan.Cards, c.Warm)
	stopProfiles, err := serveProfiles(c.Pprof)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfiles()) }()
	operators, err := fleet.Start(cards, scenario, fleet.Options{Addr: c.Addr, Seed: plan.Seed, Warm: c.Warm, Log: log})
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	defer func() { err = errors.Join(err, operators.Close()) }()
	at, failed, stop, err := c.serveControl(operators)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	c.welcome(s, operators, scenario, at, time.Since(began))
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.out, "Stopping.")
		return nil
	case err := <-operators.Failed:
		return err
	case err := <-failed:
		return err
	}
}

// open opens the fleet in the folder, or makes the one that the flags want.
func (c *emulatorCommand) open(scenario *fleet.Scenario) (*fleet.Fleet, error) {
	plan := fleet.Plan{Seed: defaultSeed, Cards: defaultCards, Operators: scenario.PlannedOperators()}
	there, err := fleet.Open(c.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		plan = there.Plan()
		if err := there.Close(); err != nil {
			return nil, err
		}
	}
	given(c.Cards, &plan.Cards)
	given(c.Seed, &plan.Seed)
	given(c.Organisations, &plan.Organisations)
	given(c.RSA, &plan.RSA)
	given(c.Citizens, &plan.Citizens)
	given(c.Government, &plan.Government)
	given(c.Old, &plan.Old)
	return fleet.Create(c.Data, plan)
}

// given takes a flag's value if it was given.
func given[T any](flag, to *T) {
	if flag != nil {
		*to = *flag
	}
}

// serveControl serves the control of the operators at its address.
func (c *emulatorCommand) serveControl(operators *fleet.Emulator) (at string, failed <-chan error, stop func() error, err error) {
	if err := fleet.OnLoopback(c.Control); err != nil {
		return "", nil, nil, fmt.Errorf("--control: %w", err)
	}
	l, err := net.Listen("tcp", c.Control)
	if err != nil {
		return "", nil, nil, fmt.Errorf("--control: %w", err)
	}
	server := &http.Server{Handler: operators.Control(), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return "http://" + l.Addr().String(), ended, server.Close, nil
}

// welcome says that all is ready, in one line, and what to do next.
func (c *emulatorCommand) welcome(s streams, operators *fleet.Emulator, scenario *fleet.Scenario, control string, took time.Duration) {
	cards := operators.Fleet().Plan().Cards
	fmt.Fprintf(s.out, "ready: %d cards, %d operators, scenario %s, control %s, after %s\n\n",
		cards, len(operators.Centres()), scenario.Name, control, took.Round(time.Millisecond))
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, o := range operators.Centres() {
		fmt.Fprintf(table, "  %s\t+%s…\t%s\n", o.Name, o.Prefix, o.Addr)
	}
	table.Flush()
	fmt.Fprintf(s.out, `
Next, each in a shell of its own:

  imza gateway --operators %s --master-key %s
  imza enrol --fleet %s

Each start begins with fresh cards; who they are and their certificates stay in %s. Ctrl-C stops it.
`, quotedIfNeeded(operators.OperatorsPath()), quotedIfNeeded(filepath.Join(c.Data, "master.key")), quotedIfNeeded(c.Data), c.Data)
}
