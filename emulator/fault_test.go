package emulator

import (
	"bytes"
	"crypto/x509"
	"testing"

	"imza/simcard/applet"
)

// faultySignature is what a card with a fault makes of the document.
func faultySignature(t *testing.T, c *card) (applet.Challenge, []byte) {
	t.Helper()
	x := &terminal{TB: t, card: c}
	asked := challenge()
	asked.Digest = digestOf(applet.SHA256, document)
	x.sign(c.segments(t, asked), testPIN2)
	a := x.answer(c)
	if a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Fatalf("%s", a.Result)
	}
	return asked, a.Signature
}

func TestForeignKeySignsTheRightThing(t *testing.T) {
	c := newCard(t, nil)
	c.profile.Fault = ForeignKey
	asked, signature := faultySignature(t, c)
	if _, err := judge(t, signature, document, c.cert); err == nil {
		t.Error("openssl finds nothing wrong")
	}
	looksRight(t, signature, asked, c.cert) // all but the key
	// Each time another key, that nobody else has either.
	_, again := faultySignature(t, c)
	if bytes.Equal(takeApart(t, signature).Signature, takeApart(t, again).Signature) {
		t.Error("twice the same signature")
	}
	// An RSA card's foreign key is an elliptic one.
	c = newCard(t, testRSA())
	c.profile.Fault = ForeignKey
	_, signature = faultySignature(t, c)
	if _, err := judge(t, signature, document, c.cert); err == nil {
		t.Error("openssl finds nothing wrong")
	}
}

func TestAnotherDigestIsSignedWell(t *testing.T) {
	c := newCard(t, nil)
	c.profile.Fault = AnotherDigest
	asked, signature := faultySignature(t, c)
	if _, err := judge(t, signature, document, c.cert); err == nil {
		t.Error("openssl finds nothing wrong")
	}
	o := takeApart(t, signature)
	if digest := o.attributes[messageDigestOID].Bytes; bytes.Equal(digest, asked.Digest) || len(digest) != len(asked.Digest) {
		t.Errorf("digest %x, asked for %x", digest, asked.Digest)
	}
	if err := c.cert.CheckSignature(x509.ECDSAWithSHA256, o.signedOctets(), o.Signature); err != nil {
		t.Errorf("the signature itself is not good: %v", err)
	}
}
