// Command benchmark measures the whole path of a signature on one machine: a
// redis-server, the emulator, the gateway on SQLite and the load tester, each a
// process of its own. Beside it, in turns, runs the floor: a program that does
// only what no signature can do without. How many times as many the floor makes
// is the figure that tells how much of the machine is ours to win back.
// "make bench" runs it; docs/performance.md explains what it prints.
//
//	main.go, report.go      the order of things, and what is printed
//	floor.go, floor_*.go    the floor, part by part
//	stack.go, turn.go       the whole path under load, and what it takes
//	process.go, redis.go    processes, and what each has taken
//	sizes.go                a million subscribers on record beside a thousand
//	profiles.go             where the time goes
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	cards    int
	callers  int
	span     time.Duration // of the whole path under full load, in all rounds together
	part     time.Duration // of the floor: each part, and all of it in each round
	rounds   int
	hold     float64 // signatures a second
	profiles string  // folder
	sizes    bool
	keep     string // folder
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	floorOnly := flags.Bool("floor", false, "the floor alone, as JSON")
	parts := flags.Bool("parts", false, "with -floor: each part alone, too")
	flags.IntVar(&o.cards, "cards", 4000, "how many SIM cards are enrolled; each is asked again and again")
	flags.IntVar(&o.callers, "callers", 128, "how many ask at once under full load, of the whole path and of the floor")
	flags.DurationVar(&o.span, "for", time.Minute, "how long the whole path is under full load, in all rounds together; others take their share of it")
	flags.DurationVar(&o.part, "part", 0, "how long the floor is taken in each round, and each of its parts; default: a sixth of a round's share, at least 2s")
	flags.IntVar(&o.rounds, "rounds", 3, "turns of whole path and floor; medians are printed")
	flags.Float64Var(&o.hold, "hold", 2000, "signatures a second that must be held as long as -for says; 0: not tried")
	flags.StringVar(&o.profiles, "profile", "", "a folder for CPU profiles of gateway, emulator and load tester under full load")
	flags.BoolVar(&o.sizes, "sizes", false, "1,000,000 subscribers on record beside 1,000, in place of all else")
	flags.StringVar(&o.keep, "keep", "", "a folder, new or empty, for what the processes write, which stays; default: a temporary one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.cards < 1 || o.callers < 1 || o.span <= 0 || o.rounds < 1 || o.part < 0 || o.hold < 0 {
		return errors.New("wrong usage: -help tells what there is")
	}
	if o.part == 0 {
		o.part = max(o.span/time.Duration(6*o.rounds), 2*time.Second)
	}
	if *floorOnly {
		return runFloor(ctx, o, *parts, out)
	}
	return run(ctx, o, out)
}

// floorFigures are what the floor, in a process of its own, tells.
type floorFigures struct {
	Alone []figure
	All   figure
}

// runFloor is the floor's process.
func runFloor(ctx context.Context, o options, parts bool, out io.Writer) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // as the processes have it that it is set beside
	}
	f, err := newFloor(ctx, o.callers)
	if err != nil {
		return err
	}
	defer f.Close()
	var all floorFigures
	if parts {
		if all.Alone, err = f.alone(ctx, o.part); err != nil {
			return err
		}
	}
	if all.All, err = f.all(ctx, o.part); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(all)
}

// floor has the floor run in a process of its own.
func (o *options) floor(ctx context.Context, more ...string) (f floorFigures, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	args := append([]string{"-floor", "-callers", fmt.Sprint(o.callers), "-part", o.part.String()}, more...)
	command := exec.CommandContext(ctx, self, args...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.Stderr = os.Stderr
	text, err := command.Output()
	if err != nil {
		return f, fmt.Errorf("the floor: %w", err)
	}
	return f, json.Unmarshal(text, &f)
}

// run is the benchmark.
func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := o.folder()
	if err != nil {
		return err
	}
	if o.keep == "" {
		defer os.RemoveAll(dir)
	}
	imza := filepath.Join(dir, "imza")
	build := exec.CommandContext(ctx, "go", "build", "-o", imza, "imza/cmd/imza")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	if o.sizes {
		return o.compareSizes(ctx, imza, dir, out)
	}
	s, err := startStack(ctx, imza, dir, o.cards)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := o.measure(ctx, s, out)
	if err != nil {
		return err
	}
	return r.print(out)
}

// folder is where all processes write.
func (o *options) folder() (string, error) {
	if o.keep == "" {
		return os.MkdirTemp("", "imza-benchmark-")
	}
	if err := os.MkdirAll(o.keep, 0o700); err != nil {
		return "", err
	}
	there, err := os.ReadDir(o.keep)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("-keep: %s is not empty", o.keep)
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(o.keep)
}

// measure takes everything in its order: the floor and the whole path in turns,
// so that both see the same weather, then the whole path at lower rates.
func (o *options) measure(ctx context.Context, s *stack, out io.Writer) (r results, err error) {
	r.options = o
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	say("Taking the parts of the floor, %s each.", o.part)
	parts, err := o.floor(ctx, "-parts")
	if err != nil {
		return r, err
	}
	r.parts = parts.Alone
	seed := 1
	share := o.span / time.Duration(o.rounds)
	say("Whole path and floor in %d turns, %s and %s, with %d callers.", o.rounds, share, o.part, o.callers)
	if _, err := s.test(ctx, seed, share, closed(o.callers)...); err != nil { // cards and permission sets that are asked the first time
		return r, err
	}
	for range o.rounds {
		seed++
		t, err := s.test(ctx, seed, share, closed(o.callers)...)
		if err != nil {
			return r, err
		}
		f, err := o.floor(ctx)
		if err != nil {
			return r, err
		}
		r.whole, r.floor = append(r.whole, t), append(r.floor, f.All)
		say("  whole %.0f/s, floor %.0f/s; other work took %.1f processors", t.perSecond, f.All.PerSecond, t.others)
	}
	if o.profiles != "" {
		if err := s.profile(ctx, o.profiles, seed+1, share, closed(o.callers)...); err != nil {
			return r, err
		}
	}
	return r, o.atRates(ctx, s, &r, seed+1, say)
}

// atRates takes the whole path at rates that it bears.
func (o *options) atRates(ctx context.Context, s *stack, r *results, seed int, say func(string, ...any)) error {
	half := median(r.whole, func(t *turn) float64 { return t.perSecond }) / 2
	for _, at := range []struct {
		name      string
		perSecond float64
		d         time.Duration
		into      *atRate
	}{
		{"half of what it bears", half, o.span / 2, &r.half},
		{"500/s", 500, o.span / 2, &r.slow},
		{"what it must hold", o.hold, o.span, &r.hold},
	} {
		if at.perSecond == 0 {
			continue
		}
		seed++
		say("At %s, %.0f/s, for %s.", at.name, at.perSecond, at.d)
		t, err := s.test(ctx, seed, at.d, open(at.perSecond)...)
		if err != nil {
			return err
		}
		*at.into = atRate{turn: t, asked: at.perSecond}
	}
	return nil
}
