package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"sync"
	"testing"
)

func TestParsedCertificatesAreBounded(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var p parsed
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := range maxParsed {
				if _, err := p.parse(fmt.Sprint(w, i), der); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if len(p.of) != maxParsed {
		t.Errorf("%d are remembered", len(p.of))
	}
	if _, err := p.parse("bad", der[:len(der)-1]); err == nil || p.of["bad"] != nil {
		t.Error("half a certificate was parsed")
	}
}
