// Package policy says who may be asked by whom: whether an organisation lets
// an employee sign for a provider.
//
// The decision is pure and small (Set.Allows). Around it:
//
//	policy.go  the decision, and the words of this package
//	record.go  the permission sets as saved, in SQL; change.go how they change;
//	           migrate.go how their tables are made
//	view.go    the same, by provider
//	store.go   saves them, and keeps those in use in Redis
//	epoch.go   which Redis server is believed, and until when
//	lua.go     the decision inside a Redis script, so that asking and acting are
//	           one step
//
// A set is in Redis only while it is certain to be what the record says (see
// Store). A script that does not find it there answers "unknown", and unknown
// means no.
package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// VOEN is an organisation's taxpayer number, ten digits.
type VOEN string

// FIN is a person's code, seven letters and digits without I and O.
type FIN string

// Provider is a service provider's short name: lower-case letters, digits and
// hyphens.
type Provider string

var (
	voenForm     = regexp.MustCompile(`^[0-9]{10}$`)
	finForm      = regexp.MustCompile(`^[0-9A-HJ-NP-Z]{7}$`)
	providerForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
)

// ParseVOEN takes ten digits.
func ParseVOEN(s string) (VOEN, error) {
	if !voenForm.MatchString(s) {
		return "", errors.New("not a VÖEN: ten digits")
	}
	return VOEN(s), nil
}

// ParseFIN takes seven digits and capital letters.
func ParseFIN(s string) (FIN, error) {
	if !finForm.MatchString(s) {
		return "", errors.New("not a FIN: seven digits and capital letters, without I and O")
	}
	return FIN(s), nil
}

// ParseProvider takes a provider's name.
func ParseProvider(s string) (Provider, error) {
	if !providerForm.MatchString(s) {
		return "", errors.New("not a provider's name: up to 40 lower-case letters, digits and hyphens")
	}
	return Provider(s), nil
}

// Employee is a person in one organisation: whom a permission set is about.
type Employee struct {
	VOEN VOEN
	FIN  FIN
}

func (e Employee) String() string { return string(e.VOEN) + "/" + string(e.FIN) }

func (e Employee) compare(f Employee) int {
	return cmp.Or(cmp.Compare(e.VOEN, f.VOEN), cmp.Compare(e.FIN, f.FIN))
}

// Set is the permission set of one employee. The zero value allows everything,
// as it is where a manager never said anything.
type Set struct {
	Version    int64      // rises with every save; 0: never saved
	BlockAll   bool       // the default, also for providers that join later
	Exceptions []Provider // for whom the default does not hold; sorted
}

// Allows is the decision.
func (s Set) Allows(p Provider) bool { return s.BlockAll == s.excepts(p) }

// excepts looks through a few names one by one: most differ in length, which
// is quicker to see than which of two comes first.
func (s Set) excepts(p Provider) bool {
	if len(s.Exceptions) <= 16 {
		return slices.Contains(s.Exceptions, p)
	}
	_, excepted := slices.BinarySearch(s.Exceptions, p)
	return excepted
}

// With returns the set in which this provider is allowed, or not.
func (s Set) With(p Provider, allowed bool) Set {
	if s.Allows(p) == allowed {
		return s
	}
	s.Exceptions = slices.Clone(s.Exceptions)
	if i, excepted := slices.BinarySearch(s.Exceptions, p); excepted {
		s.Exceptions = slices.Delete(s.Exceptions, i, i+1)
	} else {
		s.Exceptions = slices.Insert(s.Exceptions, i, p)
	}
	return s
}

// differ lists the providers that are excepted in one of two sets; sorted.
func (s Set) differ(t Set) (all []Provider) {
	for _, p := range s.Exceptions {
		if _, both := slices.BinarySearch(t.Exceptions, p); !both {
			all = append(all, p)
		}
	}
	for _, p := range t.Exceptions {
		if _, both := slices.BinarySearch(s.Exceptions, p); !both {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

var (
	// ErrUnavailable says that the permission set cannot be read or changed right
	// now. Of a save: nothing is on record, unless it is ErrUncertain.
	ErrUnavailable = errors.New("policy: the permission set is not available")
	// ErrUncertain says that a save may be on record or not; it is ErrUnavailable,
	// too. Until that is certain nobody of its sets is admitted.
	ErrUncertain = fmt.Errorf("%w: it is not certain what is on record", ErrUnavailable)
)

func unavailable(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
