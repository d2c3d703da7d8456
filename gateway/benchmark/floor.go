package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The floor is a program that does of a signature only what nobody can leave
// out, as well as it can be done: no record, no log, no metrics, no timers, and
// nobody who is waited for. Its callers go through the parts in their order,
// again and again:
//
//	two HTTP requests   to a bare echo server over loopback, of the real size
//	two Redis scripts   admission and end, as the gateway has them
//	AES                 both packets, sealed and opened
//	four PDUs           submit_sm, deliver_sm and their responses, on one connection
//	P-256               one signature, verified once
//
// Each part is also taken alone, so that the sum can be seen.
type floor struct {
	callers int
	parts   []part
	redis   *redisServer
	closers []func()
}

// part is what a caller does once for each signature.
type part struct {
	name string
	do   func(ctx context.Context, caller int, n uint64) error
}

// figure is what one part, or all of them, came to.
type figure struct {
	Name      string
	PerSecond float64
	Program   float64 // µs of CPU of the floor program for one
	Redis     float64 // and of the Redis server
}

// newFloor makes all that the parts need: connections, keys, permissions.
func newFloor(ctx context.Context, callers int) (_ *floor, err error) {
	f := &floor{callers: callers}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	web, err := newEcho(callers)
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, web.Close)
	if f.redis, err = startRedis(ctx); err != nil {
		return nil, err
	}
	f.closers = append(f.closers, f.redis.Close)
	scripts, err := newScripts(ctx, f.redis)
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, scripts.Close)
	packets, err := newPackets()
	if err != nil {
		return nil, err
	}
	wire, err := newWire(callers, packets)
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, wire.Close)
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	f.parts = []part{
		{"two HTTP requests", web.both},
		{"two Redis scripts", scripts.both},
		{"AES of both packets", packets.both},
		{"four PDUs", wire.exchange},
		{"P-256 sign and verify", key.both},
	}
	return f, nil
}

// Close ends what the floor runs on.
func (f *floor) Close() {
	for i := len(f.closers) - 1; i >= 0; i-- {
		f.closers[i]()
	}
	f.closers = nil
}

// together is the name of all parts one after the other.
const together = "all of it"

// alone takes each part by itself for a while.
func (f *floor) alone(ctx context.Context, d time.Duration) (figures []figure, err error) {
	for _, p := range f.parts {
		one, err := f.measure(ctx, p.name, d, p)
		if err != nil {
			return nil, err
		}
		figures = append(figures, one)
	}
	return figures, nil
}

// all takes the parts together.
func (f *floor) all(ctx context.Context, d time.Duration) (figure, error) {
	return f.measure(ctx, together, d, f.parts...)
}

// ordinals number the signatures of a floor, so that no two have one id.
var ordinals atomic.Uint64

// measure has all callers go through the parts for so long, after a short while
// that does not count.
func (f *floor) measure(ctx context.Context, name string, d time.Duration, parts ...part) (figure, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var over atomic.Bool
	var callers sync.WaitGroup
	for caller := range f.callers {
		callers.Go(func() {
			for !over.Load() && ctx.Err() == nil {
				n := ordinals.Add(1)
				for _, p := range parts {
					if err := p.do(ctx, caller, n); err != nil {
						cancel(fmt.Errorf("%s: %w", p.name, err))
						return
					}
				}
				done.Add(1)
			}
		})
	}
	sleep(ctx, min(d/4, time.Second))
	runtime.GC()
	before, err := f.sample(ctx, &done)
	sleep(ctx, d)
	after, failed := f.sample(ctx, &done)
	over.Store(true)
	callers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return figure{}, cause
	}
	if err := errors.Join(err, failed); err != nil {
		return figure{}, err
	}
	n := float64(after.done - before.done)
	return figure{name, n / after.at.Sub(before.at).Seconds(),
		micros(after.program-before.program) / n, micros(after.redis-before.redis) / n}, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// sample is what was done until a moment, and the CPU time that was taken for it.
type sample struct {
	at             time.Time
	done           int64
	program, redis time.Duration
}

// sample has the server tell first: that may take its time where all callers
// want the processor, and all else is looked at in one moment. A server that
// does nothing then takes no time either.
func (f *floor) sample(ctx context.Context, done *atomic.Int64) (s sample, err error) {
	if s.redis, err = f.redis.spent(ctx); err != nil {
		return s, err
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return s, err
	}
	s.at, s.done = time.Now(), done.Load()
	s.program = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return s, nil
}
