// Package registry is the record behind the gateway, in SQL: subscribers and
// their certificates, organisations, providers, how transactions ended, and
// who changed what.
//
//	subscriber.go   subscribers, SIMs, certificates (gateway.Directory)
//	keys.go         providers and administrators, known by their keys
//	journal.go      transactions (gateway.Journal)
//	audit.go        changes by administrators
package registry

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Registry is the record. Its methods are safe for concurrent use.
type Registry struct {
	db      *sql.DB
	dialect goose.Dialect
	pepper  []byte
}

// OpenDatabase opens what holds the record: a PostgreSQL database at a URL
// (postgres://…), else the SQLite file at a path. A commit is on disk when it
// returns. In SQLite readers do not wait for writers, and a transaction that
// writes must do so with its first statement.
func OpenDatabase(address string) (*sql.DB, goose.Dialect, error) {
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		db, err := sql.Open("pgx", address)
		if err != nil {
			return nil, "", fmt.Errorf("registry: %w", err)
		}
		return db, goose.DialectPostgres, nil
	}
	file := url.URL{Path: address} // SQLite reads a URI, in which a path may not have every sign
	db, err := sql.Open("sqlite", "file:"+file.EscapedPath()+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, "", fmt.Errorf("registry: %w", err)
	}
	return db, goose.DialectSQLite3, nil
}

// Open brings the tables up to date. The pepper keys the hashes of User IDs.
func Open(ctx context.Context, db *sql.DB, dialect goose.Dialect, pepper []byte) (*Registry, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(dialect, "registry_migrations")
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	provider, err := goose.NewProvider("", db, files, goose.WithStore(store))
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return nil, fmt.Errorf("registry: migrations: %w", err)
	}
	return &Registry{db: db, dialect: dialect, pepper: pepper}, nil
}

// ErrUnknown says that what was asked for is not on record.
var ErrUnknown = errors.New("registry: not on record")

// unknown turns "no rows" into ErrUnknown with its subject.
func unknown(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %s", ErrUnknown, what)
	}
	return fmt.Errorf("registry: %w", err)
}
