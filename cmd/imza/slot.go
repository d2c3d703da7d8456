package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"imza/emulator"
	"imza/simcard"
	"imza/simcard/pcsc"
)

// cardTimeout is how long a card may take for one command: the longest is to
// make an RSA key.
const cardTimeout = 30 * time.Second

// slot keeps a handset's card in step with what is in a reader: the card may be
// pulled and put back, and pcscd may die and come again.
type slot struct {
	reader   string // its name in full
	handset  *emulator.Handset
	iccid    simcard.ICCID // of the card that is wanted; empty: any
	inserted func(bool)    // told when the handset is on with its card, and when the card is gone
	log      *slog.Logger

	lost  chan error // why the card can no longer be used
	first chan error // what came of the first try
	told  string     // what was logged since the card was there last
}

// retry is how long a reader is left alone after it had no card for us.
const retry = 300 * time.Millisecond

// lockedRetry is how long a locked telephone waits before it asks for its own PIN
// again. Nobody guesses it: only a person replies to such a prompt.
const lockedRetry = 2 * time.Second

// begin serves the reader until the returned function is called.
func (s *slot) begin() (stop func() error) {
	s.lost, s.first = make(chan error, 1), make(chan error, 1)
	s.handset.Lost = func(err error) { report(s.lost, err) }
	return runAside(s.run)
}

// report tells what came of something to who waits for the first such word.
func report(first chan<- error, err error) {
	select {
	case first <- err:
	default:
	}
}

