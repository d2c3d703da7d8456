package emulator

import (
	"bytes"
	"fmt"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// TPDUs that are none, cut off at every octet, inside an envelope that is one.
func TestBrokenTPDUsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	tpdu := deliver(t, append([]byte{2, 0x70, 0}, sealed(t, applet.TAR, ota.Signing, testKeys, c.counter+100)...))
	for n := range tpdu {
		quiet(t, c, tpdu[:n], fmt.Sprintf("the first %d octets of a TPDU", n))
	}
	submit := sms.Submit{Destination: asker, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, UDHI: true, UserData: []byte{2, 0x70, 0, 0, 0}}
	if raw, err := submit.Append(nil); err != nil {
		t.Fatal(err)
	} else {
		quiet(t, c, raw, "an SMS-SUBMIT")
	}
	for first := range 256 { // every first octet of a TPDU: other types, no UDHI
		other := bytes.Clone(tpdu)
		if other[0] = byte(first); first&0x43 == 0x40 {
			continue // SMS-DELIVER with UDHI, whatever else it says, is one
		}
		quiet(t, c, other, fmt.Sprintf("first octet %02x", first))
	}
	if c.saves != 0 {
		t.Error("something was stored")
	}
	x := &terminal{TB: t, card: c}
	x.envelope(tpdu)
	x.want(toolkit.DisplayText)
}

func TestUnfinishedSegmentsDoNotFillTheCard(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for reference := range 256 {
		for total := 2; total < 256; total += 23 {
			ud := append([]byte{7, 0, 3, byte(reference), byte(total), 1, 0x70, 0}, make([]byte, 132)...)
			quiet(t, c, deliver(t, ud), "a first part")
		}
	}
	if c.saves != 0 {
		t.Error("something was stored")
	}
	// A challenge in several messages still gets through, its parts doubled by
	// somebody who guesses its reference, with other payload.
	asked := long()
	parts := c.segments(t, asked)
	forged := bytes.Clone(parts[1])
	forged[len(forged)-1] ^= 1
	x.bring([][]byte{parts[0], forged, parts[1], parts[2]})
	x.respond(typed(x.confirm(), testPIN2))
	if a := x.answer(c); a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Errorf("%s", a.Result)
	}
	// What has waited longest is forgotten, even a good challenge.
	forgotten := c.segments(t, long())
	x.bring(forgotten[:2])
	for reference := range 4 {
		quiet(t, c, deliver(t, []byte{7, 0, 3, byte(reference), 2, 1, 0x70, 0, 1}), "a first part")
	}
	quiet(t, c, deliver(t, forgotten[2]), "the rest of a challenge whose beginning is forgotten")
}

// APDUs that are none of this card's, and such as are cut off.
func TestOtherAPDUs(t *testing.T) {
	c := newCard(t, nil)
	// INS and its class, as TS 102 221 table 10.5 and TS 102 223 have them.
	known := map[byte]byte{0xA4: 0, 0xB0: 0, 0xB2: 0, 0xD6: 0, 0xC0: 0, 0x20: 0, 0x24: 0, 0x26: 0, 0x28: 0, 0x2C: 0, 0x47: 0, 0x70: 0,
		0xF2: 0x80, 0x10: 0x80, 0xC2: 0x80, 0x12: 0x80, 0x14: 0x80}
	for cla := range 256 {
		for ins := range 256 {
			class, here := known[byte(ins)]
			if here && int(class) == cla {
				continue
			}
			var want []byte
			switch { // table 10.3: bits 1 and 2 are the channel, 3 and 4 secure messaging
			case cla&0x70 != 0:
				want = []byte{0x6E, 0x00}
			case cla&0x0C != 0:
				want = []byte{0x68, 0x82}
			case cla&0x03 != 0:
				want = []byte{0x68, 0x81}
			case here:
				want = []byte{0x6E, 0x00}
			default:
				want = []byte{0x6D, 0x00}
			}
			for _, rest := range [][]byte{{0, 0}, {0, 0, 0}, {0, p2PIN2, 8, '8', '6', '4', '2', '0', 0xFF, 0xFF, 0xFF}} {
				if answer, err := c.Transmit(append([]byte{byte(cla), byte(ins)}, rest...)); err != nil || !bytes.Equal(answer, want) {
					t.Fatalf("%02X %02X: %x %v, want %x", cla, ins, answer, err, want)
				}
			}
		}
	}
	for _, apdu := range [][]byte{nil, {}, {0x80}, {0x80, 0x12}, {0x80, 0x12, 0}, {0x80, 0xC2, 0, 0, 5, 0xD1}, {0x80, 0xC2, 0, 0, 1, 0xD1, 0, 0},
		{0x00, 0x20, 0, p2PIN2, 0, 0}, bytes.Repeat([]byte{0x80}, 300)} {
		if answer, err := c.Transmit(apdu); err != nil || !bytes.Equal(answer, []byte{0x67, 0x00}) && !bytes.Equal(answer, []byte{0x6D, 0x00}) {
			t.Errorf("%x: %x %v", apdu, answer, err)
		}
	}
	if c.saves != 0 {
		t.Error("something was stored")
	}
	sameTries(t, c.profile, 3, 3, 10)
	(&terminal{TB: t, card: c}).signs(c)
}

// An ENVELOPE whose TLVs are no SMS-PP download is wrong data: that is between
// terminal and card, and tells nothing of a packet.
func TestOtherEnvelopesAreWrongData(t *testing.T) {
	c := newCard(t, nil)
	whole := toolkit.SMSDownload(nil, deliver(t, append([]byte{2, 0x70, 0}, sealed(t, applet.TAR, ota.Signing, testKeys, c.counter+100)...)))
	x := &terminal{TB: t, card: c}
	envelopes := [][]byte{
		{0xD6, 0x00}, // event download
		{0xD3, 0x07, 0x82, 0x02, 0x01, 0x81, 0x90, 0x01, 0x05}, // an item that is not in the menu
		{0xD3, 0x07, 0x82, 0x02, 0x01, 0x81, 0x90, 0x01, 0x00},
		{0xD3, 0x07, 0x82, 0x02, 0x83, 0x81, 0x90, 0x01, 0x01}, // from the network
		{0xD3, 0x04, 0x82, 0x02, 0x01, 0x81},                   // no item
		{0xD1, 0x00},
		{0xD1, 0x80},
		{0xD1, 0x04, 0x82, 0x02, 0x83, 0x81},                   // no TPDU
		{0xD1, 0x06, 0x82, 0x02, 0x82, 0x81, 0x8B, 0x00},       // from the terminal
		{0xD1, 0x07, 0x82, 0x03, 0x83, 0x81, 0x00, 0x8B, 0x00}, // devices of three octets
		{0xD1, 0x02, 0x00, 0x00},                               // tag 00
		{0xD1, 0x04, 0x8B, 0x82, 0xFF, 0xFF},                   // a length past the end
		append(bytes.Clone(whole), 0),
	}
	for n := 1; n < len(whole); n++ {
		envelopes = append(envelopes, whole[:n])
	}
	for _, data := range envelopes {
		if r := x.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: data}); r.SW != simcard.SWWrongData {
			t.Errorf("%x: %s", data, r.SW)
		}
	}
	x.idle()
	if c.saves != 0 {
		t.Error("something was stored")
	}
	x.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: whole})
	x.want(toolkit.DisplayText)
}
