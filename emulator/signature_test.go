package emulator

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/simcard/applet"
)

// judge asks openssl whether a card's signature over a document is good. Since
// the card sends no certificate, it gets the signer's beside it.
func judge(t *testing.T, signature, document []byte, signer *x509.Certificate) (verdict string, err error) {
	t.Helper()
	dir := t.TempDir()
	ca, _ := issuer()
	for name, data := range map[string][]byte{
		"sig": signature, "doc": document, "signer.pem": toPEM(signer), "ca.pem": toPEM(ca),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("openssl", "cms", "-verify", "-cades", "-inform", "DER", "-in", "sig", "-content", "doc", "-binary",
		"-certfile", "signer.pem", "-CAfile", "ca.pem", "-purpose", "any", "-out", os.DevNull)
	command.Dir = dir
	out, err := command.CombinedOutput()
	return string(out), err
}

func toPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// The SignedData of RFC 5652 §5.1, read by encoding/asn1 and not by what wrote
// it. Certificates and CRLs have no field: a card that sent any would not be
// read.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedDataSequence `asn1:"explicit,tag:0"`
	}
	signedDataSequence struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Encapsulated     struct{ Type asn1.ObjectIdentifier }
		SignerInfos      []signerInfo `asn1:"set"`
	}
	signerInfo struct {
		Version int
		ID      struct {
			Issuer asn1.RawValue
			Serial *big.Int
		}
		DigestAlgorithm    pkix.AlgorithmIdentifier
		Attributes         asn1.RawValue `asn1:"tag:0"`
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []asn1.RawValue `asn1:"set"`
	}
)

// opened is a signature taken apart.
type opened struct {
	signerInfo
	attributes map[string]asn1.RawValue // by object identifier
}

func takeApart(t *testing.T, signature []byte) (o opened) {
	t.Helper()
	var whole contentInfo
	if rest, err := asn1.Unmarshal(signature, &whole); err != nil || len(rest) > 0 {
		t.Fatalf("not a SignedData: %v, %d octets behind", err, len(rest))
	}
	d := whole.Content
	if !whole.Type.Equal(oid(1, 2, 840, 113549, 1, 7, 2)) || d.Version != 1 || !d.Encapsulated.Type.Equal(oid(1, 2, 840, 113549, 1, 7, 1)) ||
		len(d.DigestAlgorithms) != 1 || len(d.SignerInfos) != 1 || d.SignerInfos[0].Version != 1 {
		t.Fatalf("a SignedData of another form: %+v", whole)
	}
	o.signerInfo = d.SignerInfos[0]
	if !d.DigestAlgorithms[0].Algorithm.Equal(o.DigestAlgorithm.Algorithm) {
		t.Error("the signer's digest algorithm is not the SignedData's")
	}
	o.attributes = make(map[string]asn1.RawValue)
	var before []byte
	for rest := o.Attributes.Bytes; len(rest) > 0; {
		var a attribute
		whole := rest
		var err error
		if rest, err = asn1.Unmarshal(rest, &a); err != nil {
			t.Fatal(err)
		}
		der := whole[:len(whole)-len(rest)]
		if bytes.Compare(before, der) >= 0 {
			t.Errorf("attribute %s is not in DER's order", a.Type)
		}
		before = der
		if _, twice := o.attributes[a.Type.String()]; twice || len(a.Values) != 1 {
			t.Fatalf("attribute %s twice, or with %d values", a.Type, len(a.Values))
		}
		o.attributes[a.Type.String()] = a.Values[0]
	}
	return o
}

// signedOctets are what the signature is over: the attributes as a SET OF
// (RFC 5652 §5.4).
func (o opened) signedOctets() []byte {
	octets := bytes.Clone(o.Attributes.FullBytes)
	octets[0] = 0x31
	return octets
}

func oid(arcs ...int) asn1.ObjectIdentifier { return arcs }

// Attributes by their numbers, for the eye.
const (
	contentTypeOID   = "1.2.840.113549.1.9.3"
	messageDigestOID = "1.2.840.113549.1.9.4"
	signingTimeOID   = "1.2.840.113549.1.9.5"
	signingCertV2OID = "1.2.840.113549.1.9.16.2.47"
	shownTextOID     = "1.3.6.1.4.1.32473.1.1"
)

var document = []byte("Müqavilə № 17: altıncı bənd\r\nəlavə\x00olunur")

// digests of the document by independent means: not through the applet's table.
func digestOf(a applet.Algorithm, octets []byte) []byte {
	switch a {
	case applet.SHA256:
		sum := sha256.Sum256(octets)
		return sum[:]
	case applet.SHA384:
		sum := sha512.Sum384(octets)
		return sum[:]
	}
	sum := sha512.Sum512(octets)
	return sum[:]
}

