package applet

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var reference = Reference{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}

func challenge(text string) Challenge {
	return Challenge{
		Reference: reference, Operation: Sign, Key: 2, Algorithm: SHA256,
		Digest: bytes.Repeat([]byte{0x2f}, 32), Time: time.Unix(1795305600, 0).UTC(),
		Language: Azerbaijani, Text: text,
	}
}

// The octets of docs/applet.md, written by hand.
func TestChallengeAsDocumented(t *testing.T) {
	c := challenge("Ödəniş 5₼")
	want := unhex(t, "01 0102030405060708090a 01 02 01"+strings.Repeat("2f", 32)+"6b023080 01 00 86 64 81 6e 69 89 20 35 8e")
	got, err := c.Append(nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("written\n%x (%v), want\n%x", got, err, want)
	}
	back, err := ParseChallenge(want)
	if err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("read as %+v %v", back, err)
	}
	a := Answer{Reference: reference, Result: Signed, Signature: []byte{0x30, 0x00}}
	want = unhex(t, "81 0102030405060708090a 00 3000")
	if got := a.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("written %x, want %x", got, want)
	}
	if back, err := ParseAnswer(want); err != nil || !reflect.DeepEqual(back, a) {
		t.Errorf("read as %+v %v", back, err)
	}
}

// The short form differs by the first octet, and by what the signature is.
func TestShortFormAsDocumented(t *testing.T) {
	c := challenge("Ödəniş 5₼")
	full, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Short = true
	want := append([]byte{0x02}, full[1:]...)
	if got, err := c.Append(nil); err != nil || !bytes.Equal(got, want) {
		t.Errorf("written %x (%v), want %x", got, err, want)
	}
	if back, err := ParseChallenge(want); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("read as %+v %v", back, err)
	}
	a := Answer{Short: true, Reference: reference, Result: Signed, Signature: bytes.Repeat([]byte{7}, 64)}
	want = unhex(t, "82 0102030405060708090a 00"+strings.Repeat("07", 64))
	if got := a.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("written %x, want %x", got, want)
	}
	if back, err := ParseAnswer(want); err != nil || !reflect.DeepEqual(back, a) {
		t.Errorf("read as %+v %v", back, err)
	}
	// 140 octets, less the UDH (3), RPL, RHL and TAR (6), in blocks of 16: 128,
	// of which counter, padding, status and checksum take 15.
	for curve, size := range map[string]int{"P-256": 64, "P-384": 96} {
		if n := len((&Answer{Short: true, Signature: make([]byte, size)}).Append(nil)); n > 113 {
			t.Errorf("a short answer by %s has %d octets", curve, n)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	for _, text := range []string{"", "A", strings.Repeat("ə", MaxText), "Договор 12", "日本"} {
		for _, algorithm := range []Algorithm{SHA256, SHA384, SHA512} {
			c := challenge(text)
			c.Algorithm, c.Digest = algorithm, bytes.Repeat([]byte{7}, algorithm.Size())
			octets, err := c.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseChallenge(octets); err != nil || !reflect.DeepEqual(back, c) {
				t.Errorf("%q: %+v %v", text, back, err)
			}
		}
	}
	for n := range 12 {
		if a, err := ParseAnswer((&Answer{Reference: reference, Result: Busy}).Append(nil)[:n]); err == nil {
			t.Errorf("the first %d octets of an answer were read as %+v", n, a)
		}
	}
	c := challenge("")
	octets, _ := c.Append(nil)
	for n := range octets {
		if c, err := ParseChallenge(octets[:n]); err == nil {
			t.Errorf("the first %d octets of a challenge were read as %+v", n, c)
		}
	}
}

// 140 octets of user data, less the UDH (3), the header of the packet (10) and
// what its ciphered part needs (14), in blocks of 16: 98 octets of data.
func TestFortyCharactersFitOneMessage(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 40), strings.Repeat("ə", 40)} {
		c := challenge(text)
		octets, err := c.Append(nil)
		if err != nil || len(octets) > 98 {
			t.Errorf("%d octets, %v", len(octets), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	c := challenge("ok")
	good, _ := c.Append(nil)
	for name, change := range map[string]func([]byte) []byte{
		"another type":       func(b []byte) []byte { b[0] = 3; return b },
		"operation":          func(b []byte) []byte { b[11] = 3; return b },
		"algorithm":          func(b []byte) []byte { b[13] = 4; return b },
		"language":           func(b []byte) []byte { b[50] = 0; return b },
		"coding":             func(b []byte) []byte { b[51] = 4; return b },
		"letter":             func(b []byte) []byte { b[52] = 0xFF; return b },
		"control in text":    func(b []byte) []byte { b[52] = 0x07; return b },
		"odd UCS-2":          func(b []byte) []byte { b[51] = 8; return append(b, 0) },
		"surrogate in UCS-2": func(b []byte) []byte { b[51] = 8; b[52] = 0xD8; return b },
		"too much text":      func(b []byte) []byte { return append(b, bytes.Repeat([]byte("x"), 99)...) },
	} {
		if c, err := ParseChallenge(change(bytes.Clone(good))); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
	for name, change := range map[string]func(*Challenge){
		"short digest": func(c *Challenge) { c.Digest = c.Digest[1:] },
		"algorithm":    func(c *Challenge) { c.Algorithm = 9 },
		"time":         func(c *Challenge) { c.Time = time.Unix(1<<32, 0) },
		"emoji":        func(c *Challenge) { c.Text = "😀" },
		"direction":    func(c *Challenge) { c.Text = "pay \u202e001" },
		"blank letter": func(c *Challenge) { c.Text = "pay \u3164" },
		"blank sign":   func(c *Challenge) { c.Text = "pay \u2800" },
		"combining":    func(c *Challenge) { c.Text = "pay 1\u03360" },
		"selector":     func(c *Challenge) { c.Text = "pay\ufe0f" },
		"newline":      func(c *Challenge) { c.Text = "a\nb" },
		"not UTF-8":    func(c *Challenge) { c.Text = "\xff" },
		"too long":     func(c *Challenge) { c.Text = strings.Repeat("x", MaxText+1) },
	} {
		c := challenge("ok")
		change(&c)
		if b, err := c.Append(nil); err == nil {
			t.Errorf("%s: written as %x", name, b)
		}
	}
	if _, err := ParseAnswer(append((&Answer{Result: Busy}).Append(nil), 0)); err == nil {
		t.Error("octets behind a refusal were taken")
	}
}

// The example in the Mobile-ID documentation: a digest that begins 2f and ends
// b6 gives 1462.
func TestVerificationCode(t *testing.T) {
	digest := make([]byte, 32)
	digest[0], digest[31] = 0x2f, 0xb6
	if code := VerificationCode(digest); code != "1462" {
		t.Errorf("code %s, want 1462", code)
	}
	if code := VerificationCode(make([]byte, 64)); code != "0000" {
		t.Errorf("code %s, want 0000", code)
	}
}

func TestReferenceText(t *testing.T) {
	text := reference.String()
	if back, err := ParseReference(text); err != nil || back != reference || len(text) != 16 {
		t.Errorf("%s: %v %v", text, back, err)
	}
	for _, bad := range []string{"", "a", text + "a", strings.ToUpper(text), text[:8] + "\n" + text[8:], "../../../../etc/pa"} {
		if _, err := ParseReference(bad); err == nil {
			t.Errorf("%q was taken for a reference", bad)
		}
	}
}

func FuzzMessages(f *testing.F) {
	for _, text := range []string{"Ödəniş", "Договор"} {
		c := challenge(text)
		octets, err := c.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(octets)
	}
	f.Add((&Answer{Reference: reference, Signature: []byte{0x30, 0}}).Append(nil))
	f.Add((&Answer{Short: true, Reference: reference, Signature: make([]byte, 64)}).Append(nil))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if c, err := ParseChallenge(octets); err == nil {
			again, err := c.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseChallenge(again); err != nil || !reflect.DeepEqual(back, c) {
				t.Fatalf("%x: %+v, then %+v %v", octets, c, back, err)
			}
		}
		if a, err := ParseAnswer(octets); err == nil && !bytes.Equal(a.Append(nil), octets) {
			t.Fatalf("%x: %+v", octets, a)
		}
	})
}
