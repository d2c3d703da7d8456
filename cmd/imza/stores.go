package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

// openRecord opens the database that the record is in.
func (n *node) openRecord(ctx context.Context) error {
	address := filepath.Join(n.flags.Data, "imza.db")
	if n.flags.Database != "" {
		if address = n.flags.Database; !registry.IsPostgres(address) {
			return errors.New("--database is a URL that begins with postgres://")
		}
	}
	db, dialect, err := registry.OpenDatabase(address)
	if err != nil {
		return err
	}
	n.onClose(db.Close)
	pepper, err := pepperOf(n.masterKey)
	if err != nil {
		return err
	}
	n.registry, err = registry.Open(ctx, db, dialect, pepper)
	if errors.Is(err, registry.ErrForeign) {
		return fmt.Errorf("the record was begun with another master key than %s: use the data folder that it was begun with, or another database", filepath.Join(n.flags.Data, "master.key"))
	}
	if err != nil {
		return err
	}
	n.onClose(n.registry.Close)
	record, err := policy.OpenRecord(ctx, db, dialect)
	if err != nil {
		return err
	}
	n.permissions = &policy.Store{Record: record}
	return nil
}

// pepperOf is the key under which User IDs are hashed.
func pepperOf(masterKey []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, masterKey, nil, "imza user id", sha256.Size)
}

func (n *node) openRedis(ctx context.Context) (*redis.Client, error) {
	url := n.flags.Redis
	if url == "" {
		embedded := miniredis.NewMiniRedis()
		password := rand.Text() // permissions are in there
		embedded.RequireAuth(password)
		if err := embedded.Start(); err != nil {
			return nil, err
		}
		n.onClose(func() error { embedded.Close(); return nil })
		if n.flags.Database == "" {
			// Nobody else is on this record: the one before is gone with its process, and
			// this one need not wait for it.
			if err := embedded.Set(policy.EmbeddedRunID, "embedded"); err != nil {
				return nil, err
			}
		}
		n.onClose(runAside(func(ctx context.Context) { passTime(ctx, embedded) }))
		url = "redis://:" + password + "@" + embedded.Addr()
	}
	redis.SetLogger(quiet{})
	client, err := gateway.OpenRedis(url)
	if err != nil {
		return nil, err
	}
	n.onClose(client.Close)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return client, nil
}

// passTime lets keys of the embedded Redis expire, which it does not by itself.
func passTime(ctx context.Context, embedded *miniredis.Miniredis) {
	const step = 50 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	before := time.Now()
	for {
		select {
		case at := <-ticker.C:
			embedded.FastForward(at.Sub(before))
			before = at
		case <-ctx.Done():
			return
		}
	}
}

// quiet drops go-redis's own log: what fails is told where it matters.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// runAside runs f until the returned function is called, which waits for it.
func runAside(f func(context.Context)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	return func() error {
		cancel()
		running.Wait()
		return nil
	}
}
