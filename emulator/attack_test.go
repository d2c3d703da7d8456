package emulator

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// sealed is a packet with a good challenge in it under any claims. Where the
// ota package writes no such packet (a digital signature, DES with one key),
// it is the agreed one with the claims put over it.
func sealed(t testing.TB, tar ota.TAR, security ota.Security, keys ota.Keys, counter uint64) []byte {
	t.Helper()
	asked := challenge()
	data, err := asked.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if packet, err := ota.SealCommand(tar, security, keys, counter, data); err == nil {
		return packet
	}
	packet, err := ota.SealCommand(tar, ota.Signing, testKeys, counter, data)
	if err != nil {
		t.Fatal(err)
	}
	copy(packet[3:], []byte{security.SPI[0], security.SPI[1], security.KIc, security.KID})
	return packet
}

// silent fails the test unless the card answers a packet as it answers any
// that is none of its business: 9000 and nothing else, nothing proposed,
// nothing stored.
func silent(t testing.TB, c *card, packet []byte, what string) {
	t.Helper()
	before, err := json.Marshal(c.profile)
	if err != nil {
		t.Fatal(err)
	}
	saves := c.saves
	for _, ud := range segment(t, packet) {
		quiet(t, c, deliver(t, ud), what)
	}
	if c.saves != saves {
		t.Errorf("%s: the card stored something", what)
	}
	if after, err := json.Marshal(c.profile); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%s: the card remembers something", what)
	}
}

// refuses fails the test unless the card answers a packet with a status and
// nothing else.
func refuses(t testing.TB, c *card, packet []byte, counter uint64, want ota.Status) {
	t.Helper()
	last := c.profile.Counter
	x := &terminal{TB: t, card: c}
	x.bring(segment(t, packet))
	m, whole := x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
	if !whole {
		t.Fatal("a refusal takes more than one message")
	}
	r, err := c.channel.OpenResponse(m.Payload)
	if err != nil || r.Status != want || r.Counter != counter || len(r.Data) != 0 {
		t.Errorf("refused with %+v, %v; want status %02x", r, err, byte(want))
	}
	x.idle()
	if c.profile.Counter != last {
		t.Error("the refused packet's counter counts")
	}
}

// quiet is silent for one TPDU, as far as the answer tells.
func quiet(t testing.TB, c *card, tpdu []byte, what string) {
	t.Helper()
	answer, err := c.Transmit(simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, tpdu)}.Append(nil))
	if err != nil || !bytes.Equal(answer, []byte{0x90, 0x00}) {
		t.Errorf("%s: ENVELOPE is answered %x, %v", what, answer, err)
	}
	answer, err = c.Transmit([]byte{0x80, 0x12, 0, 0, 0})
	if err != nil || !bytes.Equal(answer, []byte{0x69, 0x85}) {
		t.Errorf("%s: FETCH is answered %x, %v", what, answer, err)
	}
}

var otherKeys = ota.Keys{KIc: bytes.Repeat([]byte{0x2C}, 16), KID: bytes.Repeat([]byte{0x2D}, 16)}

// Simjacker, WIB: applets that were reachable below the level they should have
// had. Every level but the agreed one is met with silence, whoever writes it.
func TestOtherSecurityLevelsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.signs(c)
	next := c.counter + 100
	for spi1 := range 0x20 {
		for _, spi2 := range []byte{0x39, 0x00, 0x01, 0x21, 0x29, 0x3B} {
			for _, kid := range []byte{0x12, 0x11, 0x15} { // also those of redundancy checks
				for name, keys := range map[string]ota.Keys{"the card's keys": testKeys, "other keys": otherKeys, "keys of zeros": {KIc: make([]byte, 16), KID: make([]byte, 16)}} {
					security := ota.Security{SPI: ota.SPI{byte(spi1), spi2}, KIc: 0x12, KID: kid}
					if name == "the card's keys" && spi1&0x07 == 0x06 && kid == 0x12 {
						// Ciphered and checksummed as agreed by who holds the keys.
						if security != ota.Signing {
							c.refusals = 0 // there is a test of how many there may be
							refuses(t, c, sealed(t, applet.TAR, security, keys, next), next, ota.StatusInsufficientSecurity)
						}
						continue
					}
					silent(t, c, sealed(t, applet.TAR, security, keys, next), fmt.Sprintf("level %s with %s", security, name))
				}
			}
		}
	}
	x.signs(c)
}

