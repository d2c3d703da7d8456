package pki_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"imza/pki"
)

var update = flag.Bool("update", false, "make testdata/requests.json anew, with new keys")

// storedFile holds requests, made once by TestStoredRequests with -update, so
// that what a fuzzer finds stays found.
const storedFile = "testdata/requests.json"

type stored struct {
	ICCID   string
	Good    []storedRequest // by OpenSSL
	Hostile []storedRequest
}

type storedRequest struct {
	Name    string
	Field   string `json:",omitempty"` // that the refusal names
	Problem string `json:",omitempty"`
	Request []byte
}

// readStored reads the file, which must hold requests of either kind.
func readStored(t testing.TB) (file stored) {
	t.Helper()
	raw, err := os.ReadFile(storedFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Good) == 0 || len(file.Hostile) == 0 || file.ICCID != iccid {
		t.Fatalf("%s is empty or of another card: make it anew with -update", storedFile)
	}
	return file
}

func TestStoredRequests(t *testing.T) {
	if *update {
		writeStored(t)
	}
	file := readStored(t)
	for _, s := range file.Good {
		if _, err := pki.CheckRequest(s.Request, iccid); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		_, err := pki.CheckRequest(s.Request, otherICCID)
		refusedRequest(t, s.Name, err, "subject", "is another card")
	}
	for _, s := range file.Hostile {
		_, err := pki.CheckRequest(s.Request, iccid)
		refusedRequest(t, s.Name, err, s.Field, s.Problem)
	}
}

func writeStored(t *testing.T) {
	t.Helper()
	f, key := folder(t.TempDir()), ecKey(t, elliptic.P256())
	file := stored{ICCID: iccid}
	for _, c := range goodRequests {
		der := f.request(t, requestConfig, append(newKey(c.key), c.hash, "-subj", "/serialNumber="+iccid)...)
		file.Good = append(file.Good, storedRequest{Name: c.name, Request: der})
	}
	for _, h := range hostileRequests(t) {
		d := newDraft(key)
		h.change(d)
		file.Hostile = append(file.Hostile, storedRequest{h.name, h.field, h.problem, d.bytes()})
	}
	raw, err := json.MarshalIndent(file, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(storedFile, append(raw, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// FuzzCheckRequest looks for octets that are accepted and yet are not the one
// request of this key and this card, as encoding/asn1 writes it.
func FuzzCheckRequest(f *testing.F) {
	file := readStored(f)
	for _, s := range slices.Concat(file.Good, file.Hostile) {
		f.Add(s.Request, iccid)
	}
	f.Add(file.Good[0].Request, otherICCID)
	f.Add([]byte{}, "")
	f.Add([]byte(strings.Repeat("\x30\x80", 512)), iccid)
	f.Fuzz(func(t *testing.T, der []byte, iccid string) {
		before := slices.Clone(der)
		public, err := pki.CheckRequest(der, iccid)
		if !slices.Equal(der, before) {
			t.Error("its input was changed")
		}
		if err != nil {
			if public != nil || !strings.HasPrefix(err.Error(), "pki: request: ") {
				t.Errorf("%v besides %v", public, err)
			}
			return
		}
		info := sequence(encode(0), sequence(rdn(oidSerialNumber, tagPrintable, iccid)), keyInfo(public), element(tagAttributes))
		request, err := x509.ParseCertificateRequest(der)
		if err != nil || request.CheckSignature() != nil || !bytes.Equal(request.RawTBSCertificateRequest, info) {
			t.Fatalf("accepted, though x509 reads another: %x", der)
		}
		algorithms := [][]byte{algorithm(oidECDSASHA256), algorithm(oidECDSASHA384)}
		if _, ok := public.(*rsa.PublicKey); ok {
			algorithms = [][]byte{algorithm(oidSHA256WithRSA, null)}
		}
		if !slices.ContainsFunc(algorithms, func(a []byte) bool { return bytes.Equal(der, sequence(info, a, bits(request.Signature))) }) {
			t.Errorf("accepted, though of another form: %x", der)
		}
	})
}
