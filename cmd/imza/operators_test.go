package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/smpp"
)

// The numbers of Azerbaijan's operators, by the file that is shipped.
func TestShippedOperators(t *testing.T) {
	o, err := readOperators("")
	if err != nil {
		t.Fatal(err)
	}
	var n smpp.Network
	if err := o.fill(&n, emulatedAt{addr: "127.0.0.1:1"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for number, want := range map[string]string{
		"994501234567": "azercell", "994511234567": "azercell", "994101234567": "azercell",
		"994551234567": "bakcell", "994991234567": "bakcell",
		"994701234567": "nar", "994771234567": "nar", "994121234567": "", "905001234567": "",
	} {
		got := ""
		if p := n.Operator(number); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
	}
}

// The comments of the shipped file show a message centre; it must be as the
// program wants it.
func TestShippedExampleOfAnSMSC(t *testing.T) {
	dir := t.TempDir()
	var example strings.Builder
	inExample := false
	for line := range strings.Lines(string(defaultOperators)) {
		if inExample = inExample || strings.HasPrefix(line, "    # smsc:"); inExample && strings.HasPrefix(line, "    #") {
			line = strings.Replace(line, "    # ", "    ", 1)
		}
		example.WriteString(line)
	}
	path := filepath.Join(dir, "operators.yaml")
	write(t, path, example.String())
	write(t, filepath.Join(dir, "nar.password"), "s3cret\n")
	_, ca := certificate(t)
	write(t, filepath.Join(dir, "nar.pem"), string(ca))
	o, err := readOperators(path)
	if err != nil {
		t.Fatalf("%v in\n%s", err, example.String())
	}
	var n smpp.Network
	if err := o.fill(&n, emulatedAt{}, nil, nil); err != nil {
		t.Fatal(err)
	}
	p := n.Operator("994701234567")
	if p.Addr != "smsc.example.az:2776" || p.Bind.Password != "s3cret" || p.Binds != 2 || p.Rate != 200 || p.TLS == nil ||
		p.IDs != (smpp.IDs{Response: 16, Receipt: 10}) || p.Options.Window != 100 || p.Options.Timeout != 10*time.Second {
		t.Errorf("%+v", p)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// certificate is for a server on the loopback, and whom to trust for it.
func certificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smsc"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// secureSMSC is an operator's message centre behind TLS, with one account that
// may bind twice.
func secureSMSC(t *testing.T) (addr string, ca []byte, submitted <-chan *smpp.ShortMessage) {
	t.Helper()
	own, ca := certificate(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan *smpp.ShortMessage, 10)
	server := &smpp.Server{
		Account: func(id string) (smpp.Account, bool) { return smpp.Account{Password: "s3cret", Binds: 2}, id == "imza" },
		Options: smpp.Options{SystemID: "secure", Handler: func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
			taken <- m
			return "1", smpp.StatusOK
		}},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String(), ca, taken
}

// An operator with a message centre of its own, behind TLS, bound as a pair,
// and a number that was ported to it.
func TestOperatorsFile(t *testing.T) {
	addr, ca, submitted := secureSMSC(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(ca))
	write(t, filepath.Join(dir, "password"), "s3cret\nnot this\n")
	write(t, filepath.Join(dir, "ported.csv"), "# number, operator\n"+string(demoMSISDN(2))+", other\n")
	path := filepath.Join(dir, "operators.yaml")
	write(t, path, `
operators:
  - name: azercell
    prefixes: ["+99450"]
  - name: other
    prefixes: ["+99460"]
    smsc:
      addr: `+addr+`
      system_id: imza
      password_file: password
      mode: pair
      tls: {ca_file: ca.pem}
ported_file: ported.csv
`)
	status, out, said := (&program{}).imza(t, "smpp", "ping", "--operators", path, "--operator", "other")
	if status != exitOK || !strings.Contains(out, `system_id "secure"`) || !strings.Contains(out, "TLS 1.3") || !strings.Contains(out, "3 of 3 answered") {
		t.Errorf("ping: %d\n%s%s", status, out, said)
	}
	p := boot(t, upCommand{Operators: path, Think: 10 * time.Millisecond})
	for n, want := range map[int]string{1: "signed", 2: "expired"} {
		status, _, said := p.imza(t, "sign", "--in", document(t), "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--timeout", "5")
		if (status == exitOK) != (want == "signed") || want != "signed" && !strings.Contains(said, want) {
			t.Errorf("subscriber %d: %d %s, want %s", n, status, said, want)
		}
	}
	select {
	case m := <-submitted:
		if m.Dest.Addr != demoMSISDN(2).Digits() {
			t.Errorf("to %s", m.Dest.Addr)
		}
	default:
		t.Error("the ported number's challenge did not go to its operator")
	}
	metrics := p.metrics(t)
	for _, want := range []string{
		`imza_smpp_bind_up{bind="1",operator="azercell"} 1`,
		`imza_smpp_bind_up{bind="1",operator="other"} 1`,
		`imza_smpp_bind_up{bind="2",operator="other"} 1`,
		`imza_smpp_submits_total{bind="1",operator="azercell"} [1-9]`,
		`imza_smpp_submits_total{bind="1",operator="other"} [1-9]`,
		`imza_smpp_submits_total{bind="2",operator="other"} 0`, // it only receives
		`imza_smpp_response_seconds_count{bind="1",operator="azercell"} [1-9]`,
		`imza_smpp_rate_limit{operator="azercell"} \+Inf`,
	} {
		if !regexp.MustCompile(regexp.MustCompile(`[{}]`).ReplaceAllString(want, `\$0`)).MatchString(metrics) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func (p *program) metrics(t *testing.T) string {
	t.Helper()
	answer, err := http.Get(p.url() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPing(t *testing.T) {
	p := boot(t, upCommand{})
	ping := func(password string, more ...string) (int, string, string) {
		return p.imza(t, append([]string{"smpp", "ping", p.SMPPAddr, "--password", password, "--interval", "1ms"}, more...)...)
	}
	status, out, said := ping(p.password, "--system-id", "nar", "--count", "5")
	if status != exitOK || !strings.Contains(out, "as transmitter in") || !strings.Contains(out, `system_id "imza-smsc"`) ||
		!strings.Contains(out, "sc_interface_version 3.4") || !strings.Contains(out, "5 of 5 answered, least ") {
		t.Errorf("%d\n%s%s", status, out, said)
	}
	if status, _, said := ping("wrong", "--system-id", "nar"); status != exitFailure || !strings.Contains(said, "refuses the bind: status 0x0e, invalid password") {
		t.Errorf("%d %s", status, said)
	}
	if status, _, said := ping(p.password, "--system-id", "nobody"); status != exitFailure || !strings.Contains(said, "status 0x0f") {
		t.Errorf("%d %s", status, said)
	}
	addr, _, _ := secureSMSC(t)
	if status, _, said := p.imza(t, "smpp", "ping", addr, "--tls", "--timeout", "2s"); status != exitFailure || !strings.Contains(said, "unknown authority") {
		t.Errorf("%d %s", status, said)
	}
	// One that takes the connection and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	if status, _, said := p.imza(t, "smpp", "ping", silent.Addr().String(), "--timeout", "300ms"); status != exitFailure || !strings.Contains(said, "not answered in time") {
		t.Errorf("%d %s", status, said)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
