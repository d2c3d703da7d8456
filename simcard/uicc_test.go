package simcard

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Commands octet by octet (TS 102 221 §11.1.1, §11.1.9).
func TestCommandsOfAUICC(t *testing.T) {
	for want, c := range map[string]Command{
		"00A40404 07 A0000000871002":                    Select(USIM),
		"00A40404 06 F0494D5A4101":                      Select(Signer),
		"00A40004 02 2FE2":                              SelectEF(EFICCID),
		"00A40004 02 6F07":                              SelectEF(EFIMSI),
		"00200001 08 31323334FFFFFFFF":                  {INS: Verify, P2: PINTelephone, Data: PadPIN("1234")},
		"002C0082 10 3937353331383634 3836343230FFFFFF": {INS: UnblockPIN, P2: PIN2, Data: append(PadPIN("97531864"), PadPIN("86420")...)},
		"00B2010426":                                    {INS: ReadRecord, P1: 1, P2: 4, Le: 0x26},
		"80F2000000":                                    {CLA: 0x80, INS: Status, Le: 256},
		"801000000401020304":                            {CLA: 0x80, INS: TerminalProfile, Data: []byte{1, 2, 3, 4}},
		"8012000000":                                    {CLA: 0x80, INS: Fetch, Le: 256},
		"80140000 0C 810301218082028281830100":          {CLA: 0x80, INS: TerminalResponse, Data: unhex(t, "810301218082028281830100")},
		"80C20000 09 D30782020181900102":                {CLA: 0x80, INS: Envelope, Data: unhex(t, "D30782020181900102")},
	} {
		if got := c.Append(nil); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%X, want %s", got, want)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("256 octets of data were written")
		}
	}()
	Command{Data: make([]byte, 256)}.Append(nil)
}

// transparent is a card with one transparent file, as a UICC reads it: T=0, and
// in pieces of at most 256 octets.
func transparent(fcp string, content []byte) Card {
	return function(func(command []byte) ([]byte, error) {
		c, err := ParseCommand(command)
		if err != nil {
			return nil, err
		}
		octets := []byte(fcp)
		switch c.INS {
		case SelectFile:
			return []byte{0x61, byte(len(octets))}, nil
		case GetResponse:
			return append(octets, 0x90, 0x00), nil
		case ReadBinary:
			offset := int(c.P1)<<8 | int(c.P2)
			if c.P1&0x80 != 0 || offset+c.Le > len(content) {
				return []byte{0x6B, 0x00}, nil
			}
			return append(bytes.Clone(content[offset:offset+c.Le]), 0x90, 0x00), nil
		}
		return nil, fmt.Errorf("INS %02X", c.INS)
	})
}

func template(size int) string {
	return string([]byte{0x62, 0x0C, 0x82, 0x02, 0x41, 0x21, 0x83, 0x02, 0x4C, 0x01, 0x80, 0x02, byte(size >> 8), byte(size)})
}

func TestWholeFilesAreRead(t *testing.T) {
	content := make([]byte, 1<<15)
	for i := range content {
		content[i] = byte(i * 31 >> 3)
	}
	for _, size := range []int{0, 1, 254, 255, 256, 257, 511, 1000, 1<<15 - 1, 1 << 15} {
		got, err := ReadFile(transparent(template(size), content[:size]), 0x4C01)
		if err != nil || !bytes.Equal(got, content[:size]) {
			t.Errorf("%d octets: %d are read, %v", size, len(got), err)
		}
	}
	// What the offset's fifteen bits do not reach is not read from elsewhere.
	for _, size := range []int{1<<15 + 1, 1<<16 - 1} {
		if got, err := ReadFile(transparent(template(size), make([]byte, size)), 0x4C01); err == nil {
			t.Errorf("%d octets: %d are read", size, len(got))
		}
	}
}

