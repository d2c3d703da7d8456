package cms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"imza/pki"
	"imza/pki/cms"
)

// sample is a good SignedData and what it is of.
type sample struct {
	name string
	der  []byte
	want *cms.Expectation
}

// samples are good ones of every key, digest and identifier that is allowed.
func samples(t testing.TB, authority *pki.Authority) (list []sample) {
	t.Helper()
	for _, key := range []crypto.Signer{ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), rsaKey()} {
		s := issue(t, authority, key)
		for hash, hashName := range hashNames {
			want := expect(s.cert, hash)
			for _, parameters := range []asn1.RawValue{{}, asn1.NullRawValue} {
				for _, algorithm := range signatureAlgorithms(key, hash) {
					d := newDraft(s, want)
					d.sd.DigestAlgorithms[0].Parameters = parameters
					d.si.DigestAlgorithm.Parameters = parameters
					d.si.SignatureAlgorithm = algorithm
					d.sign()
					name := fmt.Sprintf("%s/%s/parameters %d/%v", keyName(key), hashName, parameters.Tag, algorithm.Algorithm)
					list = append(list, sample{name, d.bytes(), want})
				}
			}
		}
	}
	return list
}

func signatureAlgorithms(key crypto.Signer, hash crypto.Hash) []pkix.AlgorithmIdentifier {
	list := []pkix.AlgorithmIdentifier{signatureAlgorithm(key, hash)}
	if _, ok := key.(*rsa.PrivateKey); ok {
		list = append(list, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue})
	}
	return list
}

func keyName(key crypto.Signer) string {
	if ec, ok := key.Public().(*ecdsa.PublicKey); ok {
		return ec.Params().Name
	}
	return "RSA-2048"
}

func TestGoodSignaturesAreAccepted(t *testing.T) {
	all := samples(t, openAuthority(t))
	if len(all) != 2*(3+3+2*3) {
		t.Fatalf("%d samples", len(all))
	}
	for _, s := range all {
		if err := cms.Verify(s.der, s.want); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		complete, err := cms.AddCertificate(s.der, s.want.Certificate)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if err := cms.Verify(complete, s.want); err != nil {
			t.Errorf("%s, with its certificate: %v", s.name, err)
		}
	}
}

// The builder's own way of putting the certificate in must give the same
// octets: AddCertificate then changes nothing else.
func TestAddCertificateAddsTheCertificateAlone(t *testing.T) {
	s := p256Signer(t)
	d := newDraft(s, expect(s.cert, crypto.SHA256))
	d.sign()
	got, err := cms.AddCertificate(d.bytes(), s.cert)
	d.sd.Certificates = tagged(0, s.cert.Raw)
	if want := d.bytes(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x (%v), want %x", got, err, want)
	}
}

