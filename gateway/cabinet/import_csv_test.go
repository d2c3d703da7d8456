package cabinet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"imza/policy"
)

// parseImport reads a file as an operator's import does, before anything is looked up.
func parseImport(r io.Reader) (*importFile, error) {
	f, err := openImport(r)
	if err != nil || f.kind == "" {
		return f, err
	}
	return f, f.readRows()
}

func parsed(t *testing.T, text string) *importFile {
	t.Helper()
	f, err := parseImport(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return f
}

func (f *importFile) String() string {
	var all []string
	for _, x := range f.listed {
		all = append(all, fmt.Sprintf("%d %s: %s", x.Row, x.Field, x.Detail))
	}
	return strings.Join(all, "; ")
}

const (
	blocksHeader = "voen,fin,provider,action\n"
	peopleHeader = "voen,fin,given_name,surname\n"
	namesHeader  = "voen,name\n"
)

func TestGoodFiles(t *testing.T) {
	for _, c := range []struct {
		text, kind string
		rows       int
	}{
		{namesHeader + "1400000011,Nümunə MMC\n", ofOrganisations, 1},
		{namesHeader + "1400000011,Nümunə MMC", ofOrganisations, 1}, // the last line may have no end
		{"\uFEFFvoen;name\r\n1400000011;Nümunə, MMC\r\n1400000022;\"Sınaq; \"\"ASC\"\"\"\r\n", ofOrganisations, 2},
		{"\"name\";\"voen\"\n\"a\";\"1400000011\"\n", ofOrganisations, 1},
		{namesHeader + "\n1400000011,a\n\n\n", ofOrganisations, 1}, // empty lines
		{namesHeader + "1400000011," + strings.Repeat("ş", 200) + "\n", ofOrganisations, 1},
		{namesHeader + "1400000011,=cmd|'/C calc'!A0\n1400000022,Robert'); DROP TABLE organisations;--\n1400000033,<script>alert(1)</script>\n1400000044,山田太郎 محمد Ωμέγα 🙂\n", ofOrganisations, 4},
		{peopleHeader + "1400000011,7DEM001,Aysel,Məmmədova\n1400000022,7DEM001,Aysel,Məmmədova\n", ofEmployees, 2},
		{"surname,given_name,fin,voen\nMəmmədova,Aysel,7DEM001,1400000011\n", ofEmployees, 1},
		{blocksHeader + "1400000011,7DEM001,bank,block\n1400000011,7DEM001,shop,unblock\n1400000011,7DEM002,*,block\n", ofBlocks, 3},
		// What is said of all may be said of one as well.
		{blocksHeader + "1400000011,7DEM001,bank,block\n1400000011,7DEM001,*,block\n1400000011,7DEM001,shop,block\n", ofBlocks, 3},
	} {
		f := parsed(t, c.text)
		if f.total != 0 || f.kind != c.kind || len(f.rows) != c.rows {
			t.Errorf("%q: %s, %d rows, %s", c.text, f.kind, len(f.rows), f)
		}
		// The same with other line ends, and by drops.
		other := strings.ReplaceAll(strings.ReplaceAll(c.text, "\r\n", "\n"), "\n", "\r\n")
		if g, err := parseImport(iotest.OneByteReader(strings.NewReader(other))); err != nil || g.total != 0 || len(g.rows) != c.rows {
			t.Errorf("%q: %v, %s", other, err, g)
		}
	}
	f := parsed(t, "action;provider;fin;voen\r\nunblock;*;7DEM001;1400000011\r\nblock;bank;7DEM002;1400000011")
	want := []importRow{{line: 2, voen: "1400000011", fin: "7DEM001", provider: "*"}, {line: 3, voen: "1400000011", fin: "7DEM002", provider: "bank", block: true}}
	if !slices.Equal(f.rows, want) {
		t.Errorf("%+v", f.rows)
	}
}

// Everything that can be wrong with a file is said of its row and field.
func TestBadFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "1 : the file is empty",
		"\uFEFF":                    "1 : the file is empty",
		"\n\n":                      "1 : the file is empty",
		"voen,name":                 "1 : there are no rows",
		namesHeader:                 "1 : there are no rows",
		"\uFEFFvoen;name\r\n\r\n":   "1 : there are no rows",
		"voen,nmae\n1400000011,a\n": "1 nmae: is not a column of organisations (voen,name); 1 name: is missing, a column of organisations (voen,name)",
		"VOEN,name\n1400000011,a\n": "1 VOEN: is not a column of organisations (voen,name); 1 voen: is missing, a column of organisations (voen,name)",
		"voen,name,voen\n1400000011,a,1400000011\n":    "1 voen: is there twice",
		"voen,name,\n1400000011,a,\n":                  "1 : is not a column of organisations (voen,name)",
		"voen,fin,provider\n1400000011,7DEM001,bank\n": "1 action: is missing, a column of blocks (voen,fin,provider,action)",
		"voen,fin,surname\n1400000011,7DEM001,a\n":     "1 given_name: is missing, a column of employees (voen,fin,given_name,surname)",
		"voen,fin,provider,action,name\n1,2,3,4,5\n":   "1 name: is not a column of blocks (voen,fin,provider,action)",
		"voen\tname\n1400000011\ta\n":                  "1 voen\uFFFDname: is not a column of organisations (voen,name); 1 voen: is missing, a column of organisations (voen,name); 1 name: is missing, a column of organisations (voen,name)",
		"voen,name;\n1400000011,a;\n":                  "1 voen,name: is not a column of organisations (voen,name); 1 : is not a column of organisations (voen,name); 1 voen: is missing, a column of organisations (voen,name); 1 name: is missing, a column of organisations (voen,name)",
		"voen,\"name\n1400000011,a\n":                  "1 : broken quotes in line 2, column 14",
		"voen,na\"me\n1400000011,a\n":                  "1 : broken quotes in line 1, column 8",

		namesHeader + "140000001,a\n1400000011,a\n140000002x,b\n":            "2 voen: ten digits; 4 voen: ten digits",
		namesHeader + "1400000011 ,a\n":                                      "2 voen: ten digits",
		namesHeader + "١٤٠٠٠٠٠٠١١,a\n":                                       "2 voen: ten digits",
		namesHeader + "1400000011,a,b\n1400000011\n1400000022;b\n":           "2 : fields: 3, columns: 2; 3 : fields: 1, columns: 2; 4 : fields: 1, columns: 2",
		namesHeader + "1400000011,\n1400000022,\"  \u00a0\"\n":               "2 name: is empty; 3 name: is empty",
		namesHeader + "1400000011," + strings.Repeat("ş", 201) + "\n":        "2 name: is longer than 200 characters",
		namesHeader + "1400000011,a\xffb\n":                                  "2 name: is not UTF-8",
		namesHeader + "1400000011,a\x00b\n":                                  "2 name: has a control character in it",
		namesHeader + "1400000011,\"a\nb\"\n1400000022,\n":                   "2 name: has a control character in it; 4 name: is empty",
		namesHeader + "1400000011,a\r1400000022,b\r":                         "2 : fields: 3, columns: 2",
		namesHeader + "1400000011,\"a\n1400000022,b\n":                       "2 : broken quotes in line 3, column 14",
		namesHeader + "1400000011,a \"b\"\n1400000022,\"a\"b\n1400000033,\n": "2 : broken quotes in line 2, column 14; 3 : broken quotes in line 3, column 14; 4 name: is empty",
		namesHeader + "1400000011,\"a":                                       "2 : broken quotes in line 2, column 14",
		namesHeader + "1400000011,a\n1400000011,a\n1400000011,b\n":           "3 : the same as row 2; 4 : row 2 says otherwise",

		peopleHeader + "1400000011,7DEM00,a,b\n1400000011,7dem001,a,b\n1400000011,7DEMI01,,\n": "2 fin: seven digits and capital letters, without I and O; 3 fin: seven digits and capital letters, without I and O; " +
			"4 fin: seven digits and capital letters, without I and O; 4 given_name: is empty; 4 surname: is empty",
		peopleHeader + "1400000011,7DEM001,a,b\n1400000011,7DEM001,a,c\n1400000022,7DEM001,a,b\n\n1400000022,7DEM001,a,b\n": "3 : row 2 says otherwise; 6 : the same as row 4",

		blocksHeader + "1400000011,7DEM001,Bank,block\n1400000011,7DEM001,,block\n1400000011,7DEM001,**,block\n":         "2 provider: a provider's short name: up to 40 lower-case letters, digits and hyphens; or *; 3 provider: a provider's short name: up to 40 lower-case letters, digits and hyphens; or *; 4 provider: a provider's short name: up to 40 lower-case letters, digits and hyphens; or *",
		blocksHeader + "1400000011,7DEM001,bank,Block\n1400000011,7DEM001,bank,\n1400000011,7DEM001,bank,block \n":       "2 action: block or unblock; 3 action: block or unblock; 4 action: block or unblock",
		blocksHeader + "1400000011,7DEM001,bank,block\n1400000011,7DEM001,bank,unblock\n1400000011,7DEM001,bank,block\n": "3 : row 2 says otherwise; 4 : the same as row 2",
		blocksHeader + "1400000011,7DEM001,*,block\n1400000011,7DEM001,*,unblock\n1400000011,7DEM001,bank,unblock\n":     "3 : row 2 says otherwise; 4 : row 2 says otherwise of all providers",
		blocksHeader + "1400000011,7DEM001,shop,block\n1400000011,7DEM001,bank,unblock\n1400000011,7DEM001,*,block\n":    "4 : row 3 says otherwise of one of them",
	} {
		if f := parsed(t, text); f.String() != want || f.total != len(f.listed) {
			t.Errorf("%q:\n got %s\nwant %s", text, f, want)
		}
	}
}

