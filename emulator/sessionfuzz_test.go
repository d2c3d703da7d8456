package emulator

import (
	"bytes"
	"crypto/x509"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// A walk is what octets make of a card's life: a terminal, a gateway, an issuer
// and somebody hostile do by turns what the next ones say, valid and not. After
// each command the card is looked at for what must hold whatever was done:
//
//	it answers, with a status word that there is
//	no try comes back, and no PIN changes, but by the right PIN or PUK
//	nothing is signed but by the right PIN, once for each time it was typed
//	the counter never falls, keys and certificates change for the issuer only
//	what it acts upon is stored
//
// and at the end it is a card that signs.
type walk struct {
	t      testing.TB
	c      *card
	next   func() (octet byte, more bool)
	saved  Profile          // as last stored
	open   *toolkit.Command // fetched last
	waits  int              // octets announced
	asked  [][][]byte       // segments of challenges
	shown  map[string]bool  // texts of challenges
	issuer bool             // the ADM key was given since the power is on
	proof  map[string]proof // of each PIN, by the last command
	typed  map[string]proof // by what was typed in a dialogue of the menu
	right  int              // PINs for a signature that were typed since then
	parts  sms.Reassembler
	last   []byte // command
	did    map[string]int
}

// proof is how somebody has shown that a PIN is theirs.
type proof int

const (
	unproven proof = iota
	byPIN
	byPUK // which a blocked one takes
)

// secrets are all of a card's PINs, each with the PUK that unblocks it.
func secrets(p *Profile) map[string][2]*PIN {
	t := &p.Telephone
	return map[string][2]*PIN{
		"PIN1": {&p.PIN1, &p.PUK}, "PIN2": {&p.PIN2, &p.PUK}, "the PUK": {&p.PUK, &p.PUK}, "the ADM key": {&p.ADM, &p.ADM},
		"the telephone's PIN": {&t.PIN, &t.PUK}, "its PIN2": {&t.PIN2, &t.PUK2}, "its PUK": {&t.PUK, &t.PUK}, "its PUK2": {&t.PUK2, &t.PUK2},
	}
}

func copied(p *Profile) Profile {
	c := *p
	c.Keys = slices.Clone(p.Keys)
	return c
}

// newWalk begins with a card that has a key for either PIN.
func newWalk(t testing.TB, ready *Profile, next func() (byte, bool)) *walk {
	t.Helper()
	p := copied(ready)
	w := &walk{t: t, c: &card{counter: 1000}, next: next, shown: make(map[string]bool), did: make(map[string]int)}
	w.powerOn(&p)
	w.begins()
	return w
}

// readyProfile is what walks begin with.
func readyProfile(t testing.TB) *Profile {
	t.Helper()
	p := newCard(t, nil).profile
	if err := p.AddKey(2, applet.Authenticate, testP256()); err != nil {
		t.Fatal(err)
	}
	if err := p.SetCertificate(2, issue(testP256().Public()).Raw); err != nil {
		t.Fatal(err)
	}
	p.ADM = NewPUK(testADM)
	p.Telephone = Telephone{PIN: NewPIN("2580"), PIN2: NewPIN("3691"), PUK: NewPUK("14725836"), PUK2: NewPUK("15926348")}
	return p
}

// powerOn puts a profile into a new card.
func (w *walk) powerOn(p *Profile) {
	w.t.Helper()
	w.c.profile, w.saved = p, copied(p)
	var err error
	if w.c.SIM, err = NewSIM(p, func(now *Profile) error { w.saved = copied(now); return nil }); err != nil {
		w.t.Fatal(err)
	}
	if w.c.channel == nil {
		if w.c.channel, err = ota.NewChannel(applet.TAR, ota.Signing, p.OTA); err != nil {
			w.t.Fatal(err)
		}
	}
	w.forgets(true)
}

// forgets is what is over with the power, or only with the terminal's session.
func (w *walk) forgets(power bool) {
	w.open, w.waits, w.right = nil, 0, 0
	w.parts = sms.Reassembler{Expiry: time.Hour, Most: 8}
	if w.typed = make(map[string]proof); power {
		w.issuer = false
	}
}

func (w *walk) octet() int {
	octet, _ := w.next()
	return int(octet)
}

// of picks one.
func of[T any](w *walk, all ...T) T { return all[w.octet()%len(all)] }

// carries reports whether digits are in an APDU, in any of the alphabets.
func carries(apdu []byte, digits string) bool {
	if digits == "" {
		return false
	}
	wide := make([]byte, 0, 2*len(digits))
	packed := make([]byte, (7*len(digits)+7)/8)
	for i := range len(digits) {
		wide = append(wide, 0, digits[i])
		for bit := range 7 {
			packed[(7*i+bit)/8] |= digits[i] >> bit & 1 << ((7*i + bit) % 8)
		}
	}
	return bytes.Contains(apdu, []byte(digits)) || bytes.Contains(apdu, wide) || bytes.Contains(apdu, packed)
}

// send gives a command to the card, and looks at what has come of it.
func (w *walk) send(apdu []byte) simcard.Response {
	w.t.Helper()
	p := w.c.profile
	before := copied(p)
	w.last = bytes.Clone(apdu)
	answer, err := w.c.Transmit(apdu)
	if err != nil || len(answer) < 2 || len(answer) > 258 {
		w.t.Fatalf("%x is answered %x, %v", apdu, answer, err)
	}
	r, err := simcard.ParseResponse(answer)
	if err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(w.last, apdu) {
		w.t.Fatalf("%x was written into", w.last)
	}
	if !known(r.SW) || len(r.Data) > 0 && r.SW != simcard.SWOK && r.SW>>8 != 0x61 && r.SW>>8 != 0x91 {
		w.t.Fatalf("%x is answered %x", apdu, answer)
	}
	w.waits, _ = r.SW.Proactive()
	w.notes(&before, apdu, r.SW)
	w.secretsHold(&before, apdu)
	w.restHolds(&before, apdu)
	if len(r.Data) > 0 && apdu[0] == 0x80 && insOf(apdu) == simcard.Fetch {
		w.fetched(r.Data)
	}
	return r
}

// known reports whether a status word is one that a card may answer.
func known(sw simcard.SW) bool {
	_, tries := sw.Tries()
	family := sw >> 8
	return tries || family == 0x61 || family == 0x6C || family == 0x91 || sw != simcard.SWTechnical && sw.Meaning() != ""
}

// notes takes down what a command proves: for itself, and what is typed also for
// the rest of its dialogue.
func (w *walk) notes(before *Profile, apdu []byte, sw simcard.SW) {
	ins := insOf(apdu)
	w.proof = make(map[string]proof)
	if ins == simcard.Envelope && len(apdu) > 5 && apdu[5] == 0xD3 && sw.OK() { // a dialogue of the menu begins
		w.typed = make(map[string]proof)
	}
	for name, pair := range secrets(before) {
		how := unproven
		switch {
		case pair[1].Tries > 0 && carries(apdu, pair[1].Digits):
			how = byPUK
		case pair[0].Tries > 0 && carries(apdu, pair[0].Digits):
			how = byPIN
		}
		if ins == simcard.TerminalResponse {
			how = max(how, w.typed[name])
			w.typed[name] = how
		}
		w.proof[name] = how
	}
	if before.ADM.Tries > 0 && carries(apdu, before.ADM.Digits) {
		w.issuer = true
	}
	if len(apdu) < 6 || apdu[0] != 0x80 || apdu[1] != simcard.TerminalResponse || w.open == nil || w.open.Type != toolkit.GetInput {
		return
	}
	r, err := toolkit.ParseResponse(apdu[5:])
	if err == nil && r.Number == w.open.Number && r.Result.OK() && (carries(apdu, before.PIN2.Digits) || carries(apdu, before.PIN1.Digits)) {
		w.right++
	}
}

func (w *walk) secretsHold(before *Profile, apdu []byte) {
	w.t.Helper()
	after, most := secrets(w.c.profile), secrets(newLimits())
	for name, pair := range secrets(before) {
		was, is := *pair[0], *after[name][0]
		if is.Tries < 0 || is.Tries > most[name][0].Tries {
			w.t.Fatalf("after %x %s has %d tries", apdu, name, is.Tries)
		}
		if is == was {
			continue
		}
		if is.Digits != was.Digits {
			w.did["a PIN was changed"]++
		}
		if is.Tries < was.Tries {
			w.did["a try was lost"]++
		}
		if is.Tries == 0 {
			w.did["a PIN was blocked"]++
		}
		// Right digits of its own, or its PUK's; or new ones, in a dialogue that
		// began with those.
		needed := byPIN
		if was.Tries == 0 {
			needed = byPUK
		}
		if (is.Tries > was.Tries || is.Digits != was.Digits) && (w.proof[name] < needed || is.Digits != was.Digits && !carries(apdu, is.Digits)) {
			w.t.Fatalf("%x makes %s %v of %v", apdu, name, is, was)
		}
	}
}

// newLimits is a card with all tries there can be.
func newLimits() *Profile {
	p := NewProfile("", ota.Keys{}, "", "", "")
	p.ADM.Tries = pukTries
	return p
}

func insOf(apdu []byte) byte {
	if len(apdu) < 2 {
		return 0
	}
	return apdu[1]
}

func (w *walk) restHolds(before *Profile, apdu []byte) {
	w.t.Helper()
	p, ins := w.c.profile, insOf(apdu)
	if p.Counter < before.Counter || p.Counter != before.Counter && ins != simcard.Envelope {
		w.t.Fatalf("after %x the counter is %d, it was %d", apdu, p.Counter, before.Counter)
	}
	for i := range p.Keys {
		same := i < len(before.Keys) && bytes.Equal(p.Keys[i].Certificate, before.Keys[i].Certificate) && bytes.Equal(p.Keys[i].Private, before.Keys[i].Private)
		if same {
			continue
		}
		if !w.issuer || ins != simcard.GenerateKeyPair && ins != simcard.UpdateBinary {
			w.t.Fatalf("%x changes key %d", apdu, p.Keys[i].Number)
		}
		w.did["a key was made or certified"]++
	}
	if len(p.Keys) < len(before.Keys) {
		w.t.Fatalf("%x takes a key away", apdu)
	}
	if p.Telephone.Asks != before.Telephone.Asks && w.proof["the telephone's PIN"] == unproven {
		w.t.Fatalf("%x changes whether the telephone asks for its PIN", apdu)
	}
	w.isStored(apdu)
}

// isStored fails the test if the card would be another one without its power.
func (w *walk) isStored(apdu []byte) {
	w.t.Helper()
	p, saved := w.c.profile, &w.saved
	same := p.Counter == saved.Counter && p.Reference == saved.Reference && p.Telephone.Asks == saved.Telephone.Asks && len(p.Keys) == len(saved.Keys)
	stored := secrets(saved)
	for name, pair := range secrets(p) {
		same = same && *pair[0] == *stored[name][0]
	}
	for i := range p.Keys {
		same = same && bytes.Equal(p.Keys[i].Certificate, saved.Keys[i].Certificate) && bytes.Equal(p.Keys[i].Request, saved.Keys[i].Request)
	}
	if !same {
		w.t.Fatalf("after %x the card is not what it stored", apdu)
	}
}

// fetched looks at a proactive command.
func (w *walk) fetched(octets []byte) {
	w.t.Helper()
	c, err := toolkit.ParseCommand(octets)
	if err != nil {
		w.t.Fatalf("FETCH brings %x: %v", octets, err)
	}
	w.open = &c
	w.did[fmt.Sprintf("command %02x", byte(c.Type))]++
	if text, err := sms.DecodeText(sms.Alphabet(c.Text.Coding), c.Text.Octets); err == nil && c.Type == toolkit.DisplayText && strings.HasPrefix(text, "№ ") {
		if w.shown[text] {
			w.t.Fatalf("%q is shown twice", text)
		}
		w.shown[text] = true
	}
	if c.Type != toolkit.SendShortMessage {
		return
	}
	submit, err := sms.ParseSubmit(c.TPDU)
	if err != nil {
		w.t.Fatal(err)
	}
	part, err := sms.ParseUserData(submit.UserData)
	if err != nil {
		w.t.Fatal(err)
	}
	if part.Total > 1 && w.right == 0 {
		w.t.Fatal("an answer in several messages, and no PIN was typed")
	}
	m, whole, err := w.parts.Add("", part, time.Now())
	if err != nil || !whole {
		return
	}
	r, err := w.c.channel.OpenResponse(m.Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Status != ota.StatusOK {
		if len(r.Data) > 0 {
			w.t.Fatalf("status %02x with data", byte(r.Status))
		}
		w.did["a packet was refused"]++
		return
	}
	a, err := applet.ParseAnswer(r.Data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.did["answered "+a.Result.String()]++
	if a.Result == applet.Signed {
		if w.right--; w.right < 0 {
			w.t.Fatal("signed more often than a PIN was typed")
		}
	}
}

func (w *walk) command(c simcard.Command) simcard.Response {
	w.t.Helper()
	r := w.send(c.Append(nil))
	if r.SW>>8 == 0x61 && w.octet()%4 > 0 { // it may be left
		r = w.send(simcard.Command{INS: simcard.GetResponse, Le: int(r.SW&0xFF+255)%256 + 1}.Append(nil))
	}
	return r
}

func (w *walk) respond(change func(*toolkit.Response)) {
	w.t.Helper()
	c := toolkit.Command{Number: byte(w.octet()), Type: toolkit.GetInput}
	if w.open != nil {
		c = *w.open
	}
	r := c.Respond(toolkit.Done)
	change(&r)
	w.command(simcard.Command{CLA: 0x80, INS: simcard.TerminalResponse, Data: r.Append(nil)})
}

// digits are PINs of all kinds, most of which are wrong.
func (w *walk) digits() string {
	p := w.c.profile
	return of(w, p.PIN2.Digits, p.PIN2.Digits, p.PIN2.Digits, p.PIN1.Digits, p.PIN1.Digits, p.PIN1.Digits, p.PUK.Digits, p.PUK.Digits,
		p.Telephone.PIN.Digits, p.Telephone.PUK.Digits, "2222", "33333", "44444444", "00000000")
}

func (w *walk) raw(n int) []byte {
	octets := make([]byte, n)
	for i := range octets {
		octets[i] = byte(w.octet())
	}
	return octets
}

// steps are what a walk may do next.
var steps = []func(w *walk){
	func(w *walk) { // anything
		apdu := w.raw(w.octet() % 24)
		if len(apdu) > 5 && apdu[1] == simcard.GenerateKeyPair && apdu[len(apdu)-1] == byte(applet.RSA2048) {
			return // takes too long
		}
		w.send(apdu)
	},
	func(w *walk) { // an instruction that there is, with anything
		ins := of(w, instructionsOfCards...)
		c := simcard.Command{CLA: classes[ins], INS: ins, P1: byte(w.octet() % 10), P2: byte(w.octet()), Data: w.raw(w.octet() % 20), Le: w.octet()}
		if ins == simcard.GenerateKeyPair && len(c.Data) > 0 && c.Data[len(c.Data)-1] == byte(applet.RSA2048) {
			return
		}
		w.command(c)
	},
	func(w *walk) { // the last command, with an octet changed, cut off or doubled
		if len(w.last) == 0 || w.last[min(1, len(w.last)-1)] == simcard.GenerateKeyPair {
			return
		}
		apdu := bytes.Clone(w.last)
		switch at := w.octet() % len(apdu); w.octet() % 4 {
		case 0:
			apdu = apdu[:at]
		case 1: // as it is
		default:
			apdu[at] ^= byte(1 + w.octet()%255)
		}
		w.send(apdu)
	},
	func(w *walk) { // a challenge
		asked := challenge()
		switch w.octet() % 8 {
		case 0:
			asked = long()
		case 1:
			asked.Operation, asked.Key = applet.Authenticate, 2
		case 2:
			asked.Key = 3 + byte(w.octet()%4)
		}
		asked.Text = fmt.Sprintf("№ %d %s", len(w.asked), string([]rune(asked.Text)[10:]))
		asked.Short = w.octet()%2 > 0
		w.c.counter = max(w.c.counter, w.c.profile.Counter)
		w.asked = append(w.asked, w.c.segments(w.t, asked))
		for _, ud := range w.asked[len(w.asked)-1] {
			if w.octet()%8 > 0 { // else it is lost
				w.command(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.SMSDownload(nil, deliver(w.t, ud))})
			}
		}
	},
	func(w *walk) { // a segment of any of them, changed or not
		if len(w.asked) == 0 {
			return
		}
		parts := of(w, w.asked...)
		ud := bytes.Clone(of(w, parts...))
		if w.octet()%2 > 0 {
			ud[w.octet()%len(ud)] ^= byte(w.octet())
		}
		w.command(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.SMSDownload(nil, deliver(w.t, ud))})
	},
	(*walk).fetch, (*walk).fetch, (*walk).fetch, (*walk).fetch,
	(*walk).done, (*walk).done, (*walk).done,
	(*walk).givesUp, (*walk).givesUp,
	(*walk).types, (*walk).types, (*walk).types,
	func(w *walk) { w.respond(func(r *toolkit.Response) { r.Item = byte(w.octet() % 4) }) },
	func(w *walk) {
		w.command(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.MenuSelection(nil, byte(w.octet()%6))})
	},
	func(w *walk) { // files
		switch w.octet() % 8 {
		case 0:
			w.command(simcard.Select(of(w, simcard.USIM, simcard.Signer, "\xF0IMZA", "\xA0\x00\x00\x00\x87")))
		case 1:
			w.command(simcard.SelectEF(of[uint16](w, simcard.MF, simcard.EFICCID, simcard.EFDIR, simcard.EFIMSI, 0x7FFF, 0x6F06, simcard.EFApplet, simcard.EFKeys)))
		case 2:
			w.command(simcard.SelectEF(of[uint16](w, simcard.EFCert, simcard.EFRequest) | uint16(w.octet()%8)))
		case 3:
			w.command(simcard.Command{INS: simcard.SelectFile, P1: of[byte](w, 0, 3, 8, 9), P2: of[byte](w, 0, 4, 0x0C), Data: w.raw(w.octet() % 5)})
		case 4, 5:
			w.command(simcard.Command{INS: simcard.ReadBinary, P1: of[byte](w, 0, 1, 0x81, 0x82, 0x9E, byte(w.octet())), P2: byte(w.octet()), Le: w.octet()})
		case 6:
			w.command(simcard.Command{INS: simcard.ReadRecord, P1: byte(w.octet() % 5), P2: of[byte](w, 2, 3, 4, byte(w.octet())), Le: w.octet()})
		case 7:
			w.command(simcard.Command{CLA: 0x80, INS: simcard.Status, P1: byte(w.octet() % 4), P2: of[byte](w, 0, 1, 0x0C), Le: w.octet()})
		}
	},
	func(w *walk) { // PINs
		c := simcard.Command{INS: of[byte](w, simcard.Verify, simcard.Verify, simcard.ChangePIN, simcard.UnblockPIN, simcard.EnablePIN, simcard.DisablePIN),
			P2: of[byte](w, simcard.PIN1, simcard.PIN2, simcard.PINTelephone, simcard.PIN2Telephone, simcard.ADM)}
		switch {
		case c.INS == simcard.ChangePIN, c.INS == simcard.UnblockPIN:
			c.Data = pair(w.digits(), w.digits())
		case w.octet()%4 > 0:
			c.Data = padded(w.digits())
		}
		w.command(c)
	},
	func(w *walk) { // the issuer comes
		w.command(simcard.Select(simcard.Signer))
		w.command(simcard.Command{INS: simcard.Verify, P2: simcard.ADM, Data: padded(of(w, testADM, testADM, "00000000"))})
		wanted := applet.KeyRecord{Number: byte(3 + w.octet()%4), Operation: of(w, applet.Sign, applet.Authenticate), Kind: applet.P256}
		w.command(simcard.Command{INS: simcard.GenerateKeyPair, Data: wanted.GenerateKey()})
	},
	(*walk).certify, (*walk).dialogue, (*walk).dialogue,
	func(w *walk) { // a person with a blocked PIN goes to the shop
		if w.c.profile.PIN1.Tries > 0 && w.c.profile.PIN2.Tries > 0 || w.octet()%4 > 0 {
			return
		}
		w.command(simcard.Select(simcard.Signer))
		for _, reference := range []byte{simcard.PIN1, simcard.PIN2} {
			w.command(simcard.Command{INS: simcard.UnblockPIN, P2: reference, Data: pair(w.c.profile.PUK.Digits, of(w, "24680", "1234", "87654321"))})
		}
	},
	func(w *walk) { // the terminal begins anew
		if w.octet()%8 == 0 {
			w.begins()
		}
	},
	func(w *walk) { // the power goes
		switch w.octet() % 16 {
		case 0:
			w.c.Reset()
			w.forgets(true)
		case 1:
			saved := copied(&w.saved)
			w.powerOn(&saved)
		default:
			return
		}
		if w.octet()%4 > 0 {
			w.begins()
		}
	},
	(*walk).signs, (*walk).signs, (*walk).signs,
}

