package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"imza/pki"
)

// hostile is a request that must be refused, and what the refusal names.
type hostile struct {
	name           string
	field, problem string
	change         func(*draft)
}

// hostileRequests are all of a P-256 key, if they do not bring another.
func hostileRequests(t testing.TB) []hostile {
	return slices.Concat(hostileFrames(t), hostileSubjects(), hostileAttributes(), hostileKeys(t), hostileRSAKeys(t), hostileSignatures(t))
}

func hostileFrames(t testing.TB) []hostile {
	other := ecKey(t, elliptic.P256())
	return []hostile{
		{"version 1", "version", "is not 0", func(d *draft) { d.info[0] = encode(1) }},
		{"version -1", "version", "is not 0", func(d *draft) { d.info[0] = encode(-1) }},
		{"version absent", "version", "is not 0", func(d *draft) { d.info[0] = nil }},
		{"version twice", "subject", "is not a Name", func(d *draft) { d.info[0] = append(encode(0), encode(0)...) }},
		{"something behind the attributes", "certificationRequestInfo", "goes on", func(d *draft) { d.trailing[0] = null }},
		{"a second key behind the attributes", "certificationRequestInfo", "goes on", func(d *draft) { d.trailing[0] = keyInfo(other.Public()) }},
		{"something behind the signature", "CertificationRequest", "goes on behind the signature", func(d *draft) { d.trailing[1] = null }},
		{"an octet behind the request", "CertificationRequest", "is not one SEQUENCE", func(d *draft) { d.trailing[2] = []byte{0} }},
		{"a line end behind the request", "CertificationRequest", "is not one SEQUENCE", func(d *draft) { d.trailing[2] = []byte{'\n'} }},
		{"a second request behind it", "CertificationRequest", "is not one SEQUENCE", func(d *draft) { d.trailing[2] = newDraft(other).bytes() }},
	}
}

func hostileSubjects() []hostile {
	own := rdn(oidSerialNumber, tagPrintable, iccid)
	subject := func(name, problem string, rdns ...[]byte) hostile {
		return hostile{"subject " + name, "subject", problem, func(d *draft) { d.info[1] = sequence(rdns...) }}
	}
	written := func(name string, tag byte, value, problem string) hostile {
		return subject(name, problem, rdn(oidSerialNumber, tag, value))
	}
	attribute := func(parts ...[]byte) []byte { return element(tagSet, sequence(parts...)) }
	name, value := encode(oidSerialNumber), element(tagPrintable, []byte(iccid))
	return []hostile{
		written("of another card", tagPrintable, otherICCID, "is another card"),
		written("with a digit less", tagPrintable, iccid[:18], "is another card"),
		written("with a digit more", tagPrintable, iccid+"0", "is another card"),
		written("with F at the end", tagPrintable, iccid+"F", "is another card"),
		written("with a space behind", tagPrintable, iccid+" ", "is another card"),
		written("with a space before", tagPrintable, " "+iccid, "is another card"),
		written("empty", tagPrintable, "", "is another card"),
		written("with NUL", tagPrintable, iccid+"\x00", "is another card"),
		written("UTF8String", tagUTF8, iccid, "is not one PrintableString"),
		written("NumericString", tagNumeric, iccid, "is not one PrintableString"),
		written("IA5String", tagIA5, iccid, "is not one PrintableString"),
		written("OCTET STRING", tagOctetString, iccid, "is not one PrintableString"),
		subject("without RDN", "is not one RDN"),
		subject("with two RDNs", "is not one RDN", own, rdn(oidCommonName, tagUTF8, "card")),
		subject("with it last", "is not one RDN", rdn(oidCommonName, tagUTF8, "card"), own),
		subject("with it twice", "is not one RDN", own, own),
		subject("with another's second", "is not one RDN", own, rdn(oidSerialNumber, tagPrintable, otherICCID)),
		subject("with two attributes", "is not an RDN of one attribute",
			element(tagSet, sequence(name, value), sequence(encode(oidCommonName), element(tagUTF8, []byte("card"))))),
		subject("with an empty RDN", "is not an RDN of one attribute", element(tagSet)),
		subject("commonName", "is not a serialNumber", rdn(oidCommonName, tagPrintable, iccid)),
		subject("with a longer OID", "is not a serialNumber", rdn(asn1.ObjectIdentifier{2, 5, 4, 5, 1}, tagPrintable, iccid)),
		subject("with an RDN that is a SEQUENCE", "is not one RDN", sequence(sequence(name, value))),
		subject("without a value", "is not one PrintableString", attribute(name)),
		subject("with two values", "is not one PrintableString", attribute(name, value, value)),
		subject("with NULL behind the value", "is not one PrintableString", attribute(name, value, null)),
		{"subject a SET", "subject", "is not a Name", func(d *draft) { d.info[1] = element(tagSet, own) }},
		{"subject absent", "subject", "is not one RDN", func(d *draft) { d.info[1] = nil }},
	}
}

