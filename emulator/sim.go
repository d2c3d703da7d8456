package emulator

import (
	"sync"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// SIM is a software SIM: a UICC as far as a signing SIM needs one, that answers
// by APDU and in no other way (TS 102 221). It speaks T=0 as a card does: what a
// command with data has to say waits for GET RESPONSE (61XX), and a command
// whose Le is not the answer's length is told the right one (6CXX).
//
//	00 A4  SELECT            00 B0  READ BINARY      00 B2  READ RECORD
//	80 F2  STATUS            00 C0  GET RESPONSE     00 D6  UPDATE BINARY
//	00 20  VERIFY PIN        00 24  CHANGE PIN       00 2C  UNBLOCK PIN
//	00 26  DISABLE PIN       00 28  ENABLE PIN       00 47  GENERATE KEY PAIR
//	80 10  TERMINAL PROFILE  80 C2  ENVELOPE         80 12  FETCH
//	80 14  TERMINAL RESPONSE
//
// It is safe for concurrent use; commands are carried out one after another, as
// in a card.
type SIM struct {
	mu      sync.Mutex
	profile *Profile
	save    func(*Profile) error // before what is remembered is acted upon
	channel *ota.Channel

	// What is lost when the power goes.
	df, ef   *file
	record   int           // the current one of ef, from 1; 0: none
	verified map[byte]bool // PINs, by key reference
	answer   []byte        // waits for GET RESPONSE
	writing  []byte        // a certificate, of which more is to come
	refusals int           // packets that were refused by an answer since one was accepted
	toolkit  session
}

// NewSIM puts a profile into a card. save must store it before it returns.
func NewSIM(p *Profile, save func(*Profile) error) (*SIM, error) {
	channel, err := ota.NewChannel(applet.TAR, ota.Signing, p.OTA)
	if err != nil {
		return nil, err
	}
	for i := range p.Keys {
		if err := p.Keys[i].prepare(); err != nil {
			return nil, err
		}
	}
	s := &SIM{profile: p, save: save, channel: channel}
	s.Reset()
	return s, nil
}

// atr is the answer to reset (ISO 7816-3 §8.2): T=0 at the usual speeds, and
// T=15 with the clock stopped either way and voltages of all classes. The
// historical octets (ISO 7816-4 §12.1.1) say: applications by full and partial
// AID, listed in EF_DIR; files by path, id and short id; no logical channels.
var atr = []byte{
	0x3B, 0x9E, 0x96, 0x80, 0x1F, 0xC7,
	0x80, 0x31, 0xE0, 0x73, 0xF6, 0x21, 0x00, 0x66, 'i', 'm', 'z', 'a', 0x01, 0x00,
	0x00, // TCK, below
}

func init() {
	last := len(atr) - 1
	for _, octet := range atr[1:last] {
		atr[last] ^= octet
	}
}

// ATR is what the card says first when it is given power.
func (*SIM) ATR() []byte { return append([]byte(nil), atr...) }

// Reset is power off and on.
func (s *SIM) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.df, s.ef, s.record = mf, nil, 0
	s.verified = make(map[byte]bool)
	s.answer, s.writing, s.refusals = nil, nil, 0
	s.toolkit = session{}
}

// Idle reports whether the card wants nothing of its handset and waits for
// nothing from it.
func (s *SIM) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.toolkit
	return !t.asked.active && t.menu == nil && !t.waiting && len(t.queue) == 0
}

// Receiving reports whether the card has parts of a message of which others are
// missing.
func (s *SIM) Receiving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.toolkit.segments.Incomplete()
}

// instruction is what the card does with an INS, and of which class it is.
type instruction struct {
	class    byte
	carryOut func(*SIM, simcard.Command) simcard.Response
}

const (
	classISO     = 0x00
	classToolkit = 0x80
)

// instructions are by INS; those of no function are none of the card's.
var instructions [256]instruction

func init() {
	instructions = [256]instruction{
		simcard.SelectFile:       {classISO, (*SIM).selectFile},
		simcard.ReadBinary:       {classISO, (*SIM).readBinary},
		simcard.ReadRecord:       {classISO, (*SIM).readRecord},
		simcard.UpdateBinary:     {classISO, (*SIM).updateBinary},
		simcard.Status:           {classToolkit, (*SIM).status},
		simcard.Verify:           {classISO, (*SIM).verify},
		simcard.ChangePIN:        {classISO, (*SIM).change},
		simcard.UnblockPIN:       {classISO, (*SIM).unblock},
		simcard.DisablePIN:       {classISO, (*SIM).disable},
		simcard.EnablePIN:        {classISO, (*SIM).enable},
		simcard.GenerateKeyPair:  {classISO, (*SIM).generateKeyPair},
		simcard.ManageChannel:    {classISO, (*SIM).manageChannel},
		simcard.TerminalProfile:  {classToolkit, (*SIM).terminalProfile},
		simcard.Envelope:         {classToolkit, (*SIM).envelope},
		simcard.Fetch:            {classToolkit, (*SIM).fetch},
		simcard.TerminalResponse: {classToolkit, (*SIM).terminalResponse},
	}
}