var instructionsOfCards = func() (all []byte) {
	for ins := range 256 {
		if _, there := classes[byte(ins)]; there {
			all = append(all, byte(ins))
		}
	}
	return all
}()

// begins is TERMINAL PROFILE, mostly of terminals that can do all it takes.
func (w *walk) begins() {
	all := toolkit.Profile{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}
	w.send(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: of(w, noMenu, noMenu, all, all, toolkit.SigningTerminal(), toolkit.Profile{0})}.Append(nil))
	waits := w.waits
	w.forgets(false)
	w.waits = waits
}

func (w *walk) fetch() {
	le := w.waits
	if le == 0 || w.octet()%16 == 0 {
		le = w.octet()
	}
	r := w.send(simcard.Command{CLA: 0x80, INS: simcard.Fetch, Le: le}.Append(nil))
	if r.SW>>8 == 0x6C {
		w.send(simcard.Command{CLA: 0x80, INS: simcard.Fetch, Le: int(r.SW&0xFF+255)%256 + 1}.Append(nil))
	}
}

func (w *walk) done() { w.respond(func(*toolkit.Response) {}) }

func (w *walk) givesUp() {
	w.respond(func(r *toolkit.Response) {
		r.Result = of(w, toolkit.SessionEnded, toolkit.Backward, toolkit.NoUserResponse, toolkit.TerminalBusy, toolkit.Result(w.octet()))
	})
}

