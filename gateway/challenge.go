package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// patience is how long a challenge may wait for its turn before the permission
// set is asked about it again.
const patience = time.Second

// errNoLongerWanted ends the sending of a challenge whose transaction has
// ended while it waited.
var errNoLongerWanted = errors.New("gateway: the transaction has ended")

// push sends a transaction's challenge, on a goroutine of its own. Nothing is
// remembered of the attempt: if the process dies here the transaction expires,
// and nobody is prompted twice.
func (g *Gateway) push(t *Transaction, timeout time.Duration) {
	g.pushes.Go(func() {
		// By this node's own clock, which need not agree with that of Redis.
		ctx, cancel := context.WithDeadline(g.ctx, t.Accepted.Add(timeout))
		defer cancel()
		if err := g.send(ctx, t); err != nil {
			g.unsent(t, err)
		}
	})
}

func (g *Gateway) send(ctx context.Context, t *Transaction) error {
	segments, err := g.seal(t)
	if err != nil {
		return err
	}
	messages := make([]*smpp.ShortMessage, len(segments))
	for i, ud := range segments {
		messages[i] = &smpp.ShortMessage{
			Source: g.source, Dest: smpp.International(t.MSISDN.Digits()),
			ESMClass: smpp.ESMClassUDHI, ProtocolID: sms.PIDDataDownload, DataCoding: sms.DCSClass2Binary,
			RegisteredDelivery: smpp.ReceiptOnFinal, Message: ud,
		}
	}
	turn := func() error {
		// The centre must not deliver after the deadline, however long this took.
		deadline, _ := ctx.Deadline()
		for _, m := range messages {
			m.Validity = smpp.RelativeTime(time.Until(deadline))
		}
		if time.Since(t.Accepted) <= patience {
			return nil
		}
		return g.stillWanted(ctx, t)
	}
	ids, err := g.operator.Submit(ctx, turn, messages...)
	if err != nil {
		return err
	}
	return g.sent(ctx, t, ids)
}

// seal makes the challenge's secured packet and cuts it into segments.
func (g *Gateway) seal(t *Transaction) ([][]byte, error) {
	reference, err := applet.ParseReference(t.ID)
	if err != nil {
		return nil, err
	}
	challenge := applet.Challenge{
		Reference: reference, Operation: applet.Sign, Key: t.Key,
		Algorithm: t.Algorithm, Digest: t.Digest, Time: t.SigningTime, Language: t.Language, Text: t.Text,
	}
	octets, err := challenge.Append(nil)
	if err != nil {
		return nil, err
	}
	channel, err := g.channel(t.ICCID)
	if err != nil {
		return nil, err
	}
	packet, err := channel.SealCommand(t.Counter, octets)
	if err != nil {
		return nil, err
	}
	return sms.Segment(sms.CommandPacket, packet, byte(t.Counter))
}

// channel is the security agreed with one card.
func (g *Gateway) channel(iccid simcard.ICCID) (*ota.Channel, error) {
	keys, err := ota.DeriveKeys(g.masterKey, string(iccid))
	if err != nil {
		return nil, err
	}
	return ota.NewChannel(applet.TAR, ota.Signing, keys)
}

var askAgain = redis.NewScript(policy.Lua + `
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'pending' then return 'ended' end
return verdict(KEYS[2], ARGV[1])`)

// stillWanted asks whether a challenge that had to wait may still go. Where
// that cannot be told it may not, and stays undelivered.
func (g *Gateway) stillWanted(ctx context.Context, t *Transaction) error {
	for range 2 {
		said, err := askAgain.Run(ctx, g.redis, []string{keyTransaction(t.ID), t.keySet()}, string(t.Provider)).Text()
		if err != nil {
			return fmt.Errorf("%w: %w", policy.ErrUnavailable, err)
		}
		switch said {
		case "allow":
			return nil
		case "ended":
			return errNoLongerWanted
		case "block":
			if _, err := g.finish(ctx, t, outcome{state: Blocked}); err != nil {
				return err
			}
			return errNoLongerWanted
		}
		if err := g.permissions.Load(ctx, *t.Employee); err != nil {
			return err
		}
	}
	return policy.ErrUnavailable
}

// unsent ends a transaction whose challenge did not go out.
func (g *Gateway) unsent(t *Transaction, err error) {
	if errors.Is(err, errNoLongerWanted) {
		g.freeTelephone(t)
		return
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return // its deadline will end it
	}
	o := outcome{state: Undeliverable, reason: "not sent"}
	var status smpp.Status
	if errors.As(err, &status) {
		o.reason = fmt.Sprintf("refused by the operator, status %#02x", uint32(status))
	}
	g.log.Warn("challenge not sent", "id", t.ID, "err", err)
	ctx, cancel := context.WithTimeout(g.ctx, redisPatience)
	defer cancel()
	if _, err := g.finish(ctx, t, o); err != nil {
		g.log.Warn("transaction left to its deadline", "id", t.ID, "err", err)
	}
}

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

func (g *Gateway) sent(ctx context.Context, t *Transaction, messageIDs []string) error {
	keys := []string{keyTransaction(t.ID)}
	for _, id := range messageIDs {
		keys = append(keys, keyReceipt(id))
	}
	early, err := noteSent.Run(ctx, g.redis, keys, t.ID, receiptPeriod.Milliseconds()).StringSlice()
	if err != nil {
		g.log.Warn("receipts of a challenge cannot be told", "id", t.ID, "err", err)
		return nil // it is on its way all the same
	}
	for _, text := range early {
		state, err := smpp.ParseState(text)
		if err != nil {
			return err
		}
		if err := g.receipt(ctx, t.ID, state); err != nil {
			return err
		}
	}
	return nil
}

// takeReceipt finds whose message a receipt is about. One that is faster than
// the note of its id is kept for it.
var takeReceipt = redis.NewScript(`
local known = redis.call('GET', KEYS[1])
local id = string.match(known or '', 'id:(%w+)')
if id then return id end
redis.call('SET', KEYS[1], 'state:' .. ARGV[1], 'PX', ARGV[2])
return ''`)

// receive a delivery receipt.
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

// letGo frees a telephone that a transaction holds.
var letGo = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`)

// freeTelephone frees the telephone of a transaction that was withdrawn before
// its challenge went out: nothing is on the screen.
func (g *Gateway) freeTelephone(t *Transaction) {
	ctx, cancel := context.WithTimeout(g.ctx, redisPatience)
	defer cancel()
	if err := letGo.Run(ctx, g.redis, []string{keyTelephone(t.MSISDN)}, t.ID).Err(); err != nil {
		g.log.Warn("telephone left busy until the deadline", "id", t.ID, "err", err)
	}
}
