package smpp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// This file is how what a session says is written.

// send queues a frame for the writer. The caller holds mu.
func (s *Session) send(p PDU) {
	s.out = p.Append(s.queue())
	s.wake()
}

func (s *Session) respond(p PDU) {
	s.mu.Lock()
	s.send(p)
	s.mu.Unlock()
}

// wake sees that somebody writes what is queued. The caller holds mu.
func (s *Session) wake() {
	if !s.writing && !s.ended {
		s.writing = true
		s.gone.Add(1)
		go s.flush()
	}
}

// outBuffers keeps buffers that were written, for whichever session writes
// next: those that are idle have none.
var outBuffers = sync.Pool{New: func() any { return new([]byte) }}

// queue is what the next frame is appended to. The caller holds mu.
func (s *Session) queue() []byte {
	if s.out == nil {
		s.out = (*outBuffers.Get().(*[]byte))[:0]
	}
	return s.out
}

// flush writes what is queued, all of it at once, until there is no more.
func (s *Session) flush() {
	defer s.gone.Done()
	// Those who are about to send something too are let by: one write is for all.
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) > 0 && !s.ended {
		queued := s.out
		s.out = nil
		s.mu.Unlock()
		err := s.conn.SetWriteDeadline(time.Now().Add(s.options.Timeout))
		if err == nil {
			_, err = s.conn.Write(queued)
		}
		if err != nil {
			s.end(fmt.Errorf("smpp: write: %w", err))
		}
		if cap(queued) <= maxOut { // what grew larger in a burst is not kept
			outBuffers.Put(&queued)
		}
		s.mu.Lock()
		s.moved.Broadcast()
	}
	s.writing = false
	s.moved.Broadcast()
}

// until waits for a condition, which is looked at with mu held, as long as the
// session and the time last.
func (s *Session) until(d time.Duration, condition func() bool) {
	over := false
	timer := time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		over = true
		s.moved.Broadcast()
	})
	defer timer.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !condition() && !over && !s.ended {
		s.moved.Wait()
	}
}

// putLength sets the command_length of the frame that b is.
func putLength(b []byte) { binary.BigEndian.PutUint32(b, uint32(len(b))) }
