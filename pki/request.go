package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxRequest is the most octets of a certification request that are looked at:
// one with an RSA key of 8192 bits has some 2,200.
const MaxRequest = 4 << 10

// Parts of a certification request as DER writes them, tag and length included.
var (
	versionZero      = unhex("020100")
	serialNumberType = unhex("0603550405")
	noAttributes     = unhex("a000") // the field is there though nothing is in it: it is not OPTIONAL
	// requestAlgorithms are what a request may be signed with. SHA-1 and MD5 are
	// missing since they can be collided, SHA-512, RSASSA-PSS and Ed25519 since no
	// card of ours signs requests so. x509 would take all of these but MD5.
	requestAlgorithms = [][]byte{
		unhex("300a06082a8648ce3d040302"),       // ecdsa-with-SHA256
		unhex("300a06082a8648ce3d040303"),       // ecdsa-with-SHA384
		unhex("300d06092a864886f70d01010b0500"), // sha256WithRSAEncryption
	}
)

func unhex(text string) []byte {
	octets, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return octets
}

// CheckRequest judges a certification request (PKCS#10, RFC 2986) and returns
// the key that is to be certified. It accepts one form, in DER, and nothing
// else:
//
//	CertificationRequest
//	  certificationRequestInfo
//	    version              0
//	    subject              one RDN: serialNumber, PrintableString, the ICCID
//	    subjectPKInfo        P-256, P-384, or RSA with 2048 bits or more
//	    attributes           [0], empty
//	  signatureAlgorithm     ecdsa-with-SHA256 or -SHA384, sha256WithRSAEncryption
//	  signature              over certificationRequestInfo, with that very key
//
// The signature proves that who made the request holds the private key, and
// the subject, which is signed with the rest, that it was made for this card.
// That this card made it, it does not prove, since anybody can make a key and
// write an ICCID into a request: that is for the channel to prove by which it
// came. Nor does it prove when: a request can be shown again.
func CheckRequest(der []byte, iccid string) (crypto.PublicKey, error) {
	if len(der) > MaxRequest {
		return nil, fmt.Errorf("pki: request: %d octets, at most %d", len(der), MaxRequest)
	}
	if iccid == "" || strings.Trim(iccid, "0123456789") != "" {
		return nil, fmt.Errorf("pki: request: no card has the ICCID %q", iccid)
	}
	p := requestParser{der: der, iccid: iccid}
	if err := p.request(); err != nil {
		return nil, err
	}
	// All but the key has been read. x509 leaves out what it does not expect
	// behind the last field of a SEQUENCE, so that comes first.
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("pki: request: subjectPKInfo: %w", err)
	}
	if err := checkKey(request.PublicKey); err != nil {
		return nil, fmt.Errorf("pki: request: subjectPKInfo: %w", err)
	}
	if canonical, err := x509.MarshalPKIXPublicKey(request.PublicKey); err != nil || !bytes.Equal(p.key, canonical) {
		return nil, errors.New("pki: request: subjectPKInfo: is not the key in DER")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("pki: request: signature: %w", err)
	}
	return request.PublicKey, nil
}

// IssueFor makes a holder's certificate for the key of a certification request
// that this card has made: CheckRequest, then Issue.
func (a *Authority) IssueFor(request []byte, iccid string, h Holder, usage Usage, now time.Time) (*x509.Certificate, error) {
	public, err := CheckRequest(request, iccid)
	if err != nil {
		return nil, err
	}
	return a.Issue(h, usage, public, now)
}

// requestParser walks one request and keeps the key's SubjectPublicKeyInfo.
type requestParser struct {
	der   []byte
	iccid string
	key   []byte
}

// fail names a field and the offset at which the rest begins.
func (p *requestParser) fail(rest cryptobyte.String, field, problem string) error {
	return fmt.Errorf("pki: request: %s before octet %d: %s", field, cap(p.der)-cap(rest), problem)
}

func (p *requestParser) request() error {
	input := cryptobyte.String(p.der)
	var request, info cryptobyte.String
	if !input.ReadASN1(&request, asn1.SEQUENCE) || !input.Empty() {
		return p.fail(input, "CertificationRequest", "is not one SEQUENCE in DER")
	}
	if !request.ReadASN1(&info, asn1.SEQUENCE) {
		return p.fail(request, "certificationRequestInfo", "is not a SEQUENCE in DER")
	}
	if err := p.info(info); err != nil {
		return err
	}
	var algorithm, signature cryptobyte.String
	if !request.ReadASN1Element(&algorithm, asn1.SEQUENCE) {
		return p.fail(request, "signatureAlgorithm", "is not an AlgorithmIdentifier in DER")
	}
	if !slices.ContainsFunc(requestAlgorithms, func(a []byte) bool { return bytes.Equal(a, algorithm) }) {
		return p.fail(request, "signatureAlgorithm", "is not one that a card signs with")
	}
	if !request.ReadASN1(&signature, asn1.BIT_STRING) {
		return p.fail(request, "signature", "is not a BIT STRING in DER")
	}
	if !readExactly(&signature, []byte{0}) {
		return p.fail(signature, "signature", "is not of whole octets")
	}
	if !request.Empty() {
		return p.fail(request, "CertificationRequest", "goes on behind the signature")
	}
	return nil
}

func (p *requestParser) info(s cryptobyte.String) error {
	if !readExactly(&s, versionZero) {
		return p.fail(s, "version", "is not 0")
	}
	var subject, key cryptobyte.String
	if !s.ReadASN1(&subject, asn1.SEQUENCE) {
		return p.fail(s, "subject", "is not a Name in DER")
	}
	if err := p.subject(subject); err != nil {
		return err
	}
	if !s.ReadASN1Element(&key, asn1.SEQUENCE) {
		return p.fail(s, "subjectPKInfo", "is not a SEQUENCE in DER")
	}
	p.key = key
	if !readExactly(&s, noAttributes) {
		return p.fail(s, "attributes", "are not an empty [0]")
	}
	if !s.Empty() {
		return p.fail(s, "certificationRequestInfo", "goes on behind the attributes")
	}
	return nil
}

// subject wants the ICCID and nothing else. X.520 has serialNumber as a
// PrintableString, and so has every certificate of ours.
func (p *requestParser) subject(s cryptobyte.String) error {
	var rdn, attribute, value cryptobyte.String
	if !s.ReadASN1(&rdn, asn1.SET) || !s.Empty() {
		return p.fail(s, "subject", "is not one RDN")
	}
	if !rdn.ReadASN1(&attribute, asn1.SEQUENCE) || !rdn.Empty() {
		return p.fail(rdn, "subject", "is not an RDN of one attribute")
	}
	if !readExactly(&attribute, serialNumberType) {
		return p.fail(attribute, "subject", "is not a serialNumber")
	}
	if !attribute.ReadASN1(&value, asn1.PrintableString) || !attribute.Empty() {
		return p.fail(attribute, "subject", "is not one PrintableString")
	}
	if string(value) != p.iccid {
		return p.fail(attribute, "subject", "is another card")
	}
	return nil
}

// readExactly consumes these octets, or reports that others are there.
func readExactly(s *cryptobyte.String, want []byte) bool {
	if !bytes.HasPrefix(*s, want) {
		return false
	}
	return s.Skip(len(want))
}
