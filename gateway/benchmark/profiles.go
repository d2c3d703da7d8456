package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// profile puts the whole path under load once more, and meanwhile has gateway,
// emulator and load tester write down where their time goes.
func (s *stack) profile(ctx context.Context, dir string, seed int, d time.Duration, how ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	seconds := max(1, int(d/time.Second))
	names := []string{"gateway", "emulator", "load"}
	failed := make([]error, len(names))
	var taking sync.WaitGroup
	for i, name := range names {
		taking.Go(func() {
			failed[i] = s.awaitProfiles(ctx)
			if failed[i] != nil {
				return
			}
			profile, err := fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.pprof[i], seconds))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name+".pprof"), profile, 0o600)
			}
			failed[i] = err
		})
	}
	_, err := s.test(ctx, seed, d+time.Second, append(how, "--pprof", s.pprof[2])...)
	taking.Wait()
	return errors.Join(append(failed, err)...)
}

// awaitProfiles waits until the load tester, which comes last, serves its own.
func (s *stack) awaitProfiles(ctx context.Context) (err error) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); sleep(ctx, 20*time.Millisecond) {
		if _, err = fetch(ctx, "http://"+s.pprof[2]+"/debug/pprof/"); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}
