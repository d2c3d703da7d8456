package smpp

import (
	"context"
	"time"
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
	come chan struct{} // closed when it has come, or the window is closed
	room bool          // which of the two
	left bool          // it waits no longer
}

// take takes a place, or a turn to wait for.
func (w *window) take() (ok bool, t *turn) {
	switch {
	case w.closed:
		return false, nil
	case w.room():
		w.used++
		return true, nil
	}
	t = &turn{come: make(chan struct{})}
	w.waiting = append(w.waiting, t)
	return false, t
}

// room reports whether there is room for one who comes now.
func (w *window) room() bool { return w.used < w.size && len(w.waiting) == 0 }

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
	for _, t := range w.waiting {
		if !t.left {
			close(t.come)
		}
	}
	w.waiting = nil
}

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
			s.giveBack()
		}
		t.left = true
		return ctx.Err()
	}
	if !t.room {
		return s.closed()
	}
	return nil
}

// tryAcquire takes a place if there is one now.
func (s *Session) tryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window.closed || !s.window.room() {
		return false
	}
	s.window.used++
	return true
}

// release gives back a place that nothing was sent in.
func (s *Session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack()
}

// giveBack gives a place back, and tells whoever may wait for it. The caller
// holds mu.
func (s *Session) giveBack() {
	s.window.release()
	s.moved.Broadcast()
	s.trusted()
}

// trusted tells those who wait for any session that they may find this one fit
// now: it has room, or has answered again.
func (s *Session) trusted() {
	if s.options.room != nil {
		s.options.room()
	}
}

// offer is what a session has for one who may choose among several.
type offer struct {
	load    int  // requests that are unanswered, or wait for room
	room    bool // in the window
	trusted bool // it is open, and answers
}

func (s *Session) offer() offer {
	// One that has left a message unanswered is tried again after a while.
	const mistrust = time.Minute
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window.closed {
		return offer{}
	}
	silent := s.probe != nil || !s.missedAt.IsZero() && time.Since(s.missedAt) < mistrust
	return offer{s.window.used + len(s.window.waiting), s.window.room(), !silent}
}
