package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"imza/policy/redistest"
)

func TestMain(m *testing.M) {
	// A program with the race detector sleeps for a second when it ends, to see
	// what its goroutines do meanwhile.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=20")
	testscript.Main(m, map[string]func(){"imza": main})
}

// boots runs the whole program in some surrounding, and stops it with the test.
type boots func(t *testing.T, config upCommand) *program

// boot is the nearest: all is in this process.
func boot(t *testing.T, config upCommand) *program {
	t.Helper()
	return bootLogging(t, config, t.Output())
}

func bootLogging(t *testing.T, config upCommand, log io.Writer) *program {
	t.Helper()
	config.HTTP, config.SMPP = "127.0.0.1:0", "127.0.0.1:0"
	if config.Data == "" {
		config.Data = t.TempDir()
	}
	if config.PromptLimit == 0 {
		config.PromptLimit = 10
	}
	p, err := start(t.Context(), &config, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

// surroundings are what the suite of the signing path runs in: the embedded
// Redis and a real one, and with the build tag pcsc once more with all cards in
// readers.
var surroundings = []surrounding{
	{"embedded", func(*testing.T) boots { return boot }},
	{"redis-server", func(t *testing.T) boots {
		url := "redis://" + redistest.Start(t).Addr
		return func(t *testing.T, config upCommand) *program {
			config.Redis = url
			return boot(t, config)
		}
	}},
}

// withReaders tells whether this is built with the tag pcsc.
var withReaders bool

type surrounding struct {
	name string
	open func(t *testing.T) boots
}

// inEach runs a test in each surrounding.
func inEach(t *testing.T, test func(t *testing.T, boot boots)) {
	for _, s := range surroundings {
		t.Run(s.name, func(t *testing.T) { test(t, s.open(t)) })
	}
}

// imza runs a command against a program, as a shell would that has sourced
// demo.env.
func (p *program) imza(t *testing.T, args ...string) (status int, out, errors string) {
	t.Helper()
	key := ""
	switch args[0] {
	case "sign":
		key = p.demo.providerKey
	case "block", "unblock", "blocks", "audit", "import":
		key = p.demo.adminKey
	}
	if key != "" {
		args = append(args, "--url", p.url())
	}
	if key != "" && !slices.Contains(args, "--key") { // that of somebody else
		args = append(args, "--key", key)
	}
	var o, e bytes.Buffer
	status = run(t.Context(), args, streams{&o, &e})
	return status, o.String(), e.String()
}

// document writes a file to be signed.
func document(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "contract.txt")
	if err := os.WriteFile(path, []byte("Müqavilə № 12/26: 250 ₼\n"+t.Name()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opensslVerify judges a signature with OpenSSL, as CAdES.
func opensslVerify(t *testing.T, p *program, signature, document string) {
	t.Helper()
	out, err := exec.Command("openssl", "cms", "-verify", "-cades", "-inform", "DER", "-in", signature, "-content", document,
		"-binary", "-CAfile", filepath.Join(p.config.Data, "ca.pem"), "-purpose", "any", "-out", os.DevNull).CombinedOutput()
	if err != nil {
		t.Errorf("openssl cms -verify: %v\n%s", err, out)
	}
}

// Every demo subscriber ends as the table says, which the README repeats.
func TestDemoSubscribers(t *testing.T) {
	inEach(t, func(t *testing.T, boot boots) {
		p := boot(t, upCommand{Think: 20 * time.Millisecond})
		for i, s := range demoSubscribers {
			if s.away && len(p.config.PCSC) > 0 { // it is in a reader
				s.ends = "signed"
			}
			t.Run(fmt.Sprintf("%02d %s", i+1, s.does), func(t *testing.T) {
				in := document(t)
				args := []string{"sign", "--in", in, "--msisdn", string(demoMSISDN(i + 1)), "--user-id", demoUserID(i + 1), "--timeout", "4"}
				for _, w := range s.wanted() {
					args := append(args, "--certificate", string(w.kind), "--voen", string(w.voen))
					status, out, errors := p.imza(t, args...)
					if s.ends != "signed" {
						if status != exitRefused || !strings.Contains(errors, "refused: "+s.ends) {
							t.Errorf("status %d, %s%s, want %s", status, out, errors, s.ends)
						}
						if _, err := os.Stat(in + ".p7s"); err == nil {
							t.Error("a signature was written")
						}
						continue
					}
					if status != exitOK || !strings.Contains(out, s.givenName+" "+s.surname) || (w.voen != "") != strings.Contains(out, " for "+demoOrganisations[w.voen]) {
						t.Errorf("status %d, %s%s", status, out, errors)
					}
					opensslVerify(t, p, in+".p7s", in)
				}
			})
		}
	})
}

// provider is a service provider that speaks HTTP itself.
type provider struct {
	t *testing.T
	p *program
}

func (c provider) do(method, path string, body any) (int, map[string]any) {
	c.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.p.url()+path, bytes.NewReader(raw))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.p.demo.providerKey)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		c.t.Fatalf("%s %s: %s: %v", method, path, text, err)
	}
	return response.StatusCode, answer
}

// ask requests a signature of demo subscriber n and returns its id.
func (c provider) ask(n, timeout int) string {
	c.t.Helper()
	status, answer := c.do("POST", "/v1/signatures", map[string]any{
		"msisdn": demoMSISDN(n), "userId": demoUserID(n), "certificate": map[string]any{"type": "business"},
		"document": []byte("hello"), "timeout": timeout,
	})
	if status != http.StatusAccepted {
		c.t.Fatalf("%d %v", status, answer)
	}
	return answer["id"].(string)
}

// await polls until the transaction has ended, or has come as far as progress.
func (c provider) await(id, progress string) map[string]any {
	c.t.Helper()
	for {
		status, answer := c.do("GET", "/v1/signatures/"+id+"?wait=1", nil)
		if status != http.StatusOK {
			c.t.Fatalf("%d %v", status, answer)
		}
		if answer["status"] != "pending" || (progress != "" && answer["progress"] == progress) {
			return answer
		}
	}
}

// A block refuses at once, stops a signature whose prompt is on the screen, and
// an unblock lets it through again.
func TestBlock(t *testing.T) {
	inEach(t, func(t *testing.T, boot boots) {
		prompted := make(chan struct{}, 100)
		var held sync.WaitGroup
		think := func(context.Context) { prompted <- struct{}{}; held.Wait() }
		p := boot(t, upCommand{think: think})
		signs := func(want int, text string) {
			t.Helper()
			in := document(t)
			status, out, errors := p.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(1)), "--user-id", demoUserID(1))
			if status != want || !strings.Contains(out+errors, text) {
				t.Errorf("status %d, %s%s", status, out, errors)
			}
		}
		manages := func(command string) {
			t.Helper()
			status, out, errors := p.imza(t, command, "--voen", string(firstVOEN), "--fin", string(demoFIN(1)), "--provider", string(demoProvider))
			if status != exitOK {
				t.Errorf("%s: status %d, %s%s", command, status, out, errors)
			}
		}
		signs(exitOK, "signed by Aysel")
		manages("block")
		signs(exitRefused, "blocked_by_organisation")
		if _, out, _ := p.imza(t, "blocks"); !strings.Contains(out, string(demoFIN(1))) {
			t.Errorf("blocks: %s", out)
		}
		manages("unblock")
		signs(exitOK, "signed by Aysel")

		all := []string{"--voen", string(firstVOEN), "--fin", string(demoFIN(1)), "--all"}
		if status, _, errors := p.imza(t, append([]string{"block"}, all...)...); status != exitOK {
			t.Error(errors)
		}
		if _, out, _ := p.imza(t, "blocks"); !strings.Contains(out, string(demoFIN(1))+"  all ") {
			t.Errorf("blocks: %s", out)
		}
		signs(exitRefused, "blocked_by_organisation")
		if status, _, errors := p.imza(t, append([]string{"unblock"}, all...)...); status != exitOK {
			t.Error(errors)
		}
		signs(exitOK, "signed by Aysel")

		// Under way: the person answers after the block.
		for len(prompted) > 0 {
			<-prompted
		}
		held.Add(1)
		c := provider{t, p}
		id := c.ask(1, 60)
		<-prompted
		manages("block")
		held.Done()
		answer := c.await(id, "")
		if answer["status"] != "blocked" || answer["cms"] != nil {
			t.Errorf("a signature under way ended as %v", answer)
		}
		manages("unblock")
		if answer := c.await(id, ""); answer["status"] != "blocked" {
			t.Errorf("a final state changed to %v", answer["status"])
		}
		signs(exitOK, "signed by Aysel")
	})
}

