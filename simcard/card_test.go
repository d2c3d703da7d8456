package simcard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// The four cases of ISO 7816-4 §5.1, as opensc-tool prints them.
func TestCommands(t *testing.T) {
	for text, want := range map[string]Command{
		"00a40004":             {INS: 0xA4, P2: 4},
		"00a40004023f00":       {INS: 0xA4, P2: 4, Data: []byte{0x3F, 0x00}},
		"8012000010":           {CLA: 0x80, INS: 0x12, Le: 16},
		"8012000000":           {CLA: 0x80, INS: 0x12, Le: 256},
		"00a40004023f0000":     {INS: 0xA4, P2: 4, Data: []byte{0x3F, 0x00}, Le: 256},
		"002000020831323334ff": {},
	} {
		raw, _ := hex.DecodeString(text)
		got, err := ParseCommand(raw)
		if want.INS == 0 {
			if !errors.Is(err, ErrLength) {
				t.Errorf("%s: %+v %v, want ErrLength", text, got, err)
			}
			continue
		}
		if err != nil || got.CLA != want.CLA || got.INS != want.INS || got.P2 != want.P2 || got.Le != want.Le || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("%s: %+v %v, want %+v", text, got, err, want)
		}
		if again := got.Append(nil); !bytes.Equal(again, raw) {
			t.Errorf("%s: written again %x", text, again)
		}
	}
	for n := range 4 {
		if _, err := ParseCommand(make([]byte, n)); !errors.Is(err, ErrLength) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestStatusWords(t *testing.T) {
	if n, ok := SW(0x9100).Proactive(); !ok || n != 256 {
		t.Error("9100 announces 256 octets")
	}
	if n, ok := SWProactive(0x1A).Proactive(); !ok || n != 0x1A {
		t.Error("911A announces 26 octets")
	}
	if left, ok := SWTries(2).Tries(); !ok || left != 2 || SWTries(2).String() != "63C2" {
		t.Error("63C2 says two tries")
	}
	if _, ok := SWOK.Tries(); ok {
		t.Error("9000 speaks of tries")
	}
	if _, err := ParseResponse([]byte{0x90}); err == nil {
		t.Error("one octet was read as a response")
	}
}

func TestNumbers(t *testing.T) {
	for _, good := range []string{"+994500000001", "+12025550123"} {
		if m, err := ParseMSISDN(good); err != nil || m.Digits() != good[1:] {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "+", "994500000001", "+994 50 000 00 01", "+0994500000001", "+994500", "+9945000000011111", "+99450000000a"} {
		if _, err := ParseMSISDN(bad); err == nil {
			t.Errorf("%q was taken for a number", bad)
		}
	}
	id, err := NewICCID("899940100000000001")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseICCID(string(id)); err != nil {
		t.Error(err)
	}
	wrong := []byte(id)
	wrong[len(wrong)-1] = '0' + (wrong[len(wrong)-1]-'0'+1)%10
	for _, bad := range []string{string(wrong), "123", "89994010000000000x1"} {
		if _, err := ParseICCID(bad); err == nil {
			t.Errorf("%q was taken for an ICCID", bad)
		}
	}
	if luhn("7992739871") != '3' {
		t.Error("the Luhn digit of 7992739871 is 3")
	}
}

func FuzzAPDU(f *testing.F) {
	f.Add([]byte{0x00, 0xA4, 0, 4, 2, 0x3F, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := ParseCommand(raw); err == nil && !bytes.Equal(c.Append(nil), raw) {
			t.Fatalf("%x: %+v, written again %x", raw, c, c.Append(nil))
		}
	})
}
