package smpp

import (
	"bytes"
	"errors"
	"log/slog"
	"time"
)

// This file is what the other side of a session asks.

// maxOut is how much may wait to be written before no more is read: a peer that
// asks and never reads answers is slowed down by its own connection.
const maxOut = 256 << 10

// maxInboundOctets bounds what the messages in a session's handler hold.
const maxInboundOctets = 4 << 20

var errUnbound = errors.New("smpp: the other side unbound")

// read takes frames until the connection ends, and returns why it did.
func (s *Session) read(r *frameReader) error {
	for {
		p, err := r.next()
		more := true
		if err == nil && p.answers() {
			p, more, err = s.match(p, r)
		}
		if err == nil && !more {
			continue
		}
		if err != nil {
			if errors.Is(err, ErrFraming) {
				s.lastWord(PDU{Command: GenericNack, Status: StatusInvalidLength})
			}
			return err
		}
		s.mu.Lock()
		s.heard = r.at
		for len(s.out) > maxOut && !s.ended {
			s.moved.Wait()
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return s.Err()
		}
		s.asked(p)
	}
}

// lastWord writes a frame behind all that is queued, and waits until it is
// written, since the session ends then.
func (s *Session) lastWord(p PDU) {
	s.respond(p)
	s.until(s.options.Timeout, func() bool { return !s.writing })
}

// asked answers what the other side asks.
func (s *Session) asked(p PDU) {
	switch p.Command {
	case SubmitSM, DeliverSM, DataSM:
		s.message(p)
		return
	}
	_, err := Parse(p.Command, p.Body)
	if !p.Command.known() || p.Command == Outbind {
		s.respond(PDU{Command: GenericNack, Status: StatusInvalidCommand, Sequence: p.Sequence})
		return
	}
	status := s.unserved(p.Command)
	var field *FieldError
	if errors.As(err, &field) {
		s.malformed(p, err)
		status = field.Status()
	}
	switch {
	case p.Command == AlertNotification: // it has no response
	case p.Command == Unbind && status == StatusOK:
		s.letGo(p)
	default:
		s.respond(PDU{Command: p.Command | response, Status: status, Sequence: p.Sequence})
	}
}

// letGo begins to answer an unbind; meanwhile responses go on to be read.
func (s *Session) letGo(p PDU) {
	s.mu.Lock()
	again := s.leaving
	s.leaving = true
	s.window.close() // nothing more is asked of it
	s.mu.Unlock()
	if !again {
		s.gone.Add(1)
		go s.unbound(p)
	}
}

// unserved is what a request is answered with that nothing is done about.
func (s *Session) unserved(c Command) Status {
	switch c {
	case EnquireLink, Unbind:
		return StatusOK
	case BindReceiver, BindTransmitter, BindTransceiver:
		return StatusAlreadyBound
	}
	if s.side == esme || s.role == BindReceiver {
		return StatusNotBound
	}
	switch c { // of messages that were delivered at once, or are no longer known
	case QuerySM:
		return StatusQueryFailed
	case CancelSM:
		return StatusCancelFailed
	case ReplaceSM:
		return StatusReplaceFailed
	default:
		return StatusSubmitFailed
	}
}

func (s *Session) malformed(p PDU, err error) {
	s.options.stats.malformed.Add(1)
	level := slog.LevelDebug // a peer that sends many does not fill the log
	if !s.complained {
		s.complained, level = true, slog.LevelWarn
	}
	s.options.Log.Log(s.ctx, level, "smpp: a body that does not parse", "command", p.Command, "sequence", p.Sequence, "err", err)
	if s.options.Malformed != nil {
		s.options.Malformed(err)
	}
}

// unbound answers an unbind once what was taken is acknowledged and what was
// asked is answered, which need not take long.
func (s *Session) unbound(p PDU) {
	defer s.gone.Done()
	const patience = time.Second
	s.until(min(s.options.Timeout, patience), func() bool { return s.inbound == 0 && s.answered() })
	s.lastWord(PDU{Command: UnbindResp, Sequence: p.Sequence})
	s.end(errUnbound)
}

// message hands a message to the handler, beside the reader.
func (s *Session) message(p PDU) {
	refuse := func(status Status) {
		s.respond(PDU{Command: p.Command | response, Status: status, Sequence: p.Sequence})
	}
	if !s.takes(p.Command) {
		refuse(StatusNotBound)
		return
	}
	m, err := ownMessage(p)
	var field *FieldError
	if errors.As(err, &field) {
		s.malformed(p, err)
		refuse(field.Status())
		return
	}
	s.mu.Lock()
	full := s.inbound >= s.options.Inbound || s.octets > maxInboundOctets
	if !full {
		s.inbound++
		s.octets += len(p.Body)
	}
	s.mu.Unlock()
	if full {
		s.options.stats.full.Add(1)
		refuse(StatusQueueFull)
		return
	}
	s.options.stats.messages.Add(1)
	s.give(task{m, p.Command, p.Sequence, len(p.Body)})
}

// takes reports whether a message may come this way on this session.
func (s *Session) takes(c Command) bool {
	switch {
	case s.options.Handler == nil:
		return false
	case s.side == smsc:
		return c != DeliverSM && s.role != BindReceiver
	default:
		return c != SubmitSM && s.role != BindTransmitter
	}
}

// ownMessage reads a message, whichever way it is said, and makes it the
// handler's own.
func ownMessage(p PDU) (*ShortMessage, error) {
	body := bytes.Clone(p.Body)
	if p.Command == DataSM {
		parsed, err := Parse(DataSM, body)
		if err != nil {
			return nil, err
		}
		return parsed.(*Data).ShortMessage(), nil
	}
	m, err := ParseShortMessage(body)
	return &m, err
}

func (s *Session) handle(t task) {
	defer s.taken.Done()
	id, status := s.options.Handler(s.ctx, s, t.message)
	if t.command == DeliverSM {
		id = "" // message_id is unused there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbound--
	s.octets -= t.octets
	s.moved.Broadcast()
	answer := PDU{Command: t.command | response, Status: status, Sequence: t.sequence}
	if len(id) >= maxMessageID || !noNUL(id) {
		s.options.Log.Error("smpp: the handler gave an id that cannot be sent", "octets", len(id))
		answer.Status = StatusSystemError
	} else if status == StatusOK || s.side == esme {
		var text [maxMessageID]byte
		answer.Body = append(append(text[:0], id...), 0)
	}
	s.send(answer)
}
