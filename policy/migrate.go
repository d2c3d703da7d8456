package policy

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"sync"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	gooselock "github.com/pressly/goose/v3/lock"
)

// migrating is held while SQLite's tables are brought up to date: it has no lock
// for that as PostgreSQL has.
var migrating sync.Mutex

// Migrate brings tables up to date by the files in the folder migrations, which
// several nodes may do at once on PostgreSQL, and one process on SQLite. How far
// they are is counted in a table of its own, because others, like those of the
// registry, are in the same database.
func Migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, migrations fs.FS, table string) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	store, err := database.NewStore(dialect, table)
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithStore(store)}
	if dialect == goose.DialectPostgres {
		locker, err := gooselock.NewPostgresSessionLocker(gooselock.WithLockTimeout(1, 300)) // seconds, tries
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
	} else {
		migrating.Lock()
		defer migrating.Unlock()
	}
	provider, err := goose.NewProvider("", db, files, options...)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
