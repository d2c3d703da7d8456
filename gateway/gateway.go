// Package gateway is the path of one signature: a provider's request is
// admitted, its challenge goes to the telephone, the card's answer comes back,
// is verified, and released.
//
//	admit.go        the request against record, policy and limits; the transaction is made
//	challenge.go    the challenge as a secured short message
//	receipt.go      what the operator says became of it
//	answer.go       what the telephone sends, down to the verified signature
//	finish.go       the one step in which a transaction ends
//	journal.go      from Redis into the lasting record
//	transaction.go  what a transaction is, and how it is read
//	underway.go     what this node knows of those that have not ended
//
// All state is in Redis, so any number of gateways may run on one, and any of
// them may take a card's answer. docs/transaction.md tells what survives a
// crash at each step.
package gateway

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"imza/pki"
	"imza/policy"
	"imza/smpp"
)

// Config is what a gateway needs.
type Config struct {
	Redis       *redis.Client
	Permissions *policy.Store
	Directory   Directory
	Journal     Journal
	Authority   *pki.Authority
	MasterKey   []byte        // of the cards' keys, for ota.DeriveKeys
	Network     *smpp.Network // the operators; Receive is the handler of each
	Source      smpp.Address  // the gateway's own, where cards send their answers
	PromptLimit int           // prompts in a row that were not signed, per telephone; 10
	Metrics     prometheus.Registerer
	Log         *slog.Logger
}

// Gateway runs the signing path. Its methods are safe for concurrent use.
type Gateway struct {
	redis       *redis.Client
	pipe        *redis.AutoPipeliner // of redis
	permissions *policy.Store
	directory   Directory
	journal     Journal
	authority   *pki.Authority
	masterKey   []byte
	requestKey  []byte        // under which requests are hashed, for repetitions
	name        string        // of this node, among those on one Redis
	attempts    atomic.Uint64 // to end a transaction, which tells them apart
	network     *smpp.Network
	source      smpp.Address
	limits      []any // of admission, as its script takes them
	metrics     *metrics
	log         *slog.Logger
	underWay    underWay

	ctx      context.Context // of the pushes
	cancel   context.CancelFunc
	stopping chan struct{} // closed when those who wait should go
	stop     sync.Once
	pushes   sync.WaitGroup
}

// New makes a gateway; Run makes it work.
func New(c Config) *Gateway {
	g := &Gateway{
		redis: c.Redis, permissions: c.Permissions, directory: c.Directory, journal: c.Journal,
		authority: c.Authority, masterKey: c.MasterKey, network: c.Network, source: c.Source,
		metrics: newMetrics(c.Metrics), log: c.Log,
		name: rand.Text()[:10], stopping: make(chan struct{}),
	}
	// A plain hash of a request would let whoever reads Redis try all User IDs.
	key := hmac.New(sha256.New, c.MasterKey)
	key.Write([]byte("imza idempotency"))
	g.requestKey = key.Sum(nil)
	var err error
	// Small batches, several of them on their way, so that Redis has the next one
	// while this side reads the last; scripts do not depend on each other's order.
	g.pipe, err = c.Redis.AsyncAutoPipelineWithOptions(&redis.AutoPipelineOptions{Unordered: true, MaxConcurrentBatches: 4, MaxBatchSize: 16})
	if err != nil {
		panic(err) // cannot be: the options are right
	}
	g.permissions.Carry = g.carryOut
	g.limits = admitLimits(cmp.Or(c.PromptLimit, 10))
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// How often the standing work is done; each time costs a round trip.
const (
	sweepEvery     = 200 * time.Millisecond
	drainEvery     = 100 * time.Millisecond
	reconcileEvery = 30 * time.Second
	renewEvery     = 100 * time.Millisecond // a quarter of the time that it holds
	// workTime is how long a piece of it may take: a database that is gone without
	// a word must not keep it for minutes.
	workTime = 10 * time.Second
	// redisPatience is how long one step may wait for Redis: a provider is to be
	// told within a second, all else included.
	redisPatience = 800 * time.Millisecond
)

// Run does the standing work until the context ends: it has the permission sets
// in Redis believed, ends what is past its deadline, moves the journal into SQL,
// and wakes those who wait.
func (g *Gateway) Run(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { g.every(ctx, "policy", renewEvery, g.permissions.Renew) })
	work.Go(func() { g.every(ctx, "sweep", sweepEvery, g.sweep) })
	work.Go(func() { g.every(ctx, "journal", drainEvery, g.drain) })
	work.Go(func() { g.every(ctx, "reconcile", reconcileEvery, g.reconcile) })
	work.Go(func() { g.listen(ctx) })
	<-ctx.Done()
	g.Release()
	g.cancel()
	g.pushes.Wait()
	work.Wait()
	last, cancel := context.WithTimeout(context.Background(), redisPatience)
	defer cancel()
	if err := g.drain(last); err != nil {
		g.log.Warn("journal: entries are left for the next start", "err", err)
	}
}

// Release sends those away who wait in Get, for a server that shuts down.
func (g *Gateway) Release() { g.stop.Do(func() { close(g.stopping) }) }

// every does a piece of work again and again; what fails is tried next time,
// and told once until it works again.
func (g *Gateway) every(ctx context.Context, name string, pause time.Duration, work func(context.Context) error) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	failing := false
	for {
		turn, cancel := context.WithTimeout(ctx, workTime)
		err := work(turn)
		cancel()
		if err != nil && !failing && ctx.Err() == nil {
			g.log.Warn(name+" fails", "err", err)
		}
		if err == nil && failing {
			g.log.Info(name + " works again")
		}
		failing = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// listen wakes those who wait for a transaction that has ended, on whichever
// node it did.
func (g *Gateway) listen(ctx context.Context) {
	subscription := g.redis.Subscribe(ctx, channelFinal)
	defer subscription.Close()
	for {
		select {
		case m, ok := <-subscription.Channel():
			if !ok {
				return
			}
			if node, id, _ := strings.Cut(m.Payload, " "); node != g.name { // else they know
				g.underWay.ended(id, nil)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Ready tells whether a request would get anywhere: Redis answers and at least
// one operator is bound.
func (g *Gateway) Ready(ctx context.Context) error {
	if err := g.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if !g.network.Bound() {
		return errors.New("smpp: not bound to any operator")
	}
	return nil
}
