package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// everyCut runs a scenario with the power going at each of its saves, before
// and after that is stored, until one runs through. run returns what it is to
// be judged by; judge gets the card with its power back.
func everyCut[T any](t *testing.T, prepare func(*card), run func(*testing.T, *card) T, judge func(*testing.T, *card, T)) {
	t.Helper()
	for at := 1; ; at++ {
		cutOff := false
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("save %d stored %t", at, stored), func(t *testing.T) {
				c := newCard(t, nil)
				if prepare != nil {
					prepare(c)
				}
				if err := c.save(c.profile); err != nil { // what it begins with
					t.Fatal(err)
				}
				c.saves, c.cut = 0, cut{at: at, stored: stored}
				outcome := run(t, c)
				cutOff = c.saves >= at
				c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
				judge(t, c, outcome)
			})
		}
		if !cutOff {
			if at == 1 {
				t.Error("nothing was stored at all")
			}
			return
		}
	}
}

// course is how far a challenge came before the power was cut.
type course struct {
	segments [][]byte
	shown    bool
	wrong    int  // PINs that the card is known to have found wrong
	right    bool // the right PIN was typed
	cutOff   bool
	answers  []applet.Answer
}

func TestPowerCutsDuringASignature(t *testing.T) {
	for _, pins := range [][]string{
		{testPIN2},
		{"00000", testPIN2},
		{"00000", "00001", testPIN2},
		{"00000", "00001", "00002"},
	} {
		run := func(t *testing.T, c *card) (s course) {
			x := &terminal{TB: t, card: c}
			s.segments = c.segments(t, challenge())
			x.bring(s.segments)
			if _, s.shown = x.sw.Proactive(); s.shown {
				input := x.confirm()
				for _, pin := range pins {
					s.right = pin == testPIN2
					x.respond(typed(input, pin))
					if _, proactive := x.sw.Proactive(); !proactive {
						break
					}
					if s.right {
						break
					}
					if s.wrong++; s.wrong < pinTries { // else the answer waits
						input = x.want(toolkit.GetInput)
					}
				}
			}
			s.answers = x.drain(c)
			s.cutOff = c.saves >= c.cut.at
			return s
		}
		judge := func(t *testing.T, c *card, s course) {
			for _, a := range s.answers {
				if a.Result == applet.Signed && !s.right {
					t.Error("signed without the right PIN2")
				}
				if s.cutOff {
					t.Errorf("answered %s after the power was gone", a.Result)
				}
			}
			// Each PIN that the card called wrong has cost its try. One that was
			// cut off may have, too; and only the right one gave all back.
			left, allowed := c.profile.PIN2.Tries, []int{pinTries - s.wrong}
			switch {
			case s.cutOff && s.right:
				allowed = append(allowed, pinTries-s.wrong-1, pinTries)
			case s.cutOff:
				allowed = append(allowed, pinTries-s.wrong-1)
			case s.right:
				allowed = []int{pinTries}
			}
			if !slices.Contains(allowed, left) {
				t.Errorf("%d tries of PIN2 after %d wrong ones, want one of %v", left, s.wrong, allowed)
			}
			x := &terminal{TB: t, card: c}
			if s.shown && c.profile.Counter != c.counter {
				t.Error("the counter of what was shown is lost")
			}
			known := c.profile.Counter == c.counter // stored, shown or not
			x.bring(s.segments)                     // a replay
			if known {
				m, _ := x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
				if r, err := c.channel.OpenResponse(m.Payload); err != nil || r.Status != ota.StatusCounterLow {
					t.Errorf("the challenge that was shown is answered %+v, %v", r, err)
				}
			}
			x.drain(c)
			if left > 0 {
				x.signs(c)
			}
		}
		t.Run(fmt.Sprint(pins), func(t *testing.T) { everyCut(t, nil, run, judge) })
	}
}

