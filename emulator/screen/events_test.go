package screen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"imza/emulator"
	"imza/simcard/toolkit"
)

// Something is sent every 15 seconds, so that a page that is gone is noticed.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path+"/events", nil)
		w := httptest.NewRecorder()
		s := &Screen{}
		done := make(chan error)
		go func() { done <- s.events(echo.New().NewContext(r, w)) }()
		time.Sleep(31 * time.Second)
		leave()
		if err := <-done; err != nil || s.pages != 0 {
			t.Errorf("%v, and %d pages are open", err, s.pages)
		}
		if got := w.Body.String(); !w.Flushed || strings.Count(got, ":\n\n") != 2 || strings.Count(got, "data: ") != 1 {
			t.Errorf("in half a minute in which nothing happened: %q", got)
		}
	})
}

// The server's limits on requests are not for streams.
func TestStreamOutlivesLimits(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	time.Sleep(3 * limit / 2)
	ask(t.Context(), s, shows)
	page.prompted()
}

// A handset's menu is on the page when the card has put it there, and away when
// the telephone is switched off.
func TestMenuIsFollowed(t *testing.T) {
	card := newScript(list(t, toolkit.SetUpMenu, "imza", "bir", "iki"))
	s := &Screen{Number: number}
	s.Handset = &emulator.Handset{Card: card, Person: s, Log: slog.New(slog.DiscardHandler)}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	if err := s.Handset.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	receive(t, card.responses, "the response to SET UP MENU")
	got := page.until("the menu", func(s state) bool { return len(s.Menu.Items) > 0 }).Menu
	if want := (menuState{"imza", []itemState{{1, "bir"}, {2, "iki"}}}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the menu is %v, want %v", got, want)
	}
	if status, body := send(t, server.URL+path+"/select", map[string]any{"item": 3}); status != http.StatusBadRequest || !strings.Contains(body, `"field":"item"`) {
		t.Errorf("an item that is not there: %d %s", status, body)
	}
	if status, body := send(t, server.URL+path+"/select", map[string]any{"item": 2}); status != http.StatusConflict || !strings.Contains(body, "card_busy") {
		t.Errorf("a card that is busy: %d %s", status, body)
	}
	card.next()
	if status, body := send(t, server.URL+path+"/select", map[string]any{"item": 2}); status != http.StatusNoContent || string(card.choices()) != "\x02" {
		t.Errorf("a choice: %d %s, the card has % x", status, body, card.choices())
	}
	s.Handset.SwitchOff()
	page.until("an empty menu", func(s state) bool { return len(s.Menu.Items) == 0 })
}

// A server that is stopped does not wait for pages, and takes no new ones. The
// prompt stays: the telephone is not switched off by that.
func TestClose(t *testing.T) {
	o := &other{}
	s := &Screen{Number: number, Otherwise: o}
	server := serve(t, "", s)
	page := listen(t, server.URL)
	ctx, off := context.WithCancel(t.Context())
	reply := ask(ctx, s, shows)
	page.prompted()
	s.Close()
	receive(t, page.closed, "the end of the stream")
	response, err := http.Get(server.URL + path + "/events")
	if err != nil {
		t.Fatal(err)
	}
	if status, body := answerOf(t, response); status != http.StatusServiceUnavailable {
		t.Errorf("a page that comes after: %d %s", status, body)
	}
	stop(t, server)
	off()
	if r := receive(t, reply, "the reply"); r != nothing {
		t.Errorf("%v", r)
	}
	s.pages++ // one that is about to notice
	if r := s.Prompt(t.Context(), shows); r.Result != toolkit.Backward {
		t.Errorf("a prompt after: %v, and %q were asked otherwise", r, o.asked)
	}
}

