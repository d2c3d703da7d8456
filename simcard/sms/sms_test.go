package sms

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
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

// The headers of TS 31.115 §4, as CARD.md's independent implementations and
// Wireshark's dissector read them.
func TestParseUserData(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want Part
	}{
		{"027000 aabb", Part{Total: 1, Sequence: 1, Kind: CommandPacket, Payload: []byte{0xaa, 0xbb}}},
		{"027100", Part{Total: 1, Sequence: 1, Kind: ResponsePacket, Payload: []byte{}}},
		{"07 0003 42 03 01 7000 aa", Part{Reference: 0x42, Total: 3, Sequence: 1, Kind: CommandPacket, Payload: []byte{0xaa}}},
		{"05 0003 42 03 02 aa", Part{Reference: 0x42, Total: 3, Sequence: 2, Payload: []byte{0xaa}}},
		{"06 0804 1234 ff ff aa", Part{Reference: 0x1234, Total: 255, Sequence: 255, Payload: []byte{0xaa}}},
		{"00 aa", Part{Total: 1, Sequence: 1, Payload: []byte{0xaa}}},
		// An unknown element is passed over; of two, the last counts.
		{"0f 2401 01 0003 01 02 01 0003 02 02 02", Part{Reference: 2, Total: 2, Sequence: 2, Payload: []byte{}}},
	} {
		ud := unhex(t, c.hex)
		if c.hex[:2] == "0f" {
			ud[0] = byte(len(ud) - 1)
		}
		got, err := ParseUserData(ud)
		if err != nil || got.Reference != c.want.Reference || got.Total != c.want.Total || got.Sequence != c.want.Sequence ||
			got.Kind != c.want.Kind || !bytes.Equal(got.Payload, c.want.Payload) {
			t.Errorf("%s: %+v %v, want %+v", c.hex, got, err, c.want)
		}
	}
}

func TestParseUserDataRefuses(t *testing.T) {
	for name, c := range map[string]string{
		"nothing":                 "",
		"UDHL past the end":       "05 0003 0102",
		"element past UDHL":       "03 0003 01 02 01",
		"element without length":  "01 00",
		"part 0":                  "05 0003 01 02 00",
		"part above total":        "05 0003 01 02 03",
		"total 0":                 "05 0003 01 00 00",
		"short concatenation":     "04 0002 01 02",
		"long concatenation":      "06 0004 01 02 01 00",
		"security header, data":   "03 7001 00",
		"16-bit reference, short": "05 0803 01 02 01",
		"over 140 octets":         "027000" + strings.Repeat("00", 138),
	} {
		if p, err := ParseUserData(unhex(t, c)); err == nil {
			t.Errorf("%s: accepted as %+v", name, p)
		}
	}
}

func TestSegmentsAsTS31115WritesThem(t *testing.T) {
	payload := make([]byte, 300)
	for i := range payload {
		payload[i] = byte(i)
	}
	single, err := Segment(CommandPacket, payload[:137], 9)
	if err != nil || len(single) != 1 || !bytes.Equal(single[0], append(unhex(t, "027000"), payload[:137]...)) {
		t.Fatalf("137 octets: %d messages, %v", len(single), err)
	}
	parts, err := Segment(CommandPacket, payload, 9)
	if err != nil || len(parts) != 3 {
		t.Fatalf("300 octets: %d messages, %v", len(parts), err)
	}
	for i, want := range [][]byte{
		append(unhex(t, "07 0003 09 03 01 7000"), payload[:132]...),
		append(unhex(t, "05 0003 09 03 02"), payload[132:266]...),
		append(unhex(t, "05 0003 09 03 03"), payload[266:]...),
	} {
		if !bytes.Equal(parts[i], want) {
			t.Errorf("part %d is %x, want %x", i+1, parts[i], want)
		}
	}
	if _, err := Segment(CommandPacket, make([]byte, 132+254*134+1), 9); err == nil {
		t.Error("256 messages were made")
	}
	if all, err := Segment(CommandPacket, make([]byte, 132+254*134), 9); err != nil || len(all) != MaxParts {
		t.Errorf("%d messages, %v, want %d", len(all), err, MaxParts)
	}
}

