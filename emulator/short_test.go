package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"testing"
	"time"

	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// signedAttributes are the octets that a signature is over, made anew from the
// challenge and the certificate (docs/applet.md, RFC 5652 §5.4): a SET OF, which
// encoding/asn1 puts into DER's order.
func signedAttributes(t testing.TB, asked applet.Challenge, cert *x509.Certificate) []byte {
	t.Helper()
	value := func(v any) []asn1.RawValue {
		der, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return []asn1.RawValue{{FullBytes: der}}
	}
	type certID struct{ Hash []byte }
	certHash, textHash := sha256.Sum256(cert.Raw), sha256.Sum256([]byte(asked.Text))
	set, err := asn1.MarshalWithParams([]attribute{
		{oid(1, 2, 840, 113549, 1, 9, 3), value(oid(1, 2, 840, 113549, 1, 7, 1))},
		{oid(1, 2, 840, 113549, 1, 9, 4), value(asked.Digest)},
		{oid(1, 2, 840, 113549, 1, 9, 5), value(asked.Time)},
		{oid(1, 2, 840, 113549, 1, 9, 16, 2, 47), value(struct{ Certs []certID }{[]certID{{certHash[:]}}})},
		{oid(1, 3, 6, 1, 4, 1, 32473, 1, 1), value(textHash[:])},
	}, "set")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// goodShort judges a short signature: r‖s in the octets of the curve, or RSA's.
func goodShort(t testing.TB, public crypto.PublicKey, hash crypto.Hash, set, value []byte) error {
	t.Helper()
	h := hash.New()
	h.Write(set)
	digest := h.Sum(nil)
	switch key := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, digest, value)
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if len(value) != 2*size {
			return fmt.Errorf("%d octets, want %d", len(value), 2*size)
		}
		if !ecdsa.Verify(key, digest, new(big.Int).SetBytes(value[:size]), new(big.Int).SetBytes(value[size:])) {
			return errors.New("it does not verify")
		}
		return nil
	}
	return fmt.Errorf("a key that is %T", public)
}

// shortAnswer signs a challenge in the short form, and gives the answer and how
// many messages it took.
func (x *terminal) shortAnswer(c *card, asked applet.Challenge) (a applet.Answer, messages int) {
	x.Helper()
	asked.Short = true
	x.sign(c.segments(x, asked), testPIN2)
	parts := sms.Reassembler{Expiry: time.Hour, Most: 1}
	for {
		command := x.want(toolkit.SendShortMessage)
		messages++
		m, whole := x.message(command, &parts)
		if messages == 1 && whole {
			// TS 31.115 §4: one message has the response header and nothing of
			// concatenation.
			submit, err := sms.ParseSubmit(command.TPDU)
			if err != nil || !bytes.HasPrefix(submit.UserData, []byte{0x02, 0x71, 0x00}) {
				x.Fatalf("a single message begins %.5X, %v", submit.UserData, err)
			}
		}
		if whole {
			a, counter := c.open(x, m)
			if counter != c.counter || !a.Short || a.Reference != asked.Reference {
				x.Fatalf("answer %+v to counter %d", a, counter)
			}
			return a, messages
		}
	}
}