// Nothing runs on when pages and prompts are gone.
func TestNothingIsLeft(t *testing.T) {
	s := &Screen{Number: number, Otherwise: nobody{t}}
	server := serve(t, "", s)
	var pages []*listener
	for range 20 {
		pages = append(pages, listen(t, server.URL))
	}
	ctx, off := context.WithCancel(t.Context())
	replies := []<-chan emulator.Reply{ask(ctx, s, shows), ask(ctx, s, asksPIN)}
	pages[0].prompted()
	for _, p := range pages {
		p.close()
	}
	off()
	for _, r := range replies {
		receive(t, r, "the reply")
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("screen.(*Screen).events")) && !bytes.Contains(stacks, []byte("screen.(*Screen).Prompt")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is left:\n%s", stacks)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages != 0 || s.shown != nil {
		t.Errorf("%d pages and %v are left", s.pages, s.shown)
	}
}

// ledger keeps all that is written to it.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// What is typed is in no event, answer, error or log.
func TestSecretsStay(t *testing.T) {
	var logs ledger
	slog.SetDefault(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(slog.New(slog.DiscardHandler)) })
	s := &Screen{Number: number, Otherwise: nobody{t}}
	e := echo.New()
	e.Debug = true // its errors say all they know
	e.Logger.SetOutput(&logs)
	e.Use(middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{LogURI: true, LogError: true, LogStatus: true, HandleError: true,
		LogValuesFunc: func(_ echo.Context, v middleware.RequestLoggerValues) error {
			fmt.Fprintf(&logs, "%s %d %v\n", v.URI, v.Status, v.Error)
			return nil
		}}))
	Mount(e, []*Screen{s})
	server := serveEcho(t, e, "", []*Screen{s})
	pages := []*listener{listen(t, server.URL), listen(t, server.URL)}
	for _, hidden := range []bool{true, false} {
		p := asksPIN
		p.Hidden = hidden
		reply := ask(t.Context(), s, p)
		id := pages[0].prompted()
		for i, body := range []map[string]any{
			{"prompt": id, "result": "ok", "typed": pin + pin}, {"prompt": id, "result": pin}, {"prompt": pin, "result": "ok", "typed": pin},
			{"prompt": id, "result": "ok", "typed": 730591}, {"prompt": id, "result": "ok", pin: pin}, {"prompt": id, "item": 730591},
			{"prompt": id, "result": "ok", "typed": pin}, {"prompt": id, "result": "ok", "typed": pin},
		} {
			if status, text := send(t, server.URL+path+"/reply", body); strings.Contains(text, pin) {
				t.Errorf("request %d is answered with %d %s", i, status, text)
			}
		}
		if r := receive(t, reply, "the reply"); r != typedPIN {
			t.Errorf("%v", r)
		}
		pages[0].until("an empty screen", func(s state) bool { return s.Prompt == nil })
	}
	for _, p := range pages {
		p.close()
		<-p.closed
		if strings.Contains(p.raw.String(), pin) {
			t.Errorf("an event has what was typed: %s", p.raw.String())
		}
	}
	if text := logs.String(); strings.Contains(text, pin) || !strings.Contains(text, path+"/reply 204") {
		t.Errorf("the log:\n%s", text)
	}
}

// broken is a card that does not answer.
type broken struct{}

func (broken) Transmit([]byte) ([]byte, error) { return nil, errors.New("pulled out") }

// What fails in the telephone is for the server's own handler of errors.
func TestCardIsGone(t *testing.T) {
	card := newScript(list(t, toolkit.SetUpMenu, "imza", "bir"))
	s := &Screen{Number: number}
	s.Handset = &emulator.Handset{Card: card, Person: s, Log: slog.New(slog.DiscardHandler)}
	if err := s.Handset.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	receive(t, card.responses, "the menu")
	s.Handset.Card = broken{}
	e := echo.New()
	e.Logger.SetOutput(io.Discard)
	Mount(e, []*Screen{s})
	server := serveEcho(t, e, "", []*Screen{s})
	if status, body := send(t, server.URL+path+"/select", map[string]any{"item": 1}); status != http.StatusInternalServerError || strings.Contains(body, "pulled") {
		t.Errorf("%d %s", status, body)
	}
}
