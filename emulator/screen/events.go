package screen

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"imza/emulator"
)

// How a page is kept up to date.
const (
	heartbeat  = 15 * time.Second // at least so often something is sent, so that a page that is gone is noticed
	menuPeriod = time.Second      // a handset does not tell when its menu changes
	sendTime   = 10 * time.Second // a page that takes longer to receive is gone
)

// state is what a page is told.
type state struct {
	Prompt *promptState `json:"prompt"`
	Note   *noteState   `json:"note"`
	Menu   menuState    `json:"menu"`
}

type promptState struct {
	ID     string        `json:"id"`
	Kind   emulator.Kind `json:"kind"`
	Text   string        `json:"text"`
	Hidden bool          `json:"hidden,omitempty"`
	Digits bool          `json:"digits,omitempty"`
	Min    int           `json:"min,omitempty"`
	Max    int           `json:"max,omitempty"`
	Items  []itemState   `json:"items,omitempty"`
}

type noteState struct {
	ID   string `json:"id"`
	Text string `json:"text"`
	For  int64  `json:"for"` // milliseconds more
}

type menuState struct {
	Title string      `json:"title"`
	Items []itemState `json:"items"`
}

type itemState struct {
	ID   byte   `json:"id"`
	Text string `json:"text"`
}

func itemStates(items []emulator.Item) []itemState {
	states := make([]itemState, 0, len(items))
	for _, item := range items {
		states = append(states, itemState{item.ID, item.Text})
	}
	return states
}

// look is what is on the screen, the menu apart, and a channel that is closed
// when that changes. It is not open once the screen is closed.
func (s *Screen) look() (now state, changed <-chan struct{}, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	if p := s.shown; p != nil {
		now.Prompt = &promptState{ID: p.id, Kind: p.Kind, Text: p.Text, Hidden: p.Hidden, Digits: p.Digits,
			Min: p.Min, Max: p.Max, Items: itemStates(p.Items)}
	}
	if left := time.Until(s.note.until); left > 0 {
		now.Note = &noteState{ID: s.note.id, Text: s.note.text, For: left.Milliseconds()}
	}
	return now, s.changed, !s.closed
}

// arrive counts a page that opens; it is refused once the screen is closed.
func (s *Screen) arrive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.pages++
	return true
}

func (s *Screen) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages--
}

// events sends a page the state of the screen, now and at each change, for as
// long as the page is open.
func (s *Screen) events(c echo.Context) error {
	if !s.arrive() {
		return &problem{status: http.StatusServiceUnavailable, code: "stopping", detail: "the program is being stopped"}
	}
	defer s.leave()
	w := stream{c.Response(), http.NewResponseController(c.Response())}
	c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
	c.Response().WriteHeader(http.StatusOK)
	if err := w.send("retry: 1000\n\n"); err != nil {
		return nil // the page is gone: nobody is left to be told
	}
	return s.watch(c, w)
}

func (s *Screen) watch(c echo.Context, w stream) error {
	beat, glance := time.NewTicker(heartbeat), time.NewTicker(menuPeriod)
	defer beat.Stop()
	defer glance.Stop()
	menu := s.menu()
	now, changed, open := s.look()
	for open {
		now.Menu = menuState{menu.Title, itemStates(menu.Items)}
		if err := w.sendState(&now); err != nil {
			return nil
		}
		for again := false; !again; {
			select {
			case <-c.Request().Context().Done():
				return nil
			case <-changed:
				again = true
			case <-glance.C:
				again = !same(menu, s.menu())
			case <-beat.C:
				if err := w.send(":\n\n"); err != nil {
					return nil
				}
			}
		}
		menu = s.menu()
		now, changed, open = s.look()
	}
	return nil
}

func same(a, b emulator.Menu) bool { return a.Title == b.Title && slices.Equal(a.Items, b.Items) }

// stream is a response that is sent as it is written.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s stream) sendState(now *state) error {
	text, err := json.Marshal(now) // has no line breaks, which would end the event
	if err != nil {
		return err
	}
	return s.send("data: " + string(text) + "\n\n")
}

func (s stream) send(text string) error {
	// The server's own limit would count from the request, which goes on for
	// hours. Where none can be set there is none.
	_ = s.control.SetWriteDeadline(time.Now().Add(sendTime))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}
