package policy

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	gooselock "github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Record is the permission sets as they were saved, in SQL.
type Record struct {
	db    *sql.DB
	saves chan struct{} // a place for each save under way
}

// savesAtOnce is how many saves of one node are under way. They follow one
// another in SQL anyway, and those that wait there would hold the connections
// that admissions need.
const savesAtOnce = 4

// turn waits for a place.
func (r *Record) turn(ctx context.Context) (done func(), err error) {
	select {
	case r.saves <- struct{}{}:
		return func() { <-r.saves }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("policy: %w", ctx.Err())
	}
}

// migrating is held while SQLite's tables are brought up to date: it has no lock
// for that as PostgreSQL has.
var migrating sync.Mutex

// OpenRecord brings the tables of the record up to date, which several nodes may
// do at once on PostgreSQL, and one process on SQLite. The database may hold
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
	options := []goose.ProviderOption{goose.WithStore(store)}
	if dialect == goose.DialectPostgres {
		locker, err := gooselock.NewPostgresSessionLocker(gooselock.WithLockTimeout(1, 300)) // seconds, tries
		if err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	} else {
		migrating.Lock()
		defer migrating.Unlock()
	}
	provider, err := goose.NewProvider("", db, files, options...)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return nil, fmt.Errorf("policy: migrations: %w", err)
	}
	// No save is under way for a day.
	if _, err := db.ExecContext(ctx, `DELETE FROM permission_saves WHERE at < $1`, time.Now().AddDate(0, 0, -1).UnixMilli()); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return &Record{db, make(chan struct{}, savesAtOnce)}, nil
}

// Get reads the set of one employee; one never saved is the zero Set.
func (r *Record) Get(ctx context.Context, e Employee) (s Set, err error) {
	// One statement, so that what it reads is of one moment.
	rows, err := r.db.QueryContext(ctx, `SELECT s.version, s.block_all, x.provider FROM permission_sets s
		LEFT JOIN permission_exceptions x ON x.voen = s.voen AND x.fin = s.fin WHERE s.voen = $1 AND s.fin = $2`, e.VOEN, e.FIN)
	if err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p sql.NullString
		if err := rows.Scan(&s.Version, &s.BlockAll, &p); err != nil {
			return Set{}, fmt.Errorf("policy: %w", err)
		}
		if p.Valid {
			s.Exceptions = append(s.Exceptions, Provider(p.String))
		}
	}
	if err := rows.Err(); err != nil {
		return Set{}, fmt.Errorf("policy: %w", err)
	}
	slices.Sort(s.Exceptions) // the database's collation may differ
	return s, nil
}

var (
	// errTooLate says that what a save or a renewal goes by has changed: its epoch
	// is over, or somebody gave it up.
	errTooLate = errors.New("policy: it came too late")
	// errUncertain says that a commit was not answered.
	errUncertain = errors.New("policy: the save may be on record")
)

// commit makes a save in one transaction, under its token, if its epoch still
// is the one that counts. It returns the sets as they are then.
func (r *Record) commit(ctx context.Context, epoch int64, token string, save Save) ([]Set, error) {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	// That the epoch is written, although it stays, keeps another from beginning
	// meanwhile. In SQLite it also takes the database for this transaction.
	if err := inTime(tx.ExecContext(ctx, `UPDATE permission_epoch SET number = number WHERE number = $1 AND begun`, epoch)); err != nil {
		return nil, err
	}
	if err := inTime(tx.ExecContext(ctx, `INSERT INTO permission_saves (token, on_record, at) VALUES ($1, TRUE, $2) ON CONFLICT (token) DO NOTHING`, token, time.Now().UnixMilli())); err != nil {
		return nil, err
	}
	sets, changed, err := apply(ctx, tx, save)
	if err != nil {
		return nil, err
	}
	if changed == 0 && save.Also == nil {
		return sets, nil // rolled back: there is nothing to save
	}
	if err := tx.Commit(); err != nil {
		return sets, fmt.Errorf("%w: %w", errUncertain, err)
	}
	return sets, nil
}

// Try makes a save and takes it back: it returns what Save would, and nothing
// changes. Nobody is kept from being admitted meanwhile.
func (r *Record) Try(ctx context.Context, save Save) ([]Set, error) {
	done, err := r.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	sets, _, err := apply(ctx, tx, save)
	return sets, err
}

// apply makes a save in a transaction.
func apply(ctx context.Context, tx *sql.Tx, save Save) (sets []Set, n int, err error) {
	sets, changed, err := change(ctx, tx, save)
	if err != nil || save.Also == nil {
		return sets, len(changed), err
	}
	return sets, len(changed), save.Also(ctx, tx, changed)
}

