package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"

	"imza/policy"
)

// openAudit has the database refuse to change the log, and takes over what was
// logged before it was a chain.
func (r *Registry) openAudit(ctx context.Context) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	defer tx.Rollback()
	// One at a time, where several programs open the record at once.
	if _, err := tx.ExecContext(ctx, `UPDATE audit_head SET sequence = sequence`); err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	if err := r.guardAudit(ctx, tx); err != nil {
		return fmt.Errorf("registry: audit: triggers: %w", err)
	}
	if err := r.adoptAudit(ctx, tx); err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	return nil
}

// guardAudit is not a migration because the dialects differ. The triggers keep
// an entry from a slip of the hand; from who means it, the chain does.
func (r *Registry) guardAudit(ctx context.Context, tx *sql.Tx) error {
	if r.dialect != goose.DialectPostgres {
		return execute(ctx, tx,
			`CREATE TRIGGER IF NOT EXISTS audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END`,
			`CREATE TRIGGER IF NOT EXISTS audit_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END`,
			// INSERT OR REPLACE deletes without a trigger.
			`CREATE TRIGGER IF NOT EXISTS audit_replace BEFORE INSERT ON audit
			WHEN EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence) OR EXISTS (SELECT 1 FROM audit WHERE rowid = NEW.rowid)
			BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END`)
	}
	var guarded bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = 'audit'::regclass AND tgname = 'audit_append_only')`).Scan(&guarded); err != nil || guarded {
		return err // made again, it would wait for all who append
	}
	return execute(ctx, tx,
		`CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$`,
		`CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()`)
}

func execute(ctx context.Context, tx *sql.Tx, statements ...string) error {
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// adoptAudit begins the chain with what was logged before there was one. It does
// so only while the chain is empty: else whoever writes into the old table would
// have the gateway seal it.
func (r *Registry) adoptAudit(ctx context.Context, tx *sql.Tx) error {
	var length int64
	err := tx.QueryRowContext(ctx, `SELECT sequence FROM audit_head`).Scan(&length)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = restoreHead(ctx, tx)
		return err
	}
	if err != nil || length > 0 {
		return err
	}
	links, err := readUnchained(ctx, tx)
	if err != nil || len(links) == 0 {
		return err
	}
	note, err := Change{Action: "audit chain begun", Subject: fmt.Sprintf("%d entries of before it were taken over", len(links))}.link()
	if err != nil {
		return err
	}
	return r.appendLinks(ctx, tx, append(links, note))
}

func readUnchained(ctx context.Context, tx *sql.Tx) (links []*link, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT at, actor, action, subject, detail FROM audit_unchained ORDER BY sequence`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		var c Change
		var detail string
		if err := rows.Scan(&at, &c.Actor, &c.Action, &c.Subject, &detail); err != nil {
			return nil, err
		}
		var values struct{ Before, After json.RawMessage }
		if err := json.Unmarshal([]byte(detail), &values); err != nil {
			return nil, fmt.Errorf("an entry of before the chain: %w", err)
		}
		c.Before, c.After = values.Before, values.After
		c.VOEN, c.FIN, c.Provider = ofSubject(c.Subject)
		l, err := c.link()
		if err != nil {
			return nil, err
		}
		l.at = at
		links = append(links, l)
	}
	return links, rows.Err()
}

// ofSubject finds what an old entry was about: "VÖEN/FIN" or "VÖEN/FIN provider".
func ofSubject(subject string) (policy.VOEN, policy.FIN, policy.Provider) {
	employee, provider, _ := strings.Cut(subject, " ")
	organisation, person, _ := strings.Cut(employee, "/")
	voen, err := policy.ParseVOEN(organisation)
	fin, err2 := policy.ParseFIN(person)
	if err != nil || err2 != nil {
		return "", "", ""
	}
	p, _ := policy.ParseProvider(provider)
	return voen, fin, p
}
