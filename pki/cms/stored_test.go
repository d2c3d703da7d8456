package cms_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/pki/cms"
)

var update = flag.Bool("update", false, "make testdata/signatures.json anew, with a new key")

// storedFile holds signatures of one key, made once by TestStoredSignatures
// with -update, so that what a fuzzer finds stays found.
const storedFile = "testdata/signatures.json"

type stored struct {
	Document    string
	Text        string
	SigningTime time.Time
	Certificate []byte
	Good        []storedSignature
	Hostile     []storedSignature
}

type storedSignature struct {
	Name      string
	Field     string `json:",omitempty"` // that the refusal names
	Problem   string `json:",omitempty"`
	Signature []byte
}

// readStored reads the file, which must hold signatures of either kind.
func readStored(t testing.TB) (stored, *cms.Expectation) {
	t.Helper()
	raw, err := os.ReadFile(storedFile)
	if err != nil {
		t.Fatal(err)
	}
	var file stored
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Good) == 0 || len(file.Hostile) == 0 {
		t.Fatalf("%s is empty", storedFile)
	}
	cert, err := x509.ParseCertificate(file.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if file.Document != document || file.Text != text || !file.SigningTime.Equal(signedAt) {
		t.Fatalf("%s is of another document, text or time: make it anew with -update", storedFile)
	}
	return file, expect(cert, crypto.SHA256)
}

func TestStoredSignatures(t *testing.T) {
	if *update {
		writeStored(t)
	}
	file, want := readStored(t)
	for _, s := range file.Good {
		if err := cms.Verify(s.Signature, want); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	for _, s := range file.Hostile {
		refused(t, s.Name, cms.Verify(s.Signature, want), s.Field, s.Problem)
	}
}

func writeStored(t *testing.T) {
	t.Helper()
	authority := openAuthority(t)
	s, other := issue(t, authority, ecKey(t, elliptic.P256())), issue(t, authority, ecKey(t, elliptic.P256()))
	want := expect(s.cert, crypto.SHA256)
	file := stored{Document: document, Text: text, SigningTime: signedAt, Certificate: s.cert.Raw}
	for _, form := range goodForms() {
		file.Good = append(file.Good, storedSignature{Name: form.name, Signature: form.make(s, want)})
	}
	for _, h := range allHostile(other) {
		file.Hostile = append(file.Hostile, storedSignature{h.name, h.field, h.problem, h.make(s, want)})
	}
	raw, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(storedFile, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goodForms are all the forms that a good P-256 signature may have.
func goodForms() []hostile {
	null := func(d *draft) {
		d.sd.DigestAlgorithms[0].Parameters, d.si.DigestAlgorithm.Parameters = asn1.NullRawValue, asn1.NullRawValue
	}
	certificate := func(d *draft) { d.sd.Certificates = tagged(0, d.cert.Raw) }
	return []hostile{
		{name: "parameters absent"},
		{name: "parameters NULL", after: null},
		{name: "parameters absent, with the certificate", after: certificate},
		{name: "parameters NULL, with the certificate", after: func(d *draft) { null(d); certificate(d) }},
	}
}

// FuzzVerify looks for octets that are accepted and yet are none of the four
// forms, nor a signature to pkcs7. Only the signature's own octets may differ:
// whoever has one of ECDSA can make a second out of it (with n-s for s).
func FuzzVerify(f *testing.F) {
	file, want := readStored(f)
	var forms []string
	for _, s := range file.Good {
		f.Add(s.Signature)
		forms = append(forms, withoutSignature(f, s.Signature))
	}
	for _, s := range file.Hostile {
		f.Add(s.Signature)
	}
	f.Add([]byte{})
	f.Add([]byte(strings.Repeat("\x30\x80", 512)))
	f.Fuzz(func(t *testing.T, der []byte) {
		before := slices.Clone(der)
		err := cms.Verify(der, want)
		if !slices.Equal(der, before) {
			t.Error("its input was changed")
		}
		if err != nil {
			return
		}
		if !slices.Equal(parse(t, der).bytes(), der) {
			t.Errorf("accepted, though not DER: %x", der)
		}
		if !slices.Contains(forms, withoutSignature(t, der)) {
			t.Errorf("accepted, though of none of the forms: %x", der)
		}
		if err := secondOpinion(der, want.Certificate); err != nil {
			t.Errorf("accepted, though not by pkcs7 (%v): %x", err, der)
		}
	})
}

// withoutSignature is a SignedData with nothing for a signature.
func withoutSignature(t testing.TB, der []byte) string {
	t.Helper()
	tree := parse(t, der)
	path := slices.Clone(pathSignature)
	if len(tree.at(1, 0).children) == 5 {
		path[2]++ // behind the certificates
	}
	tree.at(path...).content = nil
	return string(tree.bytes())
}
