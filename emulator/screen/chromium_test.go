package screen

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"imza/emulator/screen/browsertest"
)

// look is who looks at a page, and on what.
type look struct {
	name          string
	width, height int64
	scheme        string // light or dark
	language      string
}

var (
	desk    = look{"desk-light-en", 1100, 900, "light", "en-GB"}
	night   = look{"desk-dark-az", 1100, 900, "dark", "az-AZ"}
	pocket  = look{"pocket-light-az", 360, 740, "light", "az"}
	bedroom = look{"pocket-dark-en", 360, 740, "dark", "ru-RU"} // whose language the page does not have
)

// tab is a page in a real browser. Its complaints are what the browser said of
// the page.
type tab struct {
	testing.TB
	ctx  context.Context
	look look

	complaints *browsertest.Complaints

	mu       sync.Mutex
	requests []string // their addresses
}

// newTab starts a browser of its own.
func newTab(t testing.TB, l look) *tab {
	t.Helper()
	b := &tab{TB: t, ctx: browsertest.Start(t, 2*time.Minute), look: l}
	b.prepare()
	return b
}

// another is a tab of the same browser.
func (b *tab) another() *tab {
	b.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx)
	b.Cleanup(closeTab)
	next := &tab{TB: b.TB, ctx: ctx, look: b.look}
	next.prepare()
	return next
}

func (b *tab) prepare() {
	b.Helper()
	b.must(chromedp.Listen(b.ctx, b.listen))
	call(b, network.Enable, network.EnableParams{})
	b.complaints = browsertest.Listen(b, b.ctx)
	call(b, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{
		UserAgent: eval[string](b, "navigator.userAgent"), AcceptLanguage: b.look.language})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: b.look.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	b.do(chromedp.EmulateViewport(b.look.width, b.look.height))
}

func (b *tab) listen(event any) {
	if e, ok := event.(*network.EventRequestWillBeSent); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.requests = append(b.requests, e.Request.URL)
	}
}

// clean checks that the browser has had nothing to say, and that the page spoke
// to nobody but its server.
func (b *tab) clean(server string) {
	b.Helper()
	for _, c := range b.complaints.All() {
		b.Error(c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if !strings.HasPrefix(r, server) && r != "about:blank" {
			b.Errorf("the page asked for %s", r)
		}
	}
}

// complains waits for the browser to have something to say.
func (b *tab) complains(of string) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		all := strings.Join(b.complaints.All(), "\n")
		if strings.Contains(all, of) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the browser does not complain of %s:\n%s", of, all)
		}
	}
}

func (b *tab) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *tab) do(a chromedp.Action[chromedp.Void]) {
	b.Helper()
	b.must(chromedp.Do(b.ctx, a))
}

func (b *tab) open(url string) {
	b.Helper()
	b.do(chromedp.Navigate(url))
}

// press types characters, and keys of package kb.
func (b *tab) press(keys string) {
	b.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// eval is what an expression is in the page.
func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true. It asks from outside: chromedp's
// own way makes code from text in the page, which the page's policy forbids.
func (b *tab) until(expression string) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); !eval[bool](b, "Boolean("+expression+")"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("it never came to: %s\n%s", expression, eval[string](b, "document.body.innerText"))
		}
	}
}

// shot writes a picture of the page where the environment says.
func (b *tab) shot(name string) {
	b.Helper()
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must(err)
	dir := os.Getenv("IMZA_SCREENSHOTS")
	if dir == "" {
		dir = b.TempDir()
	}
	b.must(os.MkdirAll(dir, 0o755))
	b.must(os.WriteFile(filepath.Join(dir, b.look.name+"-"+name+".png"), png, 0o644))
}

// call has the browser carry out a command of its protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], params P) R {
	b.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	b.must(err)
	return r
}
