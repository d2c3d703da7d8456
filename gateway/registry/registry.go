// Package registry is the record behind the gateway, in SQL: subscribers and
// their certificates, organisations, providers, how transactions ended, and
// who changed what.
//
//	database.go     how SQLite or PostgreSQL is opened, and its tables made
//	subscriber.go   subscribers, SIMs, certificates; enrol_many.go many at once
//	lookup.go       what the gateway asks of them (gateway.Directory)
//	organisation.go organisations; employee.go their employees; fold.go how
//	                they are searched
//	provider.go     providers; administrator.go administrators; keys.go the keys
//	                that both are known by
//	state.go        who or what is suspended or revoked
//	insert.go       rows, many in one statement
//	fill.go         what earlier versions did not record
//	journal.go      transactions (gateway.Journal)
//	audit.go        changes by administrators
package registry

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"

	"imza/policy"
)

// Registry is the record. Its methods are safe for concurrent use.
type Registry struct {
	db      *sql.DB
	dialect goose.Dialect
	pepper  []byte
	readers *sql.DB // SQLite's, for lookups; nil: there are none of their own
	journal *sql.DB // where transactions are: in SQLite a file of its own, else db
	lookups lookups
	callers callers
}

// Open brings the tables up to date, which several nodes may do at once on
// PostgreSQL, and one process on SQLite. The pepper keys the hashes of User IDs;
// a record that was opened with another one is ErrForeign.
func Open(ctx context.Context, db *sql.DB, dialect goose.Dialect, pepper []byte) (*Registry, error) {
	if err := db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("registry: the database does not answer: %w", err)
	}
	if err := policy.Migrate(ctx, db, dialect, migrations, "registry_migrations"); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{db: db, journal: db, dialect: dialect, pepper: pepper}
	if err := r.checkOwner(ctx); err != nil {
		return nil, err
	}
	if err := r.openAudit(ctx); err != nil {
		return nil, err
	}
	if err := r.openDirectory(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Close closes what Open opened; the database is the caller's.
func (r *Registry) Close() error {
	if r.readers == nil {
		return nil
	}
	return errors.Join(r.readers.Close(), r.journal.Close())
}

// ErrForeign says that a record belongs to another master key: its User IDs are
// hashed under another pepper, and its certificates are of another authority.
var ErrForeign = errors.New("registry: the record belongs to another master key")

// checkOwner compares the pepper with the one of the first opening, of which the
// record has a key that was derived from it.
func (r *Registry) checkOwner(ctx context.Context) error {
	ours, err := hkdf.Key(sha256.New, r.pepper, nil, "imza owner of a record", sha256.Size)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if _, err := r.db.ExecContext(ctx, `INSERT INTO owner (id, fingerprint) VALUES (1, $1) ON CONFLICT (id) DO NOTHING`, ours); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	var theirs []byte
	if err := r.db.QueryRowContext(ctx, `SELECT fingerprint FROM owner`).Scan(&theirs); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if !hmac.Equal(ours, theirs) {
		return ErrForeign
	}
	return nil
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
