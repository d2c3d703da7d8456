package emulator

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// signer is the signing applet's session: the challenge on the screen, if any.
type signer struct {
	active    bool
	challenge applet.Challenge
	from      sms.Address // who asked, and gets the answer
	counter   uint64      // of the packet that asked
}

// words are the applet's own, by language.
type words struct{ code, pin, wrong string }

var wordsOf = map[applet.Language]words{
	applet.Azerbaijani: {"Kod", "PIN2 daxil edin", "PIN2 səhvdir. Qalan cəhd: %d"},
	applet.English:     {"Code", "Enter PIN2", "Wrong PIN2. Tries left: %d"},
	applet.Russian:     {"Код", "Введите PIN2", "Неверный PIN2. Осталось попыток: %d"},
}

// challenge takes the data of a packet whose checksum held and whose counter
// rose.
func (s *SIM) challenge(from sms.Address, counter uint64, data []byte) {
	asked := signer{active: true, from: from, counter: counter}
	c, err := applet.ParseChallenge(data)
	asked.challenge = c
	switch {
	case err != nil:
		s.answer(asked, applet.NotUnderstood, nil)
	case s.applet.active:
		s.answer(asked, applet.Busy, nil)
	case c.Operation != applet.Sign: // signing under PIN1 is not on this card yet
		s.answer(asked, applet.NotUnderstood, nil)
	case s.profile.key(c.Key) == nil || s.profile.key(c.Key).Issuer == nil:
		s.answer(asked, applet.KeyUnknown, nil)
	case s.profile.PIN2.Tries <= 0:
		s.answer(asked, applet.PINBlocked, nil)
	default:
		s.applet = asked
		w := wordsOf[c.Language]
		s.show(c.Text + "\n" + w.code + ": " + applet.VerificationCode(c.Digest))
	}
}

// show displays a text until the person clears it.
func (s *SIM) show(text string) {
	alphabet, octets, err := sms.EncodeText(text)
	if err != nil {
		s.end(applet.NotUnderstood, nil)
		return
	}
	s.propose(toolkit.Command{Type: toolkit.DisplayText, Qualifier: toolkit.DisplayUserClears | toolkit.DisplayHighPriority,
		Text: toolkit.Text{Coding: byte(alphabet), Octets: octets}})
}

// ask asks for the PIN, digits hidden.
func (s *SIM) ask(text string) {
	alphabet, octets, err := sms.EncodeText(text)
	if err != nil {
		s.end(applet.NotUnderstood, nil)
		return
	}
	s.propose(toolkit.Command{Type: toolkit.GetInput, Qualifier: toolkit.InputHidden, MinInput: 4, MaxInput: pinLen,
		Text: toolkit.Text{Coding: byte(alphabet), Octets: octets}})
}

// responded goes on after the terminal has carried out a command.
func (s *SIM) responded(c toolkit.Command, r toolkit.Response) {
	if c.Type == toolkit.SendShortMessage || !s.applet.active {
		return // an answer that did not get out is not sent again: the gateway waits for its deadline
	}
	w := wordsOf[s.applet.challenge.Language]
	switch r.Result {
	case toolkit.SessionEnded, toolkit.Backward, toolkit.UserRefused:
		s.end(applet.CancelledByUser, nil)
		return
	case toolkit.NoUserResponse:
		s.applet = signer{} // nobody is there: the deadline says so, without a message
		return
	}
	switch {
	case !r.Result.OK():
		s.end(applet.TerminalFailed, nil)
	case c.Type == toolkit.DisplayText:
		s.ask(w.pin)
	case r.Text == nil:
		s.end(applet.TerminalFailed, nil)
	default:
		s.typed(w, *r.Text)
	}
}

// typed takes what the person typed as PIN2.
func (s *SIM) typed(w words, text toolkit.Text) {
	digits, err := sms.DecodeText(sms.Alphabet(text.Coding), text.Octets)
	if err != nil || len(digits) > pinLen {
		s.end(applet.TerminalFailed, nil)
		return
	}
	sw := s.try(&s.profile.PIN2, padPIN(digits), pinTries)
	left, wrong := sw.Tries()
	switch {
	case sw == simcard.SWOK:
		s.sign()
	case sw == simcard.SWPINBlocked:
		s.end(applet.PINBlocked, nil)
	case wrong:
		s.ask(fmt.Sprintf(w.wrong, left))
	default:
		s.end(applet.TerminalFailed, nil)
	}
}

// sign signs what was shown; the PIN was right.
func (s *SIM) sign() {
	c := s.applet.challenge
	what := toSign{hash: c.Algorithm.Hash(), digest: c.Digest, time: c.Time, shownText: sha256.Sum256([]byte(c.Text))}
	key := s.profile.key(c.Key)
	signer, err := key.private()
	switch s.profile.Fault {
	case ForeignKey:
		signer, err = NewP256()
	case AnotherDigest:
		what.digest = make([]byte, len(c.Digest))
		rand.Read(what.digest)
	}
	if err != nil {
		s.end(applet.KeyUnknown, nil)
		return
	}
	signature, err := signedData(key, signer, what)
	if err != nil {
		s.end(applet.KeyUnknown, nil)
		return
	}
	s.end(applet.Signed, signature)
}

// end answers the challenge on the screen.
func (s *SIM) end(result applet.Result, signature []byte) {
	asked := s.applet
	s.applet = signer{}
	s.answer(asked, result, signature)
}

// answer sends an answer: a secured response packet, in as many messages as it
// needs.
func (s *SIM) answer(to signer, result applet.Result, signature []byte) {
	a := applet.Answer{Reference: to.challenge.Reference, Result: result, Signature: signature}
	packet, err := s.channel.SealResponse(ota.Response{Counter: to.counter, Status: ota.StatusOK, Data: a.Append(nil)})
	if err != nil {
		return
	}
	s.profile.Reference++
	if s.save(s.profile) != nil {
		return
	}
	parts, err := sms.Segment(sms.ResponsePacket, packet, s.profile.Reference)
	if err != nil {
		return
	}
	for i, ud := range parts {
		submit := sms.Submit{Reference: byte(i), Destination: to.from, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true, UserData: ud}
		tpdu, err := submit.Append(nil)
		if err != nil {
			return
		}
		s.propose(toolkit.Command{Type: toolkit.SendShortMessage, TPDU: tpdu})
	}
}
