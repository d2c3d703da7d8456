package smpp

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
)

// azerbaijan is the numbering plan of Azerbaijan's mobile networks.
var azerbaijan = map[string][]string{
	"Azercell": {"99450", "99451", "99410"},
	"Bakcell":  {"99455", "99499"},
	"Nar":      {"99470", "99477"},
}

func azerbaijanNetwork(t *testing.T) *Network {
	t.Helper()
	n := new(Network)
	for name, prefixes := range azerbaijan {
		if err := n.Add(&Pool{Name: name}, prefixes...); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// networkWant checks who has a number; "" is nobody.
func networkWant(t *testing.T, n *Network, number, want string) {
	t.Helper()
	got := ""
	if p := n.Operator(number); p != nil {
		got = p.Name
	}
	if got != want {
		t.Errorf("%q has the operator %q, want %q", number, got, want)
	}
}

func TestNumberingPlan(t *testing.T) {
	n := azerbaijanNetwork(t)
	for name, prefixes := range azerbaijan {
		for _, prefix := range prefixes {
			networkWant(t, n, prefix+"0000001", name)
			networkWant(t, n, prefix+"9999999", name)
			networkWant(t, n, prefix, name)
			networkWant(t, n, prefix[:4], "")
			networkWant(t, n, prefix+"00000010000000000", name)
		}
	}
	for _, number := range []string{
		"", "9", "994", "994600000001", "994120000001", "995500000001", "0994500000001", "+994500000001", "500000001", "abc", "\x00",
	} {
		networkWant(t, n, number, "")
	}
	var names []string
	n.Operators(func(p *Pool) { names = append(names, p.Name) })
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(azerbaijan)); !slices.Equal(names, want) {
		t.Errorf("the operators are %q, want %q", names, want)
	}
}

func TestPortedNumbers(t *testing.T) {
	n := azerbaijanNetwork(t)
	for number, operator := range map[string]string{"994500000001": "Nar", "994770000002": "Azercell", "994120000003": "Bakcell"} {
		if err := n.Port(number, operator); err != nil {
			t.Fatal(err)
		}
		networkWant(t, n, number, operator)
	}
	networkWant(t, n, "994500000002", "Azercell")
	networkWant(t, n, "9945000000011", "Azercell") // the whole number tells, not how it begins
	networkWant(t, n, "99450000000", "Azercell")
	// Once more to the same is no harm, to another a contradiction.
	if err := n.Port("994500000001", "Nar"); err != nil {
		t.Error(err)
	}
	if err := n.Port("994500000001", "Bakcell"); err == nil || !strings.Contains(err.Error(), `both "Nar" and "Bakcell"`) {
		t.Error(err)
	}
	networkWant(t, n, "994500000001", "Nar")
	for _, c := range []struct{ number, operator, says string }{
		{"994500000009", "Telia", "Telia"},
		{"994500000009", "", "no operator"},
		{"994500000009", "azercell", "azercell"},
		{"+994500000009", "Nar", "+994500000009"},
		{"994 50 000 00 09", "Nar", "not digits"},
		{"", "Nar", "not digits"},
		{"٩٩٤", "Nar", "not digits"}, // digits, but none of E.164
	} {
		if err := n.Port(c.number, c.operator); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q is ported to %q: %v", c.number, c.operator, err)
		}
	}
	networkWant(t, n, "994500000009", "Azercell")
	if err := new(Network).Port("994500000001", "Nar"); err == nil {
		t.Error("a number is ported to an operator of no network")
	}
}

func TestLongestPrefix(t *testing.T) {
	n := new(Network)
	for _, c := range []struct {
		name     string
		prefixes []string
	}{{"virtual", []string{"9945012", "99450"}}, {"inner", []string{"994501"}}, {"country", []string{"994"}}, {"test", []string{"994501234567"}}} {
		if err := n.Add(&Pool{Name: c.name}, c.prefixes...); err != nil {
			t.Fatal(err)
		}
	}
	for number, want := range map[string]string{
		"994501234567": "test", "9945012345678": "test", "994501234566": "virtual", "994501300000": "inner", "994502000000": "virtual",
		"994700000000": "country", "994": "country", "99": "", "995500000000": "",
	} {
		networkWant(t, n, number, want)
	}
	// The empty prefix has what no other has.
	if err := n.Add(&Pool{Name: "default"}, ""); err != nil {
		t.Fatal(err)
	}
	for number, want := range map[string]string{"995500000000": "default", "": "default", "99": "default", "994": "country", "994501234567": "test"} {
		networkWant(t, n, number, want)
	}
	alone := new(Network)
	if err := alone.Add(&Pool{Name: "all"}, ""); err != nil {
		t.Fatal(err)
	}
	networkWant(t, alone, "994500000001", "all")
	networkWant(t, alone, "", "all")
}

func TestNetworkRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		prefixes []string
		says     string
	}{
		{"Azercell", []string{"99460"}, `two operators "Azercell"`},
		{"Azercell", nil, `two operators "Azercell"`},
		{"new", []string{"99460", "99455"}, "prefix 99455"},
		{"new", []string{"99460", "99460"}, "prefix 99460"},
		{"new", []string{"+99460"}, "not digits"},
		{"new", []string{"994 60"}, "not digits"},
		{"new", []string{"994x"}, "not digits"},
		{"new", []string{"٩٩٤"}, "not digits"},
	} {
		n := azerbaijanNetwork(t)
		if err := n.Add(&Pool{Name: c.name}, c.prefixes...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q with %q: %v", c.name, c.prefixes, err)
		}
		networkWant(t, n, "994500000001", "Azercell")
		networkWant(t, n, "994550000001", "Bakcell")
	}
	n := azerbaijanNetwork(t)
	for i, want := range []bool{true, false} {
		err := n.Add(&Pool{Name: strings.Repeat("default", i+1)}, "")
		if (err == nil) != want {
			t.Errorf("empty prefix number %d: %v", i+1, err)
		}
	}
	// An operator without prefixes has the numbers that were ported to it.
	if err := n.Add(&Pool{Name: "virtual"}); err != nil {
		t.Fatal(err)
	}
	if err := n.Port("994500000001", "virtual"); err != nil {
		t.Fatal(err)
	}
	networkWant(t, n, "994500000001", "virtual")
}

func TestNetworkOfNone(t *testing.T) {
	n := new(Network)
	networkWant(t, n, "994500000001", "")
	if n.Bound() {
		t.Error("a network of no operators is bound")
	}
	n.Operators(func(p *Pool) { t.Errorf("%q", p.Name) })
	n.Run(context.Background())
	if azerbaijanNetwork(t).Bound() {
		t.Error("operators that nobody runs are bound")
	}
}
