package registry_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/sqltest"
)

// audit appends changes, and commits.
func (r *record) audit(t testing.TB, changes ...registry.Change) {
	t.Helper()
	tx, err := r.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	half := len(changes) / 2 // a transaction may append more than once
	if err := errors.Join(r.Audit(t.Context(), tx, changes[:half]...), r.Audit(t.Context(), tx, changes[half:]...), tx.Commit()); err != nil {
		t.Fatal(err)
	}
}

func (r *record) entries(t testing.TB, f registry.AuditFilter) (all []registry.AuditEntry) {
	t.Helper()
	if err := r.AuditEntries(t.Context(), f, func(e registry.AuditEntry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *record) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := r.db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// whole has the log verified, and wants it to be as the gateway left it.
func (r *record) whole(t testing.TB, entries int64) registry.AuditReport {
	t.Helper()
	report, err := r.VerifyAudit(t.Context())
	if err != nil || report.Entries != entries || len(report.Faults) > 0 {
		t.Errorf("%+v %v, want %d entries", report, err, entries)
	}
	return report
}

// change is the n-th of many that differ in everything.
func change(n int) registry.Change {
	return registry.Change{Actor: fmt.Sprint("actor ", n), Role: fmt.Sprint("role ", n), Source: fmt.Sprint("10.0.0.", n), Action: fmt.Sprint("action ", n), Subject: fmt.Sprint("subject ", n),
		VOEN: policy.VOEN(fmt.Sprintf("14%08d", n)), FIN: policy.FIN(fmt.Sprintf("7DEM%03d", n)), Provider: policy.Provider(fmt.Sprint("provider-", n)),
		Before: map[string]any{"version": n}, After: map[string]any{"version": n + 1}}
}

func changes(n int) (all []registry.Change) {
	for i := range n {
		all = append(all, change(i+1))
	}
	return all
}

func TestAuditGoesWithItsTransaction(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		c := change(1)
		c.Actor, c.Before, c.After = "operator'; --", map[string]any{"blocked": false}, []string{"Xəzər <b>"}
		for _, commit := range []bool{false, true, false} {
			tx, err := r.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Audit(t.Context(), tx, c, c); err != nil {
				t.Fatal(err)
			}
			if !commit {
				err = tx.Rollback()
			} else {
				err = tx.Commit()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		r.audit(t, c) // no gap where the others were rolled back
		r.audit(t)
		all := r.entries(t, registry.AuditFilter{})
		if len(all) != 3 {
			t.Fatalf("%+v", all)
		}
		for i, e := range all {
			if e.Sequence != int64(i+1) || e.Actor != c.Actor || string(e.Before) != `{"blocked":false}` || string(e.After) != `["Xəzər \u003cb\u003e"]` {
				t.Errorf("%+v", e)
			}
			if age := time.Since(e.At); age < 0 || age > time.Minute || e.At.Nanosecond()%1e6 != 0 || e.At.Location() != time.UTC {
				t.Errorf("at %s", e.At)
			}
		}
		r.whole(t, 3)
	})
}

// What cannot be written down is not done.
func TestChangeThatCannotBeLoggedIsAnError(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		tx, err := r.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		for name, c := range map[string]registry.Change{
			"a function":             {After: func() {}},
			"what is no JSON":        {Before: json.RawMessage(`{`)},
			"more than four million": {Subject: strings.Repeat("ə", 1<<21), After: 1},
		} {
			if err := r.Audit(t.Context(), tx, change(1), c); err == nil {
				t.Errorf("%s in the log", name)
			}
		}
		if err := tx.Commit(); err != nil { // refused before anything was written
			t.Error(err)
		}
		r.whole(t, 0)
	})
}

// A block must be possible although somebody removed the head; and it is told.
func TestHeadThatWasRemovedIsPutBackUnsealed(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.audit(t, change(1), change(2))
		r.exec(t, `DELETE FROM audit_head`)
		r.audit(t, change(3))
		report, err := r.VerifyAudit(t.Context())
		if err != nil || report.Entries != 3 || len(report.Faults) != 1 || report.Faults[0].Sequence != 0 {
			t.Errorf("%+v %v", report, err)
		}
	})
}

