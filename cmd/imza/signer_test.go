package main

import (
	"bytes"
	"strings"
	"testing"

	"imza/simcard"
)

// boaster is a card whose key has a certificate by its record, and none in its
// file.
type boaster struct{ selected uint16 }

func (b *boaster) Transmit(command []byte) ([]byte, error) {
	c, err := simcard.ParseCommand(command)
	if err != nil {
		return []byte{0x67, 0x00}, nil
	}
	switch {
	case c.INS == simcard.SelectFile:
		b.selected = uint16(c.Data[0])<<8 | uint16(c.Data[1])
		if b.selected == simcard.EFKeys {
			return []byte{0x62, 7, 0x82, 5, 0x42, 0x21, 0, 4, 1, 0x90, 0x00}, nil
		}
		return []byte{0x62, 8, 0x82, 2, 0x41, 0x21, 0x80, 2, 0, 0, 0x90, 0x00}, nil
	case c.INS == simcard.ReadRecord && b.selected == simcard.EFKeys:
		return []byte{1, 1, 1, 1, 0x90, 0x00}, nil
	}
	return []byte{0x6D, 0x00}, nil
}

func TestCertificateThatIsNotThere(t *testing.T) {
	var out bytes.Buffer
	if err := (signer{new(boaster)}).printKeys(&out); err != nil || !strings.Contains(out.String(), "none, though the card says that it has one") {
		t.Errorf("%s%v", out.String(), err)
	}
}
