package emulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// Commands that are none of this card's, or wrong, or out of their time, at
// every point of a session where the card waits for its terminal. Each has its
// status word and changes nothing: the session goes on as if it had not been.

// point is where a session stands, as far as commands depend on it.
type point struct {
	told  bool             // TERMINAL PROFILE was given
	waits int              // octets of the proactive command that is to be fetched
	open  *toolkit.Command // fetched, and not responded to
	half  bool             // half a certificate is written, by who knows the ADM key
}

// goOn goes on from a point to the end of the session, and fails the test unless
// all is as it was.
type goOn func(x *terminal, c *card)

func signsFrom(input func(*terminal) toolkit.Command) goOn {
	return func(x *terminal, c *card) {
		x.Helper()
		x.respond(typed(input(x), testPIN2))
		if a := x.answer(c); a.Result != applet.Signed {
			x.Fatalf("answered %s", a.Result)
		}
	}
}

func putsMenuUp(x *terminal) {
	x.Helper()
	x.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}})
	menu := x.want(toolkit.SetUpMenu)
	x.respond(menu.Respond(toolkit.Done))
}

func (x *terminal) picks(item byte) {
	x.Helper()
	x.do(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.MenuSelection(nil, item)})
}

// closesWith is that the card shows a text, and that the dialogue is over with it.
func closesWith(x *terminal, text string) {
	x.Helper()
	display := x.want(toolkit.DisplayText)
	if got := shown(x, display); got != text {
		x.Fatalf("shows %q, want %q", got, text)
	}
	x.respond(display.Respond(toolkit.Done))
}

