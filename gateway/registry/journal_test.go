package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"imza/gateway"
)

// entry is a transaction as the gateway records it.
func entry(id string, state gateway.State) gateway.Entry {
	e := gateway.Entry{ID: id, Provider: "demo", MSISDN: aysel, VOEN: xezer, Serial: "4f", State: state, Accepted: now, Deadline: now.Add(2 * time.Minute)}
	if state.Final() {
		e.Ended = now.Add(time.Minute + 123*time.Millisecond)
	}
	return e
}

func (r *record) find(t testing.TB, id string) gateway.Entry {
	t.Helper()
	e, err := r.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// S4: entries come twice and in any order, and one final state stays.
func TestFirstFinalStateStays(t *testing.T) {
	pending, signed, expired := entry("", gateway.Pending), entry("", gateway.Signed), entry("", gateway.Expired)
	expired.Reason, expired.Ended = "lost", expired.Deadline
	r := fresh(t)
	for name, c := range map[string]struct {
		batches [][]gateway.Entry
		want    gateway.Entry
	}{
		"accepted alone":           {[][]gateway.Entry{{pending}}, pending},
		"accepted twice":           {[][]gateway.Entry{{pending}, {pending}}, pending},
		"accepted, then final":     {[][]gateway.Entry{{pending}, {signed}}, signed},
		"both at once":             {[][]gateway.Entry{{pending, signed}}, signed},
		"final before accepted":    {[][]gateway.Entry{{signed}, {pending}}, signed},
		"so at once":               {[][]gateway.Entry{{signed, pending}}, signed},
		"final twice":              {[][]gateway.Entry{{pending}, {signed}, {signed}}, signed},
		"another final later":      {[][]gateway.Entry{{pending}, {signed}, {expired}}, signed},
		"the other way round":      {[][]gateway.Entry{{pending}, {expired}, {signed}}, expired},
		"another final at once":    {[][]gateway.Entry{{pending, expired, signed, pending}}, expired},
		"all of it, and again all": {[][]gateway.Entry{{pending, signed}, {expired, pending}, {pending, signed}}, signed},
	} {
		for _, batch := range append(c.batches, nil) { // an empty one does nothing
			batch = slices.Clone(batch)
			for i := range batch {
				batch[i].ID = name
			}
			if err := r.Record(t.Context(), batch); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if c.want.ID = name; r.find(t, name) != c.want {
			t.Errorf("%s: %+v, want %+v", name, r.find(t, name), c.want)
		}
	}
}

func TestEveryStateComesBack(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		for _, state := range []gateway.State{gateway.Pending, gateway.Signed, gateway.CancelledByUser, gateway.PINBlocked, gateway.Expired,
			gateway.Undeliverable, gateway.Absent, gateway.CardError, gateway.SignatureInvalid, gateway.Blocked, gateway.CancelledByProvider} {
			e := entry(string(state), state)
			e.Reason = "because " + string(state)
			if err := r.Record(t.Context(), []gateway.Entry{e}); err != nil {
				t.Fatal(err)
			}
			if got := r.find(t, e.ID); got != e {
				t.Errorf("%+v, want %+v", got, e)
			}
		}
		for _, id := range []string{"unknown", "", "SIGNED"} {
			if _, err := r.Find(t.Context(), id); !errors.Is(err, gateway.ErrNotRecorded) {
				t.Errorf("%q: %v", id, err)
			}
		}
	})
}

func TestUnfinishedAreThosePastTheirDeadline(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		var all []gateway.Entry
		for i := range 10 {
			e := entry(fmt.Sprint(i), gateway.Pending)
			e.Deadline = now.Add(time.Duration(9-i) * time.Second)
			all = append(all, e)
		}
		ended := all[3]
		ended.State, ended.Ended = gateway.Signed, now
		if err := r.Record(t.Context(), append(all, ended)); err != nil {
			t.Fatal(err)
		}
		got, err := r.Unfinished(t.Context(), now.Add(8*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		// Those of 0 to 7 s, oldest first, without the one at 6 s that ended.
		var ids []string
		for _, e := range got {
			ids = append(ids, e.ID)
			if e.State != gateway.Pending || !e.Ended.IsZero() {
				t.Errorf("%+v", e)
			}
		}
		if want := []string{"9", "8", "7", "6", "5", "4", "2"}; fmt.Sprint(ids) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", ids, want)
		}
		if got, err := r.Unfinished(t.Context(), now); err != nil || len(got) != 0 {
			t.Errorf("%v %v", got, err)
		}
	})
}

