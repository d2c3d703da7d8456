package cms_test

import (
	"crypto"
	"crypto/ecdsa"
	"slices"
	"testing"
	"time"

	"go.mozilla.org/pkcs7"

	"imza/pki/cms"
)

// The bar: Verify takes at most 1.15 times what the bare ECDSA check takes, and
// at most 20 allocations (TestVerifyAllocatesLittle).

func BenchmarkBareECDSA(b *testing.B) {
	s := p256Signer(b)
	d := newDraft(s, expect(s.cert, crypto.SHA256))
	d.sign()
	digest := sum(crypto.SHA256, encode(set(d.si.SignedAttrs.Bytes)))
	key := s.cert.PublicKey.(*ecdsa.PublicKey)
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(key, digest, d.si.Signature.Bytes) {
			b.Fatal("refused")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := p256Signer(b)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	b.ReportAllocs()
	for b.Loop() {
		if err := cms.Verify(der, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAssembleAndVerify is the way of a short answer. The bar: Assemble
// takes at most a tenth of what Verify does (TestAssembleAllocatesLittle for its
// allocations).
func BenchmarkAssembleAndVerify(b *testing.B) {
	s := p256Signer(b)
	want := expect(s.cert, crypto.SHA256)
	value := bareValue(b, good(s, want), want)
	b.ReportAllocs()
	for b.Loop() {
		der, err := cms.Assemble(value, want)
		if err != nil {
			b.Fatal(err)
		}
		if err := cms.Verify(der, want); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAssemble(b *testing.B) {
	s := p256Signer(b)
	want := expect(s.cert, crypto.SHA256)
	value := bareValue(b, good(s, want), want)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cms.Assemble(value, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyBesideBareECDSA takes both in turns, so that a machine that
// gets slower meanwhile does so for both, and prints the medians and their ratio.
func BenchmarkVerifyBesideBareECDSA(b *testing.B) {
	s := p256Signer(b)
	want := expect(s.cert, crypto.SHA256)
	d := newDraft(s, want)
	d.sign()
	digest := sum(crypto.SHA256, encode(set(d.si.SignedAttrs.Bytes)))
	der, key := d.bytes(), s.cert.PublicKey.(*ecdsa.PublicKey)
	var bare, verify []time.Duration
	for b.Loop() {
		start := time.Now()
		ok := ecdsa.VerifyASN1(key, digest, d.si.Signature.Bytes)
		between := time.Now()
		err := cms.Verify(der, want)
		bare, verify = append(bare, between.Sub(start)), append(verify, time.Since(between))
		if !ok || err != nil {
			b.Fatal("refused")
		}
	}
	slices.Sort(bare)
	slices.Sort(verify)
	half := len(bare) / 2
	b.ReportMetric(float64(bare[half]), "bare-ns")
	b.ReportMetric(float64(verify[half]), "verify-ns")
	b.ReportMetric(float64(verify[half])/float64(bare[half]), "verify/bare")
}

func BenchmarkPKCS7(b *testing.B) {
	s := p256Signer(b)
	d := newDraft(s, expect(s.cert, crypto.SHA256))
	d.sd.Certificates = tagged(0, s.cert.Raw)
	d.sign()
	der := d.bytes()
	b.ReportAllocs()
	for b.Loop() {
		p7, err := pkcs7.Parse(der)
		if err != nil {
			b.Fatal(err)
		}
		p7.Content = []byte(document)
		if err := p7.Verify(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse is what a wrong digest costs: no signature is checked for it.
func BenchmarkRefuse(b *testing.B) {
	s := p256Signer(b)
	want := expect(s.cert, crypto.SHA256)
	d := newDraft(s, want)
	d.set(oidMessageDigest, encode(make([]byte, 32)))
	d.sign()
	der := d.bytes()
	b.ReportAllocs()
	for b.Loop() {
		if cms.Verify(der, want) == nil {
			b.Fatal("accepted")
		}
	}
}
