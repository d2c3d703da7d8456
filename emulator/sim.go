package emulator

import (
	"bytes"
	"crypto/subtle"
	"sync"
	"time"

	"imza/simcard"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"

	"imza/simcard/applet"
)

// SIM is a software SIM: a card that answers by APDU and in no other way.
//
//	80 10  TERMINAL PROFILE     80 C2  ENVELOPE (SMS-PP download)
//	80 12  FETCH                80 14  TERMINAL RESPONSE
//	00 20  VERIFY               00 24  CHANGE           00 2C  UNBLOCK
//
// P2 of the PIN commands is 81 for PIN1 and 82 for PIN2. It is safe for
// concurrent use; commands are carried out one after another, as in a card.
type SIM struct {
	mu      sync.Mutex
	profile *Profile
	save    func(*Profile) error // before what is remembered is acted upon
	channel *ota.Channel
	applet  signer

	// What is lost when the power goes.
	segments sms.Reassembler
	queue    []toolkit.Command // the first one waits to be fetched
	fetched  *toolkit.Command  // waits for its terminal response
	number   byte              // of the last proactive command
}

// NewSIM puts a profile into a card. save must store it before it returns.
func NewSIM(p *Profile, save func(*Profile) error) (*SIM, error) {
	channel, err := ota.NewChannel(applet.TAR, ota.Signing, p.OTA)
	if err != nil {
		return nil, err
	}
	s := &SIM{profile: p, save: save, channel: channel}
	s.Reset()
	return s, nil
}

// Reset is power off and on.
func (s *SIM) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
}

// forget ends whatever session was under way.
func (s *SIM) forget() {
	s.segments = sms.Reassembler{Expiry: 5 * time.Minute, Most: 4}
	s.queue, s.fetched = nil, nil
	s.applet = signer{}
}

// Transmit implements simcard.Card.
func (s *SIM) Transmit(command []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := simcard.ParseCommand(command)
	if err != nil {
		return simcard.Response{SW: simcard.SWWrongLength}.Append(nil), nil
	}
	return s.dispatch(c).Append(nil), nil
}

func (s *SIM) dispatch(c simcard.Command) simcard.Response {
	switch c.CLA {
	case 0x80:
		switch c.INS {
		case 0x10: // TERMINAL PROFILE: a terminal begins, and knows nothing of what was
			s.forget()
			return s.done()
		case 0xC2:
			return s.envelope(c)
		case 0x12:
			return s.fetch(c)
		case 0x14:
			return s.terminalResponse(c)
		}
	case 0x00:
		switch c.INS {
		case 0x20:
			return s.verify(c)
		case 0x24:
			return s.change(c)
		case 0x2C:
			return s.unblock(c)
		}
	default:
		return simcard.Response{SW: simcard.SWUnknownCLA}
	}
	return simcard.Response{SW: simcard.SWUnknownINS}
}

// done is the end of a command that went well: it tells of a proactive command
// that waits (TS 102 223 §6.4).
func (s *SIM) done() simcard.Response {
	if s.fetched != nil || len(s.queue) == 0 {
		return simcard.Response{SW: simcard.SWOK}
	}
	octets, err := s.queue[0].Append(nil)
	if err != nil {
		return simcard.Response{SW: simcard.SWTechnical}
	}
	return simcard.Response{SW: simcard.SWProactive(len(octets))}
}

// envelope takes an SMS-PP download. Until the packet's checksum holds every
// packet has the same answer, so that the card tells nobody anything.
func (s *SIM) envelope(c simcard.Command) simcard.Response {
	tpdu, err := toolkit.ParseSMSDownload(c.Data)
	if err != nil {
		return simcard.Response{SW: simcard.SWWrongData}
	}
	d, err := sms.ParseDeliver(tpdu)
	if err != nil || d.PID != sms.PIDDataDownload || !d.UDHI {
		return s.done()
	}
	part, err := sms.ParseUserData(d.UserData)
	if err != nil {
		return s.done()
	}
	message, whole, err := s.segments.Add(d.Originator.Digits, part, time.Now())
	if err != nil || !whole || message.Kind != sms.CommandPacket {
		return s.done()
	}
	counter, data, err := s.channel.OpenCommand(message.Payload)
	if err != nil || counter <= s.profile.Counter || counter == ota.MaxCounter {
		return s.done()
	}
	// The counter is remembered before the command runs: whatever happens
	// next, this packet is not taken again.
	s.profile.Counter = counter
	if s.save(s.profile) != nil {
		return simcard.Response{SW: simcard.SWTechnical}
	}
	s.challenge(d.Originator, counter, data)
	return s.done()
}

