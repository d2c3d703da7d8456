package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Text writes one run, or two side by side, for a terminal.
func Text(w io.Writer, runs ...*Run) error {
	out := bufio.NewWriter(w)
	for i, r := range runs {
		mark := ""
		if len(runs) > 1 {
			mark = letter(i) + "  "
		}
		fmt.Fprintln(out, mark+oneLine(r.Name+": "+r.about()))
	}
	fmt.Fprintln(out)
	fmt.Fprintln(out, headline(runs))
	for _, v := range verdicts(runs) {
		fmt.Fprintln(out, map[string]string{good: "  ok  ", bad: "  !!  ", plain: "      "}[v.Kind]+oneLine(v.Text))
		for _, more := range v.More {
			fmt.Fprintln(out, "        "+oneLine(more))
		}
	}
	sheets := []Sheet{summary(runs), byPhase(runs), byStep(runs), byEnd(runs)}
	sheets = append(sheets, accounts(runs)...)
	for _, s := range append(sheets, byProcess(runs)) {
		s.text(out)
	}
	return out.Flush()
}

// about is when a run was, and of what.
func (r *Run) about() string {
	run := &r.Results.Run
	return fmt.Sprintf("%s, %s, seed %d, %s, %s", run.Started.UTC().Format("2006-01-02 15:04:05 UTC"), r.length().Round(100*time.Millisecond), run.Seed,
		many(int64(run.Cards), "subscriber", "subscribers"), many(int64(len(run.Providers)), "provider", "providers"))
}

// text writes a sheet in columns, figures to the right.
func (s Sheet) text(w io.Writer) {
	if len(s.Rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	if s.Title != "" {
		fmt.Fprintln(w, s.Title)
	}
	rows := [][]string{}
	if strings.Join(s.Columns, "") != "" {
		rows = append(rows, s.Columns)
	}
	for _, r := range s.Rows {
		rows = append(rows, r.Cells)
	}
	widths := make([]int, len(s.Columns))
	for _, cells := range rows {
		for i := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(oneLine(cells[i])))
		}
	}
	for _, cells := range rows {
		text := ""
		for i, cell := range cells {
			cell = oneLine(cell)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				text += cell + pad
			} else {
				text += "  " + pad + cell
			}
		}
		fmt.Fprintln(w, strings.TrimRight("  "+text, " "))
	}
}

// oneLine keeps what a file says from moving about on the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
