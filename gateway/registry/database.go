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
// writes must do so with its first statement.
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
	db, err := openSQLite(address, sqliteConnections, "")
	return db, goose.DialectSQLite3, err
}

// pragmas are what each connection to an SQLite file begins with.
const pragmas = "?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"

func openSQLite(path string, connections int, more string) (*sql.DB, error) {
	file := url.URL{Path: path} // SQLite reads a URI, in which a path may not have every sign
	db, err := sql.Open("sqlite", "file:"+file.EscapedPath()+pragmas+more)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	limit(db, connections)
	return db, nil
}

// readersCache is what each of SQLite's readers keeps of the file, at most: 64 MiB.
const readersCache = "&_pragma=cache_size(-65536)"

// openBeside opens, of an SQLite file, what is beside the connections that all
// share. Each commit to a file empties the caches of all other connections to it.
//
// Readers are for those alone who look up a few rows by their key. Writers wait for
// one another and hold their connections meanwhile; these are never waited for
// long. The journal, which is written ten times a second, is in a file of its own,
// so that readers keep what they have read.
//
// Of PostgreSQL, and of a database that is in no file, there are neither.
func (r *Registry) openBeside(ctx context.Context) error {
	if r.dialect != goose.DialectSQLite3 {
		return nil
	}
	var path string
	if err := r.db.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&path); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if path == "" {
		return nil
	}
	readers, err := openSQLite(path, sqliteReaders, readersCache)
	if err != nil {
		return err
	}
	journal, err := openSQLite(JournalPath(path), sqliteJournal, "")
	if err != nil {
		return errors.Join(err, readers.Close())
	}
	r.readers, r.journal = readers, journal
	if err := r.makeJournal(ctx); err != nil {
		return err
	}
	return r.moveJournal(ctx, JournalPath(path))
}

// JournalPath is the file that has the transactions of a record in SQLite.
func JournalPath(record string) string { return strings.TrimSuffix(record, ".db") + ".transactions.db" }

// makeJournal makes the journal's table and its index, as the migrations have made
// them in the record's file.
func (r *Registry) makeJournal(ctx context.Context) error {
	rows, err := r.db.QueryContext(ctx, `SELECT sql FROM sqlite_master WHERE tbl_name = 'transactions' AND sql IS NOT NULL ORDER BY type DESC`)
	statements, err := collect(rows, err, func(s *string) []any { return []any{s} })
	if err != nil {
		return err
	}
	for _, statement := range statements {
		create, what, _ := strings.Cut(statement, " ") // CREATE, and TABLE or INDEX
		kind, what, _ := strings.Cut(what, " ")
		if _, err := r.journal.ExecContext(ctx, create+" "+kind+" IF NOT EXISTS "+what); err != nil {
			return fmt.Errorf("registry: the journal: %w", err)
		}
	}
	return nil
}

// moveJournal takes what an older imza wrote into the record's own file. What is cut
// off here is done again at the next start.
func (r *Registry) moveJournal(ctx context.Context, path string) error {
	var old bool
	if err := r.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM transactions)`).Scan(&old); err != nil || !old {
		return err
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	defer conn.Close()
	for _, statement := range []struct {
		text string
		args []any
	}{
		{`ATTACH DATABASE $1 AS journal`, []any{path}},
		{`INSERT OR IGNORE INTO journal.transactions SELECT id, provider, msisdn, voen, serial, accepted, deadline, state, reason, ended FROM main.transactions`, nil},
		{`DELETE FROM main.transactions`, nil},
		{`DETACH DATABASE journal`, nil},
	} {
		if _, err := conn.ExecContext(ctx, statement.text, statement.args...); err != nil {
			return fmt.Errorf("registry: the journal is moved: %w", err)
		}
	}
	return nil
}

// How many connections one process has. Of PostgreSQL's, several processes are to
// fit into the 100 that it gives unless it is told otherwise. With many more of
// SQLite's the same writers come first again and again, and others run into their
// time-out: with 64, fifty busy writers do.
const (
	postgresConnections = 24
	sqliteConnections   = 8
	sqliteReaders       = 4
	sqliteJournal       = 2
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
