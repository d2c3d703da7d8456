package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"imza/policy"
)

// Keys begin with what they open, so that one that leaked is recognised.
const (
	providerKeyPrefix = "imza-p-"
	adminKeyPrefix    = "imza-a-"
)

// NewProviderKey makes the key of a provider: 130 random bits.
func NewProviderKey() string { return providerKeyPrefix + strings.ToLower(rand.Text()) }

// NewAdminKey makes the key of an administrator.
func NewAdminKey() string { return adminKeyPrefix + strings.ToLower(rand.Text()) }

// hashKey suffices without salt or work factor because keys are random.
func hashKey(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// SetProvider records a provider, or changes its name and key.
func (r *Registry) SetProvider(ctx context.Context, p policy.Provider, name, key string) error {
	_, err := r.db.ExecContext(ctx, `INSERT INTO providers (id, name, key_hash) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, key_hash = excluded.key_hash`, p, name, hashKey(key))
	if err != nil {
		return fmt.Errorf("registry: provider: %w", err)
	}
	return nil
}

// SetAdministrator records an administrator, or changes the key.
func (r *Registry) SetAdministrator(ctx context.Context, id, key string) error {
	_, err := r.db.ExecContext(ctx, `INSERT INTO administrators (id, key_hash) VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET key_hash = excluded.key_hash`, id, hashKey(key))
	if err != nil {
		return fmt.Errorf("registry: administrator: %w", err)
	}
	return nil
}

// ProviderByKey tells whose key it is, if anybody's.
func (r *Registry) ProviderByKey(ctx context.Context, key string) (p policy.Provider, ok bool, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT id FROM providers WHERE key_hash = $1`, hashKey(key)).Scan(&p)
	ok, err = found(err)
	return p, ok, err
}

// AdministratorByKey tells whose key it is, if anybody's.
func (r *Registry) AdministratorByKey(ctx context.Context, key string) (id string, ok bool, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT id FROM administrators WHERE key_hash = $1`, hashKey(key)).Scan(&id)
	ok, err = found(err)
	return id, ok, err
}

func found(err error) (bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("registry: %w", err)
	}
	return true, nil
}

// ProviderName implements gateway.Directory.
func (r *Registry) ProviderName(ctx context.Context, p policy.Provider) (name string, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT name FROM providers WHERE id = $1`, p).Scan(&name)
	if err != nil {
		return "", unknown(err, "provider")
	}
	return name, nil
}
