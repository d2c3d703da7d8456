package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Change is one thing that an administrator did.
type Change struct {
	Actor   string // the administrator
	Action  string // what was done, like "block"
	Subject string // to whom
	Before  any    // as JSON
	After   any
}

// Audit appends a change to the log, in the transaction that makes it.
func Audit(ctx context.Context, tx *sql.Tx, c Change) error {
	detail, err := json.Marshal(map[string]any{"before": c.Before, "after": c.After})
	if err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)`,
		time.Now().UnixMilli(), c.Actor, c.Action, c.Subject, string(detail)); err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	return nil
}