func TestShortAnswersVerify(t *testing.T) {
	for name, k := range map[string]struct {
		key      crypto.Signer
		octets   int
		messages int
	}{
		"P-256":    {testP256(), 64, 1},
		"P-384":    {testP384(), 96, 1},
		"RSA-2048": {testRSA(), 256, 3},
	} {
		for algorithm, hash := range map[applet.Algorithm]crypto.Hash{applet.SHA256: crypto.SHA256, applet.SHA384: crypto.SHA384, applet.SHA512: crypto.SHA512} {
			t.Run(fmt.Sprint(name, " ", hash), func(t *testing.T) {
				c := newCard(t, k.key)
				x := &terminal{TB: t, card: c}
				asked := challenge()
				asked.Algorithm, asked.Digest = algorithm, digestOf(algorithm, document)
				a, messages := x.shortAnswer(c, asked)
				if a.Result != applet.Signed || len(a.Signature) != k.octets || messages != k.messages {
					t.Fatalf("%s, %d octets in %d messages; want %d in %d", a.Result, len(a.Signature), messages, k.octets, k.messages)
				}
				x.idle()
				if err := goodShort(t, c.cert.PublicKey, hash, signedAttributes(t, asked, c.cert), a.Signature); err != nil {
					t.Errorf("%v", err)
				}
				// The judge does judge: each part of the challenge is signed.
				for what, change := range map[string]func(*applet.Challenge){
					"digest": func(a *applet.Challenge) { a.Digest = digestOf(algorithm, []byte("another")) },
					"time":   func(a *applet.Challenge) { a.Time = a.Time.Add(time.Second) },
					"text":   func(a *applet.Challenge) { a.Text += "." },
				} {
					other := asked
					change(&other)
					if goodShort(t, c.cert.PublicKey, hash, signedAttributes(t, other, c.cert), a.Signature) == nil {
						t.Errorf("it is good for another %s, too", what)
					}
				}
				if goodShort(t, c.cert.PublicKey, hash, signedAttributes(t, asked, issue(k.key.Public())), a.Signature) == nil {
					t.Error("it is good for another certificate, too")
				}
				// The attributes are those of the full form, octet for octet.
				asked.Short = false
				x.sign(c.segments(t, asked), testPIN2)
				full := takeApart(t, x.answer(c).Signature)
				if set := signedAttributes(t, asked, c.cert); !bytes.Equal(full.signedOctets(), set) {
					t.Errorf("the full form has the attributes %X, not %X", full.signedOctets(), set)
				}
			})
		}
	}
}

// The ends of the time's range, and texts of every form, as attributes.
func TestShortAnswersOfEveryChallenge(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for _, at := range []time.Time{time.Unix(0, 0).UTC(), signingTime, time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<32-1, 0).UTC()} {
		for _, text := range []string{"", "x", "Müqavilə № 17 — 250 ₼", "Договор", "日本"} {
			asked := challenge()
			asked.Time, asked.Text = at, text
			a, messages := x.shortAnswer(c, asked)
			if a.Result != applet.Signed || messages != 1 {
				t.Fatalf("%s in %d messages", a.Result, messages)
			}
			if err := goodShort(t, c.cert.PublicKey, crypto.SHA256, signedAttributes(t, asked, c.cert), a.Signature); err != nil {
				t.Errorf("%s %q: %v", at, text, err)
			}
		}
	}
}

// An old card gives no short answers, asks nobody, and says so in its file.
func TestFullOnlyCards(t *testing.T) {
	for _, fullOnly := range []bool{false, true} {
		c := newCard(t, nil)
		c.profile.FullOnly = fullOnly
		x := &terminal{TB: t, card: c}
		done(t, c, "00A4000C026F01")
		about, err := applet.ParseAbout(done(t, c, "00B000000F"))
		if err != nil || about.Short == fullOnly || about.Version != 1 || about.PIN1 != 3 || about.PIN2 != 3 || about.PUK != 10 {
			t.Errorf("full only %t: %+v %v", fullOnly, about, err)
		}
		asked := challenge()
		asked.Short = true
		x.bring(c.segments(t, asked))
		if fullOnly {
			if a := x.answer(c); a.Result != applet.NotUnderstood || !a.Short || a.Reference != asked.Reference || len(a.Signature) > 0 {
				t.Errorf("%+v", a)
			}
			x.idle()
		} else {
			x.respond(typed(x.confirm(), testPIN2))
			if a := x.answer(c); a.Result != applet.Signed || !a.Short {
				t.Errorf("%+v", a)
			}
		}
		sameTries(t, c.profile, 3, 3, 10)
		x.signs(c) // in full
	}
}