// A field that Change has and the log has not would be lost without a word.
func TestEveryFieldOfAChangeIsLogged(t *testing.T) {
	r := fresh(t)
	of := reflect.TypeFor[registry.Change]()
	for i := range of.NumField() {
		c := change(1)
		field := reflect.ValueOf(&c).Elem().Field(i)
		if field.Kind() == reflect.String {
			field.SetString("another")
		} else {
			field.Set(reflect.ValueOf("another"))
		}
		r.audit(t, change(1), c)
		all := r.entries(t, registry.AuditFilter{After: int64(2 * i)})
		name := of.Field(i).Name
		one, two := reflect.ValueOf(all[0]).FieldByName(name), reflect.ValueOf(all[1]).FieldByName(name)
		if !one.IsValid() || fmt.Sprint(one) == fmt.Sprint(two) || !strings.Contains(fmt.Sprintf("%s", two), "another") {
			t.Errorf("%s: %v and %v", name, one, two)
		}
	}
}

// Whatever is in a field comes back as it was, but for what no database or no
// JSON can hold, and its hash fits.
func TestAuditOfAnyContent(t *testing.T) {
	texts := map[string]string{"bad \xff\xfe octets": "bad \ufffd octets", "nul \x00 here": "nul \ufffd here"}
	for _, same := range []string{"", "Əliağa Şıxəli", "Достоевский", "佐藤", "أحمد", "👩‍👩‍👧 🇦🇿", `<b> & </b>`, "\u2028\u2029", `"'\`, "%_", "'); DROP TABLE audit; --", "$1 ? :name @x", "a\nb\tc\r\x01\x7f\u0085", "\u202eabc", `\u0000`} {
		texts[same] = same
	}
	values := []any{nil, true, 0, math.Copysign(0, -1), 1e21, 1e-7, 1.5, 1 << 62, json.Number("1234567890123456789012345678901234567890.10"), json.RawMessage(` { "b" : 1.0 , "a" : [ ] } `),
		json.RawMessage("\"a\xffb\u2028<\""), json.RawMessage(`"\ud800"`), json.RawMessage(`{"a":1,"a":2}`), []byte{0, 255}, now}
	each(t, func(t *testing.T, r *record) {
		n := int64(0)
		for text, want := range texts {
			r.audit(t, registry.Change{Actor: text, Role: text, Source: text, Action: text, Subject: text, VOEN: policy.VOEN(text), FIN: policy.FIN(text), Provider: policy.Provider(text),
				Before: text, After: map[string]any{text: []string{text}}})
			e := r.entries(t, registry.AuditFilter{After: n})[0]
			n++
			if e.Actor != want || e.Role != want || e.Source != want || e.Action != want || e.Subject != want || string(e.VOEN) != want || string(e.FIN) != want || string(e.Provider) != want {
				t.Errorf("%q: %+v", text, e)
			}
			if stored, err := json.Marshal(text); err != nil || string(stored) != string(e.Before) {
				t.Errorf("%q is stored as %s", text, e.Before)
			}
			if f := (registry.AuditFilter{VOENs: []policy.VOEN{policy.VOEN(text)}, FIN: policy.FIN(text), Provider: policy.Provider(text), Actor: text, Action: text}); len(r.entries(t, f)) != 1 && text != "" {
				t.Errorf("%q finds %d", text, len(r.entries(t, f)))
			}
		}
		for _, value := range values {
			r.audit(t, registry.Change{Before: value})
			n++
		}
		for _, e := range r.entries(t, registry.AuditFilter{}) {
			for _, stored := range []json.RawMessage{e.Before, e.After} {
				if again, err := json.Marshal(stored); err != nil || string(again) != string(stored) {
					t.Errorf("%q becomes %q, %v", stored, again, err)
				}
			}
		}
		r.whole(t, n)
		if report, err := registry.VerifyExport(strings.NewReader(r.export(t))); err != nil || len(report.Faults) > 0 || report.Entries != n {
			t.Errorf("%+v %v", report, err)
		}
	})
}

func TestAuditFilters(t *testing.T) {
	pick := func(of ...string) string { return of[rand.IntN(len(of))] }
	actor := func() string { return pick("a", "A", "a%", "%", "_", "a'", "ə", "") }
	voen := func() policy.VOEN { return policy.VOEN(pick("", string(xezer), string(nicat), "%")) }
	each(t, func(t *testing.T, r *record) {
		for range 20 {
			var some []registry.Change
			for range rand.IntN(40) {
				some = append(some, registry.Change{Actor: actor(), Action: actor(), VOEN: voen(), FIN: policy.FIN(actor()), Provider: policy.Provider(actor())})
			}
			r.audit(t, some...)
			time.Sleep(time.Millisecond)
		}
		all := r.entries(t, registry.AuditFilter{})
		some := func(value string) string {
			if rand.IntN(3) > 0 {
				return ""
			}
			return value
		}
		for range 300 {
			f := registry.AuditFilter{Actor: some(actor()), Action: some(actor()), FIN: policy.FIN(some(actor())), Provider: policy.Provider(some(actor()))}
			if rand.IntN(2) == 0 {
				f.VOENs = []policy.VOEN{}
				for range rand.IntN(3) {
					f.VOENs = append(f.VOENs, voen())
				}
			}
			around := func() time.Time {
				return all[rand.IntN(len(all))].At.Add(time.Duration(rand.IntN(3)-1) * time.Microsecond)
			}
			if rand.IntN(3) == 0 {
				f.From = around()
			}
			if rand.IntN(3) == 0 {
				f.Until = around()
			}
			f.After, f.Limit = rand.Int64N(100)*rand.Int64N(2), rand.IntN(300)*rand.IntN(2)
			var want []registry.AuditEntry
			for _, e := range all {
				if e.Sequence > f.After && (f.Actor == "" || e.Actor == f.Actor) && (f.Action == "" || e.Action == f.Action) && (f.FIN == "" || e.FIN == f.FIN) && (f.Provider == "" || e.Provider == f.Provider) &&
					(f.VOENs == nil || slices.Contains(f.VOENs, e.VOEN)) && (f.From.IsZero() || !e.At.Before(f.From)) && (f.Until.IsZero() || e.At.Before(f.Until)) && (f.Limit == 0 || len(want) < f.Limit) {
					want = append(want, e)
				}
			}
			if got := r.entries(t, f); !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v: %d entries, want %d", f, len(got), len(want))
			}
		}
		enough := errors.New("enough")
		seen := 0
		if err := r.AuditEntries(t.Context(), registry.AuditFilter{}, func(registry.AuditEntry) error { seen++; return enough }); !errors.Is(err, enough) || seen != 1 {
			t.Errorf("%d %v", seen, err)
		}
	})
}

// Several nodes append at once, over several connections, while others read and
// verify: there is one chain, and each sees a whole one.
func TestAuditAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		nodes := []*record{r, r.again(), r.again()}
		const writers, times, perTime = 5, 12, 3
		var all, readers sync.WaitGroup
		stop := make(chan struct{})
		for i := range 2 {
			readers.Go(func() {
				for last := int64(0); ; {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					report, err := nodes[1+i].VerifyAudit(t.Context())
					if err != nil || len(report.Faults) > 0 || report.Entries < last || report.Entries%perTime != 0 {
						t.Errorf("%+v %v after %d", report, err, last)
						return
					}
					last = report.Entries
				}
			})
		}
		for w := range writers {
			all.Go(func() {
				for i := range times {
					var some []registry.Change
					for j := range perTime {
						some = append(some, registry.Change{Actor: fmt.Sprint(w), Subject: fmt.Sprint(perTime*i + j)})
					}
					nodes[w%len(nodes)].audit(t, some...)
				}
			})
		}
		all.Wait()
		close(stop)
		readers.Wait()
		r.whole(t, writers*times*perTime)
		next := map[string]int{}
		for i, e := range r.entries(t, registry.AuditFilter{}) {
			if e.Sequence != int64(i+1) || e.Subject != fmt.Sprint(next[e.Actor]) {
				t.Errorf("%+v, want %d", e, next[e.Actor])
			}
			next[e.Actor]++
		}
	})
}

// However many there are: they go into the database some at a time.
func TestManyChangesInOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		sum := 0
		for _, n := range []int{0, 1, 31, 32, 33, 63, 64, 65, 500} {
			r.audit(t, changes(n)...)
			got := r.entries(t, registry.AuditFilter{After: int64(sum)})
			if sum += n; len(got) != n || n > 0 && got[n-1].Subject != change(n).Subject {
				t.Errorf("%d of %d", len(got), n)
			}
		}
		r.whole(t, int64(sum))
	})
}

// BenchmarkAudit appends as a large import does: ten thousand in one transaction.
func BenchmarkAudit(b *testing.B) {
	some := changes(10_000)
	for name, address := range map[string]string{"SQLite": sqltest.SQLite(b), "PostgreSQL": sqltest.Postgres(b)} {
		b.Run(name, func(b *testing.B) {
			r := open(b, address)
			for b.Loop() {
				r.audit(b, some...)
			}
		})
	}
}

// BenchmarkVerifyAudit tells how long an entry takes.
func BenchmarkVerifyAudit(b *testing.B) {
	for name, address := range map[string]string{"SQLite": sqltest.SQLite(b), "PostgreSQL": sqltest.Postgres(b)} {
		b.Run(name, func(b *testing.B) {
			r := open(b, address)
			const n = 20_000
			r.audit(b, changes(n)...)
			for b.Loop() {
				r.whole(b, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
		})
	}
}

func TestLogIsAppendOnly(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.audit(t, changes(3)...)
		r.again() // has what is there stay
		const row = `3, 0, '', '', '', '', '', '', '', '', '', '', '', '', ''`
		statements := []string{
			`UPDATE audit SET actor = 'x'`, `UPDATE audit SET actor = actor WHERE sequence = 2`, `DELETE FROM audit`, `DELETE FROM audit WHERE sequence = 3`,
			`INSERT INTO audit VALUES (` + row + `)`, `INSERT INTO audit VALUES (` + row + `) ON CONFLICT (sequence) DO UPDATE SET actor = 'x'`,
		}
		if r.dialect == goose.DialectPostgres {
			statements = append(statements, `TRUNCATE audit`, `TRUNCATE audit CASCADE`)
		} else {
			statements = append(statements, `INSERT OR REPLACE INTO audit VALUES (`+row+`)`, `REPLACE INTO audit VALUES (`+row+`)`, `UPDATE OR REPLACE audit SET sequence = 1 WHERE sequence = 3`,
				`REPLACE INTO audit (rowid, sequence, at, actor, role, source, action, subject, voen, fin, provider, before, after, previous, hash, seal) VALUES (2, 4`+strings.TrimPrefix(row, "3")+`)`)
		}
		for _, statement := range statements {
			if _, err := r.db.ExecContext(t.Context(), statement); err == nil {
				t.Errorf("%s is done", statement)
			}
		}
		r.whole(t, 3)
	})
}

// A record of before the chain begins it with what it had, once.
func TestOldLogBeginsTheChain(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, handle func() (*sql.DB, goose.Dialect)) {
		db, dialect := handle()
		store, err := database.NewStore(dialect, "registry_migrations")
		if err != nil {
			t.Fatal(err)
		}
		files, err := fs.Sub(os.DirFS("."), "migrations")
		if err != nil {
			t.Fatal(err)
		}
		old, err := goose.NewProvider("", db, files, goose.WithStore(store))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := old.UpTo(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		for i, subject := range []string{"1400000011/7DEM001 demo", "1400000011/7DEM001", "somebody"} {
			if _, err := db.ExecContext(t.Context(), `INSERT INTO audit (sequence, at, actor, action, subject, detail) VALUES ($1, $2, 'operator', 'block', $3, $4)`,
				i+2, now.UnixMilli()+int64(i), subject, `{"after":["\u003c"],"before":{"version":1}}`); err != nil {
				t.Fatal(err)
			}
		}
		var wait sync.WaitGroup
		for range 3 { // nodes that start at once
			wait.Go(func() {
				db, _ := handle()
				if _, err := registry.Open(t.Context(), db, dialect, pepper); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		base, err := registry.Open(t.Context(), db, dialect, pepper)
		if err != nil {
			t.Fatal(err)
		}
		r := &record{Registry: base, db: db, dialect: dialect}
		all := r.entries(t, registry.AuditFilter{})
		if len(all) != 4 {
			t.Fatalf("%+v", all)
		}
		for i, want := range []registry.AuditEntry{{VOEN: xezer, FIN: "7DEM001", Provider: "demo"}, {VOEN: xezer, FIN: "7DEM001"}, {}} {
			if e := all[i]; e.VOEN != want.VOEN || e.FIN != want.FIN || e.Provider != want.Provider || !e.At.Equal(now.Add(time.Duration(i)*time.Millisecond)) || e.Actor != "operator" ||
				string(e.Before) != `{"version":1}` || string(e.After) != `["\u003c"]` {
				t.Errorf("%+v", e)
			}
		}
		if all[3].Action != "audit chain begun" || !strings.HasPrefix(all[3].Subject, "3 entries") {
			t.Errorf("%+v", all[3])
		}
		r.whole(t, 4)
		// What comes there later is not sealed.
		r.exec(t, `INSERT INTO audit_unchained (sequence, at, actor, action, subject, detail) VALUES (1, 1, 'mallory', 'block', 'x', '{}')`)
		if _, err := registry.Open(t.Context(), db, dialect, pepper); err != nil {
			t.Fatal(err)
		}
		r.whole(t, 4)
	})
}
