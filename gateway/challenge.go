package gateway

import (
	"context"
	"errors"
	"fmt"
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

// errNoOperator says that no operator is known to have a number.
var errNoOperator = errors.New("gateway: no operator for this number")

func (g *Gateway) send(ctx context.Context, t *Transaction) error {
	operator := g.network.Operator(t.MSISDN.Digits())
	if operator == nil {
		return errNoOperator
	}
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
	ids, twice, err := operator.Send(ctx, turn, messages...)
	at := micros(time.Now())
	if twice {
		// The telephone may have had it from an earlier attempt: no refusal and no
		// receipt of this one says that it did not.
		if ids = nil; err != nil {
			g.log.Warn("challenge sent, maybe", "id", t.ID, "operator", operator.Name, "err", err)
		}
		err = nil
	}
	if err != nil {
		return err
	}
	g.sent(ctx, t, operator, at, ids)
	return nil
}

// seal makes the challenge's secured packet and cuts it into segments.
func (g *Gateway) seal(t *Transaction) ([][]byte, error) {
	reference, err := applet.ParseReference(t.ID)
	if err != nil {
		return nil, err
	}
	challenge := applet.Challenge{
		Short: t.Short, Reference: reference, Operation: applet.Sign, Key: t.Key,
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
			if _, err := g.finish(ctx, t, outcome{state: Blocked, line: unsure}); err != nil {
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
	switch {
	case errors.As(err, &status):
		o.reason = fmt.Sprintf("refused by the operator, status %#02x", uint32(status))
	case errors.Is(err, errNoOperator):
		o.reason = "no operator for this number"
	}
	g.log.Warn("challenge not sent", "id", t.ID, "operator", g.operatorName(t), "err", err)
	ctx, cancel := context.WithTimeout(g.ctx, redisPatience)
	defer cancel()
	if _, err := g.finish(ctx, t, o); err != nil {
		g.log.Warn("transaction left to its deadline", "id", t.ID, "err", err)
	}
}

// operatorName is whose number it is, for the log.
func (g *Gateway) operatorName(t *Transaction) string {
	if operator := g.network.Operator(t.MSISDN.Digits()); operator != nil {
		return operator.Name
	}
	return ""
}

// letGo frees a telephone that a transaction holds.
var letGo = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then redis.call('HDEL', KEYS[1], 'id') end
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
