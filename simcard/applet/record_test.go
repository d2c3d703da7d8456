package applet

import (
	"bytes"
	"reflect"
	"testing"
)

// The octets of docs/card.md, written by hand.
func TestRecordsAsDocumented(t *testing.T) {
	for hexed, want := range map[string]About{
		"800101 810101 820103 830103 84010A": {Version: 1, Short: true, PIN1: 3, PIN2: 3, PUK: 10},
		"800101 810100 820100 830101 840100": {Version: 1, PIN2: 1},
	} {
		octets := unhex(t, hexed)
		if got, err := ParseAbout(octets); err != nil || got != want {
			t.Errorf("%s: read as %+v %v, want %+v", hexed, got, err, want)
		}
		if got := want.Append(nil); !bytes.Equal(got, octets) {
			t.Errorf("%+v written %x, want %s", want, got, hexed)
		}
	}
	for hexed, want := range map[string]KeyRecord{
		"01 01 01 01": {1, Sign, P256, true},
		"02 02 02 00": {2, Authenticate, P384, false},
		"FF 01 03 01": {255, Sign, RSA2048, true},
	} {
		octets := unhex(t, hexed)
		if got, err := ParseKeyRecord(octets); err != nil || got != want {
			t.Errorf("%s: read as %+v %v, want %+v", hexed, got, err, want)
		}
		if got := want.Append(nil); !bytes.Equal(got, octets) || len(got) != KeyRecordLen {
			t.Errorf("%+v written %x, want %s", want, got, hexed)
		}
	}
	for _, octet := range []byte{0, 2, 0xFF} { // only 01 says that there is a certificate
		if got, err := ParseKeyRecord([]byte{1, 1, 1, octet}); err != nil || got.Certified {
			t.Errorf("a record that ends %02x: %+v %v", octet, got, err)
		}
	}
	for hexed, want := range map[string]KeyRecord{
		"B606 840101 800101": {Number: 1, Operation: Sign, Kind: P256},
		"A406 840110 800102": {Number: 16, Operation: Authenticate, Kind: P384},
		"B606 8401FF 800103": {Number: 255, Operation: Sign, Kind: RSA2048},
	} {
		octets := unhex(t, hexed)
		if got, err := ParseGenerateKey(octets); err != nil || got != want {
			t.Errorf("%s: read as %+v %v, want %+v", hexed, got, err, want)
		}
		if got := want.GenerateKey(); !bytes.Equal(got, octets) {
			t.Errorf("%+v written %x, want %s", want, got, hexed)
		}
	}
	for kind, want := range map[KeyKind]string{P256: "P-256", P384: "P-384", RSA2048: "RSA-2048", 0: "kind 00", 0x1F: "kind 1f"} {
		if got := kind.String(); got != want {
			t.Errorf("%d is written %q, want %q", kind, got, want)
		}
	}
}

// A later version may say more, and in another order.
func TestAboutOfLaterVersions(t *testing.T) {
	want := About{Version: 2, Short: true, PIN1: 3, PIN2: 2, PUK: 9}
	for _, hexed := range []string{
		"800102 8101FF 820103 830102 840109 8503AABBCC",
		"9F00 840109 830102 820103 810181 800102",
		"800101 810101 820103 830102 840109 800102", // of two, the last counts
	} {
		if got, err := ParseAbout(unhex(t, hexed)); err != nil || got != want {
			t.Errorf("%s: read as %+v %v, want %+v", hexed, got, err, want)
		}
	}
}

func TestRecordsThatAreNone(t *testing.T) {
	about := unhex(t, "800101 810101 820103 830103 84010A")
	for n := range about {
		got, err := ParseAbout(about[:n])
		if whole := n > 0 && n%3 == 0; whole != (err == nil) {
			t.Errorf("the first %d octets: %+v %v", n, got, err)
		}
	}
	for name, hexed := range map[string]string{
		"nothing":               "",
		"no version":            "810101 820103 830103 84010A",
		"version 0":             "800100",
		"a version of 2 octets": "80020001",
		"abilities of none":     "800101 8100",
		"tries of two octets":   "800101 82020003",
		"past the end":          "800101 8402",
	} {
		if got, err := ParseAbout(unhex(t, hexed)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
	for n := range 10 {
		if got, err := ParseKeyRecord(make([]byte, n)); (err == nil) != (n == KeyRecordLen) {
			t.Errorf("a record of %d octets: %+v %v", n, got, err)
		}
	}
	good := unhex(t, "B606 840101 800101")
	for n := range good {
		if got, err := ParseGenerateKey(good[:n]); err == nil {
			t.Errorf("the first %d octets of a template: %+v", n, got)
		}
	}
	for name, hexed := range map[string]string{
		"an octet behind it":       "B606 840101 800101 00",
		"an element more":          "B609 840101 800101 810100",
		"another template":         "B806 840101 800101",
		"the other order":          "B606 800101 840101",
		"no kind":                  "B603 840101",
		"no number":                "B603 800101",
		"another number's tag":     "B606 830101 800101",
		"another kind's tag":       "B606 840101 810101",
		"a number of no octets":    "B605 8400 800101",
		"a number of two octets":   "B607 84020001 800101",
		"a kind of two octets":     "B607 840101 80020001",
		"kind 00":                  "B606 840101 800100",
		"kind 04":                  "B606 840101 800104",
		"a long length":            "B68106 840101 800101",
		"a template's length more": "B607 840101 800101",
		"a template's length less": "B605 840101 800101",
	} {
		if got, err := ParseGenerateKey(unhex(t, hexed)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, hexed := range []string{"800101810101820103830103 84010A", "9F00840109830102820103810181800102", "01010101", "B606840101800101", "A406840110800103"} {
		f.Add(unhex(f, hexed))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		if a, err := ParseAbout(octets); err == nil {
			if a.Version == 0 || a.PIN1 > 255 || a.PIN2 > 255 || a.PUK > 255 {
				t.Fatalf("%x: %+v", octets, a)
			}
			// It is written under the version that is known here.
			back, err := ParseAbout(a.Append(nil))
			if a.Version = 1; err != nil || back != a {
				t.Fatalf("%x: %+v, then %+v %v", octets, a, back, err)
			}
		}
		if k, err := ParseKeyRecord(octets); err == nil {
			back, err := ParseKeyRecord(k.Append(nil))
			if err != nil || back != k || !bytes.Equal(k.Append(nil)[:3], octets[:3]) {
				t.Fatalf("%x: %+v, then %+v %v", octets, k, back, err)
			}
		}
		if k, err := ParseGenerateKey(octets); err == nil {
			if !bytes.Equal(k.GenerateKey(), octets) {
				t.Fatalf("%x: %+v, written %x", octets, k, k.GenerateKey())
			}
			if back, err := ParseGenerateKey(octets); err != nil || !reflect.DeepEqual(back, k) {
				t.Fatalf("%x: %+v, then %+v", octets, k, back)
			}
			for n := range octets {
				if _, err := ParseGenerateKey(octets[:n]); err == nil {
					t.Fatalf("%x: the first %d octets were read", octets, n)
				}
			}
		}
	})
}