func (w *walk) types() {
	w.respond(func(r *toolkit.Response) {
		r.Text = &toolkit.Text{Coding: byte(sms.GSM8), Octets: []byte(w.digits())}
		if w.octet()%8 == 0 {
			r.Text.Coding, r.Text.Octets = byte(sms.UCS2), []byte("\x00"+strings.Join(strings.Split(string(r.Text.Octets), ""), "\x00"))
		}
	})
}

// certify writes a certificate for one of the keys, or some of it.
func (w *walk) certify() {
	k := &w.c.profile.Keys[w.octet()%len(w.c.profile.Keys)]
	cert := k.Certificate
	if len(cert) == 0 {
		request, err := x509.ParseCertificateRequest(k.Request)
		if err != nil {
			w.t.Fatal(err)
		}
		cert = issue(request.PublicKey).Raw
	} else if w.octet()%2 > 0 {
		cert = issue(k.signer.Public()).Raw
	}
	w.command(simcard.Select(simcard.Signer))
	w.command(simcard.SelectEF(simcard.EFCert | uint16(k.Number)))
	for at := 0; at < len(cert) && w.octet()%16 > 0; at += 200 {
		w.command(simcard.Command{INS: simcard.UpdateBinary, P1: byte(at >> 8), P2: byte(at), Data: cert[at:min(at+200, len(cert))]})
	}
}

