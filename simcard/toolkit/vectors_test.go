package toolkit

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// sequences are the octets of the test specifications for terminals
// (testdata/ts102384.json), with what another reader took out of them.
type sequences struct {
	Commands []struct {
		Name, Octets    string
		Type, Qualifier byte
		Text            *string // with its coding octet
		Min, Max        byte
		Alpha           *string
		Items           []struct {
			ID   byte
			Text string
		}
		TPDU  string
		Exact bool
	}
	Refused   []struct{ Name, Octets string }
	Responses []struct {
		Name, Octets            string
		Type, Qualifier, Result byte
		Info                    string
		Text                    *string
		Item                    byte
	}
	Envelopes []struct {
		Name, Octets string
		Item         byte
		TPDU         string
		Exact        bool
	}
}

func readSequences(t testing.TB) (s sequences) {
	t.Helper()
	raw, err := os.ReadFile("testdata/ts102384.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Commands) == 0 || len(s.Refused) == 0 || len(s.Responses) == 0 || len(s.Envelopes) == 0 {
		t.Fatal("testdata/ts102384.json is empty")
	}
	return s
}

func TestProactiveCommandsOfTheTestSpecifications(t *testing.T) {
	exact := make(map[Type]int)
	for _, s := range readSequences(t).Commands {
		octets := unhex(t, s.Octets)
		want := Command{Number: 1, Type: Type(s.Type), Qualifier: s.Qualifier, MinInput: s.Min, MaxInput: s.Max}
		if s.Text != nil {
			if text := unhex(t, *s.Text); len(text) > 0 {
				want.Text = Text{text[0], text[1:]}
			}
		}
		if s.Alpha != nil {
			want.Alpha = unhex(t, *s.Alpha)
		}
		for _, item := range s.Items {
			want.Items = append(want.Items, Item{item.ID, unhex(t, item.Text)})
		}
		if s.TPDU != "" {
			want.TPDU = unhex(t, s.TPDU)
		}
		got, err := ParseCommand(octets)
		if err != nil || !same(got, want) {
			t.Errorf("%s: read as %+v %v, want %+v", s.Name, got, err, want)
			continue
		}
		again, err := want.Append(nil)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if s.Exact {
			exact[want.Type]++
			if !bytes.Equal(again, octets) {
				t.Errorf("%s: written %x, want %s", s.Name, again, s.Octets)
			}
		} else if back, err := ParseCommand(again); err != nil || !same(back, want) {
			t.Errorf("%s: written %x, which is read as %+v %v", s.Name, again, back, err)
		}
		for n := range octets {
			if c, err := ParseCommand(octets[:n]); err == nil {
				t.Errorf("%s: the first %d octets were read as %+v", s.Name, n, c)
			}
		}
	}
	for kind, n := range map[Type]int{DisplayText: 9, GetInput: 11, SetUpMenu: 10, SelectItem: 12, SendShortMessage: 2} {
		if exact[kind] < n {
			t.Errorf("%d commands of type %02x are compared octet for octet, want %d", exact[kind], byte(kind), n)
		}
	}
}

// same compares commands; what is absent and what is empty differ in an alpha
// field only (TS 102 223 §6.4.10).
func same(a, b Command) bool {
	if (a.Alpha == nil) != (b.Alpha == nil) || !bytes.Equal(a.Alpha, b.Alpha) || !bytes.Equal(a.TPDU, b.TPDU) ||
		a.Text.Coding != b.Text.Coding || !bytes.Equal(a.Text.Octets, b.Text.Octets) || len(a.Items) != len(b.Items) {
		return false
	}
	for i := range a.Items {
		if a.Items[i].ID != b.Items[i].ID || !bytes.Equal(a.Items[i].Text, b.Items[i].Text) {
			return false
		}
	}
	return a.Number == b.Number && a.Type == b.Type && a.Qualifier == b.Qualifier && a.MinInput == b.MinInput && a.MaxInput == b.MaxInput
}

