package emulator

import (
	"bytes"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/ota"
	"imza/simcard/toolkit"
)

// Commands that are wrong, for hostile_apdu_test.go to give.

// wrongAPDU is a command and what it is answered.
type wrongAPDU struct {
	apdu []byte
	want simcard.SW
}

// classes are the instructions and their class (TS 102 221 table 10.5).
var classes = map[byte]byte{
	simcard.SelectFile: 0, simcard.ReadBinary: 0, simcard.ReadRecord: 0, simcard.UpdateBinary: 0, simcard.GetResponse: 0,
	simcard.Verify: 0, simcard.ChangePIN: 0, simcard.DisablePIN: 0, simcard.EnablePIN: 0, simcard.UnblockPIN: 0,
	simcard.GenerateKeyPair: 0, simcard.ManageChannel: 0,
	simcard.Status: 0x80, simcard.TerminalProfile: 0x80, simcard.Envelope: 0x80, simcard.Fetch: 0x80, simcard.TerminalResponse: 0x80,
}

// wrongClasses are all other classes and instructions (table 10.3: bits 1 and 2
// are the channel, 3 and 4 secure messaging).
func wrongClasses(every int) (all []wrongAPDU) {
	for n := 0; n < 1<<16; n += every {
		class, ins := byte(n>>8), byte(n)
		its, known := classes[ins]
		want := simcard.SWUnknownINS
		switch {
		case known && its == class:
			continue
		case class&0x70 != 0:
			want = simcard.SWUnknownCLA
		case class&0x0C != 0:
			want = simcard.SWSecureMessaging
		case class&0x03 != 0:
			want = simcard.SWChannel
		case known:
			want = simcard.SWUnknownCLA
		}
		all = append(all, wrongAPDU{[]byte{class, ins, 0, 0}, want}, wrongAPDU{[]byte{class, ins, 0, 0x82, 2, 0x3F, 0}, want})
	}
	return all
}

// wrongLengths are of APDUs that are cut off, too long, or extended (ISO 7816-4
// §5.1), which this card does not have.
func wrongLengths() (all []wrongAPDU) {
	add := func(apdu ...byte) { all = append(all, wrongAPDU{apdu, simcard.SWWrongLength}) }
	add()
	for class := range 256 {
		add(byte(class))
		add(byte(class), simcard.Fetch)
		add(byte(class), simcard.Verify, 0)
	}
	for ins, class := range classes {
		head := []byte{class, ins, 0, 0}
		of := func(rest ...byte) { add(append(head[:4:4], rest...)...) }
		of(2, 0x3F)                // Lc 2 and one octet
		of(255, 1, 2, 3)           // Lc 255 and three
		of(1, 1, 2, 3)             // Lc 1, data, Le, and one more
		of(0, 0)                   // Lc 0
		of(0, 0x3F, 0)             // extended Le, or Lc 0
		of(0, 0, 2, 0x3F, 0)       // extended Lc 2
		of(0, 0, 2, 0x3F, 0, 0, 0) // and Le
		of(0, 1, 0)                // extended Le of 256
		of(append([]byte{0, 0, 8}, padded(testPIN2)...)...)
		of(append([]byte{0, 1, 0}, make([]byte, 256)...)...)
		of(append([]byte{0, 0xFF, 0xFF}, make([]byte, 0xFFFF)...)...)
		of(append([]byte{0, 0xFF, 0xFF}, make([]byte, 0xFFFF+2)...)...)
		of(bytes.Repeat([]byte{0xFF}, 1<<16)...)
		of(append([]byte{254}, make([]byte, 256)...)...)
	}
	all = append(all, wrongAPDU{[]byte{0x80, simcard.TerminalProfile, 0, 0}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.ChangePIN, 0, p2PIN2}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.Verify, 0, p2PIN2, 7, '8', '6', '4', '2', '0', 0xFF, 0xFF}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.Verify, 0, p2PIN2, 7, '8', '6', '4', '2', '0', 0xFF, 0xFF, 0xFF}, simcard.SWWrongLength}, // the last is Le
		wrongAPDU{append([]byte{0, simcard.UnblockPIN, 0, p2PIN2, 15}, pair(testPUK, testPIN2)[:15]...), simcard.SWWrongLength},
		wrongAPDU{append([]byte{0, simcard.DisablePIN, 0, 1, 16}, pair("0000", "0000")...), simcard.SWWrongLength},
		wrongAPDU{[]byte{0x80, simcard.Fetch, 0, 0, 1, 0}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.ReadBinary, 0, 0, 1, 0}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.ReadRecord, 1, 4, 1, 0}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0x80, simcard.Status, 0, 0, 1, 0}, simcard.SWWrongLength},
		wrongAPDU{[]byte{0, simcard.GetResponse, 0, 0, 1, 0}, simcard.SWWrongLength})
	return all
}