func TestAddCertificateRefusesWhatHasNoPlaceForIt(t *testing.T) {
	s := p256Signer(t)
	der := good(s, expect(s.cert, crypto.SHA256))
	complete, err := cms.AddCertificate(der, s.cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cms.AddCertificate(complete, s.cert); err == nil {
		t.Error("a second certificate was added")
	}
	for n := range der {
		if _, err := cms.AddCertificate(der[:n], s.cert); err == nil {
			t.Errorf("a certificate was added to the first %d octets", n)
		}
	}
}

// UTCTime ends in 2049 (RFC 5652 §11.3); a test clock or an old card's may not.
func TestSigningTimeIsGeneralizedFrom2050On(t *testing.T) {
	s := p256Signer(t)
	for _, at := range []time.Time{
		time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		signedAt.In(time.FixedZone("Baku", 4*60*60)),
	} {
		want := expect(s.cert, crypto.SHA256)
		want.SigningTime = at
		if err := cms.Verify(good(s, want), want); err != nil {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// A serial number whose top bit is set gets a leading zero octet in DER, and a
// short one is short: sameInteger writes both out itself.
func TestSerialNumbersOfEveryLengthAreAccepted(t *testing.T) {
	s := p256Signer(t)
	for _, serial := range []string{"01", "7f", "80", "00ff", "0100", "8000", strings.Repeat("ff", 19), "7f" + strings.Repeat("00", 19)} {
		cert := *s.cert
		cert.SerialNumber, _ = new(big.Int).SetString(serial, 16)
		want := expect(&cert, crypto.SHA256)
		if err := cms.Verify(good(s, want), want); err != nil {
			t.Errorf("%s: %v", serial, err)
		}
	}
}

// One good signature is good for one expectation: whatever in it is another's,
// the signature is refused and the error says what.
func TestSignaturesOfSomethingElseAreRefused(t *testing.T) {
	authority := openAuthority(t)
	s := issue(t, authority, ecKey(t, elliptic.P256()))
	der := good(s, expect(s.cert, crypto.SHA256))
	for _, c := range []struct {
		field  string
		change func(*cms.Expectation)
	}{
		{"sid", func(w *cms.Expectation) { w.Certificate = issue(t, authority, s.key).cert }},
		{"signature", func(w *cms.Expectation) {
			cert := *w.Certificate
			cert.PublicKey = ecKey(t, elliptic.P256()).Public()
			w.Certificate = &cert
		}},
		{"signatureAlgorithm", func(w *cms.Expectation) {
			cert := *w.Certificate
			cert.PublicKey = rsaKey().Public()
			w.Certificate = &cert
		}},
		{"digestAlgorithms", func(w *cms.Expectation) { w.Hash, w.Digest = crypto.SHA384, sum(crypto.SHA384, []byte(document)) }},
		{"messageDigest", func(w *cms.Expectation) { w.Digest = sum(crypto.SHA256, []byte("another")) }},
		{"signingTime", func(w *cms.Expectation) { w.SigningTime = w.SigningTime.Add(time.Second) }},
		{"shownText", func(w *cms.Expectation) { w.ShownText = sha256.Sum256([]byte("another")) }},
	} {
		want := expect(s.cert, crypto.SHA256)
		c.change(want)
		refused(t, "another "+c.field, cms.Verify(der, want), c.field, "")
	}
}

func TestExpectationsThatNobodyHasAreRefused(t *testing.T) {
	s := p256Signer(t)
	der := good(s, expect(s.cert, crypto.SHA256))
	for _, c := range []struct {
		hash crypto.Hash
		size int
	}{{crypto.SHA256, 0}, {crypto.SHA256, 31}, {crypto.SHA256, 48}, {crypto.SHA1, 20}, {crypto.SHA224, 28}, {0, 0}, {crypto.SHA512_256, 32}} {
		want := expect(s.cert, crypto.SHA256)
		want.Hash, want.Digest = c.hash, make([]byte, c.size)
		if err := cms.Verify(der, want); err == nil || !strings.Contains(err.Error(), "not expected of anybody") {
			t.Errorf("hash %d, %d octets: %v", c.hash, c.size, err)
		}
	}
}

func TestEveryProperPrefixIsRefused(t *testing.T) {
	for _, s := range cutSamples(t) {
		for n := range s.der {
			if cms.Verify(s.der[:n], s.want) == nil {
				t.Errorf("%s: its first %d octets were accepted", s.name, n)
			}
		}
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	for _, s := range cutSamples(t) {
		if err := cms.Verify(s.der, s.want); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for bit := range 8 * len(s.der) {
			spoiled := bytes.Clone(s.der)
			spoiled[bit/8] ^= 1 << (bit % 8)
			if cms.Verify(spoiled, s.want) == nil {
				t.Errorf("%s: accepted with bit %d of octet %d flipped", s.name, bit%8, bit/8)
			}
		}
	}
}

// cutSamples are a P-256 signature without and with its certificate, and one
// with an RSA key.
func cutSamples(t *testing.T) []sample {
	t.Helper()
	authority := openAuthority(t)
	ec, other := issue(t, authority, ecKey(t, elliptic.P256())), issue(t, authority, rsaKey())
	ecWant, otherWant := expect(ec.cert, crypto.SHA256), expect(other.cert, crypto.SHA256)
	der := good(ec, ecWant)
	complete, err := cms.AddCertificate(der, ec.cert)
	if err != nil {
		t.Fatal(err)
	}
	return []sample{{"P-256", der, ecWant}, {"P-256 with its certificate", complete, ecWant}, {"RSA", good(other, otherWant), otherWant}}
}

// A gateway verifies on every signature: garbage is to be counted, too.
func TestVerifyAllocatesLittle(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	allocs := testing.AllocsPerRun(100, func() {
		if err := cms.Verify(der, want); err != nil {
			t.Error(err)
		}
	})
	if allocs > 20 {
		t.Errorf("%v allocations", allocs)
	}
}

// Verify keeps nothing between calls, so goroutines may share an Expectation.
func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	done := make(chan error)
	for range 8 {
		go func() { done <- cms.Verify(der, want) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
