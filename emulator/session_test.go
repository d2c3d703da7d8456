package emulator

import (
	"bytes"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

func TestFetchWantsTheAnnouncedLength(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.bring(c.segments(t, challenge()))
	announced := x.sw
	n, _ := announced.Proactive()
	for le := 1; le <= 256; le++ {
		if le == n {
			continue
		}
		answer, err := c.Transmit(simcard.Command{CLA: 0x80, INS: 0x12, Le: le}.Append(nil))
		if err != nil || !bytes.Equal(answer, []byte{0x6C, byte(n)}) { // TS 102 221 §7.3.1.1.5
			t.Fatalf("FETCH of %d octets where %d wait: %x %v", le, n, answer, err)
		}
	}
	x.sw = announced
	x.confirm()
	x.idle() // what was fetched is not fetched twice
}

func TestSecondChallengeIsBusy(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	first, second, third := challenge(), challenge(), challenge()
	x.bring(c.segments(t, first))
	firstCounter := c.counter
	display := x.want(toolkit.DisplayText)
	x.bring(c.segments(t, second))
	if x.sw != simcard.SWOK {
		t.Fatalf("a challenge while the terminal is at work: %s", x.sw)
	}
	x.respond(display.Respond(toolkit.Done))
	if a := x.answer(c); a.Result != applet.Busy || a.Reference != second.Reference {
		t.Fatalf("%s", a.Result)
	}
	input := x.want(toolkit.GetInput)
	x.bring(c.segments(t, third))
	x.respond(typed(input, "00000"))
	if a := x.answer(c); a.Result != applet.Busy || a.Reference != third.Reference {
		t.Fatalf("%s", a.Result)
	}
	x.respond(typed(x.want(toolkit.GetInput), testPIN2))
	// The answer belongs to the first challenge's packet.
	lastCounter := c.counter
	c.counter = firstCounter
	if a := x.answer(c); a.Result != applet.Signed || a.Reference != first.Reference {
		t.Fatalf("%s", a.Result)
	}
	c.counter = lastCounter
	x.idle()
	x.signs(c)
}

// Before the first text is even fetched, the second challenge waits behind it.
func TestSecondChallengeBeforeTheFirstIsShown(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	first, second := challenge(), challenge()
	x.bring(c.segments(t, first))
	x.bring(c.segments(t, second))
	display := x.want(toolkit.DisplayText)
	if got := shown(t, display); got != first.Text+"\nKod: "+applet.VerificationCode(first.Digest) {
		t.Errorf("shows %q", got)
	}
	x.respond(display.Respond(toolkit.NoUserResponse))
	if a := x.answer(c); a.Result != applet.Busy || a.Reference != second.Reference {
		t.Fatalf("%s", a.Result)
	}
	x.signs(c)
}

func TestAbsentPersonIsSilence(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for _, at := range []toolkit.Type{toolkit.DisplayText, toolkit.GetInput} {
		saves := len(c.stored)
		x.bring(c.segments(t, challenge()))
		command := x.want(toolkit.DisplayText)
		if at == toolkit.GetInput {
			x.respond(command.Respond(toolkit.Done))
			command = x.want(toolkit.GetInput)
		}
		if sw := x.respond(command.Respond(toolkit.NoUserResponse)); sw != simcard.SWOK {
			t.Errorf("%s", sw)
		}
		x.idle()
		if len(c.stored) != saves+1 { // the counter
			t.Errorf("%d saves", len(c.stored)-saves)
		}
		sameTries(t, c.profile, 3, 3, 10)
		x.signs(c)
	}
}

// The answer that did not get out is not asked for again.
func TestAnswerThatTheNetworkRefusedIsDropped(t *testing.T) {
	for _, result := range []toolkit.Result{toolkit.SMSError, toolkit.NetworkBusy, toolkit.BeyondCapabilities, toolkit.SessionEnded} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		x.sign(c.segments(t, challenge()), testPIN2)
		messages := 0
		for ; x.sw != simcard.SWOK; messages++ {
			command := x.want(toolkit.SendShortMessage)
			x.respond(command.Respond(result))
		}
		if messages < 2 {
			t.Errorf("%d messages, a signature takes several", messages)
		}
		x.idle()
		x.signs(c)
	}
}

// Power off and on, or a terminal that begins anew, in the middle of a session:
// what the card remembers stays, the rest is gone.
func TestResetEndsTheSession(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	steps := map[string]func(){
		"one segment of three":  func() { x.envelope(deliver(t, c.segments(t, long())[0])) },
		"announced":             func() { x.bring(c.segments(t, challenge())) },
		"on the screen":         func() { x.bring(c.segments(t, challenge())); x.want(toolkit.DisplayText) },
		"the PIN is asked for":  func() { x.bring(c.segments(t, challenge())); x.confirm() },
		"a PIN was wrong":       func() { x.sign(c.segments(t, challenge()), "00000"); x.want(toolkit.GetInput) },
		"the answer waits":      func() { x.sign(c.segments(t, challenge()), testPIN2) },
		"the answer is leaving": func() { x.sign(c.segments(t, challenge()), testPIN2); x.want(toolkit.SendShortMessage) },
	}
	for name, step := range steps {
		for _, restart := range []func(){c.Reset, func() {
			if r := x.do(simcard.Command{CLA: 0x80, INS: 0x10, Data: []byte{0xFF}}); r.SW != simcard.SWOK {
				t.Errorf("%s: TERMINAL PROFILE: %s", name, r.SW)
			}
		}} {
			step()
			before := c.profile.tries()
			restart()
			c.boot(t)
			x.idle()
			for number := range 256 {
				if x.respond(typed(toolkit.Command{Number: byte(number), Type: toolkit.GetInput}, testPIN2)); x.sw != simcard.SWConditions {
					t.Fatalf("%s: the session lives on: %s", name, x.sw)
				}
			}
			sameTries(t, c.profile, before...)
			x.signs(c)
		}
	}
}
