package emulator

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/smpp"
)

// SMSC is an operator's message centre: it takes submit_sm from those who bind,
// delivers to the handset that has the number, sends receipts, and brings what
// handsets send to those who are bound, again and again until it is taken.
//
// Handsets in other processes bind, too: see Attach.
type SMSC struct {
	Log *slog.Logger
	// HandsetPassword is what handsets of other processes bind with; empty: none
	// may. It is set before Serve.
	HandsetPassword string
	// Lines, if set, has the numbers that were not added. It is set before Serve.
	Lines Lines
	// Network is what befalls messages on their way. It is set before Serve.
	Network Network
	// Rate is how many submit_sm are taken in a second; the others are answered
	// ESME_RTHROTTLED. 0 is without limit. It is set before Serve.
	Rate float64

	account func(systemID string) (smpp.Account, bool)
	ids     atomic.Uint64
	run     atomic.Pointer[run]
	counts  counts
	later   later
	limit   *rate.Limiter
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.RWMutex
	closed  bool
	serving serving
	lines   map[string]*Line         // by digits of the number
	remote  map[string]*smpp.Session // handsets of other processes, likewise
	esmes   esmes
}

// Lines finds the lines of many numbers, which need not all be in memory.
type Lines interface {
	// Has tells whether there is a line with the number (its digits).
	Has(number string) bool
	// Line finds the line with the number, and keeps it until Release; nil: there
	// is none. It was connected (SMSC.Connect) before.
	Line(number string) *Line
	// Release says that nothing is delivered to the line any more; it is called
	// once for each Line. What the card and its person do with what was delivered
	// may go on.
	Release(*Line)
}

// Line is a number: the handset that has it, and what the network does to it.
type Line struct {
	MSISDN simcard.MSISDN
	// Handset is nil of a number whose handset is in another process, when it is
	// there.
	Handset *Handset
	// Operator is the system_id that what the handset sends goes to; empty is
	// whoever is bound.
	Operator string
	// Off: the handset is switched off, and its messages are undeliverable since
	// it is absent.
	Off bool
	// Back, of a handset that is Off, is how long after a message came for it the
	// handset is on again: what came is kept, and delivered then, if it is still
	// valid. Each message finds the handset off anew; segments of one message find
	// it off once. 0: it stays off, and what comes is undeliverable.
	Back time.Duration
	// Scramble: what the handset sends comes out of order, and twice.
	Scramble bool

	held  []*smpp.ShortMessage // scrambled: waits for more
	timer *time.Timer
}

// NewSMSC makes a centre without lines. account tells who may bind.
func NewSMSC(account func(systemID string) (smpp.Account, bool), log *slog.Logger) *SMSC {
	c := &SMSC{Log: log, account: account, lines: make(map[string]*Line), remote: make(map[string]*smpp.Session)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.later.do = c.beside
	// Ids go on from another place after each start, as a real centre's do: one
	// that comes twice would confuse receipts.
	c.ids.Store(rand.Uint64() >> 16 << 16)
	c.Begin(0)
	return c
}

// Begin begins a new run: what the network does is decided anew, by this seed,
// and what it still holds of the run before is forgotten. What waits for an ESME
// goes on to wait.
func (c *SMSC) Begin(seed uint64) {
	c.run.Store(newRun(seed))
	c.later.forget()
}

// Add gives a number to a handset and connects the handset to the network.
func (c *SMSC) Add(l *Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines[l.MSISDN.Digits()] = l
	c.Connect(l)
}

// Connect connects a line's handset to the network, without giving it the
// number: that is for Lines to do.
func (c *SMSC) Connect(l *Line) {
	if l.Handset != nil {
		l.Handset.connect(func(tpdu []byte) error { return c.originate(l, tpdu) })
	}
}

// SetOff switches a number's handset off, or on again, for the network. It is for
// numbers that were added.
func (c *SMSC) SetOff(number simcard.MSISDN, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lines[number.Digits()]; l != nil {
		l.Off = off
	}
}

// beside does something beside what else happens; nothing more once the centre is
// closed.
func (c *SMSC) beside(f func()) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.running.Go(f)
	}
}

// submit takes a message: it is accepted at once and delivered after.
func (c *SMSC) submit(_ context.Context, s *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	if c.esmes.waiting.Load() > maxWaiting {
		c.counts.refused.Add(1)
		return "", smpp.StatusQueueFull
	}
	number := s.Request().SystemID
	if isNumber(number) {
		if m.Dest.Addr == "" {
			return "", smpp.StatusInvalidDest
		}
		if len(m.Content()) > sms.MaxUserData { // no SMS-SUBMIT carries it
			return "", smpp.StatusInvalidMessage
		}
		c.fromRemote(number, m)
		return c.newID(), smpp.StatusOK
	}
	if c.limit != nil && !c.limit.Allow() {
		c.counts.throttled.Add(1)
		return "", smpp.StatusThrottled
	}
	if !c.knows(m.Dest.Addr) {
		c.counts.refused.Add(1)
		return "", smpp.StatusInvalidDest
	}
	t := &terminating{m: m, session: s, submitted: time.Now()}
	if !c.accept(t) {
		c.counts.throttled.Add(1)
		return "", smpp.StatusThrottled
	}
	return t.id, smpp.StatusOK
}

func (c *SMSC) newID() string { return strconv.FormatUint(c.ids.Add(1), 16) }

// knows tells whether somebody has the number.
func (c *SMSC) knows(number string) bool {
	c.mu.RLock()
	known := c.lines[number] != nil || c.remote[number] != nil
	c.mu.RUnlock()
	return known || c.Lines != nil && c.Lines.Has(number)
}
