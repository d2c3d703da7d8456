package simcard

import "fmt"

// SW is a status word, SW1 SW2 (TS 102 221 §10.2).
type SW uint16

// Status words that imza's cards use.
const (
	SWOK              SW = 0x9000
	SWToolkitBusy     SW = 0x9300 // TS 102 221 §10.2.1.1: the toolkit cannot take an ENVELOPE now
	SWPINBlocked      SW = 0x6983
	SWSecurityStatus  SW = 0x6982 // security status not satisfied
	SWConditions      SW = 0x6985 // conditions of use not satisfied
	SWWrongData       SW = 0x6A80
	SWFileNotFound    SW = 0x6A82
	SWWrongP1P2       SW = 0x6A86
	SWReferencedData  SW = 0x6A88
	SWWrongLength     SW = 0x6700
	SWUnknownINS      SW = 0x6D00
	SWUnknownCLA      SW = 0x6E00
	SWTechnical       SW = 0x6F00
	swProactiveFamily SW = 0x9100
	swTriesFamily     SW = 0x63C0
)

// SWProactive says that a proactive command of n octets waits to be fetched.
func SWProactive(n int) SW { return swProactiveFamily | SW(byte(n)) }

// Proactive reports whether a proactive command waits, and its length.
func (sw SW) Proactive() (n int, ok bool) {
	if sw&0xFF00 != swProactiveFamily {
		return 0, false
	}
	if n = int(sw & 0xFF); n == 0 {
		n = 256
	}
	return n, true
}

// SWTries says that a PIN was wrong and how many tries are left.
func SWTries(left int) SW { return swTriesFamily | SW(left&0x0F) }

// Tries reports whether a PIN was wrong, and how many tries are left.
func (sw SW) Tries() (left int, ok bool) { return int(sw & 0x0F), sw&0xFFF0 == swTriesFamily }

func (sw SW) String() string { return fmt.Sprintf("%04X", uint16(sw)) }
