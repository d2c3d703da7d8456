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
type SMSC struct {
	// Password of a system_id; ok is false if it may not bind.
	Password func(systemID string) (password string, ok bool)
	Log      *slog.Logger

	server  smpp.Server
	ids     atomic.Uint64
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	lines  map[string]*Line // by digits of the number
	bound  []*smpp.Session
	rebind chan struct{} // closed when somebody binds
}

// Line is a number: the handset that has it, and what the network does to it.
type Line struct {
	MSISDN  simcard.MSISDN
	Handset *Handset
	// Off: the handset is switched off, and its messages are undeliverable.
	Off bool
	// Scramble: what the handset sends comes out of order, and twice.
	Scramble bool

	held  [][]byte // scrambled: waits for more
	timer *time.Timer
}

// scrambleFor is how long a scrambled line collects before it sends.
const scrambleFor = 50 * time.Millisecond

// NewSMSC makes a centre without lines.
func NewSMSC(password func(string) (string, bool), log *slog.Logger) *SMSC {
	c := &SMSC{Password: password, Log: log, lines: make(map[string]*Line), rebind: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	// Ids go on from another place after each start, as a real centre's do: one
	// that comes twice would confuse receipts.
	c.ids.Store(rand.Uint64() >> 16 << 16)
	c.server = smpp.Server{
		Options:      smpp.Options{SystemID: "imza-smsc", Window: 100, Inbound: 1000, Handler: c.submit},
		Authenticate: c.authenticate,
		Bound:        c.onBind,
	}
	return c
}

// Add gives a number to a handset and connects the handset to the network.
func (c *SMSC) Add(l *Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines[l.MSISDN.Digits()] = l
	l.Handset.Send = func(tpdu []byte) error { return c.originate(l, tpdu) }
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
		l.Handset.SwitchOff()
	}
	c.running.Wait()
	return err
}

func (c *SMSC) authenticate(r smpp.BindRequest) smpp.Status {
	if password, ok := c.Password(r.SystemID); !ok || password != r.Password {
		return smpp.StatusInvalidPassword
	}
	return smpp.StatusOK
}

func (c *SMSC) onBind(s *smpp.Session) {
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
	c.mu.Lock()
	line := c.lines[m.Dest.Addr]
	c.mu.Unlock()
	if line == nil {
		return "", smpp.StatusInvalidDest
	}
	id := strconv.FormatUint(c.ids.Add(1), 16)
	submitted := time.Now()
	c.running.Go(func() {
		state := smpp.Delivered
		if err := c.deliver(line, m, submitted); err != nil {
			state = smpp.Undeliverable
			c.Log.Debug("smsc: not delivered", "err", err)
		}
		if m.RegisteredDelivery&smpp.ReceiptOnFinal != 0 {
			c.hand(smpp.NewReceipt(m, smpp.Receipt{MessageID: id, State: state}, submitted, time.Now()))
		}
	})
	return id, smpp.StatusOK
}

var errOff = errors.New("emulator: the handset is switched off")

// deliver brings a message to the handset as an SMS-DELIVER.
func (c *SMSC) deliver(l *Line, m *smpp.ShortMessage, at time.Time) error {
	if l.Off {
		return errOff
	}
	d := sms.Deliver{
		Originator: sms.Address{Type: 0x80 | m.Source.TON<<4 | m.Source.NPI, Digits: m.Source.Addr},
		PID:        m.ProtocolID, DCS: m.DataCoding, Timestamp: at.Truncate(time.Second),
		UDHI: m.ESMClass&smpp.ESMClassUDHI != 0, UserData: m.Content(),
	}
	tpdu, err := d.Append(nil)
	if err != nil {
		return err
	}
	return l.Handset.Deliver(tpdu)
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
	deliver := &smpp.ShortMessage{
		Source:     smpp.International(l.MSISDN.Digits()),
		Dest:       smpp.Address{TON: m.Destination.Type >> 4 & 7, NPI: m.Destination.Type & 15, Addr: m.Destination.Digits},
		ProtocolID: m.PID, DataCoding: m.DCS, Message: m.UserData,
	}
	if m.UDHI {
		deliver.ESMClass = smpp.ESMClassUDHI
	}
	c.hand(deliver)
}

// Retries of what nobody took: a pause, and for how long in all.
const (
	retryPause = 100 * time.Millisecond
	retryFor   = 5 * time.Minute
)

// hand brings a deliver_sm to one of those who are bound, until one takes it or
// refuses it for good.
func (c *SMSC) hand(m *smpp.ShortMessage) {
	ctx, cancel := context.WithTimeout(c.ctx, retryFor)
	defer cancel()
	for ctx.Err() == nil {
		s, rebind := c.anyBound()
		if s == nil {
			select {
			case <-rebind:
			case <-ctx.Done():
			}
			continue
		}
		err := s.Deliver(ctx, m)
		if err == nil || refusedForGood(err) {
			return
		}
		c.Log.Debug("smsc: to be delivered again", "err", err)
		sleep(ctx, retryPause)
	}
}

// refusedForGood tells a refusal from "not now".
func refusedForGood(err error) bool {
	var status smpp.Status
	if !errors.As(err, &status) {
		return false // the session ended, or there was no response
	}
	switch status {
	case smpp.StatusTemporary, smpp.StatusQueueFull, smpp.StatusThrottled, smpp.StatusSystemError:
		return false
	}
	return true
}

func (c *SMSC) anyBound() (*smpp.Session, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.bound) == 0 {
		return nil, c.rebind
	}
	return c.bound[rand.IntN(len(c.bound))], c.rebind
}
