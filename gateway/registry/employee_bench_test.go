package registry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/sqltest"
)

const day = 24 * time.Hour

// populate makes people with a certificate each, spread over organisations. One
// in a thousand certificates is suspended, one in five thousand revoked, one in
// twenty expired; the others expire within the next 950 days.
func populate(t testing.TB, r *record, people, organisations int) {
	t.Helper()
	everybody := fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d),
		p AS (SELECT i, substr(CAST(10000000 + i AS TEXT), 2) AS fin, CAST(1400000000 + i %% %d AS TEXT) AS voen FROM n) `, people, organisations)
	octets := func(n int) string {
		digits := strings.Repeat("5a", n)
		if r.dialect == goose.DialectPostgres {
			return `'\x` + digits + `'::bytea`
		}
		return "x'" + digits + "'"
	}
	for _, statement := range []string{
		`INSERT INTO organisations (voen, name, search) ` + everybody + `SELECT DISTINCT voen, 'Nümunə ' || voen, voen FROM p`,
		`INSERT INTO subscribers (msisdn, iccid, fin, given_name, surname, user_id_hash) ` + everybody +
			`SELECT '+99450' || fin, '89994' || fin, fin, 'Aysel', 'Məmmədova', ` + octets(32) + ` FROM p`,
		`INSERT INTO certificates (serial, iccid, card_key, type, voen, fin, der, state, changed_at, not_before, not_after) ` + everybody + `
			SELECT 'c' || fin, '89994' || fin, 1, 'business', voen, fin, ` + octets(750) + `,
			CASE WHEN i % 5000 = 1 THEN 'revoked' WHEN i % 999 = 3 THEN 'suspended' ELSE 'active' END, 1, 1, ` +
			fmt.Sprint(time.Now().UnixMilli()) + ` + (CAST(i AS BIGINT) * 7919 % 1000 - 50) * ` + fmt.Sprint(day.Milliseconds()) + ` FROM p`,
		`INSERT INTO employees (voen, fin, given_name, surname, search) ` + everybody + `
			SELECT voen, fin, 'Aysel', 'Məmmədova ' || i, fin || ' +99450' || fin || '` + "\n" + `aysel məmmədova ' || i FROM p`,
	} {
		if _, err := r.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkEmployees reads pages of fifty. SQLite has no statistics to plan by,
// PostgreSQL has.
func BenchmarkEmployees(b *testing.B) {
	for _, size := range []struct{ people, organisations int }{{1_000, 1}, {1_000_000, 1}, {1_000_000, 10_000}} {
		if size.people > 1_000 && testing.Short() {
			continue
		}
		name := fmt.Sprintf("%d in %d", size.people, size.organisations)
		b.Run("SQLite/"+name, func(b *testing.B) {
			r := fresh(b)
			populate(b, r, size.people, size.organisations)
			benchmarkPages(b, r, size.people)
		})
		b.Run("PostgreSQL/"+name, func(b *testing.B) {
			r := open(b, sqltest.Postgres(b))
			populate(b, r, size.people, size.organisations)
			if _, err := r.db.ExecContext(b.Context(), `VACUUM ANALYZE`); err != nil {
				b.Fatal(err)
			}
			benchmarkPages(b, r, size.people)
		})
	}
}

func benchmarkPages(b *testing.B, r *record, people int) {
	const voen = policy.VOEN("1400000000")
	middle := policy.FIN(fmt.Sprintf("%07d", people/2))
	now := time.Now()
	for name, f := range map[string]registry.EmployeeFilter{
		"all":                    {},
		"all, middle":            {After: middle},
		"FIN":                    {FIN: "0000000"},
		"text":                   {Text: "MƏMMƏDOVA aysel 000"},
		"text, nobody":           {Text: "nobody"},
		"name":                   {Name: "0000"},
		"number":                 {Number: "+994500000000"},
		"number, part":           {Number: "500000"},
		"number, nobody's":       {Number: "7777777777"},
		"active":                 {State: registry.Active},
		"active, middle":         {State: registry.Active, After: middle},
		"suspended":              {State: registry.Suspended},
		"revoked":                {State: registry.Revoked},
		"revoked, last":          {State: registry.Revoked, After: "9999990"},
		"expired":                {State: registry.Expired},
		"expired, middle":        {State: registry.Expired, After: middle},
		"expires in a day":       {ExpiresAfter: now, ExpiresBefore: now.Add(day)},
		"expires in a month":     {ExpiresAfter: now, ExpiresBefore: now.Add(30 * day)},
		"expires in three years": {ExpiresAfter: now, ExpiresBefore: now.Add(1000 * day)},
		"expires never":          {ExpiresAfter: now.Add(2000 * day)},
		"suspended, in a month":  {State: registry.Suspended, ExpiresBefore: now.Add(30 * day)},
		"revoked and text":       {State: registry.Revoked, Text: "aysel"},
	} {
		f.VOEN, f.Limit = voen, 50
		b.Run(name, func(b *testing.B) {
			var n int
			for b.Loop() {
				page, err := r.Employees(b.Context(), f)
				if err != nil {
					b.Fatal(err)
				}
				n = len(page)
			}
			b.ReportMetric(float64(n), "employees")
		})
	}
	b.Run("Employee", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Employee(b.Context(), policy.Employee{VOEN: voen, FIN: "0000000"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("organisations", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Organisations(b.Context(), registry.OrganisationFilter{Limit: 50}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("no subscriber", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Subscriber(b.Context(), "+994500000007", "000000"); err != gateway.ErrNoSubscriber {
				b.Fatal(err)
			}
		}
	})
}
