package emulator

import (
	"context"
	"strings"
	"time"

	"imza/simcard/toolkit"
)

// Person is who holds a handset: an Actor, somebody at a terminal, or somebody
// at a browser. A handset asks one thing at a time.
type Person interface {
	// Prompt shows something that wants a reply, and returns with it. When the
	// context ends the telephone is switched off, and no reply counts.
	Prompt(ctx context.Context, p Prompt) Reply
	// Note shows what needs no reply, such as that a message is on its way.
	Note(text string)
}

// Prompt is what a handset's screen shows and asks.
type Prompt struct {
	Kind Kind
	Text string // what is shown; of Choose, the title

	// Of Ask.
	Unlock   bool // it is the telephone's own PIN, not one of the applet's
	Hidden   bool // what is typed is not to be seen
	Digits   bool // only digits can be typed
	Min, Max int  // characters

	Items []Item // of Choose
}

// Kind is what a prompt wants of the person.
type Kind string

// The kinds.
const (
	Show   Kind = "show"   // a text, to be cleared
	Ask    Kind = "ask"    // something to be typed
	Choose Kind = "choose" // one of several
)

// Item is a line of a menu.
type Item struct {
	ID   byte
	Text string
}

// Reply is what the person did. Result is toolkit.Done, SessionEnded (put an end
// to it), Backward or NoUserResponse.
type Reply struct {
	Result toolkit.Result
	Typed  string // at Ask
	Chosen byte   // at Choose
}

// Behaviour is what an Actor does with a request on the screen.
type Behaviour string

// The behaviours.
const (
	Signs       Behaviour = "signs"
	Cancels     Behaviour = "cancels"
	WrongOnce   Behaviour = "wrong-once"   // types a wrong PIN, then the right one
	WrongAlways Behaviour = "wrong-always" // until it is blocked
	Absent      Behaviour = "absent"       // does not look at the telephone
)

// Actor is an emulated person. It holds one handset.
type Actor struct {
	PIN1, PIN2 string
	Telephone  string // the telephone's own PIN; empty: not known, and not guessed
	Behaviour  Behaviour
	// Think is what passes before the person acts on a prompt; nil: nothing. It
	// returns early if the context ends.
	Think func(context.Context)
	// GivesUp is how long the handset shows a prompt to nobody before it tells
	// the card that the person did not respond.
	GivesUp time.Duration

	asked int // PINs that were asked for since the last text
}

// Thinking is a Think that takes always the same time.
func Thinking(d time.Duration) func(context.Context) {
	return func(ctx context.Context) { sleep(ctx, d) }
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Prompt implements Person: after some thought, the reply that the behaviour
// gives.
func (a *Actor) Prompt(ctx context.Context, p Prompt) Reply {
	if a.Behaviour == Absent {
		sleep(ctx, a.GivesUp)
		return Reply{Result: toolkit.NoUserResponse}
	}
	if a.Think != nil {
		a.Think(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return Reply{Result: toolkit.NoUserResponse}
	case p.Kind == Choose: // an actor has no business in menus
		return Reply{Result: toolkit.SessionEnded}
	case p.Unlock && a.Telephone == "":
		return Reply{Result: toolkit.SessionEnded}
	case p.Unlock:
		return Reply{Result: toolkit.Done, Typed: a.Telephone}
	case p.Kind == Show:
		a.asked = 0
		return Reply{Result: toolkit.Done}
	case a.Behaviour == Cancels: // reads the text, then thinks better of it
		return Reply{Result: toolkit.SessionEnded}
	}
	pin := a.PIN2
	if strings.Contains(p.Text, "PIN1") {
		pin = a.PIN1
	}
	a.asked++
	if a.Behaviour == WrongAlways || a.Behaviour == WrongOnce && a.asked == 1 {
		pin = wrong(pin)
	}
	return Reply{Result: toolkit.Done, Typed: pin}
}

// Note implements Person.
func (*Actor) Note(string) {}

// wrong is a PIN with its last digit changed.
func wrong(pin string) string {
	digits := []byte(pin)
	last := &digits[len(digits)-1]
	*last = '0' + (*last-'0'+1)%10
	return string(digits)
}
