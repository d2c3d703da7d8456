package emulator

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/toolkit"
)

const (
	p2PIN1 = 0x02
	p2PIN2 = 0x82
)

// padded is a PIN as commands carry it.
func padded(digits string) []byte {
	return append([]byte(digits), bytes.Repeat([]byte{0xFF}, 8-len(digits))...)
}

func pair(first, second string) []byte { return append(padded(first), padded(second)...) }

// step is a command about a PIN, and what the card answers.
type step struct {
	ins, p1, p2 byte
	data        []byte
	sw          simcard.SW
	tries       [3]int // after it: of PIN1, PIN2, PUK
}

const (
	insVerify  = 0x20
	insChange  = 0x24
	insUnblock = 0x2C
)

func (s step) String() string { return fmt.Sprintf("%02X %02X %02X %x", s.ins, s.p1, s.p2, s.data) }

func TestPINCommands(t *testing.T) {
	for name, steps := range map[string][]step{
		"an empty VERIFY asks for the tries": {
			{insVerify, 0, p2PIN1, nil, 0x63C3, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, nil, 0x63C3, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, nil, 0x63C2, [3]int{3, 2, 10}},
		},
		"the right PIN gives its tries back": {
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, padded("00001"), 0x63C1, [3]int{3, 1, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN2), 0x9000, [3]int{3, 3, 10}},
		},
		"PIN1 and PIN2 are apart": {
			{insVerify, 0, p2PIN1, padded(testPIN2), 0x63C2, [3]int{2, 3, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN2), 0x9000, [3]int{2, 3, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN1), 0x63C2, [3]int{2, 2, 10}},
			{insVerify, 0, p2PIN1, padded(testPIN1), 0x9000, [3]int{3, 2, 10}},
		},
		"three wrong ones block, the right one too": {
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C1, [3]int{3, 1, 10}},
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C0, [3]int{3, 0, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN2), 0x6983, [3]int{3, 0, 10}},
			{insVerify, 0, p2PIN2, nil, 0x6983, [3]int{3, 0, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "22222"), 0x6983, [3]int{3, 0, 10}},
			{insVerify, 0, p2PIN1, padded(testPIN1), 0x9000, [3]int{3, 0, 10}},
		},
		"only the whole PIN, padded with FF, is the PIN": {
			{insVerify, 0, p2PIN2, append([]byte(testPIN2), 0, 0, 0), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, bytes.Repeat([]byte{0xFF}, 8), 0x63C1, [3]int{3, 1, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN2[:4]), 0x63C0, [3]int{3, 0, 10}},
		},
		"a change wants the right PIN": {
			{insChange, 0, p2PIN2, pair("00000", "22222"), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, padded("22222"), 0x63C1, [3]int{3, 1, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "22222"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, padded(testPIN2), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, padded("22222"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN1, padded(testPIN1), 0x9000, [3]int{3, 3, 10}},
		},
		"a new PIN has four to eight digits, else no try is taken": {
			{insChange, 0, p2PIN2, pair(testPIN2, "222"), 0x6A80, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, ""), 0x6A80, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "22a22"), 0x6A80, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "22\xFF22"), 0x6A80, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "2222\x00"), 0x6A80, [3]int{3, 3, 10}},
			{insUnblock, 0, p2PIN2, pair(testPUK, "222"), 0x6A80, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair(testPIN2, "22222222"), 0x9000, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, pair("22222222", "2222"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, padded("2222"), 0x9000, [3]int{3, 3, 10}},
		},
		"the PUK unblocks and sets": {
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C1, [3]int{3, 1, 10}},
			{insVerify, 0, p2PIN2, padded("00000"), 0x63C0, [3]int{3, 0, 10}},
			{insUnblock, 0, p2PIN2, pair(testPIN2, "22222"), 0x63C9, [3]int{3, 0, 9}},
			{insUnblock, 0, p2PIN2, pair(testPUK, "22222"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, padded("22222"), 0x9000, [3]int{3, 3, 10}},
			{insUnblock, 0, p2PIN1, pair(testPUK, "1111"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN1, padded("1111"), 0x9000, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, padded("22222"), 0x9000, [3]int{3, 3, 10}},
		},
		"the PUK is no PIN": {
			{insVerify, 0, p2PIN2, padded(testPUK), 0x63C2, [3]int{3, 2, 10}},
			{insVerify, 0, 0x83, padded(testPUK), 0x6A88, [3]int{3, 2, 10}},
		},
		"other references are unknown": {
			{insVerify, 0, 0x00, padded(testPIN1), 0x6A88, [3]int{3, 3, 10}},
			{insVerify, 0, 0x03, padded(testPIN1), 0x6A88, [3]int{3, 3, 10}},
			{insVerify, 0, 0x81, padded(testPIN1), 0x6A88, [3]int{3, 3, 10}}, // the USIM is not selected
			{insVerify, 1, p2PIN2, padded(testPIN2), 0x6A88, [3]int{3, 3, 10}},
			{insChange, 0, 0x03, pair(testPIN1, "1111"), 0x6A88, [3]int{3, 3, 10}},
			{insUnblock, 0, 0x03, pair(testPUK, "1111"), 0x6A88, [3]int{3, 3, 10}},
			{insUnblock, 0, 0x00, nil, 0x6A88, [3]int{3, 3, 10}},
		},
		"other lengths are wrong and take no try": {
			{insVerify, 0, p2PIN2, []byte(testPIN2), 0x6700, [3]int{3, 3, 10}},
			{insVerify, 0, p2PIN2, append(padded("00000"), 0xFF), 0x6700, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, padded(testPIN2), 0x6700, [3]int{3, 3, 10}},
			{insChange, 0, p2PIN2, nil, 0x6700, [3]int{3, 3, 10}},
			{insUnblock, 0, p2PIN2, append(pair(testPUK, "22222"), 0xFF), 0x6700, [3]int{3, 3, 10}},
			{insUnblock, 0, p2PIN2, nil, 0x63CA, [3]int{3, 3, 10}}, // asks for the PUK's tries
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			for _, s := range steps {
				r := x.do(simcard.Command{INS: s.ins, P1: s.p1, P2: s.p2, Data: s.data})
				if r.SW != s.sw || len(r.Data) != 0 {
					t.Fatalf("%s: %s, want %s", s, r.SW, s.sw)
				}
				sameTries(t, c.profile, s.tries[:]...)
			}
			if len(c.stored) > 0 {
				sameTries(t, parse(t, c.stored[len(c.stored)-1]), c.profile.tries()...)
			}
		})
	}
}

