package registry_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/policy/sqltest"
	"imza/simcard"
)

var (
	now    = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	pepper = []byte("0123456789abcdef0123456789abcdef")
)

const (
	xezer  = policy.VOEN("1400000011")
	nicat  = policy.VOEN("1400000022")
	aysel  = simcard.MSISDN("+994500000001")
	userID = "835197"
)

// authority is shared: the tests look at what is on record, not at chains.
var authority = sync.OnceValue(func() *pki.Authority {
	dir, err := os.MkdirTemp("", "registry-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	a, err := pki.OpenAuthority(dir, "http://127.0.0.1:8080", now)
	if err != nil {
		panic(err)
	}
	return a
})

// record is a registry, and the database it is in.
type record struct {
	*registry.Registry
	db      *sql.DB
	journal *sql.DB // where transactions are
	dialect goose.Dialect
	again   func() *record // opens the same database once more
}

// each runs a test on a fresh record in SQLite and on one in PostgreSQL.
func each(t *testing.T, test func(t *testing.T, r *record)) {
	t.Run("SQLite", func(t *testing.T) { test(t, fresh(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, open(t, sqltest.Postgres(t))) })
}

// open opens the record at an address.
func open(t testing.TB, address string) *record {
	t.Helper()
	db, dialect, err := registry.OpenDatabase(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r, err := registry.Open(t.Context(), db, dialect, pepper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	journal := db
	if dialect == goose.DialectSQLite3 {
		if journal, _, err = registry.OpenDatabase(registry.JournalPath(address)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { journal.Close() })
	}
	return &record{r, db, journal, dialect, func() *record { return open(t, address) }}
}

// fresh is a record in SQLite, for what is not of the database.
func fresh(t testing.TB) *record {
	t.Helper()
	return open(t, sqltest.SQLite(t))
}

// certificate issues one for a person on record.
func certificate(t testing.TB, p registry.Person, kind gateway.CertificateType, voen policy.VOEN, key byte) gateway.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	holder := pki.Holder{FIN: string(p.FIN), GivenName: "Aysel", Surname: "Məmmədova"}
	if voen != "" {
		holder.VOEN, holder.Organisation = string(voen), "Xəzər MMC"
	}
	cert, err := authority().Issue(holder, pki.Signing, private.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Certificate{Serial: registry.Serial(cert.SerialNumber), Type: kind, VOEN: voen, Key: key, X509: cert, Active: true}
}

func person(n int) registry.Person {
	iccid, err := simcard.NewICCID(fmt.Sprintf("899940100%09d", n))
	if err != nil {
		panic(err)
	}
	return registry.Person{MSISDN: simcard.MSISDN(fmt.Sprintf("+9945000%05d", n)), ICCID: iccid, FIN: policy.FIN(fmt.Sprintf("7DEM%03d", n)),
		GivenName: "Aysel", Surname: "Məmmədova", UserID: userID}
}

// enrol records a person with one business certificate.
func (r *record) enrol(t testing.TB, p registry.Person) gateway.Certificate {
	t.Helper()
	c := certificate(t, p, gateway.Business, xezer, 1)
	if err := r.Enrol(t.Context(), p, []gateway.Certificate{c}); err != nil {
		t.Fatal(err)
	}
	return c
}

// dump is all that is in all tables, one value after another.
func (r *record) dump(t testing.TB) string {
	t.Helper()
	list := `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`
	if r.dialect == goose.DialectPostgres {
		list = `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename`
	}
	rows, err := r.db.QueryContext(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := rows.Err(); err != nil || len(tables) < 7 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	var b strings.Builder
	for _, table := range tables {
		r.dumpTable(t, table, &b)
	}
	return b.String()
}

func (r *record) dumpTable(t testing.TB, table string, b *strings.Builder) {
	t.Helper()
	rows, err := r.db.QueryContext(t.Context(), `SELECT * FROM "`+table+`" ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			value := *v.(*any)
			if octets, ok := value.([]byte); ok {
				value = string(octets)
			}
			fmt.Fprintf(b, "%s.%s %v\n", table, columns[i], value)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// files are the octets of SQLite's database and all that it keeps beside it.
func (r *record) files(t testing.TB) string {
	t.Helper()
	var main string
	if err := r.db.QueryRowContext(t.Context(), `SELECT file FROM pragma_database_list`).Scan(&main); err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(main + "*")
	if err != nil || len(all) == 0 {
		t.Fatalf("%v %v", all, err)
	}
	var b strings.Builder
	for _, path := range all {
		octets, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(octets)
	}
	return b.String()
}

func TestOpeningAgainKeepsEverything(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		c := r.enrol(t, person(1))
		key := registry.NewProviderKey()
		for _, err := range []error{
			r.AddOrganisation(t.Context(), xezer, "Xəzər MMC"),
			r.SetProvider(t.Context(), "demo", "Demo xidmət", key),
			r.SetAdministrator(t.Context(), registry.Administrator{ID: "operator", Role: registry.Operator}, registry.NewAdminKey()),
			r.Record(t.Context(), []gateway.Entry{entry("a", gateway.Pending)}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		before := r.dump(t)
		for range 3 {
			if err := r.db.Close(); err != nil {
				t.Fatal(err)
			}
			r = r.again()
			if after := r.dump(t); after != before {
				t.Fatalf("before\n%s\nafter\n%s", before, after)
			}
		}
		if s, err := r.Subscriber(t.Context(), aysel, userID); err != nil || len(s.Certificates) != 1 || s.Certificates[0].Serial != c.Serial {
			t.Errorf("%+v %v", s, err)
		}
		if p, _, ok, err := r.ProviderByKey(t.Context(), key); p != "demo" || !ok || err != nil {
			t.Errorf("%s %t %v", p, ok, err)
		}
	})
}

// Several nodes that start at once make the tables once, and agree whose they
// are.
func TestOpeningAtOnce(t *testing.T) {
	for name, address := range map[string]func(testing.TB) string{"SQLite": sqltest.SQLite, "PostgreSQL": sqltest.Postgres} {
		t.Run(name, func(t *testing.T) {
			address := address(t)
			open := func(pepper []byte) error {
				db, dialect, err := registry.OpenDatabase(address)
				if err != nil {
					return err
				}
				defer db.Close()
				if _, err = registry.Open(t.Context(), db, dialect, pepper); err == nil {
					_, err = policy.OpenRecord(t.Context(), db, dialect)
				}
				return err
			}
			for range 2 { // first an empty database, then one with tables
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						if err := open(pepper); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
			}
			if err := open([]byte("another")); !errors.Is(err, registry.ErrForeign) {
				t.Errorf("opened under another pepper: %v", err)
			}
		})
	}
}

func TestDatabaseThatCannotBeOpenedIsAnError(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"a folder": dir, "below nothing": filepath.Join(dir, "a", "b.db"), "another kind of file": filepath.Join(dir, "text")} {
		if err := os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		db, dialect, err := registry.OpenDatabase(path)
		if err != nil {
			continue
		}
		if _, err := registry.Open(t.Context(), db, dialect, pepper); err == nil {
			t.Errorf("%s was opened as a record", name)
		}
		db.Close()
	}
}

// A data folder may have any name.
func TestPathsInAnyScript(t *testing.T) {
	for _, name := range []string{"plain", "with blank", "məlumat", "50% done", "a%20b", "what?", "c#d", "a&b=c", "a;b", "üçün 'x'"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		r := open(t, filepath.Join(dir, "record.db"))
		r.enrol(t, person(1))
		if _, err := os.Stat(filepath.Join(dir, "record.db")); err != nil {
			t.Errorf("%s: the record is somewhere else: %v", name, err)
		}
		var mode string
		if err := r.db.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("%s: journal mode %s, %v", name, mode, err)
		}
	}
}

// A commit is on disk when it returns, and references are held to; both are
// said for each connection anew.
func TestEveryConnectionIsSetUp(t *testing.T) {
	r := fresh(t)
	for range 5 {
		conn, err := r.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() // all at once
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "5000"} {
			var got string
			if err := conn.QueryRowContext(t.Context(), `PRAGMA `+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %s, want %s (%v)", pragma, got, want, err)
			}
		}
	}
}

// S6: User IDs and keys are on record as hashes only, and in no error.
func TestSecretsAreInNoTableAndNoFile(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		providerKey, adminKey := registry.NewProviderKey(), registry.NewAdminKey()
		r.enrol(t, person(1))
		r.enrol(t, person(2))
		if err := r.SetProvider(t.Context(), "demo", "Demo", providerKey); err != nil {
			t.Fatal(err)
		}
		if err := r.SetAdministrator(t.Context(), registry.Administrator{ID: "operator", Role: registry.Operator}, adminKey); err != nil {
			t.Fatal(err)
		}
		var errs []error
		errs = append(errs, r.Enrol(t.Context(), person(1), nil))
		errs = append(errs, r.SetProvider(t.Context(), "other", "Other", providerKey))
		errs = append(errs, r.SetAdministrator(t.Context(), registry.Administrator{ID: "other", Role: registry.Operator}, adminKey))
		_, err := r.Subscriber(t.Context(), aysel, "000000")
		errs = append(errs, err)
		dump := r.dump(t)
		files := dump
		if r.dialect == goose.DialectSQLite3 {
			files = r.files(t)
		}
		for _, known := range []string{string(aysel), "Məmmədova", "demo", "operator"} { // the search finds what is there
			if !strings.Contains(dump, known) || !strings.Contains(files, known) {
				t.Fatalf("%q is not found", known)
			}
		}
		for name, secret := range map[string]string{"the User ID": userID, "the pepper": string(pepper),
			"the provider's key": strings.TrimPrefix(providerKey, "imza-p-"), "the administrator's key": strings.TrimPrefix(adminKey, "imza-a-")} {
			if strings.Contains(dump, secret) {
				t.Errorf("%s is in a table", name)
			}
			if strings.Contains(files, secret) {
				t.Errorf("%s is in a file", name)
			}
			for _, err := range errs {
				if err == nil {
					t.Error("what should fail does not")
				} else if strings.Contains(err.Error(), secret) {
					t.Errorf("%s is in an error: %v", name, err)
				}
			}
		}
	})
}
