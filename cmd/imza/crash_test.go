package main

import (
	"bufio"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// spawn runs "imza up" as a process of its own and waits until it is up.
func spawn(t *testing.T, dir, redis string, flags ...string) (*program, *exec.Cmd) {
	t.Helper()
	flags = append([]string{"up", "--data", dir, "--redis", redis, "--http", "127.0.0.1:0", "--smpp", "127.0.0.1:0", "--think", "40ms"}, flags...)
	command := exec.Command("imza", flags...)
	command.Stderr = t.Output()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "Ctrl-C stops it") {
			break
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	p := &program{config: &upCommand{gatewayFlags: gatewayFlags{Data: dir}}}
	text, err := os.ReadFile(p.environment())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		switch name {
		case "IMZA_URL":
			p.HTTPAddr = strings.TrimPrefix(value, "http://")
		case "IMZA_KEY":
			p.demo.providerKey = value
		case "IMZA_ADMIN_KEY":
			p.demo.adminKey = value
		}
	}
	return p, command
}

// S4: the process is killed at any point of a signature's way. Whatever was
// accepted reaches one final state by its deadline, keeps it, and is on record.
func TestKilledAtAnyPoint(t *testing.T) { testKilled(t, 8, t.TempDir()) }

func testKilled(t *testing.T, rounds int, dir string, flags ...string) {
	redis := "redis://" + redistest.Start(t).Addr
	random := rand.New(rand.NewPCG(3, 5))
	const timeout = 3 // seconds
	ends := map[string]int{}
	accepted := map[string]time.Time{}
	final := map[string]string{}
	for round := range rounds {
		p, process := spawn(t, dir, redis, flags...)
		c := provider{t, p}
		for id := range accepted {
			answer := c.await(id, "")
			if late := time.Since(accepted[id].Add(timeout * time.Second)); late > 5*time.Second {
				t.Errorf("%s ended %s after its deadline", id, late)
			}
			final[id] = answer["status"].(string)
			ends[final[id]]++
		}
		clear(accepted)
		// Not the one who mistypes: tries spent before a kill stay spent.
		for _, n := range []int{1, 2, 3, 9, 10} {
			accepted[c.ask(n, timeout)] = time.Now()
		}
		// 40 ms of thinking twice and once more for the signature: the kill falls
		// before, between and after the prompts.
		time.Sleep(time.Duration(round*160/rounds+random.IntN(160/rounds)) * time.Millisecond)
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
	}
	p, _ := spawn(t, dir, redis, flags...)
	c := provider{t, p}
	for id := range accepted {
		final[id] = c.await(id, "")["status"].(string)
		ends[final[id]]++
	}
	for id, state := range final {
		if status, answer := c.do(http.MethodGet, "/v1/signatures/"+id, nil); status != http.StatusOK || answer["status"] != state {
			t.Errorf("%s ended as %s and is now %d %v", id, state, status, answer["status"])
		}
	}
	recordedAs(t, dir, final)
	t.Logf("%d transactions: %v", len(final), ends)
	if ends["expired"] == 0 || ends["signed"] == 0 {
		t.Error("the kills all fell at one side of the signatures: this shows nothing")
	}
	if unknown := slices.DeleteFunc(slices.Collect(maps.Keys(ends)), func(s string) bool {
		return s == "signed" || s == "expired" || s == "cancelled_by_user" || s == "signature_invalid"
	}); len(unknown) > 0 {
		t.Errorf("ended as %v", unknown)
	}
}

// recordedAs compares the journal with how transactions ended, once the running
// program has had time to write it.
func recordedAs(t *testing.T, dir string, final map[string]string) {
	t.Helper()
	db, dialect, err := registry.OpenDatabase(filepath.Join(dir, "imza.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	masterKey, err := readMasterKey(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	pepper, err := pepperOf(masterKey)
	if err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(t.Context(), db, dialect, pepper)
	if err != nil {
		t.Fatal(err)
	}
	for id, state := range final {
		e, err := r.Find(t.Context(), id)
		for until := time.Now().Add(10 * time.Second); (err != nil || !e.State.Final()) && time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
			e, err = r.Find(t.Context(), id)
		}
		if err != nil || e.State != gateway.State(state) {
			t.Errorf("%s ended as %s, on record %s (%v)", id, state, e.State, err)
		}
	}
}
