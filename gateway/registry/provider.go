package registry

import (
	"context"
	"database/sql"
	"fmt"

	"imza/policy"
)

// ProviderEntry is a provider on record.
type ProviderEntry struct {
	ID    policy.Provider `json:"provider"`
	Name  string          `json:"name"` // which people know it by
	State State           `json:"state"`
}

// SetProvider records a provider, or changes its name and key.
func (r *Registry) SetProvider(ctx context.Context, p policy.Provider, name, key string) error {
	defer r.callers.forget()
	_, err := r.db.ExecContext(ctx, `INSERT INTO providers (id, name, key_hash) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, key_hash = excluded.key_hash`, p, name, hashKey(key))
	if err != nil {
		return fmt.Errorf("registry: provider: %w", err)
	}
	return nil
}

// PutProvider records a provider, or changes its name. The key is that of a new
// one; of one that was there it is empty.
func (r *Registry) PutProvider(ctx context.Context, p policy.Provider, name string, by Change) (string, error) {
	key := NewProviderKey()
	err := r.write(ctx, func(tx *sql.Tx) error {
		by.Subject = string(p)
		by.Provider = p
		created, err := affected(tx.ExecContext(ctx, `INSERT INTO providers (id, name, key_hash) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`, p, name, hashKey(key)))
		if err != nil {
			return fmt.Errorf("registry: provider: %w", err)
		}
		if created {
			by.Action, by.After = "create provider", map[string]string{"name": name}
			return r.Audit(ctx, tx, by)
		}
		key = ""
		// Written as it is, so that it is this transaction's.
		if _, err := tx.ExecContext(ctx, `UPDATE providers SET name = name WHERE id = $1`, p); err != nil {
			return fmt.Errorf("registry: provider: %w", err)
		}
		var before string
		if err := tx.QueryRowContext(ctx, `SELECT name FROM providers WHERE id = $1`, p).Scan(&before); err != nil {
			return unknown(err, "provider")
		}
		if before == name {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `UPDATE providers SET name = $2 WHERE id = $1`, p, name); err != nil {
			return fmt.Errorf("registry: provider: %w", err)
		}
		by.Action, by.Before, by.After = "rename provider", map[string]string{"name": before}, map[string]string{"name": name}
		return r.Audit(ctx, tx, by)
	})
	if err != nil {
		return "", err
	}
	return key, nil
}

// RenewProviderKey makes a new key. The one before opens nothing from then on, on
// other nodes after callerFor.
func (r *Registry) RenewProviderKey(ctx context.Context, p policy.Provider, by Change) (string, error) {
	defer r.callers.forget()
	by.Provider = p
	return r.newKey(ctx, "provider", `UPDATE providers SET key_hash = $2 WHERE id = $1`, string(p), NewProviderKey(), by)
}

// Providers lists at most limit providers after one, by name in the API.
func (r *Registry) Providers(ctx context.Context, after policy.Provider, limit int) ([]ProviderEntry, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT id, name, state FROM providers WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	return collect(rows, err, func(p *ProviderEntry) []any { return []any{&p.ID, &p.Name, &p.State} })
}

// ProviderName implements gateway.Directory.
func (r *Registry) ProviderName(ctx context.Context, p policy.Provider) (name string, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT name FROM providers WHERE id = $1`, p).Scan(&name)
	if err != nil {
		return "", unknown(err, "provider")
	}
	return name, nil
}
