package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"imza/emulator/load"
)

// progress tells how far something has come: by a bar on a terminal, else by a
// line every few seconds. It is not safe for concurrent use.
type progress struct {
	bar *progressbar.ProgressBar // nil: lines

	w      io.Writer
	what   string
	from   int // where it began
	is, of int
	began  time.Time
	told   time.Time
}

// tellEvery is how often there is a line where there is no terminal.
const tellEvery = 5 * time.Second

func newProgress(w io.Writer, what string, is, of int) *progress {
	p := &progress{w: w, what: what, from: is, is: is, of: of, began: time.Now(), told: time.Now()}
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return p
	}
	// Of what is left, so that it tells the pace of now.
	p.bar = progressbar.NewOptions(of-is, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("cards"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth())
	return p
}

func (p *progress) add(n int) {
	p.is += n
	if p.bar != nil {
		_ = p.bar.Add(n)
		return
	}
	if time.Since(p.told) >= tellEvery {
		p.told = time.Now()
		fmt.Fprintf(p.w, "%s: %s of %s, %s a second\n", p.what, load.Thousands(p.is), load.Thousands(p.of), load.Thousands(int(float64(p.is-p.from)/time.Since(p.began).Seconds())))
	}
}

// close leaves the bar as it is.
func (p *progress) close() {
	if p.bar != nil {
		_ = p.bar.Exit()
		fmt.Fprintln(p.w)
	}
}