// dialogue goes through with an entry of the menu, as far as it comes.
func (w *walk) dialogue() {
	w.command(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.MenuSelection(nil, byte(1+w.octet()%3))})
	for range 8 {
		if w.waits == 0 {
			return
		}
		w.fetch()
		w.respond(func(r *toolkit.Response) {
			r.Item = byte(w.octet() % 4)
			r.Text = &toolkit.Text{Coding: byte(sms.GSM8), Octets: []byte(of(w, "22222", "22222", "22222", w.digits()))}
		})
	}
}

// signs goes through with what the card has on the screen, if it asks for a PIN.
func (w *walk) signs() {
	for range 12 {
		if w.waits == 0 {
			return
		}
		w.fetch()
		if w.open != nil && w.open.Type == toolkit.GetInput {
			w.respond(func(r *toolkit.Response) {
				r.Text = &toolkit.Text{Coding: byte(sms.GSM8), Octets: []byte(of(w, w.c.profile.PIN2.Digits, w.c.profile.PIN1.Digits))}
			})
			continue
		}
		w.done()
	}
}

// run goes on until there are no more octets, or so many steps are done.
func (w *walk) run(most int) {
	w.t.Helper()
	for range most {
		octet, more := w.next()
		if !more {
			break
		}
		steps[int(octet)%len(steps)](w)
	}
	w.ends()
}

