package emulator

import (
	"context"
	"time"
)

// Behaviour is what a person does with a request on the screen.
type Behaviour string

// The behaviours.
const (
	Signs       Behaviour = "signs"
	Cancels     Behaviour = "cancels"
	WrongOnce   Behaviour = "wrong-once"   // types a wrong PIN2, then the right one
	WrongAlways Behaviour = "wrong-always" // until it is blocked
	Absent      Behaviour = "absent"       // does not look at the telephone
)

// Person is who holds a handset.
type Person struct {
	PIN2      string
	Behaviour Behaviour
	// Think is what passes before the person acts on a prompt; nil: nothing. It
	// returns early if the context ends.
	Think func(context.Context)
	// GivesUp is how long the handset shows a prompt to nobody before it tells
	// the card that the person did not respond.
	GivesUp time.Duration
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

// act is what a person does at one prompt.
type act int

const (
	confirm act = iota // clears the text, or types digits
	cancel
	nothing
)

// look is the person's part at a prompt: after some thought, what they do and,
// if the prompt asks for digits, what they type. wrong is how often the PIN was
// wrong in this session.
func (p *Person) look(ctx context.Context, asksPIN bool, wrong int) (act, string) {
	if p.Behaviour == Absent {
		sleep(ctx, p.GivesUp)
		return nothing, ""
	}
	if p.Think != nil {
		p.Think(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return nothing, ""
	case p.Behaviour == Cancels && asksPIN: // reads the text, then thinks better of it
		return cancel, ""
	case asksPIN && (p.Behaviour == WrongAlways || p.Behaviour == WrongOnce && wrong == 0):
		return confirm, p.wrongPIN()
	}
	return confirm, p.PIN2
}

// wrongPIN is the right one with its last digit changed.
func (p *Person) wrongPIN() string {
	digits := []byte(p.PIN2)
	last := &digits[len(digits)-1]
	*last = '0' + (*last-'0'+1)%10
	return string(digits)
}
