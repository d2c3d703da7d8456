package ota

import "bytes"

// SealCommand makes one command packet, for those who need no Channel: keys
// that only the answer would take may be missing.
func SealCommand(tar TAR, security Security, keys Keys, counter uint64, data []byte) ([]byte, error) {
	channel, err := commandChannel(tar, security, keys)
	if err != nil {
		return nil, err
	}
	return channel.SealCommand(counter, data)
}

// commandChannel is a channel for commands alone: what SPI2 asks of the answer
// is written, and no key is wanted for it.
func commandChannel(tar TAR, security Security, keys Keys) (*Channel, error) {
	c := &Channel{tar: tar, security: security}
	var err error
	c.command, err = security.protection(security.SPI.command(), keys)
	return c, err
}

// Header is what a packet says of itself in clear: for those who look into
// captures and have no keys.
type Header struct {
	Length   int // CPL or RPL: octets that follow it, maybe in other segments
	TAR      TAR
	Security Security // of a command only
	Checksum int      // octets
	Secured  int      // octets from CNTR on that are here
}

// PeekCommand reads the header of a command packet, or of its first segment.
func PeekCommand(packet []byte) (Header, error) { return peek(commandClaims(packet)) }

// PeekResponse reads the header of a response packet, or of its first segment.
func PeekResponse(packet []byte) (Header, error) { return peek(responseClaims(packet)) }

func peek(c claims, err error) (Header, error) {
	return Header{c.length, c.tar, c.security, c.checksumLen, len(c.secured)}, err
}

// Inspected is a packet opened by its own claims.
type Inspected struct {
	TAR      TAR
	Security Security // of a response: the level under which its checksum held
	Counter  uint64
	Status   Status // of a response
	Data     []byte
}

// InspectCommand opens a command packet (with or without its UDH 02 70 00)
// believing what it claims of itself: for those who look into captures, never
// for a card.
func InspectCommand(packet []byte, keys Keys) (Inspected, error) {
	packet = bytes.TrimPrefix(packet, []byte{0x02, 0x70, 0x00})
	claims, err := parseCommand(packet)
	if err != nil {
		return Inspected{}, err
	}
	channel, err := commandChannel(claims.tar, claims.security, keys)
	if err != nil {
		return Inspected{}, err
	}
	counter, data, err := channel.OpenCommand(packet)
	if err != nil {
		return Inspected{}, err
	}
	return Inspected{TAR: claims.tar, Security: claims.security, Counter: counter, Data: data}, nil
}

// InspectResponse opens a response packet (with or without its UDH 02 71 00).
// A response does not say how it is secured, so every level that the keys fit
// is tried; without one under which the checksum holds it is an error. One that
// has no checksum at all, as receipts for errors, is read as it stands.
func InspectResponse(packet []byte, keys Keys) (Inspected, error) {
	packet = bytes.TrimPrefix(packet, responseUDH)
	claims, err := parseResponse(packet)
	if err != nil {
		return Inspected{}, err
	}
	levels := responseLevels()
	if claims.checksumLen == 0 {
		levels = []Security{{}}
	}
	for _, security := range levels {
		channel, err := NewChannel(claims.tar, security, keys)
		if err != nil {
			continue // these keys are of another length
		}
		if r, err := channel.OpenResponse(packet); err == nil {
			return Inspected{TAR: claims.tar, Security: security, Counter: r.Counter, Status: r.Status, Data: r.Data}, nil
		}
	}
	return Inspected{}, ErrChecksum
}

// responseLevels lists what a response can be secured with: cryptographic
// checksums first, since a redundancy check holds by chance once in 65,536.
func responseLevels() (levels []Security) {
	algorithms := []byte{algorithmAES, algorithm3DES2, algorithm3DES3}
	for _, ciphered := range []byte{0x10, 0x00} {
		for _, kic := range algorithms {
			for _, kid := range algorithms {
				levels = append(levels, Security{SPI: SPI{0, checksumCC<<2 | ciphered}, KIc: kic, KID: kid})
			}
		}
	}
	for _, ciphered := range []byte{0x10, 0x00} {
		for _, kic := range algorithms {
			for _, kid := range []byte{crcKID32, crcKID16} {
				levels = append(levels, Security{SPI: SPI{0, checksumCRC<<2 | ciphered}, KIc: kic, KID: kid})
			}
		}
	}
	return levels
}
