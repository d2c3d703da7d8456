package smpp

import (
	"context"
	"errors"
)

// window is how many requests may be unanswered. Those who find no room wait in
// turn. Its methods are called with the session's mu held.
type window struct {
	size, used int
	waiting    []*turn // the first is the next
	closed     bool
}

// turn is one who waits for room.
type turn struct {
	come chan struct{} // closed when it has come, or those who wait are sent away
	room bool          // which of the two
	left bool          // it waits no longer
}

// take takes a place, or a turn to wait for.
func (w *window) take() (ok bool, t *turn) {
	switch {
	case w.closed:
		return false, nil
	case w.used < w.size && len(w.waiting) == 0:
		w.used++
		return true, nil
	}
	t = &turn{come: make(chan struct{})}
	w.waiting = append(w.waiting, t)
	return false, t
}

// release gives a place back, or to the next who waits.
func (w *window) release() {
	for len(w.waiting) > 0 {
		t := w.waiting[0]
		w.waiting[0] = nil
		w.waiting = w.waiting[1:]
		if !t.left {
			t.room = true
			close(t.come)
			return
		}
	}
	w.used--
}

// close sends those away who wait, and all who come.
func (w *window) close() {
	w.closed = true
	w.sendAway()
}

func (w *window) sendAway() {
	for _, t := range w.waiting {
		if !t.left {
			close(t.come)
		}
	}
	w.waiting = nil
}

// errElsewhere sends those who wait for room to another session, if they have
// one: this one has left a request unanswered.
var errElsewhere = errors.New("smpp: the other side does not answer")

// acquire waits for room in the window.
func (s *Session) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	ok, t := s.window.take()
	s.mu.Unlock()
	switch {
	case ok:
		return nil
	case t == nil:
		return s.closed()
	}
	select {
	case <-t.come:
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.room {
			s.window.release()
		}
		t.left = true
		return ctx.Err()
	}
	if t.room {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window.closed {
		return s.closed()
	}
	return errElsewhere
}

// release gives back a place that nothing was sent in.
func (s *Session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.release()
	s.moved.Broadcast()
}
