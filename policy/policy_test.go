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

	"github.com/alicebob/miniredis/v2"
	"github.com/pressly/goose/v3"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"imza/policy/redistest"
	"imza/policy/sqltest"
)

var employee = Employee{VOEN: "1234567890", FIN: "5ABC123"}

// each runs a test on the embedded Redis with SQLite, and on a real one with
// either database.
func each(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Run("miniredis+SQLite", func(t *testing.T) { test(t, openStore(t, miniredis.RunT(t).Addr())) })
	sqltest.Each(t, func(t *testing.T, open func() (*sql.DB, goose.Dialect)) {
		test(t, storeOn(t, redistest.Start(t).Addr, open))
	})
}

// openStore is on SQLite.
// plain is a connection without go-redis's offer to servers, whose refusal races.
var plain = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

func openStore(t *testing.T, addr string) *Store {
	t.Helper()
	return storeOn(t, addr, func() (*sql.DB, goose.Dialect) { return sqltest.OpenSQLite(t, sqltest.SQLite(t)) })
}

func storeOn(t *testing.T, addr string, open func() (*sql.DB, goose.Dialect)) *Store {
	t.Helper()
	db, dialect := open()
	record, err := OpenRecord(t.Context(), db, dialect)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, OnConnect: OpenEpoch, MaintNotificationsConfig: plain})
	t.Cleanup(func() { client.Close() })
	return &Store{Record: record, Redis: client}
}

var ask = redis.NewScript(Lua + `return verdict(KEYS[1], ARGV[1])`)

// admitted asks as an admission does: the script, and a load where it does not
// know.
func (s *Store) admitted(ctx context.Context, p Provider) (bool, error) {
	for range 5 {
		verdict, err := ask.Run(ctx, s.Redis, []string{SetKey(employee)}, string(p)).Text()
		if err != nil {
			return false, err
		}
		switch verdict {
		case "allow":
			return true, nil
		case "block":
			return false, nil
		}
		if err := s.Load(ctx, employee); err != nil {
			return false, err
		}
	}
	return false, ErrUnavailable
}

// admittedSoon asks until a new epoch has begun, for two seconds.
func (s *Store) admittedSoon(ctx context.Context, p Provider) (ok bool, err error) {
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if ok, err = s.admitted(ctx, p); err == nil {
			break
		}
	}
	return ok, err
}

// save changes the employee's set.
func (s *Store) save(ctx context.Context, change func(Set) Set) (Set, error) {
	sets, err := s.Save(ctx, saveOf(change))
	if err != nil {
		return Set{}, err
	}
	return sets[0], nil
}

func saveOf(change func(Set) Set) Save {
	return Save{Employees: []Employee{employee}, Change: func(_ Employee, before Set) (Set, error) { return change(before), nil }}
}

func block(p Provider) func(Set) Set   { return func(s Set) Set { return s.With(p, false) } }
func unblock(p Provider) func(Set) Set { return func(s Set) Set { return s.With(p, true) } }

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "123456789", "12345678901", "12345678 0", "１２３４５６７８９０"} {
		if v, err := ParseVOEN(bad); err == nil {
			t.Errorf("VÖEN %q", v)
		}
	}
	for _, bad := range []string{"", "5abc123", "5ABC12", "5ABI123", "5ABO123", "5ABC1234"} {
		if f, err := ParseFIN(bad); err == nil {
			t.Errorf("FIN %q", f)
		}
	}
	for _, bad := range []string{"", "-a", "A", "a b", "a*"} {
		if p, err := ParseProvider(bad); err == nil {
			t.Errorf("provider %q", p)
		}
	}
}

func TestBlockIsInForceWhenItsSaveReturns(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		expect := func(p Provider, want bool) {
			t.Helper()
			if got, err := s.admitted(ctx, p); err != nil || got != want {
				t.Errorf("%s: %t %v, want %t", p, got, err, want)
			}
		}
		expect("bank", true)
		if set, err := s.save(ctx, block("bank")); err != nil || set.Version != 1 {
			t.Fatalf("%+v %v", set, err)
		}
		expect("bank", false)
		expect("notary", true)
		if _, err := s.save(ctx, func(Set) Set { return Set{BlockAll: true, Exceptions: []Provider{"notary"}} }); err != nil {
			t.Fatal(err)
		}
		expect("bank", false)
		expect("joined-later", false)
		expect("notary", true)
		if set, err := s.save(ctx, block("bank")); err != nil || set.Version != 2 {
			t.Errorf("a save that changes nothing: %+v %v", set, err)
		}
		list, err := s.Record.List(ctx, "1234567890", Employee{}, 10)
		if err != nil || len(list) != 1 || list[0].Employee != employee || !list[0].Set.BlockAll {
			t.Errorf("%+v %v", list, err)
		}
		if other, err := s.Record.List(ctx, "0987654321", Employee{}, 10); err != nil || len(other) != 0 {
			t.Errorf("%+v %v", other, err)
		}
	})
}

