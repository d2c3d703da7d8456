package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that a challenge may name
	_ "crypto/sha512"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	stdasn1 "encoding/asn1"
)

// Object identifiers of what the card writes.
var (
	oidData                 = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData           = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType          = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest        = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime          = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCertificateV2 = stdasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidShownText            = stdasn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 1}

	oidDigest = map[crypto.Hash]stdasn1.ObjectIdentifier{
		crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
		crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
		crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
	}
	oidECDSA = map[crypto.Hash]stdasn1.ObjectIdentifier{
		crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2},
		crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3},
		crypto.SHA512: {1, 2, 840, 10045, 4, 3, 4},
	}
	oidRSA = map[crypto.Hash]stdasn1.ObjectIdentifier{
		crypto.SHA256: {1, 2, 840, 113549, 1, 1, 11},
		crypto.SHA384: {1, 2, 840, 113549, 1, 1, 12},
		crypto.SHA512: {1, 2, 840, 113549, 1, 1, 13},
	}
)

var tag0 = asn1.Tag(0).ContextSpecific().Constructed()

// toSign is what a card signs: docs/applet.md.
type toSign struct {
	hash      crypto.Hash
	digest    []byte
	time      time.Time
	shownText [32]byte
}

// signedData signs and writes the SignedData (RFC 5652 §5), detached and
// without certificates. signer may be another key than k's, if the card is
// made to misbehave.
func signedData(k *Key, signer crypto.Signer, s toSign) ([]byte, error) {
	attributes := s.attributes(k)
	set, err := build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
	})
	if err != nil {
		return nil, err
	}
	h := s.hash.New()
	h.Write(set)
	var algorithm stdasn1.ObjectIdentifier
	var null bool
	switch signer.Public().(type) {
	case *ecdsa.PublicKey:
		algorithm = oidECDSA[s.hash]
	case *rsa.PublicKey:
		algorithm, null = oidRSA[s.hash], true
	default:
		return nil, fmt.Errorf("emulator: a key of type %T", signer)
	}
	signature, err := signer.Sign(rand.Reader, h.Sum(nil), s.hash)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSignedData)
			b.AddASN1(tag0, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1Int64(1)
					b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { addAlgorithm(b, oidDigest[s.hash], false) })
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })
					b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
						b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1Int64(1)
							b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(k.Issuer); b.AddBytes(k.Serial) })
							addAlgorithm(b, oidDigest[s.hash], false)
							b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
							addAlgorithm(b, algorithm, null)
							b.AddASN1OctetString(signature)
						})
					})
				})
			})
		})
	})
}

// attributes writes the signed attributes, in the order that DER gives a SET OF.
func (s toSign) attributes(k *Key) []byte {
	one := func(oid stdasn1.ObjectIdentifier, value func(*cryptobyte.Builder)) []byte {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oid)
			b.AddASN1(asn1.SET, value)
		})
		return b.BytesOrPanic()
	}
	all := [][]byte{
		one(oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) }),
		one(oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(s.digest) }),
		one(oidSigningTime, func(b *cryptobyte.Builder) {
			if s.time.Year() >= 2050 {
				b.AddASN1GeneralizedTime(s.time)
			} else {
				b.AddASN1UTCTime(s.time)
			}
		}),
		one(oidSigningCertificateV2, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // SigningCertificateV2
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // certs
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { // ESSCertIDv2, by SHA-256
						b.AddASN1OctetString(k.Hash[:])
					})
				})
			})
		}),
		one(oidShownText, func(b *cryptobyte.Builder) { b.AddASN1OctetString(s.shownText[:]) }),
	}
	slices.SortFunc(all, bytes.Compare)
	return bytes.Join(all, nil)
}

func addAlgorithm(b *cryptobyte.Builder, oid stdasn1.ObjectIdentifier, null bool) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if null {
			b.AddASN1NULL()
		}
	})
}

func build(f func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	f(&b)
	return b.Bytes()
}

func integer(n *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(n)
	return b.BytesOrPanic()
}
