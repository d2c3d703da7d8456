package emulator

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// Sessions between a terminal and a card whose power is cut at each APDU in
// turn: before the card carries it out, after it did while its answer is on the
// way, and inside each of the saves that it makes meanwhile. What the card has
// then is what it stored, and nothing else.

// moment is when the power goes.
type moment struct {
	apdu int  // the one it is at, from 1; 0: it does not go
	save int  // inside of that one's n-th save; 0: before or after all of it
	done bool // the save is stored, or the APDU carried out
}

func (m moment) String() string {
	switch {
	case m.save > 0:
		return fmt.Sprintf("APDU %d, save %d, stored %t", m.apdu, m.save, m.done)
	case m.done:
		return fmt.Sprintf("APDU %d, its answer", m.apdu)
	}
	return fmt.Sprintf("APDU %d, before it", m.apdu)
}

// powerGone is what a session panics with when its power is cut.
type powerGone struct{}

// wire is between a terminal and a card. It counts, and is cut.
type wire struct {
	*card
	t     *testing.T
	at    moment
	saves []int             // of each APDU that was carried out
	sent  []toolkit.Command // SEND SHORT MESSAGE that came out
	gone  bool
}

func (w *wire) Transmit(command []byte) ([]byte, error) {
	hit := len(w.saves)+1 == w.at.apdu
	if hit && w.at.save == 0 && !w.at.done {
		w.gone = true
		panic(powerGone{})
	}
	before := w.card.saves
	if hit && w.at.save > 0 {
		w.card.cut = cut{at: before + w.at.save, stored: w.at.done}
	}
	answer, err := w.card.Transmit(command)
	w.saves = append(w.saves, w.card.saves-before)
	if hit {
		w.gone = true
		panic(powerGone{})
	}
	w.nothingUnstored(command)
	if command[1] == simcard.Fetch && len(answer) > 2 {
		c, err := toolkit.ParseCommand(answer[:len(answer)-2])
		if err != nil {
			w.t.Fatal(err)
		}
		if c.Type == toolkit.SendShortMessage {
			w.sent = append(w.sent, c)
		}
	}
	return answer, err
}

// nothingUnstored fails the test if the card would remember otherwise than it
// acts, were the power cut now.
func (w *wire) nothingUnstored(command []byte) {
	if w.at.apdu > 0 {
		return // it is enough to look once
	}
	live, err := json.Marshal(w.profile)
	if err != nil {
		w.t.Fatal(err)
	}
	if stored := w.stored[len(w.stored)-1]; !bytes.Equal(live, stored) {
		w.t.Errorf("after %x the card has\n%s, stored is\n%s", command, live, stored)
	}
}

// untilPowerGone runs f up to its end, or to where the power is cut.
func untilPowerGone(f func()) {
	defer func() {
		if r := recover(); r != nil && r != (powerGone{}) {
			panic(r)
		}
	}()
	f()
}

// seat prepares a session, whose power is cut at a moment.
func (p *script) seat(t *testing.T, at moment) *sitting {
	t.Helper()
	c := newCard(t, nil)
	if p.prepare != nil {
		p.prepare(t, c)
	}
	if err := c.save(c.profile); err != nil { // what it begins with
		t.Fatal(err)
	}
	c.saves = 0
	c.Reset()
	s := &sitting{t: t, card: c, wire: &wire{card: c, t: t, at: at}, before: remembers(c.profile)}
	s.after, s.terminal = s.before, &terminal{TB: t, card: s.wire}
	return s
}

// play runs a session up to a moment.
func play(t *testing.T, p script, at moment) *sitting {
	t.Helper()
	s := p.seat(t, at)
	untilPowerGone(func() { p.run(s) })
	if s.wire.gone != (at.apdu > 0) {
		t.Fatalf("the power was to be cut at %s", at)
	}
	return s
}

// ended fails the test unless a session came to its end.
func (p *script) ended(s *sitting) {
	s.t.Helper()
	switch answers := s.answered(); {
	case s.segments == nil && len(answers) == 0:
	case len(answers) != 1 || answers[0].Result != p.ends:
		s.t.Errorf("answered %+v, want one %s", answers, p.ends)
	}
	if got := remembers(s.card.profile); got != s.after {
		s.t.Errorf("the card remembers\n%+v, want\n%+v", got, s.after)
	}
}

