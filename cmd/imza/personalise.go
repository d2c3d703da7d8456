package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/applet"
)

type cardPersonaliseCommand struct {
	Out       string    `required:"" placeholder:"FILE" help:"The profile to write; one that is there is not written over."`
	MasterKey string    `required:"" placeholder:"FILE" help:"The gateway's master key, from which the card's OTA keys and ADM code come (imza up keeps it in data/master.key)."`
	ICCID     string    `name:"iccid" placeholder:"DIGITS" help:"The card's number, check digit included. Default: a new one."`
	Key       []keySpec `default:"P-256:sign" placeholder:"KIND:USE" help:"A key pair to make on the card: P-256, P-384 or RSA-2048, for sign or authenticate. May be given again; keys are numbered from 1."`
	PIN1      string    `name:"pin1" placeholder:"DIGITS" help:"4 to 8 digits. Default: five at random; so are the following."`
	PIN2      string    `name:"pin2" placeholder:"DIGITS" help:"4 to 8 digits."`
	PUK       string    `name:"puk" placeholder:"DIGITS" help:"4 to 8 digits; at random eight."`
	AskPIN    bool      `name:"ask-pin" help:"The telephone asks for a PIN of its own when it is switched on."`
	FullOnly  bool      `help:"An old card, which gives no short answers."`
	Letter    string    `placeholder:"FILE" help:"Where the PIN letter is written; one that is there is not written over. Default: stdout."`
	Requests  string    `placeholder:"DIR" help:"Where the card's certificate requests (PKCS#10, DER) are written."`
}

// keySpec is a key pair to be made, like P-256:sign.
type keySpec struct {
	kind applet.KeyKind
	use  applet.Operation
}

// UnmarshalText reads one.
func (k *keySpec) UnmarshalText(text []byte) error {
	kind, use, _ := strings.Cut(string(text), ":")
	switch strings.ToUpper(kind) {
	case "P-256":
		k.kind = applet.P256
	case "P-384":
		k.kind = applet.P384
	case "RSA-2048":
		k.kind = applet.RSA2048
	default:
		return fmt.Errorf("%q is not P-256, P-384 or RSA-2048", kind)
	}
	switch use {
	case "sign", "":
		k.use = applet.Sign
	case "authenticate":
		k.use = applet.Authenticate
	default:
		return fmt.Errorf("%q is neither sign nor authenticate", use)
	}
	return nil
}

// Run personalises.
func (c *cardPersonaliseCommand) Run(s streams) (err error) {
	profile, err := c.profile()
	if err != nil {
		return err
	}
	memory, err := emulator.CreateMemory(c.Out, profile)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--out: %s is there: a card is not written over", c.Out)
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	made := []string{c.Out, c.Out + ".lock"}
	defer func() {
		if err = errors.Join(err, memory.Close()); err != nil {
			for _, path := range made { // half a card is none
				_ = os.Remove(path)
			}
		}
	}()
	requests, err := c.makeKeys(memory)
	made = append(made, requests...)
	if err != nil {
		return err
	}
	return c.print(s.out, profile)
}

// profile is the card before it has keys.
func (c *cardPersonaliseCommand) profile() (*emulator.Profile, error) {
	master, err := readMasterKey(c.MasterKey)
	if err != nil {
		return nil, fmt.Errorf("--master-key: %w", err)
	}
	iccid, err := simcard.ParseICCID(c.ICCID)
	if c.ICCID == "" {
		iccid, err = simcard.NewICCID("8999409" + randomDigits(11)) // Azerbaijan, an issuer of nobody's
	}
	if err != nil {
		return nil, fmt.Errorf("--iccid: %w", err)
	}
	telephone := randomDigits(4)
	for _, code := range []struct {
		value *string
		flag  string
		n     int
	}{{&c.PIN1, "pin1", 5}, {&c.PIN2, "pin2", 5}, {&c.PUK, "puk", 8}} {
		if *code.value == "" {
			*code.value = randomDigits(code.n)
		}
		if n := len(*code.value); n < 4 || n > simcard.PINLen || strings.Trim(*code.value, "0123456789") != "" {
			return nil, fmt.Errorf("--%s is not 4 to 8 digits", code.flag)
		}
	}
	profile, err := newProfile(master, iccid, c.PIN1, c.PIN2, c.PUK)
	if err != nil {
		return nil, err
	}
	profile.FullOnly = c.FullOnly
	profile.Telephone = emulator.Telephone{PIN: emulator.NewPIN(telephone), PIN2: emulator.NewPIN(randomDigits(4)),
		PUK: emulator.NewPUK(randomDigits(8)), PUK2: emulator.NewPUK(randomDigits(8)), Asks: c.AskPIN}
	return profile, nil
}

