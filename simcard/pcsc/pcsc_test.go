package pcsc

import (
	"testing"

	"imza/simcard"
)

var _ simcard.Card = (*Card)(nil)

func TestCode(t *testing.T) {
	for code, want := range map[Code]string{
		0x80100069: "SCARD_W_REMOVED_CARD",
		0x801000FF: "PC/SC error 801000FF",
	} {
		if got := code.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
