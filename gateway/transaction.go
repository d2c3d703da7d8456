package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
)

// State is where a transaction stands.
type State string

// The states. All but Pending are final and never change.
const (
	Pending             State = "pending"
	Signed              State = "signed"
	CancelledByUser     State = "cancelled_by_user"
	PINBlocked          State = "pin_blocked"
	Expired             State = "expired"
	Undeliverable       State = "undeliverable" // the operator refused it, or gave it up
	Absent              State = "absent"        // the telephone could not be reached
	CardError           State = "card_error"
	SignatureInvalid    State = "signature_invalid"
	Blocked             State = "blocked"
	CancelledByProvider State = "cancelled_by_provider"
)

// Final reports whether a transaction has ended.
func (s State) Final() bool { return s != Pending }

// Progress is how far a pending transaction is known to have come.
type Progress string

// The steps of a pending transaction.
const (
	Accepted  Progress = "accepted"  // admitted, the challenge waits for its turn
	Sent      Progress = "sent"      // handed to the operator
	Delivered Progress = "delivered" // the operator says that the telephone has it
)

// Transaction is one request for a signature, from its admission on.
type Transaction struct {
	ID       string    `json:"-"` // the applet.Reference in text form
	State    State     `json:"-"`
	Progress Progress  `json:"-"`
	Reason   string    `json:"-"` // of a final state that has several
	Accepted time.Time `json:"-"`
	Deadline time.Time `json:"-"`
	Ended    time.Time `json:"-"`
	CMS      []byte    `json:"-"` // of a signed one: DER, with the certificate
	Counter  uint64    `json:"-"` // of the challenge's packet

	// By the clock of the node that saw it; zero if none did, or it is not known.
	Sent     time.Time `json:"-"` // the operator took the challenge
	Answered time.Time `json:"-"` // the card's answer was whole
	Verified time.Time `json:"-"` // it was judged

	// What does not change, stored as JSON.
	Provider    policy.Provider
	MSISDN      simcard.MSISDN
	ICCID       simcard.ICCID
	Employee    *policy.Employee `json:",omitempty"` // of an organisation's certificate
	Serial      string           // of the certificate
	Type        CertificateType
	Key         byte
	Short       bool `json:",omitempty"` // the card is asked for the short answer
	Algorithm   applet.Algorithm
	Digest      []byte
	Text        string
	Language    applet.Language
	SigningTime time.Time

	certificate []byte // DER, where this node has just verified by it
}

// VerificationCode is the four digits shown on both sides; empty once only the
// journal knows the transaction.
func (t *Transaction) VerificationCode() string {
	if len(t.Digest) == 0 {
		return ""
	}
	return applet.VerificationCode(t.Digest)
}

// Entry is what the journal keeps of a transaction; State is Pending in the
// entry of its acceptance. It holds neither digest nor text.
type Entry struct {
	ID       string
	Provider policy.Provider
	MSISDN   simcard.MSISDN
	VOEN     policy.VOEN
	Serial   string
	State    State
	Reason   string
	Accepted time.Time
	Deadline time.Time
	Ended    time.Time
}

// ErrNotRecorded is what a Journal's Find returns of an unknown id.
var ErrNotRecorded = errors.New("gateway: no such transaction on record")

// Keys in Redis. One transaction's live in a hash until retention after its
// end; docs/transaction.md tells what each is for.
func keyTransaction(id string) string      { return "imza:transaction:" + id }
func keyTelephone(m simcard.MSISDN) string { return "imza:line:" + string(m) }
func keyReceipt(operator, messageID string) string {
	return "imza:receipt:" + operator + ":" + messageID
}
func keyIdempotency(p policy.Provider, k string) string {
	return "imza:idempotency:" + string(p) + ":" + k
}
func keyWrongUserID(p policy.Provider, m simcard.MSISDN) string {
	return "imza:wrong-user-id:" + string(p) + ":" + string(m)
}

const (
	keyDeadlines  = "imza:deadlines"          // sorted set: id by deadline in ms
	keyUnreadable = "imza:journal:unreadable" // stream of entries that were put aside
	keyJournal    = "imza:journal"            // stream of entries that SQL does not have yet
	keySegments   = "imza:segments:"          // + id: hash, user data by message and sequence number
	channelFinal  = "imza:final"              // "NODE ID" of transactions that have just ended, if another node may wait for them
)

// keySet is where the permission set that has a say is; empty if none has.
func (t *Transaction) keySet() string {
	if t.Employee == nil {
		return ""
	}
	return policy.SetKey(*t.Employee)
}

// errGone says that a transaction is not in Redis (any more).
var errGone = errors.New("gateway: the transaction is not in Redis")

// load reads a transaction from Redis.
func (g *Gateway) load(ctx context.Context, id string) (*Transaction, error) {
	all := redis.NewMapStringStringCmd(ctx, "hgetall", keyTransaction(id))
	if err := g.carryOut(ctx, all); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if len(all.Val()) == 0 {
		return nil, errGone
	}
	return parseTransaction(id, all.Val())
}

