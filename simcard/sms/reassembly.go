package sms

import (
	"errors"
	"fmt"
	"time"
)

// Message is a whole message: what its parts carried, in order.
type Message struct {
	Kind    Kind
	Payload []byte
}

// Join puts the parts of one message together, whatever their order. Every
// part must be there exactly once.
func Join(parts []Part) (Message, error) {
	if len(parts) == 0 {
		return Message{}, errors.New("sms: no parts")
	}
	inOrder := make([][]byte, parts[0].Total)
	var m Message
	size := 0
	for _, p := range parts {
		if p.Reference != parts[0].Reference || p.Total != parts[0].Total {
			return Message{}, fmt.Errorf("sms: part %d of message %s among those of %s", p.Sequence, p.Key(), parts[0].Key())
		}
		if p.Sequence == 0 || p.Sequence > p.Total || inOrder[p.Sequence-1] != nil {
			return Message{}, fmt.Errorf("sms: part %d of %d twice, or out of range", p.Sequence, p.Total)
		}
		inOrder[p.Sequence-1] = p.Payload[:len(p.Payload):len(p.Payload)]
		if p.Payload == nil {
			inOrder[p.Sequence-1] = []byte{}
		}
		if p.Sequence == 1 {
			// Some stacks repeat the security header in every part; TS 31.115
			// §4.1 puts it in the first, and only there is it read.
			m.Kind = p.Kind
		}
		size += len(p.Payload)
	}
	if len(parts) != int(parts[0].Total) {
		return Message{}, fmt.Errorf("sms: %d parts of %d", len(parts), parts[0].Total)
	}
	m.Payload = make([]byte, 0, size)
	for _, payload := range inOrder {
		m.Payload = append(m.Payload, payload...)
	}
	return m, nil
}

// Reassembler keeps the parts that came so far of messages that are not whole
// yet, in memory: a card's or a handset's. It is not safe for concurrent use.
type Reassembler struct {
	// Expiry is how long a message may stay incomplete.
	Expiry time.Duration
	// Most is how many incomplete messages are kept; a further one drops the
	// oldest.
	Most int

	incomplete map[string]*incomplete
}

type incomplete struct {
	since time.Time
	parts map[uint8]Part
}

// Add takes in a part. It reports the message once, with its last missing
// part. A part that came before replaces itself.
func (r *Reassembler) Add(originator string, p Part, now time.Time) (Message, bool, error) {
	if p.Total == 1 {
		m, err := Join([]Part{p})
		return m, err == nil, err
	}
	r.expire(now)
	key := originator + "/" + p.Key()
	in := r.incomplete[key]
	if in == nil {
		if len(r.incomplete) >= r.Most {
			r.dropOldest()
		}
		in = &incomplete{since: now, parts: make(map[uint8]Part)}
		if r.incomplete == nil {
			r.incomplete = make(map[string]*incomplete)
		}
		r.incomplete[key] = in
	}
	p.Payload = append([]byte(nil), p.Payload...) // the caller's buffer is its own
	in.parts[p.Sequence] = p
	if len(in.parts) < int(p.Total) {
		return Message{}, false, nil
	}
	delete(r.incomplete, key)
	parts := make([]Part, 0, len(in.parts))
	for _, part := range in.parts {
		parts = append(parts, part)
	}
	m, err := Join(parts)
	return m, err == nil, err
}

func (r *Reassembler) expire(now time.Time) {
	for key, in := range r.incomplete {
		if now.Sub(in.since) >= r.Expiry {
			delete(r.incomplete, key)
		}
	}
}

func (r *Reassembler) dropOldest() {
	oldest, since := "", time.Time{}
	for key, in := range r.incomplete {
		if oldest == "" || in.since.Before(since) {
			oldest, since = key, in.since
		}
	}
	delete(r.incomplete, oldest)
}
