// Package emulator is everything that stands at the other side of a gateway:
// the operator's SMSC, handsets with the people who hold them, and SIM cards.
//
//	smsc.go      speaks SMPP, knows which handset has which number
//	handset.go   speaks ENVELOPE, FETCH and TERMINAL RESPONSE to a card
//	person.go    who looks at the screen and types the PIN
//	sim.go       a card: answers by APDU only
//	applet.go    the signing applet on it
//	pkcs7.go     the signature that it makes
//	profile.go   what a card remembers
//
// It is the counterparty: it imports neither gateway nor pki, so that what it
// signs is judged by code that is not its own.
package emulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"imza/simcard"
	"imza/simcard/ota"
)

// Profile is what a card remembers with its power off.
type Profile struct {
	ICCID      simcard.ICCID
	OTA        ota.Keys
	Counter    uint64 // the last one accepted
	PIN1, PIN2 PIN
	PUK        PIN
	Reference  byte // of the last segmented message sent
	Keys       []Key
	Fault      Fault `json:",omitempty"`
}

// PIN is a secret with its try counter. It is blocked with no tries left.
type PIN struct {
	Digits string
	Tries  int
}

// Tries that a right entry gives back (DESIGN: PIN 3, PUK 10).
const (
	pinTries = 3
	pukTries = 10
)

// Key is a key pair of the card and what it must know of its certificate.
type Key struct {
	Number  byte
	Private []byte // PKCS#8, DER

	// Of the certificate; empty until it is there.
	Issuer []byte   // Name, DER
	Serial []byte   // INTEGER, DER
	Hash   [32]byte // SHA-256 of the certificate

	signer crypto.Signer // parsed from Private
}

// Fault makes a card misbehave, to show that the gateway notices.
type Fault string

// The faults.
const (
	ForeignKey    Fault = "foreign-key"    // signs with a key that is not the registered one
	AnotherDigest Fault = "another-digest" // signs another digest than the one asked
)

// NewProfile makes the profile of a new card.
func NewProfile(iccid simcard.ICCID, keys ota.Keys, pin1, pin2, puk string) *Profile {
	return &Profile{ICCID: iccid, OTA: keys, PIN1: PIN{pin1, pinTries}, PIN2: PIN{pin2, pinTries}, PUK: PIN{puk, pukTries}}
}

// AddKey puts a key pair on the card and returns its public half, for which a
// certificate is to be issued.
func (p *Profile) AddKey(number byte, private crypto.Signer) (crypto.PublicKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("emulator: key %d: %w", number, err)
	}
	p.Keys = append(p.Keys, Key{Number: number, Private: der, signer: private})
	return private.Public(), nil
}

// SetCertificate tells the card which certificate a key has.
func (p *Profile) SetCertificate(number byte, cert *x509.Certificate) error {
	k := p.key(number)
	if k == nil {
		return fmt.Errorf("emulator: no key %d", number)
	}
	k.Issuer = cert.RawIssuer
	k.Serial = integer(cert.SerialNumber)
	k.Hash = sha256.Sum256(cert.Raw)
	return nil
}

func (p *Profile) key(number byte) *Key {
	for i := range p.Keys {
		if p.Keys[i].Number == number {
			return &p.Keys[i]
		}
	}
	return nil
}

// private returns the key's private half.
func (k *Key) private() (crypto.Signer, error) {
	if k.signer == nil {
		key, err := x509.ParsePKCS8PrivateKey(k.Private)
		if err != nil {
			return nil, fmt.Errorf("emulator: key %d: %w", k.Number, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("emulator: key %d does not sign", k.Number)
		}
		k.signer = signer
	}
	return k.signer, nil
}

// Shelf keeps profiles in files, one a card: what a card's own memory is.
type Shelf struct{ Dir string }

func (s Shelf) path(iccid simcard.ICCID) string {
	return filepath.Join(s.Dir, string(iccid)+".json")
}

// Put stores a profile. It is there, whole, even if the process dies here.
func (s Shelf) Put(p *Profile) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	next := s.path(p.ICCID) + ".next"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	if err := os.Rename(next, s.path(p.ICCID)); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// Get reads a profile. A missing one is an fs.ErrNotExist.
func (s Shelf) Get(iccid simcard.ICCID) (*Profile, error) {
	raw, err := os.ReadFile(s.path(iccid))
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	p := new(Profile)
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("emulator: card %s: %w", iccid, err)
	}
	if p.ICCID != iccid {
		return nil, errors.New("emulator: the file is of another card")
	}
	return p, nil
}

// NewP256 makes a P-256 key pair.
func NewP256() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// RSAPool makes RSA-2048 key pairs ahead, since one takes up to seconds.
type RSAPool struct{ keys chan rsaKey }

type rsaKey struct {
	key *rsa.PrivateKey
	err error
}

// NewRSAPool begins to make n key pairs.
func NewRSAPool(n int) *RSAPool {
	pool := &RSAPool{make(chan rsaKey, n)}
	go func() {
		for range n {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			pool.keys <- rsaKey{key, err}
		}
		close(pool.keys)
	}()
	return pool
}

// Take returns a key pair that nobody else gets.
func (p *RSAPool) Take() (crypto.Signer, error) {
	made, ok := <-p.keys
	if !ok {
		return nil, errors.New("emulator: the pool of RSA keys is used up")
	}
	return made.key, made.err
}
