package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"imza/emulator"
	"imza/simcard/toolkit"
)

// terminal is a handset's screen and keys on a terminal: each key counts as it is
// pressed, and what is typed at a PIN is not seen. It is the person of the
// handset (emulator.Person).
type terminal struct {
	out     io.Writer
	handset *emulator.Handset
	stop    func() // Ctrl-C

	fd    int
	state *term.State // before; nil if it is no terminal, such as a pipe

	turn sync.Mutex // one thing is on the screen at a time

	mu      sync.Mutex
	focus   chan byte // keys of what is on the screen; nil: nothing is
	prompts int       // of the card, on the screen and waiting for their turn
	leave   func()    // ends the menu; nil: it is not open
}

// openTerminal begins to take keys.
func openTerminal(in *os.File, out io.Writer, handset *emulator.Handset, stop func()) *terminal {
	t := &terminal{handset: handset, stop: stop, fd: int(in.Fd())}
	t.state, _ = term.MakeRaw(t.fd)
	t.out = t.writer(out)
	go t.run(in)
	return t
}

// close gives the terminal back as it was.
func (t *terminal) close() {
	if t.state != nil {
		_ = term.Restore(t.fd, t.state)
	}
}

// writer is w for text with plain line ends, which a raw terminal would not
// bring back to the margin.
func (t *terminal) writer(w io.Writer) io.Writer {
	if t.state == nil {
		return w
	}
	return returning{w}
}

type returning struct{ io.Writer }

func (r returning) Write(b []byte) (int, error) {
	if _, err := r.Writer.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Keys, as a raw terminal and as a pipe give them.
const (
	keyInterrupt = 3
	keyEnd       = 4
	keyBackspace = 8
	keyLineFeed  = 10
	keyReturn    = 13
	keyEscape    = 27
	keyDelete    = 127
)

// run hands each key to the prompt on the screen. While there is none, M opens
// the card's menu.
func (t *terminal) run(in io.Reader) {
	var keys [64]byte
	for {
		n, err := in.Read(keys[:])
		if err != nil {
			return // no more keys; the telephone goes on
		}
		for pressed := keys[:n]; len(pressed) > 0; {
			if pressed = skipFunctionKey(pressed); len(pressed) == 0 {
				break
			}
			if pressed[0] == keyInterrupt || pressed[0] == keyEnd {
				t.stop()
				return
			}
			t.press(pressed[0])
			pressed = pressed[1:]
		}
	}
}

// skipFunctionKey passes over an arrow or another key that is no character:
// it begins as Escape does and is not Escape. It comes whole in one read, as CSI
// with parameters, intermediate octets and a final one (ECMA-48 §5.4), or as SS3
// and one octet.
func skipFunctionKey(keys []byte) []byte {
	if len(keys) < 3 || keys[0] != keyEscape {
		return keys
	}
	switch keys[1] {
	case 'O':
		if keys[2] < ' ' {
			return keys[2:]
		}
		return skipFunctionKey(keys[3:])
	case '[':
		for i, octet := range keys[2:] {
			if octet < ' ' { // a key of its own, such as Ctrl-C
				return keys[2+i:]
			}
			if octet >= 0x40 {
				return skipFunctionKey(keys[2+i+1:])
			}
		}
		return nil
	}
	return keys
}

func (t *terminal) press(key byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.focus != nil:
		select {
		case t.focus <- key:
		default: // nobody types that much at once
		}
	case key == 'm' || key == 'M':
		go t.openMenu()
	}
}

func (t *terminal) say(format string, args ...any) { fmt.Fprintf(t.out, format, args...) }

// Note implements emulator.Person.
func (t *terminal) Note(text string) { t.say("  %s\n", text) }

// unattended is how long a prompt waits for somebody.
const unattended = 3 * time.Minute

// Prompt implements emulator.Person. The menu gives way to it.
func (t *terminal) Prompt(ctx context.Context, p emulator.Prompt) emulator.Reply {
	t.mu.Lock()
	if t.prompts++; t.leave != nil {
		t.leave()
	}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.prompts--
	}()
	t.turn.Lock()
	defer t.turn.Unlock()
	return t.show(ctx, p)
}

