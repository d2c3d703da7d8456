//go:build pcsc

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/simcard/pcsc/pcsctest"
)

// TestCrash kills pcscd under a command, and under one that is given up.
func TestCrash(t *testing.T) {
	d := pcsctest.Start(t, 2)
	heard := make(chan struct{})
	_, c := hold(t, d.Readers[0], func([]byte) []byte { close(heard); return silence }, Options{Exclusive: true})
	_, stuck := hold(t, d.Readers[1], func([]byte) []byte { return silence }, Options{})
	stuck.timeout = 200 * time.Millisecond
	if _, err := stuck.Transmit(command); !errors.Is(err, ErrTimeout) {
		t.Errorf("a card that does not answer: %v", err)
	}

	failed := make(chan error)
	go func() { _, err := c.Transmit(command); failed <- err }()
	<-heard
	d.Kill()
	err := <-failed
	var code Code
	if !errors.Is(err, ErrGone) || !errors.As(err, &code) || code != 0x80100013 {
		t.Errorf("pcscd died in a command: %v", err)
	}
	<-stuck.ended
	wantDead(t, stuck, ErrTimeout)
	wantDead(t, c, ErrGone)
	if _, err := List(); !errors.Is(err, ErrNoService) || !strings.Contains(err.Error(), "start pcscd") {
		t.Errorf("List without pcscd: %v", err)
	}
	if _, err := Connect("", Options{}); !errors.Is(err, ErrNoService) {
		t.Errorf("Connect without pcscd: %v", err)
	}

	d.Restart()
	for _, slot := range d.Readers {
		_, c := hold(t, slot, echo, Options{Exclusive: true})
		if _, err := c.Transmit(command); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		defer func() { // idle, this time
			_, err := c.Transmit(command)
			if !errors.Is(err, ErrGone) || !errors.As(err, &code) {
				t.Errorf("pcscd died: %v", err)
			}
		}()
	}
	d.Kill()
}

func TestWatch(t *testing.T) {
	d := pcsctest.Start(t, 2)
	lists := make(chan string, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- Watch(ctx, func(list []Reader) {
			var text string
			for i, r := range list {
				if r.Name != d.Readers[i].Name {
					t.Errorf("reader %d is %q", i, r.Name)
				}
				text += fmt.Sprintf("[%X", r.ATR)
				if r.InUse {
					text += " in use"
				}
				text += "]"
			}
			lists <- text
		})
	}()
	want := func(what, list string) {
		t.Helper()
		select {
		case got := <-lists:
			if got != list {
				t.Fatalf("%s: %q, want %q", what, got, list)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not told", what)
		}
	}
	want("at first", "[][]")
	v := insert(t, d.Readers[1], echo)
	want("a card", "[][3B00]")
	c := connectTo(t, d.Readers[1], Options{Exclusive: true})
	want("in use", "[][3B00 in use]")
	_ = c.Close()
	want("no longer", "[][3B00]")
	v.pull()
	want("pulled", "[][]")
	d.Kill()
	want("no pcscd", "")
	d.Restart()
	want("again", "[][]")
	insert(t, d.Readers[0], echo)
	want("a card in the other", "[3B00][]")
	cancel()
	begin := time.Now()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v to stop", took)
	}
	if len(lists) > 0 {
		t.Errorf("and then %q", <-lists)
	}
}

// TestWatchEarly starts before pcscd does.
func TestWatchEarly(t *testing.T) {
	d := pcsctest.Start(t, 1)
	d.Kill()
	told := make(chan []Reader)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Watch(ctx, func(list []Reader) { told <- list }) }()
	if list := <-told; len(list) != 0 {
		t.Errorf("without pcscd: %v", list)
	}
	d.Restart()
	if list := <-told; len(list) == 0 || list[0].Name != d.Readers[0].Name {
		t.Errorf("with pcscd: %v", list)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

func TestBetween(t *testing.T) {
	a, b := state{name: "a", atr: "1", events: 1, inUse: true}, state{name: "b", atr: "2", events: 7}
	later := func(s state, events uint16, atr string) state { s.events, s.atr = events, atr; return s }
	tests := []struct {
		name       string
		seen, want []state
	}{
		{"nothing happened", []state{a, b}, nil},
		{"pulled", []state{later(a, 2, ""), b}, nil},
		{"reader gone", []state{b}, nil},
		{"back again", []state{later(a, 3, "1"), b}, []state{{name: "a", events: 1}, b}},
		{"another card", []state{later(a, 3, "9"), b}, []state{{name: "a", events: 1}, b}},
		{"both", []state{later(a, 3, "1"), later(b, 9, "2")}, []state{{name: "a", events: 1}, {name: "b", events: 7}}},
	}
	for _, test := range tests {
		if got := between([]state{a, b}, test.seen); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
