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
local early = {}
for i = 2, #KEYS do
  -- The state stays in the value, for this script to be run again.
  local state = string.match(redis.call('GET', KEYS[i]) or '', 'state:(%w+)')
  if state then table.insert(early, state) end
  redis.call('SET', KEYS[i], 'id:' .. ARGV[1] .. (state and ' state:' .. state or ''), 'PX', ARGV[2])
end
if redis.call('HGET', KEYS[1], 'progress') == 'accepted' then redis.call('HSET', KEYS[1], 'progress', 'sent') end
return early`)

// receiptPeriod is how long a message's receipt is waited for, or kept if it
// came before the message's id was known.
const receiptPeriod = 15 * time.Minute

// sent notes it. The challenge is on its way whatever fails here.
func (g *Gateway) sent(ctx context.Context, t *Transaction, messageIDs []string) {
	keys := []string{keyTransaction(t.ID)}
	for _, id := range messageIDs {
		keys = append(keys, keyReceipt(id))
	}
	early, err := noteSent.Run(ctx, g.redis, keys, t.ID, receiptPeriod.Milliseconds()).StringSlice()
	if err != nil {
		g.log.Warn("receipts of a challenge cannot be told", "id", t.ID, "err", err)
	}
	for _, text := range early {
		state, err := smpp.ParseState(text)
		if err == nil {
			err = g.receipt(ctx, t.ID, state)
		}
		if err != nil {
			g.log.Warn("early receipt lost", "id", t.ID, "err", err)
		}
	}
}

// takeReceipt finds whose message a receipt is about. One that is faster than
// the note of its id is kept for it.
var takeReceipt = redis.NewScript(`
local known = redis.call('GET', KEYS[1])
local id = string.match(known or '', 'id:(%w+)')
if id then return id end
redis.call('SET', KEYS[1], 'state:' .. ARGV[1], 'PX', ARGV[2])
return ''`)

// receiveReceipt takes a delivery receipt.
func (g *Gateway) receiveReceipt(ctx context.Context, m *smpp.ShortMessage) error {
	r, err := smpp.ParseReceipt(m)
	if err != nil {
		g.drop("receipt not understood")
		return nil
	}
	id, err := takeReceipt.Run(ctx, g.redis, []string{keyReceipt(r.MessageID)}, r.State.String(), receiptPeriod.Milliseconds()).Text()
	if err != nil {
		return err
	}
	if id == "" {
		g.metrics.receipts.WithLabelValues("early_or_unknown").Inc()
		return nil
	}
	return g.receipt(ctx, id, r.State)
}

var noteDelivered = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') == 'pending' then redis.call('HSET', KEYS[1], 'progress', 'delivered') end
return 1`)

// receipt acts on what became of one of the messages of a challenge.
func (g *Gateway) receipt(ctx context.Context, id string, state smpp.State) error {
	g.metrics.receipts.WithLabelValues(strings.ToLower(state.String())).Inc()
	switch {
	case state == smpp.Delivered:
		return noteDelivered.Run(ctx, g.redis, []string{keyTransaction(id)}).Err()
	case !state.Failed():
		return nil
	}
	t, err := g.load(ctx, id)
	if errors.Is(err, errGone) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = g.finish(ctx, t, outcome{state: Undeliverable, reason: "receipt " + state.String()})
	return err
}
