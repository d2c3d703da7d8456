package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/pki"
	"imza/pki/cms"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// Receive takes what an operator delivers: a segment of a card's answer, or a
// receipt. It is the handler of every operator's pool. The message is
// acknowledged once what it carried is stored; if Redis or the record is away
// the operator is told to deliver it again.
func (g *Gateway) Receive(ctx context.Context, operator *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
	var err error
	if m.IsReceipt() {
		err = g.receiveReceipt(ctx, operator, m)
	} else {
		err = g.receiveSegment(ctx, m)
	}
	if err != nil {
		g.log.Warn("a message is to be delivered again", "operator", operator.Name, "err", err)
		return smpp.StatusTemporary
	}
	return smpp.StatusOK
}

// Malformed counts a message that SMPP already could not read.
func (g *Gateway) Malformed(error) { g.drop("not SMPP") }

// drop counts a message that nothing comes of. Garbage is not worth a line in
// the log each.
func (g *Gateway) drop(reason string) {
	g.metrics.dropped.WithLabelValues(reason).Inc()
	g.log.Debug("message dropped", "reason", reason)
}

// Bounds of what is kept for one transaction: an answer of cms.MaxSize needs
// fewer segments than maxTotal, and several messages may be incomplete at once.
const (
	maxTotal    = 130
	maxSegments = 3 * maxTotal
)

// collect stores a segment with the others of its message, if the telephone
// has a transaction, and answers with what was found and, when no segment is
// missing, with the transaction and all segments. They stay: if one of somebody
// else's is among them, the card's own may still come and take its place.
var collect = redis.NewScript(`
local line = redis.call('HMGET', KEYS[1], 'id', 'until')
local id, time = line[1], redis.call('TIME')
if not id then return {'unasked'} end
local left = line[2] - time[1] * 1000 - math.floor(time[2] / 1000)
if left <= 0 then return {'unasked'} end
local total = tonumber(ARGV[1])
if total == 1 then return {'whole', id, ARGV[3]} end
local segments, message = ARGV[4] .. id, ARGV[5] .. ':'
if redis.call('HLEN', segments) >= tonumber(ARGV[6]) and redis.call('HEXISTS', segments, message .. ARGV[2]) == 0 then return {'unasked'} end
redis.call('HSET', segments, message .. ARGV[2], ARGV[3])
redis.call('PEXPIRE', segments, math.max(left, 1000))
local all = {}
for i = 1, total do
  all[i] = redis.call('HGET', segments, message .. i)
  if not all[i] then return {'stored'} end
end
return {'whole', id, unpack(all)}`)

// receiveSegment takes one segment of what should be a card's answer.
func (g *Gateway) receiveSegment(ctx context.Context, m *smpp.ShortMessage) error {
	at := micros(time.Now())
	msisdn, err := simcard.ParseMSISDN("+" + m.Source.Addr)
	if err != nil {
		g.drop("no telephone number")
		return nil
	}
	if m.ESMClass&smpp.ESMClassUDHI == 0 {
		g.drop("no header")
		return nil
	}
	ud := m.Content()
	part, err := sms.ParseUserData(ud)
	if err != nil {
		g.drop("header not understood")
		return nil
	}
	if part.Total > maxTotal {
		g.drop("too many segments")
		return nil
	}
	if part.Total == 1 {
		// Nothing has to be kept for others: finish stores what comes of it. What is
		// not the answer to the transaction that this node knows may be that to
		// another, which the telephone has by now.
		if t := g.underWay.on(msisdn); t != nil {
			if why, err := g.take(ctx, at, t, []sms.Part{part}); err != nil || why == taken {
				return err
			}
		}
	}
	found, err := g.runScript(ctx, collect, []string{keyTelephone(msisdn)},
		int(part.Total), int(part.Sequence), ud, keySegments, part.Key(), maxSegments)
	if err != nil {
		return fmt.Errorf("gateway: a segment: %w", err)
	}
	switch found[0] {
	case "unasked":
		g.drop("nothing was asked of this telephone")
		return nil
	case "stored":
		return nil // and others are missing
	}
	why, err := g.assemble(ctx, at, found[1], found[2:])
	if err == nil && why != taken {
		g.drop(why)
	}
	return err
}

// Why nothing came of a message for a transaction; taken, if something did.
const (
	taken             = ""
	segmentsDoNotFit  = "segments do not fit"
	noResponsePacket  = "no response packet"
	notFromTheCard    = "not from the card"
	ofAnotherQuestion = "answers another challenge"
	transactionGone   = "its transaction is gone"
)

// assemble puts a whole message for a transaction together.
func (g *Gateway) assemble(ctx context.Context, at time.Time, id string, segments []string) (why string, err error) {
	parts := make([]sms.Part, 0, len(segments))
	for _, ud := range segments {
		p, err := sms.ParseUserData([]byte(ud))
		if err != nil {
			return "", err // cannot be: it was parsed before it was stored
		}
		parts = append(parts, p)
	}
	t := g.underWay.find(id)
	if t == nil {
		if t, err = g.load(ctx, id); errors.Is(err, errGone) {
			return transactionGone, nil
		} else if err != nil {
			return "", err
		}
	}
	return g.take(ctx, at, t, parts)
}

