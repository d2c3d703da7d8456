package emulator

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// What a telephone does for its person: it is unlocked, shows what the card
// wants, has the card's menu, and outlives its card.

// scripted is a person who replies as is written down, and remembers what was
// shown. Where nothing is left to reply it ends the session.
type scripted struct {
	mu      sync.Mutex
	replies []Reply
	prompts []Prompt
	notes   []string
	held    chan struct{} // if set, each reply waits for it, or for the context
	looking chan struct{} // told of each prompt
}

func person(replies ...Reply) *scripted {
	return &scripted{replies: replies, looking: make(chan struct{}, 100)}
}

func (s *scripted) Prompt(ctx context.Context, p Prompt) Reply {
	s.mu.Lock()
	s.prompts = append(s.prompts, p)
	reply := Reply{Result: toolkit.SessionEnded}
	if len(s.replies) > 0 {
		reply, s.replies = s.replies[0], s.replies[1:]
	}
	s.mu.Unlock()
	s.looking <- struct{}{}
	if s.held != nil {
		select {
		case <-s.held:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return Reply{Result: toolkit.NoUserResponse}
	}
	return reply
}

func (s *scripted) Note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, text)
}

// texts are what was shown.
func (s *scripted) texts() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.prompts {
		all = append(all, p.Text)
	}
	return all
}

func entry(digits string) Reply          { return Reply{Typed: digits} }
func choice(item byte) Reply             { return Reply{Chosen: item} }
func reply(result toolkit.Result) Reply  { return Reply{Result: result} }
func times(n int, r Reply) (all []Reply) { return slices.Repeat([]Reply{r}, n) }

// lockedCard is a card whose telephone asks for its PIN, 2580.
func lockedCard(t testing.TB) *card {
	t.Helper()
	c := newCard(t, nil)
	c.profile.Telephone.PIN, c.profile.Telephone.Asks = NewPIN("2580"), true
	c.Reset()
	return c
}

// phone is a handset that is off, and what it sends.
func phone(t testing.TB, card simcard.Card, p Person) (h *Handset, sent chan []byte) {
	t.Helper()
	sent = make(chan []byte, 100)
	h = &Handset{Card: card, Person: p, Log: slog.New(slog.DiscardHandler), Send: func(tpdu []byte) error { sent <- tpdu; return nil }}
	t.Cleanup(h.SwitchOff)
	return h, sent
}

func TestTelephoneIsUnlockedByItsPIN(t *testing.T) {
	for name, c := range map[string]struct {
		replies []Reply
		on      bool
		left    int
		texts   []string
	}{
		"right":                     {[]Reply{entry("2580")}, true, 3, []string{"PIN"}},
		"wrong, then right":         {[]Reply{entry("0852"), entry("2580")}, true, 3, []string{"PIN", "PIN (2)"}},
		"right at the third":        {[]Reply{entry("0852"), entry("00000000"), entry("2580")}, true, 3, []string{"PIN", "PIN (2)", "PIN (1)"}},
		"thrice wrong":              {[]Reply{entry("0852"), entry("0853"), entry("0854"), entry("2580")}, false, 0, []string{"PIN", "PIN (2)", "PIN (1)"}},
		"the same wrong one again":  {times(4, entry("0852")), false, 2, []string{"PIN", "PIN (2)"}},
		"given up":                  {[]Reply{reply(toolkit.SessionEnded)}, false, 3, []string{"PIN"}},
		"back":                      {[]Reply{reply(toolkit.Backward)}, false, 3, []string{"PIN"}},
		"nobody there":              {[]Reply{reply(toolkit.NoUserResponse)}, false, 3, []string{"PIN"}},
		"given up after a wrong":    {[]Reply{entry("0852"), reply(toolkit.SessionEnded)}, false, 2, []string{"PIN", "PIN (2)"}},
		"none, too few, too many":   {[]Reply{entry(""), entry("258"), entry("258025802"), entry("2580")}, true, 3, []string{"PIN", "PIN", "PIN", "PIN"}},
		"no digits":                 {[]Reply{entry("258O"), entry("２５８０"), entry("25 80"), entry("*#06#"), entry("2580")}, true, 3, []string{"PIN", "PIN", "PIN", "PIN", "PIN"}},
		"nothing that can be typed": {times(patience+5, entry("258")), false, 3, slices.Repeat([]string{"PIN"}, patience)},
	} {
		t.Run(name, func(t *testing.T) {
			card := lockedCard(t)
			who := person(c.replies...)
			h, _ := phone(t, card, who)
			if err := h.SwitchOn(context.Background()); (err == nil) != c.on {
				t.Errorf("switched on: %v, want %t", err, c.on)
			}
			if got := who.texts(); !slices.Equal(got, c.texts) {
				t.Errorf("shows %q, want %q", got, c.texts)
			}
			for _, p := range who.prompts {
				if p.Kind != Ask || !p.Hidden || !p.Digits || p.Min != 4 || p.Max != 8 {
					t.Errorf("asks with %+v", p)
				}
			}
			if left := card.profile.Telephone.PIN.Tries; left != c.left {
				t.Errorf("%d tries left, want %d", left, c.left)
			}
			h.running.Wait()
			if h.on() != c.on {
				t.Errorf("the telephone is on: %t", h.on())
			}
			// Unlocked is the card, and not only the telephone.
			if r, err := simcard.Do(card, simcard.SelectEF(simcard.EFIMSI)); err != nil || !r.SW.OK() {
				t.Fatalf("SELECT: %s %v", r.SW, err)
			}
			r, err := simcard.Do(card, simcard.Command{INS: simcard.ReadBinary, Le: 9})
			if err != nil || r.SW.OK() != c.on || !c.on && r.SW != simcard.SWSecurityStatus {
				t.Errorf("the IMSI is read with %s, %v", r.SW, err)
			}
		})
	}
}

