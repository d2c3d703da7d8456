package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"imza/emulator"
)

// A scenario as its file has it.
type (
	scenarioFile struct {
		People    []sortFile   `yaml:"people"`
		Network   networkFile  `yaml:"network"`
		Operators []centreFile `yaml:"operators"`
	}
	sortFile struct {
		Share float64       `yaml:"share"`
		Does  Behaviour     `yaml:"does"`
		Think spreadFile    `yaml:"think"`
		Back  time.Duration `yaml:"back"`
	}
	spreadFile struct {
		Median time.Duration `yaml:"median"`
		Sigma  float64       `yaml:"sigma"`
	}
	networkFile struct {
		Delay     spreadFile `yaml:"delay"`
		Lost      float64    `yaml:"lost"`
		Twice     float64    `yaml:"twice"`
		Reordered float64    `yaml:"reordered"`
		Throttled float64    `yaml:"throttled"`
		Receipts  struct {
			Late   float64       `yaml:"late"`
			By     time.Duration `yaml:"by"`
			Absent float64       `yaml:"absent"`
		} `yaml:"receipts"`
	}
	centreFile struct {
		Name    string       `yaml:"name"`
		Prefix  string       `yaml:"prefix"`
		Network *networkFile `yaml:"network"`
		Binds   int          `yaml:"binds"`
		Rate    float64      `yaml:"rate"`
		Addr    string       `yaml:"addr"`
		Restart struct {
			After time.Duration `yaml:"after"`
			Down  time.Duration `yaml:"down"`
		} `yaml:"restart"`
	}
)

// mostScenario is the size of a scenario's file.
const mostScenario = 1 << 20

// ParseScenario reads a scenario. Unknown keys are errors, and so are keys without
// a value: either would be something that was meant and does not happen.
func ParseScenario(text []byte) (*Scenario, error) {
	if len(text) > mostScenario {
		return nil, fmt.Errorf("%d octets, at most %d", len(text), mostScenario)
	}
	var f scenarioFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is a second document")
	}
	var all yaml.Node
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	if err := noNulls(&all); err != nil {
		return nil, err
	}
	return f.scenario()
}

func noNulls(n *yaml.Node) error {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && child.Tag == "!!null" {
			return fmt.Errorf("line %d: %s has no value", n.Content[i-1].Line, n.Content[i-1].Value)
		}
		if n.Kind == yaml.SequenceNode && child.Tag == "!!null" {
			return fmt.Errorf("line %d: an entry has no value", child.Line)
		}
		if err := noNulls(child); err != nil {
			return err
		}
	}
	return nil
}

func (f *scenarioFile) scenario() (*Scenario, error) {
	s := &Scenario{}
	total := 0.0
	for i, file := range f.People {
		sort, err := file.sort()
		if err != nil {
			return nil, fmt.Errorf("people[%d].%w", i, err)
		}
		s.People = append(s.People, sort)
		total += sort.Share
	}
	if total > 1+1e-9 { // decimal shares do not add up to the last bit
		return nil, fmt.Errorf("people: the shares are %.6g together, more than 1", total)
	}
	var err error
	if s.Network, err = f.Network.network(); err != nil {
		return nil, fmt.Errorf("network.%w", err)
	}
	for i, file := range f.Operators {
		c, err := file.centre()
		if err != nil {
			return nil, fmt.Errorf("operators[%d].%w", i, err)
		}
		for j, other := range s.Operators {
			if other.Name == c.Name {
				return nil, fmt.Errorf("operators[%d].name: %q is operators[%d], too", i, c.Name, j)
			}
		}
		s.Operators = append(s.Operators, c)
	}
	return s, nil
}

func (f *sortFile) sort() (s Sort, err error) {
	s = Sort{Share: f.Share, Does: f.Does, Back: f.Back}
	if err := isShare("share", f.Share); err != nil {
		return s, err
	}
	if s.Think, err = f.Think.logNormal(); err != nil {
		return s, fmt.Errorf("think.%w", err)
	}
	switch f.Does {
	case Signs, Cancels, WrongOnce, WrongAlways, Blocked, Absent, Off, ChangesTelephone:
	case Away:
		switch {
		case f.Back <= 0:
			return s, errors.New("back: how long is who is away?")
		case f.Back > longestBack:
			return s, fmt.Errorf("back: %s; at most %s", f.Back, longestBack)
		}
		return s, nil
	case Late:
		if f.Think.Median == 0 {
			s.Think.Median = lateBy
		}
	default:
		return s, fmt.Errorf("does: %q is no behaviour", string(f.Does))
	}
	if f.Back != 0 {
		return s, errors.New("back: only who is away comes back")
	}
	return s, nil
}

