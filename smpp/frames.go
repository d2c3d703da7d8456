package smpp

import (
	"bufio"
	"errors"
	"time"
)

// This file is what goes over a session's connection, in either direction.

// send queues a frame for the writer. The caller holds mu.
func (s *Session) send(p PDU) {
	s.out = p.Append(s.out)
	select {
	case s.wake <- struct{}{}:
	default: // the writer is awake already
	}
}

func (s *Session) respond(p PDU) {
	s.mu.Lock()
	s.send(p)
	s.mu.Unlock()
}

// write sends what is queued, all of it in one write.
func (s *Session) write() error {
	// What grew beyond keepBuffer in a burst is not kept for the session's life.
	const keepBuffer = 64 << 10
	var spare []byte
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return nil
		}
		written, err := s.flush(spare[:0])
		if err != nil {
			return err
		}
		if spare = written; cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

// flush writes what is queued and returns its buffer; next takes its place.
func (s *Session) flush(next []byte) (written []byte, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	queued := s.out
	s.out = next
	s.mu.Unlock()
	select {
	case s.drained <- struct{}{}:
	default:
	}
	if len(queued) == 0 {
		return queued, nil // lastWord was faster
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.options.Timeout)); err != nil {
		return nil, err
	}
	_, err = s.conn.Write(queued)
	return queued, err
}

// read takes frames until the connection ends, and returns why it did.
func (s *Session) read(r *bufio.Reader) error {
	for {
		p, err := ReadPDU(r, MaxPDU)
		if err != nil {
			if errors.Is(err, ErrFraming) {
				s.lastWord(PDU{Command: GenericNack, Status: StatusInvalidLength})
			}
			return err
		}
		s.mu.Lock()
		s.heard = time.Now()
		full := len(s.out) > maxOut
		s.mu.Unlock()
		if full && !s.waitDrained() {
			return s.Err()
		}
		if p.Command&response != 0 {
			s.match(p)
			continue
		}
		if p.Command == Unbind {
			s.finishTaken()
			s.lastWord(PDU{Command: UnbindResp, Sequence: p.Sequence})
			return errors.New("smpp: the other side unbound")
		}
		s.request(p)
	}
}

// maxOut is how much may wait to be written before no more is read: a peer that
// asks and never reads answers is slowed down by its own connection.
const maxOut = 256 << 10

// waitDrained waits until the writer has taken what waits.
func (s *Session) waitDrained() bool {
	for {
		s.mu.Lock()
		full := len(s.out) > maxOut
		s.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-s.drained:
		case <-s.ctx.Done():
			return false
		}
	}
}

// lastWord writes a frame behind all that is queued, and waits until it is
// written, since the session ends then.
func (s *Session) lastWord(p PDU) {
	s.respond(p)
	_, _ = s.flush(nil) // there is nobody left to tell
}
