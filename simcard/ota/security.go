package ota

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// SPI is the Security Parameter Indicator (TS 102 225 §5.1.1): its first octet
// says how the command is secured, its second how the answer is to be.
type SPI [2]byte

// Counter rules of SPI1, bits 5 and 4.
const (
	CounterNone       = 0
	CounterUnchecked  = 1
	CounterHigher     = 2
	CounterOneHigher  = 3
	checksumNone      = 0
	checksumCRC       = 1 // redundancy check: no key, protects against noise only
	checksumCC        = 2 // cryptographic checksum
	checksumSignature = 3 // reserved
)

// level is what either octet says about one direction.
type level struct {
	checksum byte
	ciphered bool
}

func (s SPI) command() level  { return level{s[0] & 3, s[0]&4 != 0} }
func (s SPI) response() level { return level{s[1] >> 2 & 3, s[1]&0x10 != 0} }

// CounterRule is one of CounterNone … CounterOneHigher.
func (s SPI) CounterRule() int { return int(s[0] >> 3 & 3) }

func (s SPI) String() string { return hex.EncodeToString(s[:]) }

// Security is the security level of one application as packets write it down.
type Security struct {
	SPI SPI
	KIc byte // high nibble: key index; low nibble: algorithm
	KID byte
}

// protects reports whether a packet that claims s is ciphered and checksummed
// as agreed, with the same algorithms and keys, so that its checksum may be
// looked at. Where the checksum has no key it proves nothing of the sender, and
// only the very level will do.
func (s Security) protects(agreed Security) bool {
	command := agreed.SPI.command()
	return s == agreed || command.checksum == checksumCC && command == s.SPI.command() && s.KIc == agreed.KIc && s.KID == agreed.KID
}

func (s Security) String() string { return fmt.Sprintf("%s %02x %02x", s.SPI, s.KIc, s.KID) }

// Signing is the level of the signing applet: checksum, ciphering and a rising
// counter on the command; an answer that is always sent, checksummed and
// ciphered, as a short message of its own; AES, first key set.
var Signing = Security{SPI: SPI{0x16, 0x39}, KIc: 0x12, KID: 0x12}

// Keys are one card's keys, 16 octets for AES-128 and 3DES with two keys.
type Keys struct{ KIc, KID []byte }

// The low nibble of KIc and KID (TS 102 225 §5.1.2, §5.1.3). DES with a single
// key (1 in CBC, D in ECB) is missing on purpose: its receipts gave away card
// keys in minutes. 0 (implicitly known) is missing since nobody can check it.
const (
	algorithmAES   = 0x2 // CBC as KIc, CMAC as KID
	algorithm3DES2 = 0x5
	algorithm3DES3 = 0x9
	crcKID16       = 0x1 // with a redundancy check
	crcKID32       = 0x5
)

func newBlock(name string, octet byte, key []byte) (cipher.Block, error) {
	switch octet & 0x0F {
	case algorithmAES:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("ota: %s: an AES key of %d octets", name, len(key))
		}
		return block, nil
	case algorithm3DES2:
		if len(key) != 16 {
			return nil, fmt.Errorf("ota: %s: a two-key 3DES key of %d octets", name, len(key))
		}
		return des.NewTripleDESCipher(append(key[:16:16], key[:8]...))
	case algorithm3DES3:
		if len(key) != 24 {
			return nil, fmt.Errorf("ota: %s: a three-key 3DES key of %d octets", name, len(key))
		}
		return des.NewTripleDESCipher(key)
	}
	return nil, fmt.Errorf("ota: %s octet %02x: only AES (low nibble 2) and 3DES (5, 9) are read and written", name, octet)
}

// protection is one direction of a channel with its keys in place.
type protection struct {
	cipher cipher.Block // nil: not ciphered
	mac    mac          // nil: no checksum
}

// mac appends its checksum of the parts, one after another, to dst.
type mac interface {
	sum(dst []byte, parts ...[]byte) []byte
	size() int
}

