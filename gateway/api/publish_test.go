package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ocsp"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// published is a stack whose folder has what openssl wants to see in files, and
// a subscriber.
type published struct {
	*gatewaytest.Stack
	dir string
	who *gatewaytest.Subscriber
}

// publish needs Redis for nothing, so one of them will do.
func publish(t *testing.T) *published {
	t.Helper()
	p := &published{Stack: gatewaytest.Start(t, redistest.Start(t).Addr), dir: t.TempDir()}
	p.who = p.Enrol(t, gatewaytest.Person{})
	p.file(t, "holder.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.who.Certificates[0].X509.Raw}))
	return p
}

func (p *published) file(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fetch puts what a path serves into a file.
func (p *published) fetch(t *testing.T, path, contentType, name string) {
	t.Helper()
	a := p.Do(t, "GET", path, "", nil)
	if a.Status != http.StatusOK || a.Header.Get("Content-Type") != contentType {
		t.Fatalf("%s: %d, %s", path, a.Status, a.Header.Get("Content-Type"))
	}
	p.file(t, name, a.Body)
}

// openssl must end well, and say all of it.
func (p *published) openssl(t *testing.T, args string, want ...string) {
	t.Helper()
	command := exec.Command("openssl", strings.Fields(args)...)
	command.Dir = p.dir
	said, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("openssl %s: %v\n%s", args, err, said)
	}
	for _, w := range want {
		if !strings.Contains(string(said), w) {
			t.Errorf("openssl %s does not say %q but\n%s", args, w, said)
		}
	}
}

func (p *published) set(t *testing.T, state registry.State) {
	t.Helper()
	if err := p.Registry.SetCertificateState(t.Context(), p.who.Certificates[0].Serial, state, registry.Change{}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSSLReadsWhatIsPublished(t *testing.T) {
	p := publish(t)
	p.fetch(t, "/pki/ca.pem", "application/x-pem-file", "ca.pem")
	p.fetch(t, "/pki/issuing.crt", "application/pkix-cert", "issuing.crt")
	p.openssl(t, "x509 -inform DER -in issuing.crt -out issuing.pem")
	p.openssl(t, "x509 -in issuing.pem -noout -subject", "imza issuing")
	p.openssl(t, "verify -x509_strict -CAfile ca.pem holder.pem", "holder.pem: OK")

	// The addresses in the certificate are those that are served here.
	for _, address := range []string{"/pki/ocsp", "/pki/issuing.crt", "/pki/issuing.crl"} {
		p.openssl(t, "x509 -in holder.pem -noout -text", "URI:"+p.URL+address)
	}

	serial := strings.ToUpper(p.who.Certificates[0].Serial)
	for _, c := range []struct {
		state            registry.State
		listed, verified string
	}{
		{"active", "No Revoked Certificates", ""},
		{"suspended", "Certificate Hold", "23"}, // X509_V_ERR_CERT_REVOKED
		{"active", "No Revoked Certificates", ""},
		{"revoked", serial, "23"},
	} {
		p.set(t, c.state)
		p.fetch(t, "/pki/issuing.crl", "application/pkix-crl", "issuing.crl")
		p.openssl(t, "crl -inform DER -in issuing.crl -CAfile ca.pem -noout -text", "verify OK", c.listed)
		p.openssl(t, "crl -inform DER -in issuing.crl -out crl.pem")
		judged := exec.Command("openssl", "verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "holder.pem")
		judged.Dir = p.dir
		said, err := judged.CombinedOutput()
		if good := c.verified == ""; good != (err == nil) || !good && !strings.Contains(string(said), "error "+c.verified+" ") {
			t.Errorf("%s: openssl verify: %v %s", c.state, err, said)
		}
	}
}

func TestOpenSSLAsksOCSP(t *testing.T) {
	p := publish(t)
	p.fetch(t, "/pki/ca.pem", "application/x-pem-file", "ca.pem")
	p.fetch(t, "/pki/issuing.crt", "application/pkix-cert", "issuing.crt")
	p.openssl(t, "x509 -inform DER -in issuing.crt -out issuing.pem")
	ask := "ocsp -issuer issuing.pem -CAfile ca.pem -url " + p.URL + "/pki/ocsp"
	for _, c := range []struct {
		state registry.State
		want  string
	}{
		{"active", "holder.pem: good"}, {"suspended", "Reason: certificateHold"}, {"active", "holder.pem: good"}, {"revoked", "holder.pem: revoked"},
	} {
		p.set(t, c.state)
		p.openssl(t, ask+" -cert holder.pem", "Response verify OK", c.want)
		p.openssl(t, ask+" -sha256 -cert holder.pem", "Response verify OK", c.want)
	}
	p.openssl(t, ask+" -serial 0x1234", "Response verify OK", "0x1234: unknown")
}

// The same answers by GET, with the request in the path as clients write it.
func TestOCSPByGET(t *testing.T) {
	p := publish(t)
	certificate := p.who.Certificates[0].X509
	request, err := ocsp.CreateRequest(certificate, p.Authority.Issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) []byte {
		t.Helper()
		a := p.Do(t, "GET", path, "", nil)
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/ocsp-response" {
			t.Errorf("%s: %d, %s", path, a.Status, a.Header.Get("Content-Type"))
		}
		return a.Body
	}
	text := base64.StdEncoding.EncodeToString(request)
	answer, err := ocsp.ParseResponseForCert(get("/pki/ocsp/"+url.PathEscape(text)), certificate, p.Authority.Issuing)
	if err != nil || answer.Status != ocsp.Good {
		t.Errorf("by GET: %+v, %v", answer, err)
	}
	for name, path := range map[string]string{
		"not base64": "/pki/ocsp/!!!", "not a request": "/pki/ocsp/AAAA", "too long": "/pki/ocsp/" + strings.Repeat("AAAA", 2000),
		"cut off": "/pki/ocsp/" + url.PathEscape(base64.StdEncoding.EncodeToString(request[:len(request)-5])),
	} {
		if got := get(path); !bytes.Equal(got, ocsp.MalformedRequestErrorResponse) {
			t.Errorf("%s is answered with %x", name, got)
		}
	}
	const requestType = "application/ocsp-request"
	for name, body := range map[string][]byte{"not a request": []byte("hello"), "too long": append(request, make([]byte, 1<<20)...)} {
		a := p.Do(t, "POST", "/pki/ocsp", "", body, "Content-Type", requestType)
		if a.Status != http.StatusOK || !bytes.Equal(a.Body, ocsp.MalformedRequestErrorResponse) {
			t.Errorf("%s is answered %d, %x", name, a.Status, a.Body)
		}
	}
	// Of another authority's certificate nothing is said.
	stranger := publish(t)
	request, err = ocsp.CreateRequest(stranger.who.Certificates[0].X509, stranger.Authority.Issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Do(t, "POST", "/pki/ocsp", "", request, "Content-Type", requestType); !bytes.Equal(a.Body, ocsp.UnauthorizedErrorResponse) {
		t.Errorf("another authority's is answered with %x", a.Body)
	}
}
