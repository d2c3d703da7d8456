package policy

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Record is the permission sets as they were saved, in SQL.
type Record struct{ db *sql.DB }

// OpenRecord brings the tables of the record up to date. The database may hold
// other tables; the record's migrations are counted apart from theirs.
func OpenRecord(ctx context.Context, db *sql.DB, dialect goose.Dialect) (*Record, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	store, err := database.NewStore(dialect, "policy_migrations")
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	provider, err := goose.NewProvider("", db, files, goose.WithStore(store))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return nil, fmt.Errorf("policy: migrations: %w", err)
	}
	return &Record{db}, nil
}

// Get reads the set of one employee; one never saved is the zero Set.
func (r *Record) Get(ctx context.Context, e Employee) (Set, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	return get(ctx, tx, e)
}

func get(ctx context.Context, tx *sql.Tx, e Employee) (s Set, err error) {
	err = tx.QueryRowContext(ctx, `SELECT version, block_all FROM permission_sets WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN).Scan(&s.Version, &s.BlockAll)
	if errors.Is(err, sql.ErrNoRows) {
		return Set{}, nil
	}
	if err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	rows, err := tx.QueryContext(ctx, `SELECT provider FROM permission_exceptions WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN)
	if err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Provider
		if err := rows.Scan(&p); err != nil {
			return Set{}, fmt.Errorf("policy: %w", err)
		}
		s.Exceptions = append(s.Exceptions, p)
	}
	slices.Sort(s.Exceptions) // the database's collation may differ
	return s, rows.Err()
}

// change applies a change to one set in one transaction and returns the set as
// it then is. also runs in the same transaction, if there was a change.
func (r *Record) change(ctx context.Context, e Employee, change func(Set) Set, also func(*sql.Tx, Set, Set) error) (Set, error) {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	// Writing first takes the row (and in SQLite the database) for this
	// transaction, so that two saves at once follow one another.
	if _, err := tx.ExecContext(ctx, `INSERT INTO permission_sets (voen, fin, version, block_all) VALUES ($1, $2, 1, FALSE)
		ON CONFLICT (voen, fin) DO UPDATE SET version = permission_sets.version + 1`, e.VOEN, e.FIN); err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	before, err := get(ctx, tx, e)
	if err != nil {
		return Set{}, err
	}
	after := change(before)
	before.Version-- // it was read after it was raised
	if after.BlockAll == before.BlockAll && slices.Equal(after.Exceptions, before.Exceptions) {
		return before, nil // rolled back: nothing changed
	}
	if err := replace(ctx, tx, e, after); err != nil {
		return Set{}, err
	}
	if err := also(tx, before, after); err != nil {
		return Set{}, err
	}
	if err := tx.Commit(); err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	return after, nil
}

func replace(ctx context.Context, tx *sql.Tx, e Employee, s Set) error {
	if _, err := tx.ExecContext(ctx, `UPDATE permission_sets SET block_all = $3 WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN, s.BlockAll); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM permission_exceptions WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for _, p := range s.Exceptions {
		if _, err := tx.ExecContext(ctx, `INSERT INTO permission_exceptions (voen, fin, provider) VALUES ($1, $2, $3)`, e.VOEN, e.FIN, p); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	return nil
}

// Saved is a set with whom it is about.
type Saved struct {
	Employee Employee
	Set      Set
}

// List reads all sets that say anything, of one organisation or, with an empty
// VOEN, of all.
func (r *Record) List(ctx context.Context, voen VOEN) ([]Saved, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, `SELECT voen, fin FROM permission_sets WHERE $1 = '' OR voen = $1 ORDER BY voen, fin`, voen)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer rows.Close()
	var employees []Employee
	for rows.Next() {
		var e Employee
		if err := rows.Scan(&e.VOEN, &e.FIN); err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		employees = append(employees, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var all []Saved
	for _, e := range employees {
		s, err := get(ctx, tx, e)
		if err != nil {
			return nil, err
		}
		if s.BlockAll || len(s.Exceptions) > 0 {
			all = append(all, Saved{e, s})
		}
	}
	return all, nil
}
