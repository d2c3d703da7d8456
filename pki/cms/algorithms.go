package cms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
)

// Object identifiers and constants as DER writes them, tag and length
// included, so that they are compared in place.
var (
	oidData                 = der("06092a864886f70d010701")
	oidSignedData           = der("06092a864886f70d010702")
	oidContentType          = der("06092a864886f70d010903")
	oidMessageDigest        = der("06092a864886f70d010904")
	oidSigningTime          = der("06092a864886f70d010905")
	oidSigningCertificateV2 = der("060b2a864886f70d010910022f")
	// 1.3.6.1.4.1.32473.1.1, SHA-256 of the text that was shown. 32473 is the
	// number that RFC 5612 keeps for documentation; docs/decisions/0003 says why.
	oidShownText = der("060a2b0601040181fd590101")
	versionOne   = der("020101")
	// encapContentInfo of a detached signature: id-data, and no content.
	noContent = der("300b06092a864886f70d010701")
)

// hash is what one digest algorithm allows. The first in each list is the one
// that docs/applet.md has cards write, and Assemble writes.
type hash struct {
	digest [][]byte // AlgorithmIdentifiers of the digest
	ecdsa  [][]byte // and of signatures with it
	rsa    [][]byte
}

// hashes are the digest algorithms. SHA-1 and MD5 are missing since they can be
// collided, SHA-224 and SHA-3 since no provider may ask for them. A digest's
// parameters are absent or NULL: writers should leave them out, readers must
// take both (RFC 5754 §2). For RSA both the plain and the combined identifier
// are in use (RFC 3370 §3.2, RFC 5754 §3.2). RSASSA-PSS is missing: no card of
// ours makes it.
var hashes = map[crypto.Hash]hash{
	crypto.SHA256: {
		digest: ders("300b0609608648016503040201", "300d06096086480165030402010500"),
		ecdsa:  ders("300a06082a8648ce3d040302"),
		rsa:    ders("300d06092a864886f70d01010b0500", rsaEncryption),
	},
	crypto.SHA384: {
		digest: ders("300b0609608648016503040202", "300d06096086480165030402020500"),
		ecdsa:  ders("300a06082a8648ce3d040303"),
		rsa:    ders("300d06092a864886f70d01010c0500", rsaEncryption),
	},
	crypto.SHA512: {
		digest: ders("300b0609608648016503040203", "300d06096086480165030402030500"),
		ecdsa:  ders("300a06082a8648ce3d040304"),
		rsa:    ders("300d06092a864886f70d01010d0500", rsaEncryption),
	},
}

const rsaEncryption = "300d06092a864886f70d0101010500"

// algorithms are what this digest allows.
func (w *Expectation) algorithms() (hash, error) {
	h, ok := hashes[w.Hash]
	if !ok || len(w.Digest) != w.Hash.Size() {
		return h, fmt.Errorf("cms: a digest of %d octets by hash %d is not expected of anybody", len(w.Digest), w.Hash)
	}
	return h, nil
}

// signature is what a key of this kind may have signed with.
func (h hash) signature(key crypto.PublicKey) [][]byte {
	switch key.(type) {
	case *ecdsa.PublicKey:
		return h.ecdsa
	case *rsa.PublicKey:
		return h.rsa
	}
	return nil
}

func der(text string) []byte {
	octets, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return octets
}

func ders(texts ...string) (list [][]byte) {
	for _, text := range texts {
		list = append(list, der(text))
	}
	return list
}
