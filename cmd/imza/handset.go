package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"imza/emulator"
	"imza/simcard"
)

type cardHandsetCommand struct {
	cardFlags
	SMSC     string `name:"smsc" required:"" env:"IMZA_SMPP_ADDR" placeholder:"ADDR" help:"The emulated message centre, as imza up prints it."`
	Password string `required:"" env:"IMZA_HANDSET_PASSWORD" placeholder:"WORD" help:"Its password for telephones."`
	MSISDN   string `name:"msisdn" required:"" placeholder:"NUMBER" help:"The telephone's number: +994500000012, or one that nobody has."`
	PIN      string `name:"pin" env:"IMZA_PIN" placeholder:"DIGITS" help:"What is typed at every prompt for PIN1 or PIN2; without it somebody types it in the terminal."`
	OwnPIN   string `name:"own-pin" env:"IMZA_OWN_PIN" placeholder:"DIGITS" help:"With --pin: the telephone's own PIN, if its card asks for one."`
	Log      string `default:"warn" enum:"debug,info,warn,error" help:"What is logged to stderr: debug, info, warn or error."`
}

// Run is a telephone until it is told to stop.
func (c *cardHandsetCommand) Run(ctx context.Context, s streams) error {
	number, err := simcard.ParseMSISDN(c.MSISDN)
	if err != nil {
		return fmt.Errorf("--msisdn: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	t := &telephone{command: c, number: number, handset: new(emulator.Handset), failed: make(chan error, 1), out: s.out, err: s.err}
	if c.PIN == "" {
		keys := openTerminal(os.Stdin, s.out, t.handset, stop)
		defer keys.close()
		t.handset.Person, t.out, t.err = keys, keys.out, keys.writer(s.err)
	} else {
		t.handset.Person = &typist{Actor: emulator.Actor{PIN1: c.PIN, PIN2: c.PIN, Telephone: c.OwnPIN, Behaviour: emulator.Signs}, out: s.out}
	}
	if t.handset.Log, err = newLog(t.err, c.Log); err != nil {
		return err
	}
	remove, err := t.insert(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // it was told to stop before the card was there
	}
	if err != nil {
		return err
	}
	defer remove()
	select {
	case err = <-t.failed:
	case <-ctx.Done():
	}
	return err
}

// telephone is a handset that is on the network while its card is in it.
type telephone struct {
	command  *cardHandsetCommand
	number   simcard.MSISDN
	handset  *emulator.Handset
	failed   chan error // it could not be connected at all
	out, err io.Writer

	attached bool // once
}

// insert puts the card into the handset, switches it on and connects it; the
// returned function does the contrary.
func (t *telephone) insert(ctx context.Context) (remove func(), err error) {
	card, err := t.command.open(true)
	if err != nil {
		return nil, err
	}
	if t.command.Profile != "" {
		t.handset.Insert(card)
		err := switchOn(ctx, t.handset, nil)
		if err != nil {
			return nil, errors.Join(err, card.close())
		}
		leave := runAside(t.attach)
		return func() { _ = leave(); t.handset.SwitchOff(); _ = card.close() }, nil
	}
	if err := card.close(); err != nil { // the slot opens it again, and again
		return nil, err
	}
	var leave func() error
	at := &slot{reader: card.where, handset: t.handset, log: t.handset.Log, inserted: func(in bool) {
		if in {
			leave = runAside(t.attach)
		} else {
			_ = leave()
		}
	}}
	remove = both(at.begin(), runAside(func(ctx context.Context) { watch(ctx, at) }))
	select {
	case err = <-at.first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

func both(a, b func() error) func() { return func() { _, _ = b(), a() } }

// attach keeps the handset on the network. What keeps it off at first is for
// the user to mend; later the network may go and come again.
func (t *telephone) attach(ctx context.Context) {
	for {
		err := emulator.Attach(ctx, t.command.SMSC, t.command.Password, t.number, t.handset, func() {
			t.attached = true
			fmt.Fprintf(t.out, "The telephone %s is on. Ctrl-C switches it off.\n", t.number)
		}, t.handset.Log)
		if ctx.Err() != nil {
			return
		}
		if !t.attached {
			report(t.failed, err)
			return
		}
		fmt.Fprintf(t.err, "imza: %v; trying again\n", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}
