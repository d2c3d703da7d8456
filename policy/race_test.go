package policy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"imza/policy/sqltest"
)

// cell is the permission of one employee for one provider, and how far it is
// certain: the count's rest by four says what.
type cell struct {
	employee Employee
	changes  atomic.Int64
}

const (
	allowed  = iota // for certain
	blocking        // a save is under way
	blocked
	allowing
)

// verdicts counts what admissions were told, beside what was certain.
type verdicts struct {
	definite, certain, wrong, unknown atomic.Int64
}

// admit asks once. If nothing began to change from before the question until
// after the answer, only one answer is right.
func (c *cell) admit(ctx context.Context, n *node, v *verdicts) {
	ctx, cancel := context.WithTimeout(ctx, time.Second/4)
	defer cancel()
	before := c.changes.Load()
	yes, known := n.admit(ctx, c.employee, "bank")
	if !known {
		v.unknown.Add(1)
		return
	}
	v.definite.Add(1)
	if before != c.changes.Load() || before%4 == blocking || before%4 == allowing {
		return
	}
	v.certain.Add(1)
	if yes != (before%4 == allowed) {
		v.wrong.Add(1)
	}
}

// turn blocks who is allowed, or the other way. It repeats the save until it is
// certain, or the context ends.
func (c *cell) turn(ctx context.Context, n *node) error {
	is := c.changes.Add(1) % 4
	save := Save{Employees: []Employee{c.employee}, Change: func(_ Employee, before Set) (Set, error) {
		return before.With("bank", is == allowing), nil
	}}
	for {
		_, err := n.Save(ctx, save)
		if err == nil {
			c.changes.Add(1)
			return nil
		}
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) cells(n int) []*cell {
	all := make([]*cell, n)
	for i := range all {
		all[i] = &cell{employee: w.newcomer()}
	}
	return all
}

// race has admissions and saves keep abreast on all nodes until there were so
// many of each.
func (w *world) race(t *testing.T, admits, saves int64) *verdicts {
	t.Helper()
	const savers, admitters = 4, 64
	cells := w.cells(64)
	v := new(verdicts)
	var begun, saved atomic.Int64
	var all sync.WaitGroup
	for i := range savers {
		all.Go(func() {
			for k := i; begun.Add(1) <= saves; k += savers {
				if err := cells[k%len(cells)].turn(t.Context(), w.nodes[k%len(w.nodes)]); err != nil {
					t.Errorf("a save: %v", err)
					begun.Store(saves)
				}
				// Not faster than the admissions.
				for saved.Add(1); v.definite.Load()*saves < (saved.Load()-savers)*admits && saved.Load() < saves; {
					time.Sleep(time.Millisecond)
				}
			}
			saved.Store(saves)
		})
	}
	for i := range admitters {
		all.Go(func() {
			for k := i; v.definite.Load() < admits; k++ {
				cells[k%len(cells)].admit(t.Context(), w.nodes[k%len(w.nodes)], v)
				for v.definite.Load()*saves > (saved.Load()+2*savers)*admits && saved.Load() < saves {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return v
}

func (v *verdicts) String() string {
	return fmt.Sprintf("%d admissions with an answer, of them %d while it was certain what is right, %d wrong; %d refused as unknown",
		v.definite.Load(), v.certain.Load(), v.wrong.Load(), v.unknown.Load())
}

// durably opens handles to a SQLite database as the product does.
func durably(t *testing.T) func() (*sql.DB, goose.Dialect) {
	c := connector{driver: driverOf(t, "sqlite"), turn: new(sync.Mutex),
		address: "file:" + sqltest.SQLite(t) + "?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"}
	return func() (*sql.DB, goose.Dialect) { return c.handle(), goose.DialectSQLite3 }
}

// No admission is wrong in a million that race ten thousand saves; that takes
// minutes, and -full. Without it a twentieth does.
func TestRace(t *testing.T) {
	admits, saves := int64(50_000), int64(500)
	if *full {
		admits, saves = 1_000_000, 10_000
	}
	started := time.Now()
	v := openWorld(t, 1, durably(t), nil).race(t, admits, saves)
	t.Logf("%d saves in %.1f s; %s", saves, time.Since(started).Seconds(), v)
	if v.wrong.Load() > 0 {
		t.Errorf("%d admissions were wrong", v.wrong.Load())
	}
	if v.certain.Load() < admits/2 {
		t.Errorf("only %d answers show anything", v.certain.Load())
	}
}

// The same, with nodes that admit by what they knew a moment ago.
func TestRaceFindsACache(t *testing.T) {
	w := openWorld(t, 1, durably(t), nil)
	for _, n := range w.nodes {
		n.cached = &cache{lifetime: 20 * time.Millisecond}
	}
	v := w.race(t, 50_000, 500)
	t.Log(v)
	if v.wrong.Load() == 0 {
		t.Error("none of its wrong answers was found")
	}
}