// Menus that a terminal answers with "command data not understood", and an
// envelope that is none of a signing card's.
func TestSequencesThatAreRefused(t *testing.T) {
	for _, s := range readSequences(t).Refused {
		octets := unhex(t, s.Octets)
		if c, err := ParseCommand(octets); err == nil {
			t.Errorf("%s: read as %+v", s.Name, c)
		}
		if e, err := ParseEnvelope(octets); err == nil {
			t.Errorf("%s: read as %+v", s.Name, e)
		}
	}
	for name, octets := range map[string]string{
		"SELECT ITEM without items":      "d00b810301240082028182" + "8500",
		"SELECT ITEM with an empty item": "d00d810301240082028182" + "85008f00",
		"SELECT ITEM, one of two empty":  "d011810301240082028182" + "85008f0201418f00",
		"SET UP MENU, item 0":            "d00f810301250082028182" + "85008f020041",
		"SET UP MENU without its title":  "d00d810301250082028182" + "8f020141",
	} {
		if c, err := ParseCommand(unhex(t, octets)); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
	// The title of a selection is optional (TS 102 223 §6.6.8).
	octets := unhex(t, "d00d810301240082028182"+"8f020141")
	c, err := ParseCommand(octets)
	if err != nil || c.Alpha != nil || len(c.Items) != 1 {
		t.Errorf("SELECT ITEM without a title: %+v %v", c, err)
	}
	if again, err := c.Append(nil); err != nil || !bytes.Equal(again, octets) {
		t.Errorf("written %x %v, want %x", again, err, octets)
	}
	if octets, err := (&Command{Number: 1, Type: SelectItem, Alpha: []byte("x")}).Append(nil); err == nil {
		t.Errorf("a selection of nothing was written as %x", octets)
	}
}

func TestTerminalResponsesOfTheTestSpecifications(t *testing.T) {
	items := 0
	for _, s := range readSequences(t).Responses {
		octets := unhex(t, s.Octets)
		want := Response{Number: 1, Type: Type(s.Type), Qualifier: s.Qualifier, Result: Result(s.Result), Info: unhex(t, s.Info), Item: s.Item}
		if s.Text != nil {
			text := unhex(t, *s.Text)
			want.Text = &Text{text[0], text[1:]}
		}
		if s.Item != 0 {
			items++
		}
		got, err := ParseResponse(octets)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if (got.Text == nil) != (want.Text == nil) || got.Text != nil && (got.Text.Coding != want.Text.Coding || !bytes.Equal(got.Text.Octets, want.Text.Octets)) ||
			!bytes.Equal(got.Info, want.Info) || got.Number != want.Number || got.Type != want.Type || got.Qualifier != want.Qualifier ||
			got.Result != want.Result || got.Item != want.Item {
			t.Errorf("%s: read as %+v, want %+v", s.Name, got, want)
		}
		if again := want.Append(nil); !bytes.Equal(again, octets) {
			t.Errorf("%s: written %x, want %s", s.Name, again, s.Octets)
		}
		without := 12 + len(want.Info) // text and item, it is whole
		for n := range octets {
			if r, err := ParseResponse(octets[:n]); err == nil && n != without {
				t.Errorf("%s: the first %d octets were read as %+v", s.Name, n, r)
			}
		}
	}
	if items < 6 {
		t.Errorf("only %d responses with an item", items)
	}
}

func TestEnvelopesOfTheTestSpecifications(t *testing.T) {
	selections, downloads := 0, 0
	for _, s := range readSequences(t).Envelopes {
		octets := unhex(t, s.Octets)
		want := Envelope{Item: s.Item}
		if s.TPDU != "" {
			want.TPDU = unhex(t, s.TPDU)
			downloads++
		}
		if got, err := ParseEnvelope(octets); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as %+v %v, want %+v", s.Name, got, err, want)
		}
		if s.Exact {
			selections++
			if again := MenuSelection(nil, s.Item); !bytes.Equal(again, octets) {
				t.Errorf("%s: written %x, want %s", s.Name, again, s.Octets)
			}
		}
		for n := range octets {
			if e, err := ParseEnvelope(octets[:n]); err == nil {
				t.Errorf("%s: the first %d octets were read as %+v", s.Name, n, e)
			}
		}
	}
	if selections < 7 || downloads < 3 {
		t.Errorf("%d menu selections are compared octet for octet, %d downloads read", selections, downloads)
	}
}

// A terminal's own tags may come without bit 8 (TS 101 220 §7.1.1): the commands
// and responses of the specifications mean the same with every bit turned.
func TestComprehensionIsNotLookedAt(t *testing.T) {
	turned := func(list []byte) []byte {
		b := bytes.Clone(list)
		for i := 0; i < len(b); {
			b[i] ^= 0x80
			n := int(b[i+1])
			if i += 2; n == 0x81 {
				n = int(b[i])
				i++
			}
			i += n
		}
		return b
	}
	for _, s := range readSequences(t).Commands {
		octets := unhex(t, s.Octets)
		head := 2
		if octets[1] == 0x81 {
			head = 3
		}
		want, _ := ParseCommand(octets)
		got, err := ParseCommand(append(bytes.Clone(octets[:head]), turned(octets[head:])...))
		if err != nil || !same(got, want) {
			t.Errorf("%s: read as %+v %v, want %+v", s.Name, got, err, want)
		}
	}
	for _, s := range readSequences(t).Responses {
		octets := unhex(t, s.Octets)
		want, _ := ParseResponse(octets)
		if got, err := ParseResponse(turned(octets)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: read as %+v %v, want %+v", s.Name, got, err, want)
		}
	}
}

func FuzzSequences(f *testing.F) {
	all := readSequences(f)
	for _, s := range all.Commands {
		f.Add(unhex(f, s.Octets))
	}
	for _, s := range all.Refused {
		f.Add(unhex(f, s.Octets))
	}
	for _, s := range all.Responses {
		f.Add(unhex(f, s.Octets))
	}
	for _, s := range all.Envelopes {
		f.Add(unhex(f, s.Octets))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		if c, err := ParseCommand(octets); err == nil {
			// What is written means the same; what cannot be is of another kind or
			// too long.
			if again, err := c.Append(nil); err == nil {
				if back, err := ParseCommand(again); err != nil || !same(back, c) {
					t.Fatalf("%x: %+v, written %x, read as %+v %v", octets, c, again, back, err)
				}
			}
			for n := range octets {
				if _, err := ParseCommand(octets[:n]); err == nil {
					t.Fatalf("%x: the first %d octets were read", octets, n)
				}
			}
		}
		if r, err := ParseResponse(octets); err == nil {
			back, err := ParseResponse(r.Append(nil))
			if err != nil || back.Item != r.Item || back.Result != r.Result || back.Number != r.Number || back.Type != r.Type || (back.Text == nil) != (r.Text == nil) {
				t.Fatalf("%x: %+v, then %+v %v", octets, r, back, err)
			}
		}
		if e, err := ParseEnvelope(octets); err == nil && e.TPDU == nil {
			if back, err := ParseEnvelope(MenuSelection(nil, e.Item)); err != nil || back.Item != e.Item || e.Item == 0 {
				t.Fatalf("%x: %+v, then %+v %v", octets, e, back, err)
			}
		}
	})
}
