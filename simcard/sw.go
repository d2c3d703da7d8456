package simcard

import "fmt"

// SW is a status word, SW1 SW2 (TS 102 221 §10.2).
type SW uint16

// Status words that imza's cards use.
const (
	SWOK                SW = 0x9000
	SWToolkitBusy       SW = 0x9300 // the toolkit cannot take an ENVELOPE now
	SWMemory            SW = 0x6581 // what was to be stored is not
	SWWrongLength       SW = 0x6700
	SWChannel           SW = 0x6881 // logical channels are not supported
	SWSecureMessaging   SW = 0x6882 // nor is secure messaging
	SWFileStructure     SW = 0x6981 // the command does not fit the kind of file
	SWSecurityStatus    SW = 0x6982 // a PIN has to be verified before
	SWPINBlocked        SW = 0x6983
	SWPINDisabled       SW = 0x6984 // referenced data invalidated
	SWConditions        SW = 0x6985 // conditions of use not satisfied
	SWNoEF              SW = 0x6986 // no EF is selected
	SWWrongData         SW = 0x6A80
	SWFunction          SW = 0x6A81 // function not supported
	SWFileNotFound      SW = 0x6A82
	SWRecordNotFound    SW = 0x6A83
	SWWrongP1P2         SW = 0x6A86
	SWReferencedData    SW = 0x6A88 // no such PIN
	SWOffset            SW = 0x6B00 // P1 and P2 lead outside of the file
	SWUnknownINS        SW = 0x6D00
	SWUnknownCLA        SW = 0x6E00
	SWTechnical         SW = 0x6F00
	swAvailableFamily   SW = 0x6100
	swLengthFamily      SW = 0x6C00
	swProactiveFamily   SW = 0x9100
	swAvailableOfOldGSM SW = 0x9F00
	swTriesFamily       SW = 0x63C0
)

// OK reports whether a command was carried out: 9000, or 91XX, which also says
// that a proactive command waits.
func (sw SW) OK() bool { return sw == SWOK || sw.family() == swProactiveFamily }

func (sw SW) family() SW { return sw & 0xFF00 }

// count is SW2 where it counts octets: 00 are 256.
func (sw SW) count() int {
	if n := int(sw & 0xFF); n > 0 {
		return n
	}
	return 256
}

// SWAvailable says that n octets wait for GET RESPONSE; 256 stands for more.
func SWAvailable(n int) SW { return swAvailableFamily | SW(byte(min(n, 256))) }

// available reports how many octets GET RESPONSE brings.
func (sw SW) available() (n int, ok bool) {
	return sw.count(), sw.family() == swAvailableFamily || sw.family() == swAvailableOfOldGSM
}

// SWLength says that the command is to be given again with Le n.
func SWLength(n int) SW { return swLengthFamily | SW(byte(min(n, 256))) }

// otherLength reports with which Le the command is to be given again.
func (sw SW) otherLength() (n int, ok bool) { return sw.count(), sw.family() == swLengthFamily }

// SWProactive says that a proactive command of n octets waits to be fetched.
func SWProactive(n int) SW { return swProactiveFamily | SW(byte(n)) }

// Proactive reports whether a proactive command waits, and its length.
func (sw SW) Proactive() (n int, ok bool) {
	if sw.family() != swProactiveFamily {
		return 0, false
	}
	return sw.count(), true
}

// SWTries says that a PIN was wrong and how many tries are left.
func SWTries(left int) SW { return swTriesFamily | SW(left&0x0F) }

// Tries reports whether a PIN was wrong, and how many tries are left.
func (sw SW) Tries() (left int, ok bool) { return int(sw & 0x0F), sw&0xFFF0 == swTriesFamily }

func (sw SW) String() string { return fmt.Sprintf("%04X", uint16(sw)) }

// meanings are the status words in words (TS 102 221 §10.2.1).
var meanings = map[SW]string{
	SWOK: "done", SWToolkitBusy: "toolkit busy", SWMemory: "memory problem", SWWrongLength: "wrong length",
	SWChannel: "logical channel not supported", SWSecureMessaging: "secure messaging not supported",
	SWFileStructure: "command does not fit the file's structure", SWSecurityStatus: "security status not satisfied",
	SWPINBlocked: "PIN blocked", SWPINDisabled: "PIN disabled, or not as the command has it", SWConditions: "conditions of use not satisfied",
	SWNoEF: "no EF selected", SWWrongData: "wrong data", SWFunction: "function not supported", SWFileNotFound: "file not found",
	SWRecordNotFound: "record not found", SWWrongP1P2: "wrong P1 P2", SWReferencedData: "no such PIN",
	SWOffset: "offset outside of the file", SWUnknownINS: "unknown INS", SWUnknownCLA: "unknown CLA", SWTechnical: "technical problem",
}

// Meaning is the status word in words, for people; empty if it has none here.
func (sw SW) Meaning() string {
	if left, ok := sw.Tries(); ok {
		return fmt.Sprintf("wrong PIN or none given, %d tries left", left)
	}
	if n, ok := sw.available(); ok {
		return fmt.Sprintf("%d octets for GET RESPONSE", n)
	}
	if n, ok := sw.otherLength(); ok {
		return fmt.Sprintf("again with Le %d", n)
	}
	if n, ok := sw.Proactive(); ok {
		return fmt.Sprintf("a proactive command of %d octets to FETCH", n)
	}
	return meanings[sw]
}
