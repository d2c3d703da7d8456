package emulator

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

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

	server  smpp.Server
	ids     atomic.Uint64
	handing atomic.Int64 // messages that wait to be taken
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	lines  map[string]*Line         // by digits of the number
	remote map[string]*smpp.Session // handsets of other processes, likewise
	bound  []*smpp.Session          // ESMEs that receive
	rebind chan struct{}            // closed when somebody binds
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
	// Scramble: what the handset sends comes out of order, and twice.
	Scramble bool

	held  [][]byte // scrambled: waits for more
	timer *time.Timer
}

// scrambleFor is how long a scrambled line collects before it sends.
const scrambleFor = 50 * time.Millisecond

// NewSMSC makes a centre without lines. account tells who may bind.
func NewSMSC(account func(systemID string) (smpp.Account, bool), log *slog.Logger) *SMSC {
	c := &SMSC{Log: log, lines: make(map[string]*Line), remote: make(map[string]*smpp.Session), rebind: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	// Ids go on from another place after each start, as a real centre's do: one
	// that comes twice would confuse receipts.
	c.ids.Store(rand.Uint64() >> 16 << 16)
	c.server = smpp.Server{
		Options: smpp.Options{SystemID: "imza-smsc", Window: 100, Handler: c.submit, Log: log},
		Account: func(id string) (smpp.Account, bool) {
			if isNumber(id) {
				return c.handsetAccount(id)
			}
			return account(id)
		},
		Bound: c.onBind,
	}
	return c
}

// Add gives a number to a handset and connects the handset to the network.
func (c *SMSC) Add(l *Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines[l.MSISDN.Digits()] = l
	if l.Handset != nil {
		l.Handset.Send = func(tpdu []byte) error { return c.originate(l, tpdu) }
	}
}

// SetOff switches a number's handset off, or on again, for the network.
func (c *SMSC) SetOff(number simcard.MSISDN, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lines[number.Digits()]; l != nil {
		l.Off = off
	}
}

// Serve takes SMPP connections until Close.
func (c *SMSC) Serve(listener net.Listener) error { return c.server.Serve(listener) }

// Close ends all sessions and switches the handsets off.
func (c *SMSC) Close() error {
	c.cancel()
	err := c.server.Close()
	c.mu.Lock()
	lines := make([]*Line, 0, len(c.lines))
	for _, l := range c.lines {
		lines = append(lines, l)
	}
	c.mu.Unlock()
	for _, l := range lines {
		if l.Handset != nil {
			l.Handset.SwitchOff()
		}
	}
	c.running.Wait()
	return err
}

func (c *SMSC) onBind(s *smpp.Session) {
	if isNumber(s.Request().SystemID) {
		c.handsetBound(s)
		return
	}
	c.mu.Lock()
	if s.Receives() {
		c.bound = append(c.bound, s)
	}
	close(c.rebind)
	c.rebind = make(chan struct{})
	c.mu.Unlock()
	c.running.Go(func() {
		<-s.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bound = slices.DeleteFunc(c.bound, func(b *smpp.Session) bool { return b == s })
	})
}

// submit takes a message: it is accepted at once and delivered after.
func (c *SMSC) submit(_ context.Context, s *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	if c.handing.Load() > maxHanding {
		return "", smpp.StatusQueueFull
	}
	id := strconv.FormatUint(c.ids.Add(1), 16)
	if number := s.Request().SystemID; isNumber(number) {
		if m.Dest.Addr == "" {
			return "", smpp.StatusInvalidDest
		}
		if len(m.Content()) > sms.MaxUserData { // no SMS-SUBMIT carries it
			return "", smpp.StatusInvalidMessage
		}
		c.fromRemote(number, m)
		return id, smpp.StatusOK
	}
	c.mu.Lock()
	known := c.lines[m.Dest.Addr] != nil || c.remote[m.Dest.Addr] != nil
	c.mu.Unlock()
	if !known {
		return "", smpp.StatusInvalidDest
	}
	submitted := time.Now()
	c.running.Go(func() {
		r := smpp.Receipt{MessageID: id, State: smpp.Delivered}
		err := c.deliver(m, submitted)
		switch {
		case errors.Is(err, errOff) || errors.Is(err, errNoCard):
			r.State, r.Error = smpp.Undeliverable, smpp.AbsentSubscriber
		case errors.Is(err, ErrBusy): // to the last
			r.State = smpp.Expired
		case errors.Is(err, smpp.ErrUnanswered):
			return // the handset may have it: whatever a receipt said could be wrong
		case err != nil:
			r.State = smpp.Undeliverable
		}
		if err != nil {
			c.Log.Debug("smsc: not delivered", "err", err)
		}
		if m.WantsReceipt(r.State) {
			c.hand(s.Request().SystemID, smpp.NewReceipt(m, r, submitted, time.Now()))
		}
	})
	return id, smpp.StatusOK
}

var errOff = errors.New("emulator: the handset is switched off")

// A card whose toolkit is busy is tried again, as a centre does that is told so
// (TS 23.040 §9.2.3.22, D4): while the message is valid, and no longer than this.
const (
	busyPause = 250 * time.Millisecond
	busyFor   = 30 * time.Second
)

// deliver brings a message to the handset.
func (c *SMSC) deliver(m *smpp.ShortMessage, at time.Time) error {
	patience := busyFor
	if validity, ok := smpp.ParseRelativeTime(m.Validity); ok {
		patience = min(patience, validity)
	}
	for {
		err := c.deliverOnce(m, at)
		if !errors.Is(err, ErrBusy) || time.Since(at)+busyPause > patience || c.ctx.Err() != nil {
			return err
		}
		sleep(c.ctx, busyPause)
	}
}

func (c *SMSC) deliverOnce(m *smpp.ShortMessage, at time.Time) error {
	c.mu.Lock()
	line, remote := c.lines[m.Dest.Addr], c.remote[m.Dest.Addr]
	off := line == nil || line.Handset == nil || line.Off
	c.mu.Unlock()
	switch {
	case remote != nil:
		return c.toRemote(remote, m)
	case off:
		return errOff
	}
	tpdu, err := deliverTPDU(m, at)
	if err != nil {
		return err
	}
	return line.Handset.Deliver(tpdu)
}

// deliverTPDU is a message as an SMS-DELIVER.
func deliverTPDU(m *smpp.ShortMessage, at time.Time) ([]byte, error) {
	d := sms.Deliver{
		Originator: sms.Address{Type: 0x80 | m.Source.TON<<4 | m.Source.NPI, Digits: m.Source.Addr},
		PID:        m.ProtocolID, DCS: m.DataCoding, Timestamp: at.Truncate(time.Second),
		UDHI: m.ESMClass&smpp.ESMClassUDHI != 0, UserData: m.Content(),
	}
	return d.Append(nil)
}

// originate takes an SMS-SUBMIT from a handset. It is accepted at once and
// handed on after.
func (c *SMSC) originate(l *Line, tpdu []byte) error {
	if _, err := sms.ParseSubmit(tpdu); err != nil {
		return err
	}
	if !l.Scramble {
		c.running.Go(func() { c.forward(l, tpdu) })
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.held = append(l.held, tpdu)
	if l.timer == nil {
		l.timer = time.AfterFunc(scrambleFor, func() { c.release(l) })
	} else {
		l.timer.Reset(scrambleFor)
	}
	return nil
}

// release sends what a scrambled line held back: last first, each twice.
func (c *SMSC) release(l *Line) {
	c.mu.Lock()
	held := l.held
	l.held = nil
	c.mu.Unlock()
	slices.Reverse(held)
	for _, tpdu := range held {
		c.forward(l, tpdu)
		c.forward(l, tpdu)
	}
}

func (c *SMSC) forward(l *Line, tpdu []byte) {
	m, err := sms.ParseSubmit(tpdu)
	if err != nil {
		return // it was parsed before
	}
	c.hand(l.Operator, originated(l.MSISDN, &m))
}

// originated is what a handset sends, as the centre hands it on.
func originated(from simcard.MSISDN, m *sms.Submit) *smpp.ShortMessage {
	out := &smpp.ShortMessage{
		Source:     smpp.International(from.Digits()),
		Dest:       smpp.Address{TON: m.Destination.Type >> 4 & 7, NPI: m.Destination.Type & 15, Addr: m.Destination.Digits},
		ProtocolID: m.PID, DataCoding: m.DCS, Message: m.UserData,
	}
	if m.UDHI {
		out.ESMClass = smpp.ESMClassUDHI
	}
	return out
}

// Retries of what nobody took: the first pause, which is doubled up to the
// longest, and for how long in all.
const (
	retryFirst   = 100 * time.Millisecond
	retryLongest = 10 * time.Second
	retryFor     = 5 * time.Minute
)

// maxHanding is how many messages may wait to be taken before no more are
// accepted.
const maxHanding = 10_000

// everyone is in place of a system_id: whoever is bound.
const everyone = ""

// hand brings a deliver_sm to one of the sessions of a system_id, until one
// takes it or refuses it for good.
func (c *SMSC) hand(systemID string, m *smpp.ShortMessage) {
	c.handing.Add(1)
	defer c.handing.Add(-1)
	ctx, cancel := context.WithTimeout(c.ctx, retryFor)
	defer cancel()
	pause := retryFirst
	for ctx.Err() == nil {
		s, rebind := c.boundAs(systemID)
		if s == nil {
			select {
			case <-rebind:
			case <-ctx.Done():
			}
			continue
		}
		err := s.Deliver(ctx, asKnownTo(s, m))
		if err == nil || refusedForGood(err) {
			return
		}
		c.Log.Debug("smsc: to be delivered again", "err", err)
		sleep(ctx, pause/2+rand.N(pause/2))
		pause = min(2*pause, retryLongest)
	}
}

// asKnownTo leaves out TLVs for who bound with an interface_version that has
// none (SMPP 3.4 §3.4).
func asKnownTo(s *smpp.Session, m *smpp.ShortMessage) *smpp.ShortMessage {
	if s.Request().InterfaceVersion >= 0x34 {
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

// boundAs returns one of a system_id's sessions that receive, at random, and a
// channel that is closed when somebody binds.
func (c *SMSC) boundAs(systemID string) (*smpp.Session, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var theirs []*smpp.Session
	for _, s := range c.bound {
		if systemID == everyone || s.Request().SystemID == systemID {
			theirs = append(theirs, s)
		}
	}
	if len(theirs) == 0 {
		return nil, c.rebind
	}
	return theirs[rand.IntN(len(theirs))], c.rebind
}
