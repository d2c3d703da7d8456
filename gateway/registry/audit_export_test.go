package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"imza/gateway/registry"
)

// export is the log as it is handed out.
func (r *record) export(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	if err := r.AuditEntries(t.Context(), registry.AuditFilter{}, func(e registry.AuditEntry) error { return out.Encode(e) }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// exported is an export of entries that have something in every field.
func exported(t testing.TB, n int) []string {
	t.Helper()
	r := fresh(t)
	some := changes(n)
	some[n/2].After = "Şəki <b>\u2028 & 佐藤 👩‍👩‍👧"
	r.audit(t, some...)
	return slices.Collect(strings.Lines(r.export(t)))
}

func verifyExport(t testing.TB, lines []string) registry.AuditReport {
	t.Helper()
	report, err := registry.VerifyExport(strings.NewReader(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func toLine(t testing.TB, e registry.AuditEntry) string {
	t.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

func toEntry(t testing.TB, line string) (e registry.AuditEntry) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// A field that is in the entry but not in its hash could be changed by anybody.
// So this goes through the fields as they are, not as the hash lists them.
func TestEveryFieldIsHashed(t *testing.T) {
	lines := exported(t, 5)
	of := reflect.TypeFor[registry.AuditEntry]()
	for place := range lines {
		for i := range of.NumField() {
			e := toEntry(t, lines[place])
			field := reflect.ValueOf(&e).Elem().Field(i)
			want := e.Sequence
			switch value := field.Addr().Interface().(type) {
			case *int64:
				*value += 1000
				want += 1000
			case *time.Time:
				*value = value.Add(time.Millisecond)
			case *json.RawMessage:
				*value = json.RawMessage(strings.Replace(string(*value), `"`, `"0`, 1))
			default:
				if text := field.String(); len(text) == 64 {
					field.SetString(strings.Repeat("0f", 32))
				} else {
					field.SetString(text + "00")
				}
			}
			changed := slices.Clone(lines)
			changed[place] = toLine(t, e)
			if changed[place] == lines[place] {
				t.Fatalf("%s is as it was", of.Field(i).Name)
			}
			report := verifyExport(t, changed)
			if len(report.Faults) == 0 || !slices.Contains(places(report), want) {
				t.Errorf("%s of line %d was changed: %+v", of.Field(i).Name, place+1, report)
			}
			if want == e.Sequence && of.Field(i).Name != "Sequence" && len(report.Faults) > 1 {
				t.Errorf("%s of line %d: one thing was changed, and this is told: %+v", of.Field(i).Name, place+1, report.Faults)
			}
		}
	}
}

func TestExportOfEverything(t *testing.T) {
	for n := 1; n < 4; n++ {
		lines := exported(t, n)
		want := toEntry(t, lines[n-1]).Hash
		if report := verifyExport(t, lines); report.Entries != int64(n) || report.Head != want || len(report.Faults) > 0 {
			t.Errorf("%+v", report)
		}
		lines[n-1] = strings.TrimSuffix(lines[n-1], "\n") // a last line needs no end
		if report := verifyExport(t, lines); report.Entries != int64(n) || report.Head != want || len(report.Faults) > 0 {
			t.Errorf("%+v", report)
		}
	}
	if report := verifyExport(t, nil); report.Entries != 0 || report.Head != "" || len(report.Faults) > 0 {
		t.Errorf("%+v", report)
	}
	if text, err := json.Marshal(verifyExport(t, nil)); err != nil || string(text) != `{"entries":0,"head":"","faults":[]}` {
		t.Errorf("%s %v", text, err)
	}
}

func TestTamperingWithAnExport(t *testing.T) {
	const n = 7
	good := exported(t, n)
	long := strings.Repeat(" ", 25<<20) + "\n"
	for name, c := range map[string]struct {
		do   func(l []string) []string
		want []string
	}{
		"nothing":        {func(l []string) []string { return l }, nil},
		"one removed":    {func(l []string) []string { return slices.Delete(l, 3, 4) }, []string{"4 is missing"}},
		"the first two":  {func(l []string) []string { return l[2:] }, []string{"1 is missing, and all up to entry 2"}},
		"swapped":        {func(l []string) []string { l[2], l[3] = l[3], l[2]; return l }, []string{"3 is missing", "3 is out of its place: it comes after entry 4"}},
		"twice":          {func(l []string) []string { return slices.Insert(l, 4, l[3]) }, []string{"4 is there twice"}},
		"twice, later":   {func(l []string) []string { return append(l, l[3]) }, []string{"4 is out of its place"}},
		"an empty line":  {func(l []string) []string { return slices.Insert(l, 4, "\n") }, []string{"0 line 5 is not an entry"}},
		"no entry":       {func(l []string) []string { l[2] = "{}\n"; return l }, []string{"0 line 3 is not an entry: it has no sequence"}},
		"no JSON":        {func(l []string) []string { l[2] = "entry\n"; return l }, []string{"0 line 3 is not an entry"}},
		"no JSON at all": {func(l []string) []string { l[0] = "entry\n"; l[n-1] = "entry"; return l }, []string{"0 line 1 is not an entry", "0 line 7 is not an entry"}},
		"two cut short":  {func(l []string) []string { l[2], l[3] = l[2][:50]+"\n", l[3][:90]+"\n"; return l }, []string{"0 line 3 is not", "0 line 4 is not"}},
		"one cut short, one removed": {func(l []string) []string { l[2] = l[2][:50] + "\n"; return slices.Delete(l, 3, 4) },
			[]string{"0 line 3 is not", "4 is missing"}},
		"the end cut off":     {func(l []string) []string { l[n-1] = l[n-1][:40]; return l }, []string{"0 line 7 is not"}},
		"a line that is long": {func(l []string) []string { return slices.Insert(l, 1, long) }, []string{"0 line 2 has more than"}},
		"a last one":          {func(l []string) []string { return append(l, long[1:len(long)-1]) }, []string{"0 line 8 has more than"}},
		"blanks":              {func(l []string) []string { l[2] = strings.Replace(l[2], ":", ": ", 1); return l }, []string{"3 is not written as an export writes it (line 3)"}},
		"CR LF":               {func(l []string) []string { l[2] = strings.Replace(l[2], "\n", "\r\n", 1); return l }, []string{"3 is not written"}},
		"a name twice": {func(l []string) []string {
			l[2] = strings.Replace(l[2], `"actor"`, `"actor":"mallory","actor"`, 1)
			return l
		}, []string{"3 is not written"}},
		"a name in capitals": {func(l []string) []string { l[2] = strings.Replace(l[2], `"actor"`, `"ACTOR"`, 1); return l }, []string{"3 is not written"}},
		"another name":       {func(l []string) []string { l[2] = strings.Replace(l[2], `{`, `{"note":"x",`, 1); return l }, []string{"3 is not written"}},
		"a time to the µs": {func(l []string) []string {
			l[2] = regexp.MustCompile(`(\.\d+)?Z"`).ReplaceAllString(l[2], `.0000001Z"`)
			return l
		}, []string{"3 "}},
		"a hash in capitals": {func(l []string) []string {
			e := toEntry(t, l[2])
			l[2] = strings.Replace(l[2], e.Hash, strings.ToUpper(e.Hash), 1)
			return l
		}, []string{"3 is not written"}},
		"a hash that is none":  {func(l []string) []string { e := toEntry(t, l[2]); e.Hash = "x"; l[2] = toLine(t, e); return l }, []string{"0 line 3 is not an entry: hash"}},
		"a byte order mark":    {func(l []string) []string { l[0] = "\ufeff" + l[0]; return l }, []string{"0 line 1 is not"}},
		"replaced, and hashed": {func(l []string) []string { l[2] = forge(t, l[2], ""); return l }, []string{"4 does not follow the entry before it"}},
	} {
		report := verifyExport(t, c.do(slices.Clone(good)))
		ok := len(report.Faults) == len(c.want)
		for i, f := range report.Faults {
			ok = ok && strings.HasPrefix(fmt.Sprint(f.Sequence, " ", f.What), c.want[i])
		}
		if !ok {
			t.Errorf("%s: %+v, want %q", name, report.Faults, c.want)
		}
	}
	// Who rewrites all that follows makes a whole chain: of another head.
	forged := slices.Clone(good)
	for i := 2; i < n; i++ {
		forged[i] = forge(t, forged[i], toEntry(t, forged[i-1]).Hash)
	}
	if report := verifyExport(t, forged); len(report.Faults) > 0 || report.Head == verifyExport(t, good).Head {
		t.Errorf("%+v", report)
	}
}

// forge gives an entry another actor, and the hash that fits.
func forge(t testing.TB, line, previous string) string {
	t.Helper()
	e := toEntry(t, line)
	e.Actor = "mallory"
	if previous != "" {
		e.Previous = previous
	}
	e.Hash = fmt.Sprintf("%x", hashOf(e))
	return toLine(t, e)
}

func TestExportThatCannotBeRead(t *testing.T) {
	good := strings.Join(exported(t, 3), "")
	broken := errors.New("broken")
	if _, err := registry.VerifyExport(io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	for _, slow := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		if report, err := registry.VerifyExport(slow(strings.NewReader(good))); err != nil || report.Entries != 3 || len(report.Faults) > 0 {
			t.Errorf("%+v %v", report, err)
		}
	}
}

// docs/audit.md has a verifier in another language, and this runs it.
func TestVerifierOfTheDocs(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is missing: the verifier in docs/audit.md is to be run")
	}
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(text)
	if match == nil {
		t.Fatal("docs/audit.md has no verifier")
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "verify.py")
	if err := os.WriteFile(script, match[1], 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(lines []string) (string, error) {
		path := filepath.Join(dir, "export.ndjson")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), python, script, path).CombinedOutput()
		return string(out), err
	}
	good := exported(t, 5)
	if out, err := run(good); err != nil || out != fmt.Sprintf("5 %s\n", toEntry(t, good[4]).Hash) {
		t.Errorf("%s %v", out, err)
	}
	of := reflect.TypeFor[registry.AuditEntry]()
	for i := range of.NumField() {
		e := toEntry(t, good[2])
		switch field := reflect.ValueOf(&e).Elem().Field(i).Addr().Interface().(type) {
		case *int64:
			*field++
		case *time.Time:
			*field = field.Add(time.Millisecond)
		case *json.RawMessage:
			*field = json.RawMessage("1")
		default:
			reflect.ValueOf(field).Elem().SetString("00")
		}
		changed := slices.Clone(good)
		changed[2] = toLine(t, e)
		if out, err := run(changed); err == nil || !strings.Contains(out, "entry 3") && !strings.Contains(out, "entry 4") {
			t.Errorf("%s was changed: %s %v", of.Field(i).Name, out, err)
		}
	}
	if out, err := run(slices.Delete(slices.Clone(good), 1, 2)); err == nil {
		t.Errorf("one was removed: %s", out)
	}
}

// Whatever is in an export: what it is said to be, it is.
func FuzzVerifyExport(f *testing.F) {
	good := exported(f, 3)
	add := func(lines ...string) { f.Add([]byte(strings.Join(lines, ""))) }
	add()
	add(good...)
	add(good[0], good[2])
	add(good[0], good[1], good[1])
	add(good[1], good[0])
	add(good[0], "\n", good[2])
	add(good[0][:100])
	add(strings.ReplaceAll(good[0], "actor", "ACTOR"))
	add(forge(f, good[0], ""), good[1])
	f.Fuzz(func(t *testing.T, octets []byte) {
		report, err := registry.VerifyExport(bytes.NewReader(octets))
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(bytes.Lines(octets))
		if int(report.Entries) != len(lines) {
			t.Errorf("%d lines, %d entries", len(lines), report.Entries)
		}
		if len(report.Faults) > 0 {
			return
		}
		previous := ""
		for i, line := range lines {
			var e registry.AuditEntry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if e.Sequence != int64(i+1) || e.Previous != previous || e.Hash != fmt.Sprintf("%x", hashOf(e)) || string(bytes.TrimSuffix(line, []byte("\n"))) != strings.TrimSuffix(toLine(t, e), "\n") {
				t.Errorf("%s passes", line)
			}
			previous = e.Hash
		}
		if report.Head != previous {
			t.Errorf("the head is %s, not %s", report.Head, previous)
		}
	})
}

// BenchmarkVerifyExport tells how long an entry takes.
func BenchmarkVerifyExport(b *testing.B) {
	r := fresh(b)
	r.audit(b, changes(1000)...)
	export := r.export(b)
	b.SetBytes(int64(len(export)))
	for b.Loop() {
		if report, err := registry.VerifyExport(strings.NewReader(export)); err != nil || len(report.Faults) > 0 {
			b.Fatal(report, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}
