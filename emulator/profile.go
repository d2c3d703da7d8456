// Package emulator is everything that stands at the other side of a gateway:
// the operator's SMSC, handsets with the people who hold them, and SIM cards.
//
//	smsc.go       speaks SMPP, knows which handset has which number
//	remote.go     a handset in another process, on the SMSC's port
//	handset.go    speaks ENVELOPE, FETCH and TERMINAL RESPONSE to a card
//	prompt.go     what the card wants shown, and what is typed
//	person.go     who looks at the screen and types the PIN
//	screen/       the screen in a browser
//
// A card, which answers by APDU only:
//
//	sim.go        commands and their procedures (T=0)
//	files.go      the files that a UICC has
//	select.go     how they are selected and read
//	pin.go        PINs and their tries
//	proactive.go  the toolkit: what the card wants of its handset
//	applet.go     a challenge, from the envelope to the answer
//	menu.go       the applet's entries in the handset's menu
//	keys.go       key pairs made on the card, and their certificates
//	pkcs7.go      the signature
//	profile.go    what a card remembers
//	vpcd.go       a card in a virtual PC/SC reader
//
// It is the counterparty: it imports neither gateway nor pki, so that what it
// signs is judged by code that is not its own.
package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
)

// Profile is what a card remembers with its power off.
type Profile struct {
	ICCID     simcard.ICCID
	IMSI      string   `json:",omitempty"` // 15 digits; empty: made from the ICCID
	OTA       ota.Keys // of the signing applet
	Counter   uint64   // the last one accepted
	Reference byte     // of the last segmented message sent

	// Of the signing applet. The PUK unblocks and sets either PIN.
	PIN1, PIN2 PIN
	PUK        PIN
	Language   applet.Language `json:",omitempty"` // of its menu; 0 is Azerbaijani
	FullOnly   bool            `json:",omitempty"` // an old card, which gives no short answers
	Keys       []Key

	// Of the telephone, with the USIM.
	Telephone Telephone
	// ADM is who issues the card; blocked for good where it has no tries.
	ADM PIN

	Fault Fault `json:",omitempty"`
}

