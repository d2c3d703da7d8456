package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imza/emulator/fleet"
)

// What is wrong with a load test's flags is said with the flag's name, and what
// was in the results file is still there.
func TestLoadBadInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := fleet.Create(filepath.Join(dir, "emulated"), fleet.Plan{Seed: 1, Cards: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Create(filepath.Join(dir, "bare"), fleet.Plan{Seed: 1, Cards: 10}); err != nil {
		t.Fatal(err)
	}
	access := fleet.Access{URL: "http://127.0.0.1:1", Providers: []fleet.Provider{{ID: "load-1", Key: "imza-p-secret"}}, Enrolled: 5}
	if err := access.Write(f.Dir()); err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(dir, "results.imza")
	if err := os.WriteFile(results, []byte("of an earlier run"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--rate=-1":                        "--rate",
		"--rate=1e9":                       "--rate",
		"--rate=5 --callers=2":             "--callers",
		"--callers=-2":                     "--callers",
		"--for=-1s":                        "--for",
		"--phases=5":                       "--phases",
		"--phases=5:1s --for=3s":           "--phases",
		"--phases=0:1s":                    "--phases",
		"--warmup=-1s":                     "--warmup",
		"--timeout=10ms":                   "--timeout",
		"--timeout=1h":                     "--timeout",
		"--refused=120%":                   "--refused",
		"--refused=x":                      "--refused",
		"--refused=1% --key=":              "--key",
		"--flips=1000":                     "--flips",
		"--verify=-1":                      "--verify",
		"--cards=-1":                       "--cards",
		"--cards=6":                        "--cards: 6: 5 are enrolled",
		"--restart=x":                      "--restart",
		"--restart=x@1s --emulator=none":   "--restart",
		"--emulator=x":                     "--emulator",
		"--url=127.0.0.1:8080":             "--url",
		"--redis=redis://:secret@x:y":      "--redis",
		"--pprof=0.0.0.0:1":                "--pprof",
		"--out=" + dir + "/none/x":         "--out",
		"--fleet=" + dir + "/none":         "--fleet",
		"--fleet=" + dir + "/bare":         "imza enrol",
		"":                                 "the gateway is away",
		"--out=" + dir + "/new":            "the gateway is away",
		"--phases=1:1s,2-3:1s --warmup=1s": "the gateway is away",
	} {
		all := append([]string{"load", "--fleet=" + f.Dir(), "--out=" + results, "--url=http://127.0.0.1:1"}, strings.Fields(args)...)
		var out bytes.Buffer
		status := run(context.Background(), all, streams{&out, &out})
		if status == exitOK || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d, %s", args, status, out.String())
		}
		if strings.Contains(out.String(), "secret") {
			t.Errorf("%s: a secret is told: %s", args, out.String())
		}
	}
	if kept, err := os.ReadFile(results); err != nil || string(kept) != "of an earlier run" {
		t.Errorf("results that were there are now %q, %v", kept, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a run that did not begin left a file")
	}
}
