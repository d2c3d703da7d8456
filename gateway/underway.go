package gateway

import (
	"slices"
	"sync"
	"time"

	"imza/simcard"
)

// underWay is what a node knows of transactions that have not ended: those it
// admitted, and who waits for their end. Redis knows better; this only saves
// asking it for what cannot have changed.
type underWay struct {
	mu    sync.Mutex
	ids   map[string]*pending
	lines map[simcard.MSISDN]string // the one that was admitted last for a telephone
}

type pending struct {
	transaction *Transaction // nil: another node admitted it
	waiters     []chan *Transaction
}

// of is where a transaction is kept; the lock is held.
func (u *underWay) of(id string) *pending {
	if u.ids == nil {
		u.ids = make(map[string]*pending)
	}
	p := u.ids[id]
	if p == nil {
		p = new(pending)
		u.ids[id] = p
	}
	return p
}

// admitted keeps a transaction, which nobody may change from then on.
func (u *underWay) admitted(t *Transaction) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of(t.ID).transaction = t
	if u.lines == nil {
		u.lines = make(map[simcard.MSISDN]string)
	}
	u.lines[t.MSISDN] = t.ID
}

// sent notes when the operator took a transaction's challenge.
func (u *underWay) sent(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.ids[id]; p != nil && p.transaction != nil {
		t := *p.transaction
		t.Sent = at
		p.transaction = &t
	}
}

// find is a copy of a transaction that was admitted here and has not ended, as far
// as this node knows; nil of others.
func (u *underWay) find(id string) *Transaction {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.copyOf(id)
}

// on is find by the telephone.
func (u *underWay) on(m simcard.MSISDN) *Transaction {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.copyOf(u.lines[m])
}

// copyOf is find; the lock is held.
func (u *underWay) copyOf(id string) *Transaction {
	p := u.ids[id]
	if p == nil || p.transaction == nil {
		return nil
	}
	t := *p.transaction
	return &t
}

// over forgets a transaction, but not who waits for it; the lock is held.
func (u *underWay) over(id string, p *pending) {
	if t := p.transaction; t != nil && u.lines[t.MSISDN] == id {
		delete(u.lines, t.MSISDN)
	}
	p.transaction = nil
}

// wait returns a channel that takes the transaction when it has ended, or nil if
// it ended on another node; stop must be called.
func (u *underWay) wait(id string) (ended <-chan *Transaction, stop func()) {
	c := make(chan *Transaction, 1)
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.of(id)
	p.waiters = append(p.waiters, c)
	return c, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		p.waiters = slices.DeleteFunc(p.waiters, func(other chan *Transaction) bool { return other == c })
		u.drop(id, p)
	}
}

// drop forgets what nobody waits for and nobody admitted; the lock is held.
func (u *underWay) drop(id string, p *pending) {
	if len(p.waiters) == 0 && p.transaction == nil && u.ids[id] == p {
		delete(u.ids, id)
	}
}

// ended tells those who wait for a transaction that it has ended.
func (u *underWay) ended(id string, final *Transaction) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.ids[id]
	if p == nil {
		return
	}
	u.over(id, p)
	for _, c := range p.waiters {
		select {
		case c <- final:
		default:
		}
	}
	u.drop(id, p)
}

// atOnce is how many transactions forget looks at: the lock is not to be held for
// long, and a map begins at another place each time.
const atOnce = 5000

// forget drops transactions whose deadline is long past: another node ended them,
// and this one was not told.
func (u *underWay) forget(before time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	looked := 0
	for id, p := range u.ids {
		if looked++; looked > atOnce {
			return
		}
		if p.transaction != nil && p.transaction.Deadline.Before(before) {
			u.over(id, p)
			u.drop(id, p)
		}
	}
}
