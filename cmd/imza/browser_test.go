package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"imza/emulator/screen/browsertest"
)

// browser is a Chromium before a person who has nothing but the keyboard.
type browser struct {
	*testing.T
	ctx        context.Context
	complaints *browsertest.Complaints
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	ctx := browsertest.Start(t, time.Minute)
	b := &browser{T: t, ctx: ctx, complaints: browsertest.Listen(t, ctx)}
	b.must(chromedp.Do(ctx, chromedp.EmulateViewport(900, 900)))
	return b
}

func (b *browser) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// press types characters, and keys of package kb.
func (b *browser) press(keys string) {
	b.Helper()
	b.must(chromedp.Do(b.ctx, chromedp.KeyEvent(keys)))
}

// is tells what an expression is in the page.
func is[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true. It asks from outside: chromedp's
// own way makes code from text in the page, which the page's policy forbids.
func (b *browser) until(expression string) {
	b.Helper()
	eventually(b, expression, func() bool { return is[bool](b, "Boolean("+expression+")") })
}

// asks waits until the telephone asks for something, types it, and sees to it
// that it is nowhere in the page.
func (b *browser) asks(text, digits string) {
	b.Helper()
	b.until(fmt.Sprintf(`document.body?.dataset.showing === "ask" && document.querySelector("#question")?.textContent === %q`, text))
	b.press(digits)
	b.until(fmt.Sprintf(`document.querySelectorAll("#dots .full").length === %d && document.querySelector("#left")?.disabled === false`, len(digits)))
	if strings.Contains(is[string](b, "document.documentElement.outerHTML"), digits) {
		b.Errorf("%s was typed, and is in the page", digits)
	}
	b.press(kb.Enter)
}

// says waits for a note.
func (b *browser) says(text string) {
	b.Helper()
	b.until(fmt.Sprintf(`[...document.querySelectorAll("#said, #strip")].some((e) => e.textContent === %q)`, text))
}

// reads waits for a text that is to be signed, and returns its code.
func (b *browser) reads(text string) (code string) {
	b.Helper()
	b.until(fmt.Sprintf(`document.body?.dataset.showing === "show" && document.querySelector("#text")?.textContent.startsWith(%q)`, text))
	return is[string](b, `document.querySelector("#text .digits").textContent`)
}

// shot writes a picture of the page where IMZA_SCREENSHOTS says.
func (b *browser) shot(name string) {
	b.Helper()
	dir := os.Getenv("IMZA_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	b.must(err)
	b.must(os.MkdirAll(dir, 0o755))
	b.must(os.WriteFile(filepath.Join(dir, "up-"+name+".png"), png, 0o644))
}

// Somebody is the first demo subscriber in the browser, with the real card behind
// the page: two signatures, a wrong PIN, and another PIN2 in between.
func TestTelephoneInTheBrowser(t *testing.T) {
	p, b := boot(t, upCommand{gatewayFlags: gatewayFlags{PromptLimit: 100}}), openBrowser(t)
	b.must(chromedp.Do(b.ctx, chromedp.Navigate(p.url()+"/telephones")))
	b.until(fmt.Sprintf(`document.querySelectorAll("a[href^='/telephones/']").length === %d`, len(p.demo.screens)))
	b.shot("1-telephones")
	b.press(kb.Tab)
	if at := is[string](b, "document.activeElement.getAttribute('href')"); at != "/telephones/"+demoMSISDN(1).Digits() {
		t.Fatalf("the first key leads to %q", at)
	}
	b.press(kb.Enter)
	idle := `document.body?.dataset.showing === "idle" && document.querySelector("#left")?.disabled === false`
	b.until(`location.pathname === "/telephones/` + demoMSISDN(1).Digits() + `" && ` + idle)

	asked := p.requests(t, 1)
	code := b.reads("Müqavilə № 7")
	b.shot("2-text")
	b.press(kb.Enter)
	b.asks("PIN2 daxil edin", "99999")
	b.asks("PIN2 səhvdir. Qalan cəhd: 2", demoPIN2)
	b.says("İmzalandı")
	b.shot("3-signed")
	asked.signed(code)

	const newPIN2 = "86420"
	b.press("m")
	b.until(`document.body?.dataset.showing === "list"`)
	if item := is[string](b, `document.querySelectorAll("#items button")[1].textContent`); item != "PIN2 dəyişmək" {
		t.Fatalf("the menu's second item is %q", item)
	}
	b.press(kb.ArrowDown + kb.Enter)
	b.asks("Hazırkı PIN2", demoPIN2)
	b.asks("Yeni PIN2", newPIN2)
	b.asks("Yeni PIN2, təkrar", newPIN2)
	b.until(`document.body?.dataset.showing === "show" && document.querySelector("#text").textContent === "PIN2 dəyişdirildi"`)
	b.shot("4-changed")
	b.press(kb.Enter)
	b.until(idle)

	asked = p.requests(t, 1)
	code = b.reads("Müqavilə № 7")
	b.press(kb.Enter)
	b.asks("PIN2 daxil edin", demoPIN2) // no longer
	b.asks("PIN2 səhvdir. Qalan cəhd: 2", newPIN2)
	b.says("İmzalandı")
	asked.signed(code)

	asked = p.requests(t, 1)
	b.reads("Müqavilə № 7")
	b.press(kb.Escape)
	asked.refused("cancelled_by_user")

	for _, c := range b.complaints.All() {
		t.Error(c)
	}
}
