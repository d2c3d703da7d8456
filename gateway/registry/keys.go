package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

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

// ProviderByKey tells whose key it is, if anybody's, and whether they are
// suspended.
func (r *Registry) ProviderByKey(ctx context.Context, key string) (p policy.Provider, s State, ok bool, err error) {
	hash := [sha256.Size]byte(hashKey(key))
	p, turn, ok := r.callers.find(hash)
	if ok {
		return p, Active, true, nil
	}
	err = r.lookups.provider.QueryRowContext(r.brief(ctx), hash[:]).Scan(&p, &s)
	if ok, err = found(err); ok && s == Active {
		r.callers.remember(hash, p, turn)
	}
	return p, s, ok, err
}

// callerFor is how long a provider is known by its key without asking the record
// again. What changes on this node is seen at once, what changes on another within
// this time.
const callerFor = 100 * time.Millisecond

// callers are the providers that called last, by their keys' hashes. Each of a
// signature's requests comes with a key, so that asking the record each time
// would be a tenth of what a signature costs.
type callers struct {
	mu   sync.Mutex
	turn int // of the record, as this node changes it
	of   map[[sha256.Size]byte]caller
}

type caller struct {
	provider policy.Provider
	until    time.Time
}

func (c *callers) find(hash [sha256.Size]byte) (p policy.Provider, turn int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.of[hash]
	return known.provider, c.turn, time.Now().Before(known.until)
}

// remember keeps what was read in a turn, unless something has changed since.
func (c *callers) remember(hash [sha256.Size]byte, p policy.Provider, turn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn != turn {
		return
	}
	if c.of == nil {
		c.of = make(map[[sha256.Size]byte]caller)
	}
	c.of[hash] = caller{p, time.Now().Add(callerFor)}
}

// forget is for when a provider's key or state has changed, or may have.
func (c *callers) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	clear(c.of)
}

// AdministratorByKey tells whose key it is, if anybody's.
func (r *Registry) AdministratorByKey(ctx context.Context, key string) (Administrator, bool, error) {
	all, err := administrators(ctx, r.db, `WHERE a.key_hash = $1`, hashKey(key))
	if err != nil || len(all) == 0 {
		return Administrator{}, false, err
	}
	return all[0], true, nil
}

// newKey gives a row of a table a new key, and says so in the log.
func (r *Registry) newKey(ctx context.Context, what, statement, id, key string, by Change) (string, error) {
	err := r.write(ctx, func(tx *sql.Tx) error {
		if err := one(tx.ExecContext(ctx, statement, id, hashKey(key))); err != nil {
			return unknown(err, what)
		}
		by.Action, by.Subject = "renew "+what+" key", id
		return r.Audit(ctx, tx, by)
	})
	if err != nil {
		return "", err
	}
	return key, nil
}

// one is sql.ErrNoRows if a statement found nothing to do.
func one(result sql.Result, err error) error {
	if ok, err := affected(result, err); err != nil || ok {
		return err
	}
	return sql.ErrNoRows
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