func parseTransaction(id string, fields map[string]string) (*Transaction, error) {
	t := &Transaction{
		ID: id, State: State(fields["state"]), Progress: Progress(fields["progress"]),
		Reason: fields["reason"],
	}
	if cms := fields["cms"]; cms != "" {
		t.CMS = []byte(cms)
	}
	if err := json.Unmarshal([]byte(fields["data"]), t); err != nil {
		return nil, fmt.Errorf("gateway: transaction %s in Redis: %w", id, err)
	}
	var err error
	if t.Counter, err = strconv.ParseUint(fields["counter"], 10, 64); err != nil {
		return nil, fmt.Errorf("gateway: transaction %s in Redis: %w", id, err)
	}
	if t.Deadline, err = parseMillis(fields["deadline"]); err != nil {
		return nil, err
	}
	if t.Accepted, err = parseMillis(fields["accepted"]); err != nil {
		return nil, err
	}
	if ended := fields["ended"]; ended != "" {
		if t.Ended, err = parseMillis(ended); err != nil {
			return nil, err
		}
	}
	for name, into := range map[string]*time.Time{"sent": &t.Sent, "answered": &t.Answered, "verified": &t.Verified} {
		if micros := fields[name]; micros != "" {
			if *into, err = parseMicros(micros); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// micros is a time as it is when it comes back from Redis.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// microsOf is a time as it is in Redis; empty if it is not known.
func microsOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func parseMicros(s string) (time.Time, error) {
	micros, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("gateway: a time in Redis: %w", err)
	}
	return time.UnixMicro(micros).UTC(), nil
}

func parseMillis(s string) (time.Time, error) {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("gateway: a time in Redis: %w", err)
	}
	return time.UnixMilli(ms).UTC(), nil
}

// watch has the end of a transaction told to all nodes: one waits for it that did
// not admit it.
var watch = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= 'pending' then return {0} end
redis.call('HSET', KEYS[1], 'watched', 1)
return {1}`)

// Get returns a provider's transaction. While it is pending it waits for its
// end, as long as wait.
func (g *Gateway) Get(ctx context.Context, p policy.Provider, id string, wait time.Duration) (*Transaction, error) {
	if _, err := applet.ParseReference(id); err != nil {
		return nil, refuse(NotFound, "no such transaction")
	}
	ended, stop := g.underWay.wait(id)
	defer stop()
	until := time.Now().Add(wait)
	// What this node admitted has not ended as long as it has not been told so. Who
	// goes on to wait need not ask Redis, too, unless it takes longer.
	t, pause := g.underWay.find(id), 100*time.Millisecond
	if t == nil && wait > 0 {
		if _, err := g.runScript(ctx, watch, []string{keyTransaction(id)}); err != nil {
			return nil, unavailable(Unavailable, err)
		}
	}
	for ; ; pause = time.Second {
		if t == nil || t.Provider != p || wait <= 0 || pause == time.Second {
			var err error
			if t, err = g.look(ctx, p, id); err != nil {
				return nil, err
			}
		}
		left := time.Until(until)
		if t.State.Final() || left <= 0 {
			return t, nil
		}
		// The deadline wakes too, so that it is kept whoever sweeps; and since a
		// wake-up can be lost while Redis is reconnected, so does the clock.
		again := time.NewTimer(min(left, pause, max(time.Until(t.Deadline), 100*time.Millisecond)))
		select {
		case final := <-ended:
			if final != nil {
				again.Stop()
				return final, nil
			}
		case <-again.C:
		case <-g.stopping:
			until = time.Time{}
		case <-ctx.Done():
			again.Stop()
			return t, nil // nobody is there to be told more
		}
		again.Stop()
	}
}

// look reads a provider's transaction once, and ends it if it is due.
func (g *Gateway) look(ctx context.Context, p policy.Provider, id string) (*Transaction, error) {
	t, err := g.load(ctx, id)
	if errors.Is(err, errGone) {
		return g.recorded(ctx, p, id)
	}
	if err != nil {
		return nil, unavailable(Unavailable, err)
	}
	if t.Provider != p {
		return nil, refuse(NotFound, "no such transaction")
	}
	if t.State == Pending && !time.Now().Before(t.Deadline) {
		if _, err := g.finish(ctx, t, outcome{state: Expired}); err != nil {
			return nil, unavailable(Unavailable, err)
		}
		if t, err = g.load(ctx, id); err != nil {
			return nil, unavailable(Unavailable, err)
		}
	}
	return t, nil
}

// recorded is what the journal still knows of a transaction that is no longer
// in Redis: how it ended. One that never ended there was lost with Redis.
func (g *Gateway) recorded(ctx context.Context, p policy.Provider, id string) (*Transaction, error) {
	e, err := g.journal.Find(ctx, id)
	if errors.Is(err, ErrNotRecorded) || (err == nil && e.Provider != p) {
		return nil, refuse(NotFound, "no such transaction")
	}
	if err != nil {
		return nil, unavailable(Unavailable, err)
	}
	t := &Transaction{ID: id, State: e.State, Reason: e.Reason, Deadline: e.Deadline, Ended: e.Ended, Provider: p, MSISDN: e.MSISDN, Serial: e.Serial}
	if t.State == Pending && !time.Now().Before(e.Deadline) {
		t.State, t.Reason, t.Ended = Expired, lost, e.Deadline
	}
	return t, nil
}

// Cancel ends a provider's transaction, if nothing else has.
func (g *Gateway) Cancel(ctx context.Context, p policy.Provider, id string) (*Transaction, error) {
	t, err := g.Get(ctx, p, id, 0)
	if err != nil || t.State.Final() {
		return t, err
	}
	_, err = g.finish(ctx, t, outcome{state: CancelledByProvider})
	if errors.Is(err, errGone) {
		return t, nil // lost with Redis: no signature comes of it
	}
	if err != nil {
		return nil, unavailable(Unavailable, err)
	}
	return g.Get(ctx, p, id, 0)
}