// Weaker algorithms and other key sets: the octets are compared with what was
// agreed, never believed.
func TestOtherAlgorithmsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	next := c.counter + 100
	for octet := range 256 {
		for _, security := range []ota.Security{
			{SPI: ota.Signing.SPI, KIc: byte(octet), KID: ota.Signing.KID},
			{SPI: ota.Signing.SPI, KIc: ota.Signing.KIc, KID: byte(octet)},
			{SPI: ota.Signing.SPI, KIc: byte(octet), KID: byte(octet)},
		} {
			if security == ota.Signing {
				continue
			}
			// With the card's own keys, which fit AES and two-key 3DES, and with
			// those of an attacker who hopes that the claim chooses the key.
			for _, keys := range []ota.Keys{testKeys, otherKeys} {
				silent(t, c, sealed(t, applet.TAR, security, keys, next), fmt.Sprintf("level %s", security))
			}
		}
	}
	(&terminal{TB: t, card: c}).signs(c)
}

func TestOtherTARsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	next := c.counter + 100
	for octet := range 256 {
		for i := range 3 {
			tar := ota.TAR(applet.TAR)
			if tar[i] = byte(octet); tar == applet.TAR {
				continue
			}
			silent(t, c, sealed(t, tar, ota.Signing, testKeys, next), "TAR "+tar.String())
			silent(t, c, sealed(t, tar, ota.Security{}, testKeys, next), "TAR "+tar.String()+" without security")
		}
	}
	for range 1000 {
		var tar ota.TAR
		if rand.Read(tar[:]); tar == applet.TAR {
			continue
		}
		silent(t, c, sealed(t, tar, ota.Security{}, testKeys, next), "TAR "+tar.String()+" without security")
	}
	(&terminal{TB: t, card: c}).signs(c)
}

func TestForgedPacketsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	packet := sealed(t, applet.TAR, ota.Signing, testKeys, c.counter+100)
	for bit := range 8 * len(packet) {
		forged := bytes.Clone(packet)
		forged[bit/8] ^= 0x80 >> (bit % 8)
		silent(t, c, forged, fmt.Sprintf("bit %d flipped", bit))
	}
	for n := range packet {
		silent(t, c, packet[:n], fmt.Sprintf("the first %d octets", n))
	}
	silent(t, c, append(bytes.Clone(packet), 0), "an octet more")
	// Lengths that are right for what is left, so that the checksum is reached.
	for n := 16; n < len(packet); n++ {
		cutOff := bytes.Clone(packet[:n])
		cutOff[0], cutOff[1] = byte((n-2)>>8), byte(n-2)
		silent(t, c, cutOff, fmt.Sprintf("%d octets of it, CPL put right", n))
	}
	for chl := range 256 {
		if other := bytes.Clone(packet); byte(chl) != packet[2] {
			other[2] = byte(chl)
			silent(t, c, other, fmt.Sprintf("CHL %d", chl))
		}
	}
	for name, keys := range map[string]ota.Keys{
		"another card's":                  otherKeys,
		"KIc and KID the other way round": {KIc: testKeys.KID, KID: testKeys.KIc},
		"the right KIc alone":             {KIc: testKeys.KIc, KID: otherKeys.KID},
		"the right KID alone":             {KIc: otherKeys.KIc, KID: testKeys.KID},
	} {
		silent(t, c, sealed(t, applet.TAR, ota.Signing, keys, c.counter+100), name)
	}
	// The packet was good all the while.
	x := &terminal{TB: t, card: c}
	x.bring(segment(t, packet))
	x.want(toolkit.DisplayText)
}

// A packet that comes again, or out of its time, is of who held the keys: it is
// refused with a status, and nothing is shown (TS 102 225 §5.2).
func TestReplayedAndOldPacketsAreRefused(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	asked := challenge()
	first := c.segments(t, asked)
	x.sign(first, testPIN2)
	if a := x.answer(c); a.Result != applet.Signed {
		t.Fatalf("%s", a.Result)
	}
	saves, last := c.saves, c.counter
	for _, counter := range []uint64{0, 1, last - 1, last, last, last} {
		refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, counter), counter, ota.StatusCounterLow)
	}
	refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, ota.MaxCounter), ota.MaxCounter, ota.StatusCounterBlocked)
	if c.saves != saves {
		t.Error("a replay stored something")
	}
	// After the power was off, too.
	c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
	refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, last), last, ota.StatusCounterLow)
	x.card = c
	x.signs(c)
	// The counter's end: the last value but one is taken, then the card is
	// closed for good (TS 102 225 §5.1.3.2).
	c.counter = ota.MaxCounter - 2
	x.signs(c)
	for _, counter := range []uint64{0, 1, last + 1, ota.MaxCounter - 1} {
		refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, counter), counter, ota.StatusCounterLow)
	}
	refuses(t, c, sealed(t, applet.TAR, ota.Signing, testKeys, ota.MaxCounter), ota.MaxCounter, ota.StatusCounterBlocked)
}

