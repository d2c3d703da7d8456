package emulator

import (
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

func TestWrongPINTwiceThenRightSigns(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	asked := challenge()
	x.bring(c.segments(t, asked))
	input := x.confirm()
	for left := 2; left >= 1; left-- {
		x.respond(typed(input, "0000"))
		sameTries(t, c.profile, 3, left, 10)
		input = x.want(toolkit.GetInput)
	}
	x.respond(typed(input, testPIN2))
	if a := x.answer(c); a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Fatalf("%s", a.Result)
	}
	sameTries(t, c.profile, 3, 3, 10)
}

func TestThreeWrongPINsBlock(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	asked := challenge()
	x.bring(c.segments(t, asked))
	input := x.confirm()
	for range 2 {
		x.respond(typed(input, "00000000"))
		input = x.want(toolkit.GetInput)
	}
	x.respond(typed(input, "0000"))
	if a := x.answer(c); a.Result != applet.PINBlocked || a.Reference != asked.Reference {
		t.Fatalf("%s", a.Result)
	}
	x.idle()
	// From then on nobody is asked, not even after the power was off.
	for range 2 {
		asked = challenge()
		x.bring(c.segments(t, asked))
		if a := x.answer(c); a.Result != applet.PINBlocked || a.Reference != asked.Reference {
			t.Fatalf("%s", a.Result)
		}
		x.idle()
		c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
	}
	// The PUK, and only it, brings the person back.
	if r := x.do(simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair(testPUK, testPIN2)}); r.SW != simcard.SWOK {
		t.Fatalf("UNBLOCK: %s", r.SW)
	}
	x.signs(c)
}

// A PIN2 that was verified by APDU signs nothing: each signature wants its own.
func TestVerifiedPINDoesNotSign(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.do(simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded(testPIN2)})
	x.bring(c.segments(t, challenge()))
	input := x.confirm()
	x.do(simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded(testPIN2)})
	x.respond(typed(input, "00000"))
	for _, a := range x.drain(c) {
		if a.Result == applet.Signed {
			t.Error("signed with a wrong PIN2 because the right one was verified before")
		}
	}
}

