package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Check tells whether a certificate is of this authority, was valid at a time,
// and is for that usage alone. Whether it was revoked is on the record, not in
// the certificate.
func (a *Authority) Check(cert *x509.Certificate, usage Usage, at time.Time) error {
	if !bytes.Equal(cert.RawIssuer, a.Issuing.RawSubject) {
		return fmt.Errorf("pki: issued by %s", cert.Issuer)
	}
	if err := a.checkSignature(cert); err != nil {
		return err
	}
	for _, c := range []*x509.Certificate{cert, a.Issuing, a.Root} {
		if at.Before(c.NotBefore) || at.After(c.NotAfter) {
			return fmt.Errorf("pki: %s is not valid at %s", c.Subject.CommonName, at.UTC().Format(time.RFC3339))
		}
	}
	if cert.KeyUsage != x509.KeyUsage(usage) {
		return fmt.Errorf("pki: key usage is %b, not %b alone", cert.KeyUsage, usage)
	}
	if cert.IsCA {
		return errors.New("pki: a certificate of an authority signs nothing else")
	}
	return nil
}

// checkSignature checks that the issuing certificate's key has signed another. It
// is the most that Check costs, and what was found right stays right, so
// certificates are remembered by the hash of all their octets.
func (a *Authority) checkSignature(cert *x509.Certificate) error {
	of := sha256.Sum256(cert.Raw)
	if a.signed.has(of) {
		return nil
	}
	if err := cert.CheckSignatureFrom(a.Issuing); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	a.signed.add(of)
	return nil
}

// mostSigned bounds what is remembered: some 3 MB.
const mostSigned = 1 << 16

// signed are the hashes of certificates whose signature was found right.
type signed struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]struct{}
}

func (s *signed) has(of [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.all[of]
	return ok
}

func (s *signed) add(of [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[[sha256.Size]byte]struct{})
	}
	for other := range s.all { // any will do
		if len(s.all) < mostSigned {
			break
		}
		delete(s.all, other)
	}
	s.all[of] = struct{}{}
}
