package toolkit

// Profile is what a terminal can do, as TERMINAL PROFILE tells the card
// (TS 102 223 §5.2): one bit a facility, octet by octet. Octets that are
// missing are facilities that are missing.
type Profile []byte

// Facility is a bit of the profile: the octet, counted from 0, and the bit.
type Facility struct{ Octet, Bit byte }

// Facilities that a signing applet asks for.
var (
	CanDownload     = Facility{0, 0x01} // profile download
	CanSMSDownload  = Facility{0, 0x02} // SMS-PP data download
	CanSelectMenu   = Facility{0, 0x08} // menu selection
	CanDisplayText  = Facility{2, 0x01}
	CanGetInput     = Facility{2, 0x04}
	CanSelectItem   = Facility{3, 0x01}
	CanSendMessage  = Facility{3, 0x02}
	CanSetUpMenu    = Facility{3, 0x20}
	signingTerminal = []Facility{CanDownload, CanSMSDownload, CanSelectMenu, CanDisplayText, CanGetInput, CanSelectItem, CanSendMessage, CanSetUpMenu}
)

// SigningTerminal is the profile of a terminal that does what a signing applet
// needs, and nothing else.
func SigningTerminal() Profile {
	p := make(Profile, 4)
	for _, f := range signingTerminal {
		p[f.Octet] |= f.Bit
	}
	return p
}

// Has reports whether the terminal has all of these facilities.
func (p Profile) Has(all ...Facility) bool {
	for _, f := range all {
		if int(f.Octet) >= len(p) || p[f.Octet]&f.Bit == 0 {
			return false
		}
	}
	return true
}
