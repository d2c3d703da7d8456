package sms

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"
)

// published are alpha fields from elsewhere, with what they say.
func published(t testing.TB) (fields []struct {
	Source, Octets, Text string
	Exact                bool
}) {
	t.Helper()
	raw, err := os.ReadFile("testdata/alpha.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Fields any }
	file.Fields = &fields
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(fields) == 0 {
		t.Fatal("testdata/alpha.json is empty")
	}
	return fields
}

func TestPublishedAlphaFields(t *testing.T) {
	exact := 0
	for _, f := range published(t) {
		text, err := DecodeAlpha(unhex(t, f.Octets))
		if err != nil || text != f.Text {
			t.Errorf("%s: %s read as %q %v, want %q", f.Source, f.Octets, text, err, f.Text)
		}
		octets, err := EncodeAlpha(f.Text)
		if err != nil {
			t.Errorf("%s: %q: %v", f.Source, f.Text, err)
		}
		if f.Exact {
			exact++
			if !bytes.Equal(octets, unhex(t, f.Octets)) {
				t.Errorf("%s: %q written %x, want %s", f.Source, f.Text, octets, f.Octets)
			}
		}
		if back, err := DecodeAlpha(octets); err != nil || back != f.Text {
			t.Errorf("%s: %q comes back as %q %v", f.Source, f.Text, back, err)
		}
	}
	if exact < 8 {
		t.Errorf("only %d fields are compared octet for octet", exact)
	}
}

// What fills a field in a file up, and characters that need two octets.
func TestAlphaFieldsAtTheEdges(t *testing.T) {
	for octets, want := range map[string]string{
		"":                    "",
		"FFFFFF":              "",
		"41FFFF":              "A",
		"0041":                "@A", // 00 is a character, not an end
		"1B65":                "€",
		"8000410042FFFF":      "AB",
		"800041FF":            "A", // the last octet of an even field is no character
		"8001FF":              "ǿ", // whose lower half is FF
		"8001FFFF":            "ǿ",
		"8001FFFFFF":          "ǿ",
		"80":                  "",
		"80FFFF":              "",
		"810008":              "", // no characters
		"810108 97FFFF":       "З",
		"810108 97 41":        "З", // more than are counted
		"810208 1B65":         "€", // an escape and its character count as two
		"810508 1B65 97 1B14": "€З^",
		"82010410 41":         "A",
		"82030410 80 1B65":    "А€",
		"8201FF80 FF":         "\uFFFF",
		"810208 00 80":        "@Ѐ",
		"8101FF 80":           "\u7F80", // bit 16 of a page is zero
	} {
		if got, err := DecodeAlpha(unhex(t, octets)); err != nil || got != want {
			t.Errorf("%s: read as %q %v, want %q", octets, got, err, want)
		}
	}
}

func TestAlphaFieldsThatAreNone(t *testing.T) {
	for name, octets := range map[string]string{
		"81 without a page":          "8101",
		"81 alone":                   "81",
		"82 without an offset":       "820104",
		"81, fewer than are counted": "81020897",
		"82, fewer than are counted": "8202041080",
		"half a character of UCS-2":  "80004100",
		"a surrogate in 80":          "80D800",
		"a surrogate in 82":          "8201D80080",
		"the last surrogate in 82":   "8201DF80FF",
		"a character past UCS-2":     "8201FFFF81",
		"coding 83":                  "83010041",
		"coding FE":                  "FE41",
		"an escape at the end":       "411B",
		"an escape of nothing":       "1B41",
		"an octet over 7F":           "4180",
		"half an escape in 82":       "82020410801B65",
		"an escape at the end of 81": "810208971B",
		"an escape in front of 80":   "8102081B97",
	} {
		if text, err := DecodeAlpha(unhex(t, octets)); err == nil {
			t.Errorf("%s: %s read as %q", name, octets, text)
		}
	}
	if octets, err := EncodeAlpha("😀"); err == nil {
		t.Errorf("a character that is not in UCS-2 was written as %x", octets)
	}
}

func FuzzAlpha(f *testing.F) {
	for _, p := range published(f) {
		f.Add(unhex(f, p.Octets))
	}
	f.Add(unhex(f, "8105081B65971B14"))
	f.Add(unhex(f, "8201DF80FF"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		text, err := DecodeAlpha(octets)
		if err != nil {
			return
		}
		if !utf8.ValidString(text) || utf8.RuneCountInString(text) > len(octets) {
			t.Fatalf("%x: %q", octets, text)
		}
		again, err := EncodeAlpha(text)
		if err != nil {
			t.Fatalf("%x: %q cannot be written: %v", octets, text, err)
		}
		// U+FFFF cannot be told from what fills a field up; nothing means it.
		if back, err := DecodeAlpha(again); err != nil || back != text && !bytes.Contains(again, []byte{0xFF, 0xFF}) {
			t.Fatalf("%x: %q, written %x, comes back as %q %v", octets, text, again, back, err)
		}
	})
}
