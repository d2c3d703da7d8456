package screen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/toolkit"
)

const (
	number = simcard.MSISDN("+994500000001")
	path   = "/telephones/994500000001"
	pin    = "730591" // nothing else in a page or an event has these digits
)

var (
	asksPIN  = emulator.Prompt{Kind: emulator.Ask, Text: "PIN2 daxil edin", Hidden: true, Digits: true, Min: 4, Max: 8}
	shows    = emulator.Prompt{Kind: emulator.Show, Text: "Müqavilə\nKod: 1462"}
	chooses  = emulator.Prompt{Kind: emulator.Choose, Text: "Hansı?", Items: []emulator.Item{{ID: 1, Text: "bir"}, {ID: 7, Text: "yeddi"}}}
	nothing  = emulator.Reply{Result: toolkit.NoUserResponse}
	typedPIN = emulator.Reply{Result: toolkit.Done, Typed: pin}
)

// wait is how long a test waits for what must come.
const wait = 20 * time.Second

func receive[T any](t testing.TB, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(wait):
		t.Fatalf("%s does not come", what)
	}
	return v
}

// nobody is who must not be asked.
type nobody struct{ testing.TB }

func (n nobody) Prompt(_ context.Context, p emulator.Prompt) emulator.Reply {
	n.Errorf("%q was not for the page", p.Text)
	return nothing
}
func (nobody) Note(string) {}

// limit is what a server allows requests and answers.
const limit = time.Second

// serve serves screens as the program does. An empty address is any.
func serve(t testing.TB, addr string, screens ...*Screen) *httptest.Server {
	t.Helper()
	e := echo.New()
	Mount(e, screens)
	return serveEcho(t, e, addr, screens)
}

func serveEcho(t testing.TB, e *echo.Echo, addr string, screens []*Screen) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(e)
	if addr != "" {
		server.Listener.Close()
		var err error
		if server.Listener, err = net.Listen("tcp", addr); err != nil {
			t.Fatal(err)
		}
	}
	server.Config.ReadHeaderTimeout, server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit, limit
	for _, s := range screens {
		server.Config.RegisterOnShutdown(s.Close)
	}
	server.Start()
	t.Cleanup(func() { stop(t, server) })
	return server
}

func stop(t testing.TB, server *httptest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server does not stop: %v", err)
	}
}

// listener is a page as the server knows it.
type listener struct {
	testing.TB
	states chan state
	raw    bytes.Buffer // all that came; once closed is closed
	close  context.CancelFunc
	closed chan struct{}
}

// listen opens a page, and returns when it is told the state.
func listen(t testing.TB, url string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{TB: t, states: make(chan state, 100), close: cancel, closed: make(chan struct{})}
	t.Cleanup(cancel)
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+path+"/events", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("events: %s", response.Status)
	}
	go func() {
		defer close(l.closed)
		defer response.Body.Close()
		lines := bufio.NewScanner(io.TeeReader(response.Body, &l.raw))
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var s state
				if err := json.Unmarshal([]byte(data), &s); err != nil {
					t.Errorf("the event %q: %v", data, err)
				}
				l.states <- s
			}
		}
	}()
	l.until("the first state", func(state) bool { return true })
	return l
}

// until waits for a state.
func (l *listener) until(what string, is func(state) bool) state {
	l.Helper()
	for {
		if s := receive(l, l.states, what); is(s) {
			return s
		}
	}
}

// prompted waits for a prompt and returns its id.
func (l *listener) prompted() string {
	l.Helper()
	return l.until("a prompt", func(s state) bool { return s.Prompt != nil }).Prompt.ID
}

// send posts JSON as the page does, and returns the status and the body.
func send(t testing.TB, url string, body map[string]any) (int, string) {
	t.Helper()
	octets, _ := json.Marshal(body)
	response, err := http.Post(url, "application/json", bytes.NewReader(octets))
	if err != nil {
		t.Fatal(err)
	}
	return answerOf(t, response)
}

func answerOf(t testing.TB, response *http.Response) (int, string) {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// ask prompts as a handset does.
func ask(ctx context.Context, s *Screen, p emulator.Prompt) <-chan emulator.Reply {
	reply := make(chan emulator.Reply, 1)
	go func() { reply <- s.Prompt(ctx, p) }()
	return reply
}
