package emulator

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// Sessions from TERMINAL PROFILE to the last message, for boundary_test.go to
// cut.

// remembered is what a card remembers, as far as these sessions change it.
type remembered struct {
	PIN1, PIN2, PUK, ADM PIN
	Counter              uint64
	Keys                 string // number, kind, and which certificate
}

func remembers(p *Profile) remembered {
	r := remembered{PIN1: p.PIN1, PIN2: p.PIN2, PUK: p.PUK, ADM: p.ADM, Counter: p.Counter}
	for i := range p.Keys {
		r.Keys += keyText(p.Keys[i].Number, p.Keys[i].kind, p.Keys[i].Certificate)
	}
	return r
}

func keyText(number byte, kind applet.KeyKind, certificate []byte) string {
	if len(certificate) == 0 {
		return fmt.Sprintf("%d %s, ", number, kind)
	}
	return fmt.Sprintf("%d %s %x, ", number, kind, sha256.Sum256(certificate))
}

// which picks a PIN.
type which func(*remembered) *PIN

func ofPIN1(r *remembered) *PIN { return &r.PIN1 }
func ofPIN2(r *remembered) *PIN { return &r.PIN2 }
func ofPUK(r *remembered) *PIN  { return &r.PUK }
func ofADM(r *remembered) *PIN  { return &r.ADM }

// sitting is a session with what its terminal may count on: what the card
// remembers if it does not carry out what was sent last, and if it does.
type sitting struct {
	*terminal
	t             *testing.T
	card          *card
	wire          *wire
	before, after remembered
	compared      which // PIN that the last command compares; nil: none
	segments      [][]byte
	asked         applet.Operation // with them
	counter       uint64           // of them
	entitled      bool             // the right PIN for a signature was sent
}

// step has the terminal do something that changes what the card remembers.
func (s *sitting) step(compared which, changes func(*remembered), do func()) {
	s.compared, s.after = compared, s.before
	if changes != nil {
		changes(&s.after)
	}
	do()
	s.before, s.compared = s.after, nil
}

// enters is what comparing digits with a PIN changes.
func enters(pin which, digits string, all int) func(*remembered) {
	return func(r *remembered) {
		switch p := pin(r); {
		case p.Tries == 0:
		case p.Digits == digits:
			p.Tries = all
		default:
			p.Tries--
		}
	}
}

// types is the person's entry of a PIN at a GET INPUT.
func (s *sitting) types(pin which, digits string, all int) {
	s.t.Helper()
	input := s.want(toolkit.GetInput)
	s.step(pin, enters(pin, digits, all), func() { s.respond(typed(input, digits)) })
}

// typesNew is the entry of new digits, which are compared with none.
func (s *sitting) typesNew(digits string, changes func(*remembered)) {
	s.t.Helper()
	input := s.want(toolkit.GetInput)
	s.step(nil, changes, func() { s.respond(typed(input, digits)) })
}

// clears is the person's reply to a text.
func (s *sitting) clears() {
	s.t.Helper()
	display := s.want(toolkit.DisplayText)
	s.respond(display.Respond(toolkit.Done))
}

// begins is what a terminal with a menu does first.
func (s *sitting) begins() {
	s.t.Helper()
	s.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}})
	menu := s.want(toolkit.SetUpMenu)
	s.respond(menu.Respond(toolkit.Done))
	if r := s.do(simcard.Select(simcard.Signer)); r.SW != simcard.SWOK {
		s.t.Fatalf("SELECT: %s", r.SW)
	}
}

// asks brings a challenge.
func (s *sitting) asks(asked applet.Challenge) {
	s.t.Helper()
	s.segments, s.asked = s.card.segments(s.t, asked), asked.Operation
	s.counter = s.card.counter
	for i, ud := range s.segments {
		s.step(nil, func(r *remembered) {
			if i == len(s.segments)-1 {
				r.Counter = s.counter
			}
		}, func() { s.envelope(deliver(s.t, ud)) })
	}
}

// leaves takes the messages of an answer.
func (s *sitting) leaves() {
	s.t.Helper()
	for s.sw != simcard.SWOK {
		message := s.want(toolkit.SendShortMessage)
		s.respond(message.Respond(toolkit.Done))
	}
}

