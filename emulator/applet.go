package emulator

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// pending is what the signing applet has on the screen, if it is active.
type pending struct {
	active bool
	applet.Challenge
	from    sms.Address // who asked, and gets the answer
	counter uint64      // of the packet that asked
}

// pin is the PIN that a challenge's operation is under.
func (s *SIM) pin(o applet.Operation) *PIN {
	if o == applet.Authenticate {
		return &s.profile.PIN1
	}
	return &s.profile.PIN2
}

// challenge takes the data of a packet whose checksum held and whose counter
// rose.
func (s *SIM) challenge(from sms.Address, counter uint64, data []byte) {
	c, err := applet.ParseChallenge(data)
	asked := pending{true, c, from, counter}
	key := s.profile.key(c.Key)
	t := &s.toolkit
	switch {
	case err != nil || c.Short && s.profile.FullOnly:
		s.answerTo(asked, applet.NotUnderstood)
	case t.asked.active || t.menu != nil:
		s.answerTo(asked, applet.Busy)
	case key == nil || len(key.Certificate) == 0 || key.operation() != c.Operation:
		s.answerTo(asked, applet.KeyUnknown)
	case s.pin(c.Operation).Tries <= 0:
		s.answerTo(asked, applet.PINBlocked)
	case !t.terminal.Has(toolkit.CanDisplayText, toolkit.CanGetInput, toolkit.CanSendMessage):
		s.answerTo(asked, applet.TerminalFailed)
	default:
		t.asked = asked
		s.show(c.Text + "\n" + wordsOf[c.Language].code + ": " + applet.VerificationCode(c.Digest))
	}
}

// show displays a text until the person clears it.
func (s *SIM) show(text string) {
	if err := s.proposeText(toolkit.Command{Type: toolkit.DisplayText, Qualifier: toolkit.DisplayUserClears | toolkit.DisplayHighPriority}, text); err != nil {
		s.end(applet.NotUnderstood)
	}
}

// ask asks for the PIN, digits hidden.
func (s *SIM) ask(text toolkit.Text) {
	if err := s.propose(toolkit.Command{Type: toolkit.GetInput, Qualifier: toolkit.InputHidden, Text: text, MinInput: minPIN, MaxInput: simcard.PINLen}); err != nil {
		s.end(applet.NotUnderstood)
	}
}

const minPIN = 4 // digits

func (s *SIM) proposeText(c toolkit.Command, text string) error {
	var err error
	if c.Text, err = coded(text); err != nil {
		return err
	}
	return s.propose(c)
}

func coded(text string) (toolkit.Text, error) {
	alphabet, octets, err := sms.EncodeText(text)
	return toolkit.Text{Coding: byte(alphabet), Octets: octets}, err
}

// responded goes on after the terminal has carried out a command.
func (s *SIM) responded(r toolkit.Response) {
	asked := &s.toolkit.asked
	switch r.Result {
	case toolkit.SessionEnded, toolkit.Backward, toolkit.UserRefused:
		s.end(applet.CancelledByUser)
		return
	case toolkit.NoUserResponse:
		*asked = pending{} // nobody is there: the deadline says so, without a message
		return
	}
	digits, typed := digitsOf(r)
	switch {
	case !r.Result.OK():
		s.end(applet.TerminalFailed)
	case r.Type == toolkit.DisplayText:
		s.ask(wordsOf[asked.Language].enter[asked.Operation])
	case !typed: // no PIN, whatever it is: it costs no try
		s.end(applet.TerminalFailed)
	default:
		s.typed(digits)
	}
}

// digitsOf is what was typed, if it may be a PIN.
func digitsOf(r toolkit.Response) (string, bool) {
	if r.Text == nil {
		return "", false
	}
	text := string(r.Text.Octets) // digits are the same in the default alphabet as in ASCII
	if sms.Alphabet(r.Text.Coding) != sms.GSM8 {
		var err error
		if text, err = sms.DecodeText(sms.Alphabet(r.Text.Coding), r.Text.Octets); err != nil {
			return "", false
		}
	}
	return text, isPIN(text)
}

// isPIN reports whether a text has the form of a PIN or PUK.
func isPIN(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return len(text) >= minPIN && len(text) <= simcard.PINLen
}

// typed takes what the person typed as the PIN.
func (s *SIM) typed(digits string) {
	asked := &s.toolkit.asked
	sw := s.try(s.pin(asked.Operation), simcard.PadPIN(digits), pinTries)
	left, wrong := sw.Tries()
	switch {
	case sw == simcard.SWOK:
		s.sign()
	case sw == simcard.SWPINBlocked || wrong && left == 0:
		s.end(applet.PINBlocked)
	case wrong:
		again, err := coded(fmt.Sprintf(wordsOf[asked.Language].wrongPIN, nameOf(asked.Operation), left))
		if err != nil {
			s.end(applet.TerminalFailed)
			return
		}
		s.ask(again)
	default: // the card's memory fails, and nothing may rest on what it says
		*asked = pending{}
	}
}

