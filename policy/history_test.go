package policy

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/redis/go-redis/v9"
)

var (
	firstSeed = flag.Uint64("seed", 0, "TestHistories: the seed of the first history; 0: another each time")
	howMany   = flag.Int("histories", manyHistories, "TestHistories: how many")
	full      = flag.Bool("full", false, "TestRace in full size")
)

// TestHistories runs random saves and admissions on several nodes while all
// goes wrong that may go wrong, and checks what was seen against the model. A
// history is random in what is tried, from its seed, and in how it runs: one that
// failed may need several tries to fail again.
//
// Most are short, and share their servers with others; that a server restarts or
// that the nodes move to another takes seconds, in fewer and longer ones.
func TestHistories(t *testing.T) {
	first := *firstSeed
	if first == 0 {
		first = rand.Uint64() >> 16
	}
	t.Logf("the first history is -seed %d", first)
	all := newTally()
	var worlds atomic.Int64
	short := func(t *testing.T, share int, open func() (*sql.DB, goose.Dialect)) {
		w := openWorld(t, 1, open, nil)
		worlds.Add(1)
		w.tally = all
		if failed := w.short(first, *howMany*share/100, 12); failed != "" {
			t.Error(failed)
		}
	}
	t.Run("all", func(t *testing.T) { // in two lanes
		t.Run("SQLite", func(t *testing.T) {
			t.Parallel()
			short(t, 80, onSQLite(t))
		})
		t.Run("others", func(t *testing.T) {
			t.Parallel()
			t.Run("PostgreSQL", func(t *testing.T) { short(t, 20, onPostgres(t)) })
			t.Run("servers", func(t *testing.T) {
				w := openWorld(t, 2, onSQLite(t), nil)
				worlds.Add(1)
				w.tally = all
				for i := range max(*howMany/400, len(upheavals)) {
					if failed := w.long(t, first+uint64(i), upheavals[i%len(upheavals)]); failed != "" {
						t.Fatal(failed)
					}
				}
			})
		})
	})
	t.Log(all)
	if *howMany >= 1000 && worlds.Load() == 3 {
		all.demand(t)
	}
}

// short runs histories of some milliseconds, a few side by side, until one
// cannot be explained.
func (w *world) short(first uint64, histories, atOnce int) (failed string) {
	var next atomic.Int64
	var all sync.WaitGroup
	var mu sync.Mutex
	for range atOnce {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(histories); i = next.Add(1) - 1 {
				seed := first + uint64(i)
				ok, account := w.one(seed)
				if ok {
					continue
				}
				next.Store(int64(histories))
				mu.Lock()
				failed = fmt.Sprintf("history -seed %d: %s", seed, account)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}

func (w *world) one(seed uint64) (ok bool, account string) {
	r := rand.New(rand.NewPCG(seed, 100))
	h := w.newHistory(1 + r.IntN(3)/2)
	var all sync.WaitGroup
	for i := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, i))
		all.Go(func() { h.client(r, 4, time.Millisecond, nil) })
	}
	all.Go(func() {
		for range r.IntN(3) {
			time.Sleep(upTo(r, 8))
			h.disturb(r)
		}
	})
	all.Wait()
	h.settle()
	w.tally.count(h)
	return check(h.all)
}

// evictedGate takes a gate that has no save in it, as a Redis may that is short
// of memory: it is of the keys that expire.
var evictedGate = redis.NewScript(`
if redis.call('HLEN', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'gen') == 1 then return redis.call('DEL', KEYS[1]) end
return 0`)

// disturb does something to Redis.
func (h *history) disturb(r *rand.Rand) {
	ctx := context.Background()
	client, e := h.w.nodes[r.IntN(nodes)].Redis, h.employees[r.IntN(len(h.employees))]
	fault, done := "", false
	switch r.IntN(16) {
	case 0, 1, 2, 3:
		n, _ := client.Del(ctx, SetKey(e)).Result()
		fault, done = "set evicted", n == 1
	case 4, 5, 6, 7:
		n, _ := evictedGate.Run(ctx, client, []string{gateKey(e)}).Int()
		fault, done = "gate evicted", n == 1
	case 8, 9, 10:
		ok, _ := client.PExpire(ctx, SetKey(e), time.Millisecond).Result()
		fault, done = "set expired", ok
	case 11, 12, 13, 14:
		ok, _ := client.PExpire(ctx, keyLease, time.Millisecond).Result()
		fault, done = "lease expired", ok
	default:
		fault, done = "FLUSHALL", client.FlushAll(ctx).Err() == nil
	}
	if done {
		h.meet(fault)
	}
}

// tally says how much a test has seen.
type tally struct {
	mu         sync.Mutex
	histories  int
	operations int
	answers    [3]int
	met        map[string]int
	started    time.Time
}

func newTally() *tally { return &tally{met: make(map[string]int), started: time.Now()} }

func (t *tally) count(h *history) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.histories++
	t.operations += len(h.all)
	for i, n := range h.answers {
		t.answers[i] += n
	}
	for fault := range h.met {
		t.met[fault]++
	}
}

func (t *tally) definite() float64 {
	return float64(t.answers[0]+t.answers[1]) / float64(max(1, t.answers[0]+t.answers[1]+t.answers[2]))
}

func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d histories of %d operations in %.0f s; admissions: %d allowed, %d blocked, %d refused as unknown (%.0f %% definite); histories with:",
		t.histories, t.operations, time.Since(t.started).Seconds(), t.answers[0], t.answers[1], t.answers[2], 100*t.definite())
	for _, fault := range slices.Sorted(maps.Keys(t.met)) {
		fmt.Fprintf(&b, "\n%7d  %s", t.met[fault], fault)
	}
	return b.String()
}

// demand fails a test that saw too little to show anything.
func (t *tally) demand(test *testing.T) {
	test.Helper()
	kinds := []string{"set evicted", "gate evicted", "set expired", "lease expired", "FLUSHALL", "dead save outlived", "saves of one set on two nodes at once"}
	for _, f := range admitFaults {
		kinds = append(kinds, f.name)
	}
	for _, f := range saveFaults {
		kinds = append(kinds, f.name)
	}
	for _, u := range upheavals {
		kinds = append(kinds, u.name)
	}
	for _, kind := range kinds {
		if t.met[kind] == 0 {
			test.Errorf("no history had: %s", kind)
		}
	}
	if t.definite() < 0.3 || t.answers[0] == 0 || t.answers[1] == 0 {
		test.Errorf("too few definite answers: %v", t.answers)
	}
}