// A second start on the same folder keeps subscribers, blocks and keys.
func TestSecondStart(t *testing.T) { inEach(t, testSecondStart) }

func testSecondStart(t *testing.T, boot boots) {
	dir := t.TempDir()
	first := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}})
	anchors, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if status, _, errors := first.imza(t, "block", "--voen", string(firstVOEN), "--fin", string(demoFIN(1)), "--provider", string(demoProvider)); status != exitOK {
		t.Fatal(errors)
	}
	if _, err := start(t.Context(), &upCommand{gatewayFlags: gatewayFlags{Data: dir, HTTP: "127.0.0.1:0"}, SMPP: "127.0.0.1:0"}, slog.Default()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("two programs on one folder: %v", err)
	}
	if status, _, errors := first.imza(t, "sign", "--in", document(t), "--msisdn", string(demoMSISDN(5)), "--user-id", demoUserID(5)); !strings.Contains(errors, "pin_blocked") {
		t.Errorf("status %d, %s", status, errors)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}})
	keys := func(p *program) [5]string {
		return [...]string{p.demo.providerKey, p.demo.bankKey, p.demo.adminKey, p.demo.managerKey, p.handsetPassword}
	}
	if keys(second) != keys(first) {
		t.Error("the keys changed")
	}
	if again, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || !bytes.Equal(again, anchors) {
		t.Errorf("the anchors changed (%v)", err)
	}
	in := document(t)
	if status, _, errors := second.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(1)), "--user-id", demoUserID(1)); status != exitRefused || !strings.Contains(errors, "blocked_by_organisation") {
		t.Errorf("the block is gone: status %d, %s", status, errors)
	}
	if status, out, errors := second.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(2)), "--user-id", demoUserID(2)); status != exitOK {
		t.Errorf("status %d, %s%s", status, out, errors)
	}
	opensslVerify(t, second, in+".p7s", in)
	info, err := os.Stat(filepath.Join(dir, "demo.env"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("demo.env: %v %v", info.Mode(), err)
	}
}

