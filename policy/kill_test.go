package policy

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is killed twenty times under load, and comes back empty or with what it
// held some time before. No admission is wrong, and each time somebody is
// answered again within two seconds of the server's first answer.
func TestKilledTwentyTimes(t *testing.T) {
	const kills, limit = 20, 2 * time.Second
	w := openWorld(t, 1, durably(t), nil)
	cells := w.cells(32)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	v := new(verdicts)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for k := i; ctx.Err() == nil; k++ {
				cells[k%len(cells)].admit(ctx, w.nodes[k%len(w.nodes)], v)
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range 2 {
		all.Go(func() {
			for k := i; ctx.Err() == nil; k += 2 {
				_ = cells[k%len(cells)].turn(ctx, w.nodes[k%len(w.nodes)]) // repeated until the end
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	var waits []time.Duration
	random := rand.New(rand.NewPCG(20, 1))
	for i := range kills {
		time.Sleep(300*time.Millisecond + upTo(random, 300))
		w.prepareDump(t, i%2 == 0)
		time.Sleep(100*time.Millisecond + upTo(random, 200))
		w.servers[0].Kill()
		time.Sleep(upTo(random, 100))
		w.servers[0].Restart()
		waits = append(waits, w.answeredAgain(t, limit))
	}
	stop()
	all.Wait()
	slices.Sort(waits)
	t.Logf("%d kills; answered again after %d ms (median), %d ms (the longest); %s", kills, waits[kills/2].Milliseconds(), waits[kills-1].Milliseconds(), v)
	if v.wrong.Load() > 0 {
		t.Errorf("%d admissions were wrong", v.wrong.Load())
	}
	if v.certain.Load() < 1000 {
		t.Errorf("only %d answers show anything", v.certain.Load())
	}
}

// prepareDump has the first server write down what it holds now, or forget what
// it wrote before: it will come back with that.
func (w *world) prepareDump(t *testing.T, dump bool) {
	t.Helper()
	ctx := context.Background()
	admin := redis.NewClient(&redis.Options{Addr: w.servers[0].Addr})
	defer admin.Close()
	if dump {
		if err := admin.Save(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir, err := admin.ConfigGet(ctx, "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir["dir"], "dump.rdb")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// answeredAgain measures how long until every node has an answer for a newcomer.
func (w *world) answeredAgain(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	started := time.Now()
	for _, n := range w.nodes {
		for {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			_, known := n.admit(ctx, w.newcomer(), "bank")
			cancel()
			if known {
				break
			}
			if time.Since(started) > limit {
				t.Errorf("node %d has no answer within %s", n.number, limit)
				return time.Since(started)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return time.Since(started)
}
