//go:build !pcsc

package pcsc

import (
	"context"
	"errors"
	"testing"
)

func TestOff(t *testing.T) {
	_, list := List()
	_, connect := Connect("", Options{})
	watch := Watch(context.Background(), func([]Reader) { t.Error("readers in a build without") })
	_, transmit := new(Card).Transmit([]byte{0, 0, 0, 0})
	for _, err := range []error{list, connect, watch, transmit} {
		if !errors.Is(err, ErrNotBuilt) {
			t.Error(err)
		}
	}
}