// Whatever the order, with parts doubled and messages of two senders between
// one another, every message comes out once and whole.
func TestReassembly(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Unix(0, 0)
	for round := range 200 {
		type arrival struct {
			from string
			ud   []byte
		}
		var arrivals []arrival
		want := map[string][]byte{}
		for _, from := range []string{"994500000001", "994500000002"} {
			payload := make([]byte, 138+random.IntN(1000))
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			want[from] = payload
			parts, err := Segment(ResponsePacket, payload, byte(round))
			if err != nil {
				t.Fatal(err)
			}
			for _, ud := range parts {
				arrivals = append(arrivals, arrival{from, ud})
			}
		}
		random.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
		r := Reassembler{Expiry: time.Minute, Most: 10}
		whole := map[string]int{}
		for i, a := range arrivals {
			p, err := ParseUserData(a.ud)
			if err != nil {
				t.Fatal(err)
			}
			for range 1 + i%2 { // every other part twice
				m, ok, err := r.Add(a.from, p, now)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					whole[a.from]++
					if m.Kind != ResponsePacket || !bytes.Equal(m.Payload, want[a.from]) {
						t.Fatalf("round %d: %s came out wrong", round, a.from)
					}
					break // its doubles are no news
				}
			}
		}
		if whole["994500000001"] != 1 || whole["994500000002"] != 1 {
			t.Fatalf("round %d: whole messages %v", round, whole)
		}
	}
}

func TestReassemblyIsBounded(t *testing.T) {
	r := Reassembler{Expiry: time.Minute, Most: 3}
	now := time.Unix(0, 0)
	for i := range 100 {
		p := Part{Reference: uint16(i), Total: 2, Sequence: 1}
		if _, ok, err := r.Add("a", p, now.Add(time.Duration(i)*time.Second)); ok || err != nil {
			t.Fatal(ok, err)
		}
		if len(r.kept) > 3 {
			t.Fatalf("%d messages kept", len(r.kept))
		}
	}
	if _, ok, _ := r.Add("a", Part{Reference: 99, Total: 2, Sequence: 2}, now.Add(3*time.Minute)); ok {
		t.Error("a message came together after its first part had expired")
	}
}

func TestJoinRefuses(t *testing.T) {
	one := Part{Total: 2, Sequence: 1}
	for name, parts := range map[string][]Part{
		"nothing":           nil,
		"a part missing":    {one},
		"a part twice":      {one, one},
		"another reference": {one, {Reference: 1, Total: 2, Sequence: 2}},
		"another total":     {one, {Total: 3, Sequence: 2}},
		"part out of range": {one, {Total: 2, Sequence: 3}},
	} {
		if _, err := Join(parts); err == nil {
			t.Errorf("%s: joined", name)
		}
	}
}

// Laid out octet by octet from TS 23.040 §9.2.2; address and validity period of
// the third are those of the widely published "hellohello" SMS-SUBMIT.
func TestTPDUs(t *testing.T) {
	deliver := unhex(t, "44 0b 91 9449000010f0 7f f6 62 11 12 32 04 00 61 05 027000 aabb")
	d, err := ParseDeliver(deliver)
	if err != nil {
		t.Fatal(err)
	}
	if d.Originator != (Address{International, "49940000010"}) || d.PID != PIDDataDownload || d.DCS != DCSClass2Binary || !d.UDHI ||
		!d.Timestamp.Equal(time.Date(2026, 11, 21, 23, 40, 0, 0, time.FixedZone("", 4*3600))) || !bytes.Equal(d.UserData, unhex(t, "027000aabb")) {
		t.Errorf("read as %+v", d)
	}
	again, err := d.Append(nil)
	if err != nil || !bytes.Equal(again, deliver) {
		t.Errorf("written again %x (%v), want %x", again, err, deliver)
	}
	submit := unhex(t, "41 07 04 81 7777 7f f6 04 027100 aa")
	s, err := ParseSubmit(submit)
	if err != nil {
		t.Fatal(err)
	}
	if s.Reference != 7 || s.Destination != (Address{0x81, "7777"}) || !s.UDHI || !bytes.Equal(s.UserData, unhex(t, "027100aa")) {
		t.Errorf("read as %+v", s)
	}
	if again, err := s.Append(nil); err != nil || !bytes.Equal(again, submit) {
		t.Errorf("written again %x (%v), want %x", again, err, submit)
	}
	if s, err := ParseSubmit(unhex(t, "11 00 0b 91 6407281553f8 00 04 aa 01 41")); err != nil || s.Destination.Digits != "46708251358" || string(s.UserData) != "A" {
		t.Errorf("with a validity period: %+v %v", s, err)
	}
	for n := range deliver {
		if d, err := ParseDeliver(deliver[:n]); err == nil {
			t.Errorf("the first %d octets were read as %+v", n, d)
		}
	}
	for n := range submit {
		if s, err := ParseSubmit(submit[:n]); err == nil {
			t.Errorf("the first %d octets were read as %+v", n, s)
		}
	}
}

