package sms

import (
	"bytes"
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

// Reassembler keeps the parts of messages, in memory: a card's or a handset's.
// It is not safe for concurrent use.
type Reassembler struct {
	// Expiry is how long the parts of a message are kept after the last one that
	// was new.
	Expiry time.Duration
	// Most is how many messages are kept; a further one drops the oldest.
	Most int

	kept map[string]*kept
}

type kept struct {
	since time.Time // of the last part that was new
	parts []Part    // by sequence number; those of a nil payload are missing
	have  int
}

// Add takes in a part, and returns the message if none is missing.
//
// The parts stay when the message was whole: a network brings parts twice, and
// one that comes again must neither begin a message anew nor wait for a later
// one with the same reference, which is soon due where it has 8 bits. A part
// that differs from the one in its place is of such a later message, or somebody
// else's: it takes the place, and what is then whole is reported, right or not;
// a checksum tells.
func (r *Reassembler) Add(originator string, p Part, now time.Time) (Message, bool, error) {
	if p.Total == 1 {
		return Message{p.Kind, p.Payload}, true, nil
	}
	r.expire(now)
	k := r.of(originator+"/"+p.Key(), int(p.Total), now)
	place := &k.parts[p.Sequence-1]
	if place.Payload != nil && place.Kind == p.Kind && bytes.Equal(place.Payload, p.Payload) {
		return Message{}, false, nil
	}
	if place.Payload == nil {
		k.have++
	}
	p.Payload = append(make([]byte, 0, len(p.Payload)), p.Payload...) // the caller's buffer is its own
	*place, k.since = p, now
	if k.have < len(k.parts) {
		return Message{}, false, nil
	}
	m, err := Join(k.parts)
	return m, err == nil, err
}

// Incomplete reports whether a message is kept that lacks parts.
func (r *Reassembler) Incomplete() bool {
	for _, k := range r.kept {
		if k.have < len(k.parts) {
			return true
		}
	}
	return false
}

// of is what is kept of a message, which may be nothing yet.
func (r *Reassembler) of(key string, total int, now time.Time) *kept {
	if k := r.kept[key]; k != nil {
		return k
	}
	if len(r.kept) >= r.Most {
		r.dropOldest()
	}
	if r.kept == nil {
		r.kept = make(map[string]*kept)
	}
	k := &kept{since: now, parts: make([]Part, total)}
	r.kept[key] = k
	return k
}

func (r *Reassembler) expire(now time.Time) {
	for key, k := range r.kept {
		if now.Sub(k.since) >= r.Expiry {
			delete(r.kept, key)
		}
	}
}

func (r *Reassembler) dropOldest() {
	oldest, since := "", time.Time{}
	for key, k := range r.kept {
		if oldest == "" || k.since.Before(since) {
			oldest, since = key, k.since
		}
	}
	delete(r.kept, oldest)
}
