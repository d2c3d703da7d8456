package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
)

// Request is what a provider asks for, checked as far as one can without
// looking anything up.
type Request struct {
	Provider  policy.Provider
	MSISDN    simcard.MSISDN
	UserID    string
	Wanted    Wanted
	Algorithm applet.Algorithm
	Digest    []byte
	Text      string // empty: the provider's name
	Language  applet.Language
	Timeout   time.Duration

	IdempotencyKey string   // empty: none
	Body           [32]byte // SHA-256 of the request, to tell repetitions apart
}

// Limits of admission.
const (
	// wrongUserIDs is how many wrong User IDs a provider may send for a number
	// within wrongUserIDPeriod; after that the right one does not count either.
	wrongUserIDs      = 20
	wrongUserIDPeriod = time.Hour
	// promptPeriod is how long prompts that were not signed are counted against
	// the telephone; Config.PromptLimit says how many may be.
	promptPeriod = 10 * time.Minute
	// idempotencyPeriod is how long a repeated request is known as one.
	idempotencyPeriod = 24 * time.Hour
	// lineMemory is how long a telephone is remembered, with its card's counter:
	// as long as the clock of Redis may ever be set back.
	lineMemory = 24 * time.Hour
)

// counterEpoch is where the counters of cards begin: a counter is at least the
// milliseconds since, so that it rises even if Redis forgot the last one.
var counterEpoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// admit is the whole admission in one step: repetition, policy, telephone and
// limits are asked, and the transaction is created, or nothing is. What it costs
// is the number of commands in it, so what belongs to a telephone is one hash.
var admit = redis.NewScript(policy.Lua + `
local tx, telephone, set, wrong, deadlines, journal, idempotency =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local id, provider, timeout, data, body = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local wrongLimit, promptLimit, promptPeriod, epoch, lineMemory, idempotencyPeriod =
  tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10], ARGV[11]
local node = ARGV[12]

local known = redis.call('HMGET', tx, 'data', 'deadline', 'counter')
if known[1] == data then return {'admitted', known[2], known[3]} end -- run again after a lost answer
if known[1] then return {'taken'} end
if idempotency ~= '' then
  local first = redis.call('HMGET', idempotency, 'id', 'body')
  if first[1] then
    if first[2] == body then return {'repeated', first[1]} end
    return {'conflict'}
  end
end
if tonumber(redis.call('GET', wrong) or '0') >= wrongLimit then return {'not_a_subscriber'} end
local said = verdict(set, provider)
if said ~= 'allow' then return {said} end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local line = redis.call('HMGET', telephone, 'id', 'until', 'prompts', 'since', 'counter')
if line[1] and now < tonumber(line[2]) then return {'busy', line[2] - now} end
local shown, since = tonumber(line[3] or '0'), tonumber(line[4] or '0')
if now - since >= promptPeriod then shown, since = 0, now end
if shown >= promptLimit then return {'prompts', since + promptPeriod - now} end

local deadline, count = now + timeout, math.max((line[5] or 0) + 1, now - epoch)
redis.call('HSET', telephone, 'id', id, 'until', deadline, 'prompts', shown + 1, 'since', since, 'counter', count)
if since == now then redis.call('PEXPIRE', telephone, lineMemory) end
redis.call('HSET', tx, 'state', 'pending', 'progress', 'accepted', 'data', data, 'deadline', deadline, 'counter', count, 'accepted', now, 'node', node)
redis.call('ZADD', deadlines, deadline, id)
redis.call('XADD', journal, '*', 'id', id, 'data', data, 'deadline', deadline, 'accepted', now)
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'id', id, 'body', body)
  redis.call('PEXPIRE', idempotency, idempotencyPeriod)
end
return {'admitted', deadline, count}`)

// Admit judges a request and, if it is good, creates the transaction and sends
// its challenge on the way. The error is a Refusal.
func (g *Gateway) Admit(ctx context.Context, r Request) (*Transaction, error) {
	t, err := g.admit(ctx, r)
	if err != nil {
		code := Internal
		var refusal *Refusal
		if errors.As(err, &refusal) {
			code = refusal.Code
		}
		g.metrics.requests.WithLabelValues(string(code)).Inc()
		return nil, err
	}
	g.metrics.requests.WithLabelValues("accepted").Inc()
	return t, nil
}