func TestSignaturesAreGoodByOpenSSL(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"P-256": testP256(), "P-384": testP384(), "RSA-2048": testRSA()} {
		for algorithm, digestName := range map[applet.Algorithm]string{applet.SHA256: "sha256", applet.SHA384: "sha384", applet.SHA512: "sha512"} {
			t.Run(name+" "+digestName, func(t *testing.T) {
				c := newCard(t, key)
				x := &terminal{TB: t, card: c}
				asked := challenge()
				asked.Algorithm, asked.Digest = algorithm, digestOf(algorithm, document)
				x.sign(c.segments(t, asked), testPIN2)
				answer := x.answer(c)
				if answer.Result != applet.Signed || answer.Reference != asked.Reference {
					t.Fatalf("answered %s to %s", answer.Result, answer.Reference)
				}
				x.idle()
				if verdict, err := judge(t, answer.Signature, document, c.cert); err != nil {
					t.Errorf("openssl: %s", verdict)
				}
				// The judge does judge.
				if _, err := judge(t, answer.Signature, append([]byte("x"), document...), c.cert); err == nil {
					t.Error("openssl takes the signature for another document's")
				}
				if _, err := judge(t, answer.Signature, document, issue(key.Public())); err == nil {
					t.Error("openssl takes another certificate of the same key: the signature does not say which it is by")
				}
				looksRight(t, answer.Signature, asked, c.cert)
			})
		}
	}
}

// looksRight reads what openssl does not look at.
func looksRight(t *testing.T, signature []byte, asked applet.Challenge, cert *x509.Certificate) {
	t.Helper()
	o := takeApart(t, signature)
	if !bytes.Equal(o.ID.Issuer.FullBytes, cert.RawIssuer) || o.ID.Serial.Cmp(cert.SerialNumber) != 0 {
		t.Errorf("signed by the certificate %x of %x", o.ID.Serial, o.ID.Issuer.FullBytes)
	}
	// RSA's algorithm has NULL parameters, the others have none (RFC 4055 §5,
	// RFC 5758 §3.2, RFC 5754 §2).
	algorithm, parameters := algorithmsOf(cert.PublicKey, asked.Algorithm)
	if s := o.SignatureAlgorithm; !s.Algorithm.Equal(algorithm) || !bytes.Equal(s.Parameters.FullBytes, parameters) {
		t.Errorf("signature algorithm %s with parameters %x, want %s with %x", s.Algorithm, s.Parameters.FullBytes, algorithm, parameters)
	}
	if d := o.DigestAlgorithm; !d.Algorithm.Equal(oid(2, 16, 840, 1, 101, 3, 4, 2, int(asked.Algorithm))) || len(d.Parameters.FullBytes) > 0 {
		t.Errorf("digest algorithm %s with parameters %x", d.Algorithm, d.Parameters.FullBytes)
	}
	if len(o.attributes) != 5 {
		t.Errorf("%d signed attributes, want five", len(o.attributes))
	}
	var digest, text []byte
	var at time.Time
	var contentType asn1.ObjectIdentifier
	// SigningCertificateV2 with one ESSCertIDv2 whose hash is by SHA-256, the
	// default that DER leaves out (RFC 5035 §4).
	var ess struct{ Certs []struct{ Hash []byte } }
	for number, value := range map[string]any{
		contentTypeOID: &contentType, messageDigestOID: &digest, signingTimeOID: &at, signingCertV2OID: &ess, shownTextOID: &text,
	} {
		if rest, err := asn1.Unmarshal(o.attributes[number].FullBytes, value); err != nil || len(rest) > 0 {
			t.Errorf("attribute %s: %v", number, err)
		}
	}
	if !contentType.Equal(oid(1, 2, 840, 113549, 1, 7, 1)) {
		t.Errorf("content type %s", contentType)
	}
	if !bytes.Equal(digest, asked.Digest) {
		t.Errorf("message digest %x, asked for %x", digest, asked.Digest)
	}
	if !at.Equal(asked.Time) {
		t.Errorf("signing time %s, the challenge says %s", at, asked.Time)
	}
	if hash := sha256.Sum256(cert.Raw); len(ess.Certs) != 1 || !bytes.Equal(ess.Certs[0].Hash, hash[:]) {
		t.Errorf("signing certificate %x, want %x", ess.Certs, hash)
	}
	if hash := sha256.Sum256([]byte(asked.Text)); !bytes.Equal(text, hash[:]) {
		t.Errorf("shown text %x, want %x", text, hash)
	}
}

func algorithmsOf(public crypto.PublicKey, digest applet.Algorithm) (algorithm asn1.ObjectIdentifier, parameters []byte) {
	if _, is := public.(*rsa.PublicKey); is {
		return oid(1, 2, 840, 113549, 1, 1, 10+int(digest)), []byte{5, 0}
	}
	return oid(1, 2, 840, 10045, 4, 3, 1+int(digest)), nil
}

// The last second of UTCTime's range, the first of GeneralizedTime's (RFC 5652
// §11.3), and the ends of the challenge's 32 bits.
func TestSigningTimeIsTheChallenges(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for at, tag := range map[time.Time]int{
		time.Unix(0, 0).UTC():                            asn1.TagUTCTime,
		time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC): asn1.TagUTCTime,
		time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC):      asn1.TagGeneralizedTime,
		time.Unix(1<<32-1, 0).UTC():                      asn1.TagGeneralizedTime,
	} {
		asked := challenge()
		asked.Digest, asked.Time = digestOf(applet.SHA256, document), at
		x.sign(c.segments(t, asked), testPIN2)
		answer := x.answer(c)
		looksRight(t, answer.Signature, asked, c.cert)
		if got := takeApart(t, answer.Signature).attributes[signingTimeOID].Tag; got != tag {
			t.Errorf("%s is written with tag %d, want %d", at, got, tag)
		}
		if verdict, err := judge(t, answer.Signature, document, c.cert); err != nil {
			t.Errorf("%s: openssl: %s", at, verdict)
		}
	}
}

