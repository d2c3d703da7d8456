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
)

// counterEpoch is where the counters of cards begin: a counter is at least the
// milliseconds since, so that it rises even if Redis forgot the last one.
var counterEpoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// admit is the whole admission in one step: repetition, policy, telephone and
// limits are asked, and the transaction is created, or nothing is.
var admit = redis.NewScript(policy.Lua + `
local tx, telephone, set, counter, deadlines, journal, prompts, wrong, idempotency =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local id, provider, timeout, data, entry = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local body, wrongLimit, promptLimit, promptPeriod, epoch, idempotencyPeriod =
  ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], tonumber(ARGV[10]), ARGV[11]

if redis.call('HGET', tx, 'data') == data then -- the script is run again after a lost answer
  local before = redis.call('HMGET', tx, 'deadline', 'counter')
  return {'admitted', before[1], before[2]}
end
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
if redis.call('EXISTS', telephone) == 1 then return {'busy', redis.call('PTTL', telephone)} end
local shown = tonumber(redis.call('GET', prompts) or '0')
if shown >= promptLimit then return {'prompts', redis.call('PTTL', prompts)} end
if redis.call('EXISTS', tx) == 1 then return {'taken'} end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local deadline = string.format('%.0f', now + timeout)
local count = math.max(tonumber(redis.call('GET', counter) or '0') + 1, now - epoch)
count = string.format('%.0f', count)
redis.call('SET', counter, count)
redis.call('HSET', tx, 'state', 'pending', 'progress', 'accepted', 'data', data, 'deadline', deadline, 'counter', count, 'accepted', string.format('%.0f', now))
redis.call('SET', telephone, id, 'PX', timeout)
redis.call('ZADD', deadlines, deadline, id)
redis.call('INCR', prompts)
if shown == 0 then redis.call('PEXPIRE', prompts, promptPeriod) end
if idempotency ~= '' then
  redis.call('HSET', idempotency, 'id', id, 'body', body)
  redis.call('PEXPIRE', idempotency, idempotencyPeriod)
end
redis.call('XADD', journal, '*', 'id', id, 'state', 'pending', 'entry', entry, 'deadline', deadline, 'accepted', string.format('%.0f', now))
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
	// One budget for all of it, so that the provider is told in time.
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	t, err := g.prepare(ctx, r)
	if err != nil {
		// A repeated request gets its first answer, whatever changed since.
		if first, found := g.repeated(ctx, r); found {
			return first, nil
		}
		return nil, err
	}
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
			g.push(t, r.Timeout)
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
		return // nothing reached the server
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
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	entry, err := json.Marshal(t.entry())
	if err != nil {
		return nil, err
	}
	idempotency := ""
	if r.IdempotencyKey != "" {
		idempotency = keyIdempotency(r.Provider, r.IdempotencyKey)
	}
	keys := []string{
		keyTransaction(t.ID), keyTelephone(t.MSISDN), t.keySet(), keyCounter(t.ICCID), keyDeadlines,
		keyJournal, keyPrompts(t.MSISDN), keyWrongUserID(r.Provider, t.MSISDN), idempotency,
	}
	// A client that goes away must not leave it open whether the script ran.
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	return stringsOf(admit.Run(ctx, g.redis, keys,
		t.ID, string(t.Provider), r.Timeout.Milliseconds(), data, entry,
		g.hashRequest(r), wrongUserIDs, g.promptLimit, promptPeriod.Milliseconds(),
		counterEpoch.UnixMilli(), idempotencyPeriod.Milliseconds()))
}

// stringsOf reads a script's answer: a list of strings and numbers.
func stringsOf(cmd *redis.Cmd) ([]string, error) {
	list, err := cmd.Slice()
	if err != nil {
		return nil, err
	}
	answer := make([]string, len(list))
	for i, v := range list {
		answer[i] = fmt.Sprint(v)
	}
	if len(answer) == 0 {
		return nil, errors.New("gateway: a script answered nothing")
	}
	return answer, nil
}

func newID() string {
	var r applet.Reference
	rand.Read(r[:])
	return r.String()
}
