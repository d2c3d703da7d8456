package emulator

import (
	"bytes"
	"crypto/subtle"

	"imza/simcard"
)

// secret is what a key reference stands for: a PIN, what unblocks it, and how
// many tries a right entry gives back.
type secret struct {
	pin, puk *PIN
	tries    int
	optional *bool // of one that can be disabled: whether it is asked for
}

// secret finds the PIN that a command is about. The local references count in
// their own application (TS 102 221 §9.5.1).
func (s *SIM) secret(c simcard.Command) (secret, bool) {
	p, t := s.profile, &s.profile.Telephone
	if c.P1 != 0 {
		return secret{}, false
	}
	switch {
	case c.P2 == simcard.PINTelephone:
		return secret{&t.PIN, &t.PUK, pinTries, &t.Asks}, true
	case c.P2 == simcard.PIN2Telephone && s.df == adfUSIM:
		return secret{&t.PIN2, &t.PUK2, pinTries, nil}, true
	case c.P2 == simcard.PIN1:
		return secret{&p.PIN1, &p.PUK, pinTries, nil}, true
	case c.P2 == simcard.PIN2 && s.df == adfSigner:
		return secret{&p.PIN2, &p.PUK, pinTries, nil}, true
	case c.P2 == simcard.ADM:
		return secret{&p.ADM, nil, pukTries, nil}, true
	}
	return secret{}, false
}

func (k *secret) disabled() bool { return k.optional != nil && !*k.optional }

// verify is VERIFY PIN (TS 102 221 §11.1.9). Without data it asks for the tries.
func (s *SIM) verify(c simcard.Command) simcard.Response {
	k, known := s.secret(c)
	switch {
	case !known:
		return status(simcard.SWReferencedData)
	case k.disabled():
		return status(simcard.SWPINDisabled)
	case len(c.Data) == 0:
		return status(k.pin.refused())
	case len(c.Data) != simcard.PINLen:
		return status(simcard.SWWrongLength)
	}
	sw := s.try(k.pin, c.Data, k.tries)
	s.note(c.P2, sw == simcard.SWOK)
	return status(sw)
}

// change is CHANGE PIN (§11.1.10).
func (s *SIM) change(c simcard.Command) simcard.Response {
	k, known := s.secret(c)
	switch {
	case !known || k.puk == nil:
		return status(simcard.SWReferencedData)
	case k.disabled():
		return status(simcard.SWPINDisabled)
	}
	sw := s.replace(k, k.pin, pinTries, c.Data)
	if sw != simcard.SWWrongLength && sw != simcard.SWWrongData { // else nothing was compared
		s.note(c.P2, sw == simcard.SWOK)
	}
	return status(sw)
}

// unblock is UNBLOCK PIN (§11.1.13). Without data it asks for the PUK's tries.
func (s *SIM) unblock(c simcard.Command) simcard.Response {
	k, known := s.secret(c)
	switch {
	case !known || k.puk == nil:
		return status(simcard.SWReferencedData)
	case len(c.Data) == 0:
		return status(k.puk.refused())
	}
	sw := s.replace(k, k.puk, pukTries, c.Data)
	if sw == simcard.SWOK {
		s.note(c.P2, true)
	}
	return status(sw)
}

// enable is ENABLE PIN (§11.1.12), disable DISABLE PIN (§11.1.11).
func (s *SIM) enable(c simcard.Command) simcard.Response  { return s.require(c, true) }
func (s *SIM) disable(c simcard.Command) simcard.Response { return s.require(c, false) }

func (s *SIM) require(c simcard.Command, asks bool) simcard.Response {
	k, known := s.secret(c)
	switch {
	case !known:
		return status(simcard.SWReferencedData)
	case k.optional == nil: // the applet's are never optional
		return status(simcard.SWFunction)
	case len(c.Data) != simcard.PINLen:
		return status(simcard.SWWrongLength)
	case *k.optional == asks:
		return status(simcard.SWPINDisabled) // or not disabled: either way it is not as the command has it
	}
	sw := s.try(k.pin, c.Data, k.tries)
	s.note(c.P2, sw == simcard.SWOK)
	if sw != simcard.SWOK {
		return status(sw)
	}
	*k.optional = asks
	if s.save(s.profile) != nil {
		*k.optional = !asks
		return status(simcard.SWMemory)
	}
	return status(simcard.SWOK)
}

// note remembers, until the power goes, that a PIN was given, or no longer is.
func (s *SIM) note(reference byte, verified bool) {
	if verified {
		s.verified[reference] = true
	} else {
		delete(s.verified, reference)
	}
}

// replace sets a PIN's digits after the right guard (the PIN itself, or the
// PUK) was given in front of the new ones.
func (s *SIM) replace(k secret, guard *PIN, tries int, data []byte) simcard.SW {
	if len(data) != 2*simcard.PINLen {
		return simcard.SWWrongLength
	}
	digits, ok := pinDigits(data[simcard.PINLen:])
	if !ok {
		return simcard.SWWrongData
	}
	if sw := s.try(guard, data[:simcard.PINLen], tries); sw != simcard.SWOK {
		return sw
	}
	// What the PUK unblocks is enabled (§11.1.13.1.1).
	enables := guard == k.puk && k.optional != nil && !*k.optional
	if enables {
		*k.optional = true
	}
	sw := s.set(k.pin, digits)
	if enables && sw != simcard.SWOK {
		*k.optional = false
	}
	return sw
}

// set gives a PIN new digits and all of its tries. Where that is not stored the
// old ones go on, since the person is told that it failed.
func (s *SIM) set(pin *PIN, digits string) simcard.SW {
	before := *pin
	*pin = NewPIN(digits)
	if s.save(s.profile) != nil {
		*pin = before
		return simcard.SWMemory
	}
	return simcard.SWOK
}

// try compares eight octets with a PIN. The try is taken away, and that
// stored, before they are compared: cutting the power gives none back.
func (s *SIM) try(pin *PIN, octets []byte, tries int) simcard.SW {
	if pin.Tries <= 0 {
		return simcard.SWPINBlocked
	}
	pin.Tries--
	if s.save(s.profile) != nil {
		return simcard.SWMemory
	}
	if subtle.ConstantTimeCompare(simcard.PadPIN(pin.Digits), octets) != 1 {
		return simcard.SWTries(pin.Tries) // 63C0 the last time, 6983 from then on (§11.1.9)
	}
	pin.Tries = tries
	if s.save(s.profile) != nil {
		return simcard.SWMemory
	}
	return simcard.SWOK
}

// refused is the status word of a PIN that was only asked after.
func (p *PIN) refused() simcard.SW {
	if p.Tries <= 0 {
		return simcard.SWPINBlocked
	}
	return simcard.SWTries(p.Tries)
}

// pinDigits reads a PIN as commands carry it.
func pinDigits(octets []byte) (string, bool) {
	digits := string(bytes.TrimRight(octets, "\xFF"))
	return digits, isPIN(digits)
}
