package cabinet

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"imza/policy"
)

// The kinds of a file that is imported; its columns say which it is of.
const (
	ofOrganisations = "organisations"
	ofEmployees     = "employees"
	ofBlocks        = "blocks"
)

var importColumns = []struct {
	kind  string
	names []string
}{
	{ofBlocks, []string{"voen", "fin", "provider", "action"}},
	{ofEmployees, []string{"voen", "fin", "given_name", "surname"}},
	{ofOrganisations, []string{"voen", "name"}},
}

// allProviders stands for every provider in the column of a block's, also for
// those that join later.
const allProviders policy.Provider = "*"

const (
	maxImportRows = 100_000
	maxName       = 200 // characters
	maxFaults     = 100 // that are listed
)

// ImportFault is what is wrong with one row of a file.
type ImportFault struct {
	Row    int    `json:"row"` // the line in which it starts; the header's is 1
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// faults are the first of all that is wrong with a file, by row.
type faults struct {
	listed []ImportFault
	total  int
}

func (f *faults) add(row int, field, detail string) {
	f.total++
	at, _ := slices.BinarySearchFunc(f.listed, row+1, func(l ImportFault, row int) int { return cmp.Compare(l.Row, row) })
	f.listed = slices.Insert(f.listed, at, ImportFault{row, field, detail})
	f.listed = f.listed[:min(len(f.listed), maxFaults)]
}

// importRow is one row of a file. Which fields it has depends on the kind.
type importRow struct {
	line               int
	voen               policy.VOEN
	fin                policy.FIN
	name               string
	givenName, surname string
	provider           policy.Provider
	block              bool
}

func (r *importRow) employee() policy.Employee { return policy.Employee{VOEN: r.voen, FIN: r.fin} }

// importFile is a file as it is read: the header first, so that somebody who
// may not import such a file need not be heard out.
type importFile struct {
	kind string
	rows []importRow // those that are well-formed
	faults

	csv     *csv.Reader
	columns []string // in the order of the file
	// Where in rows is what is said of an organisation, of an employee, or of an
	// employee and a provider.
	said map[importCell]int
	// The first rows that block, and that unblock, an employee for one provider.
	single map[importCell]int
}

type importCell struct {
	employee policy.Employee
	provider policy.Provider
	block    bool // of single
}

// openImport reads the header. What is wrong with it is among the faults; then
// the kind may be empty, and rows cannot be read.
func openImport(r io.Reader) (*importFile, error) {
	buffered := bufio.NewReader(r)
	if mark, _ := buffered.Peek(3); string(mark) == "\uFEFF" {
		buffered.Discard(3)
	}
	f := &importFile{csv: csv.NewReader(buffered), said: make(map[importCell]int), single: make(map[importCell]int)}
	f.csv.FieldsPerRecord = -1 // a wrong number is a fault, and the next row is looked at
	f.csv.ReuseRecord = true
	// No column's name has a separator in it, so that the header tells which it is.
	start, _ := buffered.Peek(buffered.Size())
	if header, _, _ := bytes.Cut(start, []byte("\n")); bytes.IndexByte(header, ';') >= 0 {
		f.csv.Comma = ';'
	}
	header, err := f.csv.Read()
	var broken *csv.ParseError
	switch {
	case errors.Is(err, io.EOF):
		f.add(1, "", "the file is empty")
	case errors.As(err, &broken):
		f.addBroken(broken)
	case err != nil:
		return nil, err
	default:
		line, _ := f.csv.FieldPos(0)
		f.setColumns(line, slices.Clone(header))
	}
	return f, nil
}

// setColumns takes the kind to which the header comes nearest, and names all
// in which it differs.
func (f *importFile) setColumns(line int, header []string) {
	nearest, fewest := importColumns[0], len(header)+len(importColumns)*4
	for _, c := range importColumns {
		wrong := 0
		for _, name := range header {
			if !slices.Contains(c.names, name) {
				wrong++
			}
		}
		for _, name := range c.names {
			if !slices.Contains(header, name) {
				wrong++
			}
		}
		if wrong < fewest {
			nearest, fewest = c, wrong
		}
	}
	format := nearest.kind + " (" + strings.Join(nearest.names, ",") + ")"
	for i, name := range header {
		if !slices.Contains(nearest.names, name) {
			f.add(line, shown(name), "is not a column of "+format)
		} else if slices.Index(header, name) < i {
			f.add(line, name, "is there twice")
		}
	}
	for _, name := range nearest.names {
		if !slices.Contains(header, name) {
			f.add(line, name, "is missing, a column of "+format)
		}
	}
	if f.total == 0 {
		f.kind, f.columns = nearest.kind, header
	}
}

// shown is some text of the file for people to see, in a terminal too.
func shown(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text[:min(len(text), 200)])
	if runes := []rune(text); len(runes) > 40 {
		text = string(runes[:40]) + "…"
	}
	return text
}

