package policy

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Record is the permission sets as they were saved, in SQL.
type Record struct {
	db      *sql.DB
	dialect goose.Dialect
	get     *sql.Stmt
	saves   chan struct{} // a place for each save under way
	tries   chan struct{}
}

// savesAtOnce is how many saves of one node are under way. They follow one
// another in SQL anyway, and those that wait there would hold the connections
// that admissions need.
const savesAtOnce = 4

// turn waits for a place, as long as a save may take.
func turn(ctx context.Context, places chan struct{}) (done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, unavailable(errors.New("too many saves at once"))
	}
}

// OpenRecord brings the tables of the record up to date, which several nodes may
// do at once on PostgreSQL, and one process on SQLite. The database may hold
// other tables; the record's migrations are counted apart from theirs.
func OpenRecord(ctx context.Context, db *sql.DB, dialect goose.Dialect) (*Record, error) {
	if err := Migrate(ctx, db, dialect, migrations, "policy_migrations"); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	// No save is under way for a day.
	if _, err := db.ExecContext(ctx, `DELETE FROM permission_saves WHERE at < $1`, time.Now().AddDate(0, 0, -1).UnixMilli()); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	get, err := db.PrepareContext(ctx, `SELECT s.version, s.block_all, x.provider FROM permission_sets s
		LEFT JOIN permission_exceptions x ON x.voen = s.voen AND x.fin = s.fin WHERE s.voen = $1 AND s.fin = $2`)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return &Record{db, dialect, get, make(chan struct{}, savesAtOnce), make(chan struct{}, 1)}, nil
}

// Get reads the set of one employee; one never saved is the zero Set.
func (r *Record) Get(ctx context.Context, e Employee) (s Set, err error) {
	// One statement, so that what it reads is of one moment.
	rows, err := r.get.QueryContext(ctx, e.VOEN, e.FIN)
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
//
// That is looked at last, and keeps another epoch from beginning until the
// transaction ends, but no longer than it must. In SQLite that nobody else writes
// does it.
func (r *Record) commit(ctx context.Context, epoch int64, token string, save Save) ([]Set, error) {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
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
	same := `SELECT 1 FROM permission_epoch WHERE number = $1 AND begun`
	if r.dialect == goose.DialectPostgres {
		same += ` FOR SHARE`
	}
	if err := tx.QueryRowContext(ctx, same, epoch).Scan(new(int)); errors.Is(err, sql.ErrNoRows) {
		return nil, errTooLate
	} else if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return sets, fmt.Errorf("%w: %w", errUncertain, err)
	}
	return sets, nil
}

// Try makes a save and takes it back: it returns what Save would, and nothing
// changes. Nobody is kept from being admitted meanwhile.
func (r *Record) Try(ctx context.Context, save Save) ([]Set, error) {
	done, err := turn(ctx, r.tries)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, save.time())
	defer cancel()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer tx.Rollback()
	sets, _, err := apply(ctx, tx, save)
	return sets, err
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