// Telephone is the telephone's own PINs, each with its PUK.
type Telephone struct {
	PIN, PIN2, PUK, PUK2 PIN
	Asks                 bool // for the PIN when it is switched on
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

// NewPIN is a PIN, and NewPUK a PUK, with all of its tries.
func NewPIN(digits string) PIN { return PIN{digits, pinTries} }

// NewPUK is the counterpart of NewPIN; the ADM key is of its kind, too.
func NewPUK(digits string) PIN { return PIN{digits, pukTries} }

// Fault makes a card misbehave, to show that the gateway notices.
type Fault string

// The faults.
const (
	ForeignKey    Fault = "foreign-key"    // signs with a key that is not the registered one
	AnotherDigest Fault = "another-digest" // signs another digest than the one asked
)

// NewProfile makes the profile of a new card. Its telephone asks for no PIN, and
// its ADM key is blocked until one is set.
func NewProfile(iccid simcard.ICCID, keys ota.Keys, pin1, pin2, puk string) *Profile {
	return &Profile{ICCID: iccid, OTA: keys, PIN1: NewPIN(pin1), PIN2: NewPIN(pin2), PUK: NewPUK(puk),
		Telephone: Telephone{PIN: NewPIN("0000"), PIN2: NewPIN("0000"), PUK: NewPUK("00000000"), PUK2: NewPUK("00000000")}}
}

// imsi is 400 for Azerbaijan, a network's 01, and ten digits of the ICCID.
func (p *Profile) imsi() string {
	if p.IMSI != "" {
		return p.IMSI
	}
	n := len(p.ICCID) - 1 // without its check digit
	return "40001" + string(p.ICCID[n-10:n])
}

// ParseProfile reads a profile as it is stored. Unknown fields are refused: they
// would be lost with the next write.
func ParseProfile(raw []byte) (*Profile, error) {
	p := new(Profile)
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(p); err != nil {
		return nil, fmt.Errorf("emulator: profile: %w", err)
	}
	if _, err := simcard.ParseICCID(string(p.ICCID)); err != nil {
		return nil, fmt.Errorf("emulator: profile: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("emulator: profile: %w", err)
	}
	return p, nil
}

// check refuses what no card can remember.
func (p *Profile) check() error {
	t := &p.Telephone
	for _, code := range []struct {
		name string
		PIN
		most int
	}{
		{"PIN1", p.PIN1, pinTries}, {"PIN2", p.PIN2, pinTries}, {"PUK", p.PUK, pukTries},
		{"Telephone.PIN", t.PIN, pinTries}, {"Telephone.PIN2", t.PIN2, pinTries}, {"Telephone.PUK", t.PUK, pukTries}, {"Telephone.PUK2", t.PUK2, pukTries},
		{"ADM", p.ADM, pukTries},
	} {
		blocked := code.name == "ADM" && code.PIN == PIN{} // of a card that nobody may change
		if !isPIN(code.Digits) && !blocked || code.Tries < 0 || code.Tries > code.most {
			return fmt.Errorf("%s is not 4 to 8 digits with 0 to %d tries", code.name, code.most)
		}
	}
	if p.IMSI != "" && (len(p.IMSI) != 15 || strings.Trim(p.IMSI, "0123456789") != "") {
		return errors.New("IMSI is not 15 digits")
	}
	if p.Counter > ota.MaxCounter {
		return fmt.Errorf("the counter %d does not fit 40 bits", p.Counter)
	}
	for i := range p.Keys {
		k := &p.Keys[i]
		if err := k.prepare(); err != nil {
			return err
		}
		if k.Number == 0 || p.key(k.Number) != k {
			return fmt.Errorf("key %d is there twice, or is 0", k.Number)
		}
		if o := k.operation(); o != applet.Sign && o != applet.Authenticate {
			return fmt.Errorf("key %d is for operation %d, which there is not", k.Number, o)
		}
	}
	return nil
}

// Shelf keeps profiles in files, one a card: what a card's own memory is.
type Shelf struct{ Dir string }

// Path is where a card's profile is.
func (s Shelf) Path(iccid simcard.ICCID) string {
	return filepath.Join(s.Dir, string(iccid)+".json")
}

// Put stores a profile, unless it is in a card. It is there, whole, even if the
// process dies here.
func (s Shelf) Put(p *Profile) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	lock, err := lockProfile(s.Path(p.ICCID))
	if err != nil {
		return err
	}
	defer lock.Close()
	return writeProfile(s.Path(p.ICCID), p)
}

func readProfile(path string) (*Profile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	p, err := ParseProfile(raw)
	if err != nil {
		return nil, fmt.Errorf("%s is not a card's profile: %w", path, err)
	}
	return p, nil
}

func writeProfile(path string, p *Profile) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	next := path + ".next"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	_, err = file.Write(raw)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil { // a try that was taken away stays so, as far as the file system keeps a rename
		return fmt.Errorf("emulator: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	return nil
}

// Memory is a profile in a file that is one card's alone while it is open: two
// cards of one profile would give each other tries and counters back.
type Memory struct {
	Profile *Profile
	path    string
	lock    *os.File
}

// ErrInUse says that a profile is in another card.
var ErrInUse = errors.New("emulator: the profile is in use")

// OpenMemory reads a profile and keeps others from it until Close. A missing one
// is an fs.ErrNotExist.
func OpenMemory(path string) (*Memory, error) {
	path, err := filepath.EvalSymlinks(path) // else a link beside it would be another card; and a missing one gets no lock
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	if _, err := readProfile(path); err != nil { // no lock is left beside what is no profile
		return nil, err
	}
	lock, err := lockProfile(path)
	if err != nil {
		return nil, err
	}
	p, err := readProfile(path) // as it is now that nobody writes it
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &Memory{p, path, lock}, nil
}

// lockProfile keeps others from a profile until the returned file is closed.
func lockProfile(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	}
	return lock, nil
}

// CreateMemory makes the file of a new profile. One that is there stays as it
// is, and is an fs.ErrExist.
func CreateMemory(path string, p *Profile) (*Memory, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	if err := errors.Join(file.Close(), writeProfile(path, p)); err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	return OpenMemory(path)
}

// Card puts the profile into a card that remembers in the file.
func (m *Memory) Card() (*SIM, error) {
	return NewSIM(m.Profile, func(p *Profile) error { return writeProfile(m.path, p) })
}

// Close lets others have the profile.
func (m *Memory) Close() error { return m.lock.Close() }
