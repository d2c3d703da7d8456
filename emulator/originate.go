package emulator

import (
	"slices"
	"time"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/smpp"
)

// This file is the way of a message from a handset.

// scrambleFor is how long a scrambled line collects before it sends.
const scrambleFor = 50 * time.Millisecond

// originate takes an SMS-SUBMIT from a handset. It is accepted at once and
// handed on after.
func (c *SMSC) originate(l *Line, tpdu []byte) error {
	s, err := sms.ParseSubmit(tpdu)
	if err != nil {
		return err
	}
	m := originated(l.MSISDN, &s)
	if !l.Scramble {
		c.carry(l.Operator, l.MSISDN.Digits(), m)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l.held = append(l.held, m)
	if l.timer == nil {
		l.timer = time.AfterFunc(scrambleFor, func() { c.beside(func() { c.release(l) }) })
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
	for _, m := range held {
		for range 2 {
			c.counts.fromHandset.accepted.Add(1)
			c.hand(&outgoing{systemID: l.Operator, m: m, to: &c.counts.fromHandset})
		}
	}
}

// carry takes a handset's message through the network to an ESME.
func (c *SMSC) carry(systemID, number string, m *smpp.ShortMessage) {
	var f fate
	if !c.Network.perfect() {
		run := c.run.Load()
		f = c.Network.fate(run.seed, fromHandset, run.place(fromHandset, number, m, time.Now()))
	}
	to := &c.counts.fromHandset
	to.accepted.Add(1)
	if !to.befalls(f) {
		return
	}
	c.passes(f.after, func() { c.hand(&outgoing{systemID: systemID, m: m, to: to}) })
	if f.twice {
		c.passes(f.again, func() { c.hand(&outgoing{systemID: systemID, m: m, to: to}) })
	}
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