// show has something on the screen, whose turn it is.
func (t *terminal) show(ctx context.Context, p emulator.Prompt) emulator.Reply {
	ctx, cancel := context.WithTimeout(ctx, unattended)
	defer cancel()
	keys := make(chan byte, 64)
	t.mu.Lock()
	t.focus = keys
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.focus = nil
	}()
	t.say("\n%s\n", p.Text)
	switch p.Kind {
	case emulator.Ask:
		return t.ask(ctx, keys, &p)
	case emulator.Choose:
		return t.choose(ctx, keys, &p)
	}
	t.say("  [Enter] OK  [Esc] cancel\n")
	for {
		switch key, ok := next(ctx, keys); {
		case !ok:
			return emulator.Reply{Result: toolkit.NoUserResponse}
		case key == keyEscape:
			return emulator.Reply{Result: toolkit.SessionEnded}
		case key == keyReturn || key == keyLineFeed:
			return emulator.Reply{Result: toolkit.Done}
		}
	}
}

func next(ctx context.Context, keys <-chan byte) (byte, bool) {
	select {
	case key := <-keys:
		return key, true
	case <-ctx.Done():
		return 0, false
	}
}

// ask takes what is typed, up to Enter.
func (t *terminal) ask(ctx context.Context, keys <-chan byte, p *emulator.Prompt) emulator.Reply {
	of := "characters"
	if p.Digits {
		of = "digits"
	}
	t.say("  %d to %d %s, [Enter] OK  [Esc] cancel: ", p.Min, p.Max, of)
	defer t.say("\n")
	var typed []byte
	for {
		key, ok := next(ctx, keys)
		switch {
		case !ok:
			return emulator.Reply{Result: toolkit.NoUserResponse}
		case key == keyEscape:
			return emulator.Reply{Result: toolkit.SessionEnded}
		case key == keyReturn || key == keyLineFeed:
			if len(typed) >= p.Min {
				return emulator.Reply{Result: toolkit.Done, Typed: string(typed)}
			}
		case key == keyBackspace || key == keyDelete:
			if len(typed) > 0 {
				typed = typed[:len(typed)-1]
				t.say("\b \b")
			}
		case len(typed) < p.Max && key >= ' ' && (!p.Digits || key >= '0' && key <= '9'):
			typed = append(typed, key)
			seen := string(key)
			if p.Hidden {
				seen = "*"
			}
			t.say("%s", seen)
		}
	}
}

// choose takes the number of an item.
func (t *terminal) choose(ctx context.Context, keys <-chan byte, p *emulator.Prompt) emulator.Reply {
	for i, item := range p.Items {
		t.say("  [%d] %s\n", i+1, item.Text)
	}
	t.say("  [Esc] cancel\n")
	for {
		switch key, ok := next(ctx, keys); {
		case !ok:
			return emulator.Reply{Result: toolkit.NoUserResponse}
		case key == keyEscape:
			return emulator.Reply{Result: toolkit.SessionEnded}
		case key >= '1' && int(key-'1') < len(p.Items):
			return emulator.Reply{Result: toolkit.Done, Chosen: p.Items[key-'1'].ID}
		}
	}
}

// openMenu lets the person choose from what the card has in the menu.
func (t *terminal) openMenu() {
	menu := t.handset.Menu()
	if len(menu.Items) == 0 {
		t.say("The card has no menu.\n")
		return
	}
	reply := t.showMenu(menu)
	if reply.Result != toolkit.Done {
		return
	}
	switch err := t.handset.Select(reply.Chosen); {
	case errors.Is(err, emulator.ErrBusy):
		t.say("The card is busy.\n")
	case err != nil:
		t.say("imza: %v\n", err)
	}
}

// showMenu has the menu on the screen, unless something else is or comes.
func (t *terminal) showMenu(menu emulator.Menu) emulator.Reply {
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	t.mu.Lock()
	busy := t.prompts > 0 || t.leave != nil
	if !busy {
		t.leave = leave
	}
	t.mu.Unlock()
	if busy {
		return emulator.Reply{Result: toolkit.SessionEnded}
	}
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leave = nil
	}()
	t.turn.Lock()
	defer t.turn.Unlock()
	return t.show(ctx, emulator.Prompt{Kind: emulator.Choose, Text: menu.Title, Items: menu.Items})
}

// typist is a person who types the same PIN at every prompt, and whose screen is
// printed.
type typist struct {
	emulator.Actor
	out io.Writer
}

// Prompt implements emulator.Person.
func (p *typist) Prompt(ctx context.Context, shown emulator.Prompt) emulator.Reply {
	fmt.Fprintf(p.out, "\n%s\n", shown.Text)
	return p.Actor.Prompt(ctx, shown)
}

// Note implements emulator.Person.
func (p *typist) Note(text string) { fmt.Fprintf(p.out, "  %s\n", text) }
