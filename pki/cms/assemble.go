package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// What a SignedData takes at most besides issuer and signature, and what its
// attributes take.
const (
	frameSize      = 400
	attributesSize = 250
)

// Assemble writes the SignedData that a card would have sent, octet for octet,
// if it had not answered with the signature's value alone: all the rest follows
// from the challenge and the record.
//
// value is, of an ECDSA key, r and then s, each big-endian in as many octets as
// the curve's order has (64 for P-256, 96 for P-384), and of an RSA key the
// signature in as many octets as the modulus has.
//
// It judges nothing: whatever the value is of, it is put in its place. The
// caller shows the result to Verify, as if the card had sent it.
func Assemble(value []byte, want *Expectation) ([]byte, error) {
	h, err := want.algorithms()
	if err != nil {
		return nil, err
	}
	cert := want.Certificate
	signature, err := signatureValue(value, cert.PublicKey)
	if err != nil {
		return nil, err
	}
	if year := want.SigningTime.UTC().Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("cms: signingTime: no ASN.1 time has the year %d", year)
	}
	var buffer [maxSerial]byte
	serial, ok := serialNumber(cert, &buffer)
	if !ok {
		return nil, fmt.Errorf("cms: sid: a serial number of %d bits, sign %d", cert.SerialNumber.BitLen(), cert.SerialNumber.Sign())
	}
	size := frameSize + len(cert.RawIssuer) + len(signature)
	if size > MaxSize { // so that lengths have two octets at most
		return nil, fmt.Errorf("cms: sid: an issuer of %d octets", len(cert.RawIssuer))
	}

	// Written in its order; each element gets its header once its end is known.
	b := append(make([]byte, 0, size), oidSignedData...)
	signedData := len(b)
	b = append(b, versionOne...)
	b = wrap(append(b, h.digest[0]...), len(b), asn1.SET)
	b = append(b, noContent...)
	signer := len(b)
	b = append(b, versionOne...)
	sid := len(b)
	b = append(b, cert.RawIssuer...)
	b = wrap(append(b, serial...), len(b), asn1.INTEGER)
	b = wrap(b, sid, asn1.SEQUENCE)
	b = append(b, h.digest[0]...)
	b = wrap(want.appendAttributes(b), len(b), tag0)
	b = append(b, h.signature(cert.PublicKey)[0]...)
	b = wrap(append(b, signature...), len(b), asn1.OCTET_STRING)
	b = wrap(b, signer, asn1.SEQUENCE, asn1.SET)
	b = wrap(b, signedData, asn1.SEQUENCE, tag0)
	return wrap(b, 0, asn1.SEQUENCE), nil
}

// signatureValue is what stands in the field signature. Curves and key types
// are those that pki certifies.
func signatureValue(value []byte, public crypto.PublicKey) ([]byte, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, fmt.Errorf("cms: signatureAlgorithm: there is none for a key on %s", key.Params().Name)
		}
		size := key.Params().BitSize / 8
		if len(value) != 2*size {
			return nil, fmt.Errorf("cms: signature: %d octets, %d are r and s on %s", len(value), 2*size, key.Params().Name)
		}
		return ecdsaSigValue(value[:size], value[size:])
	case *rsa.PublicKey:
		if len(value) != key.Size() {
			return nil, fmt.Errorf("cms: signature: %d octets, the modulus has %d", len(value), key.Size())
		}
		return value, nil
	}
	return nil, fmt.Errorf("cms: signatureAlgorithm: there is none for a key of type %T", public)
}

// ecdsaSigValue is the SEQUENCE of r and s (RFC 3279 §2.2.3). Zero is no r and
// no s on any curve (FIPS 186-5 §6.4.2); what is not below the order, Verify
// refuses.
func ecdsaSigValue(r, s []byte) ([]byte, error) {
	b := make([]byte, 0, len(r)+len(s)+8)
	for _, number := range [...]struct {
		name   string
		octets []byte
	}{{"r", r}, {"s", s}} {
		octets := bytes.TrimLeft(number.octets, "\x00")
		if len(octets) == 0 {
			return nil, fmt.Errorf("cms: signature: %s is zero", number.name)
		}
		start := len(b)
		if octets[0] >= 0x80 {
			b = append(b, 0) // else it would be negative
		}
		b = wrap(append(b, octets...), start, asn1.INTEGER)
	}
	return wrap(b, 0, asn1.SEQUENCE), nil
}

// appendAttributes writes the SET's content: in the order of their octets
// (X.690 §11.6), which depends on the digest's length.
func (w *Expectation) appendAttributes(b []byte) []byte {
	scratch := make([]byte, 0, attributesSize)
	var list [len(attributes)][]byte
	for i, a := range attributes {
		start := len(scratch)
		scratch = append(scratch, a.oid...)
		scratch = wrap(a.write(w, scratch), len(scratch), asn1.SET)
		scratch = wrap(scratch, start, asn1.SEQUENCE)
		list[i] = scratch[start:]
	}
	slices.SortFunc(list[:], bytes.Compare)
	for _, a := range list {
		b = append(b, a...)
	}
	return b
}

func (w *Expectation) writeContentType(b []byte) []byte {
	return append(b, oidData...)
}

func (w *Expectation) writeMessageDigest(b []byte) []byte {
	return wrap(append(b, w.Digest...), len(b), asn1.OCTET_STRING)
}

func (w *Expectation) writeSigningTime(b []byte) []byte {
	at := w.SigningTime.UTC()
	tag, layout := timeForm(at)
	return wrap(at.AppendFormat(b, layout), len(b), tag)
}

// writeSigningCertificate writes the hash, the ESSCertIDv2 of it alone, the SEQUENCE
// of this one id, and the SigningCertificateV2.
func (w *Expectation) writeSigningCertificate(b []byte) []byte {
	own := sha256.Sum256(w.Certificate.Raw)
	return wrap(append(b, own[:]...), len(b), asn1.OCTET_STRING, asn1.SEQUENCE, asn1.SEQUENCE, asn1.SEQUENCE)
}

func (w *Expectation) writeShownText(b []byte) []byte {
	return wrap(append(b, w.ShownText[:]...), len(b), asn1.OCTET_STRING)
}

// wrap makes all from start on the content of an element, and this the content
// of the next one, from the inside out. In wrap(append(b, …), len(b), …) the
// content is what was just appended. cryptobyte.Builder would do the same with
// an allocation for every element.
func wrap(b []byte, start int, tags ...asn1.Tag) []byte {
	for _, tag := range tags {
		var header [4]byte
		h := append(header[:0], byte(tag))
		switch n := len(b) - start; {
		case n > 0xFF:
			h = append(h, 0x82, byte(n>>8), byte(n))
		case n > 0x7F:
			h = append(h, 0x81, byte(n))
		default:
			h = append(h, byte(n))
		}
		b = slices.Insert(b, start, h...)
	}
	return b
}
