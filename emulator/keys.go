package emulator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"imza/simcard"
	"imza/simcard/applet"
)

// Key is a key pair of the card, with its certificate.
type Key struct {
	Number    byte
	Operation applet.Operation `json:",omitempty"` // what it is for; 0 is Sign
	Private   []byte           // PKCS#8, DER
	// Request is the PKCS#10 request that the card made when it made the key, so
	// that the authority sees that the card has the private half.
	Request     []byte `json:",omitempty"`
	Certificate []byte `json:",omitempty"` // X.509, DER; empty until it is there

	// Parsed from the above by prepare.
	signer crypto.Signer
	kind   applet.KeyKind
	sid    []byte   // issuerAndSerialNumber, DER
	hash   [32]byte // SHA-256 of the certificate
}

func (k *Key) operation() applet.Operation {
	if k.Operation == 0 {
		return applet.Sign
	}
	return k.Operation
}

// prepare parses what is stored of a key.
func (k *Key) prepare() error {
	if k.signer == nil {
		parsed, err := x509.ParsePKCS8PrivateKey(k.Private)
		if err != nil {
			return fmt.Errorf("emulator: key %d: %w", k.Number, err)
		}
		signer, ok := parsed.(crypto.Signer)
		if !ok {
			return fmt.Errorf("emulator: key %d does not sign", k.Number)
		}
		k.signer = signer
	}
	var err error
	if k.kind, err = kindOf(k.signer.Public()); err != nil {
		return fmt.Errorf("emulator: key %d: %w", k.Number, err)
	}
	if len(k.Certificate) == 0 {
		return nil
	}
	hash := sha256.Sum256(k.Certificate)
	if k.sid != nil && k.hash == hash {
		return nil // it was parsed when it was put here
	}
	cert, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		return fmt.Errorf("emulator: the certificate of key %d: %w", k.Number, err)
	}
	if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(k.signer.Public()) {
		return fmt.Errorf("emulator: the certificate is of another key than %d", k.Number)
	}
	k.sid, k.hash = issuerAndSerial(cert), hash
	return nil
}

func kindOf(public crypto.PublicKey) (applet.KeyKind, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return applet.P256, nil
		case elliptic.P384():
			return applet.P384, nil
		}
	case *rsa.PublicKey:
		if key.N.BitLen() == 2048 {
			return applet.RSA2048, nil
		}
	}
	return 0, errors.New("keys are P-256, P-384 or RSA-2048")
}

// NewKey makes a key pair.
func NewKey(kind applet.KeyKind) (crypto.Signer, error) {
	switch kind {
	case applet.P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case applet.P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case applet.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("emulator: %s is not made", kind)
}

// AddKey puts a key pair on the card that was made elsewhere.
func (p *Profile) AddKey(number byte, operation applet.Operation, private crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("emulator: key %d: %w", number, err)
	}
	k := Key{Number: number, Operation: operation, Private: der, signer: private}
	if err := k.prepare(); err != nil {
		return err
	}
	// The list is copied: a card that has the profile goes on with its own.
	p.Keys = append(p.Keys[:len(p.Keys):len(p.Keys)], k)
	return nil
}

// LendKey gives a card a key pair that it does not store, with its certificate
// if there is one: whoever makes the card gives both again the next time. So a
// card of many is made without writing its key down and reading it back.
func (p *Profile) LendKey(number byte, operation applet.Operation, private crypto.Signer, certificate []byte) error {
	k := Key{Number: number, Operation: operation, Certificate: certificate, signer: private}
	if err := k.prepare(); err != nil {
		return err
	}
	p.Keys = append(p.Keys[:len(p.Keys):len(p.Keys)], k)
	return nil
}