func TestPUKHasTenTries(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for left := 9; left >= 0; left-- {
		want := simcard.SWTries(left)
		if r := x.do(simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair("00000000", "22222")}); r.SW != want {
			t.Fatalf("%s, want %s", r.SW, want)
		}
		sameTries(t, c.profile, 3, 3, left)
	}
	for _, pin := range []byte{p2PIN1, p2PIN2} {
		if r := x.do(simcard.Command{INS: insUnblock, P2: pin, Data: pair(testPUK, "22222")}); r.SW != simcard.SWPINBlocked {
			t.Errorf("the right PUK after ten wrong ones: %s", r.SW)
		}
	}
	x.signs(c) // the PINs are as they were
}

// Each PIN try is on record before the card knows whether it was right, and
// the counter of a packet before its text is shown.
func TestWhatCountsIsStoredFirst(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	saved := func() (all [][]int) {
		for _, raw := range c.stored {
			p := parse(t, raw)
			all = append(all, []int{p.PIN1.Tries, p.PIN2.Tries, p.PUK.Tries, int(p.Counter) - 1000})
		}
		c.stored = nil
		return all
	}
	same := func(what string, want ...[]int) {
		t.Helper()
		if got := saved(); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s stores %v, want %v", what, got, want)
		}
	}
	x.bring(c.segments(t, challenge()))
	same("a challenge", []int{3, 3, 10, 1})
	input := x.confirm()
	same("confirming the text")
	x.respond(typed(input, "00000"))
	same("a wrong PIN2", []int{3, 2, 10, 1})
	x.respond(typed(x.want(toolkit.GetInput), testPIN2))
	same("the right PIN2 and the answer", []int{3, 1, 10, 1}, []int{3, 3, 10, 1}, []int{3, 3, 10, 1})
	x.answer(c)
	same("sending the answer")
	x.do(simcard.Command{INS: insVerify, P2: p2PIN1, Data: padded("00000")})
	same("a wrong PIN1", []int{2, 3, 10, 1})
	x.do(simcard.Command{INS: insUnblock, P2: p2PIN1, Data: pair("00000000", "1111")})
	same("a wrong PUK", []int{2, 3, 9, 1})
	x.do(simcard.Command{INS: insUnblock, P2: p2PIN1, Data: pair(testPUK, "1111")})
	same("the right PUK", []int{2, 3, 8, 1}, []int{2, 3, 10, 1}, []int{3, 3, 10, 1})
}