// Saves and admissions race; an admission that starts after a block's save has
// returned must see it, until an unblock's save starts.
func TestAdmissionsRacingSaves(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		var blocked atomic.Int64 // odd: a block is in force for certain
		done := make(chan struct{})
		var admits, seen atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					before := blocked.Load()
					ok, err := s.admitted(ctx, "bank")
					if err != nil {
						continue // refused, which is right whatever the record says
					}
					admits.Add(1)
					if before%2 == 1 && blocked.Load() == before {
						seen.Add(1) // nobody unblocked meanwhile
						if ok {
							t.Error("admitted under a block that was in force")
						}
					}
				}
			})
		}
		for range 100 {
			if _, err := s.save(ctx, block("bank")); err != nil {
				t.Fatal(err)
			}
			blocked.Add(1)
			// Hold the block until somebody has run into it, if it does not take
			// long: on a slow machine most admissions fall into the saves.
			for met, until := seen.Load(), time.Now().Add(50*time.Millisecond); seen.Load() == met && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
			blocked.Add(1)
			if _, err := s.save(ctx, unblock("bank")); err != nil {
				t.Fatal(err)
			}
		}
		close(done)
		all.Wait()
		if seen.Load() < 20 {
			t.Errorf("only %d of %d admissions met a block in force", seen.Load(), admits.Load())
		}
	})
}

// Two managers at once, many times: whatever the order, both blocks hold.
func TestSavesRacing(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		for i := range 20 {
			var all sync.WaitGroup
			for j := range 3 {
				p := Provider(fmt.Sprintf("p%d-%d", i, j))
				all.Go(func() {
					if _, err := s.save(ctx, block(p)); err != nil {
						t.Error(err)
					}
					if ok, err := s.admitted(ctx, p); ok {
						t.Errorf("%s admitted after its block was saved (%v)", p, err)
					}
				})
			}
			all.Wait()
		}
		if set, err := s.Record.Get(ctx, employee); err != nil || len(set.Exceptions) != 60 {
			t.Errorf("%d exceptions, %v", len(set.Exceptions), err)
		}
	})
}

// leave begins a save, commits it, and dies.
func (s *Store) leave(t *testing.T, change func(Set) Set) (token string) {
	t.Helper()
	epoch, err := s.begin(t.Context(), []Employee{employee}, "dead", saveTime)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		if _, err := s.Record.commit(t.Context(), epoch, "dead", saveOf(change)); err != nil {
			t.Fatal(err)
		}
	}
	return "dead"
}

// outlive moves the time of a save that was left, in place of waiting for it.
func (s *Store) outlive(t *testing.T, token string) {
	t.Helper()
	if err := s.Redis.HIncrBy(t.Context(), gateKey(employee), "s:"+token, -saveTime.Milliseconds()).Err(); err != nil {
		t.Fatal(err)
	}
}

// A process dies between the commit in SQL and the end of its save in Redis.
func TestSaveCutOffAfterItsCommit(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if ok, err := s.admitted(ctx, "bank"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		token := s.leave(t, block("bank"))
		started := time.Now()
		if ok, err := s.admitted(ctx, "bank"); ok || !errors.Is(err, ErrUnavailable) {
			t.Errorf("while the save hangs: %t %v", ok, err)
		}
		if waited := time.Since(started); waited > time.Second {
			t.Errorf("the refusal took %s", waited)
		}
		s.outlive(t, token)
		if ok, err := s.admitted(ctx, "bank"); ok || err != nil {
			t.Errorf("after it was given up: %t %v", ok, err)
		}
		if ok, err := s.admitted(ctx, "notary"); !ok || err != nil {
			t.Errorf("after it was given up: %t %v", ok, err)
		}
	})
}

// A save that somebody gave up cannot commit any more, however late it tries.
func TestSaveThatWasGivenUpDoesNotCommit(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		epoch, err := s.begin(ctx, []Employee{employee}, "slow", saveTime)
		if err != nil {
			t.Fatal(err)
		}
		s.outlive(t, "slow")
		if ok, err := s.admitted(ctx, "bank"); !ok || err != nil {
			t.Fatalf("after it was given up: %t %v", ok, err)
		}
		if _, err := s.Record.commit(ctx, epoch, "slow", saveOf(block("bank"))); !errors.Is(err, errTooLate) {
			t.Errorf("it committed: %v", err)
		}
		if set, err := s.Record.Get(ctx, employee); err != nil || !set.Allows("bank") {
			t.Errorf("%+v %v", set, err)
		}
	})
}

