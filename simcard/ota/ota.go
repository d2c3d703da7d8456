// Package ota reads and writes the secured packets that a gateway and a SIM
// card exchange inside short messages (ETSI TS 102 225, 3GPP TS 31.115).
//
// A command packet, as it stands behind the UDH 02 70 00:
//
//	CPL   2  octets that follow
//	CHL   1  13 + len(CC)
//	SPI   2  what is secured, and how the answer is
//	KIc   1  ciphering key and algorithm
//	KID   1  checksum key and algorithm
//	TAR   3  the application on the card
//	CNTR  5  replay counter            ┐
//	PCNTR 1  padding octets at the end │ ciphered,
//	CC    n  checksum                  │ CBC, IV zero
//	data     and its padding           ┘
//
// A response packet, as it stands behind the UDH 02 71 00:
//
//	RPL 2, RHL 1 (10 + len(CC)), TAR 3, then
//	CNTR 5, PCNTR 1, status 1, CC n, data and padding (ciphered)
//
// The checksum covers everything but itself, before ciphering; a response's
// includes the literal 02 71 00, a command's leaves its UDH out.
//
// A Channel is the security agreed for one application on one card. What a
// packet claims about itself is compared with it, never believed.
package ota

import (
	"bytes"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// TAR is the Toolkit Application Reference, the address of an application on
// the card (TS 101 220 annex D).
type TAR [3]byte

func (t TAR) String() string { return hex.EncodeToString(t[:]) }

// MaxCounter is the highest value CNTR can hold; a card that has seen it
// accepts nothing more (TS 102 225 §5.1.3.2).
const MaxCounter = 1<<40 - 1

// MaxData is the most octets of data a packet takes: its length octets count
// 16 bits, and header and padding need some.
const MaxData = 65000

// Status is the response status code (TS 102 225 §5.2, table 5).
type Status byte

// The codes of TS 102 225 table 5.
const (
	StatusOK                   Status = 0x00
	StatusChecksumFailed       Status = 0x01
	StatusCounterLow           Status = 0x02
	StatusCounterHigh          Status = 0x03
	StatusCounterBlocked       Status = 0x04
	StatusCipheringError       Status = 0x05
	StatusSecurityError        Status = 0x06
	StatusMemory               Status = 0x07
	StatusMoreTime             Status = 0x08
	StatusTARUnknown           Status = 0x09
	StatusInsufficientSecurity Status = 0x0A
	StatusAnswerFollows        Status = 0x0B
)

// ErrChecksum says that a packet is not from who holds the keys, or was
// changed on the way. A card answers it, like every other error of OpenCommand
// but a Refusal, with silence: the published attacks live on error receipts.
var ErrChecksum = errors.New("ota: the checksum does not hold")

// Refusal is the error of a command packet whose checksum holds, and that is
// not to be carried out all the same: who sent it holds the keys, and may be
// told why.
type Refusal struct {
	Counter uint64
	Status  Status
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("ota: a packet of who holds the keys, refused with status %02x", byte(r.Status))
}

// Response is what a card answered.
type Response struct {
	Counter uint64 // the counter of the command it answers
	Status  Status
	Data    []byte
}

// Channel seals and opens the packets of one application on one card. It is
// safe for concurrent use.
type Channel struct {
	tar      TAR
	security Security
	command  protection // as SPI1 says
	response protection // as SPI2 says
}

// NewChannel checks that the keys fit the algorithms that the security names.
func NewChannel(tar TAR, security Security, keys Keys) (*Channel, error) {
	c := &Channel{tar: tar, security: security}
	var err error
	if c.command, err = security.protection(security.SPI.command(), keys); err != nil {
		return nil, err
	}
	if c.response, err = security.protection(security.SPI.response(), keys); err != nil {
		return nil, err
	}
	return c, nil
}

const (
	headerAfterCHL = 13 // SPI, KIc, KID, TAR, CNTR, PCNTR: CHL without the checksum
	headerAfterRHL = 10 // TAR, CNTR, PCNTR, status: RHL without the checksum
	counterLen     = 5
)

// responseUDH is the literal that a response's checksum begins with
// (TS 31.115 §4.3).
var responseUDH = []byte{0x02, 0x71, 0x00}

// SealCommand returns a command packet from CPL on, its UDH left out. The
// counter must be higher than every one sent to this card before; keeping it
// is the caller's.
func (c *Channel) SealCommand(counter uint64, data []byte) ([]byte, error) {
	p := &c.command
	if err := sealable(counter, data); err != nil {
		return nil, err
	}
	cc := p.checksumLen()
	pad := p.padding(counterLen + 1 + cc + len(data))
	b := make([]byte, 0, 3+headerAfterCHL+cc+len(data)+pad)
	b = binary.BigEndian.AppendUint16(b, uint16(1+headerAfterCHL+cc+len(data)+pad))
	b = append(b, byte(headerAfterCHL+cc))
	b = append(b, c.security.SPI[:]...)
	b = append(b, c.security.KIc, c.security.KID)
	b = append(b, c.tar[:]...)
	plain := len(b)
	b = appendCounter(b, counter)
	b = append(b, byte(pad))
	return p.finish(b, plain, nil, data, pad), nil
}

// SealResponse returns a response packet from RPL on, its UDH left out.
func (c *Channel) SealResponse(r Response) ([]byte, error) {
	p := &c.response
	if err := sealable(r.Counter, r.Data); err != nil {
		return nil, err
	}
	cc := p.checksumLen()
	pad := p.padding(counterLen + 2 + cc + len(r.Data))
	b := make([]byte, 0, 3+headerAfterRHL+cc+len(r.Data)+pad)
	b = binary.BigEndian.AppendUint16(b, uint16(1+headerAfterRHL+cc+len(r.Data)+pad))
	b = append(b, byte(headerAfterRHL+cc))
	b = append(b, c.tar[:]...)
	plain := len(b)
	b = appendCounter(b, r.Counter)
	b = append(b, byte(pad), byte(r.Status))
	return p.finish(b, plain, responseUDH, r.Data, pad), nil
}

// finish appends checksum, data and padding to a header, and ciphers all of it
// from octet plain on.
func (p *protection) finish(header []byte, plain int, udh, data []byte, pad int) []byte {
	var zeros [aes.BlockSize]byte
	b := header
	cc := p.checksumLen()
	b = append(b, zeros[:cc]...)
	b = append(b, data...)
	b = append(b, zeros[:pad]...)
	p.checksum(b[len(header):len(header)], udh, b[:len(header)], b[len(header)+cc:])
	p.encrypt(b[plain:])
	return b
}

// OpenCommand checks a command packet (from CPL on) against what was agreed
// and returns its counter and data. Whether the counter rises is the caller's
// to judge. A *Refusal may be answered; every other error means the same to
// the sender: nothing.
func (c *Channel) OpenCommand(packet []byte) (counter uint64, data []byte, err error) {
	claims, err := parseCommand(packet)
	if err != nil {
		return 0, nil, err
	}
	if claims.tar != c.tar {
		return 0, nil, fmt.Errorf("ota: TAR %s, agreed is %s", claims.tar, c.tar)
	}
	if !claims.security.protects(c.security) {
		return 0, nil, fmt.Errorf("ota: security level %s, agreed is %s", claims.security, c.security)
	}
	body, err := c.command.open(nil, packet[:len(packet)-len(claims.secured)], claims.secured, counterLen+1, claims.checksumLen)
	if err != nil {
		return 0, nil, err
	}
	if claims.security != c.security { // less of a counter, or an answer that is less protected
		return 0, nil, &Refusal{body.counter, StatusInsufficientSecurity}
	}
	return body.counter, body.data, nil
}

// OpenResponse checks a response packet (from RPL on) against what was agreed.
// A receipt with no checksum is an error, unless the SPI agreed to none.
func (c *Channel) OpenResponse(packet []byte) (Response, error) {
	claims, err := parseResponse(packet)
	if err != nil {
		return Response{}, err
	}
	if claims.tar != c.tar {
		return Response{}, fmt.Errorf("ota: TAR %s, agreed is %s", claims.tar, c.tar)
	}
	body, err := c.response.open(responseUDH, packet[:len(packet)-len(claims.secured)], claims.secured, counterLen+2, claims.checksumLen)
	if err != nil {
		return Response{}, err
	}
	return Response{Counter: body.counter, Status: Status(body.status), Data: body.data}, nil
}

// claims is what a packet says of itself before anything is checked.
type claims struct {
	length      int // CPL or RPL
	tar         TAR
	security    Security // of a command only: a response does not carry it
	checksumLen int
	secured     []byte // from CNTR on
}

func parseCommand(packet []byte) (c claims, err error) {
	c, err = commandClaims(packet)
	if err == nil && c.length != len(packet)-2 {
		err = fmt.Errorf("ota: CPL at octet 0: %d, %d octets follow", c.length, len(packet)-2)
	}
	return c, err
}

// commandClaims reads a command's header; the packet may go on elsewhere.
func commandClaims(packet []byte) (c claims, err error) {
	s := cryptobyte.String(packet)
	var length uint16
	var chl uint8
	var spi, tar []byte
	if !s.ReadUint16(&length) {
		return c, fmt.Errorf("ota: CPL at octet 0: %d octets are no packet", len(packet))
	}
	c.length = int(length)
	if !s.ReadUint8(&chl) || int(chl) < headerAfterCHL || int(chl) > len(s) {
		return c, fmt.Errorf("ota: CHL at octet 2: %d does not fit the packet", chl)
	}
	if !s.ReadBytes(&spi, 2) || !s.ReadUint8(&c.security.KIc) || !s.ReadUint8(&c.security.KID) || !s.ReadBytes(&tar, 3) {
		return c, errors.New("ota: the command header ends early")
	}
	c.security.SPI, c.tar = SPI(spi), TAR(tar)
	c.checksumLen = int(chl) - headerAfterCHL
	c.secured = s
	return c, nil
}

func parseResponse(packet []byte) (c claims, err error) {
	c, err = responseClaims(packet)
	if err == nil && c.length != len(packet)-2 {
		err = fmt.Errorf("ota: RPL at octet 0: %d, %d octets follow", c.length, len(packet)-2)
	}
	return c, err
}

// responseClaims reads a response's header; the packet may go on elsewhere.
func responseClaims(packet []byte) (c claims, err error) {
	s := cryptobyte.String(packet)
	var length uint16
	var rhl uint8
	var tar []byte
	if !s.ReadUint16(&length) {
		return c, fmt.Errorf("ota: RPL at octet 0: %d octets are no packet", len(packet))
	}
	c.length = int(length)
	if !s.ReadUint8(&rhl) || int(rhl) < headerAfterRHL || int(rhl) > len(s) {
		return c, fmt.Errorf("ota: RHL at octet 2: %d does not fit the packet", rhl)
	}
	if !s.ReadBytes(&tar, 3) {
		return c, errors.New("ota: the response header ends early")
	}
	c.tar = TAR(tar)
	c.checksumLen = int(rhl) - headerAfterRHL
	c.secured = s
	return c, nil
}

// body is a packet's secured part, opened.
type body struct {
	counter uint64
	status  byte // of a response
	data    []byte
}

// open deciphers the secured part of a packet and compares its checksum.
// fixed is how many octets stand before the checksum: CNTR, PCNTR and, in a
// response, the status.
func (p *protection) open(udh, header, secured []byte, fixed, checksumLen int) (b body, err error) {
	if checksumLen != p.checksumLen() {
		return b, fmt.Errorf("ota: a checksum of %d octets, agreed are %d", checksumLen, p.checksumLen())
	}
	if len(secured) < fixed+checksumLen || len(secured)%p.blockSize() != 0 {
		return b, fmt.Errorf("ota: a secured part of %d octets", len(secured))
	}
	plain := cryptobyte.String(p.decrypt(secured))
	var head, cc []byte
	if !plain.ReadBytes(&head, fixed) || !plain.ReadBytes(&cc, checksumLen) {
		return b, errors.New("ota: the secured part ends early")
	}
	var own [8]byte
	if subtle.ConstantTimeCompare(p.checksum(own[:0], udh, header, head, plain), cc) != 1 {
		return b, ErrChecksum
	}
	for _, octet := range head[:counterLen] {
		b.counter = b.counter<<8 | uint64(octet)
	}
	pad := int(head[counterLen])
	if pad >= p.blockSize() || pad > len(plain) {
		return b, fmt.Errorf("ota: PCNTR %d in blocks of %d: %w", pad, p.blockSize(), &Refusal{b.counter, StatusSecurityError})
	}
	if fixed > counterLen+1 {
		b.status = head[counterLen+1]
	}
	if b.data = plain[:len(plain)-pad]; p.cipher == nil { // else it is a copy already
		b.data = bytes.Clone(b.data)
	}
	return b, nil
}

func sealable(counter uint64, data []byte) error {
	if counter > MaxCounter {
		return fmt.Errorf("ota: counter %d does not fit 40 bits", counter)
	}
	if len(data) > MaxData {
		return fmt.Errorf("ota: %d octets of data, at most %d", len(data), MaxData)
	}
	return nil
}

func appendCounter(b []byte, counter uint64) []byte {
	return append(b, byte(counter>>32), byte(counter>>24), byte(counter>>16), byte(counter>>8), byte(counter))
}