func (s *slot) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.serve(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != s.told {
			s.told = err.Error() // once, not at each try
			s.log.Warn("card reader", "reader", s.reader, "err", err)
		}
		report(s.first, err)
		pause := retry
		if errors.Is(err, emulator.ErrLocked) { // until somebody is there who knows the PIN
			pause = lockedRetry
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// serve connects to the card, and serves it until it is lost.
func (s *slot) serve(ctx context.Context) error {
	// A telephone's card is the telephone's alone.
	card, err := pcsc.Connect(s.reader, pcsc.Options{Exclusive: true, Timeout: cardTimeout})
	if err != nil {
		return err
	}
	defer card.Close()
	iccid, err := signer{card}.iccid()
	if err != nil {
		return err
	}
	if s.iccid != "" && iccid != s.iccid {
		return fmt.Errorf("card %s is in the reader, not %s", iccid, s.iccid)
	}
	select {
	case <-s.lost: // of the card before
	default:
	}
	s.handset.Insert(card)
	defer s.handset.Insert(nil)
	defer s.handset.SwitchOff()
	if err := switchOn(ctx, s.handset, s.lost); err != nil {
		return err
	}
	s.inserted(true)
	defer s.inserted(false)
	s.told = ""
	s.log.Info("card reader: the telephone is on", "reader", s.reader, "card", iccid)
	report(s.first, nil)
	select {
	case err = <-s.lost:
	case <-ctx.Done():
	}
	return err
}

// switchOn switches a handset on, which takes as long as its person takes to
// type the telephone's PIN, if the card asks for it. It gives up if the card is
// lost meanwhile, or the context ends.
func switchOn(ctx context.Context, handset *emulator.Handset, lost <-chan error) error {
	starting, cancel := context.WithCancel(ctx)
	on := make(chan error, 1)
	go func() { on <- handset.SwitchOn(starting) }()
	var err error
	select {
	case err = <-on:
	case err = <-lost:
		cancel()
		<-on
	case <-ctx.Done():
		cancel()
		<-on
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		handset.SwitchOff()
	}
	_ = cancel // the handset is on in that context from now on; SwitchOff ends it
	return err
}

// watch tells slots that their card has left the reader. Their handsets would
// not notice before they have something for it, and that would be lost.
func watch(ctx context.Context, slots ...*slot) {
	_ = pcsc.Watch(ctx, func(readers []pcsc.Reader) {
		for _, s := range slots {
			if !slices.ContainsFunc(readers, func(r pcsc.Reader) bool { return r.Name == s.reader && r.ATR != nil }) {
				report(s.lost, fmt.Errorf("%w %s any more", pcsc.ErrNoCard, s.reader))
			}
		}
	})
}

// places are the cards in the readers that were named, in that order.
type places []place

type place struct {
	iccid  simcard.ICCID
	reader string // its name in full
	ours   bool   // the card has a certificate of our authority
}

// take is the reader that a subscriber's card is in, empty if it is in none; it
// is no longer among the places then. A card by this number that is not the one
// on record would get challenges that it cannot open, and say nothing.
func (all *places) take(iccid simcard.ICCID) (reader string, err error) {
	i := slices.IndexFunc(*all, func(p place) bool { return p.iccid == iccid })
	if i < 0 {
		return "", nil
	}
	at := (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	if !at.ours {
		return "", fmt.Errorf("--pcsc %q: card %s is of another data folder: it has no certificate of this one's authority", at.reader, iccid)
	}
	return at.reader, nil
}

// places finds whose cards are in the readers that were named.
func (d *demo) places(p *program) (all places, err error) {
	for _, name := range p.config.PCSC {
		card, err := pcsc.Connect(name, pcsc.Options{Exclusive: true, Timeout: cardTimeout})
		if err != nil {
			return nil, fmt.Errorf("--pcsc %q: %w", name, err)
		}
		here := place{reader: card.Name()}
		here.iccid, err = signer{card}.iccid()
		if err == nil {
			here.ours, err = signer{card}.certifiedBy(p.authority.Issuing)
		}
		if err := errors.Join(err, card.Close()); err != nil {
			return nil, fmt.Errorf("--pcsc %q: %w", name, err)
		}
		for _, other := range all {
			switch {
			case other.reader == here.reader:
				return nil, fmt.Errorf("--pcsc: %q is named twice", here.reader)
			case other.iccid == here.iccid:
				return nil, fmt.Errorf("--pcsc: card %s is in %q and in %q", here.iccid, other.reader, here.reader)
			}
		}
		all = append(all, here)
	}
	return all, nil
}

// openStrangers takes in the cards in readers that are none of the demo's: each
// becomes a further subscriber, who keeps the number from then on.
func (d *demo) openStrangers(ctx context.Context, p *program, smsc *emulator.SMSC, enrolled []simcard.MSISDN, inReaders places) error {
	n := len(demoSubscribers) + 1
	for ; slices.Contains(enrolled, demoMSISDN(n)); n++ { // of earlier starts
		subscriber, err := p.registry.Subscriber(ctx, demoMSISDN(n), demoUserID(n))
		if err != nil {
			return err
		}
		reader, err := inReaders.take(subscriber.ICCID)
		if err != nil {
			return err
		}
		if err := d.connectStranger(p, smsc, n, subscriber.ICCID, reader); err != nil {
			return err
		}
	}
	for _, at := range inReaders {
		if err := d.enrolInReader(ctx, p, n, at.reader); err != nil {
			return fmt.Errorf("--pcsc %q: %w", at.reader, err)
		}
		if err := d.connectStranger(p, smsc, n, at.iccid, at.reader); err != nil {
			return err
		}
		n++
	}
	return nil
}

func stranger(n int) demoSubscriber {
	return demoSubscriber{givenName: "Qonaq", surname: fmt.Sprintf("%d", n), away: true, stranger: true,
		does: "has a card of their own, which is in no reader now", ends: "absent"}
}

func (d *demo) connectStranger(p *program, smsc *emulator.SMSC, n int, iccid simcard.ICCID, reader string) error {
	s := stranger(n)
	if reader != "" {
		s.does, s.ends = "has the card in "+reader, "as you answer"
	}
	d.extra = append(d.extra, s)
	return d.connect(p, smsc, n, s, iccid, reader)
}

func (d *demo) enrolInReader(ctx context.Context, p *program, n int, reader string) error {
	card, err := pcsc.Connect(reader, pcsc.Options{Exclusive: true, Timeout: cardTimeout})
	if err != nil {
		return err
	}
	defer card.Close()
	return d.enrol(ctx, p, n, stranger(n), card)
}
