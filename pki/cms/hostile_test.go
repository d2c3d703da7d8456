package cms_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/pki/cms"
)

// hostile is a SignedData that must be refused, and what the refusal names. All
// of them are of a P-256 key and SHA-256.
type hostile struct {
	name           string
	field, problem string
	before         func(*draft) // spoils what is then signed
	after          func(*draft) // spoils what is around the signature
}

func (h hostile) make(s signer, want *cms.Expectation) []byte {
	d := newDraft(s, want)
	if h.before != nil {
		h.before(d)
	}
	d.sign()
	if h.after != nil {
		h.after(d)
	}
	return d.bytes()
}

// refused checks that an error names a field and says what is wrong with it.
func refused(t *testing.T, name string, err error, field, problem string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", name)
		return
	}
	rest, ok := strings.CutPrefix(err.Error(), "cms: "+field)
	if !ok || !strings.HasPrefix(rest, " before octet ") && !strings.HasPrefix(rest, ": ") || !strings.Contains(rest, problem) {
		t.Errorf("%s: refused with %q, want %s … %s", name, err, field, problem)
	}
}

func TestHostileSignaturesAreRefused(t *testing.T) {
	authority := openAuthority(t)
	s, other := issue(t, authority, ecKey(t, elliptic.P256())), issue(t, authority, ecKey(t, elliptic.P256()))
	want := expect(s.cert, crypto.SHA256)
	for _, h := range allHostile(other) {
		refused(t, h.name, cms.Verify(h.make(s, want), want), h.field, h.problem)
	}
}

// allHostile are the cases in this file and those about the attributes. other
// is a signer of the same authority.
func allHostile(other signer) []hostile {
	return slices.Concat(
		hostileAttributes(), hostileTimes(), hostileSigningCertificates(other),
		hostileContainers(), hostileSigners(), hostileIdentifiers(other),
		hostileAlgorithms(), hostileCertificates(other), hostileSignatures(other),
	)
}

func hostileContainers() []hostile {
	content := tagged(0, encode([]byte(document)))
	tstInfo := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	return []hostile{
		{name: "ContentInfo of data", field: "contentType", problem: "is not signedData",
			after: func(d *draft) { d.contentType = oidData }},
		{name: "SignedData version 0", field: "SignedData.version",
			after: func(d *draft) { d.sd.Version = 0 }},
		{name: "SignedData version 3", field: "SignedData.version",
			after: func(d *draft) { d.sd.Version = 3 }},
		{name: "content inside", field: "encapContentInfo",
			after: func(d *draft) { d.sd.EncapContentInfo.Content = content }},
		{name: "empty content inside", field: "encapContentInfo",
			after: func(d *draft) { d.sd.EncapContentInfo.Content = tagged(0) }},
		{name: "content of a time stamp", field: "encapContentInfo",
			after: func(d *draft) { d.sd.EncapContentInfo.Type = tstInfo }},
		{name: "signed as content of a time stamp", field: "encapContentInfo",
			before: func(d *draft) { d.set(oidContentType, encode(tstInfo)) },
			after:  func(d *draft) { d.sd.EncapContentInfo.Type = tstInfo }},
		{name: "crls", field: "signerInfos", problem: "is not the SET that ends SignedData",
			after: func(d *draft) { d.sd.CRLs = tagged(1) }},
		{name: "crls behind the certificate", field: "signerInfos", problem: "is not the SET that ends SignedData",
			after: func(d *draft) { d.sd.Certificates, d.sd.CRLs = tagged(0, d.cert.Raw), tagged(1) }},
	}
}

