package cms_test

import (
	"crypto"
	"crypto/sha1"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"
)

// hostileAttributes are signed attributes that are genuinely signed, and yet
// not what a card may sign.
func hostileAttributes() []hostile {
	list := slices.Concat(
		wrongValues("contentType", oidContentType, "is not id-data alone"),
		wrongValues("messageDigest", oidMessageDigest, "is not one OCTET STRING"),
		wrongValues("signingTime", oidSigningTime, "is not one time"),
		wrongValues("signingCertificateV2", oidSigningCertificateV2, "is not one SHA-256 of a certificate"),
		wrongValues("shownText", oidShownText, "is not one OCTET STRING"),
		wrongDigests("messageDigest", oidMessageDigest),
		wrongDigests("shownText", oidShownText),
	)
	capabilities := attribute{oidSMIMECapabilities, values(encode(sequence()))}
	return append(list,
		hostile{name: "contentType signedData", field: "contentType", problem: "is not id-data alone",
			before: func(d *draft) { d.set(oidContentType, encode(oidSignedData)) }},
		hostile{name: "an attribute more", field: "signedAttrs", problem: "have one that is not asked for",
			before: func(d *draft) { d.attributes = append(d.attributes, capabilities) }},
		hostile{name: "an attribute in place of another", field: "signedAttrs", problem: "have one that is not asked for",
			before: func(d *draft) { d.take(oidShownText); d.attributes = append(d.attributes, capabilities) }},
		hostile{name: "no attributes", field: "contentType", problem: "is absent",
			before: func(d *draft) { d.attributes = nil }},
		hostile{name: "two attributes exchanged", field: "signedAttrs", problem: "are not in DER order",
			before: func(d *draft) {
				d.unsorted = true // contentType, messageDigest, signingTime …: the time's is the shorter
			}},
		hostile{name: "the attributes backwards", field: "signedAttrs", problem: "are not in DER order",
			before: func(d *draft) {
				d.unsorted = true
				slices.SortFunc(d.attributes, func(a, b attribute) int { return slices.Compare(encode(b), encode(a)) })
			}},
		hostile{name: "an attribute that is a SET", field: "signedAttrs", problem: "are not attributes",
			before: func(d *draft) { d.more = append(d.more, encode(set())) }},
		hostile{name: "an attribute that is empty", field: "signedAttrs", problem: "have one that is not asked for",
			before: func(d *draft) { d.more = append(d.more, encode(sequence())) }},
	)
}

// wrongValues spoil the form of one attribute, which every one must have:
// there, once, with one value in a SET.
func wrongValues(name string, oid asn1.ObjectIdentifier, problem string) []hostile {
	type parts struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	}
	// reshape writes the attribute anew, out of its OID and its value.
	reshape := func(shape func(value []byte) []byte) func(*draft) {
		return func(d *draft) { d.more = append(d.more, shape(d.take(oid).Values[0].FullBytes)) }
	}
	null := encode(asn1.NullRawValue)
	return []hostile{
		{name: name + " absent", field: name, problem: "is absent",
			before: func(d *draft) { d.take(oid) }},
		{name: name + " twice", field: "signedAttrs", problem: "are not in DER order",
			before: func(d *draft) { d.attributes = append(d.attributes, attribute{oid, *d.values(oid)}) }},
		{name: name + " without a value", field: name, problem: problem,
			before: func(d *draft) { d.set(oid) }},
		{name: name + " with its value twice", field: name, problem: problem,
			before: func(d *draft) { *d.values(oid) = append(*d.values(oid), (*d.values(oid))[0]) }},
		{name: name + " with NULL behind its value", field: name, problem: problem,
			before: reshape(func(value []byte) []byte { return encode(parts{oid, set(value, null)}) })},
		{name: name + " with NULL before its value", field: name, problem: problem,
			before: reshape(func(value []byte) []byte { return encode(parts{oid, set(null, value)}) })},
		{name: name + " with NULL for a value", field: name, problem: problem,
			before: func(d *draft) { d.set(oid, null) }},
		{name: name + " with a SEQUENCE of values", field: name, problem: "is not a SET of values",
			before: reshape(func(value []byte) []byte { return encode(parts{oid, sequence(value)}) })},
		{name: name + " without a SET", field: name, problem: "is not a SET of values",
			before: reshape(func([]byte) []byte { return encode(sequence(encode(oid))) })},
		{name: name + " with something behind the SET", field: name, problem: "is not a SET of values",
			before: reshape(func(value []byte) []byte { return encode(sequence(encode(oid), encode(set(value)), null)) })},
	}
}