// Whoever cuts the power at the moment that suits them learns of three PINs at
// most: a try that is not stored is not compared.
func TestPowerCutsGiveNoFurtherGuess(t *testing.T) {
	c := newCard(t, nil)
	if err := c.save(c.profile); err != nil {
		t.Fatal(err)
	}
	for _, command := range []simcard.Command{
		{INS: insVerify, P2: p2PIN2},
		{INS: insChange, P2: p2PIN2},
		{INS: insUnblock, P2: p2PIN2},
	} {
		for _, digits := range []string{testPIN2, testPUK, "00000", "86421"} {
			c.powerOn(t, parse(t, c.stored[0]))
			c.cut = cut{at: 1}
			x := &terminal{TB: t, card: c}
			if command.Data = padded(digits); command.INS != insVerify {
				command.Data = pair(digits, "22222")
			}
			if r := x.do(command); r.SW != simcard.SWMemory {
				t.Errorf("INS %02X with %s, its try not stored: %s", command.INS, digits, r.SW)
			}
		}
	}
	// By the dialogue, right and wrong look alike, too.
	for _, digits := range []string{testPIN2, "00000"} {
		c.powerOn(t, parse(t, c.stored[0]))
		x := &terminal{TB: t, card: c}
		x.bring(c.segments(t, challenge()))
		input := x.confirm()
		c.cut = cut{at: c.saves + 1}
		if x.respond(typed(input, digits)); x.sw != simcard.SWOK {
			t.Errorf("%s typed, its try not stored: %s", digits, x.sw)
		}
		x.idle()
	}
	// And with the try stored but the comparison cut off, the third is the last.
	c.powerOn(t, parse(t, c.stored[0]))
	for guess := range 10 {
		c.cut = cut{at: c.saves + 1, stored: true}
		x := &terminal{TB: t, card: c}
		want := simcard.SWMemory
		if guess >= pinTries {
			want = simcard.SWPINBlocked
		}
		if r := x.do(simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded("00000")}); r.SW != want {
			t.Errorf("guess %d: %s, want %s", guess, r.SW, want)
		}
		c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
	}
}

func TestPowerCutsDuringPINCommands(t *testing.T) {
	blocked := func(c *card) { c.profile.PIN2.Tries = 0 }
	low := func(c *card) { c.profile.PIN2.Tries, c.profile.PUK.Tries = 1, 1 }
	for name, s := range map[string]struct {
		prepare func(*card)
		command simcard.Command
		digits  []string // what PIN2 may be afterwards
		most    []int    // tries afterwards, at most
	}{
		"VERIFY, wrong":         {nil, simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded("00000")}, []string{testPIN2}, []int{3, 3, 10}},
		"VERIFY, wrong, last":   {low, simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded("00000")}, []string{testPIN2}, []int{3, 1, 1}},
		"VERIFY, right, last":   {low, simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded(testPIN2)}, []string{testPIN2}, []int{3, 3, 1}},
		"CHANGE, wrong":         {nil, simcard.Command{INS: insChange, P2: p2PIN2, Data: pair("00000", "22222")}, []string{testPIN2}, []int{3, 3, 10}},
		"CHANGE, right":         {low, simcard.Command{INS: insChange, P2: p2PIN2, Data: pair(testPIN2, "22222")}, []string{testPIN2, "22222"}, []int{3, 3, 1}},
		"UNBLOCK, wrong":        {blocked, simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair("00000000", "22222")}, []string{testPIN2}, []int{3, 0, 10}},
		"UNBLOCK, wrong, last":  {low, simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair("00000000", "22222")}, []string{testPIN2}, []int{3, 1, 1}},
		"UNBLOCK, right":        {blocked, simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair(testPUK, "22222")}, []string{testPIN2, "22222"}, []int{3, 3, 10}},
		"UNBLOCK, right, PIN 1": {low, simcard.Command{INS: insUnblock, P2: p2PIN1, Data: pair(testPUK, "22222")}, []string{testPIN2}, []int{3, 1, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			everyCut(t, s.prepare, func(t *testing.T, c *card) simcard.SW {
				x := &terminal{TB: t, card: c}
				return x.do(s.command).SW
			}, func(t *testing.T, c *card, sw simcard.SW) {
				got := c.profile
				if !slices.Contains(s.digits, got.PIN2.Digits) || got.PUK.Digits != testPUK {
					t.Errorf("PIN2 is %s and the PUK %s", got.PIN2.Digits, got.PUK.Digits)
				}
				for i, tries := range got.tries() {
					if tries > s.most[i] {
						t.Errorf("tries are %v, at most %v", got.tries(), s.most)
					}
				}
				// What the card said of the tries is what it remembers.
				if left, wrong := sw.Tries(); wrong && s.command.INS != insUnblock && got.PIN2.Tries != left || wrong && s.command.INS == insUnblock && got.PUK.Tries != left {
					t.Errorf("the card said %s and remembers %v", sw, got.tries())
				}
				if sw == simcard.SWOK && got.PIN2.Tries != s.most[1] {
					t.Errorf("the card said 9000 and remembers %v", got.tries())
				}
				// A PIN that is not blocked is never one that blocked before,
				// unless its new digits are there as well.
				if s.most[1] == 3 && got.PIN2.Tries == 3 && sw != simcard.SWOK {
					var before Profile
					if err := json.Unmarshal(c.stored[0], &before); err != nil {
						t.Fatal(err)
					}
					if before.PIN2.Tries == 0 && got.PIN2.Digits == testPIN2 {
						t.Error("the PIN is unblocked with its old digits")
					}
				}
			})
		})
	}
}