func (g *Gateway) admit(ctx context.Context, r Request) (*Transaction, error) {
	// One budget for all of it, so that the provider is told in time. It is apart
	// from the client's: one that goes away must not leave it open whether the
	// script ran.
	client := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(client), redisPatience)
	defer cancel()
	t, err := g.prepare(ctx, r)
	if err != nil {
		// A repeated request gets its first answer, whatever changed since.
		if first, found := g.repeated(ctx, r); found {
			return first, nil
		}
		return nil, err
	}
	if err := client.Err(); err != nil {
		return nil, unavailable(Unavailable, err) // nobody is there to be told the id
	}
	admitted, err := g.decide(ctx, t, r)
	if err == nil && admitted == t {
		g.underWay.admitted(t)
		g.push(t, r.Timeout)
	}
	return admitted, err
}

// decide runs the script until it knows the permission set. It returns the
// transaction, admitted, or that of a request that this one repeats.
func (g *Gateway) decide(ctx context.Context, t *Transaction, r Request) (*Transaction, error) {
	for range 4 {
		t.Accepted = time.Now() // before the script, so that no wait is left out
		answer, err := g.runAdmit(ctx, t, r)
		if err != nil {
			g.abandon(t, err)
			return nil, unavailable(PolicyUnavailable, err)
		}
		switch answer[0] {
		case "admitted":
			if t.Deadline, err = parseMillis(answer[1]); err != nil {
				return nil, err
			}
			if t.Counter, err = strconv.ParseUint(answer[2], 10, 64); err != nil {
				return nil, fmt.Errorf("gateway: counter: %w", err)
			}
			return t, nil
		case "unknown":
			if err := g.permissions.Load(ctx, *t.Employee); err != nil {
				return nil, unavailable(PolicyUnavailable, err)
			}
		case "taken":
			t.ID = newID()
		default:
			return g.refused(ctx, r, answer)
		}
	}
	return nil, unavailable(PolicyUnavailable, errors.New("the permission set does not stay"))
}

// refused turns the script's other answers into refusals, and a repetition
// into the first transaction.
func (g *Gateway) refused(ctx context.Context, r Request, answer []string) (*Transaction, error) {
	wait := func() time.Duration {
		ms, _ := strconv.Atoi(answer[1]) // the script's own number
		return time.Duration(max(ms, 1000)) * time.Millisecond
	}
	switch answer[0] {
	case "repeated":
		return g.Get(ctx, r.Provider, answer[1], 0)
	case "conflict":
		return nil, refuse(IdempotencyConflict, "this Idempotency-Key was used for another request")
	case "not_a_subscriber":
		return nil, refuse(NotASubscriber, notASubscriber)
	case "block":
		return nil, refuse(BlockedByOrg, "the organisation does not let this employee sign for this provider")
	case "busy":
		return nil, &Refusal{Code: SubscriberBusy, Detail: "another request is on this telephone", RetryAfter: wait()}
	case "prompts":
		return nil, &Refusal{Code: TooManyPrompts, Detail: "too many requests in a row were not signed on this telephone", RetryAfter: wait()}
	}
	return nil, fmt.Errorf("gateway: the admission script answered %q", answer[0])
}

const notASubscriber = "no subscriber has this number and this User ID"

// prepare looks up what the transaction needs, and makes it.
func (g *Gateway) prepare(ctx context.Context, r Request) (*Transaction, error) {
	subscriber, err := g.directory.Subscriber(ctx, r.MSISDN, r.UserID)
	if errors.Is(err, ErrNoSubscriber) {
		if err := g.countWrongUserID(ctx, r); err != nil {
			return nil, unavailable(PolicyUnavailable, err)
		}
		return nil, refuse(NotASubscriber, notASubscriber)
	}
	if err != nil {
		return nil, unavailable(PolicyUnavailable, err)
	}
	now := time.Now()
	certificate, err := choose(subscriber.Certificates, r.Wanted, now)
	if err != nil {
		// This refusal tells that the User ID was right, so the limit on wrong
		// ones holds here as it does in the script.
		return nil, g.unlessGuessing(ctx, r, err)
	}
	t := &Transaction{
		ID: newID(), State: Pending, Progress: Accepted,
		Provider: r.Provider, MSISDN: r.MSISDN, ICCID: subscriber.ICCID,
		Serial: certificate.Serial, Type: certificate.Type, Key: certificate.Key, Short: subscriber.ShortAnswers,
		Algorithm: r.Algorithm, Digest: r.Digest, Text: r.Text, Language: r.Language,
		SigningTime: now.UTC().Truncate(time.Second),
	}
	if certificate.VOEN != "" {
		t.Employee = &policy.Employee{VOEN: certificate.VOEN, FIN: subscriber.FIN}
	}
	if t.Text == "" {
		name, err := g.directory.ProviderName(ctx, r.Provider)
		if err != nil {
			return nil, unavailable(PolicyUnavailable, err)
		}
		if t.Text = name; applet.CheckText(name) != nil {
			t.Text = string(r.Provider) // which every telephone can show
		}
	}
	return t, nil
}

