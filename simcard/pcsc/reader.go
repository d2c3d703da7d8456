//go:build pcsc

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ebfe/scard"
)

const (
	// pause is between two looks of Watch. pcscd itself looks at a reader every
	// 0.4 s.
	pause = 200 * time.Millisecond
	// patience is how long pcscd may take to say what readers there are. It takes
	// 0.4 s over every mute card, and has 16 readers at most.
	patience = 10 * time.Second
)

// List says what readers there are; no readers is no error. Errors: ErrNoService.
func List() ([]Reader, error) {
	seen, err := look()
	return readers(seen), err
}

// Watch calls changed with what readers there are, and then after each change,
// until ctx is done, whose error it returns. A card that was pulled and put back
// between two looks is reported as pulled. While pcscd is away there are no
// readers; once it is back, so are they. A look that fails otherwise changes
// nothing.
//
// It looks five times a second, which costs less than a hundredth of a
// processor, pcscd included, in place of waiting in SCardGetStatusChange:
// libpcsclite keeps the answers of all callers in one table without a lock,
// scard keeps the names of readers in another, and a call that waits cannot be
// ended for certain.
func Watch(ctx context.Context, changed func([]Reader)) error {
	next := time.NewTicker(pause)
	defer next.Stop()
	var last []state
	for first := true; ctx.Err() == nil; first = false {
		seen, err := look()
		if err != nil && !errors.Is(err, ErrNoService) && !first {
			seen = last // one look that failed pulls no cards
		}
		if pulled := between(last, seen); pulled != nil {
			changed(readers(pulled))
		}
		if first || !slices.Equal(seen, last) {
			changed(readers(seen))
		}
		last = seen
		select {
		case <-ctx.Done():
		case <-next.C:
		}
	}
	return ctx.Err()
}

// state is a Reader at one moment; events counts the cards that came and went.
type state struct {
	name, atr   string
	inUse, mute bool
	events      uint16
}

func readers(seen []state) []Reader {
	list := make([]Reader, len(seen))
	for i, s := range seen {
		list[i] = Reader{Name: s.name, InUse: s.inUse, Mute: s.mute}
		if s.atr != "" {
			list[i].ATR = []byte(s.atr)
		}
	}
	return list
}

// between is last without the cards that have been pulled since although seen
// has a card in the same reader again; nil if there are none.
func between(last, seen []state) []state {
	var pulled []state
	for i, was := range last {
		again := slices.ContainsFunc(seen, func(is state) bool {
			return is.name == was.name && is.events != was.events && was.atr != "" && is.atr != ""
		})
		if again {
			if pulled == nil {
				pulled = slices.Clone(last)
			}
			pulled[i].atr, pulled[i].inUse = "", false
		}
	}
	return pulled
}

// table is held by whoever asks for the states of readers. libpcsclite reads
// them into one array for all threads, and scard forgets a call's memory when
// the next one names the same reader.
var table = make(chan struct{}, 1)

// look asks pcscd what readers there are, on a context of its own, since a
// context that cannot be released in time is lost for good: libpcsclite would
// lock up every thread that waits for the one in it.
func look() ([]state, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	silent := fmt.Errorf("%w anew: it has not answered for %v", ErrNoService, patience)
	select {
	case table <- struct{}{}:
	case <-late.C:
		return nil, silent
	}
	type answer struct {
		seen []state
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-table }()
		ctx, err := scard.EstablishContext()
		if err != nil {
			done <- answer{nil, service(err)}
			return
		}
		seen, err := states(ctx)
		_ = ctx.Release()
		done <- answer{seen, err}
	}()
	select {
	case a := <-done:
		return a.seen, a.err
	case <-late.C:
		return nil, silent
	}
}

func states(ctx *scard.Context) ([]state, error) {
	for {
		names, err := ctx.ListReaders()
		switch err {
		case nil:
		case scard.ErrNoReadersAvailable:
			return nil, nil
		case scard.ErrInsufficientBuffer: // one more than a moment ago
			continue
		default:
			return nil, service(err)
		}
		asked := make([]scard.ReaderState, len(names))
		for i, name := range names {
			asked[i] = scard.ReaderState{Reader: name, CurrentState: scard.StateUnaware} // answered at once
		}
		switch err := ctx.GetStatusChange(asked, 0); err {
		case nil:
		case scard.ErrUnknownReader: // one less than a moment ago
			continue
		default:
			return nil, service(err)
		}
		seen := make([]state, len(asked))
		for i, r := range asked {
			seen[i] = state{
				name:   r.Reader,
				inUse:  r.EventState&scard.StateExclusive != 0,
				mute:   r.EventState&scard.StateMute != 0,
				events: uint16(r.EventState >> 16),
			}
			if r.EventState&scard.StatePresent != 0 && !seen[i].mute {
				seen[i].atr = string(r.Atr)
			}
		}
		return seen, nil
	}
}

// find returns the one reader that has this name, or whose name alone has this
// in it, in capitals or not.
func find(name string) (string, error) {
	seen, err := look()
	if err != nil {
		return "", err
	}
	var all, found []string
	for _, s := range seen {
		if s.name == name {
			return name, nil
		}
		all = append(all, s.name)
		if strings.Contains(strings.ToLower(s.name), strings.ToLower(name)) {
			found = append(found, s.name)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(all) == 0:
		return "", fmt.Errorf("%w as %q: there are none at all", ErrNoReader, name)
	case len(found) == 0:
		return "", fmt.Errorf("%w as %q: there are %q", ErrNoReader, name, all)
	}
	return "", fmt.Errorf("pcsc: %q may be any of the readers %q", name, found)
}

// service is the error of a call that no card and no reader can be blamed for.
func service(err error) error {
	switch err {
	case scard.ErrNoService, scard.ErrServiceStopped, scard.ErrCommError:
		return fmt.Errorf("%w (%w)", ErrNoService, code(err))
	}
	return fmt.Errorf("pcsc: pcscd refuses: %w", code(err))
}

func code(err error) error {
	if number, ok := err.(scard.Error); ok {
		return Code(number)
	}
	return err
}
