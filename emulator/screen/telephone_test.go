package screen

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"imza/emulator"
	"imza/simcard/toolkit"
)

// telephone is a handset with a scripted card, whose person is at the browser.
type telephone struct {
	testing.TB
	card   *script
	screen *Screen
	url    string // of its page
	server *httptest.Server
	sent   chan []byte
}

func newTelephone(t testing.TB) *telephone {
	t.Helper()
	p := &telephone{TB: t, sent: make(chan []byte, 10)}
	p.card = newScript(list(t, toolkit.SetUpMenu, "imza", "PİN-i dəyiş", "Bloku aç", "Kart haqqında"))
	p.screen = &Screen{Number: number, Name: "Aysel Məmmədova", About: "signs (P-256)", Otherwise: nobody{t}}
	p.screen.Handset = &emulator.Handset{Card: p.card, Person: p.screen, Log: slog.New(slog.DiscardHandler),
		Send: func(tpdu []byte) error { p.sent <- tpdu; return nil }}
	if err := p.screen.Handset.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.screen.Handset.SwitchOff)
	p.server = serve(t, "", p.screen, &Screen{Number: "+994500000006", Name: "Elçin İsmayılov", About: "has the telephone switched off", Off: true})
	p.url = p.server.URL + path
	p.response(toolkit.SetUpMenu)
	return p
}

// openIn opens the page, and waits until it is connected: there is a menu.
func (p *telephone) openIn(b *tab) {
	p.Helper()
	b.open(p.url)
	b.until(showing("idle") + ` && !document.querySelector("#left").disabled`)
}

// bring has the card begin a session.
func (p *telephone) bring(commands ...toolkit.Command) {
	p.Helper()
	p.card.next(commands...)
	if err := p.screen.Handset.Deliver(download(p)); err != nil {
		p.Fatal(err)
	}
}

// response is the next that the card is told.
func (p *telephone) response(to toolkit.Type) toolkit.Response {
	p.Helper()
	r := receive(p, p.card.responses, "a terminal response")
	if r.Type != to {
		p.Fatalf("the card was told of command %02x, want %02x", r.Type, to)
	}
	return r
}

const hidden = toolkit.InputHidden

func showing(view string) string { return `document.body?.dataset.showing === "` + view + `"` }

func textOf(selector string) string { return `document.querySelector("` + selector + `")?.textContent` }

// A person reads, types the PIN, sees the result, uses the menu and cancels,
// with nothing but keys.
func TestTelephoneByKeyboard(t *testing.T) {
	for _, l := range []look{desk, night, pocket, bedroom} {
		t.Run(l.name, func(t *testing.T) {
			p, b := newTelephone(t), newTab(t, l)
			p.openIn(b)
			b.shot("1-idle")
			p.signs(b)
			p.usesMenu(b)
			p.cancels(b)
			b.clean(p.server.URL)
			p.isBusy(b) // which the browser notes as an error
		})
	}
}

const text = "Nümunə MMC: müqavilə № 17 — 250 ₼\nKod: 1462"

func (p *telephone) signs(b *tab) {
	p.Helper()
	p.bring(displayText(p, text, toolkit.DisplayUserClears), getInput(p, "PIN2 daxil edin", hidden, 8),
		sendMessage(p, "Cavab göndərilir"), displayText(p, "İmzalandı", 0))
	b.until(showing("show"))
	if got := eval[string](b, textOf("#text")); got != text {
		p.Errorf("the page shows %q, want %q", got, text)
	}
	if got := eval[string](b, textOf("#text .digits")); got != "1462" {
		p.Errorf("the code is %q", got)
	}
	if got := eval[string](b, textOf("#live")); got != text {
		p.Errorf("a screen reader is told %q", got)
	}
	b.shot("2-text")
	b.press(kb.Enter)
	p.response(toolkit.DisplayText)
	b.until(showing("ask"))
	p.typesPIN(b)
	if r := p.response(toolkit.GetInput); r.Result != toolkit.Done || string(r.Text.Octets) != pin {
		p.Errorf("GET INPUT ends as %02x", r.Result)
	}
	b.until(showing("note") + " && " + textOf("#said") + ` === "İmzalandı"`)
	b.shot("4-result")
	p.nowhere(b)
}

