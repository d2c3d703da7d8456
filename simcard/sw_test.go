package simcard

import (
	"fmt"
	"strings"
	"testing"
)

// Of all status words, which mean what (TS 102 221 §10.2.1): each family is told
// from all the others.
func TestFamiliesOfStatusWords(t *testing.T) {
	for n := range 1 << 16 {
		sw := SW(n)
		sw1, sw2 := n>>8, n&0xFF
		count := sw2
		if count == 0 {
			count = 256
		}
		if got, want := sw.OK(), n == 0x9000 || sw1 == 0x91; got != want {
			t.Fatalf("%s is done: %t", sw, got)
		}
		if got, is := sw.Proactive(); is != (sw1 == 0x91) || is && got != count {
			t.Fatalf("%s announces %d octets, %t", sw, got, is)
		}
		if got, is := sw.Tries(); is != (n >= 0x63C0 && n <= 0x63CF) || is && got != n-0x63C0 {
			t.Fatalf("%s says %d tries, %t", sw, got, is)
		}
		next, more := Next([]byte{0x00, 0xB0, 1, 2, 3}, sw)
		want := ""
		switch sw1 {
		case 0x61, 0x9F:
			want = fmt.Sprintf("00C00000%02X", sw2)
		case 0x6C:
			want = fmt.Sprintf("00B00102%02X", sw2)
		}
		if got := fmt.Sprintf("%X", next); more != (want != "") || got != want {
			t.Fatalf("after %s comes %s, want %s", sw, got, want)
		}
		if got := sw.String(); got != fmt.Sprintf("%04X", n) {
			t.Fatalf("%04X is written %s", n, got)
		}
	}
}

// What the functions make, the others read.
func TestStatusWordsThatCount(t *testing.T) {
	for n := 1; n <= 256; n++ {
		if got, ok := SWProactive(n).Proactive(); !ok || got != n {
			t.Errorf("%d octets are announced as %s", n, SWProactive(n))
		}
		if got := SWAvailable(n); int(got) != 0x6100|n&0xFF {
			t.Errorf("%d octets are available as %s", n, got)
		}
		if got := SWLength(n); int(got) != 0x6C00|n&0xFF {
			t.Errorf("length %d is told as %s", n, got)
		}
	}
	if SWAvailable(1000) != 0x6100 || SWLength(1000) != 0x6C00 {
		t.Errorf("1000 octets are told as %s and %s", SWAvailable(1000), SWLength(1000))
	}
	for left := range 16 {
		if got, ok := SWTries(left).Tries(); !ok || got != left {
			t.Errorf("%d tries are told as %s", left, SWTries(left))
		}
	}
}

func TestMeanings(t *testing.T) {
	for sw, want := range map[SW]string{
		0x9000: "done", 0x9300: "toolkit busy", 0x6581: "memory problem", 0x6700: "wrong length", 0x6881: "logical channel not supported",
		0x6882: "secure messaging not supported", 0x6982: "security status not satisfied", 0x6983: "PIN blocked", 0x6985: "conditions of use not satisfied",
		0x6986: "no EF selected", 0x6A80: "wrong data", 0x6A82: "file not found", 0x6A83: "record not found", 0x6A86: "wrong P1 P2",
		0x6B00: "offset outside of the file", 0x6D00: "unknown INS", 0x6E00: "unknown CLA", 0x6F00: "technical problem",
		0x63C2: "wrong PIN or none given, 2 tries left", 0x6120: "32 octets for GET RESPONSE", 0x9F00: "256 octets for GET RESPONSE",
		0x6C0A: "again with Le 10", 0x911A: "a proactive command of 26 octets to FETCH", 0x6283: "", 0x6A84: "", 0x0000: "",
	} {
		if got := sw.Meaning(); got != want {
			t.Errorf("%s: %q, want %q", sw, got, want)
		}
	}
	seen := make(map[string]SW)
	for sw := range meanings { // no two are the same in words
		text := strings.ToLower(sw.Meaning())
		if other, twice := seen[text]; twice || text == "" {
			t.Errorf("%s and %s are both %q", sw, other, text)
		}
		seen[text] = sw
	}
}
