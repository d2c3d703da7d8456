package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/gateway/registry"
)

// The log is listed, searched, exported and verified, here and elsewhere.
func TestAudit(t *testing.T) {
	p := boot(t, upCommand{})
	operator, manager := desk{t, p, p.demo.adminKey}, desk{t, p, p.demo.managerKey}
	operator.says("0 entries\n", "audit", "verify")
	manager.run(exitOK, "block", "--fin", "7DEM001", "--provider", "bank")
	manager.run(exitOK, "block", "--fin", "7DEM001", "--fin", "7DEM002", "--provider", "demo")
	operator.run(exitOK, "block", "--voen", string(secondVOEN), "--fin", "7DEM011", "--all")
	operator.run(exitOK, "unblock", "--voen", string(secondVOEN), "--fin", "7DEM011", "--provider", "bank")
	day := time.Now().UTC()

	t.Run("list", func(t *testing.T) {
		operator, manager := desk{t, p, operator.key}, desk{t, p, manager.key}
		for _, test := range []struct {
			d    desk
			args string
			want string // first and last column of each row
		}{
			{operator, "", "1 blocked +bank;2 blocked +demo;3 blocked +demo;4 default allow→block;5 allowed +bank"},
			{manager, "list", "1 blocked +bank;2 blocked +demo;3 blocked +demo"},
			{operator, "list --last 2", "4 default allow→block;5 allowed +bank"},
			{operator, "--last 0 --voen 1400000022", "4 default allow→block;5 allowed +bank"},
			{operator, "--fin 7DEM002", "3 blocked +demo"},
			{operator, "--provider demo", "2 blocked +demo;3 blocked +demo"},
			{operator, "--actor demo-operator", "4 default allow→block;5 allowed +bank"},
			{operator, "--action block --last 1", "3 blocked +demo"},
			{operator, "--from " + day.AddDate(0, 0, -1).Format(time.DateOnly) + " --last 1", "5 allowed +bank"},
			{operator, "--from " + day.AddDate(0, 0, 2).Format(time.DateOnly), ""},
			{operator, "--until " + day.Add(-time.Hour).In(time.FixedZone("", 4*3600)).Format(time.RFC3339), ""},
		} {
			args := append([]string{"audit"}, strings.Fields(test.args)...)
			var rows []string
			out := test.d.run(exitOK, args...)
			for line := range strings.Lines(out) {
				cells := regexp.MustCompile(` {2,}`).Split(strings.TrimSpace(line), -1)
				if len(cells) == 8 && cells[0] != "NO" {
					rows = append(rows, cells[0]+" "+cells[7])
				}
			}
			if got := strings.Join(rows, ";"); got != test.want {
				t.Errorf("%q: %s\n%s", args, got, out)
			}
		}
		if got := operator.run(exitOK, "audit", "--last", "1"); !strings.Contains(got, "4 older ones are left out") || !strings.Contains(got, "  demo-operator  operator  127.0.0.1  unblock  1400000022/7DEM011 bank  allowed +bank\n") {
			t.Error(got)
		}
		manager.refuses("forbidden: ", "audit", "--voen", string(secondVOEN))
		manager.refuses("forbidden: operators only", "audit", "verify")
		operator.refuses("invalid_request (from): ", "audit", "--from", "yesterday")
	})

	dir := t.TempDir()
	export := filepath.Join(dir, "log.ndjson")
	operator.says("", "audit", "export", "--out", export)
	exported, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	head := strings.TrimSuffix(strings.TrimPrefix(operator.run(exitOK, "audit", "verify"), "5 entries, head "), "\n")
	t.Run("export", func(t *testing.T) {
		operator, manager := desk{t, p, operator.key}, desk{t, p, manager.key}
		if info, err := os.Stat(export); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
		operator.says(string(exported), "audit", "export")
		rows, err := csv.NewReader(strings.NewReader(operator.run(exitOK, "audit", "export", "--csv"))).ReadAll()
		if err != nil || len(rows) != 6 || rows[0][0] != "sequence" || rows[5][0] != "5" {
			t.Errorf("%v %v", rows, err)
		}
		if got := manager.run(exitOK, "audit", "export", "--fin", "7DEM001"); strings.Count(got, "\n") != 2 {
			t.Error(got)
		}
		operator.run(exitFailure, "audit", "export", "--out", filepath.Join(dir, "nowhere", "log"))
	})
	t.Run("verify", func(t *testing.T) {
		d := desk{t, p, operator.key}
		verifyAll(t, d, export, string(exported), head)
	})
}

