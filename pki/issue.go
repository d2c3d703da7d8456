package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// certificatePolicy names the policy that certificates are issued under, which
// EN 319 412-2 §4.3.3 wants named: 1.3.6.1.4.1.32473.1.2, under the number that
// RFC 5612 keeps for documentation (docs/decisions/0003).
var certificatePolicy = mustOID(1, 3, 6, 1, 4, 1, 32473, 1, 2)

func mustOID(arcs ...uint64) x509.OID {
	oid, err := x509.OIDFromInts(arcs)
	if err != nil {
		panic(err)
	}
	return oid
}

// template is what a holder's certificate says, but for the holder's name.
func (a *Authority) template(serial *big.Int, usage Usage, public crypto.PublicKey, notBefore, notAfter time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsage(usage),
		Policies:              []x509.OID{certificatePolicy},
		BasicConstraintsValid: true,
		SubjectKeyId:          keyID(public),
		AuthorityKeyId:        a.Issuing.SubjectKeyId,
		OCSPServer:            []string{a.url + "/pki/ocsp"},
		IssuingCertificateURL: []string{a.url + "/pki/issuing.crt"},
		CRLDistributionPoints: []string{a.url + "/pki/issuing.crl"},
	}
}

// Issue makes a holder's certificate for a key, valid for three years from now
// on, which has whole seconds.
func (a *Authority) Issue(h Holder, usage Usage, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	if err := checkKey(public); err != nil {
		return nil, err
	}
	subject, err := h.subject()
	if err != nil {
		return nil, err
	}
	form, err := a.form(usage)
	if err != nil {
		return nil, err
	}
	notAfter := now.AddDate(holderYears, 0, 0)
	if notAfter.After(a.Issuing.NotAfter) {
		notAfter = a.Issuing.NotAfter // nothing outlives its issuer
	}
	tbs, err := form.tbsCertificate(newSerial(), now, notAfter, subject, public)
	if err != nil {
		return nil, err
	}
	return form.sign(tbs, a.key)
}

// form is what all certificates for one usage have in common, in DER:
//
//	Certificate
//	  tbsCertificate
//	    version        [0] 2
//	    serialNumber
//	    signature      form.algorithm
//	    issuer         form.issuer
//	    validity
//	    subject
//	    subjectPublicKeyInfo
//	    extensions     [3] form.before, subjectKeyIdentifier, form.behind
//	  signatureAlgorithm   form.algorithm
//	  signatureValue
//
// The octets are x509.CreateCertificate's, of which one certificate was had. It is
// not had for each, since it checks every signature that it has just made, which
// takes longer than all else: when a million cards are enrolled that counts, and
// nobody believes a certificate without Check.
type form struct {
	algorithm, issuer, before, behind []byte
	hash                              crypto.Hash
}

var hashOf = map[x509.SignatureAlgorithm]crypto.Hash{x509.ECDSAWithSHA256: crypto.SHA256, x509.ECDSAWithSHA384: crypto.SHA384, x509.ECDSAWithSHA512: crypto.SHA512}

// form returns that of a usage; it is made once.
func (a *Authority) form(usage Usage) (*form, error) {
	if known, ok := a.forms.Load(usage); ok {
		return known.(*form), nil
	}
	specimen, err := create(a.template(big.NewInt(1), usage, a.key.Public(), a.Issuing.NotBefore, a.Issuing.NotAfter), a.Issuing, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	f, err := formOf(specimen)
	if err != nil {
		return nil, err
	}
	a.forms.Store(usage, f)
	return f, nil
}

func formOf(specimen *x509.Certificate) (*form, error) {
	f := &form{issuer: specimen.RawIssuer, hash: hashOf[specimen.SignatureAlgorithm]}
	var certificate, tbs, algorithm cryptobyte.String
	input := cryptobyte.String(specimen.Raw)
	if !input.ReadASN1(&certificate, der.SEQUENCE) || !certificate.ReadASN1Element(&tbs, der.SEQUENCE) || !certificate.ReadASN1Element(&algorithm, der.SEQUENCE) || f.hash == 0 {
		return nil, fmt.Errorf("pki: no certificates are signed with %s", specimen.SignatureAlgorithm)
	}
	f.algorithm = algorithm
	own := slices.IndexFunc(specimen.Extensions, isSubjectKeyIdentifier)
	if own < 0 {
		return nil, errors.New("pki: a certificate without subjectKeyIdentifier")
	}
	for i, extension := range specimen.Extensions {
		octets, err := asn1.Marshal(extension)
		switch {
		case err != nil:
			return nil, fmt.Errorf("pki: %w", err)
		case i < own:
			f.before = append(f.before, octets...)
		case i > own:
			f.behind = append(f.behind, octets...)
		}
	}
	return f, nil
}

func (f *form) tbsCertificate(serial *big.Int, notBefore, notAfter time.Time, subject []byte, public crypto.PublicKey) ([]byte, error) {
	key, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) })
		b.AddASN1BigInt(serial)
		b.AddBytes(f.algorithm)
		b.AddBytes(f.issuer)
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, notBefore)
			addTime(b, notAfter)
		})
		b.AddBytes(subject)
		b.AddBytes(key)
		b.AddASN1(der.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(f.before)
				addSubjectKeyIdentifier(b, keyID(public))
				b.AddBytes(f.behind)
			})
		})
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return tbs, nil
}

// addTime writes a Time: UTCTime through 2049, GeneralizedTime from then on (RFC
// 5280 §4.1.2.5).
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

// sign makes the certificate of what is to be signed.
func (f *form) sign(tbs []byte, key crypto.Signer) (*x509.Certificate, error) {
	hash := f.hash.New()
	hash.Write(tbs)
	signature, err := key.Sign(rand.Reader, hash.Sum(nil), f.hash)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+128))
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(f.algorithm)
		b.AddASN1BitString(signature)
	})
	whole, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return x509.ParseCertificate(whole)
}

// subjectKeyIdentifier is id-ce-subjectKeyIdentifier (RFC 5280 §4.2.1.2).
var subjectKeyIdentifier = asn1.ObjectIdentifier{2, 5, 29, 14}

func isSubjectKeyIdentifier(e pkix.Extension) bool { return e.Id.Equal(subjectKeyIdentifier) }

func addSubjectKeyIdentifier(b *cryptobyte.Builder, id []byte) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(subjectKeyIdentifier)
		b.AddASN1(der.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(id) })
	})
}