// After an outage there may be more of them than one call gives: calling again
// after each batch was ended gives all.
func TestUnfinishedGivesAllInTheEnd(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const n = 1100
		var all []gateway.Entry
		for i := range n {
			all = append(all, entry(fmt.Sprint(i), gateway.Pending))
		}
		if err := r.Record(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for {
			batch, err := r.Unfinished(t.Context(), now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if len(batch) == 0 {
				break
			}
			for i := range batch {
				if seen[batch[i].ID] {
					t.Fatalf("%s comes again after its end", batch[i].ID)
				}
				seen[batch[i].ID] = true
				batch[i].State, batch[i].Ended = gateway.Expired, batch[i].Deadline
			}
			if err := r.Record(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) != n {
			t.Errorf("%d of %d", len(seen), n)
		}
	})
}

// A batch that cannot be written as a whole leaves nothing behind, so that it
// can come again.
func TestBatchIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		statements := []string{`CREATE TRIGGER refuse BEFORE INSERT ON transactions WHEN NEW.id = 'z bad' BEGIN SELECT RAISE(ABORT, 'full'); END`}
		if r.dialect == goose.DialectPostgres {
			statements = []string{`CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''full''; END'`,
				`CREATE TRIGGER refuse BEFORE INSERT ON transactions FOR EACH ROW WHEN (NEW.id = 'z bad') EXECUTE FUNCTION refuse()`}
		}
		for _, statement := range statements {
			if _, err := r.journal.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Record(t.Context(), []gateway.Entry{entry("good", gateway.Signed), entry("z bad", gateway.Signed)}); err == nil {
			t.Fatal("recorded")
		}
		if _, err := r.Find(t.Context(), "good"); !errors.Is(err, gateway.ErrNotRecorded) {
			t.Errorf("half a batch is on record: %v", err)
		}
	})
}

// Several nodes drain at once, each entry more than once, over several
// connections to the file.
func TestRecordingAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		nodes := []*record{r, r.again(), r.again()}
		const writers, transactions = 9, 40
		id := func(i int) string { return fmt.Sprintf("transaction-%d", i) }
		finals := []gateway.State{gateway.Signed, gateway.Expired, gateway.CancelledByUser}
		first := make([]gateway.Entry, transactions)
		var mu sync.Mutex
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				r := nodes[w%len(nodes)]
				for i := range transactions {
					batch := []gateway.Entry{entry(id(i), gateway.Pending), entry(id(i), finals[w%len(finals)])}
					if w%2 == 0 {
						batch[0], batch[1] = batch[1], batch[0]
					}
					if err := r.Record(t.Context(), batch); err != nil {
						t.Error(err)
						return
					}
					// Whatever is on record now stays.
					e, err := r.Find(t.Context(), id(i))
					if err != nil || !e.State.Final() {
						t.Errorf("%+v %v", e, err)
						return
					}
					mu.Lock()
					if first[i].ID == "" {
						first[i] = e
					}
					if first[i] != e {
						t.Errorf("%s was %s and is %s", e.ID, first[i].State, e.State)
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		var n int
		if err := nodes[0].journal.QueryRowContext(t.Context(), `SELECT count(*) FROM transactions`).Scan(&n); err != nil || n != transactions {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

// A reader does not wait for a writer, nor does it see half of what it writes.
func TestReadersDoNotWaitForWriters(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		if err := r.Record(t.Context(), []gateway.Entry{entry("x", gateway.Pending)}); err != nil {
			t.Fatal(err)
		}
		tx, err := r.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), `UPDATE transactions SET state = 'signed', ended = 1`); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if got := r.find(t, "x"); got.State != gateway.Pending {
			t.Errorf("%s", got.State)
		}
		if took := time.Since(began); took > 2*time.Second { // the writers' time-out is 5 s
			t.Errorf("the reader waited for %s", took)
		}
	})
}

// Transactions that an older imza wrote into the record's own file are taken over,
// once, and those that are in the journal stay as they are.
func TestJournalIsMoved(t *testing.T) {
	r := fresh(t)
	old, known := entry("old", gateway.Signed), entry("known", gateway.Signed)
	if err := r.Record(t.Context(), []gateway.Entry{known}); err != nil {
		t.Fatal(err)
	}
	for _, e := range []gateway.Entry{old, entry("known", gateway.Expired)} {
		if _, err := r.db.ExecContext(t.Context(), `INSERT INTO transactions (id, provider, msisdn, voen, serial, accepted, deadline, state, reason, ended) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			e.ID, e.Provider, e.MSISDN, e.VOEN, e.Serial, e.Accepted.UnixMilli(), e.Deadline.UnixMilli(), e.State, e.Reason, e.Ended.UnixMilli()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		again := r.again()
		for id, want := range map[string]gateway.State{"old": gateway.Signed, "known": gateway.Signed} {
			if e, err := again.Find(t.Context(), id); err != nil || e.State != want {
				t.Errorf("%s: %+v, %v", id, e, err)
			}
		}
	}
	var left int
	if err := r.db.QueryRowContext(t.Context(), `SELECT count(*) FROM transactions`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d are left where they were, %v", left, err)
	}
}
