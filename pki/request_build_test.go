package pki_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
)

// Requests made here, with encoding/asn1, so that all but one thing is right in
// them: they are signed as they then are.

// draft is a request in the making.
type draft struct {
	key       crypto.Signer
	hash      crypto.Hash
	info      [4][]byte // version, subject, subjectPKInfo, attributes
	algorithm []byte
	sign      func(info []byte) []byte // if it is not key that signs
	signature func(octets []byte) []byte
	trailing  [3][]byte // in the info, in the request, behind it
}

// Tags as they are written.
const (
	tagInteger     = 0x02
	tagBitString   = 0x03
	tagOctetString = 0x04
	tagUTF8        = 0x0C
	tagNumeric     = 0x12
	tagPrintable   = 0x13
	tagIA5         = 0x16
	tagSequence    = 0x30
	tagSet         = 0x31
	tagAttributes  = 0xA0
)

var (
	oidSerialNumber  = asn1.ObjectIdentifier{2, 5, 4, 5}
	oidCommonName    = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidECPublicKey   = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256          = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidSHA1WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}
	oidSHA256WithRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidSHA384WithRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}
	oidECDSASHA1     = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}
	oidECDSASHA256   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidECDSASHA384   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}
	oidECDSASHA512   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}

	null = []byte{5, 0}
)

func encode(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return der
}

func element(tag byte, parts ...[]byte) []byte {
	return encode(asn1.RawValue{Class: int(tag >> 6), IsCompound: tag&0x20 != 0, Tag: int(tag & 0x1F), Bytes: bytes.Join(parts, nil)})
}

func sequence(parts ...[]byte) []byte { return element(tagSequence, parts...) }

func algorithm(oid asn1.ObjectIdentifier, parameters ...[]byte) []byte {
	return sequence(append([][]byte{encode(oid)}, parameters...)...)
}

func bits(octets []byte) []byte {
	return encode(asn1.BitString{Bytes: octets, BitLength: 8 * len(octets)})
}

// rdn is one of one attribute.
func rdn(oid asn1.ObjectIdentifier, tag byte, value string) []byte {
	return element(tagSet, sequence(encode(oid), element(tag, []byte(value))))
}

func keyInfo(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return der
}

func newDraft(key crypto.Signer) *draft {
	d := &draft{key: key, hash: crypto.SHA256, algorithm: algorithm(oidECDSASHA256), info: [4][]byte{
		encode(0), sequence(rdn(oidSerialNumber, tagPrintable, iccid)), keyInfo(key.Public()), element(tagAttributes),
	}}
	if _, ok := key.(*rsa.PrivateKey); ok {
		d.algorithm = algorithm(oidSHA256WithRSA, null)
	}
	return d
}

func (d *draft) infoBytes() []byte {
	return sequence(append(d.info[:], d.trailing[0])...)
}

func (d *draft) bytes() []byte { return d.bytesOf(d.infoBytes()) }

// bytesOf signs an info as it is.
func (d *draft) bytesOf(info []byte) []byte {
	var signature []byte
	if d.sign != nil {
		signature = d.sign(info)
	} else {
		digest := info
		if d.hash != 0 {
			h := d.hash.New()
			h.Write(info)
			digest = h.Sum(nil)
		}
		var err error
		if signature, err = d.key.Sign(rand.Reader, digest, d.hash); err != nil {
			panic(err)
		}
	}
	wrap := bits
	if d.signature != nil {
		wrap = d.signature
	}
	return append(sequence(info, d.algorithm, wrap(signature), d.trailing[1]), d.trailing[2]...)
}
