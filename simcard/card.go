// Package simcard is what one needs to speak to a SIM card, whatever it is
// made of: the Card interface, command and response APDUs, status words, and
// the two numbers that name a card and its line.
//
// Its folders hold the formats, each for itself, bytes in and bytes out:
// short messages (sms), secured packets (ota), toolkit commands (toolkit) and
// the messages of the signing applet (applet).
package simcard

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Card takes command APDUs and gives response APDUs, one at a time: a software
// SIM, or a real one in a reader. A card that did not understand says so in
// its status word; the error is for a card that did not answer.
type Card interface {
	Transmit(command []byte) (response []byte, err error)
}

// Command is a short command APDU (ISO 7816-4 §5.1): CLA INS P1 P2, then Lc
// and data if there are any, then Le if an answer is expected.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte // at most 255 octets
	Le               int    // octets expected; 0 none, 256 as many as there are
}

// Append appends the APDU to b. Data over 255 octets is the caller's mistake
// and panics.
func (c Command) Append(b []byte) []byte {
	if len(c.Data) > 255 {
		panic(fmt.Sprintf("simcard: %d octets in a short APDU", len(c.Data)))
	}
	b = append(b, c.CLA, c.INS, c.P1, c.P2)
	if len(c.Data) > 0 {
		b = append(append(b, byte(len(c.Data))), c.Data...)
	}
	if c.Le > 0 {
		b = append(b, byte(c.Le))
	}
	return b
}

// ErrLength says that an APDU's length octets do not match its octets; a card
// answers it with SWWrongLength.
var ErrLength = errors.New("simcard: wrong length")

// ParseCommand reads a short APDU. Data aliases apdu.
func ParseCommand(apdu []byte) (c Command, err error) {
	s := cryptobyte.String(apdu)
	if !s.ReadUint8(&c.CLA) || !s.ReadUint8(&c.INS) || !s.ReadUint8(&c.P1) || !s.ReadUint8(&c.P2) {
		return c, ErrLength
	}
	if len(s) > 1 {
		var data cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&data) || data.Empty() {
			return c, ErrLength
		}
		c.Data = data
	}
	var le uint8
	if s.ReadUint8(&le) {
		if c.Le = int(le); le == 0 {
			c.Le = 256
		}
	}
	if !s.Empty() {
		return c, ErrLength
	}
	return c, nil
}

// Response is a response APDU: data, then the status word.
type Response struct {
	Data []byte
	SW   SW
}

// Append appends the APDU to b.
func (r Response) Append(b []byte) []byte {
	return append(append(b, r.Data...), byte(r.SW>>8), byte(r.SW))
}

// ParseResponse reads a response APDU. Data aliases apdu.
func ParseResponse(apdu []byte) (Response, error) {
	if len(apdu) < 2 {
		return Response{}, fmt.Errorf("simcard: an answer of %d octets has no status word", len(apdu))
	}
	n := len(apdu) - 2
	return Response{Data: apdu[:n:n], SW: SW(apdu[n])<<8 | SW(apdu[n+1])}, nil
}

// Do transmits one command and reads what comes back.
func Do(card Card, c Command) (Response, error) {
	raw, err := card.Transmit(c.Append(nil))
	if err != nil {
		return Response{}, fmt.Errorf("simcard: INS %02X: %w", c.INS, err)
	}
	return ParseResponse(raw)
}
