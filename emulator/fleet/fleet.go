// Package fleet is a million SIM cards and the people who hold them.
//
// A card that nobody writes to costs next to nothing: who it is, its keys and
// its PINs follow from the fleet's seed and its number, its certificate is a slot
// of a file, and what it remembers is a few octets of an array. It is made when a
// message comes for it and unmade when it was not used for long.
//
//	plan.go           what a fleet is made from
//	fleet.go          its folder
//	subscriber.go     who holds which card
//	keys.go           what follows from the seed
//	certificates.go   the slots of certificates
//	access.go         how a load test gets at the gateway that it is enrolled into
//
// Its operators at work:
//
//	scenario.go       what people do and what befalls their messages;
//	                  scenario_file.go reads it
//	emulator.go       a message centre for each operator; operators.go tells the
//	                  gateway of them
//	people.go         who is there in a run, and which telephones are made
//	telephone.go      a card, its handset and its person
//	control.go        metrics, and what a load test works it with
//	memory.go         how much memory it needs; heap.go how it keeps to that
//
// The folder:
//
//	fleet.json        the plan
//	master.key        of the cards' OTA keys, 32 hex digits
//	rsa.keys          a pool of RSA keys, if there are RSA cards
//	certificates      2,048 octets a card, a sparse file
//	operators.yaml    for the gateway, of the last start, with NAME.password
//	load.json         of "imza enrol", for "imza load"
//	lock              held while an emulator runs
//
// What cards remember (counters, tries, references) is in no file: each start, and
// each run, begins with fresh cards, so that the same seed gives the same run.
package fleet

import (
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Fleet is a folder of cards. It is safe for concurrent use, also by several
// processes.
type Fleet struct {
	dir          string
	plan         Plan
	masterKey    []byte
	pool         []*rsa.PrivateKey
	certificates *slots
}

// Create makes the folder of a fleet. One that is there is opened if it was made
// from the same plan.
func Create(dir string, p Plan) (*Fleet, error) {
	p = p.withDefaults()
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	f, err := Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if has := f.plan.differs(&p); has != "" {
			return nil, errors.Join(fmt.Errorf("fleet: %s has %s: take another folder, or remove this one", dir, has), f.Close())
		}
		return f, nil
	}
	if err := create(dir, p); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return Open(dir)
}

// create writes all files. The plan is the last one: a folder that has none was
// cut off, and is made anew.
func create(dir string, p Plan) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if p.RSA > 0 {
		if err := createPool(filepath.Join(dir, poolName)); err != nil {
			return err
		}
	}
	if err := writeFile(filepath.Join(dir, "master.key"), []byte(hex.EncodeToString(masterKey(p.Seed))+"\n")); err != nil {
		return err
	}
	// Certificates that are there are of cards with other keys.
	if err := os.Remove(filepath.Join(dir, slotsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := json.MarshalIndent(planFile{planVersion, p}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, planName), append(text, '\n'))
}

const (
	planName  = "fleet.json"
	poolName  = "rsa.keys"
	slotsName = "certificates"
)

// writeFile writes a file that only its owner reads, whole or not at all.
func writeFile(path string, content []byte) error {
	file, err := os.OpenFile(path+".next", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

// Open opens a fleet's folder. One without a plan is an fs.ErrNotExist.
func Open(dir string) (*Fleet, error) {
	text, err := os.ReadFile(filepath.Join(dir, planName))
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	f := &Fleet{dir: dir}
	if f.plan, err = parsePlan(text); err != nil {
		return nil, fmt.Errorf("fleet: %s: %w", filepath.Join(dir, planName), err)
	}
	f.masterKey = masterKey(f.plan.Seed)
	if f.plan.RSA > 0 {
		if f.pool, err = readPool(filepath.Join(dir, poolName)); err != nil {
			return nil, fmt.Errorf("fleet: %w", err)
		}
	}
	if f.certificates, err = openSlots(filepath.Join(dir, slotsName)); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return f, nil
}

// Close lets go of the folder.
func (f *Fleet) Close() error { return f.certificates.Close() }

// Dir is the fleet's folder.
func (f *Fleet) Dir() string { return f.dir }

// Plan is what the fleet was made from.
func (f *Fleet) Plan() Plan {
	p := f.plan
	p.Operators = append([]Operator(nil), p.Operators...)
	return p
}

// MasterKey is what the cards' OTA keys are derived from.
func (f *Fleet) MasterKey() []byte { return append([]byte(nil), f.masterKey...) }
