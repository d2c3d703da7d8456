package applet

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// About is what the applet tells of itself in its file 6F01 (docs/card.md):
//
//	80 01 version   81 01 abilities   82 01 tries of PIN1
//	83 01 of PIN2   84 01 of the PUK
type About struct {
	Version byte
	// Short: the card gives short answers.
	Short           bool
	PIN1, PIN2, PUK int // tries left
}

const (
	aboutVersion  = 0x80
	aboutAbility  = 0x81
	aboutPIN1     = 0x82
	aboutPIN2     = 0x83
	aboutPUK      = 0x84
	abilityShort  = 0x01
	recordVersion = 1
)

// Append appends the file's content to b, under the version that is written
// here.
func (a *About) Append(b []byte) []byte {
	var abilities byte
	if a.Short {
		abilities = abilityShort
	}
	return append(b, aboutVersion, 1, recordVersion, aboutAbility, 1, abilities,
		aboutPIN1, 1, byte(a.PIN1), aboutPIN2, 1, byte(a.PIN2), aboutPUK, 1, byte(a.PUK))
}

// ParseAbout reads the file's content. Elements of later versions are passed
// over.
func ParseAbout(octets []byte) (a About, err error) {
	s := cryptobyte.String(octets)
	for !s.Empty() {
		at := len(octets) - len(s)
		var tag, octet uint8
		var value cryptobyte.String
		if !s.ReadUint8(&tag) || !s.ReadUint8LengthPrefixed(&value) {
			return a, fmt.Errorf("applet: the element at octet %d runs past the end", at)
		}
		if tag < aboutVersion || tag > aboutPUK {
			continue
		}
		if !value.ReadUint8(&octet) || !value.Empty() {
			return a, fmt.Errorf("applet: element %02x at octet %d is not one octet", tag, at)
		}
		switch tag {
		case aboutVersion:
			a.Version = octet
		case aboutAbility:
			a.Short = octet&abilityShort != 0
		case aboutPIN1:
			a.PIN1 = int(octet)
		case aboutPIN2:
			a.PIN2 = int(octet)
		case aboutPUK:
			a.PUK = int(octet)
		}
	}
	if a.Version == 0 {
		return a, errors.New("applet: no version")
	}
	return a, nil
}

// KeyKind is the algorithm of a key pair.
type KeyKind byte

// The kinds.
const (
	P256    KeyKind = 0x01
	P384    KeyKind = 0x02
	RSA2048 KeyKind = 0x03
)

func (k KeyKind) String() string {
	switch k {
	case P256:
		return "P-256"
	case P384:
		return "P-384"
	case RSA2048:
		return "RSA-2048"
	}
	return fmt.Sprintf("kind %02x", byte(k))
}

// KeyRecord is a record of the applet's file 6F02: number, operation that the
// key is for, kind, and 01 if it has a certificate.
type KeyRecord struct {
	Number    byte
	Operation Operation
	Kind      KeyKind
	Certified bool
}

// KeyRecordLen is the octets of a record.
const KeyRecordLen = 4

// Append appends the record to b.
func (k *KeyRecord) Append(b []byte) []byte {
	var certified byte
	if k.Certified {
		certified = 1
	}
	return append(b, k.Number, byte(k.Operation), byte(k.Kind), certified)
}

// ParseKeyRecord reads a record.
func ParseKeyRecord(octets []byte) (k KeyRecord, err error) {
	if len(octets) != KeyRecordLen {
		return k, fmt.Errorf("applet: a key's record of %d octets", len(octets))
	}
	return KeyRecord{octets[0], Operation(octets[1]), KeyKind(octets[2]), octets[3] == 1}, nil
}

// GenerateKey is the data of GENERATE KEY PAIR: a template for signing (B6) or
// for authentication (A4), with the key's number (84) and its kind (80)
// (ISO 7816-4 §10.3, ISO 7816-8 §11.1).
func (k *KeyRecord) GenerateKey() []byte {
	tag := byte(templateSignature)
	if k.Operation == Authenticate {
		tag = templateAuthentication
	}
	return []byte{tag, 6, 0x84, 1, k.Number, 0x80, 1, byte(k.Kind)}
}

const (
	templateSignature      = 0xB6
	templateAuthentication = 0xA4
)

// ParseGenerateKey reads the data of GENERATE KEY PAIR.
func ParseGenerateKey(octets []byte) (k KeyRecord, err error) {
	s := cryptobyte.String(octets)
	var tag, kind uint8
	var template, number, algorithm cryptobyte.String
	var numberTag, algorithmTag uint8
	if !s.ReadUint8(&tag) || !s.ReadUint8LengthPrefixed(&template) || !s.Empty() ||
		!template.ReadUint8(&numberTag) || !template.ReadUint8LengthPrefixed(&number) ||
		!template.ReadUint8(&algorithmTag) || !template.ReadUint8LengthPrefixed(&algorithm) || !template.Empty() ||
		numberTag != 0x84 || !number.ReadUint8(&k.Number) || !number.Empty() ||
		algorithmTag != 0x80 || !algorithm.ReadUint8(&kind) || !algorithm.Empty() {
		return k, errors.New("applet: not a template of key number and algorithm")
	}
	switch tag {
	case templateSignature:
		k.Operation = Sign
	case templateAuthentication:
		k.Operation = Authenticate
	default:
		return k, fmt.Errorf("applet: template %02x at octet 0", tag)
	}
	if k.Kind = KeyKind(kind); k.Kind < P256 || k.Kind > RSA2048 {
		return k, fmt.Errorf("applet: key kind %02x at octet 7", kind)
	}
	return k, nil
}
