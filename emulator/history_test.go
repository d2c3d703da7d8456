package emulator

import (
	"fmt"
	"testing"
	"time"

	"imza/smpp"
)

// partOf is a message that is one of several.
func partOf(reference, total, sequence byte, text string) *smpp.ShortMessage {
	return &smpp.ShortMessage{
		Source: smpp.International("7777"), Dest: smpp.International(line.Digits()), ESMClass: smpp.ESMClassUDHI,
		Message: append([]byte{5, 0, 3, reference, total, sequence}, text...),
	}
}

func single(text string) *smpp.ShortMessage {
	return &smpp.ShortMessage{Source: smpp.International("7777"), Message: []byte(text)}
}

func TestOrdinals(t *testing.T) {
	at := func(ordinal, segment uint64, first bool) place {
		return place{line.Digits(), ordinal, segment, first}
	}
	type step struct {
		m    *smpp.ShortMessage
		want place
	}
	for name, steps := range map[string][]step{
		"segments share an ordinal, in any order": {
			{partOf(1, 3, 3, "c"), at(0, 3, true)}, {partOf(1, 3, 1, "a"), at(0, 1, true)}, {partOf(1, 3, 2, "b"), at(0, 2, true)},
			{partOf(2, 2, 1, "d"), at(1, 1, true)},
		},
		"what is sent again has the same": {
			{partOf(1, 2, 1, "a"), at(0, 1, true)}, {partOf(1, 2, 1, "a"), at(0, 1, false)}, {partOf(1, 2, 2, "b"), at(0, 2, true)},
			{single("x"), at(1, 1, true)}, {single("x"), at(1, 1, false)}, {partOf(1, 2, 2, "b"), at(0, 2, false)},
		},
		"single messages are known by what they say": {
			{single("x"), at(0, 1, true)}, {single("y"), at(1, 1, true)}, {single("x"), at(0, 1, false)}, {single("z"), at(2, 1, true)},
		},
		"a reference comes again": {
			{partOf(1, 2, 1, "a"), at(0, 1, true)}, {partOf(1, 2, 2, "b"), at(0, 2, true)},
			{partOf(1, 2, 2, "d"), at(1, 2, true)}, {partOf(1, 2, 1, "c"), at(1, 1, true)},
			{partOf(1, 2, 1, "a"), at(0, 1, false)},
		},
		"another sender or total is another message": {
			{partOf(1, 2, 1, "a"), at(0, 1, true)}, {partOf(1, 3, 2, "b"), at(1, 2, true)},
			{&smpp.ShortMessage{Source: smpp.International("8888"), ESMClass: smpp.ESMClassUDHI, Message: partOf(1, 2, 2, "b").Message}, at(2, 2, true)},
		},
		"segments of two mix": {
			{partOf(1, 2, 1, "a"), at(0, 1, true)}, {partOf(2, 2, 1, "c"), at(1, 1, true)},
			{partOf(1, 2, 2, "b"), at(0, 2, true)}, {partOf(2, 2, 2, "d"), at(1, 2, true)},
		},
		"a header that is none": {
			{&smpp.ShortMessage{ESMClass: smpp.ESMClassUDHI, Message: []byte{9, 0, 3, 1}}, at(0, 1, true)},
		},
	} {
		r := newRun(1)
		for i, s := range steps {
			if got := r.place(toHandset, line.Digits(), s.m, time.Now()); got != s.want {
				t.Errorf("%s: %d: %+v, want %+v", name, i, got, s.want)
			}
		}
	}
}

// A number's messages are counted for good, on each way for itself, although what
// they are recognised by is forgotten.
func TestOrdinalsAreKept(t *testing.T) {
	r, now := newRun(1), time.Now()
	for i := range 5 {
		if p := r.place(toHandset, "1", single("x"), now); p.ordinal != uint64(i) {
			t.Errorf("message %d: %+v", i, p)
		}
		now = now.Add(recentFor / 2)
		if p := r.place(toHandset, "1", single("x"), now); p.ordinal != uint64(i) || p.first {
			t.Errorf("soon after: %+v", p)
		}
		now = now.Add(2*recentFor + 2)
		for n := range 2000 { // other numbers of the same shard pass the time
			r.place(toHandset, fmt.Sprint(1000+n), single("x"), now)
		}
		now = now.Add(2 * recentFor)
	}
	if p := r.place(fromHandset, "1", single("x"), now); p.ordinal != 0 || !p.first {
		t.Errorf("the other way: %+v", p)
	}
	if p := r.place(toHandset, "1", single("x"), now); p.ordinal != 5 {
		t.Errorf("a number that was quiet: %+v", p)
	}
}

func TestEachMessageFindsAHandsetOffOnce(t *testing.T) {
	r, now := newRun(1), time.Now()
	place := func(m *smpp.ShortMessage) place { return r.place(toHandset, line.Digits(), m, now) }
	first, second := place(partOf(1, 2, 1, "a")), place(partOf(1, 2, 2, "b"))
	back := r.backAt(first, time.Minute, now)
	if !back.Equal(now.Add(time.Minute)) {
		t.Errorf("back after %s", back.Sub(now))
	}
	now = now.Add(2 * time.Minute) // it is on now
	if again := r.backAt(second, time.Minute, now); !again.Equal(back) {
		t.Errorf("another segment: back %s later", again.Sub(back))
	}
	third := place(single("x"))
	if next := r.backAt(third, time.Minute, now); !next.Equal(now.Add(time.Minute)) {
		t.Errorf("another message: back after %s", next.Sub(now))
	}
	if again := r.backAt(first, time.Minute, now); again.After(now.Add(time.Minute)) {
		t.Errorf("the first again: back after %s", again.Sub(now))
	}
}