func TestPowerCutAtEveryAPDU(t *testing.T) {
	for name, p := range scripts {
		t.Run(name, func(t *testing.T) {
			whole := play(t, p, moment{})
			p.ended(whole)
			whole.judge(moment{}, 0)
			cuts := 0
			for i, saves := range whole.wire.saves {
				moments := []moment{{apdu: i + 1}, {apdu: i + 1, done: true}}
				for save := range saves {
					moments = append(moments, moment{i + 1, save + 1, false}, moment{i + 1, save + 1, true})
				}
				for _, at := range moments {
					t.Run(at.String(), func(t *testing.T) { play(t, p, at).judge(at, saves) })
					cuts++
				}
			}
			if all := len(whole.wire.saves); all < 10 || cuts < 2*all+4 {
				t.Errorf("%d cuts of %d APDUs: the session is shorter than it is meant to be", cuts, all)
			}
		})
	}
}

// judge puts the power back and looks at the card. saves is how many the APDU
// makes when it is not cut.
func (s *sitting) judge(at moment, saves int) {
	t := s.t
	t.Helper()
	for _, a := range s.answered() {
		if a.Result == applet.Signed && !s.entitled {
			t.Error("signed without the right PIN")
		}
	}
	p, err := ParseProfile(s.card.stored[len(s.card.stored)-1])
	if err != nil {
		t.Fatalf("the stored profile is none: %v", err)
	}
	got := remembers(p)
	switch {
	case at.apdu == 0, at.done && (at.save == 0 || at.save == saves): // all that there is to store is stored
		if got != s.after {
			t.Errorf("the card remembers\n%+v, want\n%+v", got, s.after)
		}
	case at.save <= 1 && !at.done: // nothing is
		if got != s.before {
			t.Errorf("the card remembers\n%+v, want\n%+v", got, s.before)
		}
	default:
		s.between(got)
	}
	s.keysAreWhole(p)

	s.card.powerOn(t, p)
	x := &terminal{TB: t, card: s.card}
	x.idle()
	for number := range 32 {
		for _, kind := range []toolkit.Type{toolkit.DisplayText, toolkit.GetInput, toolkit.SendShortMessage} {
			if sw := x.respond(typed(toolkit.Command{Number: byte(number), Type: kind}, got.PIN2.Digits)); sw != simcard.SWConditions {
				t.Fatalf("a response to a command from before: %s", sw)
			}
		}
	}
	another := applet.KeyRecord{Number: 9, Operation: applet.Sign, Kind: applet.P256}
	if r := x.do(simcard.Command{INS: simcard.GenerateKeyPair, Data: another.GenerateKey()}); r.SW != simcard.SWSecurityStatus {
		t.Errorf("the ADM key counts as given: %s", r.SW)
	}
	s.replayed(x, got)
	s.signsOn(x, got, 1)
	if k := p.key(2); k != nil && len(k.Certificate) > 0 && k.operation() == applet.Sign {
		s.signsOn(x, got, 2)
	}
}

// between fails the test unless each thing is as before or as after, or a PIN
// that was being compared has lost its try, or got all back by the right digits
// while new ones are not there yet.
func (s *sitting) between(got remembered) {
	s.t.Helper()
	for name, pin := range map[string]which{"PIN1": ofPIN1, "PIN2": ofPIN2, "the PUK": ofPUK, "the ADM key": ofADM} {
		is, before, after := *pin(&got), *pin(&s.before), *pin(&s.after)
		lost, back := PIN{before.Digits, before.Tries - 1}, PIN{before.Digits, after.Tries}
		compared := s.compared != nil && s.compared(&s.before) == pin(&s.before)
		if is != before && is != after && !(compared && (is == lost || is == back)) {
			s.t.Errorf("%s is %v, it was %v and was to be %v", name, is, before, after)
		}
	}
	if got.Counter != s.before.Counter && got.Counter != s.after.Counter {
		s.t.Errorf("the counter is %d, it was %d and was to be %d", got.Counter, s.before.Counter, s.after.Counter)
	}
	if got.Keys != s.before.Keys && got.Keys != s.after.Keys {
		s.t.Errorf("the keys are %s, they were %s and were to be %s", got.Keys, s.before.Keys, s.after.Keys)
	}
}