// A load that read the old record must not write it after the save.
func TestSlowLoadDoesNotUndoASave(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if err := s.Renew(ctx); err != nil {
			t.Fatal(err)
		}
		found, err := look.Run(ctx, s.Redis, []string{gateKey(employee)}, "first", 60).StringSlice()
		if err != nil || len(found) != 3 {
			t.Fatal(found, err)
		}
		if _, err := s.save(ctx, block("bank")); err != nil {
			t.Fatal(err)
		}
		stored, err := put.Run(ctx, s.Redis, []string{SetKey(employee), gateKey(employee)}, found[2], found[1], 60, "allow", 0).Bool()
		if err != nil || stored {
			t.Errorf("the old set was stored: %t %v", stored, err)
		}
		if ok, err := s.admitted(ctx, "bank"); ok || err != nil {
			t.Errorf("%t %v", ok, err)
		}
	})
}

func TestRedisGoneAndBackEmpty(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, server.Addr)
	ctx := t.Context()
	if _, err := s.save(ctx, block("bank")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if ok, err := s.admitted(ctx, "bank"); ok || err == nil {
		t.Errorf("without Redis: %t %v", ok, err)
	}
	if _, err := s.save(ctx, unblock("bank")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a save without Redis: %v", err)
	}
	server.Restart()
	if ok, err := s.admittedSoon(ctx, "bank"); ok || err != nil {
		t.Errorf("Redis back, empty: %t %v", ok, err)
	}
}

// Redis comes back from a dump that is older than the block.
func TestRedisBackWithAnOldDump(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, server.Addr)
	ctx := t.Context()
	if ok, err := s.admitted(ctx, "bank"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := s.Redis.Save(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.save(ctx, block("bank")); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Restart()
	if n, err := s.Redis.Exists(ctx, SetKey(employee)).Result(); n != 1 || err != nil {
		t.Fatalf("the dump does not have the old set (%v): this shows nothing", err)
	}
	if ok, err := s.admittedSoon(ctx, "bank"); ok || err != nil {
		t.Errorf("%t %v", ok, err)
	}
}

// What runs beside a save is in its transaction: if it fails, nothing is saved.
func TestSaveIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		failure := errors.New("the audit log is full")
		save := saveOf(block("bank"))
		save.Also = func(context.Context, *sql.Tx, []Changed) error { return failure }
		if _, err := s.Save(t.Context(), save); !errors.Is(err, failure) {
			t.Errorf("%v", err)
		}
		if ok, err := s.admitted(t.Context(), "bank"); !ok || err != nil {
			t.Errorf("%t %v", ok, err)
		}
	})
}

// Redis forgets in the middle of a save, and somebody loads the old record
// before the save commits: that was another epoch, so it does not commit.
func TestRedisEmptiedDuringASave(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		epoch, err := s.begin(ctx, []Employee{employee}, "slow", saveTime)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Redis.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.admittedSoon(ctx, "bank"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := s.Record.commit(ctx, epoch, "slow", saveOf(block("bank"))); !errors.Is(err, errTooLate) {
			t.Fatalf("it committed, and the set from before is believed: %v", err)
		}
		if _, err := s.save(ctx, block("bank")); err != nil {
			t.Fatal(err)
		}
		if ok, err := s.admitted(ctx, "bank"); ok || err != nil {
			t.Errorf("%t %v", ok, err)
		}
	})
}

// A server that keeps its run id to itself is not believed in anything.
func TestServerWithoutRunIDIsRefused(t *testing.T) {
	server := redistest.Start(t)
	s := openStore(t, server.Addr)
	ctx := t.Context()
	if err := s.Redis.Do(ctx, "ACL", "SETUSER", "gateway", "on", "nopass", "~*", "&*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "gateway", Password: "x", MaxRetries: -1, DialerRetries: 1, OnConnect: OpenEpoch, MaintNotificationsConfig: plain})
	t.Cleanup(func() { client.Close() })
	s.Redis = client
	if ok, err := s.admitted(ctx, "bank"); ok || err == nil {
		t.Errorf("%t %v", ok, err)
	}
}

// Several nodes that start at once make the tables once.
func TestOpeningAtOnce(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, open func() (*sql.DB, goose.Dialect)) {
		var all sync.WaitGroup
		for range 4 {
			db, dialect := open()
			all.Go(func() {
				if _, err := OpenRecord(t.Context(), db, dialect); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		db, _ := open()
		var n int
		if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM permission_epoch`).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}
