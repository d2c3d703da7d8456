package cabinet

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/gateway/strict"
	"imza/policy"
)

// checkQuery refuses what is not known, there twice, or not text.
func checkQuery(raw string, known []string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return gateway.Invalid("query", "cannot be read")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name) && name == "":
			return gateway.Invalid("query", "has a parameter without a name")
		case !slices.Contains(known, name):
			return gateway.Invalid(name, "is not known")
		case len(all) > 1:
			return gateway.Invalid(name, "is there twice")
		}
		if err := strict.Text(name, all[0]); err != nil {
			return err
		}
	}
	return nil
}

// query reads parameters that checkQuery has let pass. The first that is not as
// it should be is kept in err.
type query struct {
	values url.Values
	err    error
}

func queryOf(c echo.Context) *query { return &query{values: c.QueryParams()} }

// parameter reads one, if it is there. One that is there and empty is as
// wrong as any other: it would have been left out otherwise.
func parameter[T any](q *query, name, wanted string, read func(string) (T, error)) (value T) {
	if q.err != nil || !q.values.Has(name) {
		return value
	}
	value, err := read(q.values.Get(name))
	if err != nil {
		q.err = gateway.Invalid(name, wanted)
	}
	return value
}

func (q *query) voen(name string) policy.VOEN {
	return parameter(q, name, "ten digits", policy.ParseVOEN)
}

func (q *query) fin(name string) policy.FIN {
	return parameter(q, name, finWanted, policy.ParseFIN)
}

func (q *query) provider(name string) policy.Provider {
	return parameter(q, name, providerWanted, policy.ParseProvider)
}

const (
	finWanted      = "seven digits and capital letters, without I and O"
	providerWanted = "a provider's short name: up to 40 lower-case letters, digits and hyphens"
)

// maxText is the most characters of a text that is looked for.
const maxText = 100

// text reads what is looked for; it may be empty, and finds everything then.
func (q *query) text(name string) string {
	value := q.values.Get(name)
	if q.err == nil && utf8.RuneCountInString(value) > maxText {
		q.err = gateway.Invalid(name, "at most 100 characters")
	}
	return value
}

// time reads a moment, or the beginning of a day in UTC.
func (q *query) time(name string) time.Time {
	return parameter(q, name, "a time like 2026-12-31T23:59:59Z (a + is written %2B), or a day like 2026-12-31", func(s string) (time.Time, error) {
		if day, err := time.Parse(time.DateOnly, s); err == nil {
			return day, nil
		}
		return time.Parse(time.RFC3339, s)
	})
}

// Pages have defaultLimit entries unless the client says otherwise.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func (q *query) limit() int {
	if !q.values.Has("limit") {
		return defaultLimit
	}
	return parameter(q, "limit", "1 to 1000", func(s string) (int, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err == nil && (n < 1 || n > maxLimit) {
			err = strconv.ErrRange
		}
		return int(n), err
	})
}

// page cuts a list that was read with one more than the limit, and returns the
// last that is shown if there are more.
func page[T any](all []T, limit int) (shown []T, last *T) {
	if len(all) <= limit {
		return all, nil
	}
	return all[:limit], &all[limit-1]
}

// stateWanted is the body that a state is set with.
type stateWanted struct {
	State string `json:"state"`
}

// state reads the body of a state, one of some.
func state(c echo.Context, states ...registry.State) (registry.State, error) {
	var in stateWanted
	if err := read(c, &in); err != nil {
		return "", err
	}
	s, err := oneOf(states...)(in.State)
	if err != nil {
		words := make([]string, len(states))
		for i, s := range states {
			words[i] = string(s)
		}
		return "", gateway.Invalid("state", strings.Join(words, " or "))
	}
	return s, nil
}