// shape is a command by P1 and P2, and what it is answered with the signing
// applet selected and no EF; 0 says that it may be meant.
type shape struct {
	rest []byte // behind P1 and P2
	want func(p1, p2 byte) simcard.SW
}

func zeroOnly(p1, p2 byte) simcard.SW {
	if p1|p2 != 0 {
		return simcard.SWWrongP1P2
	}
	return 0
}

// reference is what P1 and P2 of commands about PINs are answered if they name
// none of some.
func reference(known ...byte) func(p1, p2 byte) simcard.SW {
	return func(p1, p2 byte) simcard.SW {
		if p1 != 0 || !slices.Contains(known, p2) {
			return simcard.SWReferencedData
		}
		return 0
	}
}

// shortIDs is what a command by short identifier is answered: of the applet 1, 2
// and 6 are there.
func shortIDs(id byte) simcard.SW {
	if id == 1 || id == 2 || id == 6 {
		return 0
	}
	return simcard.SWFileNotFound
}

var shapes = map[byte]shape{
	simcard.TerminalProfile:  {[]byte{1, 0xFF}, zeroOnly},
	simcard.Envelope:         {[]byte{2, 0xD1, 0}, zeroOnly},
	simcard.Fetch:            {[]byte{0}, zeroOnly},
	simcard.TerminalResponse: {[]byte{12, 0x81, 3, 1, 0x21, 0, 0x82, 2, 0x82, 0x81, 0x83, 1, 0}, zeroOnly},
	simcard.GenerateKeyPair:  {[]byte{8, 0xB6, 6, 0x84, 1, 9, 0x80, 1, 1}, zeroOnly},
	simcard.GetResponse: {[]byte{1}, func(p1, p2 byte) simcard.SW {
		if p1|p2 != 0 {
			return simcard.SWWrongP1P2
		}
		return simcard.SWConditions
	}},
	simcard.ManageChannel: {nil, func(p1, p2 byte) simcard.SW { return simcard.SWChannel }},
	simcard.Verify:        {nil, reference(simcard.PINTelephone, simcard.PIN1, simcard.PIN2, simcard.ADM)},
	simcard.ChangePIN:     {append([]byte{16}, pair("11111", "22222")...), reference(simcard.PINTelephone, simcard.PIN1, simcard.PIN2)},
	simcard.UnblockPIN:    {append([]byte{16}, pair("11111111", "22222")...), reference(simcard.PINTelephone, simcard.PIN1, simcard.PIN2)},
	simcard.DisablePIN:    {append([]byte{8}, padded("11111")...), optional},
	simcard.EnablePIN:     {append([]byte{8}, padded("11111")...), optional},
	simcard.SelectFile: {[]byte{2, 0xFF, 0xFE}, func(p1, p2 byte) simcard.SW {
		returns := p2 &^ 0x02 // without "next"; last, previous and the end of a session are not done (table 11.2)
		switch {
		case returns != 0x04 && returns != 0x0C && p2 != 0:
			return simcard.SWWrongP1P2
		case p1 == 0x03 || p1 == 0x04: // the parent takes no data, and an AID has five octets
			return simcard.SWWrongLength
		case p1 == 0x00 || p1 == 0x08 || p1 == 0x09:
			return simcard.SWFileNotFound
		}
		return simcard.SWWrongP1P2
	}},
	simcard.ReadBinary: {[]byte{1}, func(p1, p2 byte) simcard.SW {
		switch {
		case p1 < 0x80:
			return simcard.SWNoEF
		case p1&0x60 != 0:
			return simcard.SWWrongP1P2
		}
		return shortIDs(p1 & 0x1F)
	}},
	simcard.UpdateBinary: {[]byte{1, 0x30}, func(p1, p2 byte) simcard.SW {
		if p1 < 0x80 {
			return simcard.SWNoEF
		}
		return simcard.SWFileNotFound // none of those can be written
	}},
	simcard.ReadRecord: {[]byte{1}, func(p1, p2 byte) simcard.SW {
		switch p2 >> 3 {
		case 0x1F:
			return simcard.SWWrongP1P2
		case 0:
			return simcard.SWNoEF
		}
		return shortIDs(p2 >> 3)
	}},
	simcard.Status: {[]byte{1}, func(p1, p2 byte) simcard.SW {
		if p1 > 2 || p2 != 0 && p2 != 1 && p2 != 0x0C {
			return simcard.SWWrongP1P2
		}
		return 0
	}},
}

