package smpp

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// Network is the operators of a country: which of them has a number is told by
// its first digits, except where the number was ported. Fill it before Run.
type Network struct {
	operators map[string]*Pool
	prefixes  map[string]*Pool // by the first digits of their numbers, no plus
	longest   int              // of the prefixes
	ported    map[string]*Pool // by number, digits alone
}

// Add adds an operator and the prefixes of its numbers, digits with the country
// code first and no plus. An empty prefix is for all numbers that have no other.
func (n *Network) Add(p *Pool, prefixes ...string) error {
	if n.operators == nil {
		n.operators, n.prefixes, n.ported = make(map[string]*Pool), make(map[string]*Pool), make(map[string]*Pool)
	}
	if n.operators[p.Name] != nil {
		return fmt.Errorf("smpp: there are two operators %q", p.Name)
	}
	n.operators[p.Name] = p
	for _, prefix := range prefixes {
		if strings.Trim(prefix, "0123456789") != "" {
			return fmt.Errorf("smpp: operator %q: prefix %q is not digits", p.Name, prefix)
		}
		if other := n.prefixes[prefix]; other != nil {
			return fmt.Errorf("smpp: operators %q and %q both have prefix %s", other.Name, p.Name, prefix)
		}
		n.prefixes[prefix] = p
		n.longest = max(n.longest, len(prefix))
	}
	return nil
}

// Port says that a number has another operator than its prefix tells.
func (n *Network) Port(number, operator string) error {
	p := n.operators[operator]
	if p == nil {
		return fmt.Errorf("smpp: number %s is ported to %q, which is no operator here", number, operator)
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return fmt.Errorf("smpp: ported number %q is not digits", number)
	}
	if other := n.ported[number]; other != nil && other != p {
		return fmt.Errorf("smpp: number %s is ported to both %q and %q", number, other.Name, p.Name)
	}
	n.ported[number] = p
	return nil
}

// Operator finds who has a number, digits with the country code first; nil if
// nobody is known to. The longest prefix tells.
func (n *Network) Operator(number string) *Pool {
	if p := n.ported[number]; p != nil {
		return p
	}
	for l := min(n.longest, len(number)); l >= 0; l-- {
		if p := n.prefixes[number[:l]]; p != nil {
			return p
		}
	}
	return nil
}

// Operators calls f with each of them.
func (n *Network) Operators(f func(*Pool)) {
	for _, p := range n.operators {
		f(p)
	}
}

// Bound reports whether any operator is bound.
func (n *Network) Bound() bool {
	for _, p := range n.operators {
		if p.Bound() {
			return true
		}
	}
	return false
}

// Run keeps all binds up until the context ends.
func (n *Network) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range n.operators {
		running.Go(func() { p.Run(ctx) })
	}
	running.Wait()
}