// Transmit implements simcard.Card.
func (s *SIM) Transmit(command []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.respond(command)
	return r.Append(make([]byte, 0, len(r.Data)+2)), nil
}

func (s *SIM) respond(command []byte) simcard.Response {
	waiting := s.answer
	s.answer = nil // only the very next command may have it
	if len(command) < 4 {
		return status(simcard.SWWrongLength)
	}
	do, sw := chosen(command[0], command[1])
	if sw != simcard.SWOK {
		return status(sw)
	}
	c, err := simcard.ParseCommand(command)
	if err != nil {
		return status(simcard.SWWrongLength)
	}
	if do == nil {
		return s.getResponse(c, waiting)
	}
	r := do(s, c)
	// P3 of SELECT is the length of its data, so that even without any it cannot
	// be that of an answer.
	if len(r.Data) > 0 && (len(c.Data) > 0 || c.INS == simcard.SelectFile) {
		s.answer = r.Data
		return status(simcard.SWAvailable(len(r.Data)))
	}
	return s.announce(r)
}

// chosen finds what an instruction does; nil is GET RESPONSE. Bits 1 and 2 of a
// class are the logical channel, 3 and 4 secure messaging (TS 102 221 §10.1.1).
func chosen(class, ins byte) (func(*SIM, simcard.Command) simcard.Response, simcard.SW) {
	switch {
	case class&^0x8F != 0:
		return nil, simcard.SWUnknownCLA
	case class&0x0C != 0:
		return nil, simcard.SWSecureMessaging
	case class&0x03 != 0:
		return nil, simcard.SWChannel
	case ins == simcard.GetResponse && class == classISO:
		return nil, simcard.SWOK
	}
	i := &instructions[ins]
	known := i.carryOut != nil
	switch {
	case known && i.class == class:
		return i.carryOut, simcard.SWOK
	case known || ins == simcard.GetResponse:
		return nil, simcard.SWUnknownCLA
	}
	return nil, simcard.SWUnknownINS
}

// getResponse brings what the command before had to say (TS 102 221 §7.3.1.1).
func (s *SIM) getResponse(c simcard.Command, waiting []byte) simcard.Response {
	switch {
	case c.P1 != 0 || c.P2 != 0:
		return status(simcard.SWWrongP1P2)
	case len(c.Data) > 0:
		return status(simcard.SWWrongLength)
	case len(waiting) == 0:
		return status(simcard.SWConditions)
	case c.Le == 0 || c.Le > len(waiting):
		s.answer = waiting
		return status(simcard.SWLength(len(waiting)))
	case c.Le < len(waiting):
		s.answer = waiting[c.Le:]
		return simcard.Response{Data: waiting[:c.Le], SW: simcard.SWAvailable(len(s.answer))}
	}
	return s.announce(simcard.Response{Data: waiting, SW: simcard.SWOK})
}

// announce puts 91XX in place of 9000 while a proactive command waits
// (TS 102 221 §7.4.2.1).
func (s *SIM) announce(r simcard.Response) simcard.Response {
	if waits := s.toolkit.waits(); r.SW == simcard.SWOK && waits > 0 {
		r.SW = simcard.SWProactive(waits)
	}
	return r
}

func status(sw simcard.SW) simcard.Response { return simcard.Response{SW: sw} }

// exactly gives a command that brings no data the answer's octets, if its Le is
// their number.
func exactly(data []byte, c simcard.Command) simcard.Response {
	if c.Le != len(data) {
		return status(simcard.SWLength(len(data)))
	}
	return simcard.Response{Data: data, SW: simcard.SWOK}
}

// manageChannel is refused: there is the basic channel only.
func (*SIM) manageChannel(simcard.Command) simcard.Response { return status(simcard.SWChannel) }

// segmentsExpire is how long a message may stay without its missing segments,
// and mostMessages how many may.
const (
	segmentsExpire = 5 * time.Minute
	mostMessages   = 4
)

// session is what goes on between card and handset.
type session struct {
	terminal toolkit.Profile // what the handset can do; nil: it has not said
	segments sms.Reassembler
	queue    []proposal // the first one waits to be fetched
	fetched  proposal   // waits for its terminal response, if waiting
	waiting  bool
	free     [][]byte  // of proposals that were fetched, for those to come
	number   byte      // of the last proactive command
	asked    pending   // on the screen
	menu     *dialogue // on the screen
}
