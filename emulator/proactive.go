package emulator

import (
	"errors"
	"time"

	"imza/simcard"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// proposal is a proactive command, coded: it waits to be fetched, then for its
// terminal response.
type proposal struct {
	number byte
	kind   toolkit.Type
	octets []byte
}

// waits is the length of the proactive command that is to be fetched next, 0 if
// none is.
func (t *session) waits() int {
	if t.waiting || len(t.queue) == 0 {
		return 0
	}
	return len(t.queue[0].octets)
}

// mostProposals is how many may wait before the toolkit takes nothing more.
const mostProposals = 24

// propose queues a proactive command.
func (s *SIM) propose(c toolkit.Command) error {
	t := &s.toolkit
	t.number = t.number%0xFE + 1
	c.Number = t.number
	var room []byte
	if n := len(t.free); n > 0 {
		room, t.free = t.free[n-1], t.free[:n-1]
	} else {
		room = make([]byte, 0, 256)
	}
	octets, err := c.Append(room[:0])
	if err != nil {
		return err
	}
	t.queue = append(t.queue, proposal{c.Number, c.Type, octets})
	return nil
}

// terminalProfile is TERMINAL PROFILE (TS 102 223 §5.2): a terminal begins, and
// knows nothing of what was. One that takes a menu gets the applet's.
func (s *SIM) terminalProfile(c simcard.Command) simcard.Response {
	if c.P1 != 0 || c.P2 != 0 {
		return status(simcard.SWWrongP1P2)
	}
	if len(c.Data) == 0 {
		return status(simcard.SWWrongLength)
	}
	s.toolkit = session{
		terminal: append(toolkit.Profile(nil), c.Data...),
		segments: sms.Reassembler{Expiry: segmentsExpire, Most: mostMessages},
	}
	if s.toolkit.terminal.Has(toolkit.CanSetUpMenu, toolkit.CanSelectMenu, toolkit.CanSelectItem, toolkit.CanDisplayText, toolkit.CanGetInput) {
		if err := s.setUpMenu(); err != nil {
			return status(simcard.SWTechnical)
		}
	}
	return status(simcard.SWOK)
}

// envelope is ENVELOPE (TS 102 223 §7). A terminal that has not said what it can
// do is not asked for anything, so nothing can come of its envelopes.
func (s *SIM) envelope(c simcard.Command) simcard.Response {
	if c.P1 != 0 || c.P2 != 0 {
		return status(simcard.SWWrongP1P2)
	}
	if s.toolkit.terminal == nil {
		return status(simcard.SWConditions)
	}
	e, err := toolkit.ParseEnvelope(c.Data)
	switch {
	case err != nil:
		return status(simcard.SWWrongData)
	case e.TPDU == nil:
		return s.menuSelection(e.Item)
	case len(s.toolkit.queue) >= mostProposals:
		return status(simcard.SWToolkitBusy)
	}
	return status(s.download(e.TPDU))
}

// download takes a short message. Until the packet's checksum holds every
// packet has the same answer, so that the card tells nobody anything.
func (s *SIM) download(tpdu []byte) simcard.SW {
	d, err := sms.ParseDeliver(tpdu)
	if err != nil || d.PID != sms.PIDDataDownload || !d.UDHI {
		return simcard.SWOK
	}
	part, err := sms.ParseUserData(d.UserData)
	if err != nil {
		return simcard.SWOK
	}
	message, whole, err := s.toolkit.segments.Add(d.Originator.Digits, part, time.Now())
	if err != nil || !whole || message.Kind != sms.CommandPacket {
		return simcard.SWOK
	}
	counter, data, err := s.channel.OpenCommand(message.Payload)
	if err != nil {
		var refusal *ota.Refusal
		if errors.As(err, &refusal) {
			return s.refuse(d.Originator, refusal.Counter, refusal.Status)
		}
		return simcard.SWOK
	}
	switch {
	case counter == ota.MaxCounter: // it is never taken, so that it is never the last one
		return s.refuse(d.Originator, counter, ota.StatusCounterBlocked)
	case counter <= s.profile.Counter:
		return s.refuse(d.Originator, counter, ota.StatusCounterLow)
	}
	// The counter is remembered before the command runs: whatever happens
	// next, this packet is not taken again.
	s.profile.Counter = counter
	if s.save(s.profile) != nil {
		return simcard.SWMemory
	}
	s.refusals = 0
	s.challenge(d.Originator, counter, data)
	return simcard.SWOK
}

// mostRefusals is how many packets are refused by an answer before one is
// accepted.
const mostRefusals = 8

// refuse tells who holds the keys why a packet was not carried out (TS 102 225
// §5.2). Whoever was on the way once can bring a packet again and again, from any
// number, and each answer is a short message that the holder pays for and does not
// see. So there is no second while one waits to leave, and no more than a few until
// a packet is accepted.
func (s *SIM) refuse(to sms.Address, counter uint64, why ota.Status) simcard.SW {
	if len(s.toolkit.queue) == 0 && s.refusals < mostRefusals {
		s.refusals++
		s.respondTo(to, ota.Response{Counter: counter, Status: why}, noWords)
	}
	return simcard.SWOK
}

// noWords is an alpha field that keeps a handset from showing words of its own.
var noWords = []byte{}

// respondTo sends a secured response packet, in as many messages as it needs.
// The alpha field is shown while they leave.
func (s *SIM) respondTo(to sms.Address, r ota.Response, shown []byte) {
	if !s.toolkit.terminal.Has(toolkit.CanSendMessage) {
		return // nobody will know
	}
	packet, err := s.channel.SealResponse(r)
	if err != nil {
		return
	}
	if len(packet) > sms.MaxUserData-3 { // several messages share a reference
		s.profile.Reference++
		if s.save(s.profile) != nil {
			return
		}
	}
	parts, err := sms.Segment(sms.ResponsePacket, packet, s.profile.Reference)
	if err != nil {
		return
	}
	for i, ud := range parts {
		submit := sms.Submit{Reference: byte(i), Destination: to, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true, UserData: ud}
		var room [180]byte
		tpdu, err := submit.Append(room[:0])
		if err != nil {
			return
		}
		if s.propose(toolkit.Command{Type: toolkit.SendShortMessage, Alpha: shown, TPDU: tpdu}) != nil {
			return
		}
		shown = noWords
	}
}

// fetch is FETCH (TS 102 221 §11.2.3).
func (s *SIM) fetch(c simcard.Command) simcard.Response {
	t := &s.toolkit
	switch {
	case c.P1 != 0 || c.P2 != 0:
		return status(simcard.SWWrongP1P2)
	case len(c.Data) > 0:
		return status(simcard.SWWrongLength)
	case t.waits() == 0:
		return status(simcard.SWConditions)
	}
	r := exactly(t.queue[0].octets, c)
	if r.SW == simcard.SWOK {
		t.fetched, t.waiting = t.queue[0], true
		t.queue = append(t.queue[:0], t.queue[1:]...)
		t.free = append(t.free, t.fetched.octets) // the answer is a copy, made before the next command
	}
	return r
}

// terminalResponse is TERMINAL RESPONSE (TS 102 221 §11.2.4).
func (s *SIM) terminalResponse(c simcard.Command) simcard.Response {
	t := &s.toolkit
	switch {
	case c.P1 != 0 || c.P2 != 0:
		return status(simcard.SWWrongP1P2)
	case !t.waiting:
		return status(simcard.SWConditions)
	}
	r, err := toolkit.ParseResponse(c.Data)
	if err != nil || r.Number != t.fetched.number || r.Type != t.fetched.kind {
		return status(simcard.SWWrongData)
	}
	t.waiting = false
	switch {
	case r.Type == toolkit.SendShortMessage || r.Type == toolkit.SetUpMenu:
		// An answer that did not get out is not sent again: the gateway waits for
		// its deadline.
	case t.menu != nil:
		s.proceed(r)
	case t.asked.active:
		s.responded(r)
	}
	return status(simcard.SWOK)
}
