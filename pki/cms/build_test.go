package cms_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"sync"
	"testing"
	"time"

	"imza/pki"
	"imza/pki/cms"
)

// The builder below writes a SignedData with encoding/asn1, so that nothing it
// shares with the verifier, which reads by cryptobyte, can cancel out.

const (
	document = "Müqavilə No 17\n"
	text     = "Müqaviləni imzalayın"
)

// signedAt is fixed: what depends on the day would fail on another one.
var signedAt = time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)

var (
	oidData                 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCertificate   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertificateV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSMIMECapabilities    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 15}
	oidShownText            = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 1}

	oidMD5          = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}
	oidSHA1         = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidRSA          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidRSAPSS       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidECPublicKey  = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidECDSAWithSHA = map[crypto.Hash]asn1.ObjectIdentifier{
		crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2},
		crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3},
		crypto.SHA512: {1, 2, 840, 10045, 4, 3, 4},
	}
	oidRSAWithSHA = map[crypto.Hash]asn1.ObjectIdentifier{
		crypto.SHA256: {1, 2, 840, 113549, 1, 1, 11},
		crypto.SHA384: {1, 2, 840, 113549, 1, 1, 12},
		crypto.SHA512: {1, 2, 840, 113549, 1, 1, 13},
	}
	oidSHA = map[crypto.Hash]asn1.ObjectIdentifier{
		crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
		crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
		crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
	}
)

// hashNames are the digests that providers may ask for, as OpenSSL calls them.
var hashNames = map[crypto.Hash]string{crypto.SHA256: "sha256", crypto.SHA384: "sha384", crypto.SHA512: "sha512"}

// signer is a card's key and its certificate on record.
type signer struct {
	key  crypto.Signer
	cert *x509.Certificate
}

