package emulator

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// wait is how long a test waits for what must come; it fails then, so that
// nothing hangs.
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

// newHandset switches a telephone on whose network is a channel.
func newHandset(t testing.TB, card simcard.Card, p Person) (h *Handset, sent chan []byte) {
	t.Helper()
	sent = make(chan []byte, 100)
	h = &Handset{Card: card, Person: p, Log: slog.New(slog.DiscardHandler), Send: func(tpdu []byte) error { sent <- tpdu; return nil }}
	if err := h.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.SwitchOff)
	return h, sent
}

// await opens the next answer that a handset sends.
func await(t testing.TB, c *card, sent <-chan []byte) applet.Answer {
	t.Helper()
	parts := sms.Reassembler{Expiry: time.Hour, Most: 1}
	for {
		submit, err := sms.ParseSubmit(receive(t, sent, "an answer"))
		if err != nil {
			t.Fatal(err)
		}
		part, err := sms.ParseUserData(submit.UserData)
		if err != nil {
			t.Fatal(err)
		}
		m, whole, err := parts.Add("", part, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if whole {
			a, _ := c.open(t, m)
			return a
		}
	}
}

// give hands a challenge to a handset.
func give(t testing.TB, h *Handset, segments [][]byte) {
	t.Helper()
	for _, ud := range segments {
		if err := h.Deliver(deliver(t, ud)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPeopleDoAsTheyDo(t *testing.T) {
	for behaviour, want := range map[Behaviour]struct {
		result applet.Result
		left   int
	}{
		Signs:       {applet.Signed, 3},
		Cancels:     {applet.CancelledByUser, 3},
		WrongOnce:   {applet.Signed, 3},
		WrongAlways: {applet.PINBlocked, 0},
	} {
		t.Run(string(behaviour), func(t *testing.T) {
			c := newCard(t, nil)
			thoughts := 0
			h, sent := newHandset(t, c, &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: behaviour, Think: func(context.Context) { thoughts++ }})
			for range 2 { // the second time as the first
				asked := long()
				give(t, h, c.segments(t, asked))
				if a := await(t, c, sent); a.Result != want.result || a.Reference != asked.Reference {
					t.Errorf("%s", a.Result)
				}
				h.running.Wait()
			}
			sameTries(t, c.profile, 3, want.left, 10)
			// Who cannot sign any more is not asked any more.
			if prompts := map[Behaviour]int{Signs: 4, Cancels: 4, WrongOnce: 6, WrongAlways: 4}[behaviour]; thoughts != prompts {
				t.Errorf("%d prompts, want %d", thoughts, prompts)
			}
		})
	}
}

func TestAbsentPersonLeavesTheCardFree(t *testing.T) {
	c := newCard(t, nil)
	h, sent := newHandset(t, c, &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: Absent, GivesUp: time.Millisecond})
	give(t, h, c.segments(t, challenge()))
	h.running.Wait()
	if len(sent) > 0 {
		t.Error("the card answered for somebody who is not there")
	}
	h.Person.(*Actor).Behaviour = Signs
	give(t, h, c.segments(t, challenge()))
	if a := await(t, c, sent); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
}

func TestChallengeDuringAPromptIsBusy(t *testing.T) {
	c := newCard(t, nil)
	looking, done := make(chan struct{}, 1), make(chan struct{})
	h, sent := newHandset(t, c, &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: Signs, Think: func(context.Context) {
		select {
		case looking <- struct{}{}:
			<-done
		default: // at the prompts after the first
		}
	}})
	first, second := challenge(), challenge()
	give(t, h, c.segments(t, first))
	receive(t, looking, "the prompt")
	looking <- struct{}{}
	give(t, h, c.segments(t, second))
	close(done)
	if a := await(t, c, sent); a.Result != applet.Busy || a.Reference != second.Reference {
		t.Errorf("%s", a.Result)
	}
	if a := await(t, c, sent); a.Result != applet.Signed || a.Reference != first.Reference {
		t.Errorf("%s", a.Result)
	}
}

func TestSwitchOffEndsThePrompt(t *testing.T) {
	for _, behaviour := range []Behaviour{Signs, Absent} {
		c := newCard(t, nil)
		looking := make(chan struct{}, 2)
		h, sent := newHandset(t, c, &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: behaviour, GivesUp: time.Hour, Think: func(ctx context.Context) {
			looking <- struct{}{}
			<-ctx.Done()
		}})
		give(t, h, c.segments(t, challenge()))
		if behaviour == Signs {
			receive(t, looking, "the prompt")
		}
		off := make(chan struct{})
		go func() { defer close(off); h.SwitchOff() }()
		receive(t, off, "the end")
		if len(sent) > 0 {
			t.Errorf("%s: something was sent", behaviour)
		}
	}
}

