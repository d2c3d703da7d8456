package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// prepare looks whether all who take part are there, and makes ready what must
// be before the first request. It returns the gateway's counters as they are
// then.
func (g *Generator) prepare(ctx context.Context) (before counters, err error) {
	if g.plan, err = g.makePlan(); err != nil {
		return before, err
	}
	g.account.begin(g.plan.phases)
	g.slots = make(chan struct{}, maxUnderWay)
	if err := g.connect(); err != nil {
		return before, err
	}
	if text := g.crowded(); text != "" {
		g.say(text)
	}
	if err := g.newPeople(); err != nil {
		return before, err
	}
	if ctx.Err() != nil {
		return before, errors.New("interrupted before it began")
	}
	if err := g.block(); err != nil {
		return before, fmt.Errorf("blocks cannot be saved: %w", err)
	}
	if g.Shared {
		return before, nil
	}
	if before, err = g.scrape(); err != nil {
		g.liftBlocks()
		return before, fmt.Errorf("the gateway's counters, which the balance is compared with, cannot be had (--shared does without): %w", err)
	}
	return before, nil
}

// connect looks for the gateway, with each provider's key.
func (g *Generator) connect() (err error) {
	if g.api, err = newClient(g.URL); err != nil {
		return err
	}
	if g.control, err = newClient(g.URL); err != nil {
		return err
	}
	if err := g.control.control(message{method: http.MethodGet, path: "/readyz", patience: patience}, nil); err != nil {
		return fmt.Errorf("the gateway is away or not ready: %w", err)
	}
	for _, p := range g.Providers {
		g.authorizations = append(g.authorizations, "Bearer "+p.Key)
		err := g.control.control(message{method: http.MethodGet, path: "/v1/signatures/none", authorization: "Bearer " + p.Key}, nil)
		if no := new(problem); !errors.As(err, &no) || no.code != "not_found" {
			return fmt.Errorf("provider %s may not ask this gateway: %w", p.ID, err)
		}
	}
	if g.Redis != "" {
		if g.redisOptions, err = redis.ParseURL(g.Redis); err != nil {
			return errors.New("the address of Redis is none such as redis://127.0.0.1:6379/0")
		}
		g.redisOptions.DisableIdentity = true
	}
	if g.VerifyEvery > 0 {
		return g.fetchAnchors()
	}
	return nil
}

// newPeople begins a run of the emulator's: its people decide by this seed from
// now on, as they do whenever it is this one.
func (g *Generator) newPeople() (err error) {
	if g.Emulator == "" {
		return nil
	}
	if g.emulator, err = newClient(g.Emulator); err != nil {
		return err
	}
	err = g.emulator.control(message{method: http.MethodPost, path: "/runs", body: fmt.Appendf(nil, `{"seed":%d}`, g.Seed)}, nil)
	if err != nil {
		return fmt.Errorf("the emulator is away: %w", err)
	}
	return g.checkRestarts()
}

// checkRestarts looks whether the emulator has the operators that are to be
// restarted: it is too late for that when their time comes.
func (g *Generator) checkRestarts() error {
	if len(g.Restarts) == 0 {
		return nil
	}
	known := make(map[string]bool)
	err := g.emulator.control(message{method: http.MethodGet, path: "/metrics"}, func(body []byte) error {
		eachMetric(body, func(m metric) { known[m.label("operator")] = true })
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range g.Restarts {
		if !known[r.Operator] {
			return fmt.Errorf("operator %s cannot be restarted: the emulator has none of that name", r.Operator)
		}
	}
	return nil
}

func (g *Generator) header() Run {
	run := Run{
		Started: g.started.UTC().Round(0), Seed: g.Seed, Command: g.Command, URL: g.URL, Phases: g.plan.phases, Cards: g.Cards, Scenario: g.Scenario,
		Host: Host{Cores: runtime.NumCPU(), Model: Processor()},
	}
	for _, p := range g.Providers {
		run.Providers = append(run.Providers, p.ID)
	}
	return run
}

// Processor is the model of the machine's, as Linux tells it.
func Processor() string {
	about, _ := os.ReadFile("/proc/cpuinfo")
	for lines := bufio.NewScanner(bytes.NewReader(about)); lines.Scan(); {
		if name, model, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return runtime.GOARCH
}

// recount reads what was written, and counts it again: the account in memory and
// the file must be the same.
func (g *Generator) recount(e *Ending) {
	file, ok := g.Out.(io.ReaderAt)
	if !ok {
		return
	}
	var there Balance
	all := &Results{each: there.Count}
	g.results.mu.Lock()
	g.results.flush()
	g.results.mu.Unlock()
	// A file that was cut off by a full disk is read as far as it goes; what is
	// missing shows in the counts.
	if err := all.read(io.NewSectionReader(file, 0, 1<<62)); err != nil {
		g.say(fmt.Sprintf("the results cannot be read again: %v", err))
	}
	for _, end := range e.Balance.Sorted() {
		e.Balance.Lines = append(e.Balance.Lines, Line{What: "written: " + string(end), Here: e.Balance.Ends[end], There: there.Ends[end]})
	}
	e.Balance.Lines = append(e.Balance.Lines, Line{What: "written in all", Here: e.Balance.Asked, There: there.Ended()})
}

// Restart is an operator's centre that is to be restarted.
type Restart struct {
	Operator string
	After    time.Duration // since the run began
	Down     time.Duration
}

// ParseRestart reads OPERATOR@AFTER or OPERATOR@AFTER/DOWN, as azercell@10s/2s.
func ParseRestart(text string) (r Restart, err error) {
	name, times, found := strings.Cut(text, "@")
	after, down, given := strings.Cut(times, "/")
	if !given {
		down = "2s"
	}
	r.Operator = name
	if r.After, err = time.ParseDuration(after); err == nil {
		r.Down, err = time.ParseDuration(down)
	}
	if !found || !operatorForm(name) || err != nil || r.After < 0 || r.Down < 0 {
		return r, fmt.Errorf("%q is not OPERATOR@AFTER/DOWN, such as azercell@10s/2s", text)
	}
	return r, nil
}

func operatorForm(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// restartOperators has each restarted at its time, unless asking stops before.
func (g *Generator) restartOperators(ctx context.Context) {
	for _, r := range g.Restarts {
		g.underWay.Go(func() {
			select {
			case <-time.After(r.After):
			case <-ctx.Done():
				return
			}
			path := fmt.Sprintf("/operators/%s/restart?down=%s", r.Operator, r.Down)
			if err := g.emulator.control(message{method: http.MethodPost, path: path, patience: r.Down + patience}, nil); err != nil {
				g.remark(fmt.Sprintf("operator %s was not restarted: %v", r.Operator, err))
				return
			}
			g.remark(fmt.Sprintf("operator %s was restarted after %s, and away for %s", r.Operator, r.After, r.Down))
		})
	}
}