// optional is what DISABLE and ENABLE are answered: only the telephone's PIN can
// be.
func optional(p1, p2 byte) simcard.SW {
	switch {
	case reference(simcard.PINTelephone, simcard.PIN1, simcard.PIN2, simcard.ADM)(p1, p2) != 0:
		return simcard.SWReferencedData
	case p2 == simcard.PINTelephone:
		return 0
	}
	return simcard.SWFunction
}

// wrongParameters are P1 and P2 of an instruction, every so many of each.
func wrongParameters(ins byte, every int) (all []wrongAPDU) {
	s := shapes[ins]
	for p1 := 0; p1 < 256; p1 += every {
		for p2 := 0; p2 < 256; p2 += every {
			if want := s.want(byte(p1), byte(p2)); want != 0 {
				all = append(all, wrongAPDU{append([]byte{classes[ins], ins, byte(p1), byte(p2)}, s.rest...), want})
			}
		}
	}
	return all
}

// outOfTime are commands of the toolkit that are wrong at a point.
func (p point) outOfTime(t testing.TB, c *card) (all []wrongAPDU) {
	t.Helper()
	add := func(ins byte, want simcard.SW, data []byte) {
		all = append(all, wrongAPDU{simcard.Command{CLA: 0x80, INS: ins, Data: data}.Append(nil), want})
	}
	// Envelopes cut off at every octet, and one that nobody can take before the
	// terminal has spoken.
	forged := crafted{level: ota.Signing, counter: c.counter + 100, pcntr: 4, data: challengeData(t, 4), checksum: make([]byte, 8)}
	download := toolkit.SMSDownload(nil, deliver(t, segment(t, forged.packet(t))[0]))
	selection := toolkit.MenuSelection(nil, itemChangePIN1)
	cutOff := simcard.SWWrongData
	if !p.told {
		cutOff = simcard.SWConditions
		add(simcard.Envelope, cutOff, download)
		add(simcard.Envelope, cutOff, selection)
	}
	for _, envelope := range [][]byte{download, selection} {
		for n := range len(envelope) {
			add(simcard.Envelope, cutOff, envelope[:n])
		}
		for at := range 2 { // another tag, another length
			for delta := 1; delta < 256; delta++ {
				other := bytes.Clone(envelope)
				if other[at] ^= byte(delta); at > 0 || other[0] != 0xD1 && other[0] != 0xD3 {
					add(simcard.Envelope, cutOff, other)
				}
			}
		}
	}
	if p.told && (p.open != nil || p.waits > 0) { // the menu has its turn later
		add(simcard.Envelope, simcard.SWToolkitBusy, selection)
	}
	// FETCH of what is not there, or of another length.
	for le := 1; le <= 256; le++ {
		switch apdu := (simcard.Command{CLA: 0x80, INS: simcard.Fetch, Le: le}).Append(nil); {
		case p.waits == 0:
			all = append(all, wrongAPDU{apdu, simcard.SWConditions})
		case le != p.waits:
			all = append(all, wrongAPDU{apdu, simcard.SWLength(p.waits)})
		}
	}
	return append(all, p.responses()...)
}

// responses are TERMINAL RESPONSEs that are not the one that is due.
func (p point) responses() (all []wrongAPDU) {
	want := simcard.SWConditions
	if p.open != nil {
		want = simcard.SWWrongData
	}
	add := func(data []byte) {
		all = append(all, wrongAPDU{simcard.Command{CLA: 0x80, INS: simcard.TerminalResponse, Data: data}.Append(nil), want})
	}
	for number := range 256 {
		for _, kind := range []toolkit.Type{toolkit.DisplayText, toolkit.GetInput, toolkit.SelectItem, toolkit.SendShortMessage, toolkit.SetUpMenu, 0} {
			if p.open == nil || byte(number) != p.open.Number || kind != p.open.Type {
				r := typed(toolkit.Command{Number: byte(number), Type: kind}, testPIN2)
				add(r.Append(nil))
			}
		}
	}
	due := toolkit.Command{Number: 1, Type: toolkit.GetInput}
	if p.open != nil {
		due = *p.open
	}
	r := typed(due, testPIN2)
	whole, bare := r.Append(nil), len(r.Append(nil))-2-1-len(testPIN2)
	for n := range whole {
		if n != bare { // details, devices and result are a response, of who typed nothing
			add(whole[:n])
		}
	}
	return all
}
