package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"imza/emulator/load"
)

// turn is what a load test of the whole path came to.
type turn struct {
	signed    int
	perSecond float64
	latency   []time.Duration // of signatures, from due to released, sorted
	notes     []string        // of the load tester
	amiss     []string        // what is not as it has to be: requests that were not signed, say

	// For one signature: µs of CPU, and how many.
	gateway, emulator, load, redis  float64
	allocations, messages, receipts float64
	// others is how many processors were busy with what is none of ours.
	others float64
}

// cpu is what one signature takes in all processes.
func (t *turn) cpu() float64 { return t.gateway + t.emulator + t.load + t.redis }

// within is the time in which so many of a thousand signatures were released.
func (t *turn) within(permille int) time.Duration {
	return t.latency[(len(t.latency)*permille+999)/1000-1]
}

// closed and open are the load tester's flags for a closed loop and an open one.
func closed(n int) []string { return []string{"--callers", strconv.Itoa(n)} }
func open(perSecond float64) []string {
	return []string{"--rate", strconv.FormatFloat(perSecond, 'f', 0, 64)}
}

// warmup is how long a test of this length runs before it counts.
func warmup(d time.Duration) time.Duration { return min(d/5, 2*time.Second) }

// timeout is how long a person has; they all sign at once.
const timeout = 10 * time.Second

// test has the whole path under load for so long. What the processes do for it
// afterwards counts, too.
func (s *stack) test(ctx context.Context, seed int, d time.Duration, how ...string) (t turn, err error) {
	file := filepath.Join(s.dir, "results.imza")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	before, err := s.account(ctx)
	if err != nil {
		return t, err
	}
	args := append([]string{"load", "--fleet", "emulated", "--out", file, "--for", d.String(), "--warmup", warmup(d).String(), "--timeout", timeout.String(),
		"--seed", strconv.Itoa(seed), "--emulator", s.control}, how...)
	spent, failed := s.run(ctx, bareEnvironment(), args...) // as no administrator: it has no blocks to see to
	if err := s.settle(ctx); err != nil {
		return t, errors.Join(failed, err)
	}
	after, err := s.account(ctx)
	if err != nil {
		return t, errors.Join(failed, err)
	}
	// A test whose balance is not exact has figures all the same.
	if err := t.read(file); err != nil {
		return t, errors.Join(failed, err)
	}
	t.share(before, after, spent)
	return t, nil
}

// read takes figures from a results file. Only signatures should be in it: nobody
// refuses, and nothing is lost.
func (t *turn) read(name string) error {
	results, err := load.ReadFile(name)
	if err != nil {
		return err
	}
	if results.Ending == nil {
		return results.Cut
	}
	t.notes, t.amiss = results.Ending.Notes, amiss(results.Ending)
	var first, last time.Duration
	for _, r := range results.Requests {
		took, ok := r.Latency()
		if r.End != load.Signed || !ok {
			continue
		}
		t.signed++
		if results.Run.Phases[r.Phase].Aside {
			continue
		}
		if len(t.latency) == 0 || r.Due < first {
			first = r.Due
		}
		last = max(last, r.Due+took)
		t.latency = append(t.latency, took)
	}
	if len(t.latency) == 0 {
		return fmt.Errorf("no signature was made: %q", t.amiss)
	}
	slices.Sort(t.latency)
	t.perSecond = float64(len(t.latency)) / (last - first).Seconds()
	return nil
}

// amiss is what is wrong with a test.
func amiss(e *load.Ending) (all []string) {
	if e.CutShort {
		all = append(all, "cut short: "+e.Why)
	}
	for _, end := range e.Balance.Sorted() {
		if end != load.Signed {
			all = append(all, fmt.Sprintf("%d ended as %s", e.Balance.Ends[end], end))
		}
	}
	for _, fault := range e.Balance.FaultsSorted() {
		all = append(all, fmt.Sprintf("%d: %s", e.Balance.Faults[fault], fault))
	}
	return append(all, e.Balance.Differences()...)
}

// share divides what was done by the signatures, those of warming up too.
func (t *turn) share(before, after account, tester time.Duration) {
	n := float64(t.signed)
	each := func(d time.Duration) float64 { return micros(d) / n }
	gateway, emulator, redis := after.gateway-before.gateway, after.emulator-before.emulator, after.redis-before.redis
	t.gateway, t.emulator, t.redis, t.load = each(gateway), each(emulator), each(redis), each(tester)
	t.allocations = (after.allocations - before.allocations) / n
	t.messages = (after.messages - before.messages) / n
	t.receipts = (after.receipts - before.receipts) / n
	others := after.busy - before.busy - gateway - emulator - redis - tester
	t.others = max(0, others.Seconds()/after.at.Sub(before.at).Seconds())
}
