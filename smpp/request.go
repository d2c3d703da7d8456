package smpp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// This file is what this side of a session asks: requests, from their number to
// their response.

// call is one request that waits for its response.
type call struct {
	command  Command
	sequence uint32
	began    time.Time
	windowed bool // it holds a place in the window
	alone    bool // nobody waits for it (any more)
	finished bool // it is no longer pending, and the rest is set

	done chan struct{} // takes a value soon after that
	id   string        // of a submit_sm_resp
	err  error
}

// calls keeps calls that were waited for, for the next requests.
var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// ask sends a message and waits for its response.
func (s *Session) ask(ctx context.Context, command Command, m *ShortMessage) (string, error) {
	if err := s.acquire(ctx); err != nil {
		return "", err
	}
	c, err := s.begin(command, m)
	if err != nil {
		return "", err
	}
	return s.await(ctx, c)
}

// maxSequence is the highest sequence_number (SMPP 3.4 §5.1.4).
const maxSequence = 0x7FFFFFFF

// begin puts a request on its way. A message has acquired its place in the
// window before, and gives it back if it cannot be sent.
func (s *Session) begin(command Command, m *ShortMessage) (*call, error) {
	c := calls.Get().(*call)
	c.command, c.began, c.windowed, c.alone, c.finished = command, time.Now(), m != nil, false, false
	s.mu.Lock()
	defer s.mu.Unlock()
	// The window is closed earlier than the session: a message whose place was
	// taken before that is not sent behind an unbind.
	if s.ended || m != nil && s.window.closed {
		if m != nil {
			s.giveBack()
		}
		return nil, s.closed()
	}
	if err := s.write(c, m); err != nil {
		s.giveBack()
		return nil, err
	}
	return c, nil
}

// write gives a request its number and queues it. The caller holds mu.
func (s *Session) write(c *call, m *ShortMessage) (err error) {
	for taken := true; taken; _, taken = s.pending[s.sequence] {
		if s.sequence++; s.sequence > maxSequence {
			s.sequence = 1
		}
	}
	c.sequence = s.sequence
	if m != nil {
		if s.out, err = appendMessage(s.queue(), c.command, c.sequence, m); err != nil {
			return err
		}
	} else {
		s.out = appendHeader(s.queue(), headerLen, c.command, StatusOK, c.sequence)
	}
	s.pending[c.sequence] = c
	s.wake()
	if deadline := c.began.Add(s.options.Timeout); s.timer != nil && deadline.Before(s.wakeAt) {
		s.wakeAt = deadline
		s.timer.Reset(s.options.Timeout)
	}
	return nil
}

// await waits for the response to a request. Its status, if not well, is the
// error. Who waits no longer leaves the request in the window until it is
// answered or its time is up.
func (s *Session) await(ctx context.Context, c *call) (id string, err error) {
	if over := ctx.Done(); over == nil {
		<-c.done
	} else {
		select {
		case <-c.done:
		case <-over:
			if s.leave(c) {
				return "", fmt.Errorf("%w: %w", ErrUnanswered, ctx.Err())
			}
			<-c.done // what came at the same moment counts
		}
	}
	id, err = c.id, c.err
	c.id, c.err = "", nil
	calls.Put(c)
	return id, err
}

// leave says that nobody waits for a call any more. It reports false if the call
// has finished already.
func (s *Session) leave(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.finished { // whoever did it reads alone without mu
		return false
	}
	c.alone = true
	return true
}

// finish ends a call that is pending; tell must follow. The caller holds mu.
func (s *Session) finish(c *call, id string, err error) {
	delete(s.pending, c.sequence)
	if c.windowed {
		s.giveBack()
	}
	s.moved.Broadcast()
	c.id, c.err, c.finished = id, err, true
}

// tell wakes whoever waits for a call that has finished.
func (c *call) tell() {
	if !c.alone {
		c.done <- struct{}{}
	}
}

// match hands a response, and all others that came with it, to the requests
// that they answer. Who waited for them is told when the lock is free again:
// most will take it at once, to send the next.
func (s *Session) match(p PDU, r *frameReader) (next PDU, more bool, err error) {
	finished := s.finished[:0]
	s.mu.Lock()
	s.heard = r.at
	for more = true; more && err == nil && p.answers(); p, more, err = r.buffered() {
		if c := s.matchOne(p, r.at); c != nil {
			finished = append(finished, c)
		}
	}
	s.mu.Unlock()
	for i, c := range finished {
		finished[i] = nil
		c.tell()
	}
	s.finished = finished
	return p, more, err
}

// answers reports whether it is a response that SMPP 3.4 knows.
func (p *PDU) answers() bool { return p.Command&response != 0 && p.Command.known() }

// matchOne finds the request that a response answers, by number and by command,
// and finishes it. Sequence numbers of both sides are apart, since only
// responses come here. The caller holds mu.
func (s *Session) matchOne(p PDU, at time.Time) *call {
	c := s.pending[p.Sequence]
	if c == nil || p.Command != c.command|response && p.Command != GenericNack {
		s.options.stats.late.Add(1)
		s.options.Log.Debug("smpp: a response to nothing that waits", "command", p.Command, "sequence", p.Sequence)
		return nil
	}
	if c.windowed {
		s.options.stats.answered(at.Sub(c.began))
		s.missedAt = time.Time{}
	}
	if c.command == SubmitSM {
		s.options.stats.submitted(p.Status)
	}
	s.unheeded = 0
	if c == s.probe {
		s.probe = nil
		s.trusted()
	}
	switch {
	case p.Command == GenericNack:
		s.options.stats.nacks.Add(1)
		s.options.Log.Warn("smpp: generic_nack", "command", c.command, "sequence", p.Sequence, "status", p.Status)
		status := p.Status
		if status == StatusOK { // a nack without a reason is one all the same
			status = StatusInvalidCommand
		}
		s.finish(c, "", status)
	case p.Status != StatusOK:
		s.finish(c, "", p.Status)
	case c.command == SubmitSM:
		s.finish(c, messageID(p.Body), nil)
	default:
		s.finish(c, "", nil)
	}
	return c
}

// closed is the error of a request that the session's end kept from being sent.
func (s *Session) closed() error {
	if cause := s.Err(); cause != nil && !errors.Is(cause, ErrClosed) {
		return fmt.Errorf("%w: %v", ErrClosed, cause)
	}
	return ErrClosed
}

// answered reports whether no message waits for its response. The caller holds
// mu.
func (s *Session) answered() bool {
	for _, c := range s.pending {
		if c.windowed {
			return false
		}
	}
	return true
}
