package cms_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.mozilla.org/pkcs7"

	"imza/pki/cms"
)

// secondOpinion is that of go.mozilla.org/pkcs7, which finds a signer only in
// what has the certificate inside. It panics on some of what is malformed.
func secondOpinion(der []byte, cert *x509.Certificate) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("pkcs7: panic: %v", r)
		}
	}()
	if len(der) > 4096 {
		return fmt.Errorf("pkcs7: %d octets are too many for it", len(der))
	}
	if complete, err := cms.AddCertificate(der, cert); err == nil {
		der = complete
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return err
	}
	p7.Content = []byte(document)
	return p7.Verify()
}

func TestPKCS7AcceptsWhatWeRelease(t *testing.T) {
	for _, s := range samples(t, openAuthority(t)) {
		if err := secondOpinion(s.der, s.want.Certificate); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

// folder is where openssl works, with the document and the anchors in it.
type folder string

func newFolder(t *testing.T, anchors []byte) folder {
	t.Helper()
	f := folder(t.TempDir())
	f.write(t, "document", []byte(document))
	f.write(t, "anchors.pem", anchors)
	return f
}

func (f folder) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(string(f), name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f folder) read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f folder) openssl(arguments ...string) error {
	command := exec.Command("openssl", arguments...)
	command.Dir = string(f)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("openssl %s: %w: %s", arguments[0], err, out)
	}
	return nil
}

// verify asks OpenSSL, as a provider would, at the time of signing.
func (f folder) verify(t *testing.T, der []byte) error {
	t.Helper()
	f.write(t, "signature", der)
	return f.openssl("cms", "-verify", "-cades", "-inform", "DER", "-in", "signature", "-content", "document", "-binary",
		"-CAfile", "anchors.pem", "-purpose", "any", "-attime", strconv.FormatInt(signedAt.Unix(), 10), "-out", os.DevNull)
}

func TestOpenSSLAcceptsWhatWeRelease(t *testing.T) {
	authority := openAuthority(t)
	f := newFolder(t, authority.Anchors())
	for _, s := range samples(t, authority) {
		complete, err := cms.AddCertificate(s.der, s.want.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.verify(t, complete); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}

// An oracle that says yes to all would prove nothing.
func TestOpenSSLRefusesWhatIsWrong(t *testing.T) {
	authority := openAuthority(t)
	s := issue(t, authority, ecKey(t, elliptic.P256()))
	der, err := cms.AddCertificate(good(s, expect(s.cert, crypto.SHA256)), s.cert)
	if err != nil {
		t.Fatal(err)
	}
	f := newFolder(t, authority.Anchors())
	if err := f.verify(t, der); err != nil {
		t.Fatal(err)
	}
	f.write(t, "document", []byte("another"))
	if f.verify(t, der) == nil {
		t.Error("accepted for another document")
	}
	f = newFolder(t, openAuthority(t).Anchors())
	if f.verify(t, der) == nil {
		t.Error("accepted with another authority's anchors")
	}
}

// OpenSSL writes issuerSerial into signingCertificateV2 and cannot write the
// shown text. So what it made is refused for the first, without that for the
// second, and with both mended, and signed by OpenSSL again, it is accepted: all
// the rest was in the form that is wanted.
func TestSignaturesMadeByOpenSSL(t *testing.T) {
	authority := openAuthority(t)
	for _, key := range []crypto.Signer{ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), rsaKey()} {
		s := issue(t, authority, key)
		for hash, hashName := range hashNames {
			name := keyName(key) + "/" + hashName
			f := newFolder(t, authority.Anchors())
			f.writeSigner(t, s)
			f.sign(t, "-cades", "-md", hashName)
			tree := parse(t, f.read(t, "signature"))
			want := expect(s.cert, hash)
			want.SigningTime, _ = time.Parse("060102150405Z", string(tree.signedAttribute(oidSigningTime).at(1, 0).content))
			refused(t, name, cms.Verify(tree.bytes(), want), "signingCertificateV2", "is not one SHA-256 of a certificate")

			*tree.signedAttribute(oidSigningCertificateV2) = *parse(t, encode(attribute{oidSigningCertificateV2, values(ess(sum(crypto.SHA256, s.cert.Raw)))}))
			f.resign(t, tree, hashName)
			refused(t, name+" without issuerSerial", cms.Verify(tree.bytes(), want), "shownText", "is absent")

			shown := parse(t, encode(attribute{oidShownText, values(encode(want.ShownText[:]))}))
			tree.at(pathSignedAttrs...).children = append(tree.at(pathSignedAttrs...).children, shown)
			f.resign(t, tree, hashName)
			if err := cms.Verify(tree.bytes(), want); err != nil {
				t.Errorf("%s, mended: %v", name, err)
			}
			// OpenSSL names rsaEncryption alone, a card names the digest too.
			*tree.at(pathSignatureAlgorithm...) = *parse(t, encode(signatureAlgorithm(key, hash)))
			sameAsAssembled(t, name, tree.bytes(), want)
		}
	}
}

// What a provider might be sent by another card or gateway, each refused for
// what is peculiar to it.
func TestOtherFormsMadeByOpenSSLAreRefused(t *testing.T) {
	authority := openAuthority(t)
	s := issue(t, authority, ecKey(t, elliptic.P256()))
	want := expect(s.cert, crypto.SHA256)
	f := newFolder(t, authority.Anchors())
	f.writeSigner(t, s)
	for _, c := range []struct {
		options        []string
		field, problem string
	}{
		{[]string{"-cades", "-md", "sha256"}, "signingTime", "is not the time in the challenge"},
		{[]string{"-cades", "-md", "sha256", "-nodetach"}, "encapContentInfo", ""},
		{[]string{"-md", "sha256", "-noattr"}, "signedAttrs", "are absent"},
		{[]string{"-cades", "-md", "sha256", "-keyid"}, "SignedData.version", ""},
		{[]string{"-cades", "-md", "sha1"}, "digestAlgorithms", ""},
		{[]string{"-cades", "-md", "sha512"}, "digestAlgorithms", ""},
		{[]string{"-cades", "-md", "sha256", "-stream"}, "ContentInfo", "in DER"},
		{[]string{"-cades", "-md", "sha256", "-econtent_type", "1.2.840.113549.1.9.16.1.4"}, "SignedData.version", ""},
		{[]string{"-cades", "-md", "sha256", "-certfile", "anchors.pem"}, "certificates", ""},
	} {
		f.sign(t, c.options...)
		refused(t, strings.Join(c.options, " "), cms.Verify(f.read(t, "signature"), want), c.field, c.problem)
	}
}

// sign makes a SignedData in the file signature.
func (f folder) sign(t *testing.T, options ...string) {
	t.Helper()
	if err := f.openssl(append([]string{"cms", "-sign", "-binary", "-nocerts", "-nosmimecap", "-in", "document",
		"-signer", "cert.pem", "-inkey", "key.pem", "-outform", "DER", "-out", "signature"}, options...)...); err != nil {
		t.Fatal(err)
	}
}

// resign puts the signed attributes in DER order and has OpenSSL sign them.
func (f folder) resign(t *testing.T, n *node, hashName string) {
	t.Helper()
	f.write(t, "attributes", n.sortedAttributes())
	if err := f.openssl("dgst", "-"+hashName, "-sign", "key.pem", "-out", "raw", "attributes"); err != nil {
		t.Fatal(err)
	}
	n.at(pathSignature...).content = f.read(t, "raw")
}

func (f folder) writeSigner(t *testing.T, s signer) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	f.write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}