// wrongDigests spoil the value of an attribute that is a SHA-256.
func wrongDigests(name string, oid asn1.ObjectIdentifier) []hostile {
	digest := func(d *draft) []byte { return (*d.values(oid))[0].FullBytes[2:] }
	another := "is another digest"
	zeros, ones := make([]byte, 32), slices.Repeat([]byte{0xFF}, 32)
	return []hostile{
		{name: name + " all zeros", field: name, problem: another,
			before: func(d *draft) { d.set(oid, encode(zeros)) }},
		{name: name + " one octet short", field: name, problem: another,
			before: func(d *draft) { d.set(oid, encode(digest(d)[:31])) }},
		{name: name + " one octet long", field: name, problem: another,
			before: func(d *draft) { d.set(oid, encode(append(slices.Clone(digest(d)), 0))) }},
		{name: name + " of length 0", field: name, problem: another,
			before: func(d *draft) { d.set(oid, encode([]byte{})) }},
		{name: name + " and another before it", field: name, problem: another,
			before: func(d *draft) { d.attributes = append(d.attributes, attribute{oid, values(encode(zeros))}) }},
		{name: name + " and another behind it", field: name, problem: another,
			before: func(d *draft) { d.attributes = append(d.attributes, attribute{oid, values(encode(ones))}) }},
		{name: name + " as text", field: name, problem: "is not one OCTET STRING",
			before: func(d *draft) { d.set(oid, encode(asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: digest(d)})) }},
	}
}

func hostileTimes() []hostile {
	written := func(name string, tag int, text, problem string) hostile {
		return hostile{name: "signingTime " + name, field: "signingTime", problem: problem,
			before: func(d *draft) { d.set(oidSigningTime, encode(asn1.RawValue{Tag: tag, Bytes: []byte(text)})) }}
	}
	const another, form = "is not the time in the challenge", "is not one time"
	utc, generalized := asn1.TagUTCTime, asn1.TagGeneralizedTime
	list := []hostile{
		written("GeneralizedTime before 2050", generalized, "20261122103000Z", form),
		written("without seconds", utc, "2611221030Z", another),
		written("with an offset", utc, "261122143000+0400", another),
		written("with an offset of none", utc, "261122103000+0000", another),
		written("without Z", utc, "261122103000", another),
		written("with a small z", utc, "261122103000z", another),
		written("with a fraction", utc, "261122103000.0Z", another),
		written("with a fraction, GeneralizedTime", generalized, "20261122103000.5Z", form),
		written("with four digits of the year", utc, "20261122103000Z", another),
		written("a century ago", utc, "251122103000Z", another),
		written("empty", utc, "", another),
	}
	for _, shift := range []time.Duration{-time.Second, time.Second, 24 * time.Hour} {
		list = append(list, written(shift.String()+" off", utc, signedAt.Add(shift).Format("060102150405Z"), another))
	}
	return list
}

func hostileSigningCertificates(other signer) []hostile {
	const form = "is not one SHA-256 of a certificate"
	hash := func(s signer) []byte { return sum(crypto.SHA256, s.cert.Raw) }
	value := func(name, problem string, make func(*draft) []byte) hostile {
		return hostile{name: "signingCertificateV2 " + name, field: "signingCertificateV2", problem: problem,
			before: func(d *draft) { d.set(oidSigningCertificateV2, make(d)) }}
	}
	algorithm := func(hash crypto.Hash) []byte { return encode(pkix.AlgorithmIdentifier{Algorithm: oidSHA[hash]}) }
	id := func(hash []byte) []byte { return encode(sequence(encode(hash))) }
	policies := encode(sequence(encode(sequence(encode(asn1.ObjectIdentifier{2, 5, 29, 32, 0})))))
	v1 := func(d *draft) attribute {
		sha := sha1.Sum(d.cert.Raw)
		return attribute{oidSigningCertificate, values(ess(sha[:]))}
	}
	return []hostile{
		value("of another certificate", "is of another certificate", func(*draft) []byte { return ess(hash(other)) }),
		value("of the certificate's SHA-1", "is of another certificate", func(d *draft) []byte { sha := sha1.Sum(d.cert.Raw); return ess(sha[:]) }),
		// SHA-256 is the DEFAULT, which DER leaves out (X.690 §11.5).
		value("with SHA-256 written out", form, func(d *draft) []byte {
			return encode(sequence(encode(sequence(encode(sequence(algorithm(crypto.SHA256), encode(hash(d.signer))))))))
		}),
		value("with SHA-512", form, func(d *draft) []byte {
			sha := sha512.Sum512(d.cert.Raw)
			return encode(sequence(encode(sequence(encode(sequence(algorithm(crypto.SHA512), encode(sha[:])))))))
		}),
		value("with issuerSerial", form, func(d *draft) []byte {
			name := encode(tagged(4, d.cert.RawIssuer))
			return ess(hash(d.signer), encode(sequence(encode(sequence(name)), encode(d.cert.SerialNumber))))
		}),
		value("with two ids", form, func(d *draft) []byte { return encode(sequence(encode(sequence(id(hash(d.signer)), id(hash(other)))))) }),
		value("with the other's id first", form, func(d *draft) []byte { return encode(sequence(encode(sequence(id(hash(other)), id(hash(d.signer)))))) }),
		value("with no id", form, func(*draft) []byte { return encode(sequence(encode(sequence()))) }),
		value("with policies", form, func(d *draft) []byte { return encode(sequence(encode(sequence(id(hash(d.signer)))), policies)) }),
		{name: "signingCertificate, version 1, in its place", field: "signedAttrs", problem: "have one that is not asked for",
			before: func(d *draft) { d.take(oidSigningCertificateV2); d.attributes = append(d.attributes, v1(d)) }},
		{name: "signingCertificate, version 1, besides", field: "signedAttrs", problem: "have one that is not asked for",
			before: func(d *draft) { d.attributes = append(d.attributes, v1(d)) }},
	}
}
