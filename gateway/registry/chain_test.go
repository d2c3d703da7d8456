package registry_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imza/gateway/registry"
)

// hashOf is the hash of an entry by docs/audit.md, made without the code under test.
func hashOf(e registry.AuditEntry) []byte {
	var b []byte
	text := func(s string) { b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...) }
	previous, err := hex.DecodeString(e.Previous)
	if err != nil {
		panic(err)
	}
	text("imza audit entry 1")
	text(string(previous))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Sequence))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixMilli()))
	for _, s := range []string{e.Actor, e.Role, e.Source, e.Action, e.Subject, string(e.VOEN), string(e.FIN), string(e.Provider), string(e.Before), string(e.After)} {
		text(s)
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

// vandal has the database without what it refuses, and puts it back as it was.
type vandal struct {
	*record
	n int64 // entries
}

func newVandal(t testing.TB, r *record, n int) *vandal {
	t.Helper()
	for i := range n {
		r.audit(t, change(i+1))
	}
	r.whole(t, int64(n))
	for _, statement := range []string{
		`CREATE TABLE good AS SELECT * FROM audit`, `CREATE TABLE good_head AS SELECT * FROM audit_head`,
		`DROP TABLE audit`, `DROP TABLE audit_head`, `CREATE TABLE audit AS SELECT * FROM good`, `CREATE TABLE audit_head AS SELECT * FROM good_head`,
	} {
		r.exec(t, statement)
	}
	return &vandal{r, int64(n)}
}

func (v *vandal) restore(t testing.TB) {
	t.Helper()
	for _, statement := range []string{`DELETE FROM audit`, `DELETE FROM audit_head`, `INSERT INTO audit SELECT * FROM good`, `INSERT INTO audit_head SELECT * FROM good_head`} {
		v.exec(t, statement)
	}
}

func (v *vandal) columns(t testing.TB) []string {
	t.Helper()
	rows, err := v.db.QueryContext(t.Context(), `SELECT * FROM audit WHERE 1 = 0`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || len(columns) < 15 || rows.Err() != nil {
		t.Fatal(columns, err)
	}
	return columns
}

// alter changes a column of an entry a little.
func (v *vandal) alter(t testing.TB, column string, sequence int64) {
	t.Helper()
	switch column {
	case "sequence":
		v.exec(t, `UPDATE audit SET sequence = $2 WHERE sequence = $1`, sequence, sequence+1000)
	case "at":
		v.exec(t, `UPDATE audit SET at = at + 1 WHERE sequence = $1`, sequence)
	case "previous", "hash", "seal":
		octets := make([]byte, 32)
		for i := range octets {
			octets[i] = byte(rand.Int())
		}
		v.exec(t, `UPDATE audit SET `+column+` = $2 WHERE sequence = $1`, sequence, octets)
	default:
		v.exec(t, `UPDATE audit SET `+column+` = `+column+` || ' ' WHERE sequence = $1`, sequence)
	}
}

// rehash gives an entry another content and the hash that fits, as whoever knows
// all but the key can.
func (v *vandal) rehash(t testing.TB, sequence int64) {
	t.Helper()
	v.exec(t, `UPDATE audit SET actor = 'mallory' WHERE sequence = $1`, sequence)
	e := v.entries(t, registry.AuditFilter{After: sequence - 1, Limit: 1})[0]
	v.exec(t, `UPDATE audit SET hash = $2 WHERE sequence = $1`, sequence, hashOf(e))
}

// rewrite does so with all that follow, so that only the seals are wrong.
func (v *vandal) rewrite(t testing.TB, sequence int64) {
	t.Helper()
	v.rehash(t, sequence)
	for s := sequence + 1; s <= v.n; s++ {
		v.exec(t, `UPDATE audit SET previous = (SELECT hash FROM audit WHERE sequence = $1) WHERE sequence = $2`, s-1, s)
		v.rehash(t, s)
	}
}

const copied = `at, actor, role, source, action, subject, voen, fin, provider, before, after, previous, hash, seal FROM audit WHERE sequence = $1`

var upTo = regexp.MustCompile(`all up to entry (\d+)`)

// places are the sequences of which a report tells.
func places(report registry.AuditReport) []int64 {
	var all []int64
	for _, f := range report.Faults {
		last := f.Sequence
		if match := upTo.FindStringSubmatch(f.What); match != nil {
			last, _ = strconv.ParseInt(match[1], 10, 64)
		}
		for s := f.Sequence; s <= last; s++ {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return all
}

// tells wants exactly these faults, each as "sequence what", of which what may
// be the beginning.
func (v *vandal) tells(t testing.TB, name string, want ...string) {
	t.Helper()
	report, err := v.VerifyAudit(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ok := len(report.Faults) == len(want)
	for i, f := range report.Faults {
		ok = ok && strings.HasPrefix(fmt.Sprint(f.Sequence, " ", f.What), want[i])
	}
	if !ok {
		t.Errorf("%s: %+v, want %q", name, report.Faults, want)
	}
}

// Whatever is done to one entry is told, where it was done, and nowhere else.
func TestTamperingWithAnEntry(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const n = 9
		v := newVandal(t, r, n)
		columns := v.columns(t)
		for _, s := range []int64{1, 2, n / 2, n - 1, n} {
			at := func(sequence int64, what string) string { return fmt.Sprint(sequence, " ", what) }
			for _, column := range columns {
				v.alter(t, column, s)
				name := fmt.Sprint(column, " of ", s)
				switch column {
				case "sequence": // one is missing, and one is where none was
					v.tells(t, name, sorted(s == n, at(s+1000, "was changed"), at(s, "is missing"))...)
				case "seal":
					v.tells(t, name, at(s, "was not written by the gateway"))
				default:
					v.tells(t, name, at(s, "was changed"))
				}
				v.restore(t)
			}
			for name, c := range map[string]struct {
				do   func()
				want []string
			}{
				"removed":           {func() { v.exec(t, `DELETE FROM audit WHERE sequence = $1`, s) }, []string{at(s, "is missing")}},
				"with another hash": {func() { v.rehash(t, s) }, []string{at(s, "was not written by the gateway")}},
				"there twice": {func() { v.exec(t, `INSERT INTO audit SELECT * FROM audit WHERE sequence = $1`, s) },
					[]string{at(s, "is there twice")}},
				"copied to the end":   {func() { v.exec(t, `INSERT INTO audit SELECT 10, `+copied, s) }, []string{at(n+1, "was changed")}},
				"copied to the front": {func() { v.exec(t, `INSERT INTO audit SELECT 0, `+copied, s) }, []string{at(0, "was changed")}},
				"replaced by another's content": {func() {
					v.exec(t, `DELETE FROM audit WHERE sequence = $1`, s)
					v.exec(t, fmt.Sprintf(`INSERT INTO audit SELECT %d, `+copied, s), s%n+1)
				}, []string{at(s, "was changed")}},
				"without a time": {func() { v.exec(t, `UPDATE audit SET at = NULL WHERE sequence = $1`, s) }, []string{at(s, "has the time")}},
				"without an actor and a seal": {func() { v.exec(t, `UPDATE audit SET actor = NULL, seal = NULL WHERE sequence = $1`, s) },
					[]string{at(s, "was changed")}},
				"with all cut off after it, and a head of it": {func() {
					v.exec(t, `DELETE FROM audit WHERE sequence > $1`, s)
					v.exec(t, `UPDATE audit_head SET sequence = $1, hash = (SELECT hash FROM audit WHERE sequence = $1)`, s)
				}, map[bool][]string{false: {at(0, "the head, which says that entry "+fmt.Sprint(s)+" is the last, was not written by the gateway")}}[s == n]},
				"with all cut off from it on": {func() { v.exec(t, `DELETE FROM audit WHERE sequence >= $1`, s) }, []string{at(s, "is missing")}},
				"with all removed up to it":   {func() { v.exec(t, `DELETE FROM audit WHERE sequence <= $1`, s) }, []string{at(1, "is missing")}},
			} {
				c.do()
				v.tells(t, fmt.Sprint(s, " ", name), c.want...)
				v.restore(t)
			}
			v.rewrite(t, s)
			var want []string
			for i := s; i <= n; i++ {
				want = append(want, at(i, "was not written by the gateway"))
			}
			v.tells(t, fmt.Sprint("rewritten from ", s), want...)
			v.restore(t)
			if s < n { // swapped with the next
				v.exec(t, `UPDATE audit SET sequence = 2 * CAST($1 AS BIGINT) + 1 - sequence WHERE sequence IN ($1, CAST($1 AS BIGINT) + 1)`, s)
				v.tells(t, fmt.Sprint(s, " swapped"), at(s, "was changed"), at(s+1, "was changed"))
				v.restore(t)
			}
		}
		v.tells(t, "restored")
	})
}

// sorted is two faults in the order in which they are found.
func sorted(swap bool, a, b string) []string {
	if swap {
		return []string{a, b}
	}
	return []string{b, a}
}

func TestTamperingWithTheHead(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const n = 5
		v := newVandal(t, r, n)
		v.exec(t, `CREATE TABLE older AS SELECT * FROM audit_head`)
		v.audit(t, change(n+1))
		v.audit(t, change(n+2))
		notWritten := "0 the head, which says that entry %d is the last, was not written by the gateway"
		oldHead := func() {
			v.exec(t, `DELETE FROM audit_head`)
			v.exec(t, `INSERT INTO audit_head SELECT * FROM older`)
		}
		cut := func() { v.exec(t, `DELETE FROM audit WHERE sequence > $1`, n) }
		for _, c := range []struct {
			name string
			do   func()
			want []string
		}{
			{"nothing", func() {}, nil},
			{"set forward", func() { v.exec(t, `UPDATE audit_head SET sequence = 8`) }, []string{fmt.Sprintf(notWritten, 8)}},
			{"set back", func() { v.exec(t, `UPDATE audit_head SET sequence = 6`) }, []string{fmt.Sprintf(notWritten, 6)}},
			{"another hash", func() { v.exec(t, `UPDATE audit_head SET hash = seal`) }, []string{fmt.Sprintf(notWritten, 7)}},
			{"another seal", func() { v.exec(t, `UPDATE audit_head SET seal = hash`) }, []string{fmt.Sprintf(notWritten, 7)}},
			{"an entry's seal", func() { v.exec(t, `UPDATE audit_head SET seal = (SELECT seal FROM audit WHERE sequence = 7)`) }, []string{fmt.Sprintf(notWritten, 7)}},
			{"removed", func() { v.exec(t, `DELETE FROM audit_head`) }, []string{"0 the head is missing"}},
			{"without a sequence", func() { v.exec(t, `UPDATE audit_head SET sequence = NULL`) }, []string{"0 the head has the sequence"}},
			{"an older one", oldHead, []string{"6 comes after the head, and all up to entry 7"}},
			{"as of an empty log", func() { v.exec(t, `UPDATE audit_head SET sequence = 0, hash = '', seal = ''`) }, []string{"1 comes after the head, and all up to entry 7"}},
			{"nothing but it", func() { v.exec(t, `DELETE FROM audit`) }, []string{"1 is missing, and all up to entry 7"}},
			{"all cut off that was not there then", cut, []string{"6 is missing, and all up to entry 7"}},
			// This is what it was then. Only a head that was kept elsewhere tells.
			{"so, with the head of then", func() { cut(); oldHead() }, nil},
			{"nothing at all", func() {
				v.exec(t, `DELETE FROM audit`)
				v.exec(t, `UPDATE audit_head SET sequence = 0, hash = '', seal = ''`)
			}, nil},
		} {
			v.exec(t, `CREATE TABLE audit_kept AS SELECT * FROM audit`)
			v.exec(t, `CREATE TABLE head_kept AS SELECT * FROM audit_head`)
			c.do()
			v.tells(t, c.name, c.want...)
			for _, statement := range []string{`DROP TABLE audit`, `DROP TABLE audit_head`, `ALTER TABLE audit_kept RENAME TO audit`, `ALTER TABLE head_kept RENAME TO audit_head`} {
				v.exec(t, statement)
			}
		}
	})
}

// That the log was cut off cannot be hidden by going on: what the gateway itself
// appends does not seal the head again.
func TestGoingOnHidesNothing(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		v := newVandal(t, r, 5)
		v.exec(t, `DELETE FROM audit WHERE sequence > 3`)
		v.exec(t, `UPDATE audit_head SET sequence = 3, hash = (SELECT hash FROM audit WHERE sequence = 3)`)
		for range 3 {
			v.audit(t, change(4))
		}
		v.tells(t, "cut and gone on", "0 the head, which says that entry 6 is the last, was not written by the gateway")
	})
}

