package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain lets the benchmark start the test as the floor's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-floor" {
		if err := command(context.Background(), os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The floor's parts do what they are to, and have figures; how fast they are is
// not for a test to say.
func TestFloor(t *testing.T) {
	f, err := newFloor(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	figures, err := f.alone(t.Context(), 60*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.all(t.Context(), 60*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range append(figures, all) {
		if one.PerSecond <= 0 || one.Program <= 0 {
			t.Errorf("%+v", one)
		}
	}
	if len(figures) != 5 || all.Redis <= 0 {
		t.Errorf("%d parts; Redis took %.1f µs", len(figures), all.Redis)
	}
}

// The whole benchmark, for a moment: everything is started, and has a figure.
func TestWholePath(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts all processes")
	}
	o := options{cards: 500, callers: 8, span: time.Second / 2, part: 100 * time.Millisecond, rounds: 1, hold: 50,
		profiles: filepath.Join(t.TempDir(), "profiles"), keep: t.TempDir()}
	var out strings.Builder
	// That a machine which has much else to do is too slow for a request is not for
	// this test to say either.
	if err := run(t.Context(), o, &out); err != nil && !errors.Is(err, errAmiss) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Log(out.String())
	for _, line := range []string{
		`two HTTP requests( +[1-9][0-9]*(\.\d)?){2}`, `all of it( +[1-9][0-9]*(\.\d)?){3}`,
		`turn 1( +[1-9][0-9]*){2}( +\d+\.\d\d){2}`, `CPU, 8 callers( +[1-9]\d* µs){5} +[1-9]\d* +\d\.\d\d +\d\.\d\d`,
		`at 500/s( +\d+\.\d ms){4} +[1-9]\d* +[1-9]\d*`, `the floor makes \d+\.\d\d times`,
	} {
		if !regexp.MustCompile(line).MatchString(out.String()) {
			t.Errorf("no line %s", line)
		}
	}
}
