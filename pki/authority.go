package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Lifetimes of what is issued.
const (
	rootYears    = 20
	issuingYears = 10
	holderYears  = 3
)

// Authority is the root and the issuing authority below it, with the latter's
// key. Its methods are safe for concurrent use.
type Authority struct {
	Root, Issuing *x509.Certificate
	key           crypto.Signer // of Issuing
	url           string
	signed        signed
	forms         sync.Map // *form by Usage
}

// Names of the files in an authority's folder.
const (
	rootFile       = "root.pem"
	issuingFile    = "issuing.pem"
	issuingKeyFile = "issuing.key"
	urlFile        = "url"
)

// OpenAuthority loads the authority in a folder, or makes one there if the
// folder has none. url is where its revocation lists and OCSP answers are
// served; a certificate carries it, so it counts when the authority is made.
//
// The root's key signs the issuing authority and is then forgotten: nothing
// that runs needs it.
func OpenAuthority(dir, url string, now time.Time) (*Authority, error) {
	// A link that leads nowhere is an authority that is lost, not one that is
	// to be made: its key may still be here, and would be written over.
	if _, err := os.Lstat(filepath.Join(dir, issuingFile)); err == nil {
		return loadAuthority(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pki: %w", err)
	}
	a, key, err := newAuthority(url, now)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	// issuing.pem comes last: without it the folder holds no authority, and a
	// start that was cut off here begins anew.
	for _, file := range []struct {
		name string
		data []byte
	}{
		{urlFile, []byte(a.url)},
		{issuingKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})},
		{rootFile, pemCertificate(a.Root)},
		{issuingFile, pemCertificate(a.Issuing)},
	} {
		if err := writeWhole(filepath.Join(dir, file.name), file.data); err != nil {
			return nil, fmt.Errorf("pki: %w", err)
		}
	}
	return a, nil
}

// writeWhole leaves no part of a file behind if it is cut off, nor the mode of
// one that was there before.
func writeWhole(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func loadAuthority(dir string) (*Authority, error) {
	a := &Authority{}
	url, err := os.ReadFile(filepath.Join(dir, urlFile))
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	a.url = string(url)
	if a.Root, err = readCertificate(filepath.Join(dir, rootFile)); err != nil {
		return nil, err
	}
	if a.Issuing, err = readCertificate(filepath.Join(dir, issuingFile)); err != nil {
		return nil, err
	}
	der, err := readPEM(filepath.Join(dir, issuingKeyFile))
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", issuingKeyFile, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(a.Issuing.PublicKey) {
		return nil, fmt.Errorf("pki: %s is not the key of %s", issuingKeyFile, issuingFile)
	}
	a.key = signer
	return a, a.checkIssuing()
}

func (a *Authority) checkIssuing() error {
	if err := a.Issuing.CheckSignatureFrom(a.Root); err != nil {
		return fmt.Errorf("pki: the issuing certificate: %w", err)
	}
	return nil
}

func newAuthority(url string, now time.Time) (a *Authority, issuingKey []byte, err error) {
	a = &Authority{url: strings.TrimSuffix(url, "/")}
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %w", err)
	}
	root := caTemplate("imza root", now, rootYears)
	root.SubjectKeyId = keyID(rootKey.Public())
	if a.Root, err = create(root, root, rootKey.Public(), rootKey); err != nil {
		return nil, nil, err
	}
	issuing := caTemplate("imza issuing", now, issuingYears)
	issuing.SubjectKeyId, issuing.AuthorityKeyId = keyID(key.Public()), root.SubjectKeyId
	issuing.MaxPathLen, issuing.MaxPathLenZero = 0, true
	if a.Issuing, err = create(issuing, a.Root, key.Public(), rootKey); err != nil {
		return nil, nil, err
	}
	a.key = key
	if issuingKey, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, nil, fmt.Errorf("pki: %w", err)
	}
	return a, issuingKey, a.checkIssuing()
}

func caTemplate(name string, now time.Time, years int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Country: []string{"AZ"}, Organization: []string{"imza"}, CommonName: name},
		NotBefore:             now,
		NotAfter:              now.AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func create(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	return x509.ParseCertificate(der)
}

// newSerial is 20 octets at most and positive (RFC 5280 §4.1.2.2).
func newSerial() *big.Int {
	var octets [16]byte
	rand.Read(octets[:])
	octets[0] = octets[0]&0x7F | 0x40
	return new(big.Int).SetBytes(octets[:])
}

// keyID is the SHA-1 of the public key, by method 1 of RFC 5280 §4.2.1.2: a
// name, not a protection.
func keyID(public crypto.PublicKey) []byte {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		octets, err := key.Bytes()
		if err != nil {
			return nil
		}
		sum := sha1.Sum(octets)
		return sum[:]
	case *rsa.PublicKey:
		sum := sha1.Sum(x509.MarshalPKCS1PublicKey(key))
		return sum[:]
	}
	return nil
}

// ErrKey says that a public key is of a kind or size that is not certified.
var ErrKey = errors.New("pki: keys are P-256, P-384 or RSA with 2048 bits or more")

func checkKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 {
			return nil
		}
	}
	return ErrKey
}

// Anchors is root and issuing certificate in PEM: what a provider needs to
// check a signature whose CMS carries the signer's certificate alone.
func (a *Authority) Anchors() []byte {
	return append(pemCertificate(a.Root), pemCertificate(a.Issuing)...)
}

func pemCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func readCertificate(path string) (*x509.Certificate, error) {
	der, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: %s: %w", filepath.Base(path), err)
	}
	return cert, nil
}

func readPEM(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("pki: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("pki: %s is not PEM", filepath.Base(path))
	}
	return block.Bytes, nil
}
