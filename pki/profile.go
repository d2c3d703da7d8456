// Package pki issues and judges the certificates of subscribers: a root, an
// issuing authority below it, and one certificate per key and holder by ETSI
// EN 319 412-2 and -3. Its folder cms judges what is signed with them.
package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"crypto/x509"
)

// Holder is who a certificate is for. Organisation and VOEN are of business
// and government certificates; a citizen's has neither.
type Holder struct {
	FIN                string // 7 letters and digits
	GivenName, Surname string
	Organisation, VOEN string
}

// Usage is what a key may be used for; a certificate has one (EN 319 412-2
// §4.3.2: contentCommitment stands alone).
type Usage x509.KeyUsage

// The usages: Signing is for the key under PIN2, Authentication under PIN1.
const (
	Signing        = Usage(x509.KeyUsageContentCommitment)
	Authentication = Usage(x509.KeyUsageDigitalSignature)
)

var (
	oidCountry                = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidOrganisation           = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOrganisationIdentifier = asn1.ObjectIdentifier{2, 5, 4, 97}
	oidSurname                = asn1.ObjectIdentifier{2, 5, 4, 4}
	oidGivenName              = asn1.ObjectIdentifier{2, 5, 4, 42}
	oidSerialNumber           = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidCommonName             = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// subject writes the holder's name (EN 319 412-1 §5.1 for the identifiers
// PNOAZ- and VATAZ-, EN 319 412-2 §4.2.4 for the attributes).
func (h Holder) subject() ([]byte, error) {
	if h.FIN == "" || h.GivenName == "" || h.Surname == "" {
		return nil, errors.New("pki: a holder has a FIN, a given name and a surname")
	}
	if (h.Organisation == "") != (h.VOEN == "") {
		return nil, errors.New("pki: an organisation has a name and a VOEN, or there is none")
	}
	var rdn pkix.RDNSequence
	add := func(oid asn1.ObjectIdentifier, value string) {
		rdn = append(rdn, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
	}
	add(oidCountry, "AZ")
	if h.VOEN != "" {
		add(oidOrganisation, h.Organisation)
		add(oidOrganisationIdentifier, organisationPrefix+h.VOEN)
	}
	add(oidSurname, h.Surname)
	add(oidGivenName, h.GivenName)
	add(oidSerialNumber, personPrefix+h.FIN)
	add(oidCommonName, h.GivenName+" "+h.Surname)
	return asn1.Marshal(rdn)
}

const (
	personPrefix       = "PNOAZ-"
	organisationPrefix = "VATAZ-"
)

// HolderOf reads the holder back from a certificate.
func HolderOf(cert *x509.Certificate) (h Holder, err error) {
	for _, name := range cert.Subject.Names {
		value, _ := name.Value.(string)
		switch {
		case name.Type.Equal(oidSurname):
			h.Surname = value
		case name.Type.Equal(oidGivenName):
			h.GivenName = value
		case name.Type.Equal(oidOrganisation):
			h.Organisation = value
		case name.Type.Equal(oidOrganisationIdentifier):
			h.VOEN = strings.TrimPrefix(value, organisationPrefix)
		case name.Type.Equal(oidSerialNumber):
			h.FIN = strings.TrimPrefix(value, personPrefix)
		}
	}
	if h.FIN == "" {
		return h, fmt.Errorf("pki: the subject %s has no serialNumber", cert.Subject)
	}
	return h, nil
}
