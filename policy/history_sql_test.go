package policy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"

	"imza/policy/sqltest"
)

// onSQLite and onPostgres open handles to one fresh database, in which commits
// may meet trouble.
//
// That of SQLite does not wait for the disk: no machine crashes here. Saves wait
// for their turn here and not in SQLite, where they would sleep. And a statement
// is parsed once: under the race detector that takes longer than all the rest.
func onSQLite(t *testing.T) func() (*sql.DB, goose.Dialect) {
	address := "file:" + sqltest.SQLite(t) + "?_pragma=journal_mode(wal)&_pragma=synchronous(off)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"
	c := connector{driver: driverOf(t, "sqlite"), address: address, turn: new(sync.Mutex)}
	return func() (*sql.DB, goose.Dialect) { return c.handle(), goose.DialectSQLite3 }
}

func onPostgres(t *testing.T) func() (*sql.DB, goose.Dialect) {
	c := connector{driver: driverOf(t, "pgx"), address: sqltest.Postgres(t)}
	return func() (*sql.DB, goose.Dialect) { return c.handle(), goose.DialectPostgres }
}

func driverOf(t *testing.T, name string) driver.Driver {
	t.Helper()
	db, err := sql.Open(name, "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return db.Driver()
}

type connector struct {
	driver  driver.Driver
	address string
	turn    *sync.Mutex // nil, or whoever is in a transaction
}

func (c connector) handle() *sql.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db
}

func (c connector) Driver() driver.Driver { return c.driver }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.address)
	if err != nil {
		return nil, err
	}
	return &meddledConn{conn.(sqlConn), c.turn, make(map[string]driver.Stmt)}, nil
}

// sqlConn is what the drivers of both databases have.
type sqlConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
}

type meddledConn struct {
	sqlConn
	turn   *sync.Mutex
	parsed map[string]driver.Stmt
}

func (c *meddledConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if c.turn != nil {
		c.turn.Lock()
	}
	tx, err := c.sqlConn.BeginTx(ctx, options)
	if err != nil {
		if c.turn != nil {
			c.turn.Unlock()
		}
		return nil, err
	}
	m := meddledTx{Tx: tx, turn: c.turn}
	if t := troubleOf(ctx); t != nil {
		m.commit = t.commit
	}
	return m, nil
}

type meddledTx struct {
	driver.Tx
	turn   *sync.Mutex
	commit string
}

func (t meddledTx) Commit() error {
	defer t.over()
	switch t.commit {
	case "fails":
		return errors.Join(errGone, t.Tx.Rollback())
	case "lost":
		return errors.Join(errLost, t.Tx.Commit())
	}
	return t.Tx.Commit()
}

func (t meddledTx) Rollback() error {
	defer t.over()
	return t.Tx.Rollback()
}

func (t meddledTx) over() {
	if t.turn != nil {
		t.turn.Unlock()
	}
}

// statement is one that is parsed already.
func (c *meddledConn) statement(ctx context.Context, query string) (driver.Stmt, error) {
	if s := c.parsed[query]; s != nil {
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err == nil {
		c.parsed[query] = s
	}
	return s, err
}

// keeps says whether a statement is one of the record's own.
func (c *meddledConn) keeps(query string) bool {
	return c.turn != nil && strings.Contains(query, "permission_") && strings.Contains("SELECT INSERT UPDATE DELETE", query[:6])
}

func (c *meddledConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	t := troubleOf(ctx)
	if t == nil || t.epoch == "" || !strings.HasPrefix(query, "UPDATE permission_epoch") {
		return c.exec(ctx, query, args)
	}
	t.met.Store(true)
	if t.epoch == "fails" {
		return nil, errGone
	}
	_, err := c.exec(ctx, query, args)
	return nil, errors.Join(errLost, err)
}

func (c *meddledConn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !c.keeps(query) {
		return c.sqlConn.ExecContext(ctx, query, args)
	}
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (c *meddledConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.keeps(query) {
		return c.sqlConn.QueryContext(ctx, query, args)
	}
	s, err := c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(driver.StmtQueryContext).QueryContext(ctx, args)
}

func (c *meddledConn) Close() error {
	for _, s := range c.parsed {
		_ = s.Close()
	}
	return c.sqlConn.Close()
}
