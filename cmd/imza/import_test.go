package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// csvFile writes a file to be imported.
func csvFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An organisation with its employees and blocks, as an operator brings them in.
func TestImport(t *testing.T) {
	inEach(t, func(t *testing.T, boot boots) {
		p := boot(t, upCommand{})
		organisations := csvFile(t, "o.csv", "\uFEFFvoen;name\r\n1400000055;\"Yeni; MMC\"\r\n")
		employees := csvFile(t, "e.csv", fmt.Sprintf("voen,fin,given_name,surname\n1400000055,%s,Aysel,Məmmədova\n1400000055,9NEW001,=1+1,<b>\n", demoFIN(1)))
		blocks := csvFile(t, "b.csv", fmt.Sprintf("action,voen,fin,provider\nblock,%s,%s,%s\nunblock,1400000055,9NEW001,*\n", firstVOEN, demoFIN(1), demoProvider))
		imports := func(want int, args ...string) (out, errors string) {
			t.Helper()
			status, out, errors := p.imza(t, append([]string{"import"}, args...)...)
			if status != want {
				t.Fatalf("%q: status %d, %s%s", args, status, out, errors)
			}
			return out, errors
		}
		told := func(name, kind string, rows, created, changed, unchanged int) string {
			return fmt.Sprintf("%s: %s: %d rows, %d created, %d changed, %d unchanged", name, kind, rows, created, changed, unchanged)
		}

		const tried = " (dry run: nothing was changed)\n"
		for range 2 {
			if out, _ := imports(exitOK, "--dry-run", organisations); out != told(organisations, "organisations", 1, 1, 0, 0)+tried {
				t.Errorf("a dry run says %s", out)
			}
		}
		// What is tried is not there for the file behind it, as it is in earnest.
		if out, errors := imports(exitRefused, organisations, employees, "--dry-run"); strings.Count(out, "\n") != 1 ||
			!strings.Contains(errors, employees+":2: voen: no such organisation is on record\n"+employees+":3: voen: no such organisation is on record\n") || !strings.Contains(errors, "refused: invalid_import") {
			t.Errorf("a dry run says %s%s", out, errors)
		}
		if out, _ := imports(exitOK, organisations, employees, blocks); out != told(organisations, "organisations", 1, 1, 0, 0)+"\n"+
			told(employees, "employees", 2, 2, 0, 0)+"\n"+told(blocks, "blocks", 2, 0, 1, 1)+"\n" {
			t.Errorf("the import says %s", out)
		}
		if out, _ := imports(exitOK, blocks, employees); out != told(blocks, "blocks", 2, 0, 0, 2)+"\n"+told(employees, "employees", 2, 0, 0, 2)+"\n" {
			t.Errorf("again: %s", out)
		}
		if status, out, errors := p.imza(t, "sign", "--in", document(t), "--msisdn", string(demoMSISDN(1)), "--user-id", demoUserID(1)); status != exitRefused || !strings.Contains(errors, "blocked_by_organisation") {
			t.Errorf("status %d, %s%s", status, out, errors)
		}

		// The first file that is refused ends it; what came before it stays.
		bad := csvFile(t, "bad.csv", "voen,name\n1400000066,a\n140000006,\n"+strings.Repeat("x,a\n", 110))
		out, errors := imports(exitRefused, employees, bad, blocks)
		if !strings.HasPrefix(out, employees) || strings.Count(out, "\n") != 1 || !strings.HasPrefix(errors, bad+":3: voen: ten digits\n"+bad+":3: name: is empty\n"+bad+":4: voen: ten digits\n") ||
			!strings.Contains(errors, "\n"+bad+": 12 more\n") || strings.Count(errors, "\n") != 102 {
			t.Errorf("%s%s", out, errors)
		}
		if _, errors := imports(exitRefused, csvFile(t, "cut.csv", "voen,name\n1400000066,\"a")); !strings.Contains(errors, ":2: broken quotes in line 2, column 14\n") {
			t.Error(errors)
		}
		// A terminal is not written to by a file.
		if _, errors := imports(exitRefused, csvFile(t, "esc.csv", "voen,\x1b[2Jname\n1400000066,a\n")); strings.Contains(errors, "\x1b") {
			t.Errorf("%q", errors)
		}
		imports(exitRefused, "--key", p.demo.managerKey, organisations)
		imports(exitRefused, "--key", p.demo.providerKey, blocks)
		imports(exitRefused, csvFile(t, "large.csv", "voen,name\n"+strings.Repeat("1400000066,a\n", 1<<21)))
		imports(exitFailure, filepath.Join(t.TempDir(), "none.csv"))
	})
}

func TestImportFromStandardInput(t *testing.T) {
	p := boot(t, upCommand{})
	file, err := os.Open(csvFile(t, "o.csv", "voen,name\n1400000055,a\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	stdin := os.Stdin
	defer func() { os.Stdin = stdin }()
	os.Stdin = file
	if status, out, errors := p.imza(t, "import", "-", "--dry-run"); status != exitOK || !strings.HasPrefix(out, "-: organisations: 1 rows, 1 created") {
		t.Errorf("status %d, %s%s", status, out, errors)
	}
}
