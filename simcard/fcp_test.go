package simcard

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// published is an FCP template of another card (testdata/fcp.json).
type published struct {
	Source, Octets, ID, AID string
	EF                      bool
	Size, Record, Records   int
	Asks, AsksNot           []string
}

func templates(t testing.TB) []published {
	t.Helper()
	raw, err := os.ReadFile("testdata/fcp.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Templates []published }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Templates) == 0 {
		t.Fatal("testdata/fcp.json is empty")
	}
	return file.Templates
}

func reference(t testing.TB, hexed string) byte {
	t.Helper()
	n, err := strconv.ParseUint(hexed, 16, 8)
	if err != nil {
		t.Fatal(err)
	}
	return byte(n)
}

func TestTemplatesOfOtherCards(t *testing.T) {
	for _, p := range templates(t) {
		octets := unhex(t, p.Octets)
		f, err := ParseFCP(octets)
		if err != nil {
			t.Errorf("%s: %v", p.Source, err)
			continue
		}
		var id uint16
		if p.ID != "" {
			b := unhex(t, p.ID)
			id = uint16(b[0])<<8 | uint16(b[1])
		}
		if f.ID != id || string(f.AID) != string(unhex(t, p.AID)) || f.EF != p.EF || f.Size != p.Size || f.RecordSize != p.Record || f.Records != p.Records {
			t.Errorf("%s: read as %+v, want %+v", p.Source, f, p)
		}
		for _, r := range p.Asks {
			if !f.Asks(reference(t, r)) {
				t.Errorf("%s: %s is not asked for", p.Source, r)
			}
		}
		for _, r := range p.AsksNot {
			if f.Asks(reference(t, r)) {
				t.Errorf("%s: %s is asked for", p.Source, r)
			}
		}
		for n := range octets {
			if f, err := ParseFCP(octets[:n]); err == nil {
				t.Errorf("%s: the first %d octets were read as %+v", p.Source, n, f)
			}
		}
	}
}

func TestTemplatesThatAreNone(t *testing.T) {
	for name, octets := range map[string]string{
		"nothing":                  "",
		"an FCI template":          "6F0B 82027821 83023F00 8A0105",
		"octets behind it":         "620B 82027821 83023F00 8A0105 00",
		"an indefinite length":     "6280 82027821 83023F00 8A0105",
		"a length of three octets": "628300000B 82027821 83023F00 8A0105",
	} {
		if f, err := ParseFCP(unhex(t, octets)); err == nil || !strings.Contains(err.Error(), "octet 0 ") {
			t.Errorf("%s: read as %+v %v", name, f, err)
		}
	}
	for name, c := range map[string]struct{ body, element string }{
		"an element past the end":         {"82027821 83033F00", "octet 6 runs"},
		"an element without length":       {"82027821 83", "octet 6 runs"},
		"no data coding":                  {"820178 83023F00", "82 at octet 2"},
		"records without their number":    {"820442210026 83022F00", "82 at octet 2"},
		"records and an octet more":       {"8206422100260200 83022F00", "82 at octet 2"},
		"a file id of one octet":          {"82024121 83012F", "83 at octet 6"},
		"a file id of three octets":       {"82024121 83032F0000", "83 at octet 6"},
		"a size of one octet":             {"82024121 83022FE2 80010A", "80 at octet 10"},
		"a size of four octets":           {"82024121 83022FE2 80040000000A", "80 at octet 10"},
		"a PIN status that runs past":     {"82027821 83023F00 C605 900180 8302", "C6 at octet 10"},
		"a key reference of two octets":   {"82027821 83023F00 C607 900180 83020181", "C6 at octet 10"},
		"a key reference without its bit": {"82027821 83023F00 C606 830101 900180", "C6 at octet 10"},
		"nine references, one octet":      {"82027821 83023F00 C61E 9001FF 830101 830102 830103 830104 830105 830106 830107 830108 83010A", "C6 at octet 10"},
	} {
		body := unhex(t, c.body)
		if f, err := ParseFCP(append([]byte{0x62, byte(len(body))}, body...)); err == nil || !strings.Contains(err.Error(), c.element) {
			t.Errorf("%s: read as %+v %v, want an error at %s", name, f, err, c.element)
		}
	}
	// Length in one, two and three octets are the same.
	body := "82027821 83023F00 8A0105"
	for _, length := range []string{"0B", "810B", "82000B"} {
		if f, err := ParseFCP(unhex(t, "62"+length+body)); err != nil || f.ID != MF {
			t.Errorf("length %s: %+v %v", length, f, err)
		}
	}
}

func FuzzFCP(f *testing.F) {
	for _, p := range templates(f) {
		f.Add(unhex(f, p.Octets))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		fcp, err := ParseFCP(octets)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "simcard: ") || !strings.Contains(err.Error(), "octet") {
				t.Fatalf("%x: %v says neither whose nor where", octets, err)
			}
			return
		}
		if fcp.Size < 0 || fcp.Size >= 1<<24 || fcp.RecordSize < 0 || fcp.RecordSize >= 1<<16 || fcp.Records < 0 || fcp.Records > 255 || len(fcp.AID) > len(octets) {
			t.Fatalf("%x: %+v", octets, fcp)
		}
		for r := range 256 {
			fcp.Asks(byte(r))
		}
		for n := range octets {
			if _, err := ParseFCP(octets[:n]); err == nil {
				t.Fatalf("%x: the first %d octets were read", octets, n)
			}
		}
	})
}
