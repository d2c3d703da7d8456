// Package applet reads and writes the messages between the gateway and the
// signing applet on the card. They are the data of a secured packet (package
// ota), so whoever reads one knows who wrote it. docs/applet.md explains them
// octet by octet.
//
// Challenge, to the card:
//
//	01, 02     a challenge that asks for the full answer, or for the short one
//	reference  10  names the transaction
//	operation  1   01 sign under PIN2, 02 authenticate under PIN1
//	key        1   which of the card's keys
//	algorithm  1   01 SHA-256, 02 SHA-384, 03 SHA-512
//	digest     32, 48 or 64
//	time       4   claimed signing time, seconds since 1970-01-01 UTC
//	language   1   01 az, 02 en, 03 ru
//	coding     1   of the text: 00 one octet a character, 08 UCS-2
//	text           to the end
//
// Answer, from the card:
//
//	81, 82     the full answer, or the short one, as was asked for
//	reference  10
//	result     1
//	signature      to the end, with result 00 only: CMS SignedData in DER in the
//	               full answer, the signature value alone in the short one
package applet

import (
	"crypto"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// TAR addresses the signing applet on the card.
var TAR = [3]byte{'I', 'M', 'Z'}

const (
	typeChallenge      = 0x01
	typeChallengeShort = 0x02
	typeAnswer         = 0x81
	typeAnswerShort    = 0x82
)

// Reference names a transaction in the messages: ten random octets, so that it
// cannot be guessed and does not come twice. Its text form is the
// transaction's id everywhere else.
type Reference [10]byte

var referenceText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// String is the reference in 16 letters and digits.
func (r Reference) String() string { return referenceText.EncodeToString(r[:]) }

// ParseReference reads what String wrote.
func ParseReference(s string) (r Reference, err error) {
	raw, err := referenceText.DecodeString(s)
	if err != nil || len(raw) != len(r) || len(s) != 16 { // the decoder passes over line ends and odd tails
		return r, errors.New("applet: not a transaction reference")
	}
	return Reference(raw), nil
}

// Operation is what the key is to be used for.
type Operation byte

// The operations.
const (
	Sign         Operation = 0x01 // under PIN2
	Authenticate Operation = 0x02 // under PIN1
)

// Algorithm is a digest algorithm.
type Algorithm byte

// The digest algorithms. SHA-1 and MD5 are missing: nothing signed today may
// rest on them.
const (
	SHA256 Algorithm = 0x01
	SHA384 Algorithm = 0x02
	SHA512 Algorithm = 0x03
)

// Hash is the algorithm as the standard library names it, 0 if it is none.
func (a Algorithm) Hash() crypto.Hash {
	switch a {
	case SHA256:
		return crypto.SHA256
	case SHA384:
		return crypto.SHA384
	case SHA512:
		return crypto.SHA512
	}
	return 0
}

// Size is a digest's octets, 0 of an unknown algorithm.
func (a Algorithm) Size() int {
	if h := a.Hash(); h != 0 {
		return h.Size()
	}
	return 0
}

// Language is the language of the card's own words around the text.
type Language byte

// The languages.
const (
	Azerbaijani Language = 0x01
	English     Language = 0x02
	Russian     Language = 0x03
)

// Challenge asks a card for a signature.
type Challenge struct {
	// Short asks for the short answer, which fits one message: the rest of the
	// SignedData follows from the challenge, so whoever asked can write it.
	Short     bool
	Reference Reference
	Operation Operation
	Key       byte
	Algorithm Algorithm
	Digest    []byte
	Time      time.Time // whole seconds; up to 2106
	Language  Language
	Text      string // what the person is shown; see CheckText
}

// Append appends the challenge to b.
func (c *Challenge) Append(b []byte) ([]byte, error) {
	if size := c.Algorithm.Size(); size == 0 || len(c.Digest) != size {
		return nil, fmt.Errorf("applet: a digest of %d octets by algorithm %02x", len(c.Digest), byte(c.Algorithm))
	}
	seconds := c.Time.Unix()
	if seconds < 0 || seconds > 1<<32-1 {
		return nil, fmt.Errorf("applet: the time %s does not fit 32 bits", c.Time)
	}
	coding, text, err := encodeText(c.Text)
	if err != nil {
		return nil, err
	}
	kind := byte(typeChallenge)
	if c.Short {
		kind = typeChallengeShort
	}
	b = append(b, kind)
	b = append(b, c.Reference[:]...)
	b = append(b, byte(c.Operation), c.Key, byte(c.Algorithm))
	b = append(b, c.Digest...)
	b = append(b, byte(seconds>>24), byte(seconds>>16), byte(seconds>>8), byte(seconds))
	b = append(b, byte(c.Language), coding)
	return append(b, text...), nil
}

// ParseChallenge reads a challenge. Digest aliases octets.
func ParseChallenge(octets []byte) (c Challenge, err error) {
	s := cryptobyte.String(octets)
	var kind, operation, algorithm, language, coding uint8
	if !s.ReadUint8(&kind) || kind != typeChallenge && kind != typeChallengeShort {
		return c, errors.New("applet: octet 0 is not of a challenge")
	}
	c.Short = kind == typeChallengeShort
	if !s.CopyBytes(c.Reference[:]) || !s.ReadUint8(&operation) || !s.ReadUint8(&c.Key) || !s.ReadUint8(&algorithm) {
		return c, errors.New("applet: the challenge ends before its digest")
	}
	c.Operation, c.Algorithm = Operation(operation), Algorithm(algorithm)
	if c.Operation != Sign && c.Operation != Authenticate {
		return c, fmt.Errorf("applet: operation %02x at octet 11", operation)
	}
	if c.Algorithm.Size() == 0 {
		return c, fmt.Errorf("applet: digest algorithm %02x at octet 13", algorithm)
	}
	var seconds uint32
	if !s.ReadBytes(&c.Digest, c.Algorithm.Size()) || !s.ReadUint32(&seconds) || !s.ReadUint8(&language) || !s.ReadUint8(&coding) {
		return c, errors.New("applet: the challenge ends before its text")
	}
	c.Time = time.Unix(int64(seconds), 0).UTC()
	if c.Language = Language(language); c.Language < Azerbaijani || c.Language > Russian {
		return c, fmt.Errorf("applet: language %02x", language)
	}
	c.Text, err = decodeText(coding, s)
	return c, err
}

// Result is what became of a challenge on the card.
type Result byte

// The results.
const (
	Signed          Result = 0x00
	CancelledByUser Result = 0x01 // the person refused
	PINBlocked      Result = 0x02 // no tries left, now or already before
	Busy            Result = 0x03 // another challenge is on the screen
	KeyUnknown      Result = 0x04 // no such key for this operation, or no certificate for it
	NotUnderstood   Result = 0x05 // the challenge does not parse, or asks for an answer that the card does not give
	TerminalFailed  Result = 0x06 // the telephone could not show or ask
)

func (r Result) String() string {
	switch r {
	case Signed:
		return "signed"
	case CancelledByUser:
		return "cancelled"
	case PINBlocked:
		return "pin blocked"
	case Busy:
		return "busy"
	case KeyUnknown:
		return "key unknown"
	case NotUnderstood:
		return "not understood"
	case TerminalFailed:
		return "terminal failed"
	}
	return fmt.Sprintf("result %02x", byte(r))
}

// Answer is the card's answer.
type Answer struct {
	Short     bool
	Reference Reference
	Result    Result
	// Signature is CMS SignedData in DER without certificates, or in a short
	// answer the signature value: of ECDSA r‖s, each in the octets of the curve
	// (P-256: 32, P-384: 48), of RSA as many octets as the modulus has.
	Signature []byte
}

// Append appends the answer to b.
func (a *Answer) Append(b []byte) []byte {
	kind := byte(typeAnswer)
	if a.Short {
		kind = typeAnswerShort
	}
	b = append(b, kind)
	b = append(b, a.Reference[:]...)
	b = append(b, byte(a.Result))
	return append(b, a.Signature...)
}

// ParseAnswer reads an answer. Signature aliases octets; whether it is one is
// not looked at here.
func ParseAnswer(octets []byte) (a Answer, err error) {
	s := cryptobyte.String(octets)
	var kind, result uint8
	if !s.ReadUint8(&kind) || kind != typeAnswer && kind != typeAnswerShort {
		return a, errors.New("applet: octet 0 is not of an answer")
	}
	a.Short = kind == typeAnswerShort
	if !s.CopyBytes(a.Reference[:]) || !s.ReadUint8(&result) {
		return a, errors.New("applet: the answer ends before its result")
	}
	a.Result = Result(result)
	if a.Result != Signed && !s.Empty() {
		return a, fmt.Errorf("applet: %d octets behind result %02x", len(s), result)
	}
	a.Signature = s
	return a, nil
}

// VerificationCode is the four digits that provider and telephone both show,
// so that the person sees that they speak of the same thing: from the first
// and the last octet of the digest, as the Baltic Mobile-ID clients compute it.
func VerificationCode(digest []byte) string {
	first, last := int(digest[0]), int(digest[len(digest)-1])
	code := (first&0xFC)<<5 | last&0x7F // up to 8191
	return string([]byte{'0' + byte(code/1000), '0' + byte(code/100%10), '0' + byte(code/10%10), '0' + byte(code%10)})
}
