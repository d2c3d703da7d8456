package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates of the size that real ones have.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	serial      atomic.Int64
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Country: []string{"AZ"}, Organization: []string{"imza"}, CommonName: "imza issuing CA"},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue certifies what a card asked for.
func (a *authority) issue(t testing.TB, request []byte, s Subscriber) []byte {
	t.Helper()
	asked, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := asked.CheckSignature(); err != nil {
		t.Fatal(err)
	}
	if asked.Subject.SerialNumber != string(s.ICCID) {
		t.Fatalf("the request is of %s, want %s", asked.Subject.SerialNumber, s.ICCID)
	}
	template := &x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(a.serial.Add(1)), 120),
		Subject:   pkix.Name{Country: []string{"AZ"}, CommonName: s.GivenName + " " + s.Surname, SerialNumber: "PNOAZ-" + s.FIN, Organization: []string{"Xəzər MMC"}},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_000_000_000, 0), KeyUsage: x509.KeyUsageContentCommitment,
		CRLDistributionPoints: []string{"http://127.0.0.1:8080/ca/crl"}, OCSPServer: []string{"http://127.0.0.1:8080/ca/ocsp"}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, asked.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a *authority) enrol(t testing.TB, f *Fleet, i int) {
	t.Helper()
	request, err := f.Request(i, firstKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetCertificate(i, firstKey, a.issue(t, request, f.Subscriber(i))); err != nil {
		t.Fatal(err)
	}
}

func newFleet(t testing.TB, p Plan) *Fleet {
	t.Helper()
	f, err := Create(t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
