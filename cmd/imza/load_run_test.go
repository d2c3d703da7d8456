package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imza/emulator/load"
	"imza/policy/redistest"
)

// processes are emulator and gateway, each a process of its own, and the folder in
// which they and all commands run.
type processes struct {
	binary, dir string
	emulated    *emulated
	environment []string // of who administers the gateway
}

// spawnAll builds imza, runs emulator and gateway on a real Redis, and enrols all
// cards.
func spawnAll(t *testing.T, cards int, scenario string) *processes {
	t.Helper()
	p := &processes{dir: t.TempDir()}
	p.binary = filepath.Join(p.dir, "imza")
	if out, err := exec.Command("go", "build", "-o", p.binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "scenario.yaml"), []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	p.emulated = spawnEmulator(t, p.binary, filepath.Join(p.dir, "emulated"), "--cards", fmt.Sprint(cards), "--scenario", filepath.Join(p.dir, "scenario.yaml"))
	gateway := exec.Command(p.binary, "gateway", "--operators", "emulated/operators.yaml", "--master-key", "emulated/master.key",
		"--http", "127.0.0.1:0", "--redis", "redis://"+redistest.Start(t).Addr)
	gateway.Dir, gateway.Stderr, gateway.Stdout = p.dir, t.Output(), io.Discard
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gateway.Process.Kill(); _ = gateway.Wait() })
	for deadline := time.Now().Add(30 * time.Second); !p.ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not get ready")
		}
	}
	t.Log(p.run(t, "enrol", "--fleet", "emulated"))
	return p
}

// ready reads where the gateway is, and asks it.
func (p *processes) ready() bool {
	text, _ := os.ReadFile(filepath.Join(p.dir, "data", "gateway.env"))
	p.environment = os.Environ()
	url := ""
	for line := range strings.Lines(string(text)) {
		if variable, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			p.environment = append(p.environment, variable)
			if at, ok := strings.CutPrefix(variable, "IMZA_URL="); ok {
				url = at
			}
		}
	}
	response, err := http.Get(url + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// run runs a command, which must succeed.
func (p *processes) run(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.Command(p.binary, args...)
	var out bytes.Buffer
	command.Dir, command.Env, command.Stdout, command.Stderr = p.dir, p.environment, &out, &out
	if err := command.Run(); err != nil {
		t.Fatalf("imza %s: %v\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String()
}

// A bad day, though one on which nobody thinks for long, so that no answer comes
// near the deadline and chance alone decides.
const badDay = `
people:
  - {share: 0.60, does: signs, think: {median: 200ms, sigma: 0.4}}
  - {share: 0.08, does: cancels, think: {median: 200ms, sigma: 0.4}}
  - {share: 0.06, does: wrong-once, think: {median: 200ms, sigma: 0.4}}
  - {share: 0.04, does: wrong-always, think: {median: 200ms, sigma: 0.4}}
  - {share: 0.04, does: blocked}
  - {share: 0.03, does: absent}
  - {share: 0.03, does: off}
  - {share: 0.03, does: away, back: 1s}
  - {share: 0.02, does: changes-telephone, think: {median: 200ms}}
  - {share: 0.02, does: late, think: {median: 150s}}
network:
  delay: {median: 50ms, sigma: 0.5}
  lost: 0.05
  twice: 0.05
  reordered: 0.20
  receipts: {late: 0.10, by: 2s, absent: 0.05}
`

// Ten seconds of load over a network that loses, doubles and reorders, with an
// operator that restarts, requests that policy must refuse and blocks saved while
// signatures are under way: every transaction ends by its deadline, the balance is
// exact, and the same seed gives the same outcomes once more.
func TestTenSecondsOfLoad(t *testing.T) {
	t.Parallel()
	p := spawnAll(t, 900, badDay)
	var ends [2]map[uint32]load.End
	for i := range ends {
		file := fmt.Sprintf("%d.imza", i+1)
		out := p.run(t, "load", "--fleet", "emulated", "--rate", "30", "--for", "10s", "--timeout", "12s", "--seed", "5", "--refused", "3%", "--flips", "0.5",
			"--restart", "azercell@4s/1s", "--emulator", p.emulated.control, "--out", file)
		t.Log(out)
		if !strings.Contains(out, "The balance is exact") {
			t.Error("the balance is not exact")
		}
		results, err := load.ReadFile(filepath.Join(p.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = make(map[uint32]load.End)
		for _, r := range results.Requests {
			if d, ended := r.Latency(); ended && d > 14*time.Second {
				t.Errorf("request %d ended as %s after %s, its deadline is 12 s", r.Index, r.End, d)
			}
			if !results.Run.Phases[r.Phase].Aside {
				ends[i][r.Index] = r.End
			}
		}
		if n := len(ends[i]); n < 200 {
			t.Errorf("%d requests in ten seconds at 30 a second", n)
		}
	}
	sameEnds(t, ends[0], ends[1])
	for _, end := range []load.End{load.Signed, "cancelled_by_user", "pin_blocked", "expired", "absent", "refused:blocked_by_organisation"} {
		n := 0
		for _, e := range ends[0] {
			if e == end {
				n++
			}
		}
		if n == 0 {
			t.Errorf("nothing ended as %s", end)
		}
	}
	t.Log(p.run(t, "report", "1.imza", "2.imza", "--html", "report.html"))
}

// sameEnds compares two runs request by request. That Redis did not answer in time
// is nobody's decision: on a machine that is busy with other tests it may happen.
func sameEnds(t *testing.T, first, second map[uint32]load.End) {
	t.Helper()
	const unavailable = load.End("refused:policy_unavailable")
	differ, away := 0, 0
	for index, end := range first {
		switch other := second[index]; {
		case end == other:
		case end == unavailable || other == unavailable:
			away++
		default:
			differ++
			t.Errorf("request %d ended as %s, then as %q", index, end, other)
		}
	}
	if len(first) != len(second) {
		t.Errorf("%d requests, then %d", len(first), len(second))
	}
	if away > len(first)/20 {
		t.Errorf("of %d requests %d found Redis away in one of the runs", len(first), away)
	}
}
