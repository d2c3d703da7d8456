// Package cms judges the PKCS#7 signatures that cards make, and completes them
// for release (CMS, RFC 5652; CAdES baseline, EN 319 122-1). Of a card that
// answers with the bare signature value, it writes first what is to be judged.
//
// It accepts one form, in DER, and nothing else:
//
//	ContentInfo
//	  signedData, version 1
//	    digestAlgorithms   SET of the one digest algorithm
//	    encapContentInfo   id-data, no content: the signature is detached
//	    certificates       [0] absent, or the signer's alone
//	    signerInfos        SET of one SignerInfo, version 1
//	      issuerAndSerialNumber, digestAlgorithm
//	      signedAttrs      [0] contentType, messageDigest, signingTime,
//	                       signingCertificateV2, shown text; one value each
//	      signatureAlgorithm, signature
//
// Everything in it is known beforehand from the challenge and the record, so
// every field is compared, not believed.
package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that Expectation may name
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// MaxSize is the most octets of a signature that are looked at.
const MaxSize = 16 << 10

// Expectation is what a signature must be of.
type Expectation struct {
	Certificate *x509.Certificate // on record for the key that was asked
	Hash        crypto.Hash       // SHA-256, SHA-384 or SHA-512
	Digest      []byte            // the provider's, by Hash
	SigningTime time.Time         // claimed in the challenge, whole seconds
	ShownText   [32]byte          // SHA-256 of the text in UTF-8
}

// tag0 is [0]: of ContentInfo's content, of certificates and of signedAttrs.
var tag0 = asn1.Tag(0).ContextSpecific().Constructed()

// Verify judges a signature. The error names the field that is wrong and, as
// far as it is about bytes, where it is.
func Verify(der []byte, want *Expectation) error {
	if len(der) > MaxSize {
		return fmt.Errorf("cms: %d octets, at most %d", len(der), MaxSize)
	}
	h, err := want.algorithms()
	if err != nil {
		return err
	}
	p := parser{der: der, want: want, hash: h}
	signer, err := p.signedData()
	if err != nil {
		return err
	}
	if err := p.signerInfo(signer); err != nil {
		return err
	}
	return p.checkSignature()
}

// parser walks one SignedData; what the signature itself needs is kept.
type parser struct {
	der  []byte
	want *Expectation
	hash hash

	digestAlgorithm    []byte
	signedAttrs        []byte // the content of [0]
	signatureAlgorithm []byte
	signature          []byte
}

// fail names a field and the offset at which the rest begins.
func (p *parser) fail(rest cryptobyte.String, field, problem string) error {
	return fmt.Errorf("cms: %s before octet %d: %s", field, cap(p.der)-cap(rest), problem)
}

// signedData reads down to the one SignerInfo.
func (p *parser) signedData() (signer cryptobyte.String, err error) {
	input := cryptobyte.String(p.der)
	var info, explicit, sd cryptobyte.String
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !input.Empty() {
		return nil, p.fail(input, "ContentInfo", "is not one SEQUENCE in DER")
	}
	if !readExactly(&info, oidSignedData) {
		return nil, p.fail(info, "contentType", "is not signedData")
	}
	if !info.ReadASN1(&explicit, tag0) || !info.Empty() || !explicit.ReadASN1(&sd, asn1.SEQUENCE) || !explicit.Empty() {
		return nil, p.fail(info, "content", "is not one SignedData in DER")
	}
	if !readExactly(&sd, versionOne) {
		return nil, p.fail(sd, "SignedData.version", "is not 1")
	}
	var algorithms, content cryptobyte.String
	if !sd.ReadASN1(&algorithms, asn1.SET) {
		return nil, p.fail(sd, "digestAlgorithms", "is not a SET in DER")
	}
	if p.digestAlgorithm, err = p.oneOf(&algorithms, "digestAlgorithms", p.hash.digest); err != nil {
		return nil, err
	}
	if !algorithms.Empty() {
		return nil, p.fail(algorithms, "digestAlgorithms", "has more than one")
	}
	if !sd.ReadASN1(&content, asn1.SEQUENCE) || !readExactly(&content, oidData) || !content.Empty() {
		return nil, p.fail(sd, "encapContentInfo", "is not id-data without content")
	}
	if err := p.certificates(&sd); err != nil {
		return nil, err
	}
	var signers cryptobyte.String
	if !sd.ReadASN1(&signers, asn1.SET) || !sd.Empty() {
		return nil, p.fail(sd, "signerInfos", "is not the SET that ends SignedData")
	}
	if !signers.ReadASN1(&signer, asn1.SEQUENCE) || !signers.Empty() {
		return nil, p.fail(signers, "signerInfos", "is not exactly one SignerInfo")
	}
	return signer, nil
}

func (p *parser) certificates(sd *cryptobyte.String) error {
	var certificates cryptobyte.String
	var present bool
	if !sd.ReadOptionalASN1(&certificates, &present, tag0) {
		return p.fail(*sd, "certificates", "is not DER")
	}
	if present && !bytes.Equal(certificates, p.want.Certificate.Raw) {
		return p.fail(*sd, "certificates", "is not the certificate on record alone")
	}
	return nil
}