func (s *sitting) selects(item byte) {
	s.t.Helper()
	s.do(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.MenuSelection(nil, item)})
}

// answered opens the answers in the messages that came out.
func (s *sitting) answered() (all []applet.Answer) {
	s.t.Helper()
	parts := sms.Reassembler{Expiry: time.Hour, Most: 4}
	for _, c := range s.wire.sent {
		submit, err := sms.ParseSubmit(c.TPDU)
		if err != nil {
			s.t.Fatal(err)
		}
		part, err := sms.ParseUserData(submit.UserData)
		if err != nil {
			s.t.Fatal(err)
		}
		if part.Total > 1 && !s.entitled {
			s.t.Error("a message of several came out: only a signature is so long")
		}
		if m, whole, err := parts.Add("", part, time.Now()); err != nil {
			s.t.Fatal(err)
		} else if whole {
			a, _ := s.card.open(s.t, m)
			all = append(all, a)
		}
	}
	return all
}

// script is a session to be cut.
type script struct {
	prepare func(testing.TB, *card)
	run     func(*sitting)
	ends    applet.Result // of the challenge, if it has one and nothing is cut
}

func signingScript(asked func() applet.Challenge) script {
	return script{run: func(s *sitting) {
		s.begins()
		s.asks(asked())
		s.clears()
		s.types(ofPIN2, "00000", pinTries)
		s.entitled = true
		s.types(ofPIN2, testPIN2, pinTries)
		s.leaves()
	}}
}

func short(of func() applet.Challenge) func() applet.Challenge {
	return func() applet.Challenge {
		asked := of()
		asked.Short = true
		return asked
	}
}

func blockPIN2(_ testing.TB, c *card) { c.profile.PIN2.Tries = 0 }

const testADM = "75317531"