// SetCertificate tells the card which certificate a key has.
func (p *Profile) SetCertificate(number byte, certificate []byte) error {
	k := p.key(number)
	if k == nil {
		return fmt.Errorf("emulator: no key %d", number)
	}
	certified := *k
	certified.Certificate = bytes.Clone(certificate)
	if err := certified.prepare(); err != nil {
		return err
	}
	*k = certified
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

// mostKeys is how many a card has room for.
const mostKeys = 16

// generateKeyPair is GENERATE KEY PAIR, for who knows the ADM key. The private
// half never leaves the card; that it is there is shown by the request, which
// is signed with it and is read from its file.
func (s *SIM) generateKeyPair(c simcard.Command) simcard.Response {
	if c.P1 != 0 || c.P2 != 0 {
		return status(simcard.SWWrongP1P2)
	}
	if s.df != adfSigner {
		return status(simcard.SWConditions)
	}
	if !s.verified[simcard.ADM] {
		return status(simcard.SWSecurityStatus)
	}
	wanted, err := applet.ParseGenerateKey(c.Data)
	if err != nil || wanted.Number == 0 {
		return status(simcard.SWWrongData)
	}
	if s.profile.key(wanted.Number) != nil || len(s.profile.Keys) >= mostKeys {
		return status(simcard.SWConditions) // a key is not written over
	}
	private, err := NewKey(wanted.Kind)
	if err != nil {
		return status(simcard.SWTechnical)
	}
	if err := s.profile.AddKey(wanted.Number, wanted.Operation, private); err != nil {
		return status(simcard.SWTechnical)
	}
	k := s.profile.key(wanted.Number)
	if k.Request, err = Request(s.profile.ICCID, private); err == nil {
		err = s.save(s.profile)
	}
	if err != nil {
		s.profile.Keys = s.profile.Keys[:len(s.profile.Keys)-1]
		return status(simcard.SWMemory)
	}
	return status(simcard.SWOK)
}

// updateBinary is UPDATE BINARY (TS 102 221 §11.1.4), of certificates only and
// for who knows the ADM key: piece by piece from the beginning. The last piece
// puts the certificate in place, and until then nothing has changed.
func (s *SIM) updateBinary(c simcard.Command) simcard.Response {
	switch {
	case c.P1&shortIDBit != 0: // certificates have no short identifier
		return status(simcard.SWFileNotFound)
	case s.ef == nil:
		return status(simcard.SWNoEF)
	case s.ef.content == nil:
		return status(simcard.SWFileStructure)
	case s.ef.rule != issued || !s.verified[simcard.ADM]:
		return status(simcard.SWSecurityStatus)
	case len(c.Data) == 0:
		return status(simcard.SWWrongLength)
	}
	offset := int(c.P1)<<8 | int(c.P2)
	if offset == 0 {
		s.writing = nil
	}
	if offset != len(s.writing) || offset+len(c.Data) > maxCertificate {
		return status(simcard.SWOffset)
	}
	s.writing = append(s.writing, c.Data...)
	size, ok := derSize(s.writing)
	switch {
	case !ok || len(s.writing) > size:
		s.writing = nil
		return status(simcard.SWWrongData)
	case len(s.writing) < size:
		return status(simcard.SWOK) // more is to come
	}
	before := *s.profile.key(s.ef.key)
	err := s.profile.SetCertificate(s.ef.key, s.writing)
	s.writing = nil
	if err != nil {
		return status(simcard.SWWrongData)
	}
	if s.save(s.profile) != nil {
		*s.profile.key(s.ef.key) = before
		return status(simcard.SWMemory)
	}
	return status(simcard.SWOK)
}

// maxCertificate is the most octets of a certificate that the card has room for.
const maxCertificate = 4 << 10

// derSize is how many octets a certificate has, from its first four: 30 82 and
// its length. It is large while they are not there.
func derSize(b []byte) (size int, ok bool) {
	if len(b) < 4 {
		return maxCertificate, true
	}
	return 4 + int(b[2])<<8 + int(b[3]), b[0] == 0x30 && b[1] == 0x82
}