// Heads that were kept elsewhere tell what the database alone cannot.
func TestHeadsKeptElsewhere(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		v := newVandal(t, r, 4)
		kept := []registry.AuditHead{}
		for _, e := range v.entries(t, registry.AuditFilter{}) {
			kept = append(kept, registry.AuditHead{Sequence: e.Sequence, Hash: strings.ToUpper(e.Hash)})
		}
		find := func(name string, want []int64, heads ...registry.AuditHead) {
			t.Helper()
			report, err := v.VerifyAudit(t.Context(), heads...)
			if err != nil || !slices.Equal(places(report), want) {
				t.Errorf("%s: %+v %v, want %d", name, report, err, want)
			}
			exported, err := registry.VerifyExport(strings.NewReader(v.export(t)), heads...)
			if err != nil || !slices.Equal(places(exported), want) || exported.Head != report.Head || exported.Entries != report.Entries {
				t.Errorf("%s: %+v %v, want %d and %+v", name, exported, err, want, report)
			}
		}
		find("none", nil)
		find("all", nil, kept...)
		find("another", []int64{2}, registry.AuditHead{Sequence: 2, Hash: kept[2].Hash}, kept[3])
		find("two of one", []int64{2}, kept[1], registry.AuditHead{Sequence: 2, Hash: kept[2].Hash})
		find("a later one", []int64{7}, registry.AuditHead{Sequence: 7, Hash: kept[0].Hash})
		v.exec(t, `DELETE FROM audit`)
		v.exec(t, `UPDATE audit_head SET sequence = 0, hash = '', seal = ''`)
		find("emptied", []int64{1, 4}, kept[0], kept[3])
	})
}

