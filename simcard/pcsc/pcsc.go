// Package pcsc speaks to cards in the readers of this machine, through pcscd.
//
// It is the only part that needs cgo and libpcsclite, so it is built with
// -tags pcsc; without the tag it is here all the same, and says ErrNotBuilt.
//
// pcscd has no time-out and no way to take a command back: a card that does
// not answer holds its caller for ever. Here every card has a goroutine of its
// own that makes all calls on it, and who waits longer than Options.Timeout
// leaves that goroutine behind, with its reader given up. It ends when the card
// answers after all, is pulled, or pcscd ends.
package pcsc

import (
	"errors"
	"fmt"
	"time"
)

// Reader is a card reader and what is in it.
type Reader struct {
	Name  string
	ATR   []byte // nil: no card, or a mute one
	InUse bool   // a program holds the card and shares it with nobody
	Mute  bool   // there is a card and it does not answer to power
}

// Options say how to hold a card.
type Options struct {
	// Exclusive keeps other programs away. Without it their commands come between
	// ours, and they may reset the card (ErrReset).
	Exclusive bool
	// Timeout is how long a command may take, and Connect, and Close; 30 s if zero.
	Timeout time.Duration
}

var (
	ErrNotBuilt  = errors.New("pcsc: built without card readers: install libpcsclite-dev and make build (-tags pcsc)")
	ErrNoService = errors.New("pcsc: pcscd is not running: start pcscd")
	ErrNoReader  = errors.New("pcsc: no such reader")
	ErrNoCard    = errors.New("pcsc: no card in the reader")
	ErrInUse     = errors.New("pcsc: the card is in use by another program, which may be imza up or imza card handset")

	// ErrGone says that the connection to the card is at an end: the card was
	// pulled or died, or pcscd did. Close it and Connect again.
	ErrGone = errors.New("pcsc: the card is gone")
	// ErrReset is an ErrGone: the card is there, but another program reset it, and
	// with that PINs, selections and channels are lost.
	ErrReset = fmt.Errorf("%w: another program reset it", ErrGone)
	// ErrTimeout says that the card did not answer in time. Its reader is given up:
	// Connect refuses it with this error until it answers or the card is pulled.
	ErrTimeout = errors.New("pcsc: no answer in time")
)

// Code is PC/SC's number for what went wrong. The errors of this package wrap
// one where there is one.
type Code uint32

func (c Code) Error() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("PC/SC error %08X", uint32(c))
}

// codeNames are the codes one meets in practice (PC/SC part 5, as in
// libpcsclite's pcsclite.h). libpcsclite has texts for all, but in a buffer of
// the thread, and a goroutine may change threads before it has read it.
var codeNames = map[Code]string{
	0x80100003: "SCARD_E_INVALID_HANDLE",
	0x80100009: "SCARD_E_UNKNOWN_READER",
	0x8010000B: "SCARD_E_SHARING_VIOLATION",
	0x8010000C: "SCARD_E_NO_SMARTCARD",
	0x8010000F: "SCARD_E_PROTO_MISMATCH",
	0x80100013: "SCARD_F_COMM_ERROR",
	0x80100016: "SCARD_E_NOT_TRANSACTED",
	0x80100017: "SCARD_E_READER_UNAVAILABLE",
	0x8010001D: "SCARD_E_NO_SERVICE",
	0x8010001E: "SCARD_E_SERVICE_STOPPED",
	0x80100066: "SCARD_W_UNRESPONSIVE_CARD",
	0x80100067: "SCARD_W_UNPOWERED_CARD",
	0x80100068: "SCARD_W_RESET_CARD",
	0x80100069: "SCARD_W_REMOVED_CARD",
	0x8010006A: "SCARD_W_SECURITY_VIOLATION",
}