func TestFaultsAreListedByRow(t *testing.T) {
	f := parsed(t, namesHeader+strings.Repeat("x,\n", 300))
	if f.total != 600 || len(f.listed) != maxFaults || f.listed[0].Row != 2 || f.listed[99].Row != 51 {
		t.Errorf("%d in all, %d listed, from %v to %v", f.total, len(f.listed), f.listed[0], f.listed[len(f.listed)-1])
	}
	// What is found later may belong before.
	f.add(7, "name", "later")
	if f.total != 601 || len(f.listed) != maxFaults || f.listed[12].Detail != "later" || !slices.IsSortedFunc(f.listed, func(a, b ImportFault) int { return a.Row - b.Row }) {
		t.Errorf("%v", f.listed)
	}
}

func TestTooManyRows(t *testing.T) {
	var b strings.Builder
	b.WriteString(namesHeader)
	for i := range maxImportRows {
		fmt.Fprintf(&b, "%010d,a\n", i)
	}
	if f := parsed(t, b.String()); f.total != 0 || len(f.rows) != maxImportRows {
		t.Errorf("%d rows, %s", len(f.rows), f)
	}
	b.WriteString("9999999999,a\n")
	if f := parsed(t, b.String()); f.String() != "100002 : there are more than 100000 rows" {
		t.Error(f)
	}
}