func TestUnlockedTelephoneSigns(t *testing.T) {
	c := lockedCard(t)
	who := person(entry("0852"), entry("2580"), reply(toolkit.Done), entry("00000"), entry(testPIN2))
	h, sent := phone(t, c, who)
	if err := h.SwitchOn(context.Background()); err != nil {
		t.Fatal(err)
	}
	asked := challenge()
	give(t, h, c.segments(t, asked))
	if a := await(t, c, sent); a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Errorf("%s", a.Result)
	}
	sameTries(t, c.profile, 3, 3, 10)
}

// What the card wants meanwhile waits: a screen shows one thing at a time.
func TestPromptsWaitUntilTheTelephoneIsUnlocked(t *testing.T) {
	for name, last := range map[string]Reply{"unlocked": entry("2580"), "given up": reply(toolkit.SessionEnded)} {
		t.Run(name, func(t *testing.T) {
			c := lockedCard(t)
			who := person(last, reply(toolkit.Done), entry(testPIN2))
			who.held = make(chan struct{})
			h, sent := phone(t, c, who)
			on := make(chan error, 1)
			go func() { on <- h.SwitchOn(context.Background()) }()
			receive(t, who.looking, "the PIN's prompt")
			asked := challenge()
			give(t, h, c.segments(t, asked))
			time.Sleep(20 * time.Millisecond)
			if texts := who.texts(); len(texts) != 1 {
				t.Errorf("shows %q at once", texts)
			}
			if name == "given up" {
				close(who.held)
				if err := receive(t, on, "the end of SwitchOn"); err == nil {
					t.Error("switched on")
				}
				if texts := who.texts(); len(texts) != 1 || len(sent) > 0 {
					t.Errorf("a locked telephone shows %q and sends %d messages", texts, len(sent))
				}
				// Nothing of it is left over when it is tried again at once.
				c.Reset()
				who.replies = []Reply{entry("2580"), reply(toolkit.Done), entry(testPIN2)}
				if err := h.SwitchOn(context.Background()); err != nil {
					t.Fatal(err)
				}
				give(t, h, c.segments(t, challenge()))
				if a := await(t, c, sent); a.Result != applet.Signed {
					t.Errorf("%s", a.Result)
				}
				return
			}
			close(who.held)
			if err := receive(t, on, "the end of SwitchOn"); err != nil {
				t.Error(err)
			}
			if a := await(t, c, sent); a.Result != applet.Signed || a.Reference != asked.Reference {
				t.Errorf("%s", a.Result)
			}
		})
	}
}

func TestSwitchOffWhileTheTelephoneIsLocked(t *testing.T) {
	c := lockedCard(t)
	who := person(entry("2580"))
	who.held = make(chan struct{})
	h, _ := phone(t, c, who)
	on := make(chan error, 1)
	go func() { on <- h.SwitchOn(context.Background()) }()
	receive(t, who.looking, "the PIN's prompt")
	h.SwitchOff()
	if err := receive(t, on, "the end of SwitchOn"); err == nil {
		t.Error("switched on, and off meanwhile")
	}
	if c.profile.Telephone.PIN.Tries != 3 {
		t.Error("a try was lost")
	}
}

// A telephone that is off is absent: its card gets nothing that nobody would see.
func TestSwitchedOffTelephoneTakesNothing(t *testing.T) {
	c := newCard(t, nil)
	h, sent := phone(t, c, &Actor{PIN2: testPIN2, Behaviour: Signs})
	off := func(when string) {
		t.Helper()
		saves := c.saves
		if err := h.Deliver(deliver(t, c.segments(t, challenge())[0])); !errors.Is(err, errOff) {
			t.Errorf("%s: %v", when, err)
		}
		if c.saves != saves {
			t.Errorf("%s: the card has it", when)
		}
	}
	off("before it is switched on")
	for range 2 {
		c.Reset()
		if err := h.SwitchOn(context.Background()); err != nil {
			t.Fatal(err)
		}
		give(t, h, c.segments(t, challenge()))
		if a := await(t, c, sent); a.Result != applet.Signed {
			t.Errorf("%s", a.Result)
		}
		h.SwitchOff()
		off("after it was switched off")
	}
}