// points are the points. Of each the signing applet is selected.
var points = map[string]func(x *terminal, c *card) (point, goOn){
	"before TERMINAL PROFILE": func(x *terminal, c *card) (point, goOn) {
		c.Reset()
		x.do(simcard.Select(simcard.Signer))
		return point{}, func(x *terminal, c *card) { c.boot(x); x.signs(c) }
	},
	"nothing goes on": func(x *terminal, c *card) (point, goOn) {
		return point{told: true}, func(x *terminal, c *card) { x.signs(c) }
	},
	"one segment of three is there": func(x *terminal, c *card) (point, goOn) {
		parts := c.segments(x, long())
		x.bring(parts[:1])
		return point{told: true}, func(x *terminal, c *card) {
			x.bring(parts[1:])
			signsFrom((*terminal).confirm)(x, c)
		}
	},
	"a text is announced": func(x *terminal, c *card) (point, goOn) {
		x.bring(c.segments(x, challenge()))
		announced := x.sw
		n, _ := announced.Proactive()
		return point{told: true, waits: n}, func(x *terminal, c *card) {
			x.sw = announced
			signsFrom((*terminal).confirm)(x, c)
		}
	},
	"a text is on the screen": func(x *terminal, c *card) (point, goOn) {
		x.bring(c.segments(x, challenge()))
		display := x.want(toolkit.DisplayText)
		return point{told: true, open: &display}, func(x *terminal, c *card) {
			x.respond(display.Respond(toolkit.Done))
			signsFrom(func(x *terminal) toolkit.Command { return x.want(toolkit.GetInput) })(x, c)
		}
	},
	"the PIN is asked for": func(x *terminal, c *card) (point, goOn) {
		x.bring(c.segments(x, challenge()))
		input := x.confirm()
		return point{told: true, open: &input}, signsFrom(func(*terminal) toolkit.Command { return input })
	},
	"the PIN is asked for again": func(x *terminal, c *card) (point, goOn) {
		x.sign(c.segments(x, challenge()), "00000")
		input := x.want(toolkit.GetInput)
		return point{told: true, open: &input}, func(x *terminal, c *card) {
			sameTries(x, c.profile, 3, 2, 10)
			signsFrom(func(*terminal) toolkit.Command { return input })(x, c)
		}
	},
	"an answer waits": func(x *terminal, c *card) (point, goOn) {
		x.sign(c.segments(x, challenge()), testPIN2)
		announced := x.sw
		n, _ := announced.Proactive()
		return point{told: true, waits: n}, func(x *terminal, c *card) {
			x.sw = announced
			if a := x.answer(c); a.Result != applet.Signed {
				x.Fatalf("answered %s", a.Result)
			}
		}
	},
	"an answer leaves": func(x *terminal, c *card) (point, goOn) {
		asked := challenge()
		asked.Short = true
		x.sign(c.segments(x, asked), testPIN2)
		message := x.want(toolkit.SendShortMessage)
		return point{told: true, open: &message}, func(x *terminal, c *card) {
			m, whole := x.message(message, new(sms.Reassembler))
			if a, _ := c.open(x, m); !whole || a.Result != applet.Signed {
				x.Fatalf("answered %s", a.Result)
			}
		}
	},
	"the menu is announced": func(x *terminal, c *card) (point, goOn) {
		x.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}})
		announced := x.sw
		n, _ := announced.Proactive()
		return point{told: true, waits: n}, func(x *terminal, c *card) {
			x.sw = announced
			menu := x.want(toolkit.SetUpMenu)
			x.respond(menu.Respond(toolkit.Done))
		}
	},
	"the menu asks for the PIN": func(x *terminal, c *card) (point, goOn) {
		putsMenuUp(x)
		x.picks(itemChangePIN2)
		input := x.want(toolkit.GetInput)
		return point{told: true, open: &input}, func(x *terminal, c *card) {
			x.respond(typed(input, testPIN2))
			for range 2 {
				x.respond(typed(x.want(toolkit.GetInput), testPIN2))
			}
			closesWith(x, "PIN2 dəyişdirildi")
		}
	},
	"the menu asks for a new PIN again": func(x *terminal, c *card) (point, goOn) {
		putsMenuUp(x)
		x.picks(itemChangePIN2)
		x.respond(typed(x.want(toolkit.GetInput), testPIN2))
		x.respond(typed(x.want(toolkit.GetInput), "22222"))
		input := x.want(toolkit.GetInput)
		return point{told: true, open: &input}, func(x *terminal, c *card) {
			x.respond(typed(input, "22222"))
			closesWith(x, "PIN2 dəyişdirildi")
			x.do(simcard.Command{INS: insChange, P2: p2PIN2, Data: pair("22222", testPIN2)})
		}
	},
	"the menu asks which PIN": func(x *terminal, c *card) (point, goOn) {
		putsMenuUp(x)
		x.picks(itemUnblock)
		list := x.want(toolkit.SelectItem)
		return point{told: true, open: &list}, func(x *terminal, c *card) {
			r := list.Respond(toolkit.Done)
			r.Item = 1
			x.respond(r)
			x.respond(typed(x.want(toolkit.GetInput), testPUK))
			for range 2 {
				x.respond(typed(x.want(toolkit.GetInput), testPIN1))
			}
			closesWith(x, "PIN1 blokdan çıxarıldı")
		}
	},
	"half a certificate is written": func(x *terminal, c *card) (point, goOn) {
		c.profile.ADM = NewPUK(testADM)
		renewed := issue(testP256().Public())
		for _, command := range []simcard.Command{
			{INS: insVerify, P2: simcard.ADM, Data: padded(testADM)},
			simcard.SelectEF(simcard.EFCert | 1),
			{INS: simcard.UpdateBinary, Data: renewed.Raw[:200]},
		} {
			if r := x.do(command); r.SW != simcard.SWOK {
				x.Fatalf("INS %02X: %s", command.INS, r.SW)
			}
		}
		return point{told: true, half: true}, func(x *terminal, c *card) {
			if r := x.do(simcard.Command{INS: simcard.UpdateBinary, P2: 200, Data: renewed.Raw[200:]}); r.SW != simcard.SWOK || !bytes.Equal(c.profile.Keys[0].Certificate, renewed.Raw) {
				x.Errorf("the certificate is not there: %s", r.SW)
			}
		}
	},
}

