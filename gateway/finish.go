package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy"
)

// retention is how long a transaction stays in Redis after its end, for the
// provider to fetch; after that only the journal knows how it ended.
const retention = time.Hour

// outcome is how a transaction is to end.
type outcome struct {
	state  State
	reason string
	cms    []byte // of a signed one
	line   line
}

// line is what an end means for the telephone, where the state does not say.
type line string

const (
	answered line = "answered" // the card has: nothing is on the screen
	unsure   line = "unsure"   // it may have been sent: whoever knows frees it
)

// finalise is the one step in which a transaction ends. A signature is
// released only if the permission set still allows it, at that very moment;
// past the deadline everything is "expired", with what was known of why.
//
// A withdrawn transaction keeps its telephone until its deadline, since its
// prompt is on the screen; the card's late answer lets it go.
var finalise = redis.NewScript(policy.Lua + `
local tx, telephone, set, deadlines, journal = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, provider, state, reason, cms, retention, channel, line = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local node, attempt, sent, answered, verified = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]

local found = redis.call('HMGET', tx, 'state', 'deadline', 'accepted', 'progress', 'hint', 'data', 'attempt', 'reason', 'ended', 'node', 'watched')
if not found[1] then
  redis.call('ZREM', deadlines, id)
  return {'gone'}
end
if found[1] ~= 'pending' then
  redis.call('ZREM', deadlines, id)
  if found[7] == attempt then return {'ended', found[1], found[8], found[9]} end -- run again after a lost answer
  if line == 'answered' and redis.call('HGET', telephone, 'id') == id then redis.call('HDEL', telephone, 'id') end
  return {'was', found[1], found[7] or ''}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if now >= tonumber(found[2]) then
  state, reason, cms = 'expired', found[5] or '', ''
elseif state == 'expired' then
  return {'early'}
elseif state == 'signed' then
  local said = verdict(set, provider)
  if said == 'unknown' then return {said} end
  if said ~= 'allow' then state, reason, cms = 'blocked', '', '' end
end
local ended = string.format('%.0f', now)
local fields = {'state', state, 'reason', reason, 'ended', ended, 'attempt', attempt, 'answered', answered, 'verified', verified}
local function also(name, value)
  if value ~= '' then fields[#fields + 1], fields[#fields + 2] = name, value end
end
also('cms', cms)
also('sent', sent) -- whose note may come too late
redis.call('HSET', tx, unpack(fields))
redis.call('PEXPIRE', tx, retention)
redis.call('ZREM', deadlines, id)
local held = redis.call('HMGET', telephone, 'id', 'prompts')
if held[2] then -- it is remembered
  fields = {}
  if held[1] == id and state ~= 'cancelled_by_provider' and line ~= 'unsure' then fields = {'until', 0} end
  if state == 'signed' then also('prompts', 0) end
  if (state == 'undeliverable' or state == 'absent') and found[4] ~= 'delivered' and tonumber(held[2]) > 0 then
    also('prompts', held[2] - 1) -- nobody saw it
  end
  if #fields > 0 then redis.call('HSET', telephone, unpack(fields)) end
end
redis.call('XADD', journal, '*', 'id', id, 'data', found[6], 'state', state, 'reason', reason, 'deadline', found[2], 'accepted', found[3], 'ended', ended)
if found[10] ~= node or found[11] then redis.call('PUBLISH', channel, node .. ' ' .. id) end -- else nobody but this node waits for it
return {'ended', state, reason, ended}`)

// finish ends a transaction, unless it has ended already, and returns the
// state that it then has. With an error nothing has changed, or it is not
// known whether: finishing again is safe.
func (g *Gateway) finish(ctx context.Context, t *Transaction, o outcome) (State, error) {
	keys, args := g.finishArguments(t, o)
	for range 4 {
		answer, err := g.runScript(ctx, finalise, keys, args...)
		if err != nil {
			g.metrics.unsure(t.ID)
			return "", fmt.Errorf("gateway: ending %s: %w", t.ID, err)
		}
		switch answer[0] {
		case "ended":
			return g.ended(t, o, answer)
		case "was":
			g.underWay.ended(t.ID, nil)
			if strings.HasPrefix(answer[2], g.name) { // by an attempt of this node
				g.metrics.was(t, State(answer[1]))
			}
			return State(answer[1]), nil
		case "unknown":
			if err := g.permissions.Load(ctx, *t.Employee); err != nil {
				return "", err
			}
		case "early": // this node's clock is ahead of Redis's, which counts
			return Pending, nil
		default:
			g.underWay.ended(t.ID, nil)
			return "", errGone
		}
	}
	return "", policy.ErrUnavailable
}

func (g *Gateway) finishArguments(t *Transaction, o outcome) (keys []string, args []any) {
	return []string{keyTransaction(t.ID), keyTelephone(t.MSISDN), t.keySet(), keyDeadlines, keyJournal},
		[]any{t.ID, string(t.Provider), string(o.state), o.reason, o.cms, retention.Milliseconds(), channelFinal, string(o.line),
			g.name, g.name + strconv.FormatUint(g.attempts.Add(1), 36), microsOf(t.Sent), microsOf(t.Answered), microsOf(t.Verified)}
}

// ended tells those on this node who wait for it that a transaction has ended, as
// the script said; other nodes are told by Redis.
func (g *Gateway) ended(t *Transaction, o outcome, answer []string) (State, error) {
	final := *t
	final.State, final.Reason = State(answer[1]), answer[2]
	if final.State == Signed {
		final.CMS = o.cms
	}
	var err error
	if final.Ended, err = parseMillis(answer[3]); err != nil {
		return "", err
	}
	g.underWay.ended(t.ID, &final)
	g.metrics.ended(t, final.State)
	g.log.Info("transaction ended", "id", t.ID, "state", final.State, "wanted", o.state, "reason", final.Reason)
	return final.State, nil
}

// due lists what is past its deadline by the clock of Redis.
var due = redis.NewScript(`
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)`)

// sweep ends what is past its deadline, whichever node it was admitted on.
func (g *Gateway) sweep(ctx context.Context) error {
	g.underWay.forget(time.Now().Add(-lostGrace))
	ids, err := due.Run(ctx, g.redis, []string{keyDeadlines}).StringSlice()
	if err != nil {
		return err
	}
	var failed error
	for _, id := range ids {
		t, err := g.load(ctx, id)
		if errors.Is(err, errGone) {
			// Redis evicted it; reconcile ends it in the journal.
			if err := g.redis.ZRem(ctx, keyDeadlines, id).Err(); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			_, err = g.finish(ctx, t, outcome{state: Expired})
		}
		if err != nil && !errors.Is(err, errGone) {
			failed = errors.Join(failed, err) // the others are not to wait for this one
		}
	}
	return failed
}
