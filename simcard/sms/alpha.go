package sms

import (
	"errors"
	"fmt"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
)

// The codings of an alpha field (TS 102 221 annex A), by its first octet. One
// below 80 is a character of the default alphabet already.
const (
	alphaUCS2   = 0x80 // 80, then UCS-2
	alphaPage   = 0x81 // 81 n pp, then n octets; from 80 on within page pp << 7
	alphaOffset = 0x82 // 82 n oo oo, then n octets; from 80 on after oooo
)

// EncodeAlpha codes a text as an alpha field, as titles and items of toolkit
// menus are.
func EncodeAlpha(text string) ([]byte, error) {
	alphabet, octets, err := EncodeText(text)
	if err != nil || alphabet == GSM8 {
		return octets, err
	}
	return append([]byte{alphaUCS2}, octets...), nil
}

// DecodeAlpha is the other way, from any of the codings. Unused octets FF at
// the end, as in files, are passed over.
func DecodeAlpha(octets []byte) (string, error) {
	s := cryptobyte.String(octets)
	if len(s) == 0 || s[0] < alphaUCS2 || s[0] == 0xFF {
		return DecodeText(GSM8, unfilled(s))
	}
	var coding, n, page uint8
	var base uint16
	s.ReadUint8(&coding)
	switch coding {
	case alphaUCS2:
		if len(s)%2 == 1 && s[len(s)-1] == 0xFF { // the unusable last one of an even field
			s = s[:len(s)-1]
		}
		for len(s) >= 2 && s[len(s)-1] == 0xFF && s[len(s)-2] == 0xFF {
			s = s[:len(s)-2]
		}
		return DecodeText(UCS2, s)
	case alphaPage:
		if !s.ReadUint8(&n) || !s.ReadUint8(&page) {
			return "", errors.New("sms: the alpha field ends before its page")
		}
		base = uint16(page) << 7
	case alphaOffset:
		if !s.ReadUint8(&n) || !s.ReadUint16(&base) {
			return "", errors.New("sms: the alpha field ends before its offset")
		}
	default:
		return "", fmt.Errorf("sms: alpha field of coding %02x", coding)
	}
	var characters []byte
	if !s.ReadBytes(&characters, int(n)) {
		return "", fmt.Errorf("sms: %d characters in an alpha field of %d", n, len(s))
	}
	return decodePaged(characters, rune(base))
}

// decodePaged reads characters that from 80 on count from base, and below are of
// the default alphabet, in which an escape takes two octets.
func decodePaged(octets []byte, base rune) (text string, err error) {
	for len(octets) > 0 {
		n := 0
		for n < len(octets) && octets[n] < 0x80 {
			n++
		}
		if n > 0 {
			run, err := DecodeText(GSM8, octets[:n])
			if err != nil {
				return "", err
			}
			text, octets = text+run, octets[n:]
			continue
		}
		r := base + rune(octets[0]&0x7F)
		if r > 0xFFFF || utf16.IsSurrogate(r) {
			return "", fmt.Errorf("sms: character %04x in an alpha field", r)
		}
		text, octets = text+string(r), octets[1:]
	}
	return text, nil
}

// unfilled is octets without the FF that fill a field up.
func unfilled(octets []byte) []byte {
	for len(octets) > 0 && octets[len(octets)-1] == 0xFF {
		octets = octets[:len(octets)-1]
	}
	return octets
}
