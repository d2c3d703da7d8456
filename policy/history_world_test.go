package policy

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/redis/go-redis/v9"

	"imza/policy/redistest"
)

// world is some gateway nodes on one record and one Redis server at a time.
type world struct {
	servers []*redistest.Server
	nodes   []*node
	tally   *tally
	people  atomic.Int64 // how many there have been
}

// node is a gateway's part of a world: connections and handles of its own.
type node struct {
	*Store
	number int
	lines  *lines
	cached *cache // nil, except in a wrong variant
}

const nodes = 3

// openWorld starts redis-servers, and nodes that talk to the first.
func openWorld(t *testing.T, servers int, open func() (*sql.DB, goose.Dialect), instead map[string]*redis.Script) *world {
	t.Helper()
	var all []*redistest.Server
	for range servers {
		all = append(all, redistest.Start(t))
	}
	w := openWorldAt(t, all[0].Addr, open, instead)
	w.servers = all
	return w
}

// carried brings commands to Redis as a gateway does: those of one moment together.
func carried(t *testing.T, client *redis.Client) func(context.Context, redis.Cmder) error {
	pipe, err := client.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{Unordered: true, MaxConcurrentBatches: 4, MaxBatchSize: 16})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, c redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, 800*time.Millisecond)
		defer cancel()
		return pipe.Submit(ctx, c).WaitContext(ctx)
	}
}

// openWorldAt has the nodes talk to a server that is there.
func openWorldAt(t *testing.T, addr string, open func() (*sql.DB, goose.Dialect), instead map[string]*redis.Script) *world {
	t.Helper()
	w := &world{tally: newTally()}
	for i := range nodes {
		db, dialect := open()
		t.Cleanup(func() { db.Close() })
		record, err := OpenRecord(t.Context(), db, dialect)
		if err != nil {
			t.Fatal(err)
		}
		n := &node{Store: &Store{Record: record}, number: i, lines: &lines{addr: addr}}
		n.Redis = n.lines.client(instead)
		if i == 0 { // as a gateway has it; the others' commands go one by one, past what goes wrong with them
			n.Carry = carried(t, n.Redis)
		}
		t.Cleanup(func() { n.Redis.Close() })
		w.nodes = append(w.nodes, n)
	}
	return w
}

// newcomer is somebody of whom nothing was ever saved.
func (w *world) newcomer() Employee {
	const letters = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
	n := w.people.Add(1)
	fin := make([]byte, 7)
	for i, rest := 6, n; i >= 0; i-- {
		fin[i] = letters[rest%int64(len(letters))]
		rest /= int64(len(letters))
	}
	return Employee{VOEN(fmt.Sprintf("%010d", n%97)), FIN(fin)}
}

var asking = redis.NewScript(Lua + `return verdict(KEYS[1], ARGV[1])`)

// admit asks as an admission does: the script, and a load where it does not
// know.
func (n *node) admit(ctx context.Context, e Employee, p Provider) (allowed, known bool) {
	if n.cached != nil {
		if allowed, known = n.cached.get(e, p); known {
			return allowed, known
		}
	}
	for range 5 {
		verdict, err := asking.Run(ctx, n.Redis, []string{SetKey(e)}, string(p)).Text()
		if err != nil {
			return false, false
		}
		if verdict != "unknown" {
			if n.cached != nil {
				n.cached.put(e, p, verdict == "allow")
			}
			return verdict == "allow", true
		}
		if n.Load(ctx, e) != nil {
			return false, false
		}
	}
	return false, false
}

// cache is what a node must not have: it admits by what was so a moment ago.
type cache struct {
	lifetime time.Duration
	known    sync.Map
}

type cached struct {
	allowed bool
	at      time.Time
}

type question struct {
	Employee
	Provider
}

func (c *cache) get(e Employee, p Provider) (allowed, known bool) {
	found, ok := c.known.Load(question{e, p})
	if !ok || time.Since(found.(cached).at) > c.lifetime {
		return false, false
	}
	return found.(cached).allowed, true
}

func (c *cache) put(e Employee, p Provider, allowed bool) {
	c.known.Store(question{e, p}, cached{allowed, time.Now()})
}