func TestThinkingTakesItsTimeOrTheContexts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Thinking(time.Hour)(ctx) // returns
	began := time.Now()
	Thinking(20 * time.Millisecond)(t.Context())
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("took %s", took)
	}
}

// answers is a card that says what it is told to; the last answer stays.
type answers [][]byte

func (a *answers) Transmit([]byte) ([]byte, error) {
	answer := (*a)[0]
	if len(*a) > 1 {
		*a = (*a)[1:]
	}
	if answer == nil {
		return nil, errors.New("the card is gone")
	}
	return answer, nil
}

// The network is told of what a card could not take, so that the sender's
// receipt says so.
func TestCardThatFailsIsAnError(t *testing.T) {
	ok := []byte{0x90, 0x00}
	for name, answer := range map[string][]byte{"gone": nil, "technical problem": {0x6F, 0x00}, "toolkit busy": {0x93, 0x00}, "no status word": {0x90}} {
		h, _ := newHandset(t, &answers{ok, ok, answer}, &Actor{PIN1: testPIN1, PIN2: testPIN2})
		if err := h.Deliver(deliver(t, []byte{2, 0x70, 0})); err == nil {
			t.Errorf("%s: delivered", name)
		}
		if err := (&Handset{Card: &answers{answer}, Log: slog.New(slog.DiscardHandler)}).SwitchOn(context.Background()); err == nil {
			t.Errorf("%s: switched on", name)
		}
	}
}

// TS 31.111 §7.1.1.1: PID "data download" and DCS "class 2"; the values of DCS
// are TS 23.038 §4's.
func TestOnlyDataDownloadGoesToTheCard(t *testing.T) {
	between := &recorder{card: &answers{{0x90, 0x00}}}
	h, _ := newHandset(t, between, &Actor{PIN1: testPIN1, PIN2: testPIN2})
	for _, m := range []struct {
		pid, dcs byte
		toCard   bool
	}{
		{0x7F, 0xF6, true}, {0x7F, 0xF2, true}, {0x7F, 0x16, true}, {0x7F, 0x12, true},
		{0x7F, 0xF4, false}, {0x7F, 0xF5, false}, {0x7F, 0xF7, false}, {0x7F, 0x04, false}, {0x7F, 0x00, false}, {0x7F, 0x08, false}, {0x7F, 0x15, false},
		{0x00, 0xF6, false}, {0x40, 0xF6, false}, {0x7E, 0xF6, false},
	} {
		before := len(between.commands)
		d := sms.Deliver{Originator: asker, PID: m.pid, DCS: m.dcs, Timestamp: signingTime, UserData: []byte{1}}
		tpdu, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Deliver(tpdu); err != nil {
			t.Error(err)
		}
		if got := len(between.commands) > before; got != m.toCard {
			t.Errorf("PID %02x and DCS %02x go to the card: %t", m.pid, m.dcs, got)
		}
	}
	if err := h.Deliver([]byte{1, 2, 3}); err == nil {
		t.Error("what is no TPDU was delivered")
	}
}

// A real card may want what this telephone cannot do, and is told so.
func TestForeignProactiveCommands(t *testing.T) {
	browser := unhex(t, "d0098103011500820281829000") // LAUNCH BROWSER
	for name, c := range map[string]struct {
		command []byte
		want    toolkit.Result
	}{
		"launch browser":         {browser, toolkit.BeyondCapabilities},
		"text that is no text":   {unhex(t, "d0108103012180820281028d0508d83dde009000"), toolkit.NotUnderstood},
		"text of a coding of DB": {unhex(t, "d00e8103012180820281028d03db41419000"), toolkit.NotUnderstood},
	} {
		between := &recorder{card: &answers{{0x91, byte(len(c.command) - 2)}, {0x6A, 0x82}, c.command, {0x90, 0x00}}}
		h, _ := newHandset(t, between, &Actor{PIN1: testPIN1, PIN2: testPIN2})
		h.running.Wait()
		last, err := simcard.ParseCommand(between.commands[len(between.commands)-1])
		if err != nil {
			t.Fatal(err)
		}
		if r, err := toolkit.ParseResponse(last.Data); err != nil || last.INS != 0x14 || r.Result != c.want {
			t.Errorf("%s: responds %+v, %v", name, r, err)
		}
	}
}

