package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"imza/policy"
)

// Role is what an administrator may do.
type Role string

// The roles.
const (
	Operator Role = "operator" // everything
	Manager  Role = "manager"  // what concerns the employees of some organisations
)

// Administrator is somebody who may change what is on record.
type Administrator struct {
	ID            string        `json:"administrator"`
	Role          Role          `json:"role"`
	Organisations []policy.VOEN `json:"organisations"` // of a manager; sorted, each once
}

// May tells whether an organisation is among the administrator's.
func (a Administrator) May(voen policy.VOEN) bool {
	return a.Role == Operator || a.Role == Manager && slices.Contains(a.Organisations, voen)
}

var (
	// ErrLastOperator says that without this operator there would be none.
	ErrLastOperator = errors.New("registry: the last operator")
	// ErrRole says that there is no such role.
	ErrRole = errors.New("registry: no such role")
)

// valid brings the organisations into order. An operator has none: all are his.
func (a Administrator) valid() (Administrator, error) {
	switch a.Role {
	case Operator:
		a.Organisations = []policy.VOEN{}
	case Manager:
		a.Organisations = append([]policy.VOEN{}, a.Organisations...)
		slices.Sort(a.Organisations)
		a.Organisations = slices.Compact(a.Organisations)
	default:
		return a, fmt.Errorf("%w: %q", ErrRole, a.Role)
	}
	return a, nil
}

// SetAdministrator records an administrator, or replaces one. For those whom the
// program itself puts there; nothing is logged.
func (r *Registry) SetAdministrator(ctx context.Context, a Administrator, key string) error {
	a, err := a.valid()
	if err != nil {
		return err
	}
	return r.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO administrators (id, key_hash, role) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET key_hash = excluded.key_hash, role = excluded.role`, a.ID, hashKey(key), a.Role); err != nil {
			return fmt.Errorf("registry: administrator: %w", err)
		}
		return setOrganisations(ctx, tx, a)
	})
}

// setOrganisations makes those on record the administrator's.
func setOrganisations(ctx context.Context, tx *sql.Tx, a Administrator) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM administrator_organisations WHERE administrator = $1`, a.ID); err != nil {
		return fmt.Errorf("registry: administrator: %w", err)
	}
	for _, voen := range a.Organisations {
		if err := one(tx.ExecContext(ctx, `INSERT INTO administrator_organisations (administrator, voen)
			SELECT $1, voen FROM organisations WHERE voen = $2`, a.ID, voen)); err != nil {
			return unknown(err, "organisation "+string(voen))
		}
	}
	return nil
}

// PutAdministrator records an administrator, or changes role and organisations.
// The key is that of a new one; of one that was there it is empty. An
// organisation that is not on record is ErrUnknown.
func (r *Registry) PutAdministrator(ctx context.Context, a Administrator, by Change) (string, error) {
	a, err := a.valid()
	if err != nil {
		return "", err
	}
	by.Subject = a.ID
	key := NewAdminKey()
	err = r.write(ctx, func(tx *sql.Tx) error {
		created, err := affected(tx.ExecContext(ctx, `INSERT INTO administrators (id, key_hash, role) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`, a.ID, hashKey(key), a.Role))
		if err != nil {
			return fmt.Errorf("registry: administrator: %w", err)
		}
		if created {
			if err := setOrganisations(ctx, tx, a); err != nil {
				return err
			}
			by.Action, by.After = "create administrator", a
			return r.Audit(ctx, tx, by)
		}
		key = ""
		return r.changeAdministrator(ctx, tx, a, by)
	})
	if err != nil {
		return "", err
	}
	return key, nil
}

