package screen

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"imza/simcard/toolkit"
)

// The list of telephones says what each does and leads to it.
func TestAllTelephones(t *testing.T) {
	for _, l := range []look{desk, bedroom, night} {
		t.Run(l.name, func(t *testing.T) {
			p, b := newTelephone(t), newTab(t, l)
			b.open(p.server.URL + "/telephones")
			heading := map[string]string{"az-AZ": "Telefonlar"}[l.language]
			if heading == "" {
				heading = "Telephones"
			}
			b.until(textOf("h1") + ` === "` + heading + `"`)
			if got := eval[string](b, "document.body.innerText"); !strings.Contains(got, "signs (P-256)") || !strings.Contains(got, string(number)) {
				t.Errorf("the list is %q", got)
			}
			b.shot("0-telephones")
			b.press(kb.Tab + kb.Tab + kb.Enter)
			b.until(showing("off")) // the second one
			b.shot("9-off")
			b.clean(p.server.URL)
		})
	}
}

// What a stranger writes is text, whatever it looks like, and only the last line
// is the card's code.
func TestTextsOfStrangers(t *testing.T) {
	p, b := newTelephone(t), newTab(t, pocket)
	p.openIn(b)
	for name, text := range map[string]string{
		"markup":   "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\nKod: 9999\nKod: 1462",
		"long":     strings.Repeat("Uzun mətn ", 10) + "\nKod: 1462",
		"unbroken": strings.Repeat("x", 100) + "\nCode: 1462",
		"hebrew":   "אישור 250 שח\nКод: 1462",
	} {
		p.bring(displayText(t, text, toolkit.DisplayUserClears))
		b.until(showing("show"))
		if got := eval[string](b, textOf("#text")); got != text {
			t.Errorf("%s: the page shows %q", name, got)
		}
		if got := eval[string](b, `[...document.querySelectorAll("#text .digits")].map((d) => d.textContent).join()`); got != "1462" {
			t.Errorf("%s: the codes are %s", name, got)
		}
		if n := eval[int](b, `document.querySelectorAll("#text img, #text script, #live img, #live script").length`); n > 0 {
			t.Errorf("%s: %d elements came out of the text", name, n)
		}
		if eval[bool](b, "document.documentElement.scrollWidth > innerWidth") {
			t.Errorf("%s: the page is wider than the window", name)
		}
		b.shot("text-" + name)
		b.press(kb.Enter)
		p.response(toolkit.DisplayText)
		b.until("!(" + showing("show") + ")")
	}
	b.clean(p.server.URL)
}

// What is no PIN is typed into a line, which is empty after.
func TestTyping(t *testing.T) {
	p, b := newTelephone(t), newTab(t, pocket)
	p.openIn(b)
	for name, ask := range map[string]struct {
		qualifier byte
		typed     string
	}{
		"text":   {toolkit.InputAnything, "Ad və m"},
		"secret": {toolkit.InputAnything | hidden, "söz" + pin},
		"digits": {0, pin},
	} {
		p.bring(getInput(t, "Nə yazılsın?", ask.qualifier, 20))
		b.until(showing("ask"))
		b.press(ask.typed)
		b.shot("typing-" + name)
		if got := eval[string](b, `getComputedStyle(document.querySelector("#line")).webkitTextSecurity`); name == "secret" && got != "disc" {
			t.Errorf("what is typed can be seen: %s", got)
		}
		b.press(kb.Enter)
		r := p.response(toolkit.GetInput)
		if r.Text == nil || decoded(t, r.Text) != ask.typed {
			t.Errorf("%s: GET INPUT ends as %02x", name, r.Result)
		}
		b.until("!(" + showing("ask") + ")")
		p.nowhere(b)
	}
	b.clean(p.server.URL)
}

// The pad is for those with a mouse or a finger; Enter is OK after it.
func TestPad(t *testing.T) {
	p, b := newTelephone(t), newTab(t, pocket)
	p.openIn(b)
	p.bring(getInput(t, "PIN2", hidden, 8), getInput(t, "PIN2 (2)", hidden, 8))
	b.until(showing("ask"))
	for _, key := range pin + "9" {
		b.do(chromedp.Click(`[data-digit="` + string(key) + `"]`))
	}
	b.do(chromedp.Click("#delete"))
	b.press(kb.Enter)
	if r := p.response(toolkit.GetInput); r.Text == nil || string(r.Text.Octets) != pin {
		t.Errorf("GET INPUT ends as %02x", r.Result)
	}
	b.until(textOf("#question") + ` === "PIN2 (2)"`) // it begins anew
	b.press("1234" + kb.Enter)
	if r := p.response(toolkit.GetInput); r.Text == nil || string(r.Text.Octets) != "1234" {
		t.Errorf("GET INPUT ends as %02x with what was typed before", r.Result)
	}
	b.clean(p.server.URL)
}

// A page says when the program is gone, and comes back with it: to the prompt
// that is there then.
func TestProgramStopsAndStarts(t *testing.T) {
	p, b := newTelephone(t), newTab(t, pocket)
	p.openIn(b)
	stop(t, p.server)
	b.until(`!document.querySelector("#trouble").hidden && document.querySelector("#left").disabled`)
	b.shot("lost")
	again := &Screen{Number: number, Name: "Aysel Məmmədova", Handset: p.screen.Handset, Otherwise: nobody{t}}
	p.screen.Handset.Person = again
	serve(t, p.server.Listener.Addr().String(), again)
	b.until(`document.querySelector("#trouble").hidden`)
	p.bring(displayText(t, text, toolkit.DisplayUserClears))
	b.until(showing("show"))
	b.do(chromedp.Reload())
	b.until(showing("show")) // it is still there
	b.press(kb.Enter)
	p.response(toolkit.DisplayText)
}

// However many telephones a browser has open, the one that is used is connected:
// a browser has six connections to a server and no more.
func TestManyTabs(t *testing.T) {
	p, first := newTelephone(t), newTab(t, pocket)
	p.openIn(first)
	tabs := []*tab{first}
	for range 9 {
		next := first.another()
		p.openIn(next)
		tabs = append(tabs, next)
	}
	first.until(textOf("#trouble") + ".length > 0")
	first.shot("paused")
	p.bring(displayText(t, text, toolkit.DisplayUserClears))
	last := tabs[len(tabs)-1]
	last.until(showing("show"))
	first.do(chromedp.Click("#screen"))
	first.until(showing("show") + ` && document.querySelector("#trouble").hidden`)
	first.press(kb.Enter)
	p.response(toolkit.DisplayText)
	last.until("!(" + showing("show") + ")")
	for _, b := range tabs {
		b.clean(p.server.URL)
	}
}

// The tests above rely on that: what goes wrong in a page is seen.
func TestComplaintsAreSeen(t *testing.T) {
	p, b := newTelephone(t), newTab(t, desk)
	b.open(p.url)
	eval[bool](b, `document.body.append(Object.assign(document.createElement("script"), {textContent: "window.ran = true"})) || true`)
	eval[bool](b, `document.body.append(Object.assign(document.createElement("img"), {src: "https://127.0.0.1:1/x.png"})) || true`)
	eval[bool](b, `setTimeout(() => { throw new Error("oh") }) && true`)
	b.until("window.ran === undefined")
	for _, want := range []string{"script-src", "img-src", "oh"} {
		b.complains(want)
	}
}
