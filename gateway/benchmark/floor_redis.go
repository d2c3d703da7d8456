package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"imza/gateway"
	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
)

// scripts makes the gateway's two calls as the gateway does, with arguments that
// it made, on a server where all that they ask for is known.
type scripts struct {
	client         *redis.Client
	gateway        *gateway.Gateway // not running
	admission, end call
	stop           context.CancelFunc
}

// telephones is how many there are: far more than callers, so that none is busy.
const telephones = 20_000

// The transaction that the calls were made for: what is of its own is put in
// place of these.
const (
	exampleID   = "zzzzzzzzzzzzzzzz"
	exampleLine = "+994509999999"
	exampleFIN  = "ZZZZZZZ"
	voen        = "1512345678"
)

func newScripts(ctx context.Context, server *redisServer) (*scripts, error) {
	client, err := gateway.OpenRedis("redis://" + server.addr)
	if err != nil {
		return nil, err
	}
	s := &scripts{client: client, gateway: gateway.New(gateway.Config{
		Redis: client, Permissions: new(policy.Store), MasterKey: make([]byte, 16), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})}
	if err = s.example(); err == nil {
		err = s.prepare(ctx, server.client)
	}
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	ctx, s.stop = context.WithCancel(ctx)
	go s.forget(ctx)
	return s, nil
}

func (s *scripts) Close() {
	s.stop()
	_ = s.client.Close()
}

// example has the gateway make the calls for one transaction.
func (s *scripts) example() error {
	r := gateway.Request{Provider: "load-1", MSISDN: exampleLine, Algorithm: applet.SHA256, Digest: make([]byte, 32), Text: "imza load test", Timeout: 2 * time.Minute}
	now := time.Now()
	t := &gateway.Transaction{
		ID: exampleID, State: gateway.Pending, Progress: gateway.Accepted, Answered: now, Verified: now,
		Provider: r.Provider, MSISDN: r.MSISDN, ICCID: simcard.ICCID("89994010000000000006"), Employee: &policy.Employee{VOEN: voen, FIN: exampleFIN},
		Serial: "4f1d8a5c8d6c4f0b9a7e6d5c4b3a2f1e", Type: gateway.Business, Key: 1, Short: true, Algorithm: r.Algorithm, Digest: r.Digest,
		Text: r.Text, Language: applet.Azerbaijani, SigningTime: now.UTC().Truncate(time.Second),
	}
	admission, end, err := s.gateway.BareCalls(t, r, make([]byte, cmsLen))
	s.admission, s.end = newCall(admission), newCall(end)
	return err
}

// prepare puts permission sets into the server, and has them believed for as
// long as it lives. The gateway's connection comes first: with it begins the life
// of the server that they belong to.
func (s *scripts) prepare(ctx context.Context, server *redis.Client) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return err
	}
	pipe := server.Pipeline() // with more patience than the gateway's
	pipe.Set(ctx, "imza:lease", 1, 0)
	for i := range telephones {
		pipe.HSet(ctx, policy.SetKey(policy.Employee{VOEN: voen, FIN: policy.FIN(finOf(uint64(i)))}), "default", "allow", "epoch", 1)
	}
	_, err := pipe.Exec(ctx)
	return err
}

func finOf(telephone uint64) string { return strconv.FormatUint(1_000_000+telephone, 10) }

// forget empties the journal, which nobody takes into SQL here.
func (s *scripts) forget(ctx context.Context) {
	for {
		sleep(ctx, time.Second)
		if ctx.Err() != nil || s.client.Unlink(ctx, "imza:journal").Err() != nil {
			return
		}
	}
}

// both admits a signature and ends it.
func (s *scripts) both(ctx context.Context, _ int, n uint64) error {
	var reference applet.Reference
	binary.BigEndian.PutUint64(reference[2:], n)
	fin := finOf(n % telephones)
	own := own{id: reference.String(), line: "+99450" + fin, fin: fin}
	if err := s.make(ctx, s.admission.of(&own), "admitted"); err != nil {
		return err
	}
	return s.make(ctx, s.end.of(&own), "ended", "was") // was: run again, since the server was slow to answer
}

func (s *scripts) make(ctx context.Context, c gateway.ScriptCall, good ...string) error {
	answer, err := s.gateway.MakeBareCall(ctx, c)
	if err == nil && !slices.Contains(good, answer[0]) {
		err = fmt.Errorf("a script answered %q", answer)
	}
	return err
}

// call is an example of one, to be made for other transactions.
type call struct {
	script *redis.Script
	keys   []word
	args   []any // words, and what is the same for all
}

// own is what is of one transaction alone.
type own struct{ id, line, fin string }

// word is a string with something of a transaction's own in it, or nothing.
type word struct {
	before, after string
	own           func(*own) string
}

func newWord(s string) word {
	for example, own := range map[string]func(*own) string{
		exampleID:   func(o *own) string { return o.id },
		exampleLine: func(o *own) string { return o.line },
		exampleFIN:  func(o *own) string { return o.fin },
	} {
		if before, after, found := strings.Cut(s, example); found {
			return word{before, after, own}
		}
	}
	return word{before: s}
}

func (w *word) of(o *own) string {
	if w.own == nil {
		return w.before
	}
	return w.before + w.own(o) + w.after
}

func newCall(example gateway.ScriptCall) call {
	c := call{script: example.Script}
	for _, k := range example.Keys {
		c.keys = append(c.keys, newWord(k))
	}
	for _, a := range example.Args {
		if text, ok := a.(string); ok {
			a = newWord(text)
		}
		c.args = append(c.args, a)
	}
	return c
}

// of is the call for another transaction.
func (c *call) of(o *own) gateway.ScriptCall {
	keys, args := make([]string, len(c.keys)), make([]any, len(c.args))
	for i := range c.keys {
		keys[i] = c.keys[i].of(o)
	}
	for i, a := range c.args {
		if w, ok := a.(word); ok {
			a = w.of(o)
		}
		args[i] = a
	}
	return gateway.ScriptCall{Script: c.script, Keys: keys, Args: args}
}
