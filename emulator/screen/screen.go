// Package screen is a telephone's screen in the browser, so that whoever tries
// the product can be the signer.
//
//	screen.go  a handset's screen, as its Person
//	routes.go  the pages and what they load
//	events.go  what a page is told: the state of the screen, as server-sent events
//	reply.go   what a page says: a reply to a prompt, or an item of the menu
//	guard.go   who is not let in
//	page/      the page itself
//
// A page is told the whole state each time that it changes:
//
//	{"prompt": {"id": "…", "kind": "show", "text": "…"},   null: nothing is asked
//	 "note": {"id": "…", "text": "…", "for": 4000},        null: nothing is said
//	 "menu": {"title": "…", "items": [{"id": 1, "text": "…"}]}}
//
// and says one of
//
//	POST …/reply   {"prompt": "…", "result": "ok", "typed": "…"}   at ask
//	               {"prompt": "…", "result": "ok", "item": 1}      at choose
//	               {"prompt": "…", "result": "cancel"}
//	POST …/select  {"item": 1}
//
// What is typed goes one way: it is in the body of a reply and in what Prompt
// returns, and nowhere else.
package screen

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/toolkit"
)

// Screen is a handset's screen in browsers, and so the handset's person:
// whoever looks at the page. A prompt that comes while no page is open goes to
// Otherwise. The zero value asks nobody else and has no menu.
type Screen struct {
	Number  simcard.MSISDN
	Name    string
	About   string            // in a line, what this subscriber does while nobody looks
	Handset *emulator.Handset // its menu is on the page
	// Otherwise is who replies while no page is open; nil: nobody, and prompts
	// wait for a page.
	Otherwise emulator.Person
	GivesUp   time.Duration // how long a prompt waits for a reply from a page; 0: two minutes
	Off       bool          // the telephone is switched off

	turn sync.Mutex // prompts are asked one after another

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	pages   int           // that are open
	closed  bool
	shown   *shown
	note    note
}

// shown is a prompt on the page. Its id is not guessed, and not used again after
// a restart, when pages of before come back.
type shown struct {
	emulator.Prompt
	id    string
	reply chan emulator.Reply // has room for the one that counts
}

type note struct {
	id, text string
	until    time.Time
}

const (
	patience = 2 * time.Minute // the default of GivesUp
	noteTime = 5 * time.Second // how long a note is on the screen
)

// Prompt implements emulator.Person. Whoever is the person when the prompt comes
// remains so: pages may come and go until it is replied to.
func (s *Screen) Prompt(ctx context.Context, p emulator.Prompt) emulator.Reply {
	s.turn.Lock()
	defer s.turn.Unlock()
	nobody := emulator.Reply{Result: toolkit.NoUserResponse}
	if ctx.Err() != nil {
		return nobody
	}
	asked := s.show(p)
	if asked == nil {
		return s.Otherwise.Prompt(ctx, p)
	}
	limit := s.GivesUp
	if limit == 0 {
		limit = patience
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case reply := <-asked.reply:
		return reply
	case <-ctx.Done():
		s.clear(asked)
		return nobody
	case <-timer.C:
		if s.clear(asked) {
			return nobody
		}
		return <-asked.reply // it came at the last moment, and its page was told so
	}
}

// show puts a prompt on the page, or returns nil if it is for Otherwise.
func (s *Screen) show(p emulator.Prompt) *shown {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (s.pages == 0 || s.closed) && s.Otherwise != nil {
		return nil
	}
	s.shown = &shown{Prompt: p, id: rand.Text(), reply: make(chan emulator.Reply, 1)}
	s.change()
	return s.shown
}

// clear takes a prompt from the page, and reports whether it was there.
func (s *Screen) clear(p *shown) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown != p {
		return false
	}
	s.shown = nil
	s.change()
	return true
}

// Note implements emulator.Person: the text is on the page for a few seconds.
func (s *Screen) Note(text string) {
	s.mu.Lock()
	s.note = note{id: rand.Text(), text: text, until: time.Now().Add(noteTime)}
	s.change()
	s.mu.Unlock()
	if s.Otherwise != nil {
		s.Otherwise.Note(text)
	}
}

// Close ends what pages listen to, for http.Server.Shutdown waits until it has
// ended: give it to RegisterOnShutdown. A prompt that is on the screen stays
// until the handset is switched off.
func (s *Screen) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.change()
}

// change wakes those who watch. s.mu must be held.
func (s *Screen) change() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// menu is what the card has in the handset's menu.
func (s *Screen) menu() emulator.Menu {
	if s.Handset == nil || s.Off {
		return emulator.Menu{}
	}
	return s.Handset.Menu()
}
