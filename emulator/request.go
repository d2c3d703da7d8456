package emulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"imza/simcard"
)

// What is the same in all requests, in DER.
var (
	derVersion0     = octets("020100")
	derSerialNumber = octets("0603550405") // of a name, 2.5.4.5
	derAttributes   = octets("a000")       // [0], none
)

const (
	tagBits      = 0x03
	tagPrintable = 0x13
)

// Request is the card's request for a certificate (PKCS#10, RFC 2986): its
// subject is the card's number alone, since whose card it will be is the
// authority's to say.
//
//	30 { 30 { version 0, subject { serialNumber }, public key, [0] {} }, algorithm, signature }
//
// It is written here, and not by crypto/x509, for speed: that checks each
// signature it has made, which the authority does again.
func Request(iccid simcard.ICCID, private crypto.Signer) ([]byte, error) {
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	hash := crypto.SHA256
	algorithm := rsaWith[hash]
	if key, ok := private.Public().(*ecdsa.PublicKey); ok {
		if key.Curve == elliptic.P384() {
			hash = crypto.SHA384
		}
		algorithm = ecdsaWith[hash]
	}
	attribute := len(derSerialNumber) + derLen(len(iccid))
	names := derLen(derLen(attribute))
	info := len(derVersion0) + derLen(names) + len(public) + len(derAttributes)
	b := make([]byte, 0, 1024)
	b = append(appendDER(b, tagSequence, info), derVersion0...)
	b = appendDER(appendDER(appendDER(b, tagSequence, names), tagSet, derLen(attribute)), tagSequence, attribute)
	b = append(appendDER(append(b, derSerialNumber...), tagPrintable, len(iccid)), iccid...)
	b = append(append(b, public...), derAttributes...)

	value, err := private.Sign(rand.Reader, sum(hash, b), hash)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	signature := 1 + len(value) // no unused bits, and what is used
	whole := make([]byte, 0, 8+len(b)+len(algorithm)+derLen(signature))
	whole = append(appendDER(whole, tagSequence, len(b)+len(algorithm)+derLen(signature)), b...)
	whole = append(appendDER(append(whole, algorithm...), tagBits, signature), 0)
	return append(whole, value...), nil
}