func TestNetworkThatRefusesIsToldToTheCard(t *testing.T) {
	c := newCard(t, nil)
	between := &recorder{card: c}
	h, _ := newHandset(t, between, &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: Signs})
	h.Send = func([]byte) error { return errors.New("no network") }
	give(t, h, c.segments(t, challenge()))
	h.running.Wait()
	var last simcard.Command
	for _, command := range between.commands {
		if command[1] == simcard.TerminalResponse {
			var err error
			if last, err = simcard.ParseCommand(command); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r, err := toolkit.ParseResponse(last.Data); err != nil || r.Type != toolkit.SendShortMessage || r.Result != toolkit.SMSError {
		t.Errorf("responds %+v, %v", r, err)
	}
	(&terminal{TB: t, card: c}).idle()
}

// diesAt is a card that is pulled out when a certain instruction comes for the
// n-th time.
type diesAt struct {
	simcard.Card
	ins byte
	n   int
}

func (d *diesAt) Transmit(command []byte) ([]byte, error) {
	if command[1] == d.ins {
		if d.n--; d.n == 0 {
			return nil, errors.New("the card is gone")
		}
	}
	return d.Card.Transmit(command)
}

// S6: a session that breaks in the middle is logged, what was typed is not.
func TestLogHasNoPIN(t *testing.T) {
	for n := 1; n <= 3; n++ {
		var log bytes.Buffer // slog's handler writes under a lock
		c := newCard(t, nil)
		h := &Handset{Card: &diesAt{Card: c, ins: 0x14, n: n}, Person: &Actor{PIN1: testPIN1, PIN2: testPIN2, Behaviour: WrongOnce},
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		h.Send = func([]byte) error { return nil }
		if err := h.SwitchOn(context.Background()); err != nil {
			t.Fatal(err)
		}
		give(t, h, c.segments(t, challenge()))
		h.running.Wait()
		h.SwitchOff()
		if !strings.Contains(log.String(), "the card is gone") {
			t.Errorf("the end is not logged: %s", log.String())
		}
		for _, secret := range []string{testPIN2, hex.EncodeToString([]byte(testPIN2)), testPIN2[:4], hex.EncodeToString(testKeys.KIc)} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%s is in the log: %s", secret, log.String())
			}
		}
	}
}

// asks is a card that proposes one command, and keeps the response.
type asks struct {
	command  toolkit.Command
	response []byte
}

func (a *asks) Transmit(command []byte) ([]byte, error) {
	octets, err := a.command.Append(nil)
	if err != nil {
		return nil, err
	}
	switch command[1] {
	case simcard.TerminalProfile:
		return []byte{0x91, byte(len(octets))}, nil
	case simcard.Fetch:
		return append(octets, 0x90, 0x00), nil
	case simcard.TerminalResponse:
		a.response = bytes.Clone(command)
		return []byte{0x90, 0x00}, nil
	}
	return []byte{0x6A, 0x82}, nil
}

// types is a person who types a text wherever one is asked for, and remembers
// what was shown.
type types struct {
	text  string
	shown []string
}

func (p *types) Prompt(_ context.Context, shown Prompt) Reply {
	p.shown = append(p.shown, shown.Text)
	return Reply{Result: toolkit.Done, Typed: p.text}
}

func (p *types) Note(text string) { p.shown = append(p.shown, text) }

// A card may ask for more than a TERMINAL RESPONSE carries back.
func TestInputThatDoesNotFitIsBeyondTheTerminal(t *testing.T) {
	for typed, want := range map[string]toolkit.Result{strings.Repeat("ə", 110): toolkit.Done, strings.Repeat("ə", 130): toolkit.BeyondCapabilities} {
		c := &asks{command: toolkit.Command{Number: 1, Type: toolkit.GetInput, Qualifier: toolkit.InputAnything, MaxInput: 255}}
		h, _ := newHandset(t, c, &types{text: typed})
		h.running.Wait()
		command, err := simcard.ParseCommand(c.response)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := toolkit.ParseResponse(command.Data); err != nil || r.Result != want {
			t.Errorf("%d letters: %+v %v", len([]rune(typed)), r, err)
		}
	}
}

// What a card has shown reaches no terminal as a command to it.
func TestTextsHaveNoControls(t *testing.T) {
	hostile := toolkit.Text{Coding: 8, Octets: []byte{0x00, 0x1B, 0x00, '[', 0x00, '2', 0x00, 'J', 0x00, '\r', 0x00, 'A', 0x00, 0x07, 0x20, 0x2E}}
	for kind, command := range map[string]toolkit.Command{
		"a text":      {Number: 1, Type: toolkit.DisplayText, Qualifier: toolkit.DisplayUserClears, Text: hostile},
		"a note":      {Number: 1, Type: toolkit.DisplayText, Text: hostile},
		"a menu":      {Number: 1, Type: toolkit.SelectItem, Alpha: append([]byte{0x80}, hostile.Octets...), Items: []toolkit.Item{{ID: 1, Text: []byte("1")}}},
		"while it is": {Number: 1, Type: toolkit.SendShortMessage, Alpha: append([]byte{0x80}, hostile.Octets...), TPDU: []byte{1}},
	} {
		who := &types{}
		h, _ := newHandset(t, &asks{command: command}, who)
		h.running.Wait()
		if len(who.shown) == 0 || who.shown[0] != "\uFFFD[2J\nA\uFFFD\uFFFD" {
			t.Errorf("%s: shows %q", kind, who.shown)
		}
	}
}