// takes fails the test unless a card answers a command with a status word alone.
func (w *wrongAPDU) takes(t testing.TB, c simcard.Card) {
	t.Helper()
	apdu := bytes.Clone(w.apdu)
	answer, err := c.Transmit(apdu)
	if want := []byte{byte(w.want >> 8), byte(w.want)}; err != nil || !bytes.Equal(answer, want) {
		t.Fatalf("%x (%d octets) is answered %x %v, want %x", w.apdu[:min(len(w.apdu), 300)], len(w.apdu), answer, err, want)
	}
	if !bytes.Equal(apdu, w.apdu) {
		t.Fatalf("%x was written into", w.apdu[:min(len(w.apdu), 300)])
	}
}

// everywhere are wrong commands that are so at every point.
func everywhere(every int) []wrongAPDU {
	all := slices.Concat(wrongClasses(every), wrongLengths())
	for ins := range shapes {
		all = append(all, wrongParameters(ins, every)...)
	}
	return all
}

func TestWrongCommandsChangeNothing(t *testing.T) {
	if len(shapes) != len(classes) {
		t.Fatalf("%d shapes of %d instructions", len(shapes), len(classes))
	}
	for name, reach := range points {
		t.Run(name, func(t *testing.T) {
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			p, goOn := reach(x, c)
			all := slices.Concat(everywhere(17), p.outOfTime(t, c))
			switch name {
			case "a text is on the screen": // all there are of some
				for _, ins := range []byte{simcard.Fetch, simcard.TerminalResponse, simcard.SelectFile, simcard.Verify} {
					all = append(all, wrongParameters(ins, 1)...)
				}
			case "nothing goes on":
				all = append(all, wrongClasses(1)...)
			}
			if p.half { // an EF is selected, and keys may be made
				all = slices.DeleteFunc(all, func(w wrongAPDU) bool {
					return len(w.apdu) > 1 && w.apdu[0] == 0 && slices.Contains([]byte{simcard.ReadBinary, simcard.UpdateBinary, simcard.ReadRecord}, w.apdu[1]) &&
						w.want != simcard.SWWrongLength
				})
			}
			if len(all) < 4000 {
				t.Fatalf("%d commands are few", len(all))
			}
			saves, before := c.saves, lasting(t, c)
			for i := range all {
				all[i].takes(t, c)
			}
			if c.saves != saves || lasting(t, c) != before {
				t.Error("the card remembers something, or has another file selected")
			}
			goOn(x, c)
			x.idle()
			x.signs(c)
		})
	}
}

// lasting is what a card remembers, and which application is selected.
func lasting(t testing.TB, c *card) string {
	t.Helper()
	stored, err := json.Marshal(c.profile)
	if err != nil {
		t.Fatal(err)
	}
	r, err := simcard.Do(c, simcard.Command{CLA: 0x80, INS: simcard.Status, P2: 0x01, Le: 256})
	if err != nil || r.SW.OK() == (len(r.Data) == 0) {
		t.Fatalf("STATUS: %s %v", r.SW, err)
	}
	return fmt.Sprintf("%s %x", stored, r.Data)
}

// heckler gives a card some wrong commands before each command of a terminal.
type heckler struct {
	wire   simcard.Card // for what the terminal says
	card   simcard.Card
	t      testing.TB
	all    []wrongAPDU
	random *rand.Rand
	gave   int
}

func (h *heckler) Transmit(command []byte) ([]byte, error) {
	if command[1] != simcard.GetResponse { // what it asks for is of the command just before
		for range 5 {
			h.all[h.random.IntN(len(h.all))].takes(h.t, h.card)
			h.gave++
		}
	}
	return h.wire.Transmit(command)
}

