package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// toSign is what a card signs: docs/applet.md.
type toSign struct {
	hash      crypto.Hash
	digest    []byte
	time      time.Time
	shownText [32]byte
}

// What is the same in all signatures, in DER: identifiers with tag and length,
// and whole AlgorithmIdentifiers. A card has no need of an ASN.1 library: of
// all lengths only the outermost need more than one octet.
var (
	derData        = octets("06092a864886f70d010701")
	derSignedData  = octets("06092a864886f70d010702")
	derContentType = octets("06092a864886f70d010903")
	derDigest      = octets("06092a864886f70d010904")
	derSigningTime = octets("06092a864886f70d010905")
	derSigningCert = octets("060b2a864886f70d010910022f")
	derShownText   = octets("060a2b0601040181fd590101")
	derVersion1    = octets("020101")

	digestAlgorithm = map[crypto.Hash][]byte{
		crypto.SHA256: octets("300b0609608648016503040201"),
		crypto.SHA384: octets("300b0609608648016503040202"),
		crypto.SHA512: octets("300b0609608648016503040203"),
	}
	ecdsaWith = map[crypto.Hash][]byte{
		crypto.SHA256: octets("300a06082a8648ce3d040302"),
		crypto.SHA384: octets("300a06082a8648ce3d040303"),
		crypto.SHA512: octets("300a06082a8648ce3d040304"),
	}
	rsaWith = map[crypto.Hash][]byte{
		crypto.SHA256: octets("300d06092a864886f70d01010b0500"),
		crypto.SHA384: octets("300d06092a864886f70d01010c0500"),
		crypto.SHA512: octets("300d06092a864886f70d01010d0500"),
	}
)

// Tags.
const (
	tagOctets   = 0x04
	tagUTCTime  = 0x17
	tagTime     = 0x18
	tagSequence = 0x30
	tagSet      = 0x31
	tag0        = 0xA0 // [0], constructed
)

// appendDER appends a tag and the shortest length of n octets that follow.
func appendDER(b []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(b, tag, byte(n))
	case n < 0x100:
		return append(b, tag, 0x81, byte(n))
	}
	return append(b, tag, 0x82, byte(n>>8), byte(n))
}

// derLen is how many octets an element of n octets has with its tag and length.
func derLen(n int) int {
	switch {
	case n < 0x80:
		return 2 + n
	case n < 0x100:
		return 3 + n
	}
	return 4 + n
}

// sign signs the attributes of what is to be signed. value is the signature as
// the algorithm writes it: Ecdsa-Sig-Value in DER, or RSA's octets.
func (s *toSign) sign(k *Key, signer crypto.Signer) (attributes, value []byte, err error) {
	attributes = s.attributes(k, make([]byte, 0, 320))
	var room [400]byte
	set := append(appendDER(room[:0], tagSet, len(attributes)), attributes...)
	value, err = signer.Sign(rand.Reader, sum(s.hash, set), s.hash)
	if err != nil {
		return nil, nil, fmt.Errorf("emulator: %w", err)
	}
	return attributes, value, nil
}

func sum(h crypto.Hash, octets []byte) []byte {
	switch h {
	case crypto.SHA384:
		digest := sha512.Sum384(octets)
		return digest[:]
	case crypto.SHA512:
		digest := sha512.Sum512(octets)
		return digest[:]
	}
	digest := sha256.Sum256(octets)
	return digest[:]
}

// appendSignedData appends the SignedData (RFC 5652 §5), detached and without
// certificates, around attributes and their signature.
func (s *toSign) appendSignedData(b []byte, k *Key, public crypto.PublicKey, attributes, value []byte) []byte {
	algorithm := rsaWith[s.hash]
	if _, ok := public.(*ecdsa.PublicKey); ok {
		algorithm = ecdsaWith[s.hash]
	}
	digest := digestAlgorithm[s.hash]
	signer := len(derVersion1) + len(k.sid) + len(digest) + derLen(len(attributes)) + len(algorithm) + derLen(len(value))
	data := len(derVersion1) + derLen(len(digest)) + derLen(len(derData)) + derLen(derLen(signer))
	content := len(derSignedData) + derLen(derLen(data))

	b = append(appendDER(b, tagSequence, content), derSignedData...)
	b = appendDER(appendDER(b, tag0, derLen(data)), tagSequence, data)
	b = append(b, derVersion1...)
	b = append(appendDER(b, tagSet, len(digest)), digest...)
	b = append(appendDER(b, tagSequence, len(derData)), derData...)
	b = appendDER(appendDER(b, tagSet, derLen(signer)), tagSequence, signer)
	b = append(b, derVersion1...)
	b = append(append(b, k.sid...), digest...)
	b = append(appendDER(b, tag0, len(attributes)), attributes...)
	b = append(b, algorithm...)
	return append(appendDER(b, tagOctets, len(value)), value...)
}

