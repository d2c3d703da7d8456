package sms

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Values of a short message that goes to the card itself (TS 31.115 §4.1):
// PID "(U)SIM data download", DCS "8-bit data, class 2".
const (
	PIDDataDownload = 0x7F
	DCSClass2Binary = 0xF6
)

// Address is a TP-OA or TP-DA: decimal digits and the type-of-address octet
// (TS 23.040 §9.1.2.5), 0x91 for an international number.
type Address struct {
	Type   byte
	Digits string
}

// International is the type-of-address octet of an E.164 number.
const International = 0x91

// Deliver is an SMS-DELIVER TPDU, from the centre to a handset (TS 23.040
// §9.2.2.1):
//
//	octet 1  bits 1-0: 00; 40: UDHI; 04: no more messages
//	TP-OA    digits 1, type 1, semi-octets
//	TP-PID 1, TP-DCS 1, TP-SCTS 7, TP-UDL 1, TP-UD
type Deliver struct {
	Originator Address
	PID, DCS   byte
	Timestamp  time.Time // whole seconds, zone in quarters of an hour
	UDHI       bool
	UserData   []byte // 8-bit data
}

const (
	mtiDeliver    = 0x00
	mtiSubmit     = 0x01
	mtiMask       = 0x03
	deliverNoMore = 0x04
	bitUDHI       = 0x40
	bitSRR        = 0x20 // submit: status report asked for
	maskVPF       = 0x18 // submit: validity period format
	vpfRelative   = 0x10
)

// Append appends the TPDU to b.
func (d *Deliver) Append(b []byte) ([]byte, error) {
	first := byte(mtiDeliver | deliverNoMore)
	if d.UDHI {
		first |= bitUDHI
	}
	b, err := d.Originator.append(append(b, first))
	if err != nil {
		return nil, fmt.Errorf("sms: TP-OA: %w", err)
	}
	b = append(b, d.PID, d.DCS)
	b = appendTimestamp(b, d.Timestamp)
	return appendUserData(b, d.UserData)
}

// ParseDeliver reads an SMS-DELIVER with 8-bit user data.
func ParseDeliver(tpdu []byte) (d Deliver, err error) {
	s := cryptobyte.String(tpdu)
	var first uint8
	if !s.ReadUint8(&first) || first&mtiMask != mtiDeliver {
		return d, errors.New("sms: TP-MTI at octet 0 is not SMS-DELIVER")
	}
	d.UDHI = first&bitUDHI != 0
	if d.Originator, err = readAddress(&s); err != nil {
		return d, fmt.Errorf("sms: TP-OA at octet 1: %w", err)
	}
	var scts []byte
	if !s.ReadUint8(&d.PID) || !s.ReadUint8(&d.DCS) || !s.ReadBytes(&scts, 7) {
		return d, errors.New("sms: the TPDU ends before TP-UDL")
	}
	if d.Timestamp, err = parseTimestamp(scts); err != nil {
		return d, err
	}
	d.UserData, err = readUserData(s)
	return d, err
}

// Submit is an SMS-SUBMIT TPDU, from a handset to the centre (TS 23.040
// §9.2.2.2):
//
//	octet 1  bits 1-0: 01; 18: validity format; 40: UDHI
//	TP-MR 1, TP-DA, TP-PID 1, TP-DCS 1, TP-VP 0, 1 or 7, TP-UDL 1, TP-UD
type Submit struct {
	Reference   byte
	Destination Address
	PID, DCS    byte
	UDHI        bool
	UserData    []byte // 8-bit data
}

// Append appends the TPDU, without a validity period, to b.
func (m *Submit) Append(b []byte) ([]byte, error) {
	first := byte(mtiSubmit)
	if m.UDHI {
		first |= bitUDHI
	}
	b, err := m.Destination.append(append(b, first, m.Reference))
	if err != nil {
		return nil, fmt.Errorf("sms: TP-DA: %w", err)
	}
	return appendUserData(append(b, m.PID, m.DCS), m.UserData)
}

// ParseSubmit reads an SMS-SUBMIT with 8-bit user data; a validity period is
// passed over.
func ParseSubmit(tpdu []byte) (m Submit, err error) {
	s := cryptobyte.String(tpdu)
	var first uint8
	if !s.ReadUint8(&first) || first&mtiMask != mtiSubmit {
		return m, errors.New("sms: TP-MTI at octet 0 is not SMS-SUBMIT")
	}
	m.UDHI = first&bitUDHI != 0
	if !s.ReadUint8(&m.Reference) {
		return m, errors.New("sms: the TPDU ends before TP-MR")
	}
	if m.Destination, err = readAddress(&s); err != nil {
		return m, fmt.Errorf("sms: TP-DA at octet 2: %w", err)
	}
	validity := 7
	switch first & maskVPF {
	case 0:
		validity = 0
	case vpfRelative:
		validity = 1
	}
	if !s.ReadUint8(&m.PID) || !s.ReadUint8(&m.DCS) || !s.Skip(validity) {
		return m, errors.New("sms: the TPDU ends before TP-UDL")
	}
	m.UserData, err = readUserData(s)
	return m, err
}

