package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/ocsp"
)

// How long a revocation list and an OCSP answer may be believed.
const (
	crlLifetime  = 24 * time.Hour
	ocspLifetime = 10 * time.Minute
)

// Revoked is a certificate that no longer counts.
type Revoked struct {
	Serial *big.Int
	At     time.Time
	Hold   bool // suspended, may come back (CRLReason certificateHold)
}

// reason is the CRLReason: 6 certificateHold, 0 unspecified (RFC 5280 §5.3.1).
func (r Revoked) reason() int {
	if r.Hold {
		return ocsp.CertificateHold
	}
	return ocsp.Unspecified
}

// CRL makes the revocation list (RFC 5280 §5), DER. Its number is the time in
// seconds, so it rises without a memory.
func (a *Authority) CRL(revoked []Revoked, now time.Time) ([]byte, error) {
	list := &x509.RevocationList{
		Number:     big.NewInt(now.Unix()),
		ThisUpdate: now,
		NextUpdate: now.Add(crlLifetime),
	}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: r.Serial, RevocationTime: r.At, ReasonCode: r.reason()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Issuing, a.key)
	if err != nil {
		return nil, fmt.Errorf("pki: revocation list: %w", err)
	}
	return der, nil
}

// ErrUnknownCertificate is what OCSP's lookup returns of a serial number that
// was never issued.
var ErrUnknownCertificate = errors.New("pki: no such certificate")

// OCSP answers a request (RFC 6960), DER. lookup tells of a serial number
// whether it is revoked (nil: good). A request that does not parse gets the
// answer that RFC 6960 has for it.
func (a *Authority) OCSP(request []byte, lookup func(*big.Int) (*Revoked, error), now time.Time) ([]byte, error) {
	asked, err := ocsp.ParseRequest(request)
	if err != nil {
		return ocsp.MalformedRequestErrorResponse, nil
	}
	if !a.issued(asked) {
		return ocsp.UnauthorizedErrorResponse, nil
	}
	answer := ocsp.Response{SerialNumber: asked.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(ocspLifetime), IssuerHash: asked.HashAlgorithm}
	switch revoked, err := lookup(asked.SerialNumber); {
	case errors.Is(err, ErrUnknownCertificate):
		answer.Status = ocsp.Unknown
	case err != nil:
		return ocsp.TryLaterErrorResponse, err
	case revoked == nil:
		answer.Status = ocsp.Good
	default:
		answer.Status, answer.RevokedAt, answer.RevocationReason = ocsp.Revoked, revoked.At, revoked.reason()
	}
	der, err := ocsp.CreateResponse(a.Issuing, a.Issuing, answer, a.key)
	if err != nil {
		return ocsp.InternalErrorErrorResponse, fmt.Errorf("pki: OCSP: %w", err)
	}
	return der, nil
}

// issued tells whether a request is about a certificate of this authority: its
// key hash is that of the issuing key (RFC 6960 §4.1.1).
func (a *Authority) issued(asked *ocsp.Request) bool {
	hash := asked.HashAlgorithm
	if hash != crypto.SHA1 && hash != crypto.SHA256 {
		return false
	}
	own, err := ocsp.CreateRequest(&x509.Certificate{SerialNumber: asked.SerialNumber}, a.Issuing, &ocsp.RequestOptions{Hash: hash})
	if err != nil {
		return false
	}
	expected, err := ocsp.ParseRequest(own)
	return err == nil && string(expected.IssuerKeyHash) == string(asked.IssuerKeyHash) && string(expected.IssuerNameHash) == string(asked.IssuerNameHash)
}