// attributes appends the signed attributes in the order that DER gives a SET OF.
func (s *toSign) attributes(k *Key, b []byte) []byte {
	var now [15]byte
	when, tag := s.time.UTC().AppendFormat(now[:0], "060102150405Z"), byte(tagUTCTime)
	if s.time.Year() >= 2050 {
		when, tag = s.time.UTC().AppendFormat(now[:0], "20060102150405Z"), tagTime
	}
	var rooms [5][128]byte
	list := [5][]byte{
		appendAttribute(rooms[0][:0], derContentType, derData[0], derData[2:], 0),
		appendAttribute(rooms[1][:0], derDigest, tagOctets, s.digest, 0),
		appendAttribute(rooms[2][:0], derSigningTime, tag, when, 0),
		// SigningCertificateV2 { certs { ESSCertIDv2 { hash } } }, by SHA-256 (RFC 5035 §4).
		appendAttribute(rooms[3][:0], derSigningCert, tagOctets, k.hash[:], 3),
		appendAttribute(rooms[4][:0], derShownText, tagOctets, s.shownText[:], 0),
	}
	// By insertion, since there are five; package slices would have them on the heap.
	for i := range list {
		for j := i; j > 0 && bytes.Compare(list[j], list[j-1]) < 0; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	for _, attribute := range list {
		b = append(b, attribute...)
	}
	return b
}

// appendAttribute appends an Attribute with one value, around which are as many
// nested SEQUENCEs. None of it needs more than one octet of length.
func appendAttribute(b, oid []byte, tag byte, value []byte, nested int) []byte {
	inner := 2 + len(value) + 2*nested
	b = append(b, tagSequence, byte(len(oid)+2+inner))
	b = append(append(b, oid...), tagSet, byte(inner))
	for range nested {
		inner -= 2
		b = append(b, tagSequence, byte(inner))
	}
	return append(append(b, tag, byte(len(value))), value...)
}

// appendPlain appends a signature value in as many octets as the key has, whatever
// its numbers: of ECDSA r‖s, of RSA as it is.
func appendPlain(b []byte, public crypto.PublicKey, value []byte) ([]byte, error) {
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return append(b, value...), nil
	}
	size := (key.Params().BitSize + 7) / 8
	whole := cryptobyte.String(value)
	var numbers cryptobyte.String
	if !whole.ReadASN1(&numbers, asn1.SEQUENCE) || !whole.Empty() {
		return nil, errors.New("emulator: a signature that is no SEQUENCE")
	}
	for range 2 {
		var number cryptobyte.String
		if !numbers.ReadASN1(&number, asn1.INTEGER) {
			return nil, errors.New("emulator: a signature without two INTEGERs")
		}
		for len(number) > 0 && number[0] == 0 { // it keeps the number positive
			number = number[1:]
		}
		if len(number) > size {
			return nil, fmt.Errorf("emulator: a signature's number of %d octets", len(number))
		}
		for range size - len(number) {
			b = append(b, 0)
		}
		b = append(b, number...)
	}
	if !numbers.Empty() {
		return nil, errors.New("emulator: a signature of more than two INTEGERs")
	}
	return b, nil
}

// issuerAndSerial names a certificate (RFC 5652 §10.2.4).
func issuerAndSerial(cert *x509.Certificate) []byte {
	serial := integer(cert.SerialNumber)
	b := appendDER(nil, tagSequence, len(cert.RawIssuer)+len(serial))
	return append(append(b, cert.RawIssuer...), serial...)
}

func integer(n *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(n)
	return b.BytesOrPanic()
}
