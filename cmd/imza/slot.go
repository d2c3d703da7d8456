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
	reader   string
	handset  *emulator.Handset
	iccid    simcard.ICCID // of the card that is wanted; empty: any
	inserted func(bool)    // told when the card is there, and when it is gone
	failed   func(error)   // told, if set, when it could not be served
	log      *slog.Logger
}

// retry is how long a reader is left alone after it had no card for us.
const retry = 300 * time.Millisecond

// run serves the reader until the context ends.
func (s *slot) run(ctx context.Context) {
	lost := make(chan error, 1)
	s.handset.Lost = func(err error) {
		select {
		case lost <- err:
		default:
		}
	}
	told := ""
	for ctx.Err() == nil {
		err := s.serve(ctx, lost)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error() // once, not at each try
			s.log.Warn("card reader", "reader", s.reader, "err", err)
		}
		if err != nil && s.failed != nil {
			s.failed(err)
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// serve connects to the card, and serves it until it is lost.
func (s *slot) serve(ctx context.Context, lost chan error) error {
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
	case <-lost: // of the card before
	default:
	}
	s.handset.Insert(card)
	defer s.handset.Insert(nil)
	if err := s.handset.SwitchOn(); err != nil {
		s.handset.SwitchOff()
		return err
	}
	s.inserted(true)
	defer s.inserted(false)
	select {
	case err = <-lost:
	case <-ctx.Done():
	}
	s.handset.SwitchOff()
	return err
}

// readers finds whose cards are in the readers that were named: reader by the
// card's number.
func (d *demo) readers(p *program) (map[simcard.ICCID]string, error) {
	found := make(map[simcard.ICCID]string)
	for _, name := range p.config.PCSC {
		card, err := pcsc.Connect(name, pcsc.Options{Exclusive: true, Timeout: cardTimeout})
		if err != nil {
			return nil, fmt.Errorf("--pcsc %q: %w", name, err)
		}
		iccid, err := signer{card}.iccid()
		if err := errors.Join(err, card.Close()); err != nil {
			return nil, fmt.Errorf("--pcsc %q: %w", name, err)
		}
		if other, twice := found[iccid]; twice {
			return nil, fmt.Errorf("--pcsc: card %s is in %q and in %q", iccid, other, name)
		}
		found[iccid] = card.Name()
	}
	return found, nil
}

// openStrangers takes in the cards in readers that are none of the demo's: each
// becomes a further subscriber, who keeps the number from then on.
func (d *demo) openStrangers(ctx context.Context, p *program, smsc *emulator.SMSC, enrolled []simcard.MSISDN, readers map[simcard.ICCID]string) error {
	n := len(demoSubscribers) + 1
	for ; slices.Contains(enrolled, demoMSISDN(n)); n++ { // of earlier starts
		subscriber, err := p.registry.Subscriber(ctx, demoMSISDN(n), demoUserID(n))
		if err != nil {
			return err
		}
		s := stranger(n)
		if reader := readers[subscriber.ICCID]; reader != "" {
			s.does, s.ends = "has the card in "+reader, "?"
		}
		if err := d.connect(p, smsc, n, s, subscriber.ICCID, readers[subscriber.ICCID]); err != nil {
			return err
		}
		delete(readers, subscriber.ICCID)
		d.extra = append(d.extra, s)
	}
	for iccid, reader := range readers {
		s := stranger(n)
		if err := d.enrolInReader(ctx, p, n, s, reader); err != nil {
			return fmt.Errorf("--pcsc %q: %w", reader, err)
		}
		s.does, s.ends = "has the card in "+reader, "?"
		if err := d.connect(p, smsc, n, s, iccid, reader); err != nil {
			return err
		}
		d.extra = append(d.extra, s)
		n++
	}
	return nil
}

func stranger(n int) demoSubscriber {
	return demoSubscriber{givenName: "Qonaq", surname: fmt.Sprintf("%d", n), away: true, stranger: true,
		does: "has a card of their own, which is in no reader now", ends: "absent"}
}

func (d *demo) enrolInReader(ctx context.Context, p *program, n int, s demoSubscriber, reader string) error {
	card, err := pcsc.Connect(reader, pcsc.Options{Exclusive: true, Timeout: cardTimeout})
	if err != nil {
		return err
	}
	defer card.Close()
	return d.enrol(ctx, p, n, s, card)
}
