package emulator

import (
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"imza/simcard/sms"
	"imza/smpp"
)

// run is from one Begin to the next: the seed that decisions are made by, and the
// messages that were counted.
type run struct {
	seed   uint64
	hash   maphash.Seed // of the octets that a message is known by; nothing is decided by it
	shards [64]history
}

func newRun(seed uint64) *run {
	r := &run{seed: seed, hash: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i] = history{counts: make(map[uint64][2]uint32), young: make(map[lineWay]*recent)}
	}
	return r
}

// history counts the messages of some numbers. Numbers are many, so only the
// count is kept for good; what a segment is recognised by is forgotten when the
// number has been quiet for a while: an ESME that was cut off sends again at once.
type history struct {
	mu         sync.Mutex
	counts     map[uint64][2]uint32 // of a number, by way
	young, old map[lineWay]*recent
	turned     time.Time // when the young became old
}

// lineWay is a number, and a way in the last bit.
type lineWay uint64

// recentFor is how long a number's messages are recognised at least.
const recentFor = time.Minute

// recent is a number's last two messages on one way, the newer one first, since
// segments of two may mix.
type recent struct {
	messages [2]counted
	absent   absence
}

// counted is a message that may come again, or has segments to come.
type counted struct {
	id      uint64 // of sender and reference; of a single message, of all of it
	ordinal uint32
	seen    uint32    // which segments; those from the 32nd on share a bit
	octets  [4]uint16 // a hash of each of the first segments
}

// absence is a time when the handset was off.
type absence struct {
	ordinal uint32 // of the message that found it off; plus one, so that 0 is none
	until   time.Time
}

func (r *run) shard(number string, w way) (*history, lineWay) {
	n, _ := strconv.ParseUint(number, 10, 64) // lines have nothing but digits
	return &r.shards[mix(n)%uint64(len(r.shards))], lineWay(n<<1) | lineWay(w)
}

// place finds which message of its number a segment belongs to, and counts it if
// it is of a new one.
func (r *run) place(w way, number string, m *smpp.ShortMessage, now time.Time) place {
	content := m.Content()
	part := sms.Part{Total: 1, Sequence: 1}
	if m.ESMClass&smpp.ESMClassUDHI != 0 {
		if p, err := sms.ParseUserData(content); err == nil {
			part = p
		}
	}
	octets := maphash.Bytes(r.hash, content)
	id := octets
	if part.Total > 1 {
		id = mix(maphash.String(r.hash, m.Source.Addr) ^ uint64(part.Reference)<<8 ^ uint64(part.Total))
	}
	h, key := r.shard(number, w)
	h.mu.Lock()
	defer h.mu.Unlock()
	known, first := h.of(key, now).find(id, part.Sequence, uint16(octets))
	if known == nil {
		known, first = h.count(key, id), true
	}
	known.see(part.Sequence, uint16(octets))
	return place{number: number, ordinal: uint64(known.ordinal), segment: uint64(part.Sequence), first: first}
}

// of returns what is known of a number, which may be nothing yet. The caller
// holds mu.
func (h *history) of(key lineWay, now time.Time) *recent {
	if now.Sub(h.turned) > recentFor {
		h.old, h.young, h.turned = h.young, make(map[lineWay]*recent), now
	}
	r := h.young[key]
	if r == nil {
		if r = h.old[key]; r == nil {
			r = new(recent)
		}
		h.young[key] = r
	}
	return r
}

// count begins a new message of a number that of was called for.
func (h *history) count(key lineWay, id uint64) *counted {
	r := h.young[key]
	r.messages[1] = r.messages[0]
	number, w := uint64(key>>1), key&1
	counts := h.counts[number]
	r.messages[0] = counted{id: id, ordinal: counts[w]}
	counts[w]++
	h.counts[number] = counts
	return &r.messages[0]
}

// find finds the message that a segment belongs to, and whether the segment is
// new to it. References have 8 bits and come again: a segment that was there with
// other octets is of another message with the same reference.
func (r *recent) find(id uint64, sequence uint8, octets uint16) (k *counted, first bool) {
	for i := range r.messages {
		k := &r.messages[i]
		if k.seen == 0 || k.id != id {
			continue
		}
		if k.seen&bit(sequence) == 0 {
			return k, true
		}
		if int(sequence) > len(k.octets) || k.octets[sequence-1] == octets {
			return k, false
		}
	}
	return nil, false
}

func (k *counted) see(sequence uint8, octets uint16) {
	k.seen |= bit(sequence)
	if int(sequence) <= len(k.octets) {
		k.octets[sequence-1] = octets
	}
}

func bit(sequence uint8) uint32 { return 1 << min(sequence-1, 31) }

// backAt is when a handset that is off is on again, that a message has come for:
// each message finds it off once, whose first segment begins the time.
func (r *run) backAt(p place, back time.Duration, now time.Time) time.Time {
	h, key := r.shard(p.number, toHandset)
	h.mu.Lock()
	defer h.mu.Unlock()
	a := &h.of(key, now).absent
	if uint64(a.ordinal) < p.ordinal+1 {
		*a = absence{uint32(p.ordinal + 1), now.Add(back)}
	}
	return a.until
}