// change applies a save to the sets, which it locks first: two saves of one set
// follow one another. All are locked in one order.
func change(ctx context.Context, tx *sql.Tx, save Save) (sets []Set, changed []Changed, err error) {
	before := make(map[Employee]Set, len(save.Employees))
	for _, e := range slices.SortedFunc(slices.Values(save.Employees), Employee.compare) {
		if before[e], err = lock(ctx, tx, e); err != nil {
			return nil, nil, err
		}
	}
	if save.Check != nil {
		if err := save.Check(ctx, tx); err != nil {
			return nil, nil, err
		}
	}
	views := make(map[view]bool)
	for _, e := range save.Employees {
		was := before[e]
		is, err := save.Change(e, was)
		if err != nil {
			return nil, nil, err
		}
		is.Exceptions = slices.Compact(slices.Sorted(slices.Values(is.Exceptions)))
		is.Version = was.Version
		if differ := was.differ(is); is.BlockAll != was.BlockAll || len(differ) > 0 {
			is.Version++
			if err := write(ctx, tx, e, was, is); err != nil {
				return nil, nil, err
			}
			changed = append(changed, Changed{e, was, is})
			if is.BlockAll != was.BlockAll {
				views[view{e.VOEN, ""}] = true
			}
			for _, p := range differ {
				views[view{e.VOEN, p}] = true
			}
		}
		sets = append(sets, is)
	}
	for _, v := range slices.SortedFunc(maps.Keys(views), view.compare) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO permission_views (voen, provider, version) VALUES ($1, $2, 1)
			ON CONFLICT (voen, provider) DO UPDATE SET version = permission_views.version + 1`, v.voen, v.provider); err != nil {
			return nil, nil, fmt.Errorf("policy: %w", err)
		}
	}
	return sets, changed, nil
}

// lock reads one set and keeps it from changing until the transaction ends.
func lock(ctx context.Context, tx *sql.Tx, e Employee) (s Set, err error) {
	if err := tx.QueryRowContext(ctx, `INSERT INTO permission_sets (voen, fin, version, block_all) VALUES ($1, $2, 0, FALSE)
		ON CONFLICT (voen, fin) DO UPDATE SET version = permission_sets.version RETURNING version, block_all`, e.VOEN, e.FIN).Scan(&s.Version, &s.BlockAll); err != nil {
		return s, fmt.Errorf("policy: %w", err)
	}
	if s.Version == 0 {
		return s, nil
	}
	rows, err := tx.QueryContext(ctx, `SELECT provider FROM permission_exceptions WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN)
	if err != nil {
		return s, fmt.Errorf("policy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p Provider
		if err := rows.Scan(&p); err != nil {
			return s, fmt.Errorf("policy: %w", err)
		}
		s.Exceptions = append(s.Exceptions, p)
	}
	slices.Sort(s.Exceptions)
	return s, rows.Err()
}

// write replaces one set by another.
func write(ctx context.Context, tx *sql.Tx, e Employee, was, is Set) error {
	if _, err := tx.ExecContext(ctx, `UPDATE permission_sets SET version = $3, block_all = $4 WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN, is.Version, is.BlockAll); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	for _, p := range was.differ(is) {
		statement := `INSERT INTO permission_exceptions (voen, fin, provider) VALUES ($1, $2, $3)`
		if _, there := slices.BinarySearch(was.Exceptions, p); there {
			statement = `DELETE FROM permission_exceptions WHERE voen = $1 AND fin = $2 AND provider = $3`
		}
		if _, err := tx.ExecContext(ctx, statement, e.VOEN, e.FIN, p); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
	}
	return nil
}

// giveUp ends a save that was found unfinished: it can no longer commit, if it
// has not. It waits for one that is just committing.
func (r *Record) giveUp(ctx context.Context, token string) (onRecord bool, err error) {
	if _, err := r.db.ExecContext(ctx, `INSERT INTO permission_saves (token, on_record, at) VALUES ($1, FALSE, $2) ON CONFLICT (token) DO NOTHING`, token, time.Now().UnixMilli()); err != nil {
		return false, fmt.Errorf("policy: %w", err)
	}
	if err := r.db.QueryRowContext(ctx, `SELECT on_record FROM permission_saves WHERE token = $1`, token).Scan(&onRecord); err != nil {
		return false, fmt.Errorf("policy: %w", err)
	}
	return onRecord, nil
}

// inTime is the error of a statement that must touch a row: errTooLate if it
// touched none.
func inTime(result sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return errTooLate
	}
	return err
}
