package fleet

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"imza/emulator"
)

// Scenario is what people do, and what befalls their messages.
type Scenario struct {
	Name      string
	People    []Sort // the rest signs at once
	Network   emulator.Network
	Operators []Centre // those of the fleet that are not the default
}

// Sort is a sort of people.
type Sort struct {
	Share float64
	Does  Behaviour
	Think emulator.LogNormal // before each prompt is replied to
	Back  time.Duration      // of Away: how long after a message came
}

// Behaviour is what a person does with a challenge.
type Behaviour string

// The behaviours.
const (
	Signs            Behaviour = "signs"
	Cancels          Behaviour = "cancels"
	WrongOnce        Behaviour = "wrong-once"        // types a wrong PIN2, then the right one
	WrongAlways      Behaviour = "wrong-always"      // until it is blocked
	Blocked          Behaviour = "blocked"           // PIN2 is blocked already
	Absent           Behaviour = "absent"            // does not look at the telephone
	Off              Behaviour = "off"               // has it switched off
	Away             Behaviour = "away"              // has it switched off when a challenge comes, and on again later
	ChangesTelephone Behaviour = "changes-telephone" // puts the card into another one at the first prompt, and signs from then on
	Late             Behaviour = "late"              // signs after the deadline
)

// Centre is an operator's message centre.
type Centre struct {
	Name, Prefix string
	Network      *emulator.Network // nil: that of the scenario
	Binds        int               // that may be open, and that the gateway opens; 0: one, and as many as one likes may be
	Rate         float64           // submit_sm a second; 0: without limit
	Addr         string            // empty: the next of the emulator's
	Restart      Restart
}

// Restart is when a centre restarts in each run, and for how long it is away; no
// Down is no restart.
type Restart struct{ After, Down time.Duration }

const (
	// defaultBinds is what a gateway is told where the scenario does not say. One
	// connection carries more than two cores can sign; with several the same PDUs
	// go out in more and smaller writes.
	defaultBinds = 1
	mostBinds    = 64
	// longestBack is as long as a centre surely remembers who is away.
	longestBack = time.Minute
	// lateBy is how long who is late takes at each prompt, if nothing else is said:
	// longer than a gateway waits.
	lateBy = 150 * time.Second
)

//go:embed scenarios
var scenarios embed.FS

// ScenarioNames are the scenarios that are built in.
func ScenarioNames() (names []string) {
	entries, err := scenarios.ReadDir("scenarios")
	if err != nil {
		panic(err) // it is built in
	}
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// ReadScenario reads the built-in scenario with a name, or else a file.
func ReadScenario(name string) (*Scenario, error) {
	text, err := scenarios.ReadFile("scenarios/" + name + ".yaml")
	if err != nil {
		if text, err = os.ReadFile(name); errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "./") {
			return nil, fmt.Errorf("scenario %q: neither a file nor one of %s", name, strings.Join(ScenarioNames(), ", "))
		}
		if err != nil {
			return nil, fmt.Errorf("scenario: %w", err)
		}
	}
	s, err := ParseScenario(text)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	s.Name = strings.TrimSuffix(path.Base(name), ".yaml")
	return s, nil
}

// PlannedOperators are the operators that a new fleet for this scenario has:
// those that the scenario gives prefixes to, or else the default ones.
func (s *Scenario) PlannedOperators() (operators []Operator) {
	for _, c := range s.Operators {
		if c.Prefix != "" {
			operators = append(operators, Operator{c.Name, c.Prefix})
		}
	}
	if len(operators) == 0 {
		return DefaultOperators()
	}
	return operators
}

// centres are the message centres of a fleet's operators, as the scenario has
// them.
func (s *Scenario) centres(operators []Operator) ([]Centre, error) {
	all := make([]Centre, len(operators))
	for i, o := range operators {
		all[i] = Centre{Name: o.Name, Prefix: o.Prefix, Network: &s.Network}
	}
	for i, c := range s.Operators {
		known := false
		for j := range all {
			if all[j].Name != c.Name {
				continue
			}
			if known = true; c.Prefix != "" && c.Prefix != all[j].Prefix {
				return nil, fmt.Errorf("operators[%d].prefix: the fleet's %s has %s", i, c.Name, all[j].Prefix)
			}
			c.Prefix = all[j].Prefix
			if c.Network == nil {
				c.Network = &s.Network
			}
			all[j] = c
		}
		if !known {
			return nil, fmt.Errorf("operators[%d].name: the fleet has no %s, but %s", i, c.Name, operatorsAsText(operators))
		}
	}
	return all, nil
}