// Random tampering with random entries is found, and all of it, and nothing else.
func TestRandomTampering(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const n = 25
		v := newVandal(t, r, n)
		columns := v.columns(t)
		for round := range 80 {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			want := map[int64]bool{}
			for range 1 + random.IntN(8) {
				s := 1 + random.Int64N(n)
				if want[s] {
					continue
				}
				want[s] = true
				switch random.IntN(4) {
				case 0:
					v.exec(t, `DELETE FROM audit WHERE sequence = $1`, s)
				case 1:
					v.rehash(t, s)
				case 2:
					v.exec(t, `INSERT INTO audit SELECT * FROM audit WHERE sequence = $1`, s)
				default:
					column := columns[random.IntN(len(columns))]
					if column == "sequence" {
						want[s+1000] = true
					}
					v.alter(t, column, s)
				}
			}
			report, err := v.VerifyAudit(t.Context())
			if got := places(report); err != nil || !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("round %d, seed %d: %+v %v, want %v", round, seed, report.Faults, err, slices.Sorted(maps.Keys(want)))
			}
			v.restore(t)
		}
		v.tells(t, "restored")
	})
}

// What SQLite lets into a column of another type does not end the verification.
func TestValuesOfAnotherType(t *testing.T) {
	v := newVandal(t, fresh(t), 4)
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{`UPDATE audit SET sequence = 'two' WHERE sequence = 2`, []string{"2 is missing", `0 an entry has the sequence "two"`}},
		{`UPDATE audit SET sequence = NULL WHERE sequence = 2`, []string{`0 an entry has the sequence ""`, "2 is missing"}},
		{`UPDATE audit SET sequence = 1.5 WHERE sequence = 2`, []string{`0 an entry has the sequence "1.5"`}},
		{`UPDATE audit SET at = 'now' WHERE sequence = 2`, []string{`2 has the time "now"`}},
		{`UPDATE audit SET hash = 7, seal = 'x' WHERE sequence = 4`, []string{"4 was changed"}},
		{`UPDATE audit SET before = x'ff' WHERE sequence = 1`, []string{"1 was changed"}},
		{`UPDATE audit_head SET sequence = 'last'`, []string{`0 the head has the sequence "last"`}},
	} {
		v.exec(t, c.statement)
		v.tells(t, c.statement, c.want...)
		v.restore(t)
	}
}

// A hundred faults are told; the rest is read all the same.
func TestManyFaults(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		v := newVandal(t, r, 300)
		v.exec(t, `UPDATE audit SET actor = 'mallory'`)
		report, err := v.VerifyAudit(t.Context())
		if err != nil || report.Entries != 300 || len(report.Faults) != 100 || report.Faults[99].Sequence != 100 {
			t.Errorf("%d %d %v", report.Entries, len(report.Faults), err)
		}
	})
}
