//go:build !linux

package emulator

// quickACK is of Linux, as vpcd is.
func (r *reader) quickACK() {}
