package toolkit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// exchange was recorded in an independent terminal's unit tests
// (testdata/toolkit.json).
type exchange struct {
	Name    string
	Command string
	OK      string `json:"terminal_response_ok"`
	Abort   string `json:"terminal_response_user_abort"`
}

func exchanges(t testing.TB) []exchange {
	t.Helper()
	raw, err := os.ReadFile("testdata/toolkit.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Proactive []exchange }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Proactive) == 0 {
		t.Fatal("testdata/toolkit.json is empty")
	}
	return file.Proactive
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExchangesOfAnotherTerminal(t *testing.T) {
	want := map[Type]Command{
		DisplayText: {Number: 1, Type: DisplayText, Qualifier: DisplayUserClears, Text: Text{4, []byte("Toolkit Test 1")}},
		GetInput:    {Number: 1, Type: GetInput, Text: Text{4, []byte("Enter 12345")}, MinInput: 5, MaxInput: 5},
	}
	for _, e := range exchanges(t) {
		c, err := ParseCommand(unhex(t, e.Command))
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if c.Qualifier == InputHidden {
			if string(c.Text.Octets) != "Password 1<SEND>2345678" || c.MinInput != 4 || c.MaxInput != 8 {
				t.Errorf("%s: read as %+v", e.Name, c)
			}
		} else if w := want[c.Type]; c.Number != w.Number || c.Qualifier != w.Qualifier || c.Text.Coding != w.Text.Coding ||
			!bytes.Equal(c.Text.Octets, w.Text.Octets) || c.MinInput != w.MinInput || c.MaxInput != w.MaxInput {
			t.Errorf("%s: read as %+v, want %+v", e.Name, c, w)
		}
		if again, err := c.Append(nil); err != nil || hex.EncodeToString(again) != e.Command {
			t.Errorf("%s: written again %x (%v), want %s", e.Name, again, err, e.Command)
		}
		responses := map[string]Result{e.OK: Done}
		if e.Abort != "" {
			responses[e.Abort] = SessionEnded
		}
		for text, result := range responses {
			r, err := ParseResponse(unhex(t, text))
			if err != nil || r.Result != result || r.Type != c.Type {
				t.Errorf("%s: response %s read as %+v, %v", e.Name, text, r, err)
			}
			own := c.Respond(result)
			own.Text = r.Text
			if again := own.Append(nil); hex.EncodeToString(again) != text {
				t.Errorf("%s: response written %x, want %s", e.Name, again, text)
			}
		}
	}
	r, err := ParseResponse(unhex(t, exchanges(t)[2].OK))
	if err != nil || r.Text == nil || string(r.Text.Octets) != "2345678" {
		t.Errorf("what was typed is %+v, %v", r, err)
	}
}

func TestSMSDownload(t *testing.T) {
	// TS 31.111 §7.1.1, with the optional address of a centre in it, and with
	// the tags' bit 8 clear.
	recorded := unhex(t, "d11402028381"+"06039199f4"+"0b09"+"440481111100000000")
	e, err := ParseEnvelope(recorded)
	if err != nil || hex.EncodeToString(e.TPDU) != "440481111100000000" {
		t.Errorf("read as %+v, %v", e, err)
	}
	long := bytes.Repeat([]byte{7}, 170)
	octets := SMSDownload(nil, long)
	if back, err := ParseEnvelope(octets); err != nil || !bytes.Equal(back.TPDU, long) {
		t.Errorf("%+v %v", back, err)
	}
	for n := range octets {
		if _, err := ParseEnvelope(octets[:n]); err == nil {
			t.Errorf("the first %d octets were read", n)
		}
	}
	if _, err := ParseEnvelope(unhex(t, "d10982028281"+"8b03010203")); err == nil {
		t.Error("a download from the terminal was taken")
	}
}

func TestPrefixesAreRefused(t *testing.T) {
	for _, e := range exchanges(t) {
		command := unhex(t, e.Command)
		for n := range command {
			if c, err := ParseCommand(command[:n]); err == nil {
				t.Errorf("%s: the first %d octets were read as %+v", e.Name, n, c)
			}
		}
	}
	for name, text := range map[string]string{
		"indefinite length":      "d080810301218082028102",
		"tag 00":                 "d00a8103012180820281020000",
		"min above max":          "d0108103012300820281828d010491020805",
		"details of two octets":  "d00881020121820281028d00",
		"a command with no text": "d009810301218082028102",
	} {
		if c, err := ParseCommand(unhex(t, text)); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		}
	}
}

func TestCommandTooLong(t *testing.T) {
	c := Command{Type: DisplayText, Text: Text{8, make([]byte, 240)}}
	if _, err := c.Append(nil); err != nil {
		t.Errorf("240 octets of text: %v", err)
	}
	c.Text.Octets = make([]byte, 241)
	if _, err := c.Append(nil); err == nil {
		t.Error("a command over 256 octets was written")
	}
	if _, err := (&Command{Type: 0x99}).Append(nil); err == nil {
		t.Error("an unknown command was written")
	}
}

func FuzzToolkit(f *testing.F) {
	for _, e := range exchanges(f) {
		f.Add(unhex(f, e.Command))
		f.Add(unhex(f, e.OK))
	}
	f.Add(SMSDownload(nil, []byte{1, 2, 3}))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if c, err := ParseCommand(octets); err == nil {
			if again, err := c.Append(nil); err == nil {
				if _, err := ParseCommand(again); err != nil {
					t.Fatalf("%x: %+v, written %x: %v", octets, c, again, err)
				}
			}
		}
		if r, err := ParseResponse(octets); err == nil {
			if _, err := ParseResponse(r.Append(nil)); err != nil {
				t.Fatalf("%x: %+v: %v", octets, r, err)
			}
		}
		_, _ = ParseEnvelope(octets)
	})
}