// A prompt is shown again until the reply is one that it allows: nothing else
// gets to the card, and no try is lost.
func TestRepliesThatAPromptDoesNotAllow(t *testing.T) {
	c := newCard(t, nil)
	who := person(reply(toolkit.Done), entry(""), entry("123"), entry("123456789"), entry("8642O"), entry("８６４２０"), entry("864 20"), entry(testPIN2))
	h, sent := newHandset(t, c, who)
	give(t, h, c.segments(t, challenge()))
	if a := await(t, c, sent); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
	h.running.Wait()
	texts := who.texts()
	if len(texts) != 8 || slices.ContainsFunc(texts[1:], func(s string) bool { return s != "PIN2 daxil edin" }) {
		t.Errorf("shows %q", texts)
	}
	sameTries(t, c.profile, 3, 3, 10)

	// A person who never finds the keys is not there at some time.
	who = person(slices.Concat([]Reply{reply(toolkit.Done)}, times(patience+10, entry("1")))...)
	h, sent = newHandset(t, c, who)
	give(t, h, c.segments(t, challenge()))
	h.running.Wait()
	if got := len(who.texts()); got != 1+patience {
		t.Errorf("%d prompts, want %d", got, 1+patience)
	}
	if len(sent) > 0 {
		t.Error("the card answered for somebody who is not there")
	}
	sameTries(t, c.profile, 3, 3, 10)
	boot(t, c)
	(&terminal{TB: t, card: c}).signs(c)
}

// menuPhone is a telephone with the card's menu, in a language.
func menuPhone(t *testing.T, language applet.Language, who *scripted) (*card, *Handset, chan []byte) {
	t.Helper()
	c := newCard(t, nil)
	c.profile.Language = language
	c.Reset()
	h, sent := newHandset(t, c, who)
	h.running.Wait() // until the menu is there
	return c, h, sent
}

func TestTelephoneHasTheCardsMenu(t *testing.T) {
	for language, want := range map[applet.Language][]string{
		0:                  {"PIN1 dəyişmək", "PIN2 dəyişmək", "PUK ilə blokdan çıxarmaq", "Kartın nömrəsi"},
		applet.English:     {"Change PIN1", "Change PIN2", "Unblock with PUK", "Card number"},
		applet.Russian:     {"Сменить PIN1", "Сменить PIN2", "Разблокировать по PUK", "Номер карты"},
		applet.Azerbaijani: {"PIN1 dəyişmək", "PIN2 dəyişmək", "PUK ilə blokdan çıxarmaq", "Kartın nömrəsi"},
	} {
		_, h, _ := menuPhone(t, language, person())
		menu := h.Menu()
		if menu.Title != "imza" || len(menu.Items) != len(want) {
			t.Fatalf("the menu is %+v", menu)
		}
		for i, item := range menu.Items {
			if item.Text != want[i] || item.ID != byte(i+1) {
				t.Errorf("entry %d is %+v, want %s", i+1, item, want[i])
			}
		}
		h.SwitchOff()
		if menu := h.Menu(); menu.Title != "" || menu.Items != nil {
			t.Errorf("a telephone that is off has the menu %+v", menu)
		}
	}
}

