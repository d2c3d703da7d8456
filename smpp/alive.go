package smpp

import (
	"fmt"
	"time"
)

// tick looks after what time does to a session: requests whose response is
// overdue end, and the other side is asked whether it is still there when it
// was silent, or left a request unanswered. It is a timer's, not a goroutine's:
// a server has thousands of sessions.
func (s *Session) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	now := time.Now()
	overdue := 0
	next := now.Add(s.options.Timeout)
	for _, c := range s.pending {
		deadline := c.began.Add(s.options.Timeout)
		switch {
		case deadline.After(now):
			next = earlier(next, deadline)
		case c == s.probe:
			s.probe = nil
			s.finish(c, "", ErrTimeout)
			s.trusted()
			s.unheeded++
			// Who is busy but sends is alive, for a while.
			if s.heard.Before(c.began) || s.unheeded == maxUnheeded {
				go s.end(fmt.Errorf("smpp: enquire_link: %w", ErrTimeout))
				return
			}
		default:
			overdue++
			s.missedAt = now // before its place is given to anybody
			s.options.stats.overdue.Add(1)
			s.options.Log.Warn("smpp: no response in time", "command", c.command, "sequence", c.sequence)
			s.finish(c, "", ErrTimeout)
			c.tell()
		}
	}
	silent := now.Sub(s.heard) >= s.options.Enquire
	if (overdue > 0 || silent) && s.probe == nil {
		s.inquire(now)
	}
	if s.probe == nil {
		next = earlier(next, s.heard.Add(s.options.Enquire))
	}
	s.wakeAt = next
	s.timer.Reset(next.Sub(now))
}

// maxUnheeded is after how many enquire_link without an answer a peer that does
// send is given up.
const maxUnheeded = 3

// inquire sends an enquire_link that tick looks after. The caller holds mu.
func (s *Session) inquire(now time.Time) {
	s.probe = &call{command: EnquireLink, began: now, alone: true}
	_ = s.write(s.probe, nil) // without a message nothing can be wrong with it
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