func hostileAttributes() []hostile {
	attributes := func(name string, der []byte) hostile {
		return hostile{"attributes " + name, "attributes", "are not an empty [0]", func(d *draft) { d.info[3] = der }}
	}
	password := sequence(encode(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}), element(tagSet, element(tagUTF8, []byte("secret"))))
	extensions := sequence(encode(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}), element(tagSet, sequence()))
	return []hostile{
		attributes("absent", nil),
		attributes("with a challengePassword", element(tagAttributes, password)),
		attributes("with an extensionRequest", element(tagAttributes, extensions)),
		attributes("with both", element(tagAttributes, password, extensions)),
		attributes("with NULL", element(tagAttributes, null)),
		attributes("[1]", element(0xA1)),
		attributes("primitive", element(0x80)),
		attributes("a SET", element(tagSet)),
		attributes("a SET in [0]", element(tagAttributes, element(tagSet))),
	}
}

func hostileKeys(t testing.TB) []hostile {
	key := func(name, problem string, make func(d *draft) []byte) hostile {
		return hostile{"key " + name, "subjectPKInfo", problem, func(d *draft) { d.info[2] = make(d) }}
	}
	of := func(name string, signer crypto.Signer) hostile {
		return hostile{"key " + name, "subjectPKInfo", "keys are P-256, P-384 or RSA", func(d *draft) {
			fresh := newDraft(signer)
			d.key, d.info, d.algorithm = fresh.key, fresh.info, fresh.algorithm
		}}
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := func(d *draft) []byte {
		octets, err := d.key.Public().(*ecdsa.PublicKey).Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return octets
	}
	onP256 := func(octets []byte) []byte { return sequence(algorithm(oidECPublicKey, encode(oidP256)), bits(octets)) }
	noKey := "x509: "
	hybrid := func(d *draft) []byte { octets := point(d); return append([]byte{6 | octets[64]&1}, octets[1:]...) }
	compressed := func(d *draft) []byte { octets := point(d); return append([]byte{2 | octets[64]&1}, octets[1:33]...) }
	return []hostile{
		of("on P-224", ecKey(t, elliptic.P224())),
		of("on P-521", ecKey(t, elliptic.P521())),
		{"key Ed25519", "subjectPKInfo", "keys are P-256, P-384 or RSA", func(d *draft) { d.key, d.hash, d.info[2] = edwards, 0, keyInfo(edwards.Public()) }},
		key("absent", "is not a SEQUENCE", func(*draft) []byte { return nil }),
		key("a bare point", "is not a SEQUENCE", func(d *draft) []byte { return bits(point(d)) }),
		key("an empty SEQUENCE", "sequence truncated", func(*draft) []byte { return sequence() }),
		key("in compressed form", "", func(d *draft) []byte { return onP256(compressed(d)) }),
		key("in hybrid form", "", func(d *draft) []byte { return onP256(hybrid(d)) }),
		key("at infinity", "", func(*draft) []byte { return onP256([]byte{0}) }),
		key("of no octets", "", func(*draft) []byte { return onP256(nil) }),
		key("with an octet more", "", func(d *draft) []byte { return onP256(append(point(d), 0)) }),
		key("off the curve", "", func(d *draft) []byte { octets := point(d); octets[64] ^= 1; return onP256(octets) }),
		key("with unused bits", "is not the key in DER", func(d *draft) []byte {
			// The same point, shifted: x509 shifts it back.
			shifted := append([]byte{4}, new(big.Int).Lsh(new(big.Int).SetBytes(point(d)), 4).FillBytes(make([]byte, 65))...)
			return sequence(algorithm(oidECPublicKey, encode(oidP256)), element(tagBitString, shifted))
		}),
		key("and NULL behind it", "is not the key in DER", func(d *draft) []byte {
			return sequence(algorithm(oidECPublicKey, encode(oidP256)), bits(point(d)), null)
		}),
		key("with NULL behind the curve", "is not the key in DER", func(d *draft) []byte {
			return sequence(algorithm(oidECPublicKey, encode(oidP256), null), bits(point(d)))
		}),
		key("without a curve", noKey, func(d *draft) []byte { return sequence(algorithm(oidECPublicKey), bits(point(d))) }),
		key("named as ECDH", "keys are P-256", func(d *draft) []byte {
			return sequence(algorithm(asn1.ObjectIdentifier{1, 3, 132, 1, 12}, encode(oidP256)), bits(point(d)))
		}),
	}
}

func hostileRSAKeys(t testing.TB) []hostile {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	public := rsaKey().PublicKey
	written := func(name, field, problem string, der []byte) hostile {
		return hostile{"RSA key " + name, field, problem, func(d *draft) {
			*d = *newDraft(rsaKey())
			d.info[2] = der
		}}
	}
	rsaInfo := func(parts ...[]byte) []byte { return sequence(algorithm(oidRSA, null), bits(bytes.Join(parts, nil))) }
	pair := func(n *big.Int, e int) []byte { return sequence(encode(n), encode(e)) }
	modulus := public.N.Bytes()
	return []hostile{
		{"RSA key of 1024 bits", "subjectPKInfo", "keys are", func(d *draft) { *d = *newDraft(small) }},
		written("of 2047 bits", "subjectPKInfo", "keys are", keyInfo(&rsa.PublicKey{N: new(big.Int).Rsh(public.N, 1), E: public.E})),
		written("without NULL", "subjectPKInfo", "x509: ", sequence(algorithm(oidRSA), bits(pair(public.N, public.E)))),
		written("for PSS alone", "subjectPKInfo", "keys are", sequence(algorithm(oidRSAPSS, null), bits(pair(public.N, public.E)))),
		written("with NULL behind its pair", "subjectPKInfo", "is not the key in DER", rsaInfo(sequence(encode(public.N), encode(public.E), null))),
		written("with octets behind the pair", "subjectPKInfo", "is not the key in DER", rsaInfo(pair(public.N, public.E), []byte{0})),
		written("with a long length", "subjectPKInfo", "x509: ", rsaInfo(longLength(tagSequence, append(encode(public.N), encode(public.E)...)))),
		written("with leading zeros", "subjectPKInfo", "x509: ", rsaInfo(sequence(element(tagInteger, []byte{0, 0}, modulus), encode(public.E)))),
		written("negative", "subjectPKInfo", "x509: ", rsaInfo(sequence(element(tagInteger, modulus), encode(public.E)))),
		written("zero", "subjectPKInfo", "x509: ", rsaInfo(pair(new(big.Int), public.E))),
		written("with exponent 0", "subjectPKInfo", "x509: ", rsaInfo(pair(public.N, 0))),
		written("with exponent -3", "subjectPKInfo", "x509: ", rsaInfo(pair(public.N, -3))),
		written("with another exponent", "signature", "verification error", rsaInfo(pair(public.N, 3))),
		written("with exponent 2", "signature", "exponent", rsaInfo(pair(public.N, 2))),
		written("with exponent over 31 bits", "signature", "exponent", rsaInfo(pair(public.N, 1<<31+1))),
		written("with an even modulus", "signature", "", rsaInfo(pair(new(big.Int).Sub(public.N, big.NewInt(1)), public.E))),
		// To exponent 1 a message is its own signature, so nobody needs a key.
		{"RSA key with exponent 1", "signature", "exponent", func(d *draft) {
			*d = *newDraft(rsaKey())
			d.info[2] = rsaInfo(pair(public.N, 1))
			d.sign = func(info []byte) []byte {
				h := crypto.SHA256.New()
				h.Write(info)
				digestInfo := sequence(algorithm(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, null), encode(h.Sum(nil)))
				padding := bytes.Repeat([]byte{0xFF}, public.Size()-3-len(digestInfo))
				return slices.Concat([]byte{0, 1}, padding, []byte{0}, digestInfo)
			}
		}},
	}
}

func hostileSignatures(t testing.TB) []hostile {
	other, rsaSigner := ecKey(t, elliptic.P256()), rsaKey()
	by := func(name string, change func(*draft)) hostile {
		return hostile{"signature " + name, "signature", "", change}
	}
	with := func(name string, hash crypto.Hash, der []byte) hostile {
		return hostile{"algorithm " + name, "signatureAlgorithm", "is not one that a card signs with", func(d *draft) { d.hash, d.algorithm = hash, der }}
	}
	withRSA := func(name string, hash crypto.Hash, der []byte) hostile {
		h := with(name, hash, der)
		h.change = func(d *draft) { *d = *newDraft(rsaSigner); d.hash, d.algorithm = hash, der }
		return h
	}
	pair := func(change func(r, s *big.Int) []byte) func(*draft) {
		return func(d *draft) {
			d.signature = func(octets []byte) []byte {
				var sig struct{ R, S *big.Int }
				if _, err := asn1.Unmarshal(octets, &sig); err != nil {
					panic(err)
				}
				return bits(change(sig.R, sig.S))
			}
		}
	}
	n := elliptic.P256().Params().N
	list := []hostile{
		with("ecdsa-with-SHA1", crypto.SHA1, algorithm(oidECDSASHA1)),
		with("ecdsa-with-SHA512", crypto.SHA512, algorithm(oidECDSASHA512)),
		with("ecdsa-with-SHA256 and NULL", crypto.SHA256, algorithm(oidECDSASHA256, null)),
		with("absent", crypto.SHA256, sequence()),
		withRSA("sha1WithRSA", crypto.SHA1, algorithm(oidSHA1WithRSA, null)),
		withRSA("sha384WithRSA", crypto.SHA384, algorithm(oidSHA384WithRSA, null)),
		withRSA("sha256WithRSA without NULL", crypto.SHA256, algorithm(oidSHA256WithRSA)),
		withRSA("rsaEncryption", crypto.SHA256, algorithm(oidRSA, null)),
		{"algorithm no SEQUENCE", "signatureAlgorithm", "is not an AlgorithmIdentifier", func(d *draft) { d.algorithm = encode(oidECDSASHA256) }},

		by("by another key", func(d *draft) { d.key = other }),
		by("under another key", func(d *draft) { d.info[2] = keyInfo(other.Public()) }),
		by("by RSA under P-256", func(d *draft) { d.key, d.algorithm = rsaSigner, algorithm(oidSHA256WithRSA, null) }),
		by("by P-256 under RSA", func(d *draft) { d.info[2] = keyInfo(rsaSigner.Public()) }),
		by("by RSA, said to be ECDSA", func(d *draft) { d.key = rsaSigner }),
		by("of another hash than is said", func(d *draft) { d.hash = crypto.SHA384 }),
		by("of SHA-256 where SHA-384 is said", func(d *draft) { d.algorithm = algorithm(oidECDSASHA384) }),
		by("of the info without its header", func(d *draft) {
			d.sign = func(info []byte) []byte {
				h := crypto.SHA256.New()
				h.Write(bytes.Join(d.info[:], nil))
				signature, err := d.key.Sign(rand.Reader, h.Sum(nil), crypto.SHA256)
				if err != nil {
					panic(err)
				}
				return signature
			}
		}),
		by("an OCTET STRING", func(d *draft) { d.signature = func(octets []byte) []byte { return encode(octets) } }),
		by("no BIT STRING", func(d *draft) { d.signature = slices.Clone[[]byte] }),
		by("absent", func(d *draft) { d.signature = func([]byte) []byte { return nil } }),
		by("of no bits", func(d *draft) { d.signature = func([]byte) []byte { return bits(nil) } }),
		by("an empty BIT STRING", func(d *draft) { d.signature = func([]byte) []byte { return element(tagBitString) } }),
		by("of all zeros", func(d *draft) { d.signature = func(octets []byte) []byte { return bits(make([]byte, len(octets))) } }),
		by("with r and s in 64 octets", pair(func(r, s *big.Int) []byte {
			return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
		})),
		by("with r zero", pair(func(_, s *big.Int) []byte { return sequence(encode(0), encode(s)) })),
		by("with s zero", pair(func(r, _ *big.Int) []byte { return sequence(encode(r), encode(0)) })),
		by("with s negative", pair(func(r, s *big.Int) []byte { return sequence(encode(r), encode(new(big.Int).Neg(s))) })),
		by("with s plus the order", pair(func(r, s *big.Int) []byte { return sequence(encode(r), encode(new(big.Int).Add(s, n))) })),
		by("with something behind s", pair(func(r, s *big.Int) []byte { return sequence(encode(r), encode(s), null) })),
		by("with something behind r and s", pair(func(r, s *big.Int) []byte { return append(sequence(encode(r), encode(s)), 0) })),
		by("with r not minimal", pair(func(r, s *big.Int) []byte { return sequence(element(tagInteger, []byte{0, 0}, r.Bytes()), encode(s)) })),
		by("with a long length", pair(func(r, s *big.Int) []byte { return longLength(tagSequence, append(encode(r), encode(s)...)) })),
	}
	for unused := range byte(8) {
		if unused > 0 {
			list = append(list, by(fmt.Sprintf("with %d unused bits", unused), func(d *draft) {
				d.signature = func(octets []byte) []byte { return element(tagBitString, []byte{unused}, octets) }
			}))
		}
	}
	return list
}

func TestHostileRequestsAreRefused(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	all := hostileRequests(t)
	var lenient int
	for _, h := range all {
		d := newDraft(key)
		if _, err := pki.CheckRequest(d.bytes(), iccid); err != nil {
			t.Fatalf("a good one: %v", err)
		}
		h.change(d)
		der := d.bytes()
		_, err := pki.CheckRequest(der, iccid)
		refusedRequest(t, h.name, err, h.field, h.problem)
		if request, err := x509.ParseCertificateRequest(der); err == nil && request.CheckSignature() == nil {
			lenient++
		}
	}
	t.Logf("of %d hostile requests x509 accepts %d", len(all), lenient)
}

// longLength writes the length with an octet more than it takes.
func longLength(tag byte, content []byte) []byte {
	switch n := len(content); {
	case n > 0xFF:
		return append([]byte{tag, 0x83, 0, byte(n >> 8), byte(n)}, content...)
	case n > 0x7F:
		return append([]byte{tag, 0x82, 0, byte(n)}, content...)
	default:
		return append([]byte{tag, 0x81, byte(n)}, content...)
	}
}
