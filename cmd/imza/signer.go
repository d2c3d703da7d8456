package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"imza/simcard"
	"imza/simcard/applet"
)

// signer is a card with the signing applet, by its APDUs: whatever the card is
// made of.
type signer struct{ simcard.Card }

// do carries out a command that must succeed.
func (s signer) do(what string, c simcard.Command) error {
	r, err := simcard.Do(s.Card, c)
	if err != nil {
		return err
	}
	if !r.SW.OK() {
		return fmt.Errorf("%s: the card says %s (%s)", what, r.SW, r.SW.Meaning())
	}
	return nil
}

// iccid reads the card's number.
func (s signer) iccid() (simcard.ICCID, error) {
	if err := s.do("SELECT MF", simcard.SelectEF(simcard.MF)); err != nil {
		return "", err
	}
	content, err := simcard.ReadFile(s.Card, simcard.EFICCID)
	if err != nil {
		return "", err
	}
	return simcard.ParseICCID(digits(content))
}

// digits reads semi-octets, the lower one first, up to the first F.
func digits(content []byte) string {
	var b strings.Builder
	for _, octet := range content {
		for _, nibble := range []byte{octet & 0x0F, octet >> 4} {
			if nibble > 9 {
				return b.String()
			}
			b.WriteByte('0' + nibble)
		}
	}
	return b.String()
}

// errNoApplet says that a card does not sign.
var errNoApplet = errors.New("the card has no signing applet")

// open selects the applet and reads what it tells of itself.
func (s signer) open() (about applet.About, err error) {
	r, err := simcard.Do(s.Card, simcard.Select(simcard.Signer))
	if err != nil {
		return about, err
	}
	if !r.SW.OK() {
		return about, fmt.Errorf("%w (SELECT: %s)", errNoApplet, r.SW)
	}
	content, err := simcard.ReadFile(s.Card, simcard.EFApplet)
	if err != nil {
		return about, err
	}
	return applet.ParseAbout(content)
}

// keys lists the keys; the applet is selected.
func (s signer) keys() (all []applet.KeyRecord, err error) {
	records, err := simcard.ReadRecords(s.Card, simcard.EFKeys)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		k, err := applet.ParseKeyRecord(record)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// useOf is what a key is for, for people.
func useOf(k applet.KeyRecord) string {
	if k.Operation == applet.Authenticate {
		return "authentication, PIN1"
	}
	return "signing, PIN2"
}

// certificate reads a key's certificate, nil if it has none.
func (s signer) certificate(key byte) (*x509.Certificate, error) {
	der, err := simcard.ReadFile(s.Card, simcard.EFCert+uint16(key))
	if err != nil || len(der) == 0 {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// certifiedBy reports whether a key of the card has a certificate of an
// authority. A card without the applet has none.
func (s signer) certifiedBy(authority *x509.Certificate) (bool, error) {
	_, err := s.open()
	if errors.Is(err, errNoApplet) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	keys, err := s.keys()
	if err != nil {
		return false, err
	}
	for _, k := range keys {
		if !k.Certified {
			continue
		}
		cert, err := s.certificate(k.Number)
		if err != nil {
			return false, err
		}
		if cert != nil && cert.CheckSignatureFrom(authority) == nil {
			return true, nil
		}
	}
	return false, nil
}

// admit gives the issuer's key, which making keys and putting certificates wants.
func (s signer) admit(adm string) error {
	return s.do("VERIFY ADM", simcard.Command{INS: simcard.Verify, P2: simcard.ADM, Data: simcard.PadPIN(adm)})
}

// signingKey is the card's first key for signing, and of a card without one the
// one to be made.
func (s signer) signingKey() (applet.KeyRecord, error) {
	keys, err := s.keys()
	k := applet.KeyRecord{Number: 1, Operation: applet.Sign, Kind: applet.P256}
	for _, other := range keys {
		if other.Operation == applet.Sign {
			return other, err
		}
		k.Number = max(k.Number, other.Number+1)
	}
	return k, err
}

// makeKey has the card make a key pair, unless it has that very key, and returns
// its request for a certificate.
func (s signer) makeKey(k applet.KeyRecord) ([]byte, error) {
	keys, err := s.keys()
	if err != nil {
		return nil, err
	}
	there := false
	for _, other := range keys {
		if other.Number == k.Number {
			if other.Kind != k.Kind || other.Operation != k.Operation {
				return nil, fmt.Errorf("key %d of the card is %s (%s), and not %s (%s)", k.Number, other.Kind, useOf(other), k.Kind, useOf(k))
			}
			there = true
		}
	}
	if !there {
		if err := s.do("GENERATE KEY PAIR", simcard.Command{INS: simcard.GenerateKeyPair, Data: k.GenerateKey()}); err != nil {
			return nil, err
		}
	}
	return simcard.ReadFile(s.Card, simcard.EFRequest+uint16(k.Number))
}

// putCertificate writes a key's certificate.
func (s signer) putCertificate(key byte, der []byte) error {
	if err := s.do("SELECT", simcard.SelectEF(simcard.EFCert+uint16(key))); err != nil {
		return err
	}
	const piece = 240
	for offset := 0; offset < len(der); offset += piece {
		c := simcard.Command{INS: simcard.UpdateBinary, P1: byte(offset >> 8), P2: byte(offset), Data: der[offset:min(offset+piece, len(der))]}
		if err := s.do("UPDATE BINARY", c); err != nil {
			return err
		}
	}
	written, err := simcard.ReadFile(s.Card, simcard.EFCert+uint16(key))
	if err == nil && !bytes.Equal(written, der) {
		err = fmt.Errorf("the certificate of key %d is not on the card as it was written", key)
	}
	return err
}