// ends fails the test unless the card works, as far as its PINs let it.
func (w *walk) ends() {
	w.t.Helper()
	saved := copied(&w.saved)
	p := &saved
	w.c.powerOn(w.t, p)
	x := &terminal{TB: w.t, card: w.c}
	if p.PIN2.Tries == 0 && p.PUK.Tries > 0 {
		if r := x.do(simcard.Command{INS: simcard.UnblockPIN, P2: simcard.PIN2, Data: pair(p.PUK.Digits, "12121212")}); r.SW != simcard.SWOK {
			w.t.Fatalf("the PUK does not unblock: %s", r.SW)
		}
	}
	w.c.counter = max(w.c.counter, p.Counter)
	x.bring(w.c.segments(w.t, challenge()))
	if p.PIN2.Tries > 0 {
		x.respond(typed(x.confirm(), p.PIN2.Digits))
	}
	want := map[bool]applet.Result{true: applet.Signed, false: applet.PINBlocked}[p.PIN2.Tries > 0]
	if a := x.answer(w.c); a.Result != want {
		w.t.Fatalf("a new challenge is answered %s, want %s", a.Result, want)
	}
	x.idle()
}

var seed = flag.Uint64("seed", 0, "the one random walk to be done; 0: several")

func TestRandomWalks(t *testing.T) {
	ready := readyProfile(t)
	seeds := []uint64{*seed}
	if *seed == 0 {
		seeds = []uint64{uint64(time.Now().UnixNano())} // and always the same
		for n := range uint64(40) {
			seeds = append(seeds, n+1)
		}
	}
	did := make(map[string]int)
	for _, n := range seeds {
		t.Run(fmt.Sprintf("seed %d", n), func(t *testing.T) {
			random := rand.New(rand.NewPCG(n, n))
			w := newWalk(t, ready, func() (byte, bool) { return byte(random.Uint32()), true })
			w.run(800)
			for what, times := range w.did {
				did[what] += times
			}
		})
	}
	if *seed != 0 {
		return
	}
	for _, what := range []string{"a PIN was changed", "a try was lost", "a PIN was blocked", "a key was made or certified", "a packet was refused",
		"command 13", "command 21", "command 23", "command 24", "command 25", "answered " + applet.Signed.String(), "answered " + applet.CancelledByUser.String(),
		"answered " + applet.Busy.String(), "answered " + applet.KeyUnknown.String(), "answered " + applet.PINBlocked.String(), "answered " + applet.TerminalFailed.String()} {
		if did[what] < 10 {
			t.Errorf("%s: %d times are few", what, did[what])
		}
	}
	t.Log(did)
}

// FuzzSession walks as octets say: where FuzzAPDU has commands thrown at a card
// that must not sign, here it may, for those who have its PINs.
func FuzzSession(f *testing.F) {
	ready := readyProfile(f)
	for n := range uint64(20) {
		random := rand.New(rand.NewPCG(n, 0))
		octets := make([]byte, 6*(n+1))
		for i := range octets {
			octets[i] = byte(random.Uint32())
		}
		f.Add(octets)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		if len(octets) > 150 {
			return // the random walks are long
		}
		w := newWalk(t, ready, func() (byte, bool) {
			if len(octets) == 0 {
				return 0, false
			}
			next := octets[0]
			octets = octets[1:]
			return next, true
		})
		w.run(500)
	})
}