// A file that breaks off because it did not come whole is none, wherever it does.
func TestFileThatDoesNotComeWhole(t *testing.T) {
	text := "\uFEFF" + blocksHeader + "1400000011,7DEM001,bank,block\n"
	failed := errors.New("the connection is gone")
	for n := range len(text) + 1 {
		if f, err := parseImport(io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(failed))); !errors.Is(err, failed) && (f == nil || f.total == 0) {
			t.Errorf("after %d octets: %v", n, err)
		}
	}
}

// written is the rows of a file as CSV, in another form than they may have come.
func written(f *importFile, comma rune, crlf bool) []byte {
	var b bytes.Buffer
	b.WriteString("\uFEFF")
	w := csv.NewWriter(&b)
	w.Comma, w.UseCRLF = comma, crlf
	columns := slices.Clone(f.columns)
	slices.Reverse(columns)
	w.Write(columns)
	for _, r := range f.rows {
		action := map[bool]string{true: "block", false: "unblock"}[r.block]
		all := map[string]string{"voen": string(r.voen), "fin": string(r.fin), "name": r.name, "given_name": r.givenName,
			"surname": r.surname, "provider": string(r.provider), "action": action}
		fields := make([]string, len(columns))
		for i, c := range columns {
			fields[i] = all[c]
		}
		w.Write(fields)
	}
	w.Flush()
	return b.Bytes()
}

// What is read from a file without faults is well-formed, and is read again
// from what it is written as.
func FuzzImport(f *testing.F) {
	for _, text := range []string{
		namesHeader + "1400000011,Nümunə MMC\n1400000022,\"a,b\"\n", "\uFEFFvoen;name\r\n1400000011;\"a;\"\"b\"\r\n",
		peopleHeader + "1400000011,7DEM001,Aysel,Məmmədova\n", blocksHeader + "1400000011,7DEM001,bank,block\n1400000011,7DEM002,*,unblock\n",
		"", "voen", namesHeader + "1400000011,\"a\nb", namesHeader + "1400000011,a\x00\xff\n", blocksHeader + ",,,\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		f, err := parseImport(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if f.total < len(f.listed) || len(f.listed) > maxFaults || f.total == 0 && len(f.rows) == 0 {
			t.Fatalf("%d faults, %d listed, %d rows", f.total, len(f.listed), len(f.rows))
		}
		for i, x := range f.listed {
			if x.Row < 1 || x.Row > bytes.Count(text, []byte("\n"))+1 || x.Detail == "" || i > 0 && x.Row < f.listed[i-1].Row {
				t.Fatalf("fault %+v", x)
			}
		}
		if f.total > 0 {
			return
		}
		for _, r := range f.rows {
			if _, err := policy.ParseVOEN(string(r.voen)); err != nil {
				t.Fatal(err)
			}
		}
		for comma, crlf := range map[rune]bool{',': true, ';': false} {
			again, err := parseImport(bytes.NewReader(written(f, comma, crlf)))
			if err != nil || again.total > 0 || again.kind != f.kind || len(again.rows) != len(f.rows) {
				t.Fatalf("%v, %s", err, again)
			}
			for i, r := range again.rows {
				r.line = f.rows[i].line
				if r != f.rows[i] {
					t.Fatalf("row %d is read as %+v, then as %+v", i, f.rows[i], r)
				}
			}
		}
	})
}

func BenchmarkImportParse(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(blocksHeader)
	for i := range 100_000 {
		fmt.Fprintf(&text, "1400000011,7A%05d,bank,block\n", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := parseImport(bytes.NewReader(text.Bytes()))
		if err != nil || f.total > 0 {
			b.Fatal(err, f)
		}
	}
}