// rsaKey is shared, since making one takes longer than all that is done with it.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func openAuthority(t testing.TB) *pki.Authority {
	t.Helper()
	authority, err := pki.OpenAuthority(t.TempDir(), "http://127.0.0.1:8080", signedAt.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func issue(t testing.TB, authority *pki.Authority, key crypto.Signer) signer {
	t.Helper()
	holder := pki.Holder{FIN: "5ABC123", GivenName: "Aysel", Surname: "Əliyeva"}
	cert, err := authority.Issue(holder, pki.Signing, key.Public(), signedAt.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, cert}
}

func p256Signer(t testing.TB) signer {
	t.Helper()
	return issue(t, openAuthority(t), ecKey(t, elliptic.P256()))
}

// expect is what the gateway knows of a signature before it comes.
func expect(cert *x509.Certificate, hash crypto.Hash) *cms.Expectation {
	return &cms.Expectation{Certificate: cert, Hash: hash, Digest: sum(hash, []byte(document)), SigningTime: signedAt, ShownText: sha256.Sum256([]byte(text))}
}

func sum(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     asn1.RawValue // [0]
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	EncapContentInfo encapContentInfo
	Certificates     asn1.RawValue `asn1:"optional"` // [0]
	CRLs             asn1.RawValue `asn1:"optional"` // [1]
	SignerInfos      []signerInfo  `asn1:"set"`
}

type encapContentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"optional"` // [0]
}

type signerInfo struct {
	Version            int
	SID                asn1.RawValue
	DigestAlgorithm    pkix.AlgorithmIdentifier
	SignedAttrs        asn1.RawValue `asn1:"optional"` // [0]
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          asn1.RawValue
	UnsignedAttrs      asn1.RawValue `asn1:"optional"` // [1]
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// draft is a SignedData in the making: a test spoils it before or after sign.
type draft struct {
	signer
	hash        crypto.Hash
	contentType asn1.ObjectIdentifier
	sd          signedData
	si          signerInfo
	attributes  []attribute
	more        [][]byte // attributes that are not of that form
	unsorted    bool     // leave the attributes in the order in which they are
}

// newDraft fills in what makes a good SignedData of an expectation.
func newDraft(s signer, want *cms.Expectation) *draft {
	certHash := sha256.Sum256(want.Certificate.Raw)
	digest := pkix.AlgorithmIdentifier{Algorithm: oidSHA[want.Hash]}
	return &draft{
		signer: s, hash: want.Hash, contentType: oidSignedData,
		sd: signedData{
			Version:          1,
			DigestAlgorithms: []pkix.AlgorithmIdentifier{digest},
			EncapContentInfo: encapContentInfo{Type: oidData},
		},
		si: signerInfo{
			Version:            1,
			SID:                sequence(want.Certificate.RawIssuer, encode(want.Certificate.SerialNumber)),
			DigestAlgorithm:    digest,
			SignatureAlgorithm: signatureAlgorithm(s.key, want.Hash),
		},
		attributes: []attribute{
			{oidContentType, values(encode(oidData))},
			{oidMessageDigest, values(encode(want.Digest))},
			{oidSigningTime, values(encode(want.SigningTime.UTC()))},
			{oidSigningCertificateV2, values(ess(certHash[:]))},
			{oidShownText, values(encode(want.ShownText[:]))},
		},
	}
}

func signatureAlgorithm(key crypto.Signer, hash crypto.Hash) pkix.AlgorithmIdentifier {
	if _, ok := key.(*rsa.PrivateKey); ok {
		return pkix.AlgorithmIdentifier{Algorithm: oidRSAWithSHA[hash], Parameters: asn1.NullRawValue}
	}
	return pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA[hash]}
}

// ess is a SigningCertificateV2 with these fields in its one ESSCertIDv2.
func ess(hash []byte, more ...[]byte) []byte {
	id := sequence(append([][]byte{encode(hash)}, more...)...)
	return encode(sequence(encode(sequence(encode(id)))))
}

// sign writes the attributes and signs them.
func (d *draft) sign() { d.signOver(d.writeAttributes()) }

// writeAttributes returns what is to be signed.
func (d *draft) writeAttributes() []byte {
	attributes := d.more
	for _, a := range d.attributes {
		attributes = append(attributes, encode(a))
	}
	if !d.unsorted {
		slices.SortFunc(attributes, bytes.Compare)
	}
	d.si.SignedAttrs = tagged(0, attributes...)
	return encode(set(attributes...))
}

func (d *draft) signOver(message []byte) {
	signature, err := d.key.Sign(rand.Reader, sum(d.hash, message), d.hash)
	if err != nil {
		panic(err)
	}
	d.si.Signature = asn1.RawValue{Tag: asn1.TagOctetString, Bytes: signature}
}

// bytes writes the SignedData with the one SignerInfo, or with those that a
// test has put in.
func (d *draft) bytes() []byte {
	sd := d.sd
	if sd.SignerInfos == nil {
		sd.SignerInfos = []signerInfo{d.si}
	}
	return encode(contentInfo{d.contentType, tagged(0, encode(sd))})
}

// good is a SignedData as a card makes it.
func good(s signer, want *cms.Expectation) []byte {
	d := newDraft(s, want)
	d.sign()
	return d.bytes()
}

// values are those of the attribute of a type, to be spoiled in place.
func (d *draft) values(oid asn1.ObjectIdentifier) *[]asn1.RawValue {
	for i := range d.attributes {
		if d.attributes[i].Type.Equal(oid) {
			return &d.attributes[i].Values
		}
	}
	panic("no such attribute")
}

func (d *draft) set(oid asn1.ObjectIdentifier, value ...[]byte) { *d.values(oid) = values(value...) }

// take removes an attribute and returns it.
func (d *draft) take(oid asn1.ObjectIdentifier) attribute {
	i := slices.IndexFunc(d.attributes, func(a attribute) bool { return a.Type.Equal(oid) })
	taken := d.attributes[i]
	d.attributes = slices.Delete(d.attributes, i, i+1)
	return taken
}

func encode(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return der
}

func values(ders ...[]byte) []asn1.RawValue {
	list := []asn1.RawValue{}
	for _, der := range ders {
		list = append(list, asn1.RawValue{FullBytes: der})
	}
	return list
}

func sequence(parts ...[]byte) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: bytes.Join(parts, nil)}
}

func set(parts ...[]byte) asn1.RawValue {
	return asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(parts, nil)}
}

func tagged(tag int, parts ...[]byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: bytes.Join(parts, nil)}
}
