package registry

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // the driver "sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// OpenDatabase opens what holds the record: a PostgreSQL database at a URL
// (postgres://…), else the SQLite file at a path. A commit is on disk when it
// returns. In SQLite readers do not wait for writers, and a transaction that
// writes must do so with its first statement. SQLite's file is mapped into memory:
// each commit empties the caches of all other connections, and a look into the
// record would read its pages again, by a system call each.
//
// Whoever wants a connection waits until one is free. So whoever has one must not
// wait for a second.
func OpenDatabase(address string) (*sql.DB, goose.Dialect, error) {
	if IsPostgres(address) {
		config, err := parsePostgres(address)
		if err != nil {
			return nil, "", fmt.Errorf("registry: %w", err)
		}
		db := stdlib.OpenDB(*config)
		limit(db, postgresConnections)
		db.SetConnMaxLifetime(time.Hour) // an address may come to mean another server
		return db, goose.DialectPostgres, nil
	}
	db, err := openSQLite(address, sqliteConnections)
	return db, goose.DialectSQLite3, err
}

func openSQLite(path string, connections int) (*sql.DB, error) {
	file := url.URL{Path: path} // SQLite reads a URI, in which a path may not have every sign
	db, err := sql.Open("sqlite", "file:"+file.EscapedPath()+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=mmap_size(2147418112)")
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	limit(db, connections)
	return db, nil
}

// openReaders opens connections to SQLite's file for those alone who look up a few
// rows by their key. Writers wait for one another and hold their connections
// meanwhile; these are never waited for long. Of PostgreSQL, and of a database
// that is in no file, it returns nil.
func openReaders(ctx context.Context, db *sql.DB, dialect goose.Dialect) (*sql.DB, error) {
	if dialect != goose.DialectSQLite3 {
		return nil, nil
	}
	var path string
	if err := db.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if path == "" {
		return nil, nil
	}
	return openSQLite(path, sqliteReaders)
}

// How many connections one process has. Of PostgreSQL's, several processes are to
// fit into the 100 that it gives unless it is told otherwise. With many more of
// SQLite's the same writers come first again and again, and others run into their
// time-out: with 64, fifty busy writers do.
const (
	postgresConnections = 24
	sqliteConnections   = 8
	sqliteReaders       = 4
)

func limit(db *sql.DB, connections int) {
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
}

// IsPostgres tells whether an address is that of a PostgreSQL database.
func IsPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// connectTime is how long one host may take to take a connection, if the URL
// does not say so.
const connectTime = 5 * time.Second

// Away tells whether an error says that the database cannot be asked right now,
// rather than that something is wrong: it is away, starting, stopping or too busy.
func Away(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		// Classes of PostgreSQL's appendix A: connection, transaction state (ended while
		// idle, read-only), rollback, object in use, resources, operator's intervention.
		return slices.ContainsFunc([]string{"08", "25", "40", "53", "55", "57"}, func(class string) bool { return strings.HasPrefix(refused.Code, class) })
	}
	var busy *sqlite.Error
	if errors.As(err, &busy) {
		return busy.Code()&0xff == sqlitelib.SQLITE_BUSY || busy.Code()&0xff == sqlitelib.SQLITE_INTERRUPT
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err)
}

// sessionParameters are what a session has unless the URL says otherwise. A node
// that is cut off, or stopped, in the middle of a transaction must not hold its
// locks until somebody notices.
var sessionParameters = map[string]string{
	"application_name":                    "imza",
	"idle_in_transaction_session_timeout": "10s",
	"tcp_keepalives_idle":                 "5",
	"tcp_keepalives_interval":             "2",
	"tcp_keepalives_count":                "3",
}

// parsePostgres reads a URL. No error has a password in it.
func parsePostgres(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err == nil {
		if config.ConnectTimeout == 0 {
			config.ConnectTimeout = connectTime
		}
		for name, value := range sessionParameters {
			if config.RuntimeParams[name] == "" {
				config.RuntimeParams[name] = value
			}
		}
		return config, nil
	}
	// The error has the URL in it, or parts of it. So it is made again, of the URL
	// without passwords, and only its reason is told.
	if u, err := url.Parse(address); err == nil {
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		query := u.Query()
		query.Del("password")
		query.Del("sslpassword")
		u.RawQuery = query.Encode()
		if _, err := pgx.ParseConfig(u.String()); errors.Unwrap(err) != nil {
			return nil, fmt.Errorf("the database's URL cannot be used: %w", errors.Unwrap(err))
		}
	}
	return nil, errors.New("the database's URL cannot be read: it is like postgres://user:password@host:5432/name, with %XX for signs that mean something in a URL")
}

//go:embed migrations/*.sql
var migrations embed.FS
