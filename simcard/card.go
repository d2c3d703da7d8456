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

// Do has a card carry out one command and reads what comes back, by whatever
// procedures of T=0 it takes: see Next. Nothing else may be sent to the card
// meanwhile.
func Do(card Card, c Command) (Response, error) {
	if len(c.Data) > 255 {
		return Response{}, fmt.Errorf("simcard: INS %02X: %d octets do not fit an APDU", c.INS, len(c.Data))
	}
	command := c.Append(nil)
	var data []byte
	for empty := 0; empty <= mostEmpty && len(data) <= maxAnswer; {
		r, err := do(card, command)
		if err != nil {
			return Response{}, err
		}
		next, more := Next(command, r.SW)
		if !more {
			if data != nil {
				r.Data = append(data, r.Data...)
			}
			return r, nil
		}
		if empty++; len(r.Data) > 0 {
			empty = 0
		}
		command, data = next, append(data, r.Data...)
	}
	return Response{}, fmt.Errorf("simcard: INS %02X: an answer without end", c.INS)
}

// Next is the command that a terminal gives after a status word by the
// procedures of T=0 (TS 102 221 §7.3.1.1): GET RESPONSE for octets that the card
// has (61XX, or 9FXX of older ones), or the same command with the length that
// the card names (6CXX).
func Next(command []byte, sw SW) (next []byte, more bool) {
	if n, ok := sw.available(); ok {
		class := command[0] & classMask
		if command[0] == classGSM {
			class = classGSM
		}
		return Command{CLA: class, INS: GetResponse, Le: n}.Append(nil), true
	}
	if n, ok := sw.otherLength(); ok && len(command) >= 4 && len(command) <= 5 {
		return append(command[:4:4], byte(n)), true
	}
	return nil, false
}

// maxAnswer bounds what a card may make one collect by GET RESPONSE, and
// mostEmpty how often in a row it may send one on without a single octet: 61XX
// and then 6CXX are usual.
const (
	maxAnswer = 64 << 10
	mostEmpty = 3
)

// classMask leaves of a class octet what GET RESPONSE takes over: the channel.
// A GSM SIM knows one class only (TS 51.011 §9.2).
const (
	classMask = 0x03
	classGSM  = 0xA0
)

func do(card Card, command []byte) (Response, error) {
	raw, err := card.Transmit(command)
	if err != nil {
		return Response{}, fmt.Errorf("simcard: INS %02X: %w", command[1], err)
	}
	return ParseResponse(raw)
}