// unlessGuessing is the refusal, unless the provider has sent too many wrong
// User IDs for the number: then nothing tells whether this one was right.
func (g *Gateway) unlessGuessing(ctx context.Context, r Request, refusal error) error {
	wrong, err := g.redis.Get(ctx, keyWrongUserID(r.Provider, r.MSISDN)).Int()
	switch {
	case err != nil && !errors.Is(err, redis.Nil):
		return unavailable(PolicyUnavailable, err)
	case wrong >= wrongUserIDs:
		return refuse(NotASubscriber, notASubscriber)
	}
	return refusal
}

// abandon ends, as far as it came to be, a transaction whose admission was not
// answered: the script may have run, or may still run in a server that was
// slow, and nobody sends its challenge.
func (g *Gateway) abandon(t *Transaction, err error) {
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return // nothing reached the server; what a first attempt did, its deadline ends
	}
	g.pushes.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, 5*redisPatience)
		defer cancel()
		for ctx.Err() == nil {
			if _, err := g.finish(ctx, t, outcome{state: Undeliverable, reason: "not sent"}); err == nil {
				return
			}
			select {
			case <-time.After(redisPatience / 4):
			case <-ctx.Done():
			}
		}
	})
}

// countWrongUserID counts against guessing.
func (g *Gateway) countWrongUserID(ctx context.Context, r Request) error {
	key := keyWrongUserID(r.Provider, r.MSISDN)
	pipe := g.redis.TxPipeline()
	pipe.Incr(ctx, key)
	pipe.ExpireNX(ctx, key, wrongUserIDPeriod)
	_, err := pipe.Exec(ctx)
	return err
}

// repeated finds the transaction of a request that was made before.
func (g *Gateway) repeated(ctx context.Context, r Request) (*Transaction, bool) {
	if r.IdempotencyKey == "" {
		return nil, false
	}
	first, err := g.redis.HGetAll(ctx, keyIdempotency(r.Provider, r.IdempotencyKey)).Result()
	if err != nil || first["body"] != g.hashRequest(r) {
		return nil, false
	}
	t, err := g.Get(ctx, r.Provider, first["id"], 0)
	return t, err == nil
}

// hashRequest tells requests apart without telling anything of them.
func (g *Gateway) hashRequest(r Request) string {
	mac := hmac.New(sha256.New, g.requestKey)
	mac.Write(r.Body[:])
	return hex.EncodeToString(mac.Sum(nil))
}

func (g *Gateway) runAdmit(ctx context.Context, t *Transaction, r Request) ([]string, error) {
	keys, args, err := g.admitArguments(t, r)
	if err != nil {
		return nil, err
	}
	return g.runScript(ctx, admit, keys, args...)
}

// admitLimits are the arguments of the script that are the same for all.
func admitLimits(promptLimit int) (all []any) {
	for _, n := range []int64{wrongUserIDs, int64(promptLimit), promptPeriod.Milliseconds(), counterEpoch.UnixMilli(), lineMemory.Milliseconds(), idempotencyPeriod.Milliseconds()} {
		all = append(all, strconv.FormatInt(n, 10))
	}
	return all
}

func (g *Gateway) admitArguments(t *Transaction, r Request) (keys []string, args []any, err error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	idempotency, body := "", ""
	if r.IdempotencyKey != "" {
		idempotency, body = keyIdempotency(r.Provider, r.IdempotencyKey), g.hashRequest(r)
	}
	keys = []string{keyTransaction(t.ID), keyTelephone(t.MSISDN), t.keySet(), keyWrongUserID(r.Provider, t.MSISDN), keyDeadlines, keyJournal, idempotency}
	args = append(make([]any, 0, 12), t.ID, string(t.Provider), r.Timeout.Milliseconds(), data, body)
	return keys, append(append(args, g.limits...), g.name), nil
}

func newID() string {
	var r applet.Reference
	rand.Read(r[:])
	return r.String()
}