// typesPIN with a slip of the finger.
func (p *telephone) typesPIN(b *tab) {
	p.Helper()
	ok := `!document.querySelector("#left").disabled`
	b.press(pin[:2] + "9" + kb.Backspace + pin[2:3])
	if eval[bool](b, ok) {
		p.Error("OK can be pressed after three digits of four")
	}
	b.press(kb.Enter) // does nothing
	if got := eval[int](b, `document.querySelectorAll("#dots .full").length`); got != 3 {
		p.Errorf("%d dots after three digits", got)
	}
	b.press(pin[3:])
	b.until(ok)
	b.shot("3-pin")
	p.nowhere(b)
	b.press(kb.Enter)
}

// nowhere checks that the PIN is not in the page, in what the browser keeps of
// it, or in an address.
func (p *telephone) nowhere(b *tab) {
	p.Helper()
	b.mu.Lock()
	requests := strings.Join(b.requests, " ")
	b.mu.Unlock()
	for what, text := range map[string]string{
		"the page":   eval[string](b, "document.documentElement.outerHTML"),
		"inputs":     eval[string](b, `[...document.querySelectorAll("input")].map((i) => i.value).join()`),
		"storage":    eval[string](b, "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state, document.cookie, document.title])"),
		"an address": requests,
	} {
		if strings.Contains(text, pin) {
			p.Errorf("what was typed is in %s", what)
		}
	}
}

func (p *telephone) usesMenu(b *tab) {
	p.Helper()
	p.response(toolkit.SendShortMessage)
	p.response(toolkit.DisplayText)
	b.press(kb.Enter) // clears the note
	b.until(showing("idle"))
	p.card.next(list(p, toolkit.SelectItem, "Hansı PİN?", "PİN 1", "PİN 2", "Telefonun PİN-i"), sendMessage(p, "Hazırdır"))
	b.press("m")
	b.until(showing("list"))
	if got := eval[string](b, textOf("#title")); got != "imza" {
		p.Errorf("the menu's title is %q", got)
	}
	b.press(kb.ArrowDown)
	b.shot("5-menu")
	b.press(kb.Enter)
	b.until(showing("list") + " && " + textOf("#title") + ` === "Hansı PİN?"`)
	b.press(kb.Tab + kb.ArrowUp + kb.ArrowUp) // round the end
	b.shot("6-list")
	b.press(kb.Enter)
	if r := p.response(toolkit.SelectItem); r.Result != toolkit.Done || r.Item != 3 {
		p.Errorf("SELECT ITEM ends as %02x with item %d", r.Result, r.Item)
	}
	p.response(toolkit.SendShortMessage)
	b.until(textOf("#said") + ` === "Hazırdır"`)
	if got := p.card.choices(); string(got) != "\x02" {
		p.Errorf("items % x were chosen from the menu", got)
	}
	b.press("m" + kb.Escape) // there, and back
	b.until(showing("idle"))
}

func (p *telephone) isBusy(b *tab) {
	p.Helper()
	b.press(kb.Escape)
	b.until(showing("idle"))
	b.press("m" + kb.Enter)
	b.until(showing("note"))
	b.shot("8-busy")
}

func (p *telephone) cancels(b *tab) {
	p.Helper()
	p.bring(displayText(p, text, toolkit.DisplayUserClears))
	b.until(showing("show"))
	b.press(kb.Escape)
	if r := p.response(toolkit.DisplayText); r.Result != toolkit.SessionEnded {
		p.Errorf("DISPLAY TEXT ends as %02x", r.Result)
	}
	p.bring(getInput(p, "PIN2 daxil edin", hidden, 8))
	b.until(showing("ask"))
	b.press(pin)
	b.press(kb.Escape)
	if r := p.response(toolkit.GetInput); r.Result != toolkit.SessionEnded || r.Text != nil {
		p.Errorf("GET INPUT ends as %02x", r.Result)
	}
	b.until(showing("note"))
	p.nowhere(b)
	b.shot("7-cancelled")
}