var scripts = map[string]script{
	"full answer to a challenge of three messages":  signingScript(long),
	"full answer to a challenge of one message":     signingScript(challenge),
	"short answer to a challenge of three messages": signingScript(short(long)),
	"short answer to a challenge of one message":    signingScript(short(challenge)),
	"the person refuses at the PIN": {run: func(s *sitting) {
		s.begins()
		s.asks(challenge())
		s.clears()
		s.types(ofPIN2, "00000", pinTries)
		input := s.want(toolkit.GetInput)
		s.respond(input.Respond(toolkit.SessionEnded))
		s.leaves()
	}, ends: applet.CancelledByUser},
	"three wrong PINs": {run: func(s *sitting) {
		s.begins()
		s.asks(challenge())
		s.clears()
		for range pinTries {
			s.types(ofPIN2, "00000", pinTries)
		}
		s.leaves()
	}, ends: applet.PINBlocked},
	"authentication by P-384": {
		prepare: func(t testing.TB, c *card) {
			if err := c.profile.AddKey(2, applet.Authenticate, testP384()); err != nil {
				t.Fatal(err)
			}
			if err := c.profile.SetCertificate(2, issue(testP384().Public()).Raw); err != nil {
				t.Fatal(err)
			}
		},
		run: func(s *sitting) {
			asked := challenge()
			asked.Operation, asked.Key = applet.Authenticate, 2
			s.begins()
			s.asks(asked)
			s.clears()
			s.types(ofPIN1, "0000", pinTries)
			s.entitled = true
			s.types(ofPIN1, testPIN1, pinTries)
			s.leaves()
		}},
	"menu: change PIN2": {run: func(s *sitting) {
		s.begins()
		s.selects(itemChangePIN2)
		s.types(ofPIN2, "00000", pinTries)
		s.types(ofPIN2, testPIN2, pinTries)
		s.typesNew("22222", nil)
		s.typesNew("33333", nil) // they differ
		s.typesNew("22222", nil)
		s.typesNew("22222", func(r *remembered) { r.PIN2 = PIN{"22222", pinTries} })
		s.clears()
	}},
	"menu: unblock PIN2 by the PUK": {prepare: blockPIN2, run: func(s *sitting) {
		s.begins()
		s.selects(itemUnblock)
		list := s.want(toolkit.SelectItem)
		chosen := list.Respond(toolkit.Done)
		chosen.Item = 2
		s.respond(chosen)
		s.types(ofPUK, "00000000", pukTries)
		s.types(ofPUK, testPUK, pukTries)
		s.typesNew("44444444", nil)
		s.typesNew("44444444", func(r *remembered) { r.PIN2 = PIN{"44444444", pinTries} })
		s.clears()
	}},
	"commands: change PIN1, unblock PIN2": {prepare: blockPIN2, run: func(s *sitting) {
		s.begins()
		command := func(pin which, ins, reference byte, data []byte, changes func(*remembered)) {
			s.step(pin, changes, func() { s.do(simcard.Command{INS: ins, P2: reference, Data: data}) })
		}
		command(ofPIN1, insVerify, p2PIN1, padded("0000"), enters(ofPIN1, "0000", pinTries))
		command(ofPIN1, insChange, p2PIN1, pair("0000", "1111"), enters(ofPIN1, "0000", pinTries))
		command(ofPIN1, insChange, p2PIN1, pair(testPIN1, "1111"), func(r *remembered) { r.PIN1 = PIN{"1111", pinTries} })
		command(ofPUK, insUnblock, p2PIN2, pair("00000000", "22222"), enters(ofPUK, "00000000", pukTries))
		command(ofPUK, insUnblock, p2PIN2, pair(testPUK, "22222"), func(r *remembered) {
			r.PUK.Tries, r.PIN2 = pukTries, PIN{"22222", pinTries}
		})
	}},
	"a key is made and certified, and signs": {
		prepare: func(_ testing.TB, c *card) { c.profile.ADM = NewPUK(testADM) },
		run: func(s *sitting) {
			s.begins()
			for _, digits := range []string{"00000000", testADM} {
				s.step(ofADM, enters(ofADM, digits, pukTries), func() {
					s.do(simcard.Command{INS: insVerify, P2: simcard.ADM, Data: padded(digits)})
				})
			}
			first, made := s.before.Keys, keyText(2, applet.P256, nil)
			wanted := applet.KeyRecord{Number: 2, Operation: applet.Sign, Kind: applet.P256}
			s.step(nil, func(r *remembered) { r.Keys = first + made }, func() {
				s.do(simcard.Command{INS: simcard.GenerateKeyPair, Data: wanted.GenerateKey()})
			})
			raw, err := simcard.ReadFile(s.wire, simcard.EFRequest|2)
			if err != nil {
				s.t.Fatal(err)
			}
			request, err := x509.ParseCertificateRequest(raw)
			if err != nil {
				s.t.Fatal(err)
			}
			cert := issue(request.PublicKey)
			s.writes(2, cert.Raw, first+keyText(2, applet.P256, cert.Raw))
			// And key 1 gets a certificate in place of the one it has.
			renewed := issue(testP256().Public())
			s.writes(1, renewed.Raw, keyText(1, applet.P256, renewed.Raw)+keyText(2, applet.P256, cert.Raw))
			asked := challenge()
			asked.Key = 2
			s.asks(asked)
			s.clears()
			s.entitled = true
			s.types(ofPIN2, testPIN2, pinTries)
			s.leaves()
		}},
}

// writes puts a certificate on the card, piece by piece; keys is what the card
// remembers of its keys after the last one.
func (s *sitting) writes(number byte, certificate []byte, keys string) {
	s.t.Helper()
	if r := s.do(simcard.SelectEF(simcard.EFCert | uint16(number))); r.SW != simcard.SWOK {
		s.t.Fatalf("SELECT: %s", r.SW)
	}
	for at := 0; at < len(certificate); {
		piece := certificate[at:min(at+200, len(certificate))]
		end := at + len(piece)
		s.step(nil, func(r *remembered) {
			if end == len(certificate) {
				r.Keys = keys
			}
		}, func() {
			if r := s.do(simcard.Command{INS: simcard.UpdateBinary, P1: byte(at >> 8), P2: byte(at), Data: piece}); r.SW != simcard.SWOK {
				s.t.Fatalf("UPDATE BINARY at %d: %s", at, r.SW)
			}
		})
		at = end
	}
}
