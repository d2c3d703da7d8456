package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
	"time"
)

// What is issued is, but for the signature, what x509.CreateCertificate makes of
// the same template.
func TestIssuedAsX509Does(t *testing.T) {
	begun := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	late := time.Date(2046, 3, 1, 0, 0, 0, 0, time.FixedZone("AZT", 4*3600))
	keys := make(map[string]crypto.Signer)
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
	}
	var err error
	if keys["RSA"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	for _, begins := range []time.Time{begun, late} { // the latter's authority ends beyond 2049
		a, err := OpenAuthority(t.TempDir(), "http://127.0.0.1:8080/", begins)
		if err != nil {
			t.Fatal(err)
		}
		for name, key := range keys {
			for _, usage := range []Usage{Signing, Authentication} {
				for _, h := range []Holder{{FIN: "7DEM001", GivenName: "Aysel", Surname: "Məmmədova"}, {FIN: "7DEM002", GivenName: "Orxan", Surname: "Şıxəliyev", Organisation: "Nümunə & Oğulları MMC", VOEN: "1400000011"}} {
					for _, at := range []time.Time{begins, begins.AddDate(3, 0, 0), begins.AddDate(9, 0, 0)} {
						cert, err := a.Issue(h, usage, key.Public(), at)
						if err != nil {
							t.Fatal(err)
						}
						if err := cert.CheckSignatureFrom(a.Issuing); err != nil {
							t.Errorf("%s, %v: %v", name, usage, err)
						}
						template := a.template(cert.SerialNumber, usage, key.Public(), cert.NotBefore, cert.NotAfter)
						template.RawSubject = cert.RawSubject
						want, err := create(template, a.Issuing, key.Public(), a.key)
						if err != nil {
							t.Fatal(err)
						}
						if !bytes.Equal(cert.RawTBSCertificate, want.RawTBSCertificate) || cert.SignatureAlgorithm != want.SignatureAlgorithm || !cert.NotBefore.Equal(at) {
							t.Errorf("%s, %v, %v:\n%x\n%x", name, usage, at, cert.RawTBSCertificate, want.RawTBSCertificate)
						}
						subject, err := h.subject()
						if err != nil || !bytes.Equal(subject, cert.RawSubject) {
							t.Errorf("%x %v", cert.RawSubject, err)
						}
					}
				}
			}
		}
	}
}

// The issuing authority's key may be another one some day.
func TestFormOfOtherKeys(t *testing.T) {
	for curve, want := range map[elliptic.Curve]x509.SignatureAlgorithm{elliptic.P256(): x509.ECDSAWithSHA256, elliptic.P384(): x509.ECDSAWithSHA384, elliptic.P521(): x509.ECDSAWithSHA512} {
		a, err := OpenAuthority(t.TempDir(), "http://127.0.0.1:8080", time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a.key = key
		a.Issuing.PublicKey = key.Public() // whose subject and key identifier stay: only the signature matters
		cert, err := a.Issue(Holder{FIN: "7DEM001", GivenName: "A", Surname: "B"}, Signing, key.Public(), a.Issuing.NotBefore)
		if curve == elliptic.P521() { // which is nobody's key
			if err == nil {
				t.Error("a key with P-521 was certified")
			}
			continue
		}
		if err != nil || cert.SignatureAlgorithm != want || cert.CheckSignatureFrom(a.Issuing) != nil {
			t.Errorf("%v %v", cert.SignatureAlgorithm, err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	begun := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	a, err := OpenAuthority(b.TempDir(), "http://127.0.0.1:8080", begun)
	if err != nil {
		b.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	h := Holder{FIN: "7DEM001", GivenName: "Aysel", Surname: "Məmmədova", Organisation: "Nümunə MMC", VOEN: "1400000011"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Issue(h, Signing, key.Public(), begun); err != nil {
			b.Fatal(err)
		}
	}
}