// Whole sessions with wrong commands between all of their own.
func TestSessionsGoOnBetweenWrongCommands(t *testing.T) {
	all := slices.DeleteFunc(everywhere(13), func(w wrongAPDU) bool { // what depends on the selected file
		return len(w.apdu) > 1 && w.apdu[0] == 0 && slices.Contains([]byte{simcard.ReadBinary, simcard.UpdateBinary, simcard.ReadRecord, simcard.Verify,
			simcard.ChangePIN, simcard.UnblockPIN, simcard.EnablePIN, simcard.DisablePIN}, w.apdu[1]) && w.want != simcard.SWWrongLength
	})
	for name, p := range scripts {
		t.Run(name, func(t *testing.T) {
			s := p.seat(t, moment{})
			h := &heckler{wire: s.wire, card: s.card, t: t, all: all, random: rand.New(rand.NewPCG(1, 2))}
			s.terminal.card = h
			p.run(s)
			p.ended(s)
			if h.gave < 40 {
				t.Errorf("%d wrong commands are few", h.gave)
			}
		})
	}
}

// A response that comes twice is the second time to nothing, or to another
// command.
func TestResponsesThatComeTwice(t *testing.T) {
	for name, p := range scripts {
		t.Run(name, func(t *testing.T) {
			s := p.seat(t, moment{})
			twice := &twiceResponding{wire: s.wire, card: s.card, t: t}
			s.terminal.card = twice
			p.run(s)
			p.ended(s)
			if twice.gave < 1 {
				t.Error("no response was given twice")
			}
		})
	}
}

// twiceResponding gives each terminal response again, at once and after the next
// FETCH.
type twiceResponding struct {
	wire simcard.Card
	card simcard.Card
	t    testing.TB
	last []byte // response
	gave int
}

func (w *twiceResponding) Transmit(command []byte) ([]byte, error) {
	answer, err := w.wire.Transmit(command)
	if command[1] == simcard.TerminalResponse {
		w.last = bytes.Clone(command)
		(&wrongAPDU{w.last, simcard.SWConditions}).takes(w.t, w.card)
		w.gave++
	}
	if command[1] == simcard.Fetch && w.last != nil && len(answer) > 2 {
		(&wrongAPDU{w.last, simcard.SWWrongData}).takes(w.t, w.card)
		w.gave++
	}
	return answer, err
}

// A PIN that commands block while its change is on the screen stays blocked,
// whatever is typed then; and so it is with the PUK, if that is blocked.
func TestDialogueDoesNotUnblockWhatIsBlockedMeanwhile(t *testing.T) {
	for name, d := range map[string]struct {
		item, chosen byte
		digits       string // which the dialogue begins with
		ins          byte   // what blocks it
		data         []byte
		times        int
		tries        [3]int
	}{
		"the PIN": {itemChangePIN2, 0, testPIN2, insVerify, padded("00000"), pinTries, [3]int{3, 0, 10}},
		"the PUK": {itemUnblock, 2, testPUK, insUnblock, pair("00000000", "22222"), pukTries, [3]int{3, 3, 0}},
	} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		putsMenuUp(x)
		x.picks(d.item)
		if d.chosen > 0 {
			list := x.want(toolkit.SelectItem)
			r := list.Respond(toolkit.Done)
			r.Item = d.chosen
			x.respond(r)
		}
		x.respond(typed(x.want(toolkit.GetInput), d.digits))
		x.respond(typed(x.want(toolkit.GetInput), "22222"))
		again := x.want(toolkit.GetInput)
		for range d.times {
			x.do(simcard.Command{INS: d.ins, P2: p2PIN2, Data: d.data})
		}
		sameTries(t, c.profile, d.tries[:]...)
		x.respond(typed(again, "22222"))
		closesWith(x, azerbaijaniMenu.failed)
		sameTries(t, c.profile, d.tries[:]...)
		if c.profile.PIN2.Digits != testPIN2 {
			t.Errorf("%s is blocked, and PIN2 is set to %s", name, c.profile.PIN2.Digits)
		}
		x.idle()
	}
}
