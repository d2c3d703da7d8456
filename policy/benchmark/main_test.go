package main

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/policy"
)

// What is to be answered is written out here, whoever is asked.
func TestEveryoneDecidesAlike(t *testing.T) {
	none := policy.Set{}
	all := policy.Set{BlockAll: true}
	two := []policy.Provider{"asan", "dost"}
	tests := []struct {
		name string
		set  policy.Set
		want map[policy.Provider]bool
	}{
		{"nothing said", none, map[policy.Provider]bool{"asan": true, "dost": true, "joined-later": true}},
		{"some blocked", policy.Set{Exceptions: two}, map[policy.Provider]bool{"asan": false, "dost": false, "bank": true, "joined-later": true}},
		{"all blocked", all, map[policy.Provider]bool{"asan": false, "dost": false, "joined-later": false}},
		{"all blocked but some", policy.Set{BlockAll: true, Exceptions: two}, map[policy.Provider]bool{"asan": true, "dost": true, "bank": false, "joined-later": false}},
		{"blocked, then allowed again", none.With("asan", false).With("dost", false).With("asan", true), map[policy.Provider]bool{"asan": true, "dost": false, "joined-later": true}},
		{"all blocked, one let in and out", all.With("asan", true).With("dost", true).With("asan", false), map[policy.Provider]bool{"asan": false, "dost": true, "joined-later": false}},
		{"names that begin alike", policy.Set{Exceptions: []policy.Provider{"asan-1"}}, map[policy.Provider]bool{"asan": true, "asan-1": false, "asan-10": true, "excepted": true}},
	}
	for _, tt := range tests {
		var asked []policy.Provider
		for p := range tt.want {
			asked = append(asked, p)
		}
		for _, d := range deciders {
			ask, err := d.prepare(tt.set, asked)
			if err != nil {
				t.Fatalf("%s: %s: %v", tt.name, d.name, err)
			}
			for range 2 { // some remember
				for i, p := range asked {
					if got, err := ask(i); err != nil || got != tt.want[p] {
						t.Errorf("%s: %s says %t (%v) of %s", tt.name, d.name, got, err, p)
					}
				}
			}
		}
	}
}

func TestRandomCasesAgree(t *testing.T) {
	asked, err := agree(rand.New(rand.NewPCG(1, 0)), deciders)
	if err != nil || asked < 3000 {
		t.Errorf("asked %d: %v", asked, err)
	}
}

// The comparison would find somebody who decides otherwise.
func TestDisagreementIsFound(t *testing.T) {
	wrong := decider{name: "wrong", prepare: func(set policy.Set, asked []policy.Provider) (decide, error) {
		return func(i int) (bool, error) { return !set.BlockAll, nil }, nil // knows no exceptions
	}}
	_, err := agree(rand.New(rand.NewPCG(1, 0)), append(deciders[:1:1], wrong))
	if err == nil || !strings.Contains(err.Error(), "wrong says") {
		t.Errorf("error %v", err)
	}
}

// The benchmark runs and has a figure for everybody; how fast they are is not
// for a test to say.
func TestEveryoneIsMeasured(t *testing.T) {
	var out strings.Builder
	if err := run(&out, 1, time.Millisecond, 1); err != nil && !errors.Is(err, errBar) {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, d := range deciders {
		line := regexp.MustCompile(`(?m)^ *(allow|block) +(1|10|1000) +(excepted|other) +` + d.name + ` +[0-9.]+ +[0-9]+ +[1-9][0-9]* +[0-9.]+ *$`)
		if n := len(line.FindAllString(out.String(), -1)); n != 12 {
			t.Errorf("%s has %d lines, not 12, in\n%s", d.name, n, out.String())
		}
	}
	if want := regexp.MustCompile(`Ours is [0-9.]+ times as fast as .*; the bar is 20\.\n$`); !want.MatchString(out.String()) {
		t.Errorf("no %s in\n%s", want, out.String())
	}
}
