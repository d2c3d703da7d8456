// Package sqltest gives tests the databases they run on: SQLite in a file, and a
// real PostgreSQL.
//
//	sqltest.go   fresh databases
//	server.go    a PostgreSQL server, which never outlives its test
package sqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Each runs a test on SQLite and on PostgreSQL, each time on a fresh, empty
// database. Each call of open is another handle to it, closed when the test
// ends.
func Each(t *testing.T, test func(t *testing.T, open func() (*sql.DB, goose.Dialect))) {
	t.Run("SQLite", func(t *testing.T) {
		path := SQLite(t)
		test(t, func() (*sql.DB, goose.Dialect) { return OpenSQLite(t, path) })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		url := Postgres(t)
		test(t, func() (*sql.DB, goose.Dialect) { return handle(t, "pgx", url), goose.DialectPostgres })
	})
}

func handle(t testing.TB, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(16)
	t.Cleanup(func() { db.Close() })
	return db
}

// OpenSQLite opens the database at a path, as registry.OpenDatabase does.
func OpenSQLite(t testing.TB, path string) (*sql.DB, goose.Dialect) {
	t.Helper()
	const pragmas = "?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"
	file := url.URL{Path: path} // the second test of a name has a number sign in it
	return handle(t, "sqlite", "file:"+file.EscapedPath()+pragmas), goose.DialectSQLite3
}

// SQLite is the path of a database that is not there yet.
func SQLite(t testing.TB) (path string) {
	t.Helper()
	return filepath.Join(t.TempDir(), "record.db")
}

// shared is the server of all tests of one process, which lives as long as it.
var shared = sync.OnceValues(newServer)

// Postgres is the URL, with a password, of a fresh and empty database on a
// PostgreSQL that all tests of the process share. It is dropped when the test
// ends. That PostgreSQL is missing is a failure: "make deps" installs it.
func Postgres(t testing.TB) (url string) {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := s.administer(`CREATE DATABASE ` + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.administer(`DROP DATABASE ` + name + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return s.url(name)
}

// administer runs a statement on the server, outside any test's database.
func (s *Server) administer(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