// changeAdministrator changes role and organisations of one on record.
func (r *Registry) changeAdministrator(ctx context.Context, tx *sql.Tx, a Administrator, by Change) error {
	before, err := lockAdministrator(ctx, tx, a.ID)
	if err != nil {
		return err
	}
	if before.Role == a.Role && slices.Equal(before.Organisations, a.Organisations) {
		return nil
	}
	if before.Role == Operator && a.Role != Operator {
		if err := anotherOperator(ctx, tx, a.ID); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE administrators SET role = $2 WHERE id = $1`, a.ID, a.Role); err != nil {
		return fmt.Errorf("registry: administrator: %w", err)
	}
	if err := setOrganisations(ctx, tx, a); err != nil {
		return err
	}
	by.Action, by.Before, by.After = "change administrator", before, a
	return r.Audit(ctx, tx, by)
}

// lockAdministrator reads an administrator who is about to change. All operators
// are this transaction's then: two that go at once do not each count on the
// other.
func lockAdministrator(ctx context.Context, tx *sql.Tx, id string) (Administrator, error) {
	if _, err := tx.ExecContext(ctx, `UPDATE administrators SET role = role WHERE role = 'operator' OR id = $1`, id); err != nil {
		return Administrator{}, fmt.Errorf("registry: administrator: %w", err)
	}
	all, err := administrators(ctx, tx, `WHERE a.id = $1`, id)
	if err != nil {
		return Administrator{}, err
	}
	if len(all) == 0 {
		return Administrator{}, fmt.Errorf("%w: administrator", ErrUnknown)
	}
	return all[0], nil
}

// anotherOperator is ErrLastOperator if there is none.
func anotherOperator(ctx context.Context, tx *sql.Tx, than string) error {
	var others int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM administrators WHERE role = 'operator' AND id <> $1`, than).Scan(&others); err != nil {
		return fmt.Errorf("registry: administrator: %w", err)
	}
	if others == 0 {
		return ErrLastOperator
	}
	return nil
}

// RenewAdministratorKey makes a new key. The one before opens nothing from then
// on.
func (r *Registry) RenewAdministratorKey(ctx context.Context, id string, by Change) (string, error) {
	return r.newKey(ctx, "administrator", `UPDATE administrators SET key_hash = $2 WHERE id = $1`, id, NewAdminKey(), by)
}

// RemoveAdministrator makes the administrator's key open nothing. The last
// operator stays: ErrLastOperator.
func (r *Registry) RemoveAdministrator(ctx context.Context, id string, by Change) error {
	return r.write(ctx, func(tx *sql.Tx) error {
		before, err := lockAdministrator(ctx, tx, id)
		if err != nil {
			return err
		}
		if before.Role == Operator {
			if err := anotherOperator(ctx, tx, id); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM administrators WHERE id = $1`, id); err != nil {
			return fmt.Errorf("registry: administrator: %w", err)
		}
		by.Action, by.Subject, by.Before = "remove administrator", id, before
		return r.Audit(ctx, tx, by)
	})
}

// Administrators lists all of them, by ID.
func (r *Registry) Administrators(ctx context.Context) ([]Administrator, error) {
	return administrators(ctx, r.db, ``)
}

// administrators reads those that a condition on a holds for.
func administrators(ctx context.Context, from queryer, where string, args ...any) ([]Administrator, error) {
	type row struct {
		Administrator
		voen sql.NullString
	}
	rows, err := from.QueryContext(ctx, `SELECT a.id, a.role, o.voen FROM administrators a
		LEFT JOIN administrator_organisations o ON o.administrator = a.id `+where+` ORDER BY a.id, o.voen`, args...)
	list, err := collect(rows, err, func(w *row) []any { return []any{&w.ID, &w.Role, &w.voen} })
	if err != nil {
		return nil, err
	}
	all := []Administrator{}
	for _, w := range list {
		if len(all) == 0 || all[len(all)-1].ID != w.ID {
			w.Organisations = []policy.VOEN{}
			all = append(all, w.Administrator)
		}
		if last := &all[len(all)-1]; w.voen.Valid {
			last.Organisations = append(last.Organisations, policy.VOEN(w.voen.String))
		}
	}
	for i := range all {
		slices.Sort(all[i].Organisations) // the database's collation may differ
	}
	return all, nil
}
