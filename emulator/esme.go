package emulator

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"imza/smpp"
)

// This file is the way of messages and receipts to those who are bound.

// everyone is in place of a system_id: whoever is bound.
const everyone = ""

// Retries of what nobody took: the first pause, which is doubled up to the
// longest, and for how long in all.
const (
	retryFirst   = 100 * time.Millisecond
	retryLongest = 10 * time.Second
	retryFor     = 5 * time.Minute
)

// maxWaiting is how many messages may wait to be taken before no more are
// accepted.
const maxWaiting = 10_000

// esmes are those who bound to receive, and what waits for them.
type esmes struct {
	waiting atomic.Int64 // messages that wait to be taken, here or on a session

	mu     sync.Mutex
	bound  []*smpp.Session
	latest *smpp.Session // that something went over
	parked []*outgoing   // for somebody who is not bound
}

// outgoing is a message or a receipt for an ESME.
type outgoing struct {
	systemID string // everyone: whoever is bound
	m        *smpp.ShortMessage
	to       *fates
	session  *smpp.Session // that it would best go over; nil: any

	began time.Time // when it was handed out first
	pause time.Duration
}

// hand brings a deliver_sm to one of the sessions of a system_id. Unless one
// takes it or refuses it for good, it comes again.
func (c *SMSC) hand(o *outgoing) {
	if o.began.IsZero() {
		o.began = time.Now()
		c.esmes.waiting.Add(1)
	}
	s := c.choose(o)
	if s == nil {
		return
	}
	err := s.Deliver(c.ctx, asKnownTo(s, o.m))
	switch {
	case err == nil:
		c.esmes.waiting.Add(-1)
		o.to.delivered.Add(1)
	case refusedForGood(err) || time.Since(o.began) > retryFor:
		c.drop(o)
	default:
		c.Log.Debug("smsc: to be delivered again", "err", err)
		o.session, o.pause = nil, min(max(2*o.pause, retryFirst), retryLongest)
		c.later.after(o.pause/2+rand.N(o.pause/2), false, func() { c.hand(o) })
	}
}

func (c *SMSC) drop(o *outgoing) {
	c.esmes.waiting.Add(-1)
	o.to.failed.Add(1)
}

// asKnownTo leaves out TLVs for who bound with an interface_version that has
// none (SMPP 3.4 §3.4).
func asKnownTo(s *smpp.Session, m *smpp.ShortMessage) *smpp.ShortMessage {
	if len(m.TLVs) == 0 || s.Request().InterfaceVersion >= 0x34 {
		return m
	}
	plain := *m
	plain.TLVs = nil
	return &plain
}

// refusedForGood tells a refusal from "not now".
func refusedForGood(err error) bool {
	var status smpp.Status
	if !errors.As(err, &status) {
		return false // the session ended, or there was no response
	}
	switch status {
	case smpp.StatusTemporary, smpp.StatusQueueFull, smpp.StatusThrottled, smpp.StatusSystemError, smpp.StatusNotBound:
		return false
	}
	return true
}

// choose finds a session for a message. If there is none the message waits for
// one who binds.
func (c *SMSC) choose(o *outgoing) *smpp.Session {
	e := &c.esmes
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.choose(o)
	if s == nil {
		if len(e.parked) == 0 {
			c.later.after(retryFor, false, c.prune)
		}
		e.parked = append(e.parked, o)
		return nil
	}
	e.latest = s
	return s
}

// choose prefers the session that the message belongs to, and then the one that
// something went over last, as long as neither is busy: what goes over one
// connection at about the same time is written, and read, together. Otherwise it
// is the session with least to do. The caller holds mu.
func (e *esmes) choose(o *outgoing) *smpp.Session {
	const busy = 16
	for _, s := range []*smpp.Session{o.session, e.latest} {
		if s != nil && o.isFor(s) && slices.Contains(e.bound, s) && s.Unanswered() < busy {
			return s
		}
	}
	var best *smpp.Session
	least := 0
	for i, first := 0, rand.IntN(len(e.bound)+1); i < len(e.bound); i++ {
		s := e.bound[(first+i)%len(e.bound)]
		if !o.isFor(s) {
			continue
		}
		if load := s.Unanswered(); best == nil || load < least {
			best, least = s, load
		}
	}
	return best
}

func (o *outgoing) isFor(s *smpp.Session) bool {
	return o.systemID == everyone || s.Request().SystemID == o.systemID
}

// prune drops what has waited too long for somebody to bind.
func (c *SMSC) prune() {
	e := &c.esmes
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parked = slices.DeleteFunc(e.parked, func(o *outgoing) bool {
		over := time.Since(o.began) >= retryFor
		if over {
			c.drop(o)
		}
		return over
	})
	if len(e.parked) > 0 {
		c.later.after(retryFor-time.Since(e.parked[0].began), false, c.prune)
	}
}

// onBind is told of every session.
func (c *SMSC) onBind(s *smpp.Session) {
	if isNumber(s.Request().SystemID) {
		c.handsetBound(s)
		return
	}
	if !s.Receives() {
		return
	}
	e := &c.esmes
	e.mu.Lock()
	e.bound = append(e.bound, s)
	var ready []*outgoing
	e.parked = slices.DeleteFunc(e.parked, func(o *outgoing) bool {
		if o.isFor(s) {
			ready = append(ready, o)
		}
		return o.isFor(s)
	})
	e.mu.Unlock()
	c.handAll(ready)
	c.beside(func() {
		<-s.Done()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.bound = slices.DeleteFunc(e.bound, func(b *smpp.Session) bool { return b == s })
	})
}

// handAll hands out what has waited, as many at once as a session has room for.
func (c *SMSC) handAll(ready []*outgoing) {
	var next atomic.Int64
	for range min(len(ready), window) {
		c.beside(func() {
			for i := next.Add(1) - 1; int(i) < len(ready); i = next.Add(1) - 1 {
				c.hand(ready[i])
			}
		})
	}
}