// Nor does it send more than a few of them one after another, to whichever number,
// until a packet is accepted.
func TestReplaysAreAnsweredAFewTimes(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	for range 2 {
		x.signs(c)
		replay := segment(t, sealed(t, applet.TAR, ota.Signing, testKeys, c.counter))
		sent := 0
		for range 1000 {
			if x.bring(replay); x.sw != simcard.SWOK {
				x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
				sent++
			}
		}
		if sent != mostRefusals {
			t.Errorf("%d messages for 1000 replays", sent)
		}
		x.idle()
	}
}

// Whoever brings an old packet again and again does not make the card send one
// message after another: while one waits to leave, there is no second.
func TestReplaysDoNotPileUp(t *testing.T) {
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.signs(c)
	replay := segment(t, sealed(t, applet.TAR, ota.Signing, testKeys, c.counter))
	for range 100 {
		x.bring(replay)
	}
	x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
	x.idle()
	// Nor do they drive a challenge off the screen.
	x.bring(c.segments(t, challenge()))
	display := x.want(toolkit.DisplayText)
	x.bring(replay)
	x.respond(display.Respond(toolkit.Done))
	x.message(x.want(toolkit.SendShortMessage), new(sms.Reassembler))
	x.respond(typed(x.want(toolkit.GetInput), testPIN2))
	if a := x.answer(c); a.Result != applet.Signed {
		t.Errorf("%s", a.Result)
	}
}

// The card's own answer, sent back to it, is no command; nor is a command
// packet without the header that says so.
func TestReflectedAndUnmarkedPacketsAreNotAnswered(t *testing.T) {
	c := newCard(t, nil)
	answer, err := c.channel.SealResponse(ota.Response{Counter: c.counter + 100, Data: []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	silent(t, c, answer, "a response packet as a command")
	packet := sealed(t, applet.TAR, ota.Signing, testKeys, c.counter+100)
	for name, header := range map[string][]byte{
		"no header":                 {},
		"an empty header":           {0},
		"a response's header":       {2, 0x71, 0},
		"another toolkit's":         {2, 0x7F, 0},
		"a header with data":        {3, 0x70, 1, 0},
		"a port":                    {4, 0x04, 2, 0x0B, 0x84},
		"part 0 of 1":               {7, 0x00, 3, 1, 1, 0, 0x70, 0},
		"part 2 of 1":               {7, 0x00, 3, 1, 1, 2, 0x70, 0},
		"part 1 of 0":               {7, 0x00, 3, 1, 0, 1, 0x70, 0},
		"UDHL past the end":         {0xFF, 0x70, 0},
		"an element past the end":   {2, 0x70, 5},
		"an element without length": {1, 0x70},
	} {
		quiet(t, c, deliver(t, append(bytes.Clone(header), packet...)), name)
	}
	for name, d := range map[string]sms.Deliver{
		"no UDHI":                 {PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary},
		"a message for the phone": {PID: 0x00, DCS: sms.DCSClass2Binary, UDHI: true},
		"PID 7E":                  {PID: 0x7E, DCS: sms.DCSClass2Binary, UDHI: true},
	} {
		d.Originator, d.Timestamp, d.UserData = asker, signingTime, append([]byte{2, 0x70, 0}, packet...)
		tpdu, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		quiet(t, c, tpdu, name)
	}
	if c.saves != 0 {
		t.Error("something was stored")
	}
	x := &terminal{TB: t, card: c}
	x.bring(segment(t, packet))
	x.want(toolkit.DisplayText)
}

func TestSecretsAreNotInWhatTheCardSays(t *testing.T) {
	c := newCard(t, nil)
	said := &recorder{card: c}
	x := &terminal{TB: t, card: said}
	x.signs(c)
	x.do(simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded("00000")})
	x.do(simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair("00000000", "22222")})
	var all []byte
	for _, answer := range said.answers {
		all = append(all, answer...)
	}
	for name, secret := range map[string][]byte{
		"PIN1": []byte(testPIN1), "PIN2": []byte(testPIN2), "the PUK": []byte(testPUK), "KIc": testKeys.KIc, "KID": testKeys.KID,
	} {
		if bytes.Contains(all, secret) {
			t.Errorf("%s is in the card's answers", name)
		}
	}
	if len(said.answers) == 0 || !slices.ContainsFunc(said.answers, func(a []byte) bool { return len(a) > 100 }) {
		t.Error("nothing was recorded")
	}
}