func hostileSigners() []hostile {
	return []hostile{
		{name: "no SignerInfo", field: "signerInfos", problem: "is not exactly one",
			after: func(d *draft) { d.sd.SignerInfos = []signerInfo{} }},
		{name: "the SignerInfo twice", field: "signerInfos", problem: "is not exactly one",
			after: func(d *draft) { d.sd.SignerInfos = []signerInfo{d.si, d.si} }},
		{name: "two SignerInfos", field: "signerInfos", problem: "is not exactly one",
			after: func(d *draft) {
				first := d.si
				d.sign()
				d.sd.SignerInfos = []signerInfo{first, d.si}
			}},
		{name: "SignerInfo version 0", field: "SignerInfo.version",
			after: func(d *draft) { d.si.Version = 0 }},
		{name: "SignerInfo version 3", field: "SignerInfo.version",
			after: func(d *draft) { d.si.Version = 3 }},
		{name: "signedAttrs absent", field: "signedAttrs", problem: "are absent",
			after: func(d *draft) { d.si.SignedAttrs = asn1.RawValue{}; d.signOver([]byte(document)) }},
		{name: "signedAttrs with tag 2", field: "signedAttrs", problem: "are absent",
			after: func(d *draft) { d.si.SignedAttrs = tagged(2, d.si.SignedAttrs.Bytes) }},
		{name: "signedAttrs as a SET", field: "signedAttrs", problem: "are absent",
			after: func(d *draft) { d.si.SignedAttrs = set(d.si.SignedAttrs.Bytes) }},
		{name: "unsignedAttrs", field: "SignerInfo", problem: "goes on behind the signature",
			after: func(d *draft) {
				d.si.UnsignedAttrs = tagged(1, encode(attribute{oidSMIMECapabilities, values(encode(sequence()))}))
			}},
		{name: "empty unsignedAttrs", field: "SignerInfo", problem: "goes on behind the signature",
			after: func(d *draft) { d.si.UnsignedAttrs = tagged(1) }},
	}
}

func hostileIdentifiers(other signer) []hostile {
	sid := func(issuer []byte, serial *big.Int, more ...[]byte) func(*draft) {
		return func(d *draft) { d.si.SID = sequence(append([][]byte{issuer, encode(serial)}, more...)...) }
	}
	issuer, null := other.cert.RawIssuer, encode(asn1.NullRawValue)
	keyID := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: other.cert.SubjectKeyId}
	return []hostile{
		{name: "another serial number", field: "sid", problem: "does not name", after: sid(issuer, other.cert.SerialNumber)},
		{name: "a negative serial number", field: "sid", problem: "does not name",
			after: func(d *draft) { sid(issuer, new(big.Int).Neg(d.cert.SerialNumber))(d) }},
		{name: "serial number zero", field: "sid", problem: "does not name", after: sid(issuer, new(big.Int))},
		{name: "another issuer", field: "sid", problem: "does not name",
			after: func(d *draft) { sid(d.cert.RawSubject, d.cert.SerialNumber)(d) }},
		{name: "no issuer", field: "sid", problem: "does not name",
			after: func(d *draft) { sid(encode(sequence()), d.cert.SerialNumber)(d) }},
		{name: "a sid with a third part", field: "sid", problem: "is not issuerAndSerialNumber",
			after: func(d *draft) { sid(issuer, d.cert.SerialNumber, null)(d) }},
		{name: "subjectKeyIdentifier", field: "SignerInfo.version",
			after: func(d *draft) { d.si.Version, d.si.SID = 3, keyID }},
		{name: "subjectKeyIdentifier in version 1", field: "sid", problem: "is not issuerAndSerialNumber",
			after: func(d *draft) { d.si.SID = keyID }},
	}
}

