package sms

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf16"

	"github.com/fiorix/go-smpp/smpp/encoding"
)

// Alphabet is how a text is coded (TS 23.038 §4, and in its place as the first
// octet of a toolkit text string, TS 102 223 §8.15).
type Alphabet byte

// The alphabets of TS 23.038.
const (
	GSM7Packed Alphabet = 0x00
	GSM8       Alphabet = 0x04 // the default alphabet, one octet a character
	UCS2       Alphabet = 0x08
)

// alphabet is the default alphabet with its extension, each character with its
// octets, as the library reads them: asked once, since a card codes a text for
// every challenge.
type alphabet struct {
	latin [0x100]string // of the characters up to U+00FF
	other map[rune]string
}

var gsm = sync.OnceValue(func() *alphabet {
	a := &alphabet{other: make(map[rune]string)}
	const escape = 0x1B
	for octet := range byte(0x80) {
		for _, octets := range []string{string([]byte{octet}), string([]byte{escape, octet})} {
			text, err := encoding.GSM7(false).NewDecoder().Bytes([]byte(octets))
			characters := []rune(string(text))
			if err != nil || len(characters) != 1 || octet == escape {
				continue
			}
			if known := a.octets(characters[0]); known == "" || len(octets) < len(known) {
				a.set(characters[0], octets)
			}
		}
	}
	return a
})

// octets are those of a character, none if the alphabet does not have it.
func (a *alphabet) octets(r rune) string {
	if int(r) < len(a.latin) {
		return a.latin[r]
	}
	return a.other[r]
}

func (a *alphabet) set(r rune, octets string) {
	if int(r) < len(a.latin) {
		a.latin[r] = octets
	} else {
		a.other[r] = octets
	}
}

// EncodeText codes a text in the default alphabet where it can, else in UCS-2.
func EncodeText(text string) (Alphabet, []byte, error) {
	a := gsm()
	octets := make([]byte, 0, 2*len(text))
	for _, r := range text {
		coded := a.octets(r)
		if coded == "" {
			octets, err := appendUCS2(octets[:0], text)
			return UCS2, octets, err
		}
		octets = append(octets, coded...)
	}
	return GSM8, octets, nil
}

func appendUCS2(b []byte, text string) ([]byte, error) {
	for _, r := range text {
		if r > 0xFFFF || utf16.IsSurrogate(r) {
			return nil, fmt.Errorf("sms: %q is not in UCS-2", r)
		}
		b = append(b, byte(r>>8), byte(r))
	}
	return b, nil
}

// DecodeText is the other way.
func DecodeText(alphabet Alphabet, octets []byte) (string, error) {
	switch alphabet {
	case GSM7Packed, GSM8:
		text, err := encoding.GSM7(alphabet == GSM7Packed).NewDecoder().Bytes(octets)
		if err != nil {
			return "", fmt.Errorf("sms: text in the default alphabet: %w", err)
		}
		return string(text), nil
	case UCS2:
		if len(octets)%2 != 0 {
			return "", errors.New("sms: UCS-2 text of an odd length")
		}
		runes := make([]rune, 0, len(octets)/2)
		for ; len(octets) > 0; octets = octets[2:] {
			r := rune(octets[0])<<8 | rune(octets[1])
			if utf16.IsSurrogate(r) {
				return "", errors.New("sms: a surrogate in UCS-2 text")
			}
			runes = append(runes, r)
		}
		return string(runes), nil
	}
	return "", fmt.Errorf("sms: alphabet %02x is not known", byte(alphabet))
}