func (s Security) protection(l level, keys Keys) (p protection, err error) {
	if l.ciphered {
		if p.cipher, err = newBlock("KIc", s.KIc, keys.KIc); err != nil {
			return p, err
		}
	}
	switch l.checksum {
	case checksumNone:
	case checksumCRC:
		if p.mac, err = newCRC(s.KID); err != nil {
			return p, err
		}
	case checksumCC:
		block, err := newBlock("KID", s.KID, keys.KID)
		if err != nil {
			return p, err
		}
		if block.BlockSize() == aes.BlockSize {
			p.mac = newCMAC(block)
		} else {
			p.mac = cbcMAC{block}
		}
	default:
		return p, errors.New("ota: SPI asks for a digital signature, which TS 102 225 reserves")
	}
	return p, nil
}

func (p *protection) checksumLen() int {
	if p.mac == nil {
		return 0
	}
	return p.mac.size()
}

func (p *protection) checksum(dst []byte, parts ...[]byte) []byte {
	if p.mac == nil {
		return dst
	}
	return p.mac.sum(dst, parts...)
}

func (p *protection) blockSize() int {
	if p.cipher == nil {
		return 1
	}
	return p.cipher.BlockSize()
}

// padding is how many zero octets bring n to whole cipher blocks.
func (p *protection) padding(n int) int { return -n & (p.blockSize() - 1) }

var zeroIV [aes.BlockSize]byte

func (p *protection) encrypt(b []byte) {
	if p.cipher != nil {
		cipher.NewCBCEncrypter(p.cipher, zeroIV[:p.cipher.BlockSize()]).CryptBlocks(b, b)
	}
}

// decrypt leaves b as it is and returns a copy where there is something to do.
func (p *protection) decrypt(b []byte) []byte {
	if p.cipher == nil {
		return b
	}
	plain := make([]byte, len(b))
	cipher.NewCBCDecrypter(p.cipher, zeroIV[:p.cipher.BlockSize()]).CryptBlocks(plain, b)
	return plain
}

// cbcMAC is the 3DES checksum: CBC from a zero IV over the zero-filled
// message, its last block. The fill is not sent.
type cbcMAC struct{ block cipher.Block }

func (m cbcMAC) size() int { return des.BlockSize }

func (m cbcMAC) sum(dst []byte, parts ...[]byte) []byte {
	var x [des.BlockSize]byte
	n := 0
	for _, part := range parts {
		for _, octet := range part {
			x[n] ^= octet
			if n++; n == len(x) {
				m.block.Encrypt(x[:], x[:])
				n = 0
			}
		}
	}
	if n > 0 {
		m.block.Encrypt(x[:], x[:])
	}
	return append(dst, x[:]...)
}

// crc is the redundancy check of TS 102 225 §5.1.3: CRC-16 (the CCITT
// polynomial as X.25 runs it) or CRC-32 (ISO/IEC 13239).
type crc struct{ octets int }

func newCRC(kid byte) (mac, error) {
	switch kid & 0x0F {
	case crcKID16:
		return crc{2}, nil
	case crcKID32:
		return crc{4}, nil
	}
	return nil, fmt.Errorf("ota: KID octet %02x: a redundancy check is CRC-16 (low nibble 1) or CRC-32 (5)", kid)
}

func (c crc) size() int { return c.octets }

func (c crc) sum(dst []byte, parts ...[]byte) []byte {
	if c.octets == 4 {
		var sum uint32
		for _, part := range parts {
			sum = crc32.Update(sum, crc32.IEEETable, part)
		}
		return binary.BigEndian.AppendUint32(dst, sum)
	}
	sum := uint16(0xFFFF)
	for _, part := range parts {
		for _, octet := range part {
			sum ^= uint16(octet)
			for range 8 {
				sum = sum>>1 ^ 0x8408*(sum&1)
			}
		}
	}
	return binary.BigEndian.AppendUint16(dst, ^sum)
}