func hostileAlgorithms() []hostile {
	digest := func(name, field string, inSet, inSigner pkix.AlgorithmIdentifier) hostile {
		return hostile{name: name, field: field, after: func(d *draft) {
			d.sd.DigestAlgorithms = []pkix.AlgorithmIdentifier{inSet}
			d.si.DigestAlgorithm = inSigner
		}}
	}
	signature := func(name string, algorithm pkix.AlgorithmIdentifier) hostile {
		return hostile{name: name, field: "signatureAlgorithm", problem: "is not the one expected",
			after: func(d *draft) { d.si.SignatureAlgorithm = algorithm }}
	}
	id := func(oid asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid}
	}
	null := func(oid asn1.ObjectIdentifier) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.NullRawValue}
	}
	sha256, sha384 := oidSHA[crypto.SHA256], oidSHA[crypto.SHA384]
	return []hostile{
		{name: "no digestAlgorithms", field: "digestAlgorithms",
			after: func(d *draft) { d.sd.DigestAlgorithms = nil }},
		{name: "two digestAlgorithms", field: "digestAlgorithms", problem: "has more than one",
			after: func(d *draft) { d.sd.DigestAlgorithms = []pkix.AlgorithmIdentifier{id(sha256), null(sha256)} }},
		{name: "the digestAlgorithm and a weaker one", field: "digestAlgorithms", problem: "is not the one expected",
			after: func(d *draft) { d.sd.DigestAlgorithms = []pkix.AlgorithmIdentifier{id(sha256), id(oidSHA1)} }},
		digest("SHA-1", "digestAlgorithms", null(oidSHA1), null(oidSHA1)),
		digest("SHA-1 in digestAlgorithms", "digestAlgorithms", null(oidSHA1), id(sha256)),
		digest("SHA-1 in SignerInfo", "SignerInfo.digestAlgorithm", id(sha256), null(oidSHA1)),
		digest("MD5", "digestAlgorithms", null(oidMD5), null(oidMD5)),
		digest("SHA-384 in digestAlgorithms", "digestAlgorithms", id(sha384), id(sha256)),
		digest("SHA-384 in SignerInfo", "SignerInfo.digestAlgorithm", id(sha256), id(sha384)),
		digest("NULL in digestAlgorithms alone", "SignerInfo.digestAlgorithm", null(sha256), id(sha256)),
		digest("NULL in SignerInfo alone", "SignerInfo.digestAlgorithm", id(sha256), null(sha256)),
		signature("ecdsa-with-SHA384", id(oidECDSAWithSHA[crypto.SHA384])),
		signature("ecdsa-with-SHA1", id(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1})),
		signature("ecdsa-with-SHA256 and NULL", null(oidECDSAWithSHA[crypto.SHA256])),
		signature("id-ecPublicKey", id(oidECPublicKey)),
		signature("sha256WithRSA for an ECDSA key", null(oidRSAWithSHA[crypto.SHA256])),
		signature("a digest for a signature", id(sha256)),
	}
}

func hostileCertificates(other signer) []hostile {
	certificates := func(name, field string, list func(*draft) asn1.RawValue) hostile {
		return hostile{name: name, field: field, after: func(d *draft) { d.sd.Certificates = list(d) }}
	}
	return []hostile{
		certificates("another certificate", "certificates", func(*draft) asn1.RawValue { return tagged(0, other.cert.Raw) }),
		certificates("a second certificate", "certificates", func(d *draft) asn1.RawValue { return tagged(0, d.cert.Raw, other.cert.Raw) }),
		certificates("a certificate before it", "certificates", func(d *draft) asn1.RawValue { return tagged(0, other.cert.Raw, d.cert.Raw) }),
		certificates("the certificate twice", "certificates", func(d *draft) asn1.RawValue { return tagged(0, d.cert.Raw, d.cert.Raw) }),
		certificates("a cut certificate", "certificates", func(d *draft) asn1.RawValue { return tagged(0, d.cert.Raw[:len(d.cert.Raw)-1]) }),
		certificates("no certificate in the field for it", "certificates", func(*draft) asn1.RawValue { return tagged(0) }),
		certificates("a SET of certificates", "signerInfos", func(d *draft) asn1.RawValue { return set(d.cert.Raw) }),
	}
}

// RFC 5652 §5.4 does not keep signature over content and signature over signed
// attributes apart: a genuine signature over attributes is also one over their
// DER as content, if there may be no signed attributes.
func TestSignedAttributesReplayedAsContentAreRefused(t *testing.T) {
	s := p256Signer(t)
	genuine := newDraft(s, expect(s.cert, crypto.SHA256))
	genuine.sign()
	content := encode(set(genuine.si.SignedAttrs.Bytes))

	want := expect(s.cert, crypto.SHA256)
	want.Digest = sum(crypto.SHA256, content)
	genuine.si.SignedAttrs = asn1.RawValue{}
	refused(t, "without attributes", cms.Verify(genuine.bytes(), want), "signedAttrs", "are absent")

	fresh := newDraft(s, want)
	fresh.sign()
	fresh.si.Signature = genuine.si.Signature
	refused(t, "with attributes", cms.Verify(fresh.bytes(), want), "signature", "is not by the key on record")
}

