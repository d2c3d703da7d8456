package gateway

import (
	"context"
	"crypto/x509"
	"time"

	"imza/policy"
	"imza/simcard"
)

// Directory is where subscribers and certificates are on record; package
// registry is one. The interface is here because the gateway imports none of
// its folders.
type Directory interface {
	// Subscriber finds who has the number, if the User ID is theirs.
	Subscriber(ctx context.Context, msisdn simcard.MSISDN, userID string) (Subscriber, error)
	// Certificate reads one certificate as it is on record now.
	Certificate(ctx context.Context, serial string) (Certificate, error)
	// ProviderName is what people know the provider as.
	ProviderName(ctx context.Context, p policy.Provider) (string, error)
}

// Journal is the lasting record of transactions. Entries may come twice and in
// any order.
type Journal interface {
	Record(ctx context.Context, entries []Entry) error
	// Find reads one; ErrNotRecorded if it is not there.
	Find(ctx context.Context, id string) (Entry, error)
	// Unfinished lists those whose deadline is before a time and that have no
	// final state on record.
	Unfinished(ctx context.Context, before time.Time) ([]Entry, error)
}

// Subscriber is a person with a telephone whose SIM signs.
type Subscriber struct {
	MSISDN       simcard.MSISDN
	FIN          policy.FIN
	ICCID        simcard.ICCID
	ShortAnswers bool // the card gives them
	Certificates []Certificate
}

// CertificateType is the type of a certificate; business and government ones
// belong to an organisation.
type CertificateType string

// The types.
const (
	Citizen    CertificateType = "citizen"
	Business   CertificateType = "business"
	Government CertificateType = "government"
)

// OfOrganisation reports whether certificates of the type have a VÖEN.
func (t CertificateType) OfOrganisation() bool { return t == Business || t == Government }

// Certificate is a certificate on record and the card's key it is for.
type Certificate struct {
	Serial string // hex
	Type   CertificateType
	VOEN   policy.VOEN // empty for a citizen's
	Key    byte        // the card's key
	Active bool        // neither suspended nor revoked
	X509   *x509.Certificate
}

// ActiveAt reports whether it may sign at a time.
func (c Certificate) ActiveAt(t time.Time) bool {
	return c.Active && !t.Before(c.X509.NotBefore) && !t.After(c.X509.NotAfter)
}

// Wanted says which certificate a provider asks for. Without a VÖEN it is the
// only one of its type.
type Wanted struct {
	Type CertificateType
	VOEN policy.VOEN
}

// choose picks the certificate that is wanted.
func choose(certificates []Certificate, want Wanted, now time.Time) (Certificate, error) {
	var found []Certificate
	for _, c := range certificates {
		// A certificate of an organisation that names none would be under nobody's
		// control, so it counts as none.
		if c.Type.OfOrganisation() != (c.VOEN != "") {
			continue
		}
		if c.Type == want.Type && (want.VOEN == "" || c.VOEN == want.VOEN) && c.ActiveAt(now) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return Certificate{}, refuse(CertificateNotActive, "the subscriber has no active certificate of this kind")
	case 1:
		return found[0], nil
	}
	for _, c := range found[1:] {
		if c.VOEN != found[0].VOEN {
			return Certificate{}, Invalid("certificate.voen", "the subscriber has certificates of several organisations: say which")
		}
	}
	// Of one organisation's, the one that was issued last: the others wait to
	// be revoked after a renewal.
	latest := found[0]
	for _, c := range found[1:] {
		if c.X509.NotBefore.After(latest.X509.NotBefore) {
			latest = c
		}
	}
	return latest, nil
}
