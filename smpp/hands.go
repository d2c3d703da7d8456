package smpp

import "time"

// Handlers go deep, and a goroutine's stack grows as it does, by being copied. So
// those that have handled a message stay for the next one, for a while.

// mostHands is how many stay in a session; with more messages at once, each
// further one has a goroutine of its own. handStays is how long one stays that has
// nothing to do.
const (
	mostHands = 32
	handStays = time.Second
)

// task is a message for the handler.
type task struct {
	message  *ShortMessage
	command  Command
	sequence uint32
	octets   int // of its body
}

// give has a message handled, by a hand that has nothing to do if there is one.
// Only the reader calls it.
func (s *Session) give(t task) {
	s.taken.Add(1)
	select {
	case s.tasks <- t:
		return
	default:
	}
	if s.hands.Load() >= mostHands {
		go s.handle(t)
		return
	}
	s.hands.Add(1)
	s.taken.Add(1)
	go s.hand(t)
}

// hand handles messages until there are none, or the session ends.
func (s *Session) hand(t task) {
	defer s.taken.Done()
	defer s.hands.Add(-1)
	idle := time.NewTimer(handStays)
	defer idle.Stop()
	for {
		s.handle(t)
		idle.Reset(handStays)
		select {
		case t = <-s.tasks:
		case <-idle.C:
			return
		case <-s.ctx.Done():
			return
		}
	}
}
