package emulator

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"os/exec"
	"strings"
	"testing"
)

// What others read in a card's request, and that they take its signature.
func TestRequestsAreGood(t *testing.T) {
	const iccid = "89994010000000000014"
	for kind, private := range map[string]crypto.Signer{"P-256": testP256(), "P-384": testP384(), "RSA": testRSA()} {
		der, err := Request(iccid, private)
		if err != nil {
			t.Fatal(err)
		}
		r, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if err := r.CheckSignature(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if public, ok := r.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(private.Public()) {
			t.Errorf("%s: the request is for another key", kind)
		}
		if r.Subject.String() != "SERIALNUMBER="+iccid || len(r.Extensions) > 0 || r.Version != 0 {
			t.Errorf("%s: the request is %+v", kind, r)
		}
		openssl := exec.Command("openssl", "req", "-inform", "DER", "-verify", "-noout", "-subject")
		openssl.Stdin = bytes.NewReader(der)
		out, err := openssl.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "OK") || !strings.Contains(string(out), iccid) {
			t.Errorf("%s: openssl says %s, %v", kind, out, err)
		}
	}
}
