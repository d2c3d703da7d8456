package sms

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// partsOf makes the parts of a message whose payload tells where it is from.
func partsOf(t testing.TB, name string, reference byte, parts int) (all []Part, payload []byte) {
	t.Helper()
	payload = bytes.Repeat([]byte(name), 132+134*(parts-2)+67)[:132+134*(parts-2)+67]
	for i := range payload { // so that no two parts are the same
		payload[i] += byte(i / 67)
	}
	segments, err := Segment(CommandPacket, payload, reference)
	if err != nil || len(segments) != parts {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for _, ud := range segments {
		p, err := ParseUserData(ud)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all, payload
}

// eachOrder calls f with every order of n things.
func eachOrder(n int, f func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var place func(at int)
	place = func(at int) {
		if at == n {
			f(order)
			return
		}
		for i := at; i < n; i++ {
			order[at], order[i] = order[i], order[at]
			place(at + 1)
			order[at], order[i] = order[i], order[at]
		}
	}
	place(0)
}

// Each part up to three times, and all of them in every order: the message comes
// out at its last part, once, and again not for any part that comes later.
func TestDoubledPartsMakeNoSecondMessage(t *testing.T) {
	parts, payload := partsOf(t, "a", 7, 3)
	now := time.Unix(0, 0)
	eachOrder(6, func(order []int) { // 0 to 2 and their doubles, 3 to 5
		r := Reassembler{Expiry: time.Minute, Most: 2}
		there, wholes := map[int]bool{}, 0
		for _, n := range append(slices.Clone(order), 0, 1, 2) {
			m, whole, err := r.Add("x", parts[n%3], now)
			news := !there[n%3]
			there[n%3] = true
			if err != nil || whole != (news && len(there) == 3) {
				t.Fatalf("order %v, part %d: whole %t, %v", order, n%3, whole, err)
			}
			if whole {
				wholes++
				if m.Kind != CommandPacket || !bytes.Equal(m.Payload, payload) {
					t.Fatalf("order %v: %+v", order, m)
				}
			}
		}
		if wholes != 1 {
			t.Fatalf("order %v: whole %d times", order, wholes)
		}
	})
}

// A part of a message that was whole comes again, and the next message has the
// same reference: it is whole at its last part, in every order, and what comes
// out before is none of either.
func TestDoubleOfTheOneBeforeDoesNotHarmTheNext(t *testing.T) {
	now := time.Unix(0, 0)
	for count := 2; count <= 4; count++ {
		first, was := partsOf(t, "a", 7, count)
		second, want := partsOf(t, "z", 7, count)
		for doubled := range count {
			eachOrder(count, func(order []int) {
				r := Reassembler{Expiry: time.Minute, Most: 1}
				for _, p := range first {
					_, _, _ = r.Add("x", p, now)
				}
				for at, n := range order {
					if !slices.Contains(order[:at], doubled) { // before its successor is there
						if _, whole, err := r.Add("x", first[doubled], now); whole || err != nil {
							t.Fatalf("of %d, part %d doubled: whole %t, %v", count, doubled+1, whole, err)
						}
					}
					m, whole, err := r.Add("x", second[n], now)
					if err != nil || !whole {
						t.Fatalf("of %d, order %v: at %d whole %t, %v", count, order, at, whole, err)
					}
					if last := at == count-1; bytes.Equal(m.Payload, want) != last || bytes.Equal(m.Payload, was) {
						t.Fatalf("of %d, order %v: at %d comes out %q", count, order, at, m.Payload)
					}
				}
			})
		}
	}
}

// What is kept of a message before does not shorten the life of the next with
// its reference, whether that one was whole or is missing parts.
func TestNextMessageLivesItsOwnTime(t *testing.T) {
	const expiry = 5 * time.Minute
	began := time.Unix(0, 0)
	first, _ := partsOf(t, "a", 7, 3)
	second, want := partsOf(t, "z", 7, 3)
	for there := range 4 { // parts of the first that came
		eachOrder(3, func(order []int) {
			r := Reassembler{Expiry: expiry, Most: 4}
			for _, p := range first[:there] {
				_, _, _ = r.Add("x", p, began)
			}
			at := began.Add(expiry - time.Second)
			var m Message
			var whole bool
			for _, n := range order { // across the end of the first one's life
				m, whole, _ = r.Add("x", second[n], at)
				at = at.Add(2 * time.Second)
			}
			if !whole || !bytes.Equal(m.Payload, want) {
				t.Errorf("%d parts of the one before, order %v: whole %t", there, order, whole)
			}
		})
	}
}

func TestPartsExpireAfterTheLastNewOne(t *testing.T) {
	parts, _ := partsOf(t, "a", 7, 3)
	began := time.Unix(0, 0)
	for _, c := range []struct {
		name   string
		times  [3]time.Duration
		double time.Duration // of the second part, 0: none
		whole  bool
	}{
		{"at once", [3]time.Duration{0, 0, 0}, 0, true},
		{"just in time", [3]time.Duration{0, 59 * time.Second, 118 * time.Second}, 0, true},
		{"the second late", [3]time.Duration{0, 60 * time.Second, 61 * time.Second}, 0, false},
		{"the third late", [3]time.Duration{0, 1 * time.Second, 61 * time.Second}, 0, false},
		{"a double prolongs nothing", [3]time.Duration{0, 1 * time.Second, 61 * time.Second}, 30 * time.Second, false},
	} {
		r := Reassembler{Expiry: time.Minute, Most: 4}
		whole := false
		for i, p := range parts {
			if i == 2 && c.double > 0 {
				_, _, _ = r.Add("x", parts[1], began.Add(c.double))
			}
			_, whole, _ = r.Add("x", p, began.Add(c.times[i]))
		}
		if whole != c.whole {
			t.Errorf("%s: whole %t", c.name, whole)
		}
	}
}

// What nothing changes about for longest goes first.
func TestLeastRecentMessageIsDropped(t *testing.T) {
	r := Reassembler{Expiry: time.Hour, Most: 2}
	began := time.Unix(0, 0)
	a, _ := partsOf(t, "a", 1, 3)
	b, _ := partsOf(t, "b", 2, 3)
	c, _ := partsOf(t, "c", 3, 3)
	for i, p := range []Part{a[0], b[0], a[1], c[0]} { // c drives b out
		if _, whole, err := r.Add("x", p, began.Add(time.Duration(i)*time.Second)); whole || err != nil {
			t.Fatal(whole, err)
		}
	}
	at := began.Add(time.Minute)
	if _, whole, _ := r.Add("x", a[2], at); !whole {
		t.Error("the message that something was new of is gone")
	}
	for _, p := range b[1:] {
		if _, whole, _ := r.Add("x", p, at); whole {
			t.Error("the message that was dropped is whole")
		}
	}
}

func TestMessagesThatDifferInOneThingDoNotMeet(t *testing.T) {
	now := time.Unix(0, 0)
	parts, payload := partsOf(t, "a", 7, 3)
	for name, other := range map[string]struct {
		originator string
		change     func(*Part)
	}{
		"another originator":  {"y", func(*Part) {}},
		"none":                {"", func(*Part) {}},
		"another reference":   {"x", func(p *Part) { p.Reference = 8 }},
		"one of 16 bits":      {"x", func(p *Part) { p.Reference |= 0x0700 }},
		"another total":       {"x", func(p *Part) { p.Total = 4 }},
		"of one message only": {"x", func(p *Part) { p.Total, p.Sequence = 1, 1 }},
	} {
		r := Reassembler{Expiry: time.Minute, Most: 10}
		for i, p := range parts {
			foreign := p
			foreign.Payload = []byte("foreign")
			other.change(&foreign)
			if m, whole, err := r.Add(other.originator, foreign, now); err != nil || whole && (i < 2 && foreign.Total > 1 || string(m.Payload[:7]) != "foreign") {
				t.Errorf("%s: %q whole %t, %v", name, m.Payload, whole, err)
			}
			m, whole, err := r.Add("x", p, now)
			if err != nil || whole != (i == 2) || whole && !bytes.Equal(m.Payload, payload) {
				t.Errorf("%s: part %d: whole %t, %v", name, i+1, whole, err)
			}
		}
	}
}

// The kind is the first part's; one that only differs in that is another part.
func TestKindIsOfTheFirstPart(t *testing.T) {
	now := time.Unix(0, 0)
	parts, _ := partsOf(t, "a", 7, 2)
	plain := parts[0]
	plain.Kind = Plain
	r := Reassembler{Expiry: time.Minute, Most: 1}
	for i, c := range []struct {
		part  Part
		whole bool
		kind  Kind
	}{{plain, false, 0}, {parts[1], true, Plain}, {plain, false, 0}, {parts[0], true, CommandPacket}, {parts[0], false, 0}} {
		if m, whole, err := r.Add("x", c.part, now); err != nil || whole != c.whole || m.Kind != c.kind {
			t.Errorf("arrival %d: kind %02x whole %t, %v", i, byte(m.Kind), whole, err)
		}
	}
}

// The caller may use its buffer again, and write into the message.
func TestPartsAreTheReassemblersOwn(t *testing.T) {
	now := time.Unix(0, 0)
	parts, payload := partsOf(t, "a", 7, 3)
	r := Reassembler{Expiry: time.Minute, Most: 1}
	buffer := make([]byte, MaxUserData)
	var m Message
	for _, p := range parts {
		p.Payload = buffer[:copy(buffer, p.Payload)]
		m, _, _ = r.Add("x", p, now)
		clear(buffer)
	}
	if !bytes.Equal(m.Payload, payload) {
		t.Error("the message changed with the caller's buffer")
	}
	clear(m.Payload)
	changed := parts[2]
	changed.Payload = []byte("!")
	if m, whole, _ := r.Add("x", changed, now); !whole || !bytes.Equal(m.Payload, append(bytes.Clone(payload[:132+134]), '!')) {
		t.Error("the parts changed with the message")
	}
}

func TestPartsOfNoOctetsCount(t *testing.T) {
	now := time.Unix(0, 0)
	for _, nothing := range [][]byte{nil, {}} {
		r := Reassembler{Expiry: time.Minute, Most: 1}
		for sequence := uint8(1); sequence <= 3; sequence++ {
			p := Part{Reference: 1, Total: 3, Sequence: sequence, Payload: nothing}
			for range 2 {
				m, whole, err := r.Add("x", p, now)
				if err != nil || whole && (sequence != 3 || len(m.Payload) != 0) {
					t.Errorf("part %d: %+v whole %t, %v", sequence, m, whole, err)
				}
			}
		}
		if _, whole, _ := r.Add("x", Part{Reference: 1, Total: 3, Sequence: 2, Payload: []byte("!")}, now); !whole {
			t.Error("three parts of no octets were no message")
		}
	}
}

// Whatever arrives, it is as if of each message the newest payload of each part
// were kept, and what is whole reported at each part that is not the one in its
// place.
func TestReassemblyAgainstAModel(t *testing.T) {
	now := time.Unix(0, 0)
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := Reassembler{Expiry: time.Minute, Most: 100}
		model := map[string]map[uint8]string{}
		wholes := 0
		for range 400 {
			from := fmt.Sprint(random.IntN(2))
			p := Part{Reference: uint16(random.IntN(2)), Total: uint8(2 + random.IntN(3))}
			p.Sequence = uint8(1 + random.IntN(int(p.Total)))
			text := fmt.Sprintf("%d%d", p.Sequence, random.IntN(3))
			p.Payload = []byte(text)
			key := from + p.Key()
			if model[key] == nil {
				model[key] = map[uint8]string{}
			}
			news := model[key][p.Sequence] != text
			model[key][p.Sequence] = text
			want := ""
			for sequence := uint8(1); sequence <= p.Total; sequence++ {
				want += model[key][sequence]
			}
			m, whole, err := r.Add(from, p, now)
			if err != nil || whole != (news && len(model[key]) == int(p.Total)) || whole && string(m.Payload) != want {
				t.Fatalf("seed %d: %+v: %q whole %t, %v; want %q", seed, p, m.Payload, whole, err, want)
			}
			if whole {
				wholes++
			}
		}
		if wholes < 20 {
			t.Errorf("seed %d: %d whole messages are few", seed, wholes)
		}
	}
}

func TestMessageOfAllParts(t *testing.T) {
	now := time.Unix(0, 0)
	parts, payload := partsOf(t, "a", 7, MaxParts)
	r := Reassembler{Expiry: time.Minute, Most: 1}
	for i, n := range rand.New(rand.NewPCG(1, 1)).Perm(MaxParts) {
		m, whole, err := r.Add("x", parts[n], now)
		if err != nil || whole != (i == MaxParts-1) || whole && !bytes.Equal(m.Payload, payload) {
			t.Fatalf("arrival %d: whole %t, %v", i, whole, err)
		}
	}
}

func TestIncomplete(t *testing.T) {
	now := time.Unix(0, 0)
	a, _ := partsOf(t, "a", 1, 2)
	b, _ := partsOf(t, "b", 2, 2)
	r := Reassembler{Expiry: time.Minute, Most: 4}
	for i, c := range []struct {
		part       Part
		incomplete bool
	}{{a[0], true}, {a[1], false}, {a[1], false}, {b[1], true}, {a[0], true}, {b[0], false}, {Part{Total: 1, Sequence: 1}, false}} {
		if _, _, err := r.Add("x", c.part, now); err != nil || r.Incomplete() != c.incomplete {
			t.Errorf("after arrival %d: %t, %v", i+1, r.Incomplete(), err)
		}
	}
}
