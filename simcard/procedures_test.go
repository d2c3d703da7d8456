package simcard

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// scripted is a card that has to be asked what stands in the script, and
// answers what stands there.
type scripted struct {
	testing.TB
	script []string // command, answer, and so on
}

func (s *scripted) Transmit(command []byte) ([]byte, error) {
	s.Helper()
	if len(s.script) < 2 {
		s.Fatalf("%X, when nothing more was to come", command)
	}
	if want := unhex(s, s.script[0]); !bytes.Equal(command, want) {
		s.Fatalf("%X, want %X", command, want)
	}
	answer := unhex(s, s.script[1])
	s.script = s.script[2:]
	return answer, nil
}

// The procedures of T=0 (TS 102 221 §7.3.1.1, ISO 7816-3 §12.2.1).
func TestProcedures(t *testing.T) {
	block := strings.Repeat("AB", 256)
	selectMF := Command{INS: SelectFile, P2: 4, Data: []byte{0x3F, 0x00}}
	read := Command{INS: ReadBinary, Le: 5}
	for name, s := range map[string]struct {
		c      Command
		script []string
		data   string
		sw     SW
	}{
		"an answer at once":             {read, []string{"00B0000005", "0102030405 9000"}, "0102030405", 0x9000},
		"no answer":                     {Command{INS: Verify, P2: 1}, []string{"00200001", "63C3"}, "", 0x63C3},
		"61XX":                          {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "AABBCC 9000"}, "AABBCC", 0x9000},
		"61XX, and a command waits":     {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "AABBCC 911A"}, "AABBCC", 0x911A},
		"61XX, piece by piece":          {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "AABBCC 6102", "00C0000002", "DDEE 9000"}, "AABBCCDDEE", 0x9000},
		"61XX, twice the same length":   {selectMF, []string{"00A40004023F00", "6102", "00C0000002", "AABB 6102", "00C0000002", "CCDD 6102", "00C0000002", "EEFF 9000"}, "AABBCCDDEEFF", 0x9000},
		"6100 are 256, again and again": {selectMF, []string{"00A40004023F00", "6100", "00C0000000", block + "6100", "00C0000000", block + "6101", "00C0000001", "CC 9000"}, block + block + "CC", 0x9000},
		"61XX, then an error":           {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "6F00"}, "", 0x6F00},
		"half of it, then an error":     {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "AA 6102", "00C0000002", "6F00"}, "AA", 0x6F00},
		"61XX, then 6CXX":               {selectMF, []string{"00A40004023F00", "6103", "00C0000003", "6C02", "00C0000002", "AABB 9000"}, "AABB", 0x9000},
		"61XX to a command that reads":  {read, []string{"00B0000005", "0102 6103", "00C0000003", "030405 9000"}, "0102030405", 0x9000},
		"9FXX of a GSM SIM":             {Command{CLA: 0xA0, INS: SelectFile, Data: []byte{0x3F, 0x00}}, []string{"A0A40000023F00", "9F16", "A0C0000016", strings.Repeat("00", 22) + "9000"}, strings.Repeat("00", 22), 0x9000},
		"61XX on a channel":             {Command{CLA: 0x02, INS: SelectFile, Data: []byte{0x3F, 0x00}}, []string{"02A40000023F00", "6101", "02C0000001", "AA 9000"}, "AA", 0x9000},
		"61XX of a toolkit command":     {Command{CLA: 0x80, INS: Envelope, Data: []byte{1}}, []string{"80C20000 0101", "6101", "00C0000001", "AA 9000"}, "AA", 0x9000},
		"6CXX":                          {read, []string{"00B0000005", "6C02", "00B0000002", "0102 9000"}, "0102", 0x9000},
		"6CXX without any Le":           {Command{CLA: 0x80, INS: Status}, []string{"80F20000", "6C02", "80F2000002", "0102 9000"}, "0102", 0x9000},
		"6C00 are 256":                  {read, []string{"00B0000005", "6C00", "00B0000000", block + "9000"}, block, 0x9000},
		"6CXX, then another":            {read, []string{"00B0000005", "6C02", "00B0000002", "6C01", "00B0000001", "AA 9000"}, "AA", 0x9000},
		// With data in it the length is not the answer's: there is nothing to give again.
		"6CXX to a command with data": {selectMF, []string{"00A40004023F00", "6C02"}, "", 0x6C02},
		"6CXX to data and Le":         {Command{INS: SelectFile, Data: []byte{0x3F, 0x00}, Le: 256}, []string{"00A40000023F0000", "6C02"}, "", 0x6C02},
		"an answer with a warning":    {read, []string{"00B0000005", "0102 6282"}, "0102", 0x6282},
	} {
		t.Run(name, func(t *testing.T) {
			card := &scripted{t, s.script}
			r, err := Do(card, s.c)
			if err != nil || r.SW != s.sw || !bytes.Equal(r.Data, unhex(t, s.data)) {
				t.Errorf("%X %s %v, want %s %s", r.Data, r.SW, err, s.data, s.sw)
			}
			if len(card.script) > 0 {
				t.Errorf("not asked: %v", card.script)
			}
		})
	}
}

