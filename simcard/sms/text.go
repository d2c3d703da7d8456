package sms

import (
	"errors"
	"fmt"
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

// EncodeText codes a text in the default alphabet where it can, else in UCS-2.
func EncodeText(text string) (Alphabet, []byte, error) {
	if octets, err := encoding.GSM7(false).NewEncoder().Bytes([]byte(text)); err == nil {
		return GSM8, octets, nil
	}
	octets := make([]byte, 0, 2*len(text))
	for _, r := range text {
		if r > 0xFFFF || utf16.IsSurrogate(r) {
			return 0, nil, fmt.Errorf("sms: %q is not in UCS-2", r)
		}
		octets = append(octets, byte(r>>8), byte(r))
	}
	return UCS2, octets, nil
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