// signerInfo reads the SignerInfo and compares all of it but the signature.
func (p *parser) signerInfo(s cryptobyte.String) (err error) {
	if !readExactly(&s, versionOne) {
		return p.fail(s, "SignerInfo.version", "is not 1")
	}
	if err := p.signerIdentifier(&s); err != nil {
		return err
	}
	algorithm, err := p.oneOf(&s, "SignerInfo.digestAlgorithm", p.hash.digest)
	if err != nil {
		return err
	}
	if !bytes.Equal(algorithm, p.digestAlgorithm) {
		return p.fail(s, "SignerInfo.digestAlgorithm", "differs from digestAlgorithms")
	}
	var attributes cryptobyte.String
	if !s.ReadASN1(&attributes, tag0) {
		return p.fail(s, "signedAttrs", "are absent")
	}
	p.signedAttrs = attributes
	if err := p.attributes(attributes); err != nil {
		return err
	}
	if p.signatureAlgorithm, err = p.oneOf(&s, "signatureAlgorithm", p.hash.signature(p.want.Certificate.PublicKey)); err != nil {
		return err
	}
	var signature cryptobyte.String
	if !s.ReadASN1(&signature, asn1.OCTET_STRING) {
		return p.fail(s, "signature", "is not an OCTET STRING")
	}
	if !s.Empty() {
		return p.fail(s, "SignerInfo", "goes on behind the signature")
	}
	p.signature = signature
	return nil
}

func (p *parser) signerIdentifier(s *cryptobyte.String) error {
	var sid, issuer, serial cryptobyte.String
	if !s.ReadASN1(&sid, asn1.SEQUENCE) || !sid.ReadASN1Element(&issuer, asn1.SEQUENCE) || !sid.ReadASN1(&serial, asn1.INTEGER) || !sid.Empty() {
		return p.fail(*s, "sid", "is not issuerAndSerialNumber")
	}
	cert := p.want.Certificate
	if !bytes.Equal(issuer, cert.RawIssuer) || !sameInteger(serial, cert) {
		return p.fail(*s, "sid", "does not name the certificate on record")
	}
	return nil
}

// sameInteger compares an INTEGER's content with the certificate's serial
// number.
func sameInteger(content []byte, cert *x509.Certificate) bool {
	var buffer [maxSerial]byte
	serial, ok := serialNumber(cert, &buffer)
	return ok && bytes.Equal(serial, content)
}

// maxSerial is more than the 20 octets that RFC 5280 §4.1.2.2 allows.
const maxSerial = 32

// serialNumber is the INTEGER's content in the certificate, where it is
// positive: DER has one way to write a number, so it may be written anew.
func serialNumber(cert *x509.Certificate, buffer *[maxSerial]byte) (content []byte, ok bool) {
	serial := cert.SerialNumber
	n := serial.BitLen()/8 + 1 // with its leading zero bit
	if serial.Sign() <= 0 || n > len(buffer) {
		return nil, false
	}
	return serial.FillBytes(buffer[:n]), true
}

// oneOf reads an AlgorithmIdentifier that must be, octet for octet, one of
// those allowed.
func (p *parser) oneOf(s *cryptobyte.String, field string, allowed [][]byte) ([]byte, error) {
	var got cryptobyte.String
	if !s.ReadASN1Element(&got, asn1.SEQUENCE) {
		return nil, p.fail(*s, field, "is not an AlgorithmIdentifier")
	}
	for _, a := range allowed {
		if bytes.Equal(got, a) {
			return a, nil
		}
	}
	return nil, p.fail(*s, field, "is not the one expected")
}

// checkSignature verifies the signature over the signed attributes, whose tag
// in that role is SET OF (RFC 5652 §5.4).
func (p *parser) checkSignature() error {
	digest := p.signedDigest()
	switch key := p.want.Certificate.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(key, digest, p.signature) {
			return errors.New("cms: signature: is not by the key on record")
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(key, p.want.Hash, digest, p.signature); err != nil {
			return errors.New("cms: signature: is not by the key on record")
		}
	default:
		return fmt.Errorf("cms: a certificate with a key of type %T", key)
	}
	return nil
}

func (p *parser) signedDigest() []byte {
	var header cryptobyte.Builder
	h := p.want.Hash.New()
	header.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(p.signedAttrs) })
	h.Write(header.BytesOrPanic())
	return h.Sum(nil)
}

// readExactly consumes these octets, or reports that others are there.
func readExactly(s *cryptobyte.String, want []byte) bool {
	if !bytes.HasPrefix(*s, want) {
		return false
	}
	return s.Skip(len(want))
}

// AddCertificate returns the signature, which Verify must have accepted
// without one, with the signer's certificate in it. That is outside of what is
// signed, and a provider needs it.
func AddCertificate(der []byte, cert *x509.Certificate) ([]byte, error) {
	input := cryptobyte.String(der)
	var info, explicit, sd, version, algorithms, content, signers cryptobyte.String
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !info.Skip(len(oidSignedData)) || !info.ReadASN1(&explicit, tag0) ||
		!explicit.ReadASN1(&sd, asn1.SEQUENCE) || !sd.ReadASN1Element(&version, asn1.INTEGER) ||
		!sd.ReadASN1Element(&algorithms, asn1.SET) || !sd.ReadASN1Element(&content, asn1.SEQUENCE) ||
		!sd.ReadASN1Element(&signers, asn1.SET) || !sd.Empty() {
		return nil, errors.New("cms: not a SignedData without certificates")
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(der)+len(cert.Raw)+32))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(oidSignedData)
		b.AddASN1(tag0, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddBytes(version)
				b.AddBytes(algorithms)
				b.AddBytes(content)
				b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(cert.Raw) })
				b.AddBytes(signers)
			})
		})
	})
	return b.Bytes()
}
