package ota

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/big"
)

// cmac is AES-CMAC (NIST SP 800-38B); packets carry its first eight octets.
// The standard library has none.
type cmac struct {
	block  cipher.Block
	k1, k2 [aes.BlockSize]byte
}

func newCMAC(block cipher.Block) *cmac {
	m := &cmac{block: block}
	var zero [aes.BlockSize]byte
	block.Encrypt(m.k1[:], zero[:])
	double(&m.k1)
	m.k2 = m.k1
	double(&m.k2)
	return m
}

// double multiplies by x in GF(2^128) (SP 800-38B §6.1).
func double(k *[aes.BlockSize]byte) {
	carry := k[0] >> 7
	for i := range len(k) - 1 {
		k[i] = k[i]<<1 | k[i+1]>>7
	}
	k[len(k)-1] = k[len(k)-1]<<1 ^ 0x87*carry
}

func (m *cmac) size() int { return 8 }

func (m *cmac) sum(dst []byte, parts ...[]byte) []byte {
	full := m.full(parts...)
	return append(dst, full[:m.size()]...)
}

// full is the whole 16-octet MAC of the parts, one after another.
func (m *cmac) full(parts ...[]byte) (x [aes.BlockSize]byte) {
	n := 0
	for _, part := range parts {
		for len(part) > 0 {
			// A block is only enciphered once it is known not to be the last.
			if n == len(x) {
				m.block.Encrypt(x[:], x[:])
				n = 0
			}
			added := subtle.XORBytes(x[n:], x[n:], part)
			n, part = n+added, part[added:]
		}
	}
	last := &m.k1
	if n < len(x) {
		x[n] ^= 0x80
		last = &m.k2
	}
	subtle.XORBytes(x[:], x[:], last[:])
	m.block.Encrypt(x[:], x[:])
	return x
}

// DeriveKeys makes one card's AES-128 keys from the master key (16, 24 or 32
// octets) and the card's ICCID: NIST SP 800-108 in counter mode over CMAC,
// K(1) = CMAC(master, 00000001 ‖ label ‖ 00 ‖ ICCID ‖ 00000080), with the
// labels "imza KIc" and "imza KID".
func DeriveKeys(master []byte, iccid string) (Keys, error) {
	kic, err := derive(master, "imza KIc", iccid)
	if err != nil {
		return Keys{}, err
	}
	kid, err := derive(master, "imza KID", iccid)
	return Keys{KIc: kic[:], KID: kid[:]}, err
}

// DeriveADM makes the ADM code with which the card's issuer puts keys and
// certificates on it: eight decimal digits, from K(1) with the label "imza ADM"
// as a big-endian number, modulo 10^8.
func DeriveADM(master []byte, iccid string) (string, error) {
	key, err := derive(master, "imza ADM", iccid)
	code := new(big.Int).Mod(new(big.Int).SetBytes(key[:]), big.NewInt(1e8))
	return fmt.Sprintf("%08d", code), err
}

func derive(master []byte, label, iccid string) (key [aes.BlockSize]byte, err error) {
	block, err := aes.NewCipher(master)
	if err != nil {
		return key, fmt.Errorf("ota: a master key of %d octets", len(master))
	}
	input := binary.BigEndian.AppendUint32(nil, 1)
	input = append(input, label...)
	input = append(input, 0)
	input = append(input, iccid...)
	input = binary.BigEndian.AppendUint32(input, 8*aes.BlockSize)
	return newCMAC(block).full(input), nil
}
