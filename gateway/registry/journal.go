package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imza/gateway"
)

// Record implements gateway.Journal: the first final state of a transaction
// stays, whatever comes later or again.
func (r *Registry) Record(ctx context.Context, entries []gateway.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	tx, err := r.journal.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	defer tx.Rollback()
	if _, err := insertRows(ctx, tx, `INSERT INTO transactions (id, provider, msisdn, voen, serial, accepted, deadline, state, reason, ended)`,
		` ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = excluded.reason, ended = excluded.ended
		WHERE transactions.ended IS NULL AND excluded.ended IS NOT NULL`, oneOfEach(entries), func(all []any, e gateway.Entry) []any {
			ended := sql.NullInt64{Int64: e.Ended.UnixMilli(), Valid: e.State.Final()}
			return append(all, e.ID, e.Provider, e.MSISDN, e.VOEN, e.Serial, e.Accepted.UnixMilli(), e.Deadline.UnixMilli(), e.State, e.Reason, ended)
		}); err != nil {
		return fmt.Errorf("registry: transactions: %w", err)
	}
	return tx.Commit()
}

// oneOfEach leaves one entry of each transaction: its first end, or that it was
// accepted. They are in one order, so that two nodes with the same entries do not
// wait for each other.
func oneOfEach(entries []gateway.Entry) (one []gateway.Entry) {
	sorted := slices.SortedStableFunc(slices.Values(entries), func(a, b gateway.Entry) int { return strings.Compare(a.ID, b.ID) })
	for _, e := range sorted {
		last := len(one) - 1
		switch {
		case last < 0 || one[last].ID != e.ID:
			one = append(one, e)
		case e.State.Final() && !one[last].State.Final():
			one[last] = e
		}
	}
	return one
}

const entryColumns = `SELECT id, provider, msisdn, voen, serial, accepted, deadline, state, reason, ended FROM transactions`

func scanEntry(row interface{ Scan(...any) error }) (e gateway.Entry, err error) {
	var accepted, deadline int64
	var ended sql.NullInt64
	if err := row.Scan(&e.ID, &e.Provider, &e.MSISDN, &e.VOEN, &e.Serial, &accepted, &deadline, &e.State, &e.Reason, &ended); err != nil {
		return e, err
	}
	e.Accepted, e.Deadline = time.UnixMilli(accepted).UTC(), time.UnixMilli(deadline).UTC()
	if ended.Valid {
		e.Ended = time.UnixMilli(ended.Int64).UTC()
	}
	return e, nil
}

// Find implements gateway.Journal.
func (r *Registry) Find(ctx context.Context, id string) (gateway.Entry, error) {
	e, err := scanEntry(r.journal.QueryRowContext(ctx, entryColumns+` WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return e, gateway.ErrNotRecorded
	}
	if err != nil {
		return e, fmt.Errorf("registry: %w", err)
	}
	return e, nil
}

// Unfinished implements gateway.Journal.
func (r *Registry) Unfinished(ctx context.Context, before time.Time) ([]gateway.Entry, error) {
	rows, err := r.journal.QueryContext(ctx, entryColumns+` WHERE ended IS NULL AND deadline < $1 ORDER BY deadline LIMIT 1000`, before.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	var all []gateway.Entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
		all = append(all, e)
	}
	return all, rows.Err()
}