func isShare(name string, value float64) error {
	if !(value >= 0 && value <= 1) { // NaN, too
		return fmt.Errorf("%s: %v is not from 0 to 1", name, value)
	}
	return nil
}

func notNegative(name string, d time.Duration) error {
	if d < 0 || d > 24*time.Hour {
		return fmt.Errorf("%s: %s is not from 0 to 24 hours", name, d)
	}
	return nil
}

func (f spreadFile) logNormal() (emulator.LogNormal, error) {
	l := emulator.LogNormal{Median: f.Median, Sigma: f.Sigma}
	if err := notNegative("median", f.Median); err != nil {
		return l, err
	}
	if !(f.Sigma >= 0 && f.Sigma <= 3) {
		return l, fmt.Errorf("sigma: %v is not from 0 to 3", f.Sigma)
	}
	if f.Sigma > 0 && f.Median == 0 {
		return l, errors.New("median: a sigma is of one")
	}
	return l, nil
}

func (f *networkFile) network() (n emulator.Network, err error) {
	if n.Delay, err = f.Delay.logNormal(); err != nil {
		return n, fmt.Errorf("delay.%w", err)
	}
	for _, p := range []struct {
		name string
		from float64
		to   *float64
	}{
		{"lost", f.Lost, &n.Lost}, {"twice", f.Twice, &n.Twice}, {"reordered", f.Reordered, &n.Reordered}, {"throttled", f.Throttled, &n.Throttled},
		{"receipts.late", f.Receipts.Late, &n.ReceiptLate}, {"receipts.absent", f.Receipts.Absent, &n.ReceiptAbsent},
	} {
		if err := isShare(p.name, p.from); err != nil {
			return n, err
		}
		*p.to = p.from
	}
	if err := notNegative("receipts.by", f.Receipts.By); err != nil {
		return n, err
	}
	if f.Receipts.Late > 0 && f.Receipts.By == 0 {
		return n, errors.New("receipts.by: by how much are they late?")
	}
	n.ReceiptBy = f.Receipts.By
	return n, nil
}

func (f *centreFile) centre() (c Centre, err error) {
	c = Centre{Name: f.Name, Prefix: strings.TrimPrefix(f.Prefix, "+"), Binds: f.Binds, Rate: f.Rate, Addr: f.Addr, Restart: Restart{f.Restart.After, f.Restart.Down}}
	switch {
	case !isName(f.Name):
		return c, fmt.Errorf("name: %q: up to 15 small letters, digits, - and _ make a name", f.Name)
	case f.Prefix != "" && !isPrefix(c.Prefix):
		return c, fmt.Errorf("prefix: %q: one to eight digits, the first no 0", f.Prefix)
	case f.Binds < 0 || f.Binds > mostBinds:
		return c, fmt.Errorf("binds: %d; 1 to %d", f.Binds, mostBinds)
	case !(f.Rate >= 0 && f.Rate <= 1e6):
		return c, fmt.Errorf("rate: %v submit_sm a second", f.Rate)
	case f.Restart.After > 0 && f.Restart.Down == 0:
		return c, errors.New("restart.down: for how long is it away?")
	case f.Restart.After == 0 && f.Restart.Down > 0:
		return c, errors.New("restart.after: how long after a run's beginning?")
	}
	if err := errors.Join(notNegative("restart.after", f.Restart.After), notNegative("restart.down", f.Restart.Down)); err != nil {
		return c, err
	}
	if f.Addr != "" {
		if err := OnLoopback(f.Addr); err != nil {
			return c, fmt.Errorf("addr: %w", err)
		}
	}
	if f.Network != nil {
		n, err := f.Network.network()
		if err != nil {
			return c, fmt.Errorf("network.%w", err)
		}
		c.Network = &n
	}
	return c, nil
}

// OnLoopback refuses addresses that others reach: an emulated operator is for
// its own machine.
func OnLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not of this machine alone: take 127.0.0.1", addr)
	}
	return nil
}