func TestEachKeySignsForItself(t *testing.T) {
	c := newCard(t, nil)
	certs := map[byte]*x509.Certificate{1: c.cert}
	for number, key := range map[byte]crypto.Signer{2: testRSA(), 3: testP384()} {
		if err := c.profile.AddKey(number, applet.Sign, key); err != nil {
			t.Fatal(err)
		}
		certs[number] = issue(key.Public())
		if err := c.profile.SetCertificate(number, certs[number].Raw); err != nil {
			t.Fatal(err)
		}
	}
	// A card comes back from its shelf with the same keys.
	if err := c.save(c.profile); err != nil {
		t.Fatal(err)
	}
	c.powerOn(t, parse(t, c.stored[0]))
	x := &terminal{TB: t, card: c}
	for number, cert := range certs {
		asked := challenge()
		asked.Key, asked.Digest = number, digestOf(applet.SHA256, document)
		x.sign(c.segments(t, asked), testPIN2)
		if verdict, err := judge(t, x.answer(c).Signature, document, cert); err != nil {
			t.Errorf("key %d: openssl: %s", number, verdict)
		}
	}
}

func TestKeysThatCannotSignAreUnknown(t *testing.T) {
	c := newCard(t, nil)
	if err := c.profile.AddKey(2, applet.Sign, testP256()); err != nil { // no certificate yet
		t.Fatal(err)
	}
	x := &terminal{TB: t, card: c}
	for _, number := range []byte{0, 2, 3, 0xFF} {
		asked := challenge()
		asked.Key = number
		x.bring(c.segments(t, asked))
		if a := x.answer(c); a.Result != applet.KeyUnknown || a.Reference != asked.Reference {
			t.Errorf("key %d: %s", number, a.Result)
		}
		x.idle()
	}
	x.signs(c)
	// A key of a kind for which CMS here has no algorithm is no key of a card's.
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.profile.AddKey(4, applet.Sign, ed); err == nil {
		t.Error("an Ed25519 key was put on the card")
	}
}

func TestCertificateOfAnUnknownKeyIsRefused(t *testing.T) {
	c := newCard(t, nil)
	if err := c.profile.SetCertificate(9, c.cert.Raw); err == nil {
		t.Error("the card took a certificate for a key that it does not have")
	}
	if err := c.profile.SetCertificate(1, issue(testP384().Public()).Raw); err == nil {
		t.Error("the card took a certificate of another key")
	}
}

// long is a challenge that needs three messages.
func long() applet.Challenge {
	asked := challenge()
	asked.Algorithm, asked.Digest = applet.SHA512, digestOf(applet.SHA512, document)
	asked.Text = strings.Repeat("Ж", applet.MaxText)
	return asked
}

func TestSegmentsComeInAnyOrderAndTwice(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for _, order := range [][]int{
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}, // any order
		{0, 0, 1, 1, 2}, {2, 2, 1, 1, 0}, {1, 0, 1, 0, 2}, // some twice before the last
	} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			x.TB = t
			asked := long()
			parts := c.segments(t, asked)
			if len(parts) != 3 {
				t.Fatalf("%d messages, the test wants three", len(parts))
			}
			for i, n := range order {
				sw := x.envelope(deliver(t, parts[n]))
				if _, proactive := sw.Proactive(); proactive != (i == len(order)-1) {
					t.Fatalf("message %d of %v: %s", i, order, sw)
				}
			}
			x.respond(typed(x.confirm(), testPIN2))
			answer := x.answer(c)
			if answer.Result != applet.Signed || answer.Reference != asked.Reference {
				t.Fatalf("answered %s", answer.Result)
			}
			if verdict, err := judge(t, answer.Signature, document, c.cert); err != nil {
				t.Errorf("openssl: %s", verdict)
			}
			// The whole challenge once more, as a centre does that missed the
			// acknowledgement: its counter was there already.
			saves := len(c.stored)
			slices.Reverse(parts)
			x.bring(parts)
			x.idle()
			if len(c.stored) != saves {
				t.Error("a challenge that came twice changed the card")
			}
		})
	}
}

func TestFortyCharactersFitOneSegment(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 40), strings.Repeat("ə", 40), "Qəbul edirəm: «Şərtlər» № 5 — 1 000,00 ₼"} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		asked := challenge()
		asked.Text = text
		parts := c.segments(t, asked)
		if len(parts) != 1 {
			t.Errorf("%q takes %d messages", text, len(parts))
		}
		x.sign(parts, testPIN2)
		if a := x.answer(c); a.Result != applet.Signed {
			t.Errorf("%q: %s", text, a.Result)
		}
	}
}
