//go:build pcsc

package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/simcard/pcsc"
	"imza/simcard/pcsc/pcsctest"
)

// refusesToStart checks that the program does not start, and what it says.
func refusesToStart(t *testing.T, config upCommand, says ...string) {
	t.Helper()
	config.HTTP, config.SMPP = "127.0.0.1:0", "127.0.0.1:0"
	p, err := start(t.Context(), &config, slog.New(slog.DiscardHandler))
	if err == nil {
		p.Close()
		t.Fatalf("it started with %q", config.PCSC)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("it does not say %q: %v", text, err)
		}
	}
}

// Which cards and readers the program does not begin with.
func TestReadersAtStart(t *testing.T) {
	d := pcsctest.Start(t, 4)
	dir := t.TempDir()
	makeData(t, dir)
	twelve, first := newPlug(t, d.Readers[0], demoProfile(t, dir, 12)), newPlug(t, d.Readers[1], demoProfile(t, dir, 1))
	put(twelve, first)
	in := func(slots ...int) upCommand {
		c := upCommand{gatewayFlags: gatewayFlags{Data: dir}}
		for _, n := range slots {
			c.PCSC = append(c.PCSC, d.Readers[n].Name)
		}
		return c
	}
	for name, test := range map[string]struct {
		config upCommand
		says   []string
	}{
		"no such reader":    {upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{"Omnikey"}}, []string{`--pcsc "Omnikey"`, "no such reader", d.Readers[0].Name, d.Readers[3].Name}},
		"one of several":    {upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{"test reader"}}, []string{"any of the readers", d.Readers[1].Name}},
		"an empty reader":   {in(2), []string{"no card", d.Readers[2].Name}},
		"one reader twice":  {upCommand{gatewayFlags: gatewayFlags{Data: dir}, PCSC: []string{d.Readers[0].Name, strings.ToUpper(d.Readers[0].Name)}}, []string{"named twice", d.Readers[0].Name}},
		"a card not named":  {in(0), []string{"demo subscriber 1", "in another program", "--pcsc"}},
		"one of none there": {in(0, 1, 3), []string{"no card", d.Readers[3].Name}},
	} {
		t.Run(name, func(t *testing.T) { refusesToStart(t, test.config, test.says...) })
	}
	t.Run("in use", func(t *testing.T) {
		held, err := pcsc.Connect(d.Readers[0].Name, pcsc.Options{Exclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		refusesToStart(t, in(0, 1), "in use by another program", d.Readers[0].Name)
	})
	t.Run("one card in two readers", func(t *testing.T) {
		copied := filepath.Join(t.TempDir(), "copy.json")
		copyFile(t, demoProfile(t, dir, 12), copied)
		put(newPlug(t, d.Readers[2], copied))
		iccid, _ := demoICCID(12)
		refusesToStart(t, in(0, 1, 2), string(iccid), d.Readers[0].Name, d.Readers[2].Name)
	})
	t.Run("another folder's card", func(t *testing.T) {
		other := t.TempDir()
		makeData(t, other)
		c := in(0)
		c.Data = other
		iccid, _ := demoICCID(12)
		refusesToStart(t, c, d.Readers[0].Name, string(iccid), "another data folder")
	})
	t.Run("another master key's card", func(t *testing.T) {
		key := filepath.Join(t.TempDir(), "other.key")
		write(t, key, strings.Repeat("5A", 16))
		profile := personalise(t, key)
		put(newPlug(t, d.Readers[3], profile))
		refusesToStart(t, in(0, 1, 3), d.Readers[3].Name, "not made for this master key", "9 tries left")
	})
	d.Kill()
	refusesToStart(t, in(0, 1), "pcscd is not running")
	d.Restart()
	put(twelve, first) // they have dialled by themselves
	p := boot(t, in(1, 0))
	p.signs(t, 12)
	p.signs(t, 1)
}

// journal keeps what the program logs, and passes it on.
type journal struct {
	*testing.T
	mu   sync.Mutex
	text bytes.Buffer
	seen map[string]int // by reader, how often on has seen the telephone on
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text.Write(b)
	return j.Output().Write(b)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func (j *journal) says(text string) {
	j.Helper()
	eventually(j, "the log says "+text, func() bool { return j.count(text) > 0 })
}

// on waits until the telephone whose card is in a reader is on, once more each
// time.
func (j *journal) on(at pcsctest.Slot) {
	j.Helper()
	if j.seen == nil {
		j.seen = make(map[string]int)
	}
	j.seen[at.Name]++
	eventually(j, "the telephone is on", func() bool {
		return j.count(fmt.Sprintf("the telephone is on\" reader=%q", at.Name)) >= j.seen[at.Name]
	})
}

// noticed waits until the program has noticed that a subscriber's card is gone.
func (p *program) noticed(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the program has noticed", func() bool { return len(p.demo.screens[n-1].Handset.Menu().Items) == 0 })
}

// Cards are pulled, changed and put back, and pcscd dies, while the program
// runs.
func TestReadersFail(t *testing.T) {
	d := pcsctest.Start(t, 2)
	dir := t.TempDir()
	makeData(t, dir)
	card := newPlug(t, d.Readers[0], demoProfile(t, dir, 12))
	put(card)
	prompted := make(chan struct{}, 100)
	var mu sync.Mutex
	release := make(chan struct{})
	close(release)
	log := &journal{T: t}
	p := bootLogging(t, upCommand{gatewayFlags: gatewayFlags{Data: dir, PromptLimit: 100}, PCSC: []string{d.Readers[0].Name}, think: func(ctx context.Context) {
		mu.Lock()
		held := release
		mu.Unlock()
		prompted <- struct{}{}
		select {
		case <-held:
		case <-ctx.Done():
		}
	}}, log)
	log.on(card.slot)
	c := provider{t, p}
	// prompt asks for a signature, and returns when the text is on the screen and
	// nobody replies.
	prompt := func(t *testing.T, timeout int) (id string, reply func()) {
		t.Helper()
		held := make(chan struct{})
		mu.Lock()
		release = held
		mu.Unlock()
		for len(prompted) > 0 {
			<-prompted
		}
		id = c.ask(12, timeout)
		<-prompted
		return id, sync.OnceFunc(func() { close(held) })
	}
	end := func(t *testing.T, id, state string) {
		t.Helper()
		if answer := c.await(id, ""); answer["status"] != state {
			t.Errorf("it ended as %v (%v), want %s", answer["status"], answer["reason"], state)
		}
	}
	t.Run("pulled while nothing is asked", func(t *testing.T) {
		p.signs(t, 12)
		card.out()
		p.noticed(t, 12)
		p.ends(t, 12, "absent")
		put(card)
		log.on(card.slot)
		p.signs(t, 12)
	})
	t.Run("pulled and put back at once", func(t *testing.T) {
		card.out()
		put(card)
		log.on(card.slot)
		p.signs(t, 12)
	})
	t.Run("pulled at the prompt", func(t *testing.T) {
		id, reply := prompt(t, 4)
		defer reply()
		card.out()
		if status, answer := c.do("POST", "/v1/signatures", map[string]any{"msisdn": demoMSISDN(12), "userId": demoUserID(12),
			"certificate": map[string]any{"type": "business"}, "document": []byte("x")}); status != http.StatusConflict {
			t.Errorf("a second request is answered %d %v", status, answer)
		}
		put(card)
		log.on(card.slot)
		end(t, id, "expired")
		reply()
		p.signs(t, 12)
	})
	t.Run("another card is put in", func(t *testing.T) {
		card.out()
		stranger := newPlug(t, d.Readers[0], personalise(t, filepath.Join(dir, "master.key")))
		put(stranger)
		wrong := fmt.Sprintf("card %s is in the reader, not %s", stranger.memory.Profile.ICCID, card.memory.Profile.ICCID)
		log.says(wrong)
		p.ends(t, 12, "absent")
		stranger.out()
		put(card)
		log.on(card.slot)
		p.signs(t, 12)
	})
	t.Run("pcscd dies at the prompt", func(t *testing.T) {
		id, reply := prompt(t, 3)
		defer reply()
		d.Kill()
		log.says("pcscd is not running")
		d.Restart()
		put(card)
		log.on(card.slot)
		end(t, id, "expired")
		reply()
		p.signs(t, 12)
	})
	t.Run("pcscd dies while nothing is asked", func(t *testing.T) {
		d.Kill()
		p.noticed(t, 12)
		p.ends(t, 12, "absent")
		d.Restart()
		log.on(card.slot)
		p.signs(t, 12)
	})
	t.Run("the program stops at the prompt", func(t *testing.T) {
		prompt(t, 30)
		began := time.Now()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s to stop", took)
		}
	})
}
