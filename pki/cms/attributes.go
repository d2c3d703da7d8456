package cms

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// attribute is one of the signed attributes that a signature must have.
type attribute struct {
	name  string
	oid   []byte // as a TLV
	check func(p *parser, value cryptobyte.String) (problem string)
	write func(w *Expectation, b []byte) []byte // appends the one value
}

// attributes are all that may be there, and all must be, once.
var attributes = [...]attribute{
	{"contentType", oidContentType, (*parser).checkContentType, (*Expectation).writeContentType},
	{"messageDigest", oidMessageDigest, (*parser).checkMessageDigest, (*Expectation).writeMessageDigest},
	{"signingTime", oidSigningTime, (*parser).checkSigningTime, (*Expectation).writeSigningTime},
	{"signingCertificateV2", oidSigningCertificateV2, (*parser).checkSigningCertificate, (*Expectation).writeSigningCertificate},
	{"shownText", oidShownText, (*parser).checkShownText, (*Expectation).writeShownText},
}

// attributes reads the SET OF attributes. They are in DER order, strictly, so
// none is there twice: two of one type that both pass their check would be
// equal.
func (p *parser) attributes(s cryptobyte.String) error {
	var seen [len(attributes)]bool
	var before []byte
	for !s.Empty() {
		var element cryptobyte.String
		if !s.ReadASN1Element(&element, asn1.SEQUENCE) {
			return p.fail(s, "signedAttrs", "are not attributes in DER")
		}
		if bytes.Compare(before, element) >= 0 {
			return p.fail(s, "signedAttrs", "are not in DER order")
		}
		before = element
		i, problem := p.attribute(element)
		if problem != "" {
			name := "signedAttrs"
			if i >= 0 {
				name = attributes[i].name
			}
			return p.fail(s, name, problem)
		}
		seen[i] = true
	}
	for i, ok := range seen {
		if !ok {
			return p.fail(s, attributes[i].name, "is absent")
		}
	}
	return nil
}

func (p *parser) attribute(element cryptobyte.String) (index int, problem string) {
	var content, values cryptobyte.String
	element.ReadASN1(&content, asn1.SEQUENCE) // its tag and length were read before
	for i := range attributes {
		if !readExactly(&content, attributes[i].oid) {
			continue
		}
		if !content.ReadASN1(&values, asn1.SET) || !content.Empty() {
			return i, "is not a SET of values"
		}
		return i, attributes[i].check(p, values)
	}
	return -1, "have one that is not asked for"
}

func (p *parser) checkContentType(values cryptobyte.String) string {
	if !bytes.Equal(values, oidData) {
		return "is not id-data alone"
	}
	return ""
}

func (p *parser) checkMessageDigest(values cryptobyte.String) string {
	return checkDigest(values, p.want.Digest)
}

func (p *parser) checkShownText(values cryptobyte.String) string {
	return checkDigest(values, p.want.ShownText[:])
}

func checkDigest(values cryptobyte.String, want []byte) string {
	var digest cryptobyte.String
	if !values.ReadASN1(&digest, asn1.OCTET_STRING) || !values.Empty() {
		return "is not one OCTET STRING"
	}
	if subtle.ConstantTimeCompare(digest, want) != 1 {
		return "is another digest"
	}
	return ""
}

// timeForm is UTCTime from 1950 until 2049 and GeneralizedTime before and after,
// to the second, with Z (RFC 5652 §11.3).
func timeForm(at time.Time) (tag asn1.Tag, layout string) {
	if year := at.Year(); 1950 <= year && year < 2050 {
		return asn1.UTCTime, "060102150405Z"
	}
	return asn1.GeneralizedTime, "20060102150405Z"
}

func (p *parser) checkSigningTime(values cryptobyte.String) string {
	at := p.want.SigningTime.UTC()
	tag, layout := timeForm(at)
	var value cryptobyte.String
	if !values.ReadASN1(&value, tag) || !values.Empty() {
		return "is not one time"
	}
	var buffer [len("20060102150405Z")]byte
	if !bytes.Equal(value, at.AppendFormat(buffer[:0], layout)) {
		return "is not the time in the challenge, " + at.Format(time.RFC3339)
	}
	return ""
}

// checkSigningCertificate wants one ESSCertIDv2 by SHA-256, the default, which
// DER leaves out, and without issuerSerial (RFC 5035 §3; EN 319 122-1 §5.2.2.3
// advises against it).
func (p *parser) checkSigningCertificate(values cryptobyte.String) string {
	var signingCertificate, ids, id, hash cryptobyte.String
	if !values.ReadASN1(&signingCertificate, asn1.SEQUENCE) || !values.Empty() ||
		!signingCertificate.ReadASN1(&ids, asn1.SEQUENCE) || !signingCertificate.Empty() ||
		!ids.ReadASN1(&id, asn1.SEQUENCE) || !ids.Empty() ||
		!id.ReadASN1(&hash, asn1.OCTET_STRING) || !id.Empty() {
		return "is not one SHA-256 of a certificate"
	}
	own := sha256.Sum256(p.want.Certificate.Raw)
	if subtle.ConstantTimeCompare(hash, own[:]) != 1 {
		return "is of another certificate"
	}
	return ""
}