func TestHostileRSASignaturesAreRefused(t *testing.T) {
	s := issue(t, openAuthority(t), rsaKey())
	want := expect(s.cert, crypto.SHA256)
	algorithm := func(a pkix.AlgorithmIdentifier) func(*draft) { return func(d *draft) { d.si.SignatureAlgorithm = a } }
	resize := func(change func([]byte) []byte) func(*draft) {
		return func(d *draft) { d.si.Signature.Bytes = change(slices.Clone(d.si.Signature.Bytes)) }
	}
	notByKey := "is not by the key on record"
	for _, h := range []hostile{
		{name: "sha384WithRSA", field: "signatureAlgorithm", after: algorithm(signatureAlgorithm(s.key, crypto.SHA384))},
		{name: "RSASSA-PSS", field: "signatureAlgorithm", after: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidRSAPSS, Parameters: sequence()})},
		{name: "rsaEncryption without NULL", field: "signatureAlgorithm", after: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidRSA})},
		{name: "ecdsa-with-SHA256", field: "signatureAlgorithm", after: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA[crypto.SHA256]})},
		{name: "DigestInfo of SHA-384", field: "signature", problem: notByKey, after: func(d *draft) {
			d.hash = crypto.SHA384
			d.signOver(encode(set(d.si.SignedAttrs.Bytes)))
		}},
		{name: "a leading zero", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { return append([]byte{0}, b...) })},
		{name: "a trailing octet", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { return append(b, 0) })},
		{name: "an octet short", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { return b[:len(b)-1] })},
		{name: "signature 0", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { clear(b); return b })},
		{name: "signature 1", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { clear(b); b[len(b)-1] = 1; return b })},
		{name: "signature above the modulus", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { return slices.Repeat([]byte{0xFF}, len(b)) })},
		{name: "a flipped bit", field: "signature", problem: notByKey, after: resize(func(b []byte) []byte { b[100] ^= 4; return b })},
	} {
		refused(t, h.name, cms.Verify(h.make(s, want), want), h.field, h.problem)
	}
}

// What is too long is refused before it is looked at, and nesting costs nothing.
func TestUnboundedInputIsRefusedAtOnce(t *testing.T) {
	s := p256Signer(t)
	want := expect(s.cert, crypto.SHA256)
	der := good(s, want)
	for name, c := range map[string]struct {
		input []byte
		says  string
	}{
		"nil":                       {nil, "ContentInfo before octet 0"},
		"empty":                     {[]byte{}, "ContentInfo before octet 0"},
		"nested 30 80":              {[]byte(strings.Repeat("\x30\x80", cms.MaxSize/2)), "ContentInfo before octet"},
		"a tower of SEQUENCEs":      {tower(cms.MaxSize), "contentType before octet"},
		"padded to MaxSize":         {append(slices.Clone(der), make([]byte, cms.MaxSize-len(der))...), "ContentInfo before octet"},
		"padded over MaxSize":       {append(slices.Clone(der), make([]byte, cms.MaxSize-len(der)+1)...), "16385 octets, at most 16384"},
		"4 MB of nested 30 80":      {[]byte(strings.Repeat("\x30\x80", 2<<20)), "octets, at most 16384"},
		"a length of 4 GB":          {[]byte{0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF}, "ContentInfo before octet"},
		"a length of 127 octets":    {append([]byte{0x30, 0xFF}, make([]byte, 200)...), "ContentInfo before octet"},
		"PEM instead of DER":        {[]byte("-----BEGIN PKCS7-----\n"), "ContentInfo before octet"},
		"16 KiB of zeros":           {make([]byte, cms.MaxSize), "ContentInfo before octet"},
		"the certificate":           {s.cert.Raw, "contentType before octet"},
		"twice the good one":        {append(slices.Clone(der), der...), "ContentInfo before octet"},
		"the SignedData without CI": {der[len(der)-innerLength(der):], "contentType before octet"},
	} {
		if took := quickest(func() { cms.Verify(c.input, want) }); took > time.Millisecond {
			t.Errorf("%s: took %v", name, took)
		}
		err := cms.Verify(c.input, want)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", name, err, c.says)
		}
	}
}

// quickest is the best of some runs: what else the machine does is not counted.
func quickest(run func()) time.Duration {
	best := time.Hour
	for range 5 {
		began := time.Now()
		run()
		best = min(best, time.Since(began))
	}
	return best
}

// tower is as many SEQUENCEs in each other, with right lengths, as fit.
func tower(size int) []byte {
	floors := []byte{0x30, 0}
	for {
		next := encode(sequence(floors))
		if len(next) > size {
			return floors
		}
		floors = next
	}
}

// innerLength is that of the SignedData in a ContentInfo.
func innerLength(der []byte) int {
	var info struct {
		Type    asn1.ObjectIdentifier
		Content struct{ SignedData asn1.RawValue } `asn1:"tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		panic(err)
	}
	return len(info.Content.SignedData.FullBytes)
}
