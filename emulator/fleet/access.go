package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Access is how the gateway is reached that a fleet was enrolled into, and as whom
// it is asked. The folder keeps it in load.json, which only its owner reads. The
// administrator's key is not in it.
type Access struct {
	URL       string     `json:"url"`
	Providers []Provider `json:"providers"`
	Enrolled  int        `json:"enrolled"` // cards, from the first on
}

// Provider is whom the load comes from, with the key that the gateway gave it.
type Provider struct {
	ID  string `json:"id"`
	Key string `json:"key"`
}

const accessName = "load.json"

// ReadAccess reads a folder's Access. If no card was enrolled yet there is none:
// an fs.ErrNotExist.
func ReadAccess(dir string) (a Access, err error) {
	text, err := os.ReadFile(filepath.Join(dir, accessName))
	if err != nil {
		return a, fmt.Errorf("fleet: %w", err)
	}
	if err := a.parse(text); err != nil {
		return Access{}, fmt.Errorf("fleet: %s: %w", filepath.Join(dir, accessName), err)
	}
	return a, nil
}

func (a *Access) parse(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(a); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something is behind the object")
	}
	if a.Enrolled < 0 || a.Enrolled > MaxCards {
		return fmt.Errorf("enrolled: %d; a fleet has up to %d cards", a.Enrolled, MaxCards)
	}
	if a.URL == "" {
		return errors.New("url: is empty")
	}
	for i, p := range a.Providers {
		if p.ID == "" || p.Key == "" {
			return fmt.Errorf("providers[%d]: has no id, or no key", i)
		}
	}
	return nil
}

// Write keeps it in a folder, whole or not at all.
func (a Access) Write(dir string) error {
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if err := writeFile(filepath.Join(dir, accessName), append(text, '\n')); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	return nil
}