// makeKeys has the card make its key pairs, by the commands that any card of the
// kind takes, and returns which files of requests it has written.
func (c *cardPersonaliseCommand) makeKeys(memory *emulator.Memory) (written []string, err error) {
	sim, err := memory.Card()
	if err != nil {
		return nil, err
	}
	card := signer{sim}
	if _, err := card.open(); err != nil {
		return nil, err
	}
	if err := card.admit(memory.Profile.ADM.Digits); err != nil {
		return nil, err
	}
	for i, spec := range c.Key {
		request, err := card.makeKey(applet.KeyRecord{Number: byte(i + 1), Operation: spec.use, Kind: spec.kind})
		if err != nil {
			return written, fmt.Errorf("--key, number %d: %w", i+1, err)
		}
		if c.Requests == "" {
			continue
		}
		path := filepath.Join(c.Requests, fmt.Sprintf("%s-%d.p10", memory.Profile.ICCID, i+1))
		if err := os.WriteFile(path, request, 0o644); err != nil {
			return written, fmt.Errorf("--requests: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}

// print writes the PIN letter, the one place where PINs are to be read.
func (c *cardPersonaliseCommand) print(out io.Writer, p *emulator.Profile) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Card %s\n\n", p.ICCID)
	fmt.Fprintf(&b, "  PIN1  %-10s to authenticate\n", p.PIN1.Digits)
	fmt.Fprintf(&b, "  PIN2  %-10s to sign\n", p.PIN2.Digits)
	fmt.Fprintf(&b, "  PUK   %-10s to unblock and change either\n", p.PUK.Digits)
	asks := "does not ask for"
	if p.Telephone.Asks {
		asks = "asks for"
	}
	fmt.Fprintf(&b, "\nThe telephone %s a PIN of its own when it is switched on:\n\n  PIN   %-10s PUK   %s\n  PIN2  %-10s PUK2  %s\n", asks,
		p.Telephone.PIN.Digits, p.Telephone.PUK.Digits, p.Telephone.PIN2.Digits, p.Telephone.PUK2.Digits)
	fmt.Fprintf(&b, "\nKeep this letter apart from the card. After three wrong PINs only the PUK\nhelps; after ten wrong PUKs nothing does.\n")
	if c.Letter != "" {
		if err := writeLetter(c.Letter, b.String()); err != nil {
			return fmt.Errorf("--letter: %w", err)
		}
		_, err := fmt.Fprintf(out, "Card %s is in %s, its PIN letter in %s.\n", p.ICCID, c.Out, c.Letter)
		return err
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// writeLetter writes a file that only its owner reads. One that is there is not
// written over: it may be the letter of another card, or the card.
func writeLetter(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Sync(), file.Close())
}

// readMasterKey reads a master key in hex.
func readMasterKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 16 {
		return nil, fmt.Errorf("%s does not hold 16 octets in hex", path)
	}
	return key, nil
}

// randomDigits are n decimal digits, each as likely as any other.
func randomDigits(n int) string {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	number, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(err) // it does not fail (crypto/rand)
	}
	return fmt.Sprintf("%0*d", n, number)
}