// function is a card that is a function.
type function func(command []byte) ([]byte, error)

func (f function) Transmit(command []byte) ([]byte, error) { return f(command) }

// Whatever a card says again and again, it is left alone at last.
func TestAnswersWithoutEnd(t *testing.T) {
	for name, answer := range map[string]func(i int) string{
		"the length that was asked for":      func(int) string { return "6C05" },
		"one length, then another":           func(i int) string { return fmt.Sprintf("6C%02X", 5+i%2) },
		"more and more lengths":              func(i int) string { return fmt.Sprintf("6C%02X", i%256) },
		"61XX and nothing":                   func(int) string { return "6105" },
		"61XX and nothing, other lengths":    func(i int) string { return fmt.Sprintf("61%02X", i%256) },
		"9FXX and nothing":                   func(int) string { return "9F05" },
		"61XX, then 6CXX":                    func(i int) string { return []string{"6105", "6C05"}[i%2] },
		"always an octet more":               func(int) string { return "AA6101" },
		"always 256 more":                    func(int) string { return strings.Repeat("AA", 256) + "6100" },
		"an octet, and nothing at each turn": func(i int) string { return []string{"AA6101", "6101"}[i%2] },
	} {
		asked := 0
		r, err := Do(function(func([]byte) ([]byte, error) {
			asked++
			return unhex(t, answer(asked)), nil
		}), Command{INS: ReadBinary, Le: 5})
		if err == nil || !strings.Contains(err.Error(), "INS B0") {
			t.Errorf("%s: %s %v", name, r.SW, err)
		}
		if asked > 2*maxAnswer+4 {
			t.Errorf("%s: asked %d times", name, asked)
		}
	}
	// What is long, but ends, is read: as much as an answer may have.
	left := maxAnswer
	r, err := Do(function(func([]byte) ([]byte, error) {
		if left -= 256; left <= 0 {
			return append(make([]byte, 256), 0x90, 0x00), nil
		}
		return append(make([]byte, 256), 0x61, 0x00), nil
	}), Command{INS: ReadBinary, Le: 256})
	if err != nil || len(r.Data) != maxAnswer {
		t.Errorf("%d octets, %v", len(r.Data), err)
	}
}

func TestCardsThatDoNotAnswer(t *testing.T) {
	gone := errors.New("the card is gone")
	for at := range 3 { // in the command, and within its procedures
		asked := 0
		r, err := Do(function(func([]byte) ([]byte, error) {
			if asked++; asked > at {
				return nil, gone
			}
			return []byte{0xAA, 0x61, byte(asked)}, nil
		}), Command{INS: SelectFile, Data: []byte{0x3F, 0}})
		if !errors.Is(err, gone) || len(r.Data) > 0 {
			t.Errorf("%+v %v", r, err)
		}
	}
	for _, answer := range [][]byte{nil, {}, {0x90}} {
		if r, err := Do(function(func([]byte) ([]byte, error) { return answer, nil }), Command{}); err == nil {
			t.Errorf("%x was read as %+v", answer, r)
		}
	}
}
