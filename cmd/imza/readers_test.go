//go:build pcsc

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"imza/emulator"

	"imza/simcard/pcsc"
	"imza/simcard/pcsc/pcsctest"
)

func init() {
	withReaders = true
	surroundings = append(surroundings, surrounding{"cards in readers", func(t *testing.T) boots {
		r := rack{Daemon: pcsctest.Start(t, len(demoSubscribers))}
		return r.boot
	}})
}

// rack is a pcscd with the cards of all demo subscribers in its readers.
type rack struct {
	*pcsctest.Daemon
	data string // whose cards they are
}

// boot runs the program with all cards in readers. At first it makes the cards.
func (r *rack) boot(t *testing.T, config upCommand) *program {
	t.Helper()
	if config.Data == "" {
		config.Data = t.TempDir()
	}
	if r.data != config.Data {
		r.fill(t, config.Data)
	}
	for i := range demoSubscribers {
		config.PCSC = append(config.PCSC, r.Readers[i].Name)
	}
	return boot(t, config)
}

// fill makes a data folder, puts its cards into readers, and returns the flags
// that name these.
func (r *rack) fill(t *testing.T, data string) (flags []string) {
	t.Helper()
	r.data = data
	makeData(t, data)
	var cards []*plug
	for i := range demoSubscribers {
		cards = append(cards, newPlug(t, r.Readers[i], demoProfile(t, data, i+1)))
		flags = append(flags, "--pcsc", r.Readers[i].Name)
	}
	put(cards...)
	return flags
}

// makeData has the program make a data folder.
func makeData(t *testing.T, dir string) {
	t.Helper()
	if err := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir}}).Close(); err != nil {
		t.Fatal(err)
	}
}

// plug is a software SIM for a virtual reader.
type plug struct {
	testing.TB
	slot   pcsctest.Slot
	memory *emulator.Memory
	pull   func() // out of the reader; nil: it is in none
}

// newPlug takes a card in hand until the test ends.
func newPlug(t testing.TB, slot pcsctest.Slot, profile string) *plug {
	t.Helper()
	memory, err := emulator.OpenMemory(profile)
	if err != nil {
		t.Fatal(err)
	}
	p := &plug{TB: t, slot: slot, memory: memory}
	t.Cleanup(func() {
		if p.pull != nil {
			p.pull()
		}
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// put puts cards into their readers, unless they are, and returns when the readers
// have them.
func put(cards ...*plug) {
	for _, p := range cards {
		p.Helper()
		if p.pull == nil {
			p.dial()
		}
	}
	for _, p := range cards {
		p.until("a card", func(r pcsc.Reader) bool { return r.ATR != nil })
	}
}

// dial has the card dial its reader. If pcscd goes away and comes again, so
// does the card.
func (p *plug) dial() {
	p.Helper()
	card, err := p.memory.Card()
	if err != nil {
		p.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var plugged sync.WaitGroup
	plugged.Go(func() {
		for ctx.Err() == nil {
			_ = emulator.Plug(ctx, fmt.Sprintf("127.0.0.1:%d", p.slot.Port), card, nil)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // pcscd is away
			}
		}
	})
	p.pull = func() {
		stop()
		plugged.Wait()
		p.pull = nil
	}
}

// out pulls the card, and returns when pcscd has noticed: a card that comes back
// before is the same to it. A command that fails may have told it before it
// looked for itself, which it does every 0.4 s, and only then is it ready for
// another card.
func (p *plug) out() {
	p.Helper()
	looked := time.After(500 * time.Millisecond)
	if p.pull != nil {
		p.pull()
	}
	p.until("no card", func(r pcsc.Reader) bool { return r.ATR == nil })
	<-looked
}

func (p *plug) until(what string, is func(pcsc.Reader) bool) {
	p.Helper()
	eventually(p, p.slot.Name+" has "+what, func() bool {
		readers, err := pcsc.List()
		if err != nil && !errors.Is(err, pcsc.ErrNoService) {
			p.Fatal(err)
		}
		return slices.ContainsFunc(readers, func(r pcsc.Reader) bool { return r.Name == p.slot.Name && is(r) })
	})
}

// S4 with cards in readers: they outlive the process, and the next one takes
// them up.
func TestKilledWithCardsInReaders(t *testing.T) {
	r := &rack{Daemon: pcsctest.Start(t, len(demoSubscribers))}
	dir := t.TempDir()
	testKilled(t, 4, dir, r.fill(t, dir)...)
}