func (f *importFile) addBroken(e *csv.ParseError) {
	f.add(e.StartLine, "", fmt.Sprintf("broken quotes in line %d, column %d", e.Line, e.Column))
}

// readRows reads all rows. It fails only if the file cannot be read; what is
// wrong with rows is among the faults.
func (f *importFile) readRows() error {
	read := 0
	for {
		fields, err := f.csv.Read()
		var broken *csv.ParseError
		if errors.Is(err, io.EOF) {
			if read == 0 {
				f.add(1, "", "there are no rows")
			}
			return nil
		}
		read++
		switch {
		case errors.As(err, &broken):
			f.addBroken(broken)
			continue
		case err != nil:
			return err
		}
		line, _ := f.csv.FieldPos(0)
		if read > maxImportRows {
			f.add(line, "", fmt.Sprintf("there are more than %d rows", maxImportRows))
			return nil
		}
		if len(fields) != len(f.columns) {
			f.add(line, "", fmt.Sprintf("fields: %d, columns: %d", len(fields), len(f.columns)))
			continue
		}
		f.addRow(line, fields)
	}
}

// addRow takes one row, if all is well with it.
func (f *importFile) addRow(line int, fields []string) {
	r := importRow{line: line}
	before := f.total
	for i, column := range f.columns {
		if wrong := r.set(column, fields[i]); wrong != "" {
			f.add(line, column, wrong)
		}
	}
	if f.total > before {
		return
	}
	if clash := f.clash(r); clash != "" {
		f.add(line, "", clash)
		return
	}
	f.said[importCell{r.employee(), r.provider, false}] = len(f.rows)
	if single := (importCell{r.employee(), "", r.block}); r.provider != allProviders {
		if _, ok := f.single[single]; !ok && f.kind == ofBlocks {
			f.single[single] = len(f.rows)
		}
	}
	f.rows = append(f.rows, r)
}

// clash tells with which row before it a row does not go together: each says
// something of its own, so that their order means nothing. To block for all
// providers and unblock for one would depend on it.
func (f *importFile) clash(r importRow) string {
	if i, ok := f.said[importCell{r.employee(), r.provider, false}]; ok {
		was := f.rows[i]
		was.line = r.line
		if was == r {
			return fmt.Sprintf("the same as row %d", f.rows[i].line)
		}
		return fmt.Sprintf("row %d says otherwise", f.rows[i].line)
	}
	if f.kind != ofBlocks {
		return ""
	}
	if i, ok := f.said[importCell{r.employee(), allProviders, false}]; ok && f.rows[i].block != r.block {
		return fmt.Sprintf("row %d says otherwise of all providers", f.rows[i].line)
	}
	if i, ok := f.single[importCell{r.employee(), "", !r.block}]; ok && r.provider == allProviders {
		return fmt.Sprintf("row %d says otherwise of one of them", f.rows[i].line)
	}
	return ""
}

// set reads one field, and tells what is wrong with it.
func (r *importRow) set(column, text string) (wrong string) {
	var err error
	switch column {
	case "voen":
		if r.voen, err = policy.ParseVOEN(text); err != nil {
			return "ten digits"
		}
	case "fin":
		if r.fin, err = policy.ParseFIN(text); err != nil {
			return finWanted
		}
	case "provider":
		if r.provider = policy.Provider(text); r.provider == allProviders {
			return ""
		}
		if _, err = policy.ParseProvider(text); err != nil {
			return providerWanted + "; or *"
		}
	case "action":
		if r.block = text == "block"; !r.block && text != "unblock" {
			return "block or unblock"
		}
	case "name":
		r.name = text
		return wrongName(text)
	case "given_name":
		r.givenName = text
		return wrongName(text)
	case "surname":
		r.surname = text
		return wrongName(text)
	}
	return ""
}

// wrongName tells what is wrong with a name. Anything that can be read is a
// name, also what would be more than that elsewhere, in SQL or a spreadsheet.
func wrongName(name string) string {
	switch {
	case !utf8.ValidString(name):
		return "is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has a control character in it"
	case strings.TrimSpace(name) == "":
		return "is empty"
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Sprintf("is longer than %d characters", maxName)
	}
	return ""
}