// What is no signature is short, too: the form of the answer is that of the
// challenge.
func TestRefusalsInTheShortForm(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	asked := challenge()
	asked.Short = true
	x.bring(c.segments(t, asked))
	display := x.want(toolkit.DisplayText)
	x.respond(display.Respond(toolkit.SessionEnded))
	if a := x.answer(c); a.Result != applet.CancelledByUser || !a.Short || a.Reference != asked.Reference {
		t.Errorf("%+v", a)
	}
	asked.Key = 7
	x.bring(c.segments(t, asked))
	if a := x.answer(c); a.Result != applet.KeyUnknown || !a.Short {
		t.Errorf("%+v", a)
	}
}

// scriptedKey is a key whose signatures are known beforehand.
type scriptedKey struct {
	crypto.Signer
	der []byte
}

func (k scriptedKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return k.der, nil }

// Numbers with zeros in front keep their places in r‖s, however few octets DER
// writes of them.
func TestNumbersKeepTheirPlaces(t *testing.T) {
	ones := func(octets int) *big.Int { return new(big.Int).SetBytes(bytes.Repeat([]byte{0xFF}, octets)) }
	for name, k := range map[string]struct {
		key  crypto.Signer
		size int
	}{"P-256": {testP256(), 32}, "P-384": {testP384(), 48}} {
		c := newCard(t, k.key)
		x := &terminal{TB: t, card: c}
		numbers := []*big.Int{big.NewInt(1), big.NewInt(0x7F), big.NewInt(0x80), big.NewInt(0xFF), big.NewInt(0x100), ones(k.size - 2), ones(k.size - 1), ones(k.size),
			new(big.Int).Rsh(ones(k.size), 1), new(big.Int).Rsh(ones(k.size), 8), new(big.Int).Rsh(ones(k.size), 9)}
		for _, r := range numbers {
			for _, s := range numbers {
				der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
				if err != nil {
					t.Fatal(err)
				}
				c.profile.Keys[0].signer = scriptedKey{k.key, der}
				a, _ := x.shortAnswer(c, challenge())
				if want := append(r.FillBytes(make([]byte, k.size)), s.FillBytes(make([]byte, k.size))...); a.Result != applet.Signed || !bytes.Equal(a.Signature, want) {
					t.Fatalf("%s: %X and %X are written %X", name, r, s, a.Signature)
				}
			}
		}
	}
	// And such come about: one signature in 128 has a zero in front of a number.
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for n := 0; ; n++ {
		asked := challenge()
		a, _ := x.shortAnswer(c, asked)
		if err := goodShort(t, c.cert.PublicKey, crypto.SHA256, signedAttributes(t, asked, c.cert), a.Signature); err != nil {
			t.Fatalf("%X: %v", a.Signature, err)
		}
		if a.Signature[0] == 0 || a.Signature[32] == 0 {
			break
		}
		if n > 5000 {
			t.Fatal("no signature has a zero in front")
		}
	}
}

// What is no Ecdsa-Sig-Value is never sent as a signature.
func TestBrokenSignersSignNothing(t *testing.T) {
	for name, der := range map[string][]byte{
		"nothing":        nil,
		"no SEQUENCE":    {0x04, 0x02, 0x01, 0x01},
		"one INTEGER":    {0x30, 0x03, 0x02, 0x01, 0x01},
		"cut off":        {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01},
		"octet strings":  {0x30, 0x06, 0x04, 0x01, 0x01, 0x04, 0x01, 0x01},
		"an empty pair":  {0x30, 0x00},
		"a long INTEGER": {0x30, 0x05, 0x02, 0x81, 0x01, 0x01, 0x00},
	} {
		c := newCard(t, nil)
		c.profile.Keys[0].signer = scriptedKey{testP256(), der}
		x := &terminal{TB: t, card: c}
		if a, _ := x.shortAnswer(c, challenge()); a.Result != applet.KeyUnknown || len(a.Signature) > 0 {
			t.Errorf("%s: %s with %X", name, a.Result, a.Signature)
		}
		x.idle()
	}
}
