package fleet

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"imza/smpp"
)

func TestControl(t *testing.T) {
	f, _ := enrolled(t, Plan{Seed: 1, Cards: 3})
	e := start(t, f, "", Options{})
	server := httptest.NewServer(e.Control())
	defer server.Close()
	do := func(method, path, body string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/readyz", "", 200, "ready\n"},
		{"POST", "/runs", `{"seed": 18446744073709551615}`, 200, `{"run":2,"seed":18446744073709551615}`},
		{"POST", "/runs", `{}`, 400, "seed: there is none"},
		{"POST", "/runs", `{"seed": null}`, 400, "seed: there is none"},
		{"POST", "/runs", `{"seed": -1}`, 400, "seed"},
		{"POST", "/runs", `{"seed": 1, "sed": 2}`, 400, "sed"},
		{"POST", "/runs", `{"seed": 1} {}`, 400, "more after"},
		{"POST", "/runs", "", 400, "EOF"},
		{"POST", "/runs", strings.Repeat(" ", mostBody+1), 400, "too large"},
		{"GET", "/runs", "", 405, ""},
		{"POST", "/operators/nobody/restart?down=1s", "", 404, "no such operator"},
		{"POST", "/operators/nar/restart", "", 400, "down"},
		{"POST", "/operators/nar/restart?down=-1s", "", 400, "down"},
		{"POST", "/operators/nar/restart?down=1h", "", 400, "down"},
	} {
		if status, text := do(c.method, c.path, c.body); status != c.status || !strings.Contains(text, c.says) {
			t.Errorf("%s %s %.40s: %d %s, want %d %s", c.method, c.path, c.body, status, text, c.status, c.says)
		}
	}
	g := newESME(t, f)
	for i := range 3 {
		if got := g.ask(i, 1, 10*time.Second); got != "signed" {
			t.Errorf("card %d: %s", i, got)
		}
	}
	// What was taken is counted after it was acknowledged.
	const last = `imza_emulator_messages_total{fate="delivered",operator="%s",way="from_handset"} 1`
	var text string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		_, text = do("GET", "/metrics", "")
		if strings.Contains(text, fmt.Sprintf(last, "nar")) && strings.Contains(text, fmt.Sprintf(last, "azercell")) {
			break
		}
	}
	for _, line := range []string{
		"imza_emulator_cards 3", "imza_emulator_operators 3", "imza_emulator_runs_total 2", "imza_emulator_telephones 3", "imza_emulator_telephones_made_total 3",
		`imza_emulator_messages_total{fate="delivered",operator="azercell",way="to_handset"} 1`, `imza_emulator_messages_total{fate="delivered",operator="nar",way="from_handset"} 1`,
		`imza_emulator_waiting{operator="bakcell"} 0`, "process_resident_memory_bytes ", "process_cpu_seconds_total ",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("/metrics has no %s", line)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/runs", strings.NewReader(`{"seed":1}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", "http://elsewhere.example")
	if response, err := http.DefaultClient.Do(request); err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("a page from elsewhere: %v, %v", response, err)
	}
}

// A centre that restarts is away for as long as was said, and back at its address.
func TestRestart(t *testing.T) {
	f, _ := enrolled(t, Plan{Seed: 1, Cards: 3})
	e := start(t, f, "operators: [{name: azercell, restart: {after: 100ms, down: 200ms}}]", Options{})
	g := newESME(t, f)
	<-g.sessions[0].Done() // as the scenario has it
	if err := e.Restart("azercell", time.Second); err == nil {
		t.Error("a centre that is away restarts")
	}
	if err := e.Restart("bakcell", 200*time.Millisecond); err != nil {
		t.Error(err)
	}
	<-g.sessions[1].Done()
	if g.sessions[2].Err() != nil {
		t.Error("nar is cut off, too")
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, i := range []int{0, 1} {
		conn := dial(t, e.Centres()[i].Addr, deadline)
		s, err := smpp.Bind(t.Context(), conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: e.Centres()[i].Name, Password: g.passwords[i]}, smpp.Options{Handler: g.take})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		g.sessions[i] = s
		if got := g.ask(i, 1, 10*time.Second); got != "signed" {
			t.Errorf("after the restart: %s", got)
		}
	}
}

// A fleet has one emulator at a time, on ports that are free.
func TestStartsThatFail(t *testing.T) {
	f := newFleet(t, Plan{Seed: 1, Cards: 3})
	e := start(t, f, "", Options{})
	for says, c := range map[string]struct {
		fleet    *Fleet
		scenario string
		addr     string
	}{
		"in use by another emulator":                {f, "", "127.0.0.1:0"},
		"is taken: choose another address":          {newFleet(t, Plan{Cards: 3}), "", e.Centres()[0].Addr},
		"operator azercell: 0.0.0.0:0 is not":       {newFleet(t, Plan{Cards: 3}), "", "0.0.0.0:0"},
		"there is no port 65535 and 1 after it":     {newFleet(t, Plan{Cards: 3}), "", "127.0.0.1:65535"},
		"operators[0].name: the fleet has no other": {newFleet(t, Plan{Cards: 3}), "operators: [{name: other}]", "127.0.0.1:0"},
	} {
		s, err := ParseScenario([]byte(c.scenario))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Start(c.fleet, s, Options{Addr: c.addr, Log: e.log}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
	if got := newESME(t, f).ask(0, 1, 10*time.Second); got != "key unknown" {
		t.Errorf("the first one: %s", got)
	}
}