// sign signs what was shown; the PIN was right.
func (s *SIM) sign() {
	c := &s.toolkit.asked
	key := s.profile.key(c.Key)
	what := toSign{hash: c.Algorithm.Hash(), digest: c.Digest, time: c.Time, shownText: sha256.Sum256([]byte(c.Text))}
	signer, err := s.signer(key, &what)
	if err != nil {
		s.end(applet.KeyUnknown)
		return
	}
	attributes, value, err := what.sign(key, signer)
	if err != nil {
		s.end(applet.KeyUnknown)
		return
	}
	asked := *c
	signed := applet.Answer{Short: asked.Short, Reference: asked.Reference, Result: applet.Signed}
	answer := signed.Append(make([]byte, 0, 640)) // the signature is written behind it
	if asked.Short {
		answer, err = appendPlain(answer, signer.Public(), value)
	} else {
		answer = what.appendSignedData(answer, key, signer.Public(), attributes, value)
	}
	if err != nil {
		s.end(applet.KeyUnknown)
		return
	}
	s.toolkit.asked = pending{}
	s.reply(asked, applet.Signed, answer)
}

// signer is the key's private half, or what a fault has in its place.
func (s *SIM) signer(key *Key, what *toSign) (crypto.Signer, error) {
	switch s.profile.Fault {
	case ForeignKey:
		return NewKey(applet.P256)
	case AnotherDigest:
		what.digest = make([]byte, len(what.digest))
		rand.Read(what.digest)
	}
	return key.signer, nil
}

// end answers the challenge on the screen without a signature.
func (s *SIM) end(result applet.Result) {
	asked := s.toolkit.asked
	s.toolkit.asked = pending{}
	s.answerTo(asked, result)
}

// answerTo answers a challenge without a signature.
func (s *SIM) answerTo(to pending, result applet.Result) {
	a := applet.Answer{Short: to.Short, Reference: to.Reference, Result: result}
	s.reply(to, result, a.Append(make([]byte, 0, 12)))
}

// reply sends an answer to who asked.
func (s *SIM) reply(to pending, result applet.Result, answer []byte) {
	shown := noWords
	if w, known := wordsOf[to.Language]; known && result != applet.Busy { // nobody asked for the other
		shown = w.result(to.Operation, result)
	}
	s.respondTo(to.from, ota.Response{Counter: to.counter, Status: ota.StatusOK, Data: answer}, shown)
}

// words are the applet's own in one language. What is shown for every signature
// is coded once.
type words struct {
	code     string
	enter    map[applet.Operation]toolkit.Text
	wrongPIN string                      // of a PIN's name, and the tries left
	done     map[applet.Operation][]byte // alpha fields, shown while the answer leaves
	blocked  map[applet.Operation][]byte
	refused  []byte
	failed   []byte
	menu     menuWords
}

// nameOf is the name of the PIN for an operation, the same in all languages.
func nameOf(o applet.Operation) string {
	if o == applet.Authenticate {
		return "PIN1"
	}
	return "PIN2"
}

// result is what the handset shows while the answer leaves.
func (w *words) result(o applet.Operation, r applet.Result) []byte {
	switch r {
	case applet.Signed:
		return w.done[o]
	case applet.CancelledByUser:
		return w.refused
	case applet.PINBlocked:
		return w.blocked[o]
	}
	return w.failed
}

// newWords codes one language. enter, wrongPIN and blocked are of a PIN's name.
func newWords(code, enter, wrongPIN, signed, authenticated, refused, blocked, failed string, menu menuWords) *words {
	alpha := func(text string) []byte {
		octets, err := sms.EncodeAlpha(text)
		if err != nil {
			panic(err) // it stands below
		}
		return octets
	}
	w := &words{code: code, wrongPIN: wrongPIN, refused: alpha(refused), failed: alpha(failed), menu: menu,
		enter: make(map[applet.Operation]toolkit.Text), blocked: make(map[applet.Operation][]byte),
		done: map[applet.Operation][]byte{applet.Sign: alpha(signed), applet.Authenticate: alpha(authenticated)}}
	for _, o := range []applet.Operation{applet.Sign, applet.Authenticate} {
		text, err := coded(fmt.Sprintf(enter, nameOf(o)))
		if err != nil {
			panic(err)
		}
		w.enter[o], w.blocked[o] = text, alpha(fmt.Sprintf(blocked, nameOf(o)))
	}
	return w
}

var wordsOf = map[applet.Language]*words{
	applet.Azerbaijani: newWords("Kod", "%s daxil edin", "%s səhvdir. Qalan cəhd: %d",
		"İmzalandı", "Təsdiqləndi", "İmtina edildi", "%s bloklanıb", "Alınmadı", azerbaijaniMenu),
	applet.English: newWords("Code", "Enter %s", "Wrong %s. Tries left: %d",
		"Signed", "Authenticated", "Refused", "%s is blocked", "Failed", englishMenu),
	applet.Russian: newWords("Код", "Введите %s", "Неверный %s. Осталось попыток: %d",
		"Подписано", "Подтверждено", "Отклонено", "%s заблокирован", "Не удалось", russianMenu),
}
