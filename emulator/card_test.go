package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// What opens the test's cards.
const (
	testPIN1 = "1357"
	testPIN2 = "86420"
	testPUK  = "97531864"
)

// asker is the address of the gateway that the test plays.
var asker = sms.Address{Type: sms.International, Digits: "994124040404"}

var testKeys = ota.Keys{KIc: bytes.Repeat([]byte{0x1C}, 16), KID: bytes.Repeat([]byte{0x1D}, 16)}

// issuer is a certification authority of the test's own: the emulator's
// signatures are to be judged without imza's.
var issuer = sync.OnceValues(func() (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Country: []string{"AZ"}, CommonName: "Sınaq mərkəzi"},
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	return create(template, template, key.Public(), key), key
})

func create(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// issue certifies a card's public key. The serial number's first octet has its
// high bit set, which an INTEGER must not read as a sign.
func issue(public crypto.PublicKey) *x509.Certificate {
	ca, key := issuer()
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = 0x80 | serial[0]&0x7F
	return create(&x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{Country: []string{"AZ"}, CommonName: "Aysel Məmmədova"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageContentCommitment, BasicConstraintsValid: true,
	}, ca, public, key)
}

// testRSA is shared, since making one takes longer than all that is done with it.
var testRSA = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

var testP384 = sync.OnceValue(func() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// testP256 is shared by the cards of tests that look at no signature's key.
var testP256 = sync.OnceValue(func() crypto.Signer {
	key, err := NewKey(applet.P256)
	if err != nil {
		panic(err)
	}
	return key
})

// card is a SIM with a record of all that it stored, and what the gateway
// knows of it.
type card struct {
	*SIM
	profile *Profile
	stored  [][]byte          // profiles that were saved, oldest first
	saves   int               // how often the card wanted to store
	cut     cut               // where its memory fails
	cert    *x509.Certificate // of key 1
	channel *ota.Channel      // the gateway's end
	counter uint64            // last one used
}

// newCard makes a card whose key 1 has a certificate; nil means any P-256 key.
func newCard(t testing.TB, private crypto.Signer) *card {
	t.Helper()
	if private == nil {
		private = testP256()
	}
	c := &card{profile: NewProfile(iccid(t, cardNumber), testKeys, testPIN1, testPIN2, testPUK), counter: 1000}
	if err := c.profile.AddKey(1, applet.Sign, private); err != nil {
		t.Fatal(err)
	}
	c.cert = issue(private.Public())
	if err := c.profile.SetCertificate(1, c.cert.Raw); err != nil {
		t.Fatal(err)
	}
	c.powerOn(t, c.profile)
	return c
}

// powerOn puts a profile into a new SIM whose memory works.
func (c *card) powerOn(t testing.TB, p *Profile) {
	t.Helper()
	c.profile, c.saves, c.cut = p, 0, cut{}
	var err error
	if c.SIM, err = NewSIM(p, c.save); err != nil {
		t.Fatal(err)
	}
	if c.channel, err = ota.NewChannel(applet.TAR, ota.Signing, p.OTA); err != nil {
		t.Fatal(err)
	}
	c.boot(t)
}

// noMenu is a terminal that does all that a signature takes, and has no menu for
// the card's entries.
var noMenu = toolkit.Profile{0xFF, 0xFF, 0xFF, 0x03}

// boot is what a terminal says first to a card, and what these tests need for
// its PINs: the signing applet is selected.
func (c *card) boot(t testing.TB) {
	t.Helper()
	boot(t, c.SIM)
}

func boot(t testing.TB, sim simcard.Card) {
	t.Helper()
	for _, command := range []simcard.Command{
		{CLA: 0x80, INS: simcard.TerminalProfile, Data: noMenu},
		simcard.Select(simcard.Signer),
	} {
		if r, err := simcard.Do(sim, command); err != nil || r.SW != simcard.SWOK {
			t.Fatalf("INS %02X: %s %v", command.INS, r.SW, err)
		}
	}
}

// cut is a power cut at one of a card's saves: that one and all after it fail.
type cut struct {
	at     int  // the save, counted from 1; 0: none
	stored bool // the one it is at gets through all the same
}

var errCut = errors.New("the power is gone")

func (c *card) save(p *Profile) error {
	c.saves++
	failed := c.cut.at > 0 && c.saves >= c.cut.at
	if !failed || c.cut.stored && c.saves == c.cut.at {
		raw, err := json.Marshal(p)
		if err != nil {
			return err
		}
		c.stored = append(c.stored, raw)
	}
	if failed {
		return errCut
	}
	return nil
}

// parse reads a stored profile back.
func parse(t testing.TB, stored []byte) *Profile {
	t.Helper()
	p := new(Profile)
	if err := json.Unmarshal(stored, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// signingTime is what the test's challenges claim.
var signingTime = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)

// challenge is one that fits a single message.
func challenge() applet.Challenge {
	c := applet.Challenge{Operation: applet.Sign, Key: 1, Algorithm: applet.SHA256, Digest: make([]byte, 32),
		Time: signingTime, Language: applet.Azerbaijani, Text: "Müqavilə № 17 — 250 ₼"}
	rand.Read(c.Reference[:])
	rand.Read(c.Digest)
	return c
}

// segments makes the user data of a challenge's messages, under the next
// counter.
func (c *card) segments(t testing.TB, challenge applet.Challenge) [][]byte {
	t.Helper()
	data, err := challenge.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.counter++
	packet, err := c.channel.SealCommand(c.counter, data)
	if err != nil {
		t.Fatal(err)
	}
	return segment(t, packet)
}

func segment(t testing.TB, packet []byte) [][]byte {
	t.Helper()
	parts, err := sms.Segment(sms.CommandPacket, packet, 0x42)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// deliver makes the SMS-DELIVER of one segment.
func deliver(t testing.TB, ud []byte) []byte {
	t.Helper()
	d := sms.Deliver{Originator: asker, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, Timestamp: signingTime, UDHI: true, UserData: ud}
	tpdu, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tpdu
}

// open opens an answer as the gateway does. counter is that of the challenge.
func (c *card) open(t testing.TB, m sms.Message) (a applet.Answer, counter uint64) {
	t.Helper()
	if m.Kind != sms.ResponsePacket {
		t.Fatalf("the answer is of kind %02x", byte(m.Kind))
	}
	r, err := c.channel.OpenResponse(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != ota.StatusOK {
		t.Fatalf("the answer has status %02x", byte(r.Status))
	}
	if a, err = applet.ParseAnswer(r.Data); err != nil {
		t.Fatal(err)
	}
	return a, r.Counter
}

// tries are PIN1's, PIN2's and the PUK's.
func (p *Profile) tries() []int { return []int{p.PIN1.Tries, p.PIN2.Tries, p.PUK.Tries} }

func sameTries(t testing.TB, p *Profile, want ...int) {
	t.Helper()
	if got := p.tries(); !slices.Equal(got, want) {
		t.Fatalf("tries of PIN1, PIN2 and PUK are %v, want %v", got, want)
	}
}