// What a terminal may respond to GET INPUT, with the right PIN2 in it wherever
// it fits, and what comes of it. Nothing but the right PIN2 in the response
// that is due makes a signature.
func TestOnlyTheRightPINInTheRightResponseSigns(t *testing.T) {
	withText := func(coding byte, octets string) func(toolkit.Response) []byte {
		return func(r toolkit.Response) []byte {
			r.Text = &toolkit.Text{Coding: coding, Octets: []byte(octets)}
			return r.Append(nil)
		}
	}
	withResult := func(result toolkit.Result) func(toolkit.Response) []byte {
		return func(r toolkit.Response) []byte {
			r.Result = result
			return withText(byte(sms.GSM8), testPIN2)(r)
		}
	}
	ucs2 := func(digits string) (octets string) {
		for _, d := range digits {
			octets += string([]byte{byte(d >> 8), byte(d)})
		}
		return octets
	}
	const (
		again    = applet.Result(0xF0) // the PIN was wrong, and is asked for again
		silence  = applet.Result(0xF1) // the session is over without an answer
		notTaken = applet.Result(0xF2) // the response is refused, the command waits on
	)
	for name, c := range map[string]struct {
		response func(toolkit.Response) []byte
		want     applet.Result
		left     int // of PIN2's tries
	}{
		"right":                             {withText(4, testPIN2), applet.Signed, 3},
		"right, packed":                     {withText(0, "\x38\x1B\x4D\x06\x03"), applet.Signed, 3}, // 86420 in septets
		"right, in UCS-2":                   {withText(8, ucs2(testPIN2)), applet.Signed, 3},
		"right, done with remarks":          {withResult(0x04), applet.Signed, 3},
		"wrong":                             {withText(4, "86421"), again, 2},
		"wrong, in UCS-2":                   {withText(8, ucs2("86421")), again, 2},
		"the first digits":                  {withText(4, testPIN2[:4]), again, 2},
		"a digit more":                      {withText(4, testPIN2+"0"), again, 2},
		"PIN1":                              {withText(4, testPIN1), again, 2},
		"the PUK":                           {withText(4, testPUK), again, 2},
		"no digits":                         {withText(4, ""), applet.TerminalFailed, 3},
		"nine digits":                       {withText(4, testPIN2+"0000"), applet.TerminalFailed, 3},
		"a hundred digits":                  {withText(4, testPIN2+string(make([]byte, 95))), applet.TerminalFailed, 3},
		"right, and the padding typed":      {withText(4, testPIN2+"\xFF\xFF\xFF"), applet.TerminalFailed, 3},
		"digits of another script":          {withText(8, ucs2("٨٦٤٢٠")), applet.TerminalFailed, 3},
		"half a character":                  {withText(8, ucs2(testPIN2)[1:]), applet.TerminalFailed, 3},
		"8-bit digits called UCS-2":         {withText(8, "864200"), applet.TerminalFailed, 3},
		"UCS-2 digits called 8-bit":         {withText(4, ucs2(testPIN2)), applet.TerminalFailed, 3},
		"a coding that is none":             {withText(0x0C, testPIN2), applet.TerminalFailed, 3},
		"cancelled, with the PIN":           {withResult(toolkit.SessionEnded), applet.CancelledByUser, 3},
		"backward, with the PIN":            {withResult(toolkit.Backward), applet.CancelledByUser, 3},
		"refused, with the PIN":             {withResult(toolkit.UserRefused), applet.CancelledByUser, 3},
		"no response, with the PIN":         {withResult(toolkit.NoUserResponse), silence, 3},
		"help wanted, with the PIN":         {withResult(0x13), applet.TerminalFailed, 3},
		"terminal busy, with the PIN":       {withResult(toolkit.TerminalBusy), applet.TerminalFailed, 3},
		"beyond capabilities, with the PIN": {withResult(toolkit.BeyondCapabilities), applet.TerminalFailed, 3},
		"not understood, with the PIN":      {withResult(toolkit.NotUnderstood), applet.TerminalFailed, 3},
		"values missing, with the PIN":      {withResult(0x36), applet.TerminalFailed, 3},
		"result FF, with the PIN":           {withResult(0xFF), applet.TerminalFailed, 3},
		"done, without a text":              {func(r toolkit.Response) []byte { return r.Append(nil) }, applet.TerminalFailed, 3},
		"an empty text":                     {func(r toolkit.Response) []byte { return append(r.Append(nil), 0x8D, 0) }, applet.TerminalFailed, 3},
		"of another command number": {func(r toolkit.Response) []byte {
			r.Number++
			return withText(4, testPIN2)(r)
		}, notTaken, 3},
		"of another type": {func(r toolkit.Response) []byte {
			r.Type = toolkit.DisplayText
			return withText(4, testPIN2)(r)
		}, notTaken, 3},
		"without a result":        {func(r toolkit.Response) []byte { return unhex(t, "810301230482028281 8D06043836343230") }, notTaken, 3},
		"without command details": {func(r toolkit.Response) []byte { return unhex(t, "82028281 830100 8D06043836343230") }, notTaken, 3},
		"a result of no octets":   {func(r toolkit.Response) []byte { return append(r.Append(nil)[:9], 0x83, 0) }, notTaken, 3},
		"cut off in the text":     {func(r toolkit.Response) []byte { b := withText(4, testPIN2)(r); return b[:len(b)-1] }, notTaken, 3},
		"a length that runs past": {func(r toolkit.Response) []byte { return append(r.Append(nil), 0x8D, 0x82, 0xFF, 0xFF) }, notTaken, 3},
		"nothing":                 {func(r toolkit.Response) []byte { return nil }, notTaken, 3},
		"the right text twice but the first is wrong": {func(r toolkit.Response) []byte {
			return append(withText(4, "00000")(r), withText(4, testPIN2)(r)[12:]...)
		}, again, 2},
	} {
		t.Run(name, func(t *testing.T) {
			card := newCard(t, nil)
			x := &terminal{TB: t, card: card}
			x.bring(card.segments(t, challenge()))
			input := x.confirm()
			sw := x.raw(c.response(input.Respond(toolkit.Done)))
			sameTries(t, card.profile, 3, c.left, 10)
			switch c.want {
			case notTaken:
				if sw != simcard.SWWrongData {
					t.Errorf("%s, want 6A80", sw)
				}
				// The command waits on, so that the session can be ended.
				x.respond(input.Respond(toolkit.SessionEnded))
				if a := x.answer(card); a.Result != applet.CancelledByUser {
					t.Errorf("%s", a.Result)
				}
			case silence:
				if sw != simcard.SWOK {
					t.Errorf("%s, want 9000", sw)
				}
			case again:
				input = x.want(toolkit.GetInput)
				x.respond(input.Respond(toolkit.SessionEnded))
				if a := x.answer(card); a.Result != applet.CancelledByUser {
					t.Errorf("%s", a.Result)
				}
			default:
				if a := x.answer(card); a.Result != c.want || (len(a.Signature) > 0) != (c.want == applet.Signed) {
					t.Errorf("%s, want %s", a.Result, c.want)
				}
			}
			x.idle()
			x.signs(card)
		})
	}
}