func TestFilesThatAreNotRead(t *testing.T) {
	fcp := "620C8202412183024C0180020003"
	for name, script := range map[string][]string{
		"a file that is not there":     {"00A40004024C01", "6A82"},
		"a card that has no channel":   {"00A40004024C01", "6881"},
		"no template":                  {"00A40004024C01", "9000"},
		"half a template":              {"00A40004024C01", "6107", "00C0000007", fcp[:14] + "9000"},
		"a PIN is asked for":           {"00A40004024C01", "610E", "00C000000E", fcp + "9000", "00B0000003", "6982"},
		"an error in the middle":       {"00A40004024C01", "610E", "00C000000E", fcp + "9000", "00B0000003", "AABB9000", "00B0000201", "6F00"},
		"no octets, and no error":      {"00A40004024C01", "610E", "00C000000E", fcp + "9000", "00B0000003", "9000"},
		"octets with an error's words": {"00A40004024C01", "610E", "00C000000E", fcp + "9000", "00B0000003", "AABBCC6282"},
	} {
		card := &scripted{t, script}
		got, err := ReadFile(card, 0x4C01)
		if err == nil || len(got) > 0 {
			t.Errorf("%s: %X", name, got)
		}
		if errors.Is(err, ErrNoFile) != (script[1] == "6A82") {
			t.Errorf("%s: %v", name, err)
		}
		if len(card.script) > 0 {
			t.Errorf("%s: not asked: %v", name, card.script)
		}
	}
	card := &scripted{t, []string{"00A40004024C01", "610E", "00C000000E", fcp + "9000", "00B0000003", "AA 911A", "00B0000102", "BBCC 9000"}}
	if got, err := ReadFile(card, 0x4C01); err != nil || !bytes.Equal(got, []byte{0xAA, 0xBB, 0xCC}) {
		t.Errorf("in pieces, while a command waits: %X %v", got, err)
	}
}

func TestRecordsAreRead(t *testing.T) {
	fcp := "62128205422100040283026F02 800200088A0105"
	got, err := ReadRecords(&scripted{t, []string{"00A40004026F02", "6114", "00C0000014", fcp + "9000",
		"00B2010404", "01010101 9000", "00B2020404", "02020201 911A"}}, 0x6F02)
	if err != nil || len(got) != 2 || !bytes.Equal(got[0], []byte{1, 1, 1, 1}) || !bytes.Equal(got[1], []byte{2, 2, 2, 1}) {
		t.Errorf("%X %v", got, err)
	}
	for name, script := range map[string][]string{
		"a file that is not there":          {"00A40004026F02", "6A82"},
		"a file that is not to be selected": {"00A40004026F02", "6985"},
		"no template":                       {"00A40004026F02", "9000"},
		"a record that is not there":        {"00A40004026F02", "6114", "00C0000014", fcp + "9000", "00B2010404", "01010101 9000", "00B2020404", "6A83"},
		"records of no octets":              {"00A40004026F02", "610D", "00C000000D", "620B 82054221000002 83026F02 9000"},
		"records of 256 octets":             {"00A40004026F02", "610D", "00C000000D", "620B 82054221010002 83026F02 9000"},
	} {
		card := &scripted{t, script}
		got, err := ReadRecords(card, 0x6F02)
		if err == nil || got != nil {
			t.Errorf("%s: %X", name, got)
		}
		if errors.Is(err, ErrNoFile) != (script[1] == "6A82") {
			t.Errorf("%s: %v", name, err)
		}
		if len(card.script) > 0 {
			t.Errorf("%s: not asked: %v", name, card.script)
		}
	}
	// A file without records, as of a card without keys, has none.
	if got, err := ReadRecords(&scripted{t, []string{"00A40004026F02", "610D", "00C000000D", "620B 82054221000000 83026F02 9000"}}, 0x6F02); err != nil || len(got) != 0 {
		t.Errorf("%X %v", got, err)
	}
	gone := errors.New("gone")
	if _, err := ReadRecords(function(func([]byte) ([]byte, error) { return nil, gone }), 0x6F02); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestPINsArePadded(t *testing.T) {
	for digits, want := range map[string]string{"": "FFFFFFFFFFFFFFFF", "1234": "31323334FFFFFFFF", "12345678": "3132333435363738"} {
		if got := PadPIN(digits); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%q: %X, want %s", digits, got, want)
		}
	}
	if !strings.HasPrefix(string(PadPIN("123456789")), "12345678") {
		t.Error("nine digits")
	}
}
