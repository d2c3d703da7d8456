package smpp

// Handlers go deep, and a goroutine's stack grows as it does, by being copied. So
// those that have handled a message stay for the next one.

// mostHands is how many stay in a session; with more messages at once, each
// further one has a goroutine of its own.
const mostHands = 32

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
	if s.hands == mostHands {
		go s.handle(t)
		return
	}
	s.hands++
	s.taken.Add(1)
	go s.hand(t)
}

// hand handles messages until the session ends.
func (s *Session) hand(t task) {
	defer s.taken.Done()
	for {
		s.handle(t)
		select {
		case t = <-s.tasks:
		case <-s.ctx.Done():
			return
		}
	}
}