// At DISPLAY TEXT no PIN was asked for, so none counts, and what is not "done"
// ends it.
func TestDisplayTextSignsNothing(t *testing.T) {
	for result, want := range map[toolkit.Result]applet.Result{
		toolkit.SessionEnded: applet.CancelledByUser, toolkit.Backward: applet.CancelledByUser, toolkit.UserRefused: applet.CancelledByUser,
		toolkit.TerminalBusy: applet.TerminalFailed, toolkit.BeyondCapabilities: applet.TerminalFailed, toolkit.NotUnderstood: applet.TerminalFailed,
	} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		x.bring(c.segments(t, challenge()))
		r := typed(x.want(toolkit.DisplayText), testPIN2)
		r.Result = result
		x.respond(r)
		if a := x.answer(c); a.Result != want {
			t.Errorf("result %02x: %s, want %s", byte(result), a.Result, want)
		}
		x.idle()
	}
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.bring(c.segments(t, challenge()))
	display := x.want(toolkit.DisplayText)
	forged := typed(display, testPIN2)
	forged.Type = toolkit.GetInput
	if sw := x.respond(forged); sw != simcard.SWWrongData {
		t.Errorf("a GET INPUT's response to DISPLAY TEXT: %s", sw)
	}
	x.respond(typed(display, testPIN2)) // a text where none belongs: asked for the PIN all the same
	input := x.want(toolkit.GetInput)
	x.respond(input.Respond(toolkit.SessionEnded))
	if a := x.answer(c); a.Result != applet.CancelledByUser {
		t.Errorf("%s", a.Result)
	}
}

func TestResponsesToNothingAreRefused(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	// guess is the response to each command that the card might have had in mind.
	guess := func() {
		t.Helper()
		for number := range 256 {
			for _, kind := range []toolkit.Type{toolkit.DisplayText, toolkit.GetInput, toolkit.SendShortMessage} {
				if sw := x.respond(typed(toolkit.Command{Number: byte(number), Type: kind}, testPIN2)); sw != simcard.SWConditions {
					t.Fatalf("%s", sw)
				}
			}
		}
	}
	guess() // nothing is there
	sw := simcard.SW(0)
	for _, ud := range c.segments(t, challenge()) {
		sw = x.envelope(deliver(t, ud))
	}
	guess() // it is announced, but not fetched
	x.sw = sw
	display := x.want(toolkit.DisplayText)
	sw = x.respond(display.Respond(toolkit.Done))
	guess()
	x.sw = sw
	x.respond(typed(x.want(toolkit.GetInput), testPIN2))
	if a := x.answer(c); a.Result != applet.Signed {
		t.Fatalf("%s", a.Result)
	}
	guess() // it is over
	x.idle()
	x.signs(c)
}
