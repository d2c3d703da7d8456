package report_test

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"imza/emulator/load"
	"imza/emulator/report"
	"imza/emulator/screen/browsertest"
)

// Opened as a file, with no network, in a browser: every chart is drawn, nothing
// else is asked for, and the browser has nothing to say. Pictures of it are kept in
// bin/screenshots, or where IMZA_SCREENSHOTS says.
func TestPageInABrowser(t *testing.T) {
	people := played{name: "people.imza", seed: 3, phases: []load.Phase{{Name: "30/s", From: 30, To: 30, Duration: time.Minute}}, slow: 1, think: 3 * time.Second, moody: 0.2}
	one := written(t, after.of(t))
	two := written(t, before.of(t), after.of(t))
	b := newBrowser(t)
	for _, look := range []struct {
		name, file, scheme string
		width              int64
		charts             int
	}{
		{"report-one-light", one, "light", 1180, 8},
		{"report-one-dark", one, "dark", 1180, 8},
		{"report-one-telephone", one, "light", 390, 8},
		{"report-two-light", two, "light", 1180, 13},
		{"report-two-telephone", two, "dark", 390, 13},
		{"report-people", written(t, people.of(t)), "light", 1180, 8},
	} {
		b.open(look.file, look.scheme, look.width)
		b.drawn(look.name, look.charts)
		b.keep(look.name + ".png")
	}
	b.prints("report-one.pdf", one)
	b.clean()
}

// A file may say what it will: nothing of it becomes a script, markup or a colour.
func TestHostileNames(t *testing.T) {
	const name = `</script><script>document.title="taken"</script><img src=x onerror=alert(1)>--blue{a|b}`
	hostile := after
	hostile.name = name
	hostile.phases = stairs()
	for i := range hostile.phases {
		hostile.phases[i].Name = name
	}
	hostile.spoil = func(e *load.Ending) {
		e.Notes = []string{name}
		e.Balance.Lines = append(e.Balance.Lines, load.Line{What: name})
	}
	b := newBrowser(t)
	b.open(written(t, hostile.of(t)), "light", 1000)
	b.drawn("hostile names", 8)
	b.clean()
	if title := eval[string](b, "document.title"); strings.Contains(title, "taken") {
		t.Errorf("the title is %q", title)
	}
	if n := eval[int](b, "document.images.length"); n != 0 {
		t.Errorf("%d images on the page", n)
	}
}

// written writes a page and returns its file.
func written(t *testing.T, runs ...*report.Run) string {
	t.Helper()
	var out bytes.Buffer
	must(t, report.Page(&out, runs...))
	path := filepath.Join(t.TempDir(), "report.html")
	must(t, os.WriteFile(path, out.Bytes(), 0o644))
	return path
}

// browser is a tab that is offline.
type browser struct {
	*testing.T
	tab        context.Context
	complaints *browsertest.Complaints

	mu    sync.Mutex
	asked []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{T: t, tab: browsertest.Start(t, 2*time.Minute)}
	must(t, chromedp.Listen(b.tab, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.asked = append(b.asked, e.Request.URL)
		}
	}))
	b.complaints = browsertest.Listen(t, b.tab)
	_, err := chromedp.Call(b.tab, network.Enable, network.EnableParams{})
	must(t, err)
	_, err = chromedp.Call(b.tab, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: true}}})
	must(t, err)
	return b
}

func eval[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.tab, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *browser) open(file, scheme string, width int64) {
	b.Helper()
	_, err := chromedp.Call(b.tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	must(b, err)
	must(b, chromedp.Do(b.tab, chromedp.EmulateViewport(width, 900)))
	must(b, chromedp.Do(b.tab, chromedp.Navigate((&url.URL{Scheme: "file", Path: file}).String())))
}

// drawn checks that there is something in every chart: lines, rows or dots with
// figures beside them, and no place left empty.
func (b *browser) drawn(name string, charts int) {
	b.Helper()
	if n := eval[int](b, `document.querySelectorAll(".chart").length`); n != charts {
		b.Errorf("%s: %d places for charts, want %d", name, n, charts)
	}
	empty := eval[[]string](b, `[...document.querySelectorAll(".chart")].filter((c) => {
		const texts = c.querySelectorAll("svg text").length;
		const shapes = [...c.querySelectorAll("svg path")].filter((p) => p.getBoundingClientRect().width > 3).length;
		return c.getBoundingClientRect().height < 60 || texts < 3 || shapes < 3;
	}).map((c) => c.id)`)
	for _, id := range empty {
		b.Errorf("%s: there is nothing in %s", name, id)
	}
	if wide := eval[bool](b, "document.documentElement.scrollWidth > document.documentElement.clientWidth"); wide {
		b.Errorf("%s: the page is wider than the screen", name)
	}
}

// keep keeps a picture of the whole page.
func (b *browser) keep(name string) {
	b.Helper()
	png, err := chromedp.Run(b.tab, chromedp.FullScreenshot(100))
	must(b, err)
	b.file(name, png)
}

// prints keeps the page as it is printed.
func (b *browser) prints(name, file string) {
	b.Helper()
	b.open(file, "dark", 1180) // paper is white all the same
	yes := true
	pdf, err := chromedp.Call(b.tab, page.PrintToPDF, page.PrintToPDFParams{PrintBackground: &yes, PreferCSSPageSize: &yes})
	must(b, err)
	b.file(name, pdf.Data)
}

func (b *browser) file(name string, content []byte) {
	b.Helper()
	if len(content) < 10_000 {
		b.Errorf("%s has %d octets", name, len(content))
	}
	dir := os.Getenv("IMZA_SCREENSHOTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin", "screenshots")
	}
	must(b, os.MkdirAll(dir, 0o755))
	path, err := filepath.Abs(filepath.Join(dir, name))
	must(b, err)
	must(b, os.WriteFile(path, content, 0o644))
	must(b, os.WriteFile(filepath.Join(b.ArtifactDir(), name), content, 0o644))
	b.Logf("%s", path)
}

// clean checks that the browser had nothing to say, and asked for the file alone.
func (b *browser) clean() {
	b.Helper()
	for _, c := range b.complaints.All() {
		b.Error(c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, address := range b.asked {
		if !strings.HasPrefix(address, "file:///") || !strings.HasSuffix(address, "/report.html") {
			b.Errorf("the page asked for %.100s", address)
		}
	}
	if len(b.asked) == 0 {
		b.Error("no request was heard of")
	}
}