// Dialogues of the menu, as a person sees them.
func TestDialoguesOnATelephone(t *testing.T) {
	done := reply(toolkit.Done)
	for name, d := range map[string]struct {
		item    byte
		replies []Reply
		texts   []string
		pins    [2]PIN
	}{
		"PIN2 is changed": {itemChangePIN2, []Reply{entry("00000"), entry(testPIN2), entry("22"), entry("22222"), entry("33333"), entry("4444"), entry("4444"), done},
			[]string{"Current PIN2", "Wrong PIN2. Tries left: 2", "New PIN2", "New PIN2", "New PIN2 again", "They differ. New PIN2", "New PIN2 again", "PIN2 is changed"},
			[2]PIN{NewPIN(testPIN1), NewPIN("4444")}},
		"PIN1 is unblocked": {itemUnblock, []Reply{choice(3), choice(1), entry(testPUK), entry("1111"), entry("1111"), done},
			[]string{"Which PIN?", "Which PIN?", "Enter the PUK", "New PIN1", "New PIN1 again", "PIN1 is unblocked"},
			[2]PIN{NewPIN("1111"), NewPIN(testPIN2)}},
		"given up at the new PIN": {itemChangePIN1, []Reply{entry(testPIN1), reply(toolkit.SessionEnded)},
			[]string{"Current PIN1", "New PIN1"}, [2]PIN{NewPIN(testPIN1), NewPIN(testPIN2)}},
		"the number is read": {itemNumber, []Reply{done}, []string{string(iccid(t, cardNumber))}, [2]PIN{NewPIN(testPIN1), NewPIN(testPIN2)}},
	} {
		t.Run(name, func(t *testing.T) {
			who := person(d.replies...)
			c, h, sent := menuPhone(t, applet.English, who)
			if err := h.Select(d.item); err != nil {
				t.Fatal(err)
			}
			h.running.Wait()
			if got := who.texts(); !slices.Equal(got, d.texts) {
				t.Errorf("shows %q, want %q", got, d.texts)
			}
			if c.profile.PIN1 != d.pins[0] || c.profile.PIN2 != d.pins[1] {
				t.Errorf("PIN1 is %v and PIN2 %v, want %v", c.profile.PIN1, c.profile.PIN2, d.pins)
			}
			who.replies = []Reply{done, entry(d.pins[1].Digits)}
			give(t, h, c.segments(t, challenge()))
			if a := await(t, c, sent); a.Result != applet.Signed {
				t.Errorf("a challenge after it is answered %s", a.Result)
			}
		})
	}
}

func TestMenuWhileTheTelephoneIsBusy(t *testing.T) {
	who := person(reply(toolkit.Done), entry(testPIN2))
	who.held = make(chan struct{})
	c, h, sent := menuPhone(t, applet.English, who)
	for _, item := range []byte{0, 5, 255} {
		if err := h.Select(item); err == nil || errors.Is(err, ErrBusy) {
			t.Errorf("item %d: %v", item, err)
		}
	}
	give(t, h, c.segments(t, challenge()))
	receive(t, who.looking, "the challenge")
	if err := h.Select(itemNumber); !errors.Is(err, ErrBusy) {
		t.Errorf("with a challenge on the screen: %v, want ErrBusy", err)
	}
	close(who.held)
	if a := await(t, c, sent); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
	h.running.Wait()
	if err := h.Select(itemNumber); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A card that dies is told to who may put it back, wherever it dies; the
// telephone goes on with the next one.
func TestTelephoneOutlivesItsCard(t *testing.T) {
	for name, at := range map[string]diesAt{
		"at an envelope":     {ins: simcard.Envelope, n: 1},
		"at FETCH":           {ins: simcard.Fetch, n: 2},
		"at a response":      {ins: simcard.TerminalResponse, n: 2},
		"at the PIN":         {ins: simcard.TerminalResponse, n: 3},
		"as the answer goes": {ins: simcard.TerminalResponse, n: 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t, nil)
			c.Reset()
			at.Card = c
			lost := make(chan error, 10)
			h, sent := phone(t, &at, &Actor{PIN2: testPIN2, Behaviour: Signs})
			h.Lost = func(err error) { lost <- err }
			if err := h.SwitchOn(context.Background()); err != nil {
				t.Fatal(err)
			}
			err := h.Deliver(deliver(t, c.segments(t, challenge())[0]))
			if (err != nil) != (at.ins == simcard.Envelope) {
				t.Errorf("delivered: %v", err)
			}
			if err := receive(t, lost, "word of the dead card"); err == nil {
				t.Error("lost without a reason")
			}
			h.running.Wait()
			if len(lost) > 0 {
				t.Errorf("told again: %v", <-lost)
			}
			for len(sent) > 0 {
				<-sent
			}
			h.Insert(nil) // the slot is empty
			if err := h.Deliver(deliver(t, c.segments(t, challenge())[0])); !errors.Is(err, errNoCard) {
				t.Errorf("delivered without a card: %v", err)
			}
			if err := h.Select(itemNumber); !errors.Is(err, errNoCard) {
				t.Errorf("a menu without a card: %v", err)
			}
			h.SwitchOff()
			if err := h.SwitchOn(context.Background()); !errors.Is(err, errNoCard) || h.on() {
				t.Errorf("switched on without a card: %v", err)
			}
			if len(lost) != 3 {
				t.Errorf("told %d times that there is no card", len(lost))
			}
			for len(lost) > 0 {
				if err := <-lost; !errors.Is(err, errNoCard) {
					t.Error(err)
				}
			}
			next := newCard(t, nil)
			next.Reset()
			h.Insert(next)
			if err := h.SwitchOn(context.Background()); err != nil {
				t.Fatal(err)
			}
			asked := challenge()
			give(t, h, next.segments(t, asked))
			if a := await(t, next, sent); a.Result != applet.Signed || a.Reference != asked.Reference {
				t.Errorf("%s", a.Result)
			}
			if len(lost) > 0 {
				t.Errorf("the new card is lost: %v", <-lost)
			}
		})
	}
}
