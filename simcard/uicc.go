package simcard

import "fmt"

// Instructions of a UICC (TS 102 221 §10.1.2), CLA 00 where nothing else is
// said.
const (
	SelectFile       = 0xA4
	ReadBinary       = 0xB0
	ReadRecord       = 0xB2
	UpdateBinary     = 0xD6
	Status           = 0xF2 // CLA 80
	GetResponse      = 0xC0
	Verify           = 0x20
	ChangePIN        = 0x24
	DisablePIN       = 0x26
	EnablePIN        = 0x28
	UnblockPIN       = 0x2C
	GenerateKeyPair  = 0x47 // ISO 7816-8 §11.1
	ManageChannel    = 0x70
	TerminalProfile  = 0x10 // this and the next three: CLA 80
	Fetch            = 0x12
	TerminalResponse = 0x14
	Envelope         = 0xC2
	selectByFileID   = 0x00
	selectByAID      = 0x04
	selectReturnsFCP = 0x04
)

// Files (TS 102 221 §13, TS 31.102 §4).
const (
	MF      = 0x3F00
	EFICCID = 0x2FE2
	EFDIR   = 0x2F00
	EFIMSI  = 0x6F07 // in the USIM
)

// Files of the signing applet, in its ADF: docs/card.md.
const (
	EFApplet  = 0x6F01 // version, what it can do, tries left
	EFKeys    = 0x6F02 // a record for each key
	EFCert    = 0x4C00 // + key: the certificate, DER
	EFRequest = 0x4D00 // + key: PKCS#10 request, DER
)

// AID names an application on a card (TS 101 220 §4).
type AID string

// Applications. The USIM's is the part that all USIMs have in common, by which
// it may be selected (TS 31.102 §4.1); the signing applet's begins with F, which
// needs no registration.
const (
	USIM   AID = "\xA0\x00\x00\x00\x87\x10\x02"
	Signer AID = "\xF0IMZA\x01"
)

// Key references: P2 of the commands about PINs (TS 102 221 §9.5.1). Those
// from 81 on are local: they count where their application is selected.
const (
	PINTelephone  = 0x01 // of the USIM
	PIN2Telephone = 0x81
	PIN1          = 0x02 // of the signing applet
	PIN2          = 0x82
	ADM           = 0x0A // of who issues the card
)

// PINLen is the octets of a PIN in commands: its digits, then FF.
const PINLen = 8

// PadPIN is a PIN of at most eight digits as commands carry it.
func PadPIN(digits string) []byte {
	octets := []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	copy(octets, digits)
	return octets
}

// Select selects an application by the beginning of its AID.
func Select(aid AID) Command {
	return Command{INS: SelectFile, P1: selectByAID, P2: selectReturnsFCP, Data: []byte(aid)}
}

// SelectEF selects a file of the current DF.
func SelectEF(id uint16) Command {
	return Command{INS: SelectFile, P1: selectByFileID, P2: selectReturnsFCP, Data: []byte{byte(id >> 8), byte(id)}}
}

// What READ BINARY reaches with the fifteen bits of its offset, and the longest
// record (TS 102 221 §11.1.3, §8.2.2.2).
const (
	maxBinary = 1 << 15
	maxRecord = 255
)

// open selects a file of the current DF.
func open(card Card, id uint16) (FCP, error) {
	r, err := Do(card, SelectEF(id))
	switch {
	case err != nil:
		return FCP{}, err
	case r.SW == SWFileNotFound:
		return FCP{}, fmt.Errorf("%w: %04X", ErrNoFile, id)
	case !r.SW.OK():
		return FCP{}, fmt.Errorf("simcard: SELECT %04X: %s", id, r.SW)
	}
	return ParseFCP(r.Data)
}

// ReadFile selects a transparent file of the current DF and reads all of it.
// A card that has no such file is an ErrNoFile.
func ReadFile(card Card, id uint16) ([]byte, error) {
	fcp, err := open(card, id)
	if err != nil {
		return nil, err
	}
	if fcp.Size > maxBinary {
		return nil, fmt.Errorf("simcard: %04X has %d octets, READ BINARY reaches %d", id, fcp.Size, maxBinary)
	}
	var content []byte
	for len(content) < fcp.Size {
		at := len(content)
		r, err := Do(card, Command{INS: ReadBinary, P1: byte(at >> 8), P2: byte(at), Le: min(fcp.Size-at, 255)})
		if err != nil {
			return nil, err
		}
		if !r.SW.OK() || len(r.Data) == 0 {
			return nil, fmt.Errorf("simcard: READ BINARY of %04X at %d: %s", id, at, r.SW)
		}
		content = append(content, r.Data...)
	}
	return content, nil
}

// ReadRecords selects a linear fixed file of the current DF and reads all its
// records.
func ReadRecords(card Card, id uint16) (records [][]byte, err error) {
	fcp, err := open(card, id)
	if err != nil {
		return nil, err
	}
	if fcp.Records > 0 && (fcp.RecordSize < 1 || fcp.RecordSize > maxRecord) {
		return nil, fmt.Errorf("simcard: records of %d octets in %04X", fcp.RecordSize, id)
	}
	for n := 1; n <= fcp.Records; n++ {
		r, err := Do(card, Command{INS: ReadRecord, P1: byte(n), P2: 0x04, Le: fcp.RecordSize})
		if err != nil {
			return nil, err
		}
		if !r.SW.OK() {
			return nil, fmt.Errorf("simcard: READ RECORD %d of %04X: %s", n, id, r.SW)
		}
		records = append(records, r.Data)
	}
	return records, nil
}
