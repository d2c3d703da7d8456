package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

const mebibyte = 1 << 20

// withDocument puts a document of n octets into a request, as its last field.
func withDocument(t *testing.T, request map[string]any, n int) (body string, document []byte) {
	t.Helper()
	document = bytes.Repeat([]byte{'d'}, n)
	encoded := strings.Repeat("ZGRk", n/3) + base64.StdEncoding.EncodeToString(document[n/3*3:])
	text := strings.TrimSuffix(quoted(t, with(request, "digest", nil)), "}")
	return text + `,"document":"` + encoded + `"}`, document
}

func TestDocumentOfTenMebibytesIsTheLargest(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})

	tooLarge, _ := withDocument(t, who.Request(), 10*mebibyte+1)
	s.Do(t, "POST", "/v1/signatures", key, tooLarge).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
	noTransaction(t, s)

	body, document := withDocument(t, who.Request(), 10*mebibyte)
	got := s.End(t, key, s.Ask(t, key, body).ID)
	if got.Status != "signed" {
		t.Fatalf("ended as %s", got.Status)
	}
	verify(t, got, document)
	digest := sha256.Sum256(document)
	if want := code(digest[:]); got.VerificationCode != want {
		t.Errorf("the code is %s, by the document's digest %s", got.VerificationCode, want)
	}
}

// A body that can hold no good document is not read to its end, whether its
// length is told or not.
func TestHugeBodyIsNotReadWhole(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	body, _ := withDocument(t, who.Request(), 30*mebibyte/4*3)
	for name, body := range map[string]any{
		"told":     body,
		"not told": io.MultiReader(strings.NewReader(body)),
		"blanks":   strings.Repeat(" ", 30*mebibyte),
	} {
		before := s.Uploaded.Load()
		s.Do(t, "POST", "/v1/signatures", key, body).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
		if read := s.Uploaded.Load() - before; read > 15*mebibyte {
			t.Errorf("%s: %d of 30 MiB were read", name, read/mebibyte)
		}
	}
	noTransaction(t, s)
	if n := s.SubmittedAll(); n != 0 {
		t.Errorf("%d messages went to the operator", n)
	}
}
