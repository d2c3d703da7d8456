package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Plan is what a fleet is made from: the same plan makes the same cards. Only
// the RSA keys of the pool are of chance; they are in the folder.
type Plan struct {
	Seed      uint64
	Cards     int
	Operators []Operator // card i is of Operators[i % len(Operators)]
	// Organisations is how many there are; an organisation's certificate is of
	// one of them.
	Organisations int
	// Shares of the cards: with an RSA-2048 key, with a citizen's and with a
	// government certificate (all others have a business one), and old ones,
	// which give no short answers.
	RSA, Citizens, Government, Old float64
}

// Operator is whose numbers begin with a prefix: the digits before the last
// seven, without the plus.
type Operator struct{ Name, Prefix string }

// MaxCards is the most that a fleet has: a prefix alone has nine million numbers.
const MaxCards = 8_000_000

const (
	defaultOrganisations = 10
	mostOrganisations    = 100_000
	mostOperators        = 16
)

// DefaultOperators are those of Azerbaijan, with one prefix each.
func DefaultOperators() []Operator {
	return []Operator{{"azercell", "99450"}, {"bakcell", "99455"}, {"nar", "99470"}}
}

// withDefaults fills in what a plan leaves open.
func (p Plan) withDefaults() Plan {
	if len(p.Operators) == 0 {
		p.Operators = DefaultOperators()
	}
	if p.Organisations == 0 {
		p.Organisations = defaultOrganisations
	}
	return p
}

func (p *Plan) check() error {
	switch {
	case p.Cards < 1 || p.Cards > MaxCards:
		return fmt.Errorf("cards: %d; a fleet has 1 to %d", p.Cards, MaxCards)
	case p.Organisations < 1 || p.Organisations > mostOrganisations:
		return fmt.Errorf("organisations: %d; there are 1 to %d", p.Organisations, mostOrganisations)
	case len(p.Operators) > mostOperators:
		return fmt.Errorf("operators: %d of them, at most %d", len(p.Operators), mostOperators)
	}
	for _, share := range []struct {
		name  string
		value float64
	}{{"rsa", p.RSA}, {"citizens", p.Citizens}, {"government", p.Government}, {"old", p.Old}} {
		if !(share.value >= 0 && share.value <= 1) {
			return fmt.Errorf("%s: %v is no share: from 0 to 1", share.name, share.value)
		}
	}
	if p.Citizens+p.Government > 1 {
		return errors.New("citizens, government: together more than all cards")
	}
	return checkOperators(p.Operators)
}

func checkOperators(operators []Operator) error {
	for i, o := range operators {
		if !isName(o.Name) {
			return fmt.Errorf("operators[%d].name: %q: up to 15 small letters, digits, - and _ make a name", i, o.Name)
		}
		if !isPrefix(o.Prefix) {
			return fmt.Errorf("operators[%d].prefix: %q: one to eight digits, the first no 0", i, o.Prefix)
		}
		for j, other := range operators[:i] {
			if o.Name == other.Name {
				return fmt.Errorf("operators[%d].name: %q is operators[%d], too", i, o.Name, j)
			}
			// Else a number would be of the one by its length, and by the longest
			// prefix of the other.
			if strings.HasPrefix(o.Prefix, other.Prefix) || strings.HasPrefix(other.Prefix, o.Prefix) {
				return fmt.Errorf("operators[%d].prefix: %s and %s of operators[%d] are not apart", i, o.Prefix, other.Prefix, j)
			}
		}
	}
	return nil
}

// isName reports whether a text may name an operator, as docs/operators.md has it.
func isName(s string) bool {
	return s != "" && len(s) <= 15 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func isPrefix(s string) bool {
	return s != "" && len(s) <= 8 && s[0] != '0' && strings.Trim(s, "0123456789") == ""
}

// differs says in what two plans differ first; empty if in nothing.
func (p *Plan) differs(q *Plan) string {
	if p.Seed != q.Seed {
		return fmt.Sprintf("seed %d, not %d", p.Seed, q.Seed)
	}
	if p.Cards != q.Cards {
		return fmt.Sprintf("%d cards, not %d", p.Cards, q.Cards)
	}
	if p.Organisations != q.Organisations {
		return fmt.Sprintf("%d organisations, not %d", p.Organisations, q.Organisations)
	}
	for _, share := range []struct {
		name string
		p, q float64
	}{{"RSA", p.RSA, q.RSA}, {"citizen's", p.Citizens, q.Citizens}, {"government", p.Government, q.Government}, {"old", p.Old, q.Old}} {
		if share.p != share.q {
			return fmt.Sprintf("a share of %v %s cards, not %v", share.p, share.name, share.q)
		}
	}
	has, wanted := operatorsAsText(p.Operators), operatorsAsText(q.Operators)
	if has != wanted {
		return fmt.Sprintf("the operators %s, not %s", has, wanted)
	}
	return ""
}

func operatorsAsText(operators []Operator) string {
	var all []string
	for _, o := range operators {
		all = append(all, o.Name+" "+o.Prefix)
	}
	return strings.Join(all, ", ")
}

// planFile is a plan as the folder keeps it.
type planFile struct {
	Version int
	Plan    Plan
}

const planVersion = 1

func parsePlan(text []byte) (Plan, error) {
	var f planFile
	if err := json.Unmarshal(text, &f); err != nil {
		return Plan{}, err
	}
	if f.Version != planVersion {
		return Plan{}, fmt.Errorf("version %d is not known here", f.Version)
	}
	return f.Plan, f.Plan.check()
}
