package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imza/emulator/load"
)

// resultsFile is a results file of ten signatures.
func resultsFile(t *testing.T, end bool) []byte {
	t.Helper()
	var out bytes.Buffer
	began := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	w, err := load.NewWriter(&out, load.Run{Started: began, Seed: 7, Providers: []string{"load-1"}, Cards: 10, Phases: []load.Phase{{Name: "10/s", From: 10, To: 10, Duration: time.Second}}})
	if err != nil {
		t.Fatal(err)
	}
	balance := load.Balance{Asked: 10}
	for i := range 10 {
		r := load.Request{Index: uint32(i), Subscriber: uint32(i), End: load.Signed, Due: time.Duration(i) * 100 * time.Millisecond,
			Sent: 50, Accepted: 900, Pushed: 1500, Answered: 4000, Verified: 4500, Released: load.Moment(5000 + i)}
		balance.Count(&r)
		if err := w.Request(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Sample(load.Sample{At: 1000}); err != nil {
		t.Fatal(err)
	}
	if end {
		if err := w.End(load.Ending{Ended: began.Add(2 * time.Second), Balance: balance}); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole := resultsFile(t, true)
	good, again := put("good.imza", whole), put("again.imza", whole)
	newer := bytes.Clone(whole)
	newer[9]++
	page := filepath.Join(dir, "report.html")
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{good}, exitOK, "10 asked = 10 signed"},
		{[]string{good, "--html", page}, exitOK, "The page is in " + page},
		{[]string{good, again}, exitOK, "Outcomes: the same, request by request, for all 10 requests by seed 7."},
		{[]string{put("cut.imza", resultsFile(t, false))}, exitFailure, "The file has no ending: at octet "},
		{[]string{put("torn.imza", whole[:len(whole)-3])}, exitFailure, "a frame begins and does not end"},
		{[]string{put("empty.imza", nil)}, exitFailure, "empty.imza: it is no results file of imza load: it is empty"},
		{[]string{put("other.imza", []byte("PK\x03\x04, and more of it"))}, exitFailure, `it begins with "PK`},
		{[]string{put("newer.imza", newer)}, exitFailure, "it was written by a newer imza"},
		{[]string{put("broken.imza", append(bytes.Clone(whole), 'X', 1, 0))}, exitFailure, "comes after the ending"},
		{[]string{filepath.Join(dir, "none.imza")}, exitFailure, "no such file"},
		{[]string{good, "--html", filepath.Join(dir, "none", "report.html")}, exitFailure, "--html: "},
		{[]string{good, "--html", good}, exitUsage, "--html is one of the results"},
		{[]string{good, again, good}, exitUsage, "one results file, or two"},
		{nil, exitUsage, "file"},
	} {
		var out, err bytes.Buffer
		status := run(t.Context(), append([]string{"report"}, test.args...), streams{&out, &err})
		if said := out.String() + err.String(); status != test.status || !strings.Contains(said, test.says) {
			t.Errorf("imza report %v: status %d, want %d and %q:\n%s", test.args, status, test.status, test.says, said)
		}
	}
	if html, err := os.ReadFile(page); err != nil || !bytes.Contains(html, []byte("</html>")) {
		t.Errorf("the page has %d octets: %v", len(html), err)
	}
}