func appendUserData(b, ud []byte) ([]byte, error) {
	if len(ud) > MaxUserData {
		return nil, fmt.Errorf("sms: TP-UD of %d octets, at most %d", len(ud), MaxUserData)
	}
	return append(append(b, byte(len(ud))), ud...), nil
}

func readUserData(s cryptobyte.String) ([]byte, error) {
	var ud cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&ud) || !s.Empty() || len(ud) > MaxUserData {
		return nil, errors.New("sms: TP-UDL does not match the octets that follow")
	}
	return ud, nil
}

// maxDigits is what TS 23.040 allows in an address field (10 octets of
// semi-octets).
const maxDigits = 20

func (a Address) append(b []byte) ([]byte, error) {
	if len(a.Digits) == 0 || len(a.Digits) > maxDigits {
		return nil, fmt.Errorf("%d digits", len(a.Digits))
	}
	b = append(b, byte(len(a.Digits)), a.Type)
	for i := 0; i < len(a.Digits); i += 2 {
		low, high := a.Digits[i]-'0', byte(0x0F)
		if i+1 < len(a.Digits) {
			high = a.Digits[i+1] - '0'
			if high > 9 {
				return nil, errors.New("not a decimal digit")
			}
		}
		if low > 9 {
			return nil, errors.New("not a decimal digit")
		}
		b = append(b, high<<4|low)
	}
	return b, nil
}

func readAddress(s *cryptobyte.String) (a Address, err error) {
	var length uint8
	var octets []byte
	if !s.ReadUint8(&length) || !s.ReadUint8(&a.Type) || length == 0 || length > maxDigits || !s.ReadBytes(&octets, (int(length)+1)/2) {
		return a, errors.New("its length does not fit")
	}
	digits := make([]byte, length)
	for i := range digits {
		nibble := octets[i/2] >> (4 * (i % 2)) & 0x0F
		if nibble > 9 {
			return a, fmt.Errorf("semi-octet %x is not a digit", nibble)
		}
		digits[i] = '0' + nibble
	}
	if length%2 == 1 && octets[len(octets)-1]>>4 != 0x0F {
		return a, errors.New("an odd number of digits is filled with F")
	}
	a.Digits = string(digits)
	return a, nil
}

// appendTimestamp writes TP-SCTS (TS 23.040 §9.2.3.11): year, month, day, hour,
// minute, second, zone, each with its digits swapped.
func appendTimestamp(b []byte, t time.Time) []byte {
	_, offset := t.Zone()
	quarters := offset / (15 * 60)
	zone := swapped(max(quarters, -quarters))
	if quarters < 0 {
		zone |= 0x08
	}
	return append(b, swapped(t.Year()%100), swapped(int(t.Month())), swapped(t.Day()),
		swapped(t.Hour()), swapped(t.Minute()), swapped(t.Second()), zone)
}

// zoneOf is a zone without a name. The one without an offset is shared: most
// centres use it, and a zone costs more than all else of a timestamp.
func zoneOf(offset int) *time.Location {
	if offset == 0 {
		return noOffset
	}
	return time.FixedZone("", offset)
}

var noOffset = time.FixedZone("", 0)

func swapped(n int) byte { return byte(n%10<<4 | n/10) }

func parseTimestamp(scts []byte) (time.Time, error) {
	var n [7]int
	for i, octet := range scts {
		if i == 6 {
			octet &^= 0x08
		}
		low, high := int(octet&0x0F), int(octet>>4)
		if low > 9 || high > 9 {
			return time.Time{}, fmt.Errorf("sms: TP-SCTS octet %d is %02x", i, octet)
		}
		n[i] = 10*low + high
	}
	offset := n[6] * 15 * 60
	if scts[6]&0x08 != 0 {
		offset = -offset
	}
	t := time.Date(2000+n[0], time.Month(n[1]), n[2], n[3], n[4], n[5], 0, zoneOf(offset))
	if int(t.Month()) != n[1] || t.Day() != n[2] || t.Hour() != n[3] || t.Minute() != n[4] || t.Second() != n[5] {
		return time.Time{}, errors.New("sms: TP-SCTS is no date")
	}
	return t, nil
}
