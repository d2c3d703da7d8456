package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imza/emulator"
)

func TestBuiltInScenarios(t *testing.T) {
	names := ScenarioNames()
	if strings.Join(names, " ") != "everyday instant storm" {
		t.Errorf("there are %v", names)
	}
	for _, name := range names {
		s, err := ReadScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.centres(DefaultOperators()); err != nil || s.Name != name {
			t.Errorf("%s: %v", name, err)
		}
		if instant := len(s.People) == 0 && s.Network == (emulator.Network{}); instant != (name == "instant") {
			t.Errorf("%s is %+v", name, s)
		}
	}
}

const whole = `
people:
  - {share: 0.92, does: signs, think: {median: 3s, sigma: 0.4}}
  - {share: 0.01, does: away, back: 20s}
  - {share: 0.07, does: late}
network:
  delay: {median: 300ms, sigma: 0.5}
  lost: 0.01
  twice: 0.02
  reordered: 0.03
  receipts: {late: 0.04, by: 10s, absent: 0.05}
  throttled: 0.06
operators:
  - {name: one, prefix: "99450", binds: 7, rate: 100, addr: "127.0.0.1:0", restart: {after: 20s, down: 2s}}
  - {name: two, prefix: "+99455", network: {lost: 0.5}}
`

func TestScenarioFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadScenario(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "mine" || len(s.People) != 3 || s.People[0] != (Sort{0.92, Signs, emulator.LogNormal{Median: 3 * time.Second, Sigma: 0.4}, 0}) ||
		s.People[1].Back != 20*time.Second || s.People[2].Think.Median != lateBy {
		t.Errorf("%+v", s)
	}
	if want := (emulator.Network{Delay: emulator.LogNormal{Median: 300 * time.Millisecond, Sigma: 0.5}, Lost: 0.01, Twice: 0.02, Reordered: 0.03, Throttled: 0.06,
		ReceiptLate: 0.04, ReceiptBy: 10 * time.Second, ReceiptAbsent: 0.05}); s.Network != want {
		t.Errorf("%+v", s.Network)
	}
	planned := s.PlannedOperators()
	if len(planned) != 2 || planned[1] != (Operator{"two", "99455"}) {
		t.Errorf("%+v", planned)
	}
	centres, err := s.centres(append(planned, Operator{"three", "99470"}))
	if err != nil {
		t.Fatal(err)
	}
	if c := centres[0]; c.Binds != 7 || c.Rate != 100 || c.Restart != (Restart{20 * time.Second, 2 * time.Second}) || *c.Network != s.Network {
		t.Errorf("%+v", c)
	}
	if centres[1].Network.Lost != 0.5 || centres[1].Network.Twice != 0 || centres[2].Name != "three" || *centres[2].Network != s.Network {
		t.Errorf("%+v", centres)
	}
	for says, operators := range map[string][]Operator{
		`operators[1].name: the fleet has no two, but one 99450`: {{"one", "99450"}},
		"operators[0].prefix: the fleet's one has 99451":         {{"one", "99451"}, {"two", "99455"}},
	} {
		if _, err := s.centres(operators); err == nil || err.Error() != says {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

func TestScenariosThatAreNone(t *testing.T) {
	for says, text := range map[string]string{
		"field peple not found":                     "peple: []",
		"field shares not found":                    "people: [{shares: 1}]",
		"people has no value":                       "people:",
		"an entry has no value":                     "people: [null]",
		"second document":                           "people: []\n---\npeople: []",
		"people[0].share: 1.5":                      "people: [{share: 1.5, does: signs}]",
		"people[0].share: -1":                       "people: [{share: -1, does: signs}]",
		"people[0].share: NaN":                      "people: [{share: .nan, does: signs}]",
		"the shares are 1.1 together":               "people: [{share: 0.6, does: signs}, {share: 0.5, does: off}]",
		`people[0].does: "sings" is no behaviour`:   "people: [{share: 1, does: sings}]",
		`people[0].does: "" is no behaviour`:        "people: [{share: 1}]",
		"people[0].think.median: -3s":               "people: [{share: 1, does: signs, think: {median: -3s}}]",
		"people[0].think.sigma: 5":                  "people: [{share: 1, does: signs, think: {median: 3s, sigma: 5}}]",
		"people[0].think.median: a sigma is of one": "people: [{share: 1, does: signs, think: {sigma: 1}}]",
		"people[0].back: how long":                  "people: [{share: 1, does: away}]",
		"people[0].back: only":                      "people: [{share: 1, does: signs, back: 3s}]",
		"cannot unmarshal !!int `3`":                "people: [{share: 1, does: signs, think: {median: 3}}]",
		"network.lost: 2":                           "network: {lost: 2}",
		"network.receipts.absent: -0.1":             "network: {receipts: {absent: -0.1}}",
		"network.receipts.by: by how much":          "network: {receipts: {late: 0.1}}",
		"network.delay.median: 48h0m0s":             "network: {delay: {median: 48h}}",
		"operators[0].name: \"\"":                   "operators: [{prefix: '1'}]",
		"operators[0].prefix: \"x\"":                "operators: [{name: a, prefix: x}]",
		"operators[0].binds: -1":                    "operators: [{name: a, binds: -1}]",
		"operators[0].rate: -1":                     "operators: [{name: a, rate: -1}]",
		"operators[0].addr: 0.0.0.0:1 is not":       "operators: [{name: a, addr: '0.0.0.0:1'}]",
		"operators[0].addr: ":                       "operators: [{name: a, addr: 'localhost'}]",
		"operators[0].restart.down":                 "operators: [{name: a, restart: {after: 3s}}]",
		"operators[0].restart.after":                "operators: [{name: a, restart: {down: 3s}}]",
		"operators[0].network.lost: 2":              "operators: [{name: a, network: {lost: 2}}]",
		"operators[1].name: \"a\" is operators[0]":  "operators: [{name: a}, {name: a}]",
		"octets, at most":                           strings.Repeat("#", mostScenario+1),
	} {
		if _, err := ParseScenario([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s is told %v, want %s", text, err, says)
		}
	}
	if _, err := ReadScenario("strom"); err == nil || err.Error() != `scenario "strom": neither a file nor one of everyday, instant, storm` {
		t.Error(err)
	}
	if _, err := ReadScenario("./strom.yaml"); err == nil {
		t.Error("a file that is not there is a scenario")
	}
}

func FuzzScenario(f *testing.F) {
	f.Add([]byte(whole))
	for _, name := range ScenarioNames() {
		text, err := scenarios.ReadFile("scenarios/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseScenario(text)
		if err != nil {
			return
		}
		total := 0.0
		for _, p := range s.People {
			total += p.Share
		}
		if !(total <= 1.001) {
			t.Errorf("shares of %v", total)
		}
	})
}

// The scenario that the guide shows is one.
func TestScenarioOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(guide), "```yaml\n")
	shown, _, whole := strings.Cut(shown, "```")
	if !whole {
		t.Fatal("the guide shows none")
	}
	if s, err := ParseScenario([]byte(shown)); err != nil || len(s.People) != 4 {
		t.Errorf("%+v, %v", s, err)
	}
}
