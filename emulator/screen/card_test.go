package screen

import (
	"sync"
	"testing"
	"time"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// script is a card that wants what a test tells it to: each download, and each
// choice from its menu, begins the next session.
type script struct {
	menu toolkit.Command

	mu        sync.Mutex
	sessions  [][]toolkit.Command // to come
	queue     []toolkit.Command   // the first one waits to be fetched, or for its response
	chosen    []byte              // from the menu
	responses chan toolkit.Response
}

func newScript(menu toolkit.Command) *script {
	return &script{menu: menu, responses: make(chan toolkit.Response, 100)}
}

// next adds a session.
func (s *script) next(commands ...toolkit.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, commands)
}

// choices are the items that were chosen from the menu.
func (s *script) choices() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chosen
}

// Transmit implements simcard.Card.
func (s *script) Transmit(command []byte) ([]byte, error) {
	c, err := simcard.ParseCommand(command)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := simcard.Response{SW: simcard.SWUnknownINS}
	switch c.INS {
	case simcard.SelectFile:
		r.SW = simcard.SWFileNotFound // no USIM: the telephone has no PIN
	case simcard.TerminalProfile:
		s.queue = []toolkit.Command{s.menu}
		r.SW = s.waiting()
	case simcard.Envelope:
		r.SW = s.envelope(c.Data)
	case simcard.Fetch:
		if r.Data, err = s.queue[0].Append(nil); err != nil {
			return nil, err
		}
		r.SW = simcard.SWOK
	case simcard.TerminalResponse:
		response, err := toolkit.ParseResponse(c.Data)
		if err != nil {
			return nil, err
		}
		if s.queue = s.queue[1:]; response.Result != toolkit.Done {
			s.queue = nil // the session ends
		}
		s.responses <- response
		r.SW = s.waiting()
	}
	return r.Append(nil), nil
}

func (s *script) envelope(data []byte) simcard.SW {
	e, err := toolkit.ParseEnvelope(data)
	if err != nil {
		return simcard.SWWrongData
	}
	if len(s.queue) > 0 || len(s.sessions) == 0 {
		return simcard.SWToolkitBusy
	}
	if e.Item != 0 {
		s.chosen = append(s.chosen, e.Item)
	}
	s.queue, s.sessions = s.sessions[0], s.sessions[1:]
	return s.waiting()
}

func (s *script) waiting() simcard.SW {
	if len(s.queue) == 0 {
		return simcard.SWOK
	}
	octets, err := s.queue[0].Append(nil)
	if err != nil {
		return simcard.SWTechnical
	}
	return simcard.SWProactive(len(octets))
}

// What the card wants.

func displayText(t testing.TB, text string, qualifier byte) toolkit.Command {
	return toolkit.Command{Number: 1, Type: toolkit.DisplayText, Qualifier: qualifier, Text: coded(t, text)}
}

func getInput(t testing.TB, text string, qualifier, most byte) toolkit.Command {
	return toolkit.Command{Number: 1, Type: toolkit.GetInput, Qualifier: qualifier, Text: coded(t, text), MinInput: 4, MaxInput: most}
}

func sendMessage(t testing.TB, shown string) toolkit.Command {
	t.Helper()
	m := sms.Submit{Destination: sms.Address{Type: sms.International, Digits: "7777"}, DCS: sms.DCSClass2Binary, UserData: []byte("answer")}
	tpdu, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return toolkit.Command{Number: 1, Type: toolkit.SendShortMessage, Alpha: alpha(t, shown), TPDU: tpdu}
}

func list(t testing.TB, kind toolkit.Type, title string, items ...string) toolkit.Command {
	c := toolkit.Command{Number: 1, Type: kind, Alpha: alpha(t, title)}
	for i, text := range items {
		c.Items = append(c.Items, toolkit.Item{ID: byte(i + 1), Text: alpha(t, text)})
	}
	return c
}

func coded(t testing.TB, text string) toolkit.Text {
	t.Helper()
	alphabet, octets, err := sms.EncodeText(text)
	if err != nil {
		t.Fatal(err)
	}
	return toolkit.Text{Coding: byte(alphabet), Octets: octets}
}

func decoded(t testing.TB, text *toolkit.Text) string {
	t.Helper()
	s, err := sms.DecodeText(sms.Alphabet(text.Coding), text.Octets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func alpha(t testing.TB, text string) []byte {
	t.Helper()
	octets, err := sms.EncodeAlpha(text)
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

// download is a short message for the card.
func download(t testing.TB) []byte {
	t.Helper()
	d := sms.Deliver{Originator: sms.Address{Type: sms.International, Digits: "7777"}, PID: sms.PIDDataDownload,
		DCS: sms.DCSClass2Binary, Timestamp: time.Now(), UserData: []byte("request")}
	tpdu, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return tpdu
}

var _ emulator.Person = (*Screen)(nil)
