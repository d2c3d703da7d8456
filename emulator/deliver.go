package emulator

import (
	"errors"
	"time"

	"imza/simcard/sms"
	"imza/smpp"
)

// This file is the way of a message to a handset.

// terminating is a message that the centre has accepted for a handset.
type terminating struct {
	m         *smpp.ShortMessage
	id        string
	session   *smpp.Session // that it was submitted on
	submitted time.Time
	place     place
	decided   bool // place is set
	copy      bool // it came a second time: no receipt tells of it
}

// accept takes a message on its way, and reports false if the network is too busy
// for it.
func (c *SMSC) accept(t *terminating) bool {
	f, run := fate{}, c.run.Load()
	if !c.Network.perfect() {
		t.decide(run)
		if t.place.first && t.place.happens(run.seed, "throttled", c.Network.Throttled) {
			return false
		}
		f = c.Network.fate(run.seed, toHandset, t.place)
	}
	// Nothing may go wrong with a message that has an id.
	t.id = c.newID()
	c.counts.toHandset.accepted.Add(1)
	if !c.counts.toHandset.befalls(f) {
		return true
	}
	if f.twice {
		again := *t
		again.copy = true
		c.passes(f.again, func() { c.deliver(&again) })
	}
	c.passes(f.after, func() { c.deliver(t) })
	return true
}

// decide finds what decisions about a message are made by.
func (t *terminating) decide(r *run) {
	if !t.decided {
		t.place, t.decided = r.place(toHandset, t.m.Dest.Addr, t.m, t.submitted), true
	}
}

// passes does f when what the network takes has passed.
func (c *SMSC) passes(d time.Duration, f func()) {
	if d <= 0 {
		c.beside(f)
		return
	}
	c.later.after(d, true, f)
}

var errOff = errors.New("emulator: the handset is switched off")

// A card whose toolkit is busy is tried again, as a centre does that is told so
// (TS 23.040 §9.2.3.22, D4): while the message is valid, and no longer than this.
const (
	busyPause = 250 * time.Millisecond
	busyFor   = 30 * time.Second
)

// deliver brings a message to the handset, now or when that is possible again.
func (c *SMSC) deliver(t *terminating) {
	again, err := c.deliverOnce(t)
	if again.IsZero() {
		c.delivered(t, err)
		return
	}
	expiry := t.submitted.Add(t.validity())
	if errors.Is(err, ErrBusy) && time.Until(expiry) > busyFor-time.Since(t.submitted) {
		expiry = t.submitted.Add(busyFor)
	}
	if again.Before(expiry) {
		c.later.after(time.Until(again), true, func() { c.deliver(t) })
	} else {
		c.later.after(time.Until(expiry), true, func() { c.delivered(t, errExpired) })
	}
}

var errExpired = errors.New("emulator: the message has expired")

// validity is how long the sender wants a message kept for the handset.
func (t *terminating) validity() time.Duration {
	const unsaid = 24 * time.Hour
	if validity, ok := smpp.ParseRelativeTime(t.m.Validity); ok {
		return validity
	}
	return unsaid
}

// deliverOnce brings a message to the handset if the handset takes it now. again
// is when it is worth another try, zero if it is not.
func (c *SMSC) deliverOnce(t *terminating) (again time.Time, err error) {
	number := t.m.Dest.Addr
	c.mu.RLock()
	line, remote := c.lines[number], c.remote[number]
	off := line != nil && line.Off
	c.mu.RUnlock()
	err = errOff
	switch {
	case remote != nil:
		err = c.toRemote(remote, t.m)
	case line != nil:
		again, err = c.toLine(t, line, off)
	case c.Lines != nil:
		if line = c.Lines.Line(number); line != nil {
			again, err = c.toLine(t, line, line.Off)
			c.Lines.Release(line)
		}
	}
	if errors.Is(err, ErrBusy) {
		again = time.Now().Add(busyPause)
	}
	return again, err
}

func (c *SMSC) toLine(t *terminating, l *Line, off bool) (again time.Time, err error) {
	if l.Handset == nil || off && l.Back == 0 {
		return again, errOff
	}
	if off {
		run, now := c.run.Load(), time.Now()
		t.decide(run)
		if again = run.backAt(t.place, l.Back, now); now.Before(again) {
			return again, errOff
		}
	}
	tpdu, err := deliverTPDU(t.m, t.submitted)
	if err != nil {
		return time.Time{}, err
	}
	return time.Time{}, l.Handset.Deliver(tpdu)
}

// deliverTPDU is a message as an SMS-DELIVER.
func deliverTPDU(m *smpp.ShortMessage, at time.Time) ([]byte, error) {
	const header = 24 // with the longest address
	d := sms.Deliver{
		Originator: sms.Address{Type: 0x80 | m.Source.TON<<4 | m.Source.NPI, Digits: m.Source.Addr},
		PID:        m.ProtocolID, DCS: m.DataCoding, Timestamp: at.Truncate(time.Second),
		UDHI: m.ESMClass&smpp.ESMClassUDHI != 0, UserData: m.Content(),
	}
	return d.Append(make([]byte, 0, header+len(d.UserData)))
}

// delivered says what became of a message.
func (c *SMSC) delivered(t *terminating, err error) {
	r := smpp.Receipt{MessageID: t.id, State: smpp.Delivered}
	switch {
	case errors.Is(err, smpp.ErrUnanswered):
		return // the handset may have it: whatever a receipt said could be wrong
	case errors.Is(err, errExpired):
		r.State = smpp.Expired
	case errors.Is(err, errOff) || errors.Is(err, errNoCard):
		r.State, r.Error = smpp.Undeliverable, smpp.AbsentSubscriber
	case err != nil:
		r.State = smpp.Undeliverable
	}
	if err != nil {
		c.Log.Debug("smsc: not delivered", "err", err)
	}
	if err == nil {
		c.counts.toHandset.delivered.Add(1)
	} else if !t.copy {
		c.counts.toHandset.failed.Add(1)
	}
	if !t.copy && t.m.WantsReceipt(r.State) {
		c.receipt(t, r)
	}
}

// receipt sends a receipt, unless the network loses it.
func (c *SMSC) receipt(t *terminating, r smpp.Receipt) {
	n := &c.Network
	o := &outgoing{
		systemID: t.session.Request().SystemID, session: t.session, to: &c.counts.receipts,
		m: smpp.NewReceipt(t.m, r, t.submitted, time.Now()),
	}
	o.to.accepted.Add(1)
	if n.ReceiptAbsent == 0 && n.ReceiptLate == 0 {
		c.hand(o)
		return
	}
	run := c.run.Load()
	t.decide(run)
	switch {
	case t.place.happens(run.seed, "receipt absent", n.ReceiptAbsent):
		o.to.lost.Add(1)
	case t.place.happens(run.seed, "receipt late", n.ReceiptLate):
		o.to.late.Add(1)
		c.passes(n.ReceiptBy, func() { c.hand(o) })
	default:
		c.hand(o)
	}
}
