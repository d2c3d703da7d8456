package main

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// The benchmark runs and has a figure for everybody; how fast they are is not
// for a test to say.
func TestEveryoneIsMeasured(t *testing.T) {
	t.Chdir("../..") // as make runs it
	var out strings.Builder
	if err := run(&out, 30*time.Millisecond, 1); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{
		`bare loop +bare loop`, `imza +bare loop`, `go-smpp +bare loop`, `node-smpp +bare loop`, `bare loop +imza`, `imza +imza`,
	} {
		if !regexp.MustCompile(`(?m)^ *` + line + `( +[1-9][0-9]*){3} *$`).MatchString(out.String()) {
			t.Errorf("no line %s in\n%s", line, out.String())
		}
	}
	if want := regexp.MustCompile(`a submit_sm of 190 octets in [1-9][0-9]* ns with [0-2] allocations`); !want.MatchString(out.String()) {
		t.Errorf("no %s in\n%s", want, out.String())
	}
}
