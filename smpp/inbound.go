package smpp

import (
	"errors"
	"fmt"
	"time"
)

// This file is what the other side of a session asks, and whether it is still
// there.

// finishTaken gives the handlers time to acknowledge what was taken.
func (s *Session) finishTaken() {
	done := make(chan struct{})
	go func() { s.taken.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(min(s.options.Timeout, time.Second)): // nobody reads meanwhile
	case <-s.ctx.Done():
	}
}

// request answers what the other side asks.
func (s *Session) request(p PDU) {
	switch p.Command {
	case EnquireLink:
		s.respond(PDU{Command: EnquireLinkResp, Sequence: p.Sequence})
	case SubmitSM, DeliverSM:
		s.message(p)
	case BindReceiver, BindTransmitter, BindTransceiver:
		s.respond(PDU{Command: p.Command | response, Status: StatusAlreadyBound, Sequence: p.Sequence})
	default:
		s.respond(PDU{Command: GenericNack, Status: StatusInvalidCommand, Sequence: p.Sequence})
	}
}

// message hands a message to the handler, beside the reader.
func (s *Session) message(p PDU) {
	refuse := func(status Status) {
		s.respond(PDU{Command: p.Command | response, Status: status, Sequence: p.Sequence})
	}
	ours := DeliverSM
	if s.peer.SystemID != "" { // they bound to us: we are the SMSC
		ours = SubmitSM
	}
	if p.Command != ours || s.options.Handler == nil || ours == SubmitSM && s.role == BindReceiver {
		refuse(StatusNotBound)
		return
	}
	m, err := ParseShortMessage(p.Body)
	if err != nil {
		if s.options.Malformed != nil {
			s.options.Malformed(err)
		}
		refuse(StatusInvalidMessage)
		return
	}
	select {
	case s.inbound <- struct{}{}:
	default:
		refuse(StatusQueueFull)
		return
	}
	s.taken.Add(1)
	go func() {
		defer s.taken.Done()
		defer func() { <-s.inbound }()
		id, status := s.options.Handler(s.ctx, s, &m)
		answer := PDU{Command: p.Command | response, Status: status, Sequence: p.Sequence}
		if status == StatusOK || p.Command == DeliverSM {
			answer.Body = appendCString(nil, id) // message_id of deliver_sm_resp is unused, and empty
		}
		s.respond(answer)
	}()
}

// keepAlive asks after the other side when it was silent, and ends the session
// when it does not answer.
func (s *Session) keepAlive() {
	ticker := time.NewTicker(s.options.Enquire)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		silent := time.Since(s.heard) >= s.options.Enquire/2
		s.mu.Unlock()
		if !silent {
			continue
		}
		asked := time.Now()
		w, err := s.begin(EnquireLink, nil)
		if err != nil {
			return
		}
		_, err = s.await(s.ctx, w)
		s.mu.Lock()
		dead := errors.Is(err, ErrTimeout) && s.heard.Before(asked) // who is busy but sends is alive
		s.mu.Unlock()
		if dead {
			s.cancel(fmt.Errorf("smpp: enquire_link: %w", err))
			return
		}
	}
}
