package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy"
	"imza/simcard"
)

// drain moves what the journal's stream holds into SQL. An entry leaves the
// stream only after SQL has it, so a crash in between records it twice, which
// a Journal bears; and nodes may drain at once.
func (g *Gateway) drain(ctx context.Context) error {
	for {
		messages, err := g.redis.XRangeN(ctx, keyJournal, "-", "+", journalBatch).Result()
		if err != nil || len(messages) == 0 {
			return err
		}
		entries := make([]Entry, 0, len(messages))
		ids := make([]string, 0, len(messages))
		for _, m := range messages {
			ids = append(ids, m.ID)
			e, err := parseEntry(m)
			if err != nil {
				g.log.Error("journal: an entry in Redis cannot be read and is put aside", "stream", m.ID, "err", err)
				if err := g.redis.XAdd(ctx, &redis.XAddArgs{Stream: keyUnreadable, Values: m.Values}).Err(); err != nil {
					return err
				}
				continue
			}
			entries = append(entries, e)
		}
		if err := g.journal.Record(ctx, entries); err != nil {
			return err
		}
		if err := g.redis.XDel(ctx, keyJournal, ids...).Err(); err != nil {
			return err
		}
		if len(messages) < journalBatch {
			return nil // more may have come meanwhile: for the next turn
		}
	}
}

// journalBatch is how many entries are moved at once.
const journalBatch = 500

func parseEntry(m redis.XMessage) (e Entry, err error) {
	field := func(name string) string { s, _ := m.Values[name].(string); return s }
	var t struct { // what is kept of a Transaction
		Provider policy.Provider
		MSISDN   simcard.MSISDN
		Employee *policy.Employee
		Serial   string
	}
	if err := json.Unmarshal([]byte(field("data")), &t); err != nil {
		return e, fmt.Errorf("gateway: %w", err)
	}
	e = Entry{ID: field("id"), Provider: t.Provider, MSISDN: t.MSISDN, Serial: t.Serial}
	if t.Employee != nil {
		e.VOEN = t.Employee.VOEN
	}
	if e.State, e.Reason = State(field("state")), field("reason"); e.State == "" {
		e.State = Pending
	}
	if e.Deadline, err = parseMillis(field("deadline")); err != nil {
		return e, err
	}
	if e.Accepted, err = parseMillis(field("accepted")); err != nil {
		return e, err
	}
	if e.State.Final() {
		e.Ended, err = parseMillis(field("ended"))
	}
	return e, err
}

// lost is the reason of a transaction that Redis lost before it ended.
const lost = "lost"

// lostGrace is how long after its deadline a transaction may still be ended by
// a sweep before it counts as lost with Redis.
const lostGrace = 10 * time.Second

// reconcile ends, in the journal, what Redis lost before it ended: accepted on
// record, past its deadline, and not in Redis.
func (g *Gateway) reconcile(ctx context.Context) error {
	unfinished, err := g.journal.Unfinished(ctx, time.Now().Add(-lostGrace))
	if err != nil {
		return err
	}
	var ended []Entry
	for _, e := range unfinished {
		there, err := g.redis.Exists(ctx, keyTransaction(e.ID)).Result()
		if err != nil {
			return err
		}
		if there == 1 {
			continue // the sweep or the drain has it in hand
		}
		e.State, e.Reason, e.Ended = Expired, lost, e.Deadline
		ended = append(ended, e)
	}
	if len(ended) == 0 {
		return nil
	}
	// What ended long ago is in the stream, if not in SQL; the first end stays.
	if err := g.drain(ctx); err != nil {
		return err
	}
	g.log.Warn("transactions that Redis lost were ended", "count", len(ended))
	return g.journal.Record(ctx, ended)
}
