package applet

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxText is the most characters a text may have: with the code's line below
// it, in UCS-2, it still fits one DISPLAY TEXT.
const MaxText = 100

// The codings of a challenge's text.
const (
	codingOctets = 0x00 // ASCII, and latin below from 80 on
	codingUCS2   = 0x08
)

// latin is what octets 80 and up mean in coding 00: the Azerbaijani letters
// that ASCII lacks and the signs that contracts need, so that a text in the
// country's language takes one octet a character and a challenge one message.
var latin = []rune("ƏəĞğİıÖöŞşÜüÇç₼№«»–—’“”…§€")

var latinOctet = func() map[rune]byte {
	octets := make(map[rune]byte, len(latin))
	for i, r := range latin {
		octets[r] = byte(0x80 + i)
	}
	return octets
}()

// CheckText tells whether a telephone can show the text: at most MaxText
// characters, each printable and in UCS-2. Controls are refused, and so are
// the invisible characters that make a text read otherwise than it is.
func CheckText(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("is not UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > MaxText {
		return fmt.Errorf("has %d characters, at most %d can be shown", n, MaxText)
	}
	for _, r := range text {
		if !shows(r) {
			return fmt.Errorf("has %U in it, which a telephone does not display", r)
		}
	}
	return nil
}

// blank are letters and signs by their category that nevertheless show nothing.
var blank = &unicode.RangeTable{R16: []unicode.Range16{{Lo: 0x2800, Hi: 0x2800, Stride: 1}}}

// shows reports whether a telephone shows a character, where it stands and as
// what it is: not controls and what only changes how others look or where, such
// as combining and direction marks.
func shows(r rune) bool {
	if r < 0x80 {
		return r >= ' ' && r != 0x7F
	}
	if _, latin := latinOctet[r]; latin { // most of what is shown
		return true
	}
	return unicode.IsPrint(r) && r <= 0xFFFF && r != utf8.RuneError &&
		!unicode.In(r, unicode.M, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, blank)
}

func encodeText(text string) (coding byte, octets []byte, err error) {
	if err := CheckText(text); err != nil {
		return 0, nil, fmt.Errorf("applet: the text %w", err)
	}
	octets = make([]byte, 0, len(text))
	for _, r := range text {
		octet, ok := latinOctet[r]
		if r < 0x80 {
			octet, ok = byte(r), true
		}
		if !ok {
			return codingUCS2, appendUCS2(octets[:0], text), nil
		}
		octets = append(octets, octet)
	}
	return codingOctets, octets, nil
}

func appendUCS2(b []byte, text string) []byte {
	for _, r := range text {
		b = append(b, byte(r>>8), byte(r))
	}
	return b
}

func decodeText(coding byte, octets []byte) (string, error) {
	var room [4 * MaxText]byte
	utf := room[:0]
	switch coding {
	case codingOctets:
		for i, octet := range octets {
			switch {
			case octet < 0x80:
				utf = append(utf, octet)
			case int(octet-0x80) < len(latin):
				utf = utf8.AppendRune(utf, latin[octet-0x80])
			default:
				return "", fmt.Errorf("applet: octet %02x at character %d of the text", octet, i)
			}
		}
	case codingUCS2:
		if len(octets)%2 != 0 {
			return "", errors.New("applet: UCS-2 text of an odd length")
		}
		for ; len(octets) > 0; octets = octets[2:] {
			r := rune(octets[0])<<8 | rune(octets[1])
			if utf16.IsSurrogate(r) {
				return "", errors.New("applet: a surrogate in the text")
			}
			utf = utf8.AppendRune(utf, r)
		}
	default:
		return "", fmt.Errorf("applet: text coding %02x", coding)
	}
	text := string(utf)
	if err := CheckText(text); err != nil {
		return "", fmt.Errorf("applet: the text %w", err)
	}
	return text, nil
}