// propose queues a proactive command.
func (s *SIM) propose(c toolkit.Command) {
	s.number = s.number%0xFE + 1
	c.Number = s.number
	s.queue = append(s.queue, c)
}

func (s *SIM) fetch(c simcard.Command) simcard.Response {
	if s.fetched != nil || len(s.queue) == 0 {
		return simcard.Response{SW: simcard.SWConditions}
	}
	octets, err := s.queue[0].Append(nil)
	if err != nil {
		return simcard.Response{SW: simcard.SWTechnical}
	}
	if c.Le != len(octets) {
		return simcard.Response{SW: simcard.SWWrongLength}
	}
	s.fetched = &s.queue[0]
	s.queue = s.queue[1:]
	return simcard.Response{Data: octets, SW: simcard.SWOK}
}

func (s *SIM) terminalResponse(c simcard.Command) simcard.Response {
	if s.fetched == nil {
		return simcard.Response{SW: simcard.SWConditions}
	}
	r, err := toolkit.ParseResponse(c.Data)
	if err != nil || r.Number != s.fetched.Number || r.Type != s.fetched.Type {
		return simcard.Response{SW: simcard.SWWrongData}
	}
	command := *s.fetched
	s.fetched = nil
	s.responded(command, r)
	return s.done()
}

// pin finds the PIN that a command is about.
func (s *SIM) pin(c simcard.Command) *PIN {
	switch {
	case c.P1 != 0:
		return nil
	case c.P2 == 0x81:
		return &s.profile.PIN1
	case c.P2 == 0x82:
		return &s.profile.PIN2
	}
	return nil
}

const pinLen = 8 // padded with FF

func (s *SIM) verify(c simcard.Command) simcard.Response {
	pin := s.pin(c)
	switch {
	case pin == nil:
		return simcard.Response{SW: simcard.SWReferencedData}
	case len(c.Data) == 0: // asks for the tries
		return simcard.Response{SW: pin.refused()}
	case len(c.Data) != pinLen:
		return simcard.Response{SW: simcard.SWWrongLength}
	}
	return simcard.Response{SW: s.try(pin, c.Data, pinTries)}
}

func (s *SIM) change(c simcard.Command) simcard.Response {
	pin := s.pin(c)
	if pin == nil {
		return simcard.Response{SW: simcard.SWReferencedData}
	}
	return simcard.Response{SW: s.replace(pin, pin, pinTries, c.Data)}
}

func (s *SIM) unblock(c simcard.Command) simcard.Response {
	pin := s.pin(c)
	if pin == nil {
		return simcard.Response{SW: simcard.SWReferencedData}
	}
	return simcard.Response{SW: s.replace(pin, &s.profile.PUK, pukTries, c.Data)}
}

// replace sets a PIN's digits after the right guard (the PIN itself, or the
// PUK) was given in front of the new ones.
func (s *SIM) replace(pin, guard *PIN, tries int, data []byte) simcard.SW {
	if len(data) != 2*pinLen {
		return simcard.SWWrongLength
	}
	digits, ok := pinDigits(data[pinLen:])
	if !ok {
		return simcard.SWWrongData
	}
	if sw := s.try(guard, data[:pinLen], tries); sw != simcard.SWOK {
		return sw
	}
	*pin = PIN{digits, pinTries}
	if s.save(s.profile) != nil {
		return simcard.SWTechnical
	}
	return simcard.SWOK
}

// try compares eight octets with a PIN. The try is taken away, and that
// stored, before they are compared: cutting the power gives none back.
func (s *SIM) try(pin *PIN, octets []byte, tries int) simcard.SW {
	if pin.Tries <= 0 {
		return simcard.SWPINBlocked
	}
	pin.Tries--
	if s.save(s.profile) != nil {
		return simcard.SWTechnical
	}
	if subtle.ConstantTimeCompare(padPIN(pin.Digits), octets) != 1 {
		return pin.refused()
	}
	pin.Tries = tries
	if s.save(s.profile) != nil {
		return simcard.SWTechnical
	}
	return simcard.SWOK
}

// refused is the status word of a PIN that was not right, or was only asked
// after.
func (p *PIN) refused() simcard.SW {
	if p.Tries <= 0 {
		return simcard.SWPINBlocked
	}
	return simcard.SWTries(p.Tries)
}

func padPIN(digits string) []byte {
	octets := bytes.Repeat([]byte{0xFF}, pinLen)
	copy(octets, digits)
	return octets
}

func pinDigits(octets []byte) (string, bool) {
	digits := bytes.TrimRight(octets, "\xFF")
	for _, d := range digits {
		if d < '0' || d > '9' {
			return "", false
		}
	}
	return string(digits), len(digits) >= 4
}
