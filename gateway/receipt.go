package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/smpp"
)

// noteSent remembers which messages carried the challenge, and returns the
// receipts that were faster than that. A final state is left alone.
var noteSent = redis.NewScript(`
local early = {'noted'}
for i = 2, #KEYS do
  -- The state stays in the value, for this script to be run again. That of
  -- another transaction's message is none of ours: an operator may give an id
  -- again.
  local known = redis.call('GET', KEYS[i]) or ''
  local state = string.match(known, 'state:([%w_]+)')
  local owner = string.match(known, 'id:(%w+)')
  if owner and owner ~= ARGV[1] then state = nil end
  if state then table.insert(early, state) end
  redis.call('SET', KEYS[i], 'id:' .. ARGV[1] .. (state and ' state:' .. state or ''), 'PX', ARGV[2])
end
local found = redis.call('HMGET', KEYS[1], 'state', 'progress')
if found[1] == 'pending' then redis.call('HSET', KEYS[1], 'sent', ARGV[3], 'progress', found[2] == 'accepted' and 'sent' or found[2]) end
return early`)

// receiptPeriod is how long a message's receipt is waited for, or kept if it
// came before the message's id was known.
const receiptPeriod = 15 * time.Minute

// earlyPeriod is how long a receipt is kept that came before its message's id
// was known: that is a matter of a response on its way, and an operator that
// begins its ids anew must not find old ones.
const earlyPeriod = time.Minute

// sent notes that the operator has the challenge. It is on its way whatever fails
// here.
func (g *Gateway) sent(ctx context.Context, t *Transaction, operator *smpp.Pool, at time.Time, messageIDs []string) {
	g.underWay.sent(t.ID, at)
	keys := []string{keyTransaction(t.ID)}
	for _, id := range messageIDs {
		keys = append(keys, keyReceipt(operator.Name, id))
	}
	early, err := g.runScript(ctx, noteSent, keys, t.ID, receiptPeriod.Milliseconds(), at.UnixMicro())
	if err != nil {
		g.log.Warn("receipts of a challenge cannot be told", "id", t.ID, "err", err)
		return
	}
	for _, f := range early[1:] {
		if err := g.receipt(ctx, operator, t.ID, fate(f)); err != nil {
			g.log.Warn("early receipt lost", "id", t.ID, "err", err)
		}
	}
}

// takeReceipt finds whose message a receipt is about. One that is faster than
// the note of its id is kept for it. That the telephone has the message, which
// most say, is noted at once: 1 if the transaction was pending.
var takeReceipt = redis.NewScript(`
local known = redis.call('GET', KEYS[1])
local id = string.match(known or '', 'id:(%w+)')
if not id then
  if known and ARGV[3] == '0' then return {''} end -- what says less does not take its place
  redis.call('SET', KEYS[1], 'state:' .. ARGV[1], 'PX', ARGV[2])
  return {''}
end
if ARGV[1] ~= ARGV[4] then return {id} end
local tx = ARGV[5] .. id
if redis.call('HGET', tx, 'state') ~= 'pending' then return {id, 0} end
redis.call('HSET', tx, 'progress', 'delivered')
return {id, 1}`)

// fate is what a receipt says of a message: its state in small letters, or
// that the telephone could not be reached.
type fate string

const fateAbsent fate = "absent"

var fateDelivered = fateOf(smpp.Receipt{State: smpp.Delivered})

func fateOf(r smpp.Receipt) fate {
	if r.Absent() {
		return fateAbsent
	}
	return fate(strings.ToLower(r.State.String()))
}

// ends is the state that a transaction ends in when one of its messages met
// this fate; empty if it goes on.
func (f fate) ends() State {
	if f == fateAbsent {
		return Absent
	}
	if state, err := smpp.ParseState(string(f)); err == nil && state.Failed() {
		return Undeliverable
	}
	return ""
}

// last reports whether nothing else can become of the message.
func (f fate) last() bool { return f == fateDelivered || f.ends() != "" }

// receiveReceipt takes a delivery receipt.
func (g *Gateway) receiveReceipt(ctx context.Context, operator *smpp.Pool, m *smpp.ShortMessage) error {
	r, err := smpp.ParseReceipt(m)
	if err != nil {
		g.drop("receipt not understood")
		return nil
	}
	f, key := fateOf(r), keyReceipt(operator.Name, operator.IDs.Receipted(m, r))
	last := 0
	if f.last() {
		last = 1
	}
	known, err := g.runScript(ctx, takeReceipt, []string{key}, string(f), earlyPeriod.Milliseconds(), last, string(fateDelivered), keyTransaction(""))
	if err != nil {
		return err
	}
	switch {
	case known[0] == "":
		g.countReceipt(operator, "unknown", false) // or early: then it is counted again
	case len(known) == 2:
		g.countReceipt(operator, f, known[1] == "0")
	default:
		return g.receipt(ctx, operator, known[0], f)
	}
	return nil
}

func (g *Gateway) countReceipt(operator *smpp.Pool, f fate, late bool) {
	if late {
		f = "late"
	}
	g.metrics.receipts.WithLabelValues(operator.Name, string(f)).Inc()
}

var noteDelivered = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return {0} end
redis.call('HSET', KEYS[1], 'progress', 'delivered')
return {1}`)

// receipt acts on what became of one of the messages of a challenge.
func (g *Gateway) receipt(ctx context.Context, operator *smpp.Pool, id string, f fate) error {
	state, late := f.ends(), false
	switch {
	case state != "":
		ended, err := g.endBy(ctx, id, f)
		if err != nil {
			return err
		}
		late = ended != state
	case f == fateDelivered:
		pending, err := g.runScript(ctx, noteDelivered, []string{keyTransaction(id)})
		if err != nil {
			return err
		}
		late = pending[0] == "0"
	}
	g.countReceipt(operator, f, late)
	return nil
}

// endBy ends a transaction whose challenge did not get through, and returns the
// state that it has then.
func (g *Gateway) endBy(ctx context.Context, id string, f fate) (State, error) {
	t, err := g.load(ctx, id)
	if err == nil {
		var state State
		if state, err = g.finish(ctx, t, outcome{state: f.ends(), reason: "receipt " + string(f)}); err == nil {
			return state, nil
		}
	}
	if errors.Is(err, errGone) {
		return "", nil
	}
	return "", err
}