func TestText(t *testing.T) {
	for text, alphabet := range map[string]Alphabet{
		"Toolkit Test 1":              GSM8,
		"Faktura @ 12 € [ok]":         GSM8,
		"Müqavilə № 12, ödəniş 5 AZN": UCS2,
		"Договор":                     UCS2,
	} {
		got, octets, err := EncodeText(text)
		if err != nil || got != alphabet {
			t.Errorf("%s: alphabet %02x, %v", text, got, err)
			continue
		}
		if back, err := DecodeText(got, octets); err != nil || back != text {
			t.Errorf("%q came back as %q, %v", text, back, err)
		}
	}
	if _, _, err := EncodeText("✓ 😀"); err == nil {
		t.Error("a character outside UCS-2 was coded")
	}
	// TS 23.038 §6.1.2.1: "hellohello" packed is e8 32 9b fd 46 97 d9 ec 37.
	if text, err := DecodeText(GSM7Packed, unhex(t, "e8329bfd4697d9ec37")); err != nil || text != "hellohello" {
		t.Errorf("packed: %q %v", text, err)
	}
	for _, bad := range [][]byte{{0}, {0xD8, 0x00}} {
		if text, err := DecodeText(UCS2, bad); err == nil {
			t.Errorf("%x was read as %q", bad, text)
		}
	}
	if _, err := DecodeText(0x0C, nil); err == nil {
		t.Error("an unknown alphabet was read")
	}
}

func FuzzUserData(f *testing.F) {
	for _, seed := range []string{"027000aabb", "0700034203017000aa", "05000342030 2aa", "060804 1234ffffaa", "00"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, ud []byte) {
		p, err := ParseUserData(ud)
		if err != nil {
			return
		}
		if p.Sequence == 0 || p.Sequence > p.Total || len(p.Payload) > len(ud) {
			t.Fatalf("%x: %+v", ud, p)
		}
		r := Reassembler{Expiry: time.Minute, Most: 1}
		if _, _, err := r.Add("a", p, time.Unix(0, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzTPDU(f *testing.F) {
	f.Add(unhex(f, "440b919449000010f07ff6621112320400 6105027000aabb"))
	f.Add(unhex(f, "410704817777 7ff604027100aa"))
	f.Fuzz(func(t *testing.T, tpdu []byte) {
		if d, err := ParseDeliver(tpdu); err == nil {
			again, err := d.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseDeliver(again); err != nil || !bytes.Equal(back.UserData, d.UserData) || back.Originator != d.Originator {
				t.Fatalf("%x: %+v, then %+v %v", tpdu, d, back, err)
			}
		}
		if s, err := ParseSubmit(tpdu); err == nil {
			again, err := s.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := ParseSubmit(again); err != nil || !bytes.Equal(back.UserData, s.UserData) || back.Destination != s.Destination {
				t.Fatalf("%x: %+v, then %+v %v", tpdu, s, back, err)
			}
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add(byte(GSM7Packed), unhex(f, "e8329bfd4697d9ec37"))
	f.Add(byte(UCS2), []byte{2, 0x59})
	f.Add(byte(GSM8), []byte{0x1b})
	f.Fuzz(func(t *testing.T, alphabet byte, octets []byte) {
		_, _ = DecodeText(Alphabet(alphabet), octets)
	})
}
