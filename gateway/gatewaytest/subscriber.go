package gatewaytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
)

// Person is what sets a subscriber apart from the others.
type Person struct {
	Behaviour    emulator.Behaviour    // empty: signs
	Think        func(context.Context) // nil: acts at once
	Certificates []gateway.Wanted      // none: one business certificate of FirstVOEN
	Certified    time.Time             // zero: now
}

// Subscriber is somebody on record, with a telephone that is switched on.
type Subscriber struct {
	MSISDN       simcard.MSISDN
	UserID       string
	FIN          policy.FIN
	Certificates []gateway.Certificate

	profile *emulator.Profile
	card    *emulator.SIM
}

// The secrets of all cards; eight digits, so that a match in a log is no chance.
const (
	pin1 = "90418327"
	pin2 = "83140675"
	puk  = "27750913"
)

// Enrol makes a card with certificates, puts the person on record and the
// telephone on the network.
func (s *Stack) Enrol(t testing.TB, p Person) *Subscriber {
	t.Helper()
	n := int(s.people.Add(1))
	who := &Subscriber{
		MSISDN: simcard.MSISDN(fmt.Sprintf("+9945500%05d", n)),
		UserID: fmt.Sprintf("%06d", 730000+n),
		FIN:    policy.FIN(fmt.Sprintf("7TST%03d", n)),
	}
	iccid, err := simcard.NewICCID(fmt.Sprintf("899940155%09d", n))
	must(t, err)
	keys, err := ota.DeriveKeys(s.masterKey, string(iccid))
	must(t, err)
	s.secrets.add(who.UserID, pin1, pin2, puk, hex.EncodeToString(keys.KIc), hex.EncodeToString(keys.KID))
	card := emulator.NewProfile(iccid, keys, pin1, pin2, puk)
	who.profile = card
	wanted := p.Certificates
	if wanted == nil {
		wanted = []gateway.Wanted{{Type: gateway.Business, VOEN: FirstVOEN}}
	}
	at := p.Certified
	if at.IsZero() {
		at = time.Now()
	}
	for i, w := range wanted {
		who.Certificates = append(who.Certificates, s.certify(t, card, byte(i+1), who.FIN, w, at))
	}
	must(t, s.Registry.Enrol(t.Context(), registry.Person{MSISDN: who.MSISDN, ICCID: iccid, FIN: who.FIN,
		GivenName: "Aysel", Surname: "Məmmədova", UserID: who.UserID, ShortAnswers: n%2 == 0}, who.Certificates))
	who.card, err = emulator.NewSIM(card, func(*emulator.Profile) error { return nil })
	must(t, err)
	s.HandOver(t, who, p)
	return who
}

// Renew gives the subscriber a further certificate, with a key of its own, and
// another telephone. It signs if it was issued later than the one before, which a
// Person.Certified in the past sees to.
func (s *Stack) Renew(t testing.TB, who *Subscriber, w gateway.Wanted) gateway.Certificate {
	t.Helper()
	c := s.certify(t, who.profile, byte(len(who.Certificates)+1), who.FIN, w, time.Now())
	must(t, s.Registry.AddCertificates(t.Context(), who.profile.ICCID, []gateway.Certificate{c}))
	who.Certificates = append(who.Certificates, c)
	var err error
	who.card, err = emulator.NewSIM(who.profile, func(*emulator.Profile) error { return nil })
	must(t, err)
	s.HandOver(t, who, Person{})
	return c
}

// certify puts a new key on the card, and its certificate.
func (s *Stack) certify(t testing.TB, card *emulator.Profile, key byte, fin policy.FIN, w gateway.Wanted, at time.Time) gateway.Certificate {
	t.Helper()
	private, err := emulator.NewKey(applet.P256)
	must(t, err)
	must(t, card.AddKey(key, applet.Sign, private))
	cert, err := s.Authority.Issue(pki.Holder{FIN: string(fin), GivenName: "Aysel", Surname: "Məmmədova",
		VOEN: string(w.VOEN), Organisation: organisations[w.VOEN]}, pki.Signing, private.Public(), at.UTC().Truncate(time.Second))
	must(t, err)
	must(t, card.SetCertificate(key, cert.Raw))
	return gateway.Certificate{Serial: registry.Serial(cert.SerialNumber), Type: w.Type, VOEN: w.VOEN, Key: key, Active: true, X509: cert}
}

// HandOver gives the subscriber's SIM to somebody who behaves otherwise, in
// another telephone.
func (s *Stack) HandOver(t testing.TB, who *Subscriber, p Person) {
	t.Helper()
	behaviour := p.Behaviour
	if behaviour == "" {
		behaviour = emulator.Signs
	}
	handset := &emulator.Handset{Card: who.card, Log: s.log,
		Person: &emulator.Actor{PIN1: pin1, PIN2: pin2, Behaviour: behaviour, Think: p.Think, GivesUp: 50 * time.Millisecond}}
	s.smsc.Add(&emulator.Line{MSISDN: who.MSISDN, Handset: handset})
	must(t, handset.SwitchOn(context.Background()))
}

// Request is a good request for the subscriber's first certificate, for a test
// to change.
func (who *Subscriber) Request() map[string]any {
	digest := sha256.Sum256([]byte("a contract with " + who.MSISDN))
	c := who.Certificates[0]
	certificate := map[string]any{"type": string(c.Type)}
	if c.VOEN != "" {
		certificate["voen"] = string(c.VOEN)
	}
	return map[string]any{
		"msisdn": string(who.MSISDN), "userId": who.UserID, "certificate": certificate,
		"digest": map[string]any{"algorithm": "SHA-256", "value": digest[:]},
		"text":   "Müqavilə №42",
	}
}

// Hold keeps a person from acting on what is on the screen until it is opened.
type Hold struct {
	prompted, open chan struct{}
	opened         sync.Once
}

// NewHold makes a Hold that holds.
func NewHold() *Hold { return &Hold{prompted: make(chan struct{}, 1), open: make(chan struct{})} }

// Think is for a Person.
func (h *Hold) Think(ctx context.Context) {
	select {
	case h.prompted <- struct{}{}:
	default:
	}
	select {
	case <-h.open:
	case <-ctx.Done():
	}
}

// Prompted waits until there is something on the screen.
func (h *Hold) Prompted(t testing.TB) {
	t.Helper()
	select {
	case <-h.prompted:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was prompted")
	}
}

// Open lets the person go on, now and from now on.
func (h *Hold) Open() { h.opened.Do(func() { close(h.open) }) }
