package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"imza/policy"
	"imza/simcard"
)

// State says whether a provider, a subscriber or a certificate counts.
type State string

// The states. Only certificates are revoked, and that for good.
const (
	Active    State = "active"
	Suspended State = "suspended"
	Revoked   State = "revoked"
)

// ErrRevoked says that a certificate is revoked, and stays so.
var ErrRevoked = errors.New("registry: the certificate is revoked")

// ErrState says that it cannot be in such a state.
var ErrState = errors.New("registry: no such state")

// stateful is something that has a state: how its row $1 is written as it is,
// which makes it this transaction's; read, with VÖEN and FIN for the log; and
// given the state $2.
type stateful struct {
	what              string
	lock, read, write string
}

var (
	provider = stateful{"provider",
		`UPDATE providers SET state = state WHERE id = $1`,
		`SELECT state, '', '' FROM providers WHERE id = $1`,
		`UPDATE providers SET state = $2 WHERE id = $1`}
	subscriber = stateful{"subscriber",
		`UPDATE subscribers SET state = state WHERE msisdn = $1`,
		`SELECT state, '', fin FROM subscribers WHERE msisdn = $1`,
		`UPDATE subscribers SET state = $2 WHERE msisdn = $1`}
	certificate = stateful{"certificate",
		`UPDATE certificates SET state = state WHERE serial = $1`,
		`SELECT state, voen, fin FROM certificates WHERE serial = $1`,
		`UPDATE certificates SET state = $2, changed_at = $3 WHERE serial = $1`}
)

// SetProviderState suspends a provider, or brings it back. What it asked for
// before goes on; it is not told of it while it is suspended.
func (r *Registry) SetProviderState(ctx context.Context, p policy.Provider, s State, by Change) error {
	defer r.callers.forget()
	by.Provider = p
	return r.setState(ctx, provider, string(p), s, by)
}

// SetSubscriberState suspends a subscriber, or brings them back. While they are
// suspended none of their certificates is active.
func (r *Registry) SetSubscriberState(ctx context.Context, m simcard.MSISDN, s State, by Change) error {
	return r.setState(ctx, subscriber, string(m), s, by)
}

// SetCertificateState suspends a certificate, brings it back, or revokes it. One
// that is revoked stays revoked: ErrRevoked.
func (r *Registry) SetCertificateState(ctx context.Context, serial string, s State, by Change) error {
	return r.setState(ctx, certificate, serial, s, by)
}

// setState changes a state and says so in the log. Where it is already as
// wanted nothing changes, and nothing is logged.
func (r *Registry) setState(ctx context.Context, of stateful, id string, s State, by Change) error {
	if s != Active && s != Suspended && (s != Revoked || of.what != certificate.what) {
		return fmt.Errorf("%w: %s %q", ErrState, of.what, s)
	}
	return r.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, of.lock, id); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		var before State
		if err := tx.QueryRowContext(ctx, of.read, id).Scan(&before, &by.VOEN, &by.FIN); err != nil {
			return unknown(err, of.what)
		}
		if before == s {
			return nil
		}
		if before == Revoked {
			return ErrRevoked
		}
		args := []any{id, s}
		if of.what == certificate.what {
			args = append(args, time.Now().UnixMilli())
		}
		if _, err := tx.ExecContext(ctx, of.write, args...); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		by.Action, by.Subject = "set "+of.what+" state", id
		by.Before, by.After = map[string]State{"state": before}, map[string]State{"state": s}
		return r.Audit(ctx, tx, by)
	})
}

// write runs do in a transaction. In SQLite the first statement of do has to be
// one that writes (OpenDatabase).
func (r *Registry) write(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}
