package fleet

import (
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// slots is the file of the cards' certificates:
//
//	slot i at 2048·i:  length(2) checksum(4) certificate
//
// with the length in octets of the certificate, 0 where there is none, and the
// CRC-32 of it, both big-endian. Two slots are a page, so that a slot is never on
// two; the checksum tells a slot that another process writes at this moment.
type slots struct{ file *os.File }

const (
	slotSize   = 2048
	slotHeader = 2 + 4
)

func openSlots(path string) (*slots, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &slots{file}, nil
}

func (s *slots) Close() error { return s.file.Close() }

func (s *slots) put(i int, der []byte) error {
	if len(der) == 0 || len(der) > slotSize-slotHeader {
		return fmt.Errorf("a certificate of %d octets: 1 to %d have room", len(der), slotSize-slotHeader)
	}
	b := binary.BigEndian.AppendUint16(make([]byte, 0, slotHeader+len(der)), uint16(len(der)))
	b = append(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(der)), der...)
	_, err := s.file.WriteAt(b, int64(i)*slotSize)
	return err
}

// mark tells whether a slot has changed since: its length and checksum.
func (s *slots) mark(i int) (mark slotMark, err error) {
	if _, err = s.file.ReadAt(mark[:], int64(i)*slotSize); errors.Is(err, io.EOF) {
		return slotMark{}, nil // beyond the end nobody has written yet
	}
	return mark, err
}

func (m *slotMark) empty() bool { return m[0] == 0 && m[1] == 0 }

type slotMark [slotHeader]byte

// get reads a slot; an empty one has no certificate.
func (s *slots) get(i int) (der []byte, mark slotMark, err error) {
	b := make([]byte, slotSize)
	n, err := s.file.ReadAt(b, int64(i)*slotSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, mark, err
	}
	if n < slotHeader {
		return nil, mark, nil
	}
	copy(mark[:], b)
	if mark.empty() {
		return nil, mark, nil
	}
	size := int(binary.BigEndian.Uint16(b))
	if slotHeader+size > n {
		return nil, mark, fmt.Errorf("the slot of card %d is cut off", i)
	}
	der = b[slotHeader : slotHeader+size : slotHeader+size]
	if crc32.ChecksumIEEE(der) != binary.BigEndian.Uint32(b[2:]) {
		return nil, mark, fmt.Errorf("the slot of card %d is damaged", i)
	}
	return der, mark, nil
}

// SetCertificate puts a certificate on a card. A running emulator has it from
// the card's next message on.
func (f *Fleet) SetCertificate(i int, key byte, der []byte) error {
	if err := f.has(i); err != nil {
		return err
	}
	private, err := f.private(i, key)
	if err != nil {
		return err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("fleet: the certificate of card %d: %w", i, err)
	}
	if public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(private.Public()) {
		return fmt.Errorf("fleet: the certificate of card %d is of another key", i)
	}
	if err := f.certificates.put(i, der); err != nil {
		return fmt.Errorf("fleet: card %d: %w", i, err)
	}
	return nil
}

// Enrolled reports whether a card has a certificate.
func (f *Fleet) Enrolled(i int) (bool, error) {
	if err := f.has(i); err != nil {
		return false, err
	}
	mark, err := f.certificates.mark(i)
	if err != nil {
		return false, fmt.Errorf("fleet: card %d: %w", i, err)
	}
	return !mark.empty(), nil
}
