package load_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imza/emulator/load"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
)

// stand is a real gateway with people on record, an operator and telephones, and
// a generator that asks them.
func stand(t *testing.T, people ...gatewaytest.Person) *load.Generator {
	t.Helper()
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	var all []load.Subscriber
	for _, p := range people {
		who := s.Enrol(t, p)
		one := load.Subscriber{MSISDN: string(who.MSISDN), UserID: who.UserID, FIN: string(who.FIN)}
		for _, c := range who.Certificates {
			kind, err := load.ParseCertificate(string(c.Type))
			if err != nil {
				t.Fatal(err)
			}
			one.Certificates = append(one.Certificates, load.Wanted{Type: kind, VOEN: string(c.VOEN)})
		}
		all = append(all, one)
	}
	g := &load.Generator{
		URL: s.URL, Cards: len(all), Subscriber: func(i int) load.Subscriber { return all[i] }, AdminKey: s.AdminKey,
		Seed: 1, Timeout: 10 * time.Second, Text: "Load test", VerifyEvery: 1, Command: "a test",
		Phases: []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: time.Second}},
	}
	for _, id := range []policy.Provider{"load-1", "load-2"} {
		g.Providers = append(g.Providers, load.Provider{ID: string(id), Key: s.Provider(t, id, registry.NewProviderKey())})
	}
	return g
}

// crowd is many who are alike.
func crowd(n int, p gatewaytest.Person) (all []gatewaytest.Person) {
	for range n {
		all = append(all, p)
	}
	return all
}

// signers sign at once.
func signers(n int) []gatewaytest.Person { return crowd(n, gatewaytest.Person{}) }

// run runs a test into a file and reads what is in it.
func run(t *testing.T, ctx context.Context, g *load.Generator) (*load.Ending, *load.Results) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "results.imza")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	g.Out = file
	ending, err := g.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got, err := load.ReadFile(name)
	if err != nil || got.Cut != nil {
		t.Fatal(err, got.Cut)
	}
	return ending, got
}

// exact fails the test unless the balance is exact and nothing was at fault.
func exact(t *testing.T, e *load.Ending) {
	t.Helper()
	if !e.OK() {
		t.Errorf("%v, at fault %v, notes %v, ends %v", e.Balance.Differences(), e.Balance.Faults, e.Notes, e.Balance.Ends)
	}
}

// between puts somebody between the generator and the gateway, who does with
// requests what he likes.
func between(t *testing.T, g *load.Generator, handle func(w http.ResponseWriter, r *http.Request, gateway http.Handler)) {
	t.Helper()
	u, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	gateway := httputil.NewSingleHostReverseProxy(u)
	gateway.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, gateway) }))
	t.Cleanup(server.Close)
	g.URL = server.URL
}

// edited has the gateway answer, and changes the body of its answer.
func edited(w http.ResponseWriter, r *http.Request, gateway http.Handler, edit func([]byte) []byte) {
	answer := httptest.NewRecorder()
	gateway.ServeHTTP(answer, r)
	body := edit(bytes.Clone(answer.Body.Bytes()))
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}