// keysAreWhole fails the test unless each key has what belongs to it.
func (s *sitting) keysAreWhole(p *Profile) {
	s.t.Helper()
	for i := range p.Keys {
		k := &p.Keys[i]
		public := k.signer.Public().(interface{ Equal(crypto.PublicKey) bool })
		if len(k.Certificate) == 0 && len(k.Request) == 0 {
			s.t.Errorf("key %d has neither certificate nor request", k.Number)
		}
		if len(k.Certificate) > 0 {
			if cert, err := x509.ParseCertificate(k.Certificate); err != nil || !public.Equal(cert.PublicKey) {
				s.t.Errorf("the certificate of key %d: %v", k.Number, err)
			}
		}
		if len(k.Request) > 0 {
			request, err := x509.ParseCertificateRequest(k.Request)
			if err != nil || request.CheckSignature() != nil || !public.Equal(request.PublicKey) {
				s.t.Errorf("the request of key %d: %v", k.Number, err)
			}
		}
	}
}

// replayed brings the challenge again, which is an old one if and only if its
// counter was stored.
func (s *sitting) replayed(x *terminal, got remembered) {
	s.t.Helper()
	if s.segments == nil {
		return
	}
	x.bring(s.segments)
	if got.Counter == s.counter {
		m, _ := x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
		if r, err := s.card.channel.OpenResponse(m.Payload); err != nil || r.Status != ota.StatusCounterLow || r.Counter != s.counter {
			s.t.Errorf("the challenge comes again and is answered %+v, %v", r, err)
		}
		x.idle()
		return
	}
	pin := got.PIN2
	if s.asked == applet.Authenticate {
		pin = got.PIN1
	}
	want := applet.CancelledByUser
	if pin.Tries == 0 {
		want = applet.PINBlocked
	}
	if answers := x.drain(s.card); len(answers) != 1 || answers[0].Result != want {
		s.t.Errorf("the challenge that the card did not take comes again and is answered %+v, want %s", answers, want)
	}
}

// signsOn fails the test unless the card signs something new, or says that its
// PIN is blocked.
func (s *sitting) signsOn(x *terminal, got remembered, key byte) {
	s.t.Helper()
	asked := challenge()
	asked.Key = key
	x.bring(s.card.segments(s.t, asked))
	want := applet.PINBlocked
	if got.PIN2.Tries > 0 {
		want = applet.Signed
		x.respond(typed(x.confirm(), got.PIN2.Digits))
	}
	if a := x.answer(s.card); a.Result != want || a.Reference != asked.Reference {
		s.t.Errorf("a new challenge is answered %s, want %s", a.Result, want)
	}
	x.idle()
}

// Whoever may cut the power when they like, and sees all that comes out before,
// has three guesses as everybody.
func TestCutsAfterGuessesGiveNoMore(t *testing.T) {
	for name, at := range map[string]moment{
		"after the try is stored": {apdu: 5, save: 1, done: true},
		"before the card answers": {apdu: 5, done: true},
		"at the next prompt":      {apdu: 6, done: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t, nil)
			if err := c.save(c.profile); err != nil {
				t.Fatal(err)
			}
			for guess := 1; guess <= pinTries+2; guess++ {
				c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
				s := &sitting{t: t, card: c, wire: &wire{card: c, t: t, at: at}, before: remembers(c.profile)}
				s.terminal = &terminal{TB: t, card: s.wire}
				untilPowerGone(func() {
					s.asks(challenge()) // one APDU
					if s.before.PIN2.Tries == 0 {
						s.leaves()
						return
					}
					s.clears()                         // two
					s.types(ofPIN2, "00000", pinTries) // two
					s.fetch()                          // GET INPUT, or the answer
				})
				if blocked := guess > pinTries; blocked == s.wire.gone {
					t.Errorf("guess %d is asked for: %t", guess, s.wire.gone)
				}
				if left := parse(t, c.stored[len(c.stored)-1]).PIN2.Tries; left != max(pinTries-guess, 0) {
					t.Errorf("%d tries left after guess %d", left, guess)
				}
			}
		})
	}
}
