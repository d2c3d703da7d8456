//go:build pcsc

package pcsc

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ebfe/scard"
)

// maxCommand is an extended APDU with as many data as there can be: CLA INS P1
// P2, three octets Lc, the data, two octets Le (ISO 7816-4 §5.1).
const maxCommand = 4 + 3 + 65535 + 2

// Card is a connection to the card in a reader. It is safe for concurrent use:
// commands go one at a time.
type Card struct {
	name    string
	atr     []byte
	timeout time.Duration

	turn sync.Mutex // held by who transmits; guards dead
	dead error      // set once; every later command is refused with it

	// These lead to the goroutine that makes all calls. An answer that nobody waits
	// for any more has room, so that the goroutine gets on.
	commands chan []byte
	answers  chan answer
	closing  chan struct{}
	once     sync.Once // closes closing
	ended    chan struct{}
}

type answer struct {
	response []byte
	err      error
}

// Connect powers the card in a reader and connects to it. The reader may be
// given by a part of its name that no other reader has. Errors: ErrNoService,
// ErrNoReader, ErrNoCard, ErrInUse, ErrTimeout, or a Code; a card that is pulled
// just then, ErrGone. ErrInUse may pass: some programs connect to every reader
// for a moment when they start.
func Connect(reader string, o Options) (*Card, error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	name, err := find(reader)
	if err != nil {
		return nil, err
	}
	if isGivenUp(name) {
		return nil, fmt.Errorf("%w: an earlier command to %s is still without one", ErrTimeout, name)
	}
	c := &Card{
		name: name, timeout: o.Timeout,
		commands: make(chan []byte), answers: make(chan answer, 1),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	connected := make(chan error, 1)
	go c.run(o.Exclusive, connected)
	late := time.NewTimer(c.timeout)
	defer late.Stop()
	select {
	case err := <-connected:
		if err != nil {
			return nil, c.refused(err)
		}
	case <-late.C:
		c.giveUp()
		return nil, fmt.Errorf("%w: connecting to %s took more than %v: the card hangs, or another program holds it", ErrTimeout, name, c.timeout)
	}
	if c.atr, err = atr(name); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// refused is the error of a Connect that pcscd answered with err.
func (c *Card) refused(err error) error {
	switch err {
	case scard.ErrNoSmartcard, scard.ErrRemovedCard:
		return fmt.Errorf("%w %s", ErrNoCard, c.name)
	case scard.ErrSharingViolation:
		return fmt.Errorf("%w (%s)", ErrInUse, c.name)
	case scard.ErrUnknownReader, scard.ErrReaderUnavailable:
		return fmt.Errorf("%w as %q any more", ErrNoReader, c.name)
	case scard.ErrUnresponsiveCard, scard.ErrUnpoweredCard:
		return fmt.Errorf("pcsc: the card in %s does not answer to power, as if it were the wrong way round: %w", c.name, code(err))
	}
	return service(err)
}

// atr reads the ATR of a card that is powered. SCardStatus has it as well, but
// waits for other programs' transactions.
func atr(reader string) ([]byte, error) {
	seen, err := look()
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		if s.name == reader && s.atr != "" {
			return []byte(s.atr), nil
		}
	}
	return nil, fmt.Errorf("%w: it left %s while it was powered", ErrGone, reader)
}

// Name is the reader's name in full.
func (c *Card) Name() string { return c.name }

// ATR is the card's answer to reset.
func (c *Card) ATR() []byte { return bytes.Clone(c.atr) }

// Transmit sends one command APDU and returns the response, at least a status
// word. With T=0 the card may answer 61XX or 9FXX, and the caller then asks for
// the data. A command of no octets, or of more than an extended APDU has, is
// refused and the card lives on; after any other error it is dead, and every
// later command has the same error: ErrGone, ErrReset or ErrTimeout, or
// os.ErrClosed after Close.
func (c *Card) Transmit(command []byte) (response []byte, err error) {
	if len(command) == 0 || len(command) > maxCommand {
		return nil, fmt.Errorf("pcsc: a command of %d octets", len(command))
	}
	// Given up, the call goes on reading its command.
	command = bytes.Clone(command)
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.dead != nil {
		return nil, c.dead
	}
	select {
	case c.commands <- command:
	case <-c.closing:
		return nil, fmt.Errorf("pcsc: %s: %w", c.name, os.ErrClosed)
	}
	late := time.NewTimer(c.timeout)
	defer late.Stop()
	select {
	case a := <-c.answers:
		response, c.dead = c.judge(a)
	case <-late.C:
		c.giveUp()
		c.dead = fmt.Errorf("%w: the card in %s took more than %v", ErrTimeout, c.name, c.timeout)
	}
	return response, c.dead
}

// judge tells an answer from a death. A card that dies in the middle of a command
// is no error to pcscd, but a response of no octets.
func (c *Card) judge(a answer) (response []byte, dead error) {
	switch {
	case a.err == scard.ErrResetCard:
		return nil, fmt.Errorf("%w (%s, %w)", ErrReset, c.name, code(a.err))
	case a.err != nil:
		return nil, fmt.Errorf("%w from %s (%w)", ErrGone, c.name, code(a.err))
	case len(a.response) < 2:
		return nil, fmt.Errorf("%w from %s: it answered with %d octets", ErrGone, c.name, len(a.response))
	}
	return a.response, nil
}

// Close resets the card and lets go of it: whoever comes next must not find a
// PIN verified. A card that failed, or was sent nothing, is left alone; it loses
// its power within seconds. Close waits for a command that runs, and for the
// reset, but not for a reader that is given up; after Options.Timeout it gives up
// the reader and returns ErrTimeout. To close it again does nothing.
func (c *Card) Close() error {
	c.once.Do(func() { close(c.closing) })
	if c.isGivenUp() {
		return nil
	}
	late := time.NewTimer(c.timeout)
	defer late.Stop()
	select {
	case <-c.ended:
		return nil
	case <-late.C:
		c.giveUp()
		return fmt.Errorf("%w: closing the card in %s took more than %v", ErrTimeout, c.name, c.timeout)
	}
}

// run makes all calls on the card and on its context, from the first to the
// last. Nobody else may: libpcsclite takes its lock for all contexts to wait for
// the one call that is in this context.
func (c *Card) run(exclusive bool, connected chan<- error) {
	defer c.end()
	ctx, card, err := connect(c.name, exclusive)
	connected <- err
	if err != nil {
		return
	}
	for answered := false; ; {
		select {
		case command := <-c.commands:
			response, err := card.Transmit(command)
			clear(command) // it may have been a PIN
			answered = err == nil && len(response) > 0
			// scard's response has 64 KiB behind it.
			c.answers <- answer{bytes.Clone(response), err}
		case <-c.closing:
			if answered {
				reset(card)
			} else {
				leave(card)
			}
			_ = ctx.Release()
			return
		}
	}
}

// connecting is held while a card is connected, for a second at most.
// libpcsclite adds the new card to its context's list under that context's lock
// alone, while commands to other cards go through the lists of all contexts up
// to their own. A context is put at the end: if one at a time connects, no
// other's card is behind it, and nobody gets there. A card that hangs in
// Connect must not keep the rest away, so then that moment is risked.
var connecting = make(chan struct{}, 1)

func connect(reader string, exclusive bool) (*scard.Context, *scard.Card, error) {
	connecting <- struct{}{}
	done := sync.OnceFunc(func() { <-connecting })
	defer done()
	defer time.AfterFunc(time.Second, done).Stop()
	ctx, err := scard.EstablishContext()
	if err != nil {
		return nil, nil, err
	}
	mode := scard.ShareShared
	if exclusive {
		mode = scard.ShareExclusive
	}
	card, err := ctx.Connect(reader, mode, scard.ProtocolAny)
	if err != nil {
		_ = ctx.Release()
		return nil, nil, err
	}
	return ctx, card, nil
}

// reset resets the card, unless another program has just done so, which would
// throw out that one in turn: then BeginTransaction fails. SCardDisconnect is
// not for us: it goes through the lists of all contexts without a lock.
func reset(card *scard.Card) {
	if card.BeginTransaction() == nil {
		_ = card.EndTransaction(scard.ResetCard)
	}
}

// leave sees to it that the card is not reset, which pcscd does by itself when
// the context of an exclusive connection is released. If a reset finds the card
// away, pcscd notes that the reader is empty; if there is a card again when it
// looks next, 0.4 s later at most, it sees no change and takes the reader for
// empty until that card is pulled. No PIN stays verified for long: a card that
// nobody holds loses its power within seconds.
func leave(card *scard.Card) {
	_ = card.Reconnect(scard.ShareShared, scard.ProtocolAny, scard.LeaveCard)
}

// givenUp has the cards whose call nobody waits for any more. Connecting to such
// a reader would only leave one more call behind.
var givenUp = struct {
	sync.Mutex
	cards map[*Card]bool
}{cards: make(map[*Card]bool)}

// giveUp leaves the card's goroutine behind, unless it has just ended.
func (c *Card) giveUp() {
	c.once.Do(func() { close(c.closing) })
	givenUp.Lock()
	defer givenUp.Unlock()
	select {
	case <-c.ended:
	default:
		givenUp.cards[c] = true
	}
}

func (c *Card) end() {
	givenUp.Lock()
	defer givenUp.Unlock()
	delete(givenUp.cards, c)
	close(c.ended)
}

func (c *Card) isGivenUp() bool {
	givenUp.Lock()
	defer givenUp.Unlock()
	return givenUp.cards[c]
}

func isGivenUp(reader string) bool {
	givenUp.Lock()
	defer givenUp.Unlock()
	for c := range givenUp.cards {
		if c.name == reader {
			return true
		}
	}
	return false
}