// Redis gone: refused within a second, and service again when it is back.
func TestRedisGone(t *testing.T) {
	server := redistest.Start(t)
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{Redis: "redis://" + server.Addr}})
	c := provider{t, p}
	if answer := c.await(c.ask(1, 20), ""); answer["status"] != "signed" {
		t.Fatalf("%v", answer)
	}
	server.Kill()
	request := map[string]any{"msisdn": demoMSISDN(1), "userId": demoUserID(1), "certificate": map[string]any{"type": "business"}, "document": []byte("x")}
	for range 3 {
		started := time.Now()
		status, answer := c.do("POST", "/v1/signatures", request)
		if took := time.Since(started); status != http.StatusServiceUnavailable || answer["code"] != "policy_unavailable" || took > time.Second {
			t.Errorf("%d %v after %s", status, answer, took)
		}
	}
	server.Restart()
	back := time.Now()
	for {
		status, answer := c.do("POST", "/v1/signatures", request)
		if status == http.StatusAccepted {
			if answer := c.await(answer["id"].(string), ""); answer["status"] != "signed" {
				t.Errorf("%v", answer)
			}
			return
		}
		if time.Since(back) > 5*time.Second {
			t.Fatalf("no service after Redis came back: %d %v", status, answer)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// What the commands themselves say: scripts in testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("GORACE", os.Getenv("GORACE"))
		return nil
	}, Condition: func(name string) (bool, error) {
		if name == "pcsc" {
			return withReaders, nil
		}
		return false, fmt.Errorf("no condition %q", name)
	}})
}

// eventually waits for what no event tells.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to: %s", what)
		}
	}
}
