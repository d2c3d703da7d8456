//go:build !pcsc

package pcsc

import "context"

// List returns ErrNotBuilt.
func List() ([]Reader, error) { return nil, ErrNotBuilt }

// Watch returns ErrNotBuilt.
func Watch(context.Context, func([]Reader)) error { return ErrNotBuilt }

// Connect returns ErrNotBuilt.
func Connect(string, Options) (*Card, error) { return nil, ErrNotBuilt }

// Card is never made in this build.
type Card struct{}

func (*Card) Name() string                    { return "" }
func (*Card) ATR() []byte                     { return nil }
func (*Card) Transmit([]byte) ([]byte, error) { return nil, ErrNotBuilt }
func (*Card) Close() error                    { return nil }