// verifyAll verifies the log of five entries, and what somebody made of it.
func verifyAll(t *testing.T, d desk, export, exported, head string) {
	verify := []string{"audit", "verify"}
	offline := append(verify, "--file", export)
	whole := "5 entries, head " + head + "\n"
	lines := strings.SplitAfter(exported, "\n")
	var first registry.AuditEntry
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	noted := "1:" + first.Hash
	forged := "2:" + first.Hash
	beyond := "6:" + first.Hash
	for _, args := range [][]string{verify, offline} {
		d.says(whole, args...)
		d.says(whole, append(args, "--head", noted, "--head", head)...)
		if got := d.run(exitRefused, append(args, "--head", noted, "--head", forged)...); !strings.HasPrefix(got, "2: has another hash than was kept elsewhere\n5 entries, last hash ") || !strings.HasSuffix(got, "imza: refused: audit_log_changed: faults: 1\n") {
			t.Error(got)
		}
		if got := d.run(exitRefused, append(args, "--head", beyond)...); !strings.HasPrefix(got, "6: is missing, although its hash was kept elsewhere\n") {
			t.Error(got)
		}
		for _, wrong := range []string{"", first.Hash, "0:" + first.Hash, "1:" + first.Hash[1:], "1:" + strings.ToUpper(first.Hash[1:]) + "G"} {
			d.run(exitUsage, append(args, "--head", wrong)...)
		}
	}
	for _, test := range []struct{ made, says string }{
		{strings.Replace(exported, "bank", "bonk", 1), "1: was changed: "},
		{lines[0] + strings.Join(lines[2:], ""), "2: is missing\n"},
		{"sequence,at\n1,2\n", "the log: line 1 is not an entry: "},
	} {
		if err := os.WriteFile(export, []byte(test.made), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := d.run(exitRefused, offline...); !strings.HasPrefix(got, test.says) || !strings.Contains(got, "refused: audit_log_changed: ") {
			t.Errorf("%q", got)
		}
	}
	d.run(exitFailure, "audit", "verify", "--file", export+"-that-is-not-there")
}

// What was cut off is no export, and leaves nothing behind; what is long is not
// held in memory.
func TestAuditExportCutOff(t *testing.T) {
	const long = maxAnswer + 1<<20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := []byte(`{"sequence":1,"subject":"` + strings.Repeat("x", 1000) + "\"}\n")
		for n := 0; n < long; n += len(line) {
			_, _ = w.Write(line)
		}
		if r.URL.Query().Get("actor") == "cut" {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	out := filepath.Join(t.TempDir(), "log")
	try := func(args ...string) (int, string, string) {
		var o, e bytes.Buffer
		status := run(t.Context(), append([]string{"audit"}, append(args, "--url", server.URL, "--key", "k")...), streams{&o, &e})
		return status, o.String(), e.String()
	}
	for _, args := range [][]string{{"export", "--actor", "cut", "--out", out}, {"export", "--actor", "cut"}, {"list", "--actor", "cut"}} {
		if status, _, errors := try(args...); status != exitFailure || !strings.Contains(errors, "unexpected EOF") {
			t.Errorf("%q: status %d, %s", args, status, errors)
		}
	}
	if left, err := filepath.Glob(out + "*"); err != nil || len(left) > 0 {
		t.Errorf("%v was left behind (%v)", left, err)
	}
	if status, _, errors := try("export", "--out", out); status != exitOK {
		t.Errorf("status %d, %s", status, errors)
	}
	if info, err := os.Stat(out); err != nil || info.Size() < long {
		t.Errorf("%v %v", info, err)
	}
	if status, out, errors := try("list", "--last", "2"); status != exitOK || strings.Count(out, "\n") != 3 {
		t.Errorf("status %d, %s%s", status, out, errors)
	}
}

func TestChangeInShort(t *testing.T) {
	set := func(byDefault string, exceptions ...string) string {
		list, _ := json.Marshal(append([]string{}, exceptions...))
		return fmt.Sprintf(`{"voen":"1400000011","fin":"7DEM001","default":%q,"exceptions":%s,"version":1}`, byDefault, list)
	}
	for _, test := range []struct{ before, after, want string }{
		{set("allow"), set("allow", "bank", "demo"), "blocked +bank +demo"},
		{set("allow", "bank", "demo"), set("allow", "bank"), "blocked -demo"},
		{set("allow", "bank"), set("block", "bank"), "default allow→block, allowed +bank"},
		{set("block", "bank"), set("allow"), "default block→allow"},
		{set("block"), set("block", "bank"), "allowed +bank"},
		{"null", set("block"), "default allow→block"},
		{`{"state":"active"}`, `{"state":"suspended"}`, "state active→suspended"},
		{"null", `{"name":"Bank","other":[1,2]}`, "name Bank, other [1,2]"},
		{`{"name":"Bank"}`, "null", "name was Bank"},
		{`{"a":"x","b":1}`, `{"b":1,"c":"y"}`, "c →y, a x→"},
		{`{"name":"` + strings.Repeat("ə", 50) + `"}`, "null", "name was " + strings.Repeat("ə", 40) + "…"},
		{"null", "null", ""},
		{`"no object"`, `7`, ""},
		{"", "", ""},
	} {
		if got := changeInShort(json.RawMessage(test.before), json.RawMessage(test.after)); got != test.want {
			t.Errorf("%s to %s: %q, want %q", test.before, test.after, got, test.want)
		}
	}
	row := auditRow(registry.AuditEntry{Subject: "a\x1b[31m\tb\nc\u202e", Before: json.RawMessage("null"), After: json.RawMessage(`{"name":"\u001b"}`)})
	if strings.ContainsAny(row, "\x1b\n\u202e") || strings.Count(row, "\t") != 7 {
		t.Errorf("%q", row)
	}
}
