package fleet

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"imza/emulator"
)

// derive is what follows from a seed for a purpose: 32 octets that nobody knows
// who does not know the seed. The cards are emulated ones, and whoever has the
// folder has their keys.
func derive(seed uint64, what string, numbers ...uint64) [32]byte {
	b := make([]byte, 0, 64)
	b = binary.BigEndian.AppendUint64(append(b, "imza fleet "...), seed)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return sha256.Sum256(append(b, what...))
}

func masterKey(seed uint64) []byte {
	key := derive(seed, "master key")
	return key[:16]
}

// private is the private half of a card's key pair.
func (f *Fleet) private(i int, key byte) (crypto.Signer, error) {
	if key != firstKey {
		return nil, fmt.Errorf("fleet: card %d has no key %d", i, key)
	}
	w := f.who(i)
	if w.rsa {
		return f.pool[w.pooled], nil
	}
	for attempt := uint64(0); ; attempt++ {
		scalar := derive(f.plan.Seed, "private key", uint64(i), uint64(key), attempt)
		// One in 2^32 is not below the group's order.
		if private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]); err == nil || attempt > 8 {
			return private, err
		}
	}
}

// Request is a card's request for a certificate of a key (PKCS#10).
func (f *Fleet) Request(i int, key byte) ([]byte, error) {
	if err := f.has(i); err != nil {
		return nil, err
	}
	private, err := f.private(i, key)
	if err != nil {
		return nil, err
	}
	return emulator.Request(iccid(i), private)
}

// poolSize is how many RSA keys there are. Making one takes a while, so that a
// million of them would take days.
const poolSize = 16

func createPool(path string) error {
	var text []byte
	for range poolSize {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return err
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return writeFile(path, text)
}

func readPool(path string) (pool []*rsa.PrivateKey, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		private, ok := parsed.(*rsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s: a key that is not RSA", path)
		}
		pool = append(pool, private)
	}
	if len(pool) != poolSize {
		return nil, fmt.Errorf("%s: %d keys, want %d", path, len(pool), poolSize)
	}
	return pool, nil
}

var errNoCard = errors.New("no such card")

func (f *Fleet) has(i int) error {
	if i < 0 || i >= f.plan.Cards {
		return fmt.Errorf("fleet: %w: %d of %d", errNoCard, i, f.plan.Cards)
	}
	return nil
}
