package cms_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
)

// hostileSignatures are octets in the place of a genuine ECDSA signature.
func hostileSignatures(other signer) []hostile {
	list := []hostile{
		{name: "signature by another key", after: func(d *draft) { d.key = other.key; d.signOver(encode(set(d.si.SignedAttrs.Bytes))) }},
		{name: "signature over the document", after: func(d *draft) { d.signOver([]byte(document)) }},
		// The tag of signed attributes is [0] where they stand, SET where they are signed.
		{name: "signature over the attributes as they stand", after: func(d *draft) { d.signOver(encode(d.si.SignedAttrs)) }},
		{name: "signature over the attributes without a tag", after: func(d *draft) { d.signOver(d.si.SignedAttrs.Bytes) }},
		{name: "signature of the same attributes for another text", after: func(d *draft) {
			d.si.SignedAttrs.Bytes = slices.Clone(d.si.SignedAttrs.Bytes)
			genuine := bytes.Clone(d.si.SignedAttrs.Bytes)
			d.set(oidShownText, encode(make([]byte, 32)))
			d.sign()
			d.si.SignedAttrs.Bytes = genuine
		}},
		{name: "signature as a BIT STRING", problem: "is not an OCTET STRING", after: func(d *draft) { d.si.Signature.Tag = asn1.TagBitString }},
		{name: "signature without OCTET STRING", problem: "is not an OCTET STRING", after: func(d *draft) {
			d.si.Signature = asn1.RawValue{FullBytes: d.si.Signature.Bytes}
		}},
	}
	for name, spoil := range spoiledECDSA() {
		list = append(list, hostile{name: "signature with " + name, after: func(d *draft) {
			var sig struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(d.si.Signature.Bytes, &sig); err != nil {
				panic(err)
			}
			d.si.Signature.Bytes = spoil(sig.R, sig.S)
		}})
	}
	for i := range list {
		list[i].field = "signature"
		if list[i].problem == "" {
			list[i].problem = "is not by the key on record"
		}
	}
	slices.SortFunc(list, func(a, b hostile) int { return strings.Compare(a.name, b.name) })
	return list
}

// spoiledECDSA write r and s as they must not be written (SEC 1 §C.5, in DER).
func spoiledECDSA() map[string]func(r, s *big.Int) []byte {
	n := elliptic.P256().Params().N
	null := encode(asn1.NullRawValue)
	pair := func(r, s *big.Int) []byte { return encode(sequence(encode(r), encode(s))) }
	flip := func(x *big.Int) *big.Int { return new(big.Int).Xor(x, big.NewInt(1<<20)) }
	plus := func(x *big.Int) *big.Int { return new(big.Int).Add(x, n) }
	zero := new(big.Int)
	integer := func(content ...[]byte) []byte {
		return encode(asn1.RawValue{Tag: asn1.TagInteger, Bytes: bytes.Join(content, nil)})
	}
	minimal := func(x *big.Int) []byte { return encode(x)[2:] }
	return map[string]func(r, s *big.Int) []byte{
		"a trailing octet":     func(r, s *big.Int) []byte { return append(pair(r, s), 0) },
		"an element behind s":  func(r, s *big.Int) []byte { return encode(sequence(encode(r), encode(s), null)) },
		"a bit of r flipped":   func(r, s *big.Int) []byte { return pair(flip(r), s) },
		"a bit of s flipped":   func(r, s *big.Int) []byte { return pair(r, flip(s)) },
		"r and s exchanged":    func(r, s *big.Int) []byte { return pair(s, r) },
		"r plus the order":     func(r, s *big.Int) []byte { return pair(plus(r), s) },
		"s plus the order":     func(r, s *big.Int) []byte { return pair(r, plus(s)) },
		"r zero":               func(_, s *big.Int) []byte { return pair(zero, s) },
		"s zero":               func(r, _ *big.Int) []byte { return pair(r, zero) },
		"both zero":            func(_, _ *big.Int) []byte { return pair(zero, zero) },
		"s the order":          func(r, _ *big.Int) []byte { return pair(r, n) },
		"r negative":           func(r, s *big.Int) []byte { return pair(new(big.Int).Neg(r), s) },
		"s negative":           func(r, s *big.Int) []byte { return pair(r, new(big.Int).Neg(s)) },
		"r not minimal":        func(r, s *big.Int) []byte { return encode(sequence(integer([]byte{0}, minimal(r)), encode(s))) },
		"s not minimal":        func(r, s *big.Int) []byte { return encode(sequence(encode(r), integer([]byte{0}, minimal(s)))) },
		"r without octets":     func(_, s *big.Int) []byte { return encode(sequence(integer(), encode(s))) },
		"a length not minimal": func(r, s *big.Int) []byte { der := pair(r, s); return append([]byte{0x30, 0x81, der[1]}, der[2:]...) },
		"a length indefinite":  func(r, s *big.Int) []byte { return append(append([]byte{0x30, 0x80}, pair(r, s)[2:]...), 0, 0) },
		"a SET of r and s":     func(r, s *big.Int) []byte { return encode(set(encode(r), encode(s))) },
		"r alone":              func(r, _ *big.Int) []byte { return encode(sequence(encode(r))) },
		"64 octets instead of DER": func(r, s *big.Int) []byte {
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		},
		"no octets":                func(_, _ *big.Int) []byte { return []byte{} },
		"r and s of 256 octets":    func(r, s *big.Int) []byte { return pair(new(big.Int).Lsh(r, 1792), new(big.Int).Lsh(s, 1792)) },
		"an empty SEQUENCE":        func(_, _ *big.Int) []byte { return []byte{0x30, 0} },
		"r and s as OCTET STRINGs": func(r, s *big.Int) []byte { return encode(sequence(encode(r.Bytes()), encode(s.Bytes()))) },
		"r one":                    func(_, s *big.Int) []byte { return pair(big.NewInt(1), s) },
	}
}