// take takes all segments of a message for a transaction.
func (g *Gateway) take(ctx context.Context, at time.Time, t *Transaction, parts []sms.Part) (why string, err error) {
	message, err := sms.Join(parts)
	if err != nil {
		return segmentsDoNotFit, nil
	}
	if message.Kind != sms.ResponsePacket {
		return noResponsePacket, nil
	}
	t.Answered = at
	return g.answer(ctx, t, message.Payload)
}

// answer takes a whole response packet from a telephone that has a transaction.
func (g *Gateway) answer(ctx context.Context, t *Transaction, packet []byte) (why string, err error) {
	channel, err := g.channel(t.ICCID)
	if err != nil {
		return "", err
	}
	response, err := channel.OpenResponse(packet)
	if err != nil {
		return notFromTheCard, nil
	}
	if response.Counter != t.Counter {
		return ofAnotherQuestion, nil
	}
	if response.Status == ota.StatusCounterLow {
		return taken, g.counterLow(ctx, t)
	}
	o, err := g.judge(ctx, t, response)
	if err != nil {
		return "", err
	}
	o.line, t.Verified = answered, micros(time.Now())
	_, err = g.finish(ctx, t, o)
	if errors.Is(err, errGone) {
		return transactionGone, nil
	}
	return taken, err
}

// hintCounterLow is the reason of a transaction that expires after its card said
// that the counter was low.
const hintCounterLow = "counter low"

var noteCounterLow = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return 0 end
return redis.call('HSET', KEYS[1], 'hint', ARGV[1])`)

// counterLow takes it that a card has had the challenge's counter. The network
// brings messages twice, and then what the card does with the first is not over,
// so this ends nothing. A card whose counter is ahead of ours says the same: then
// nothing comes, and the reason is on record when the deadline does.
func (g *Gateway) counterLow(ctx context.Context, t *Transaction) error {
	g.drop("counter low")
	if err := noteCounterLow.Run(ctx, g.redis, []string{keyTransaction(t.ID)}, hintCounterLow).Err(); err != nil {
		return fmt.Errorf("gateway: a card's status: %w", err)
	}
	return nil
}

// judge decides how a transaction ends by what its card answered. An error
// means that it cannot be told now.
func (g *Gateway) judge(ctx context.Context, t *Transaction, response ota.Response) (outcome, error) {
	if response.Status != ota.StatusOK {
		return outcome{state: CardError, reason: fmt.Sprintf("response status %02x", byte(response.Status))}, nil
	}
	answer, err := applet.ParseAnswer(response.Data)
	if err != nil {
		return outcome{state: CardError, reason: "answer not understood"}, nil
	}
	if answer.Reference.String() != t.ID {
		return outcome{state: CardError, reason: "answer of another transaction"}, nil
	}
	if answer.Short != t.Short && answer.Result != applet.NotUnderstood {
		return outcome{state: CardError, reason: "answer of another form"}, nil
	}
	switch answer.Result {
	case applet.Signed:
		return g.verify(ctx, t, answer)
	case applet.CancelledByUser:
		return outcome{state: CancelledByUser}, nil
	case applet.PINBlocked:
		return outcome{state: PINBlocked}, nil
	default:
		return outcome{state: CardError, reason: answer.Result.String()}, nil
	}
}

// verify judges a signature by the record as it is now: nothing that it says
// of itself is believed.
func (g *Gateway) verify(ctx context.Context, t *Transaction, answer applet.Answer) (outcome, error) {
	certificate, err := g.directory.Certificate(ctx, t.Serial)
	if err != nil {
		return outcome{}, err
	}
	bad := func(err error) (outcome, error) {
		g.log.Warn("signature refused", "id", t.ID, "err", err)
		return outcome{state: SignatureInvalid, reason: err.Error()}, nil
	}
	if !certificate.ActiveAt(time.Now()) {
		return bad(errors.New("the certificate is no longer active"))
	}
	if err := g.authority.Check(certificate.X509, pki.Signing, t.SigningTime); err != nil {
		return bad(err)
	}
	want := &cms.Expectation{
		Certificate: certificate.X509, Hash: t.Algorithm.Hash(), Digest: t.Digest,
		SigningTime: t.SigningTime, ShownText: sha256.Sum256([]byte(t.Text)),
	}
	signature := answer.Signature
	if answer.Short {
		if signature, err = cms.Assemble(answer.Signature, want); err != nil {
			return bad(err)
		}
	}
	if err := cms.Verify(signature, want); err != nil {
		return bad(err)
	}
	complete, err := cms.AddCertificate(signature, certificate.X509)
	if err != nil {
		return bad(err)
	}
	t.certificate = certificate.X509.Raw
	return outcome{state: Signed, cms: complete}, nil
}

// Certificate is the certificate of a signed transaction, in DER.
func (g *Gateway) Certificate(ctx context.Context, t *Transaction) ([]byte, error) {
	if t.certificate != nil { // this node has just verified by it
		return t.certificate, nil
	}
	c, err := g.directory.Certificate(ctx, t.Serial)
	if err != nil {
		return nil, err
	}
	return c.X509.Raw, nil
}
