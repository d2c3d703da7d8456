package cabinet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/gateway/strict"
	"imza/policy"
)

// Permissions is the permission set of one employee, as the API shows it.
type Permissions struct {
	VOEN       policy.VOEN       `json:"voen"`
	FIN        policy.FIN        `json:"fin"`
	Default    string            `json:"default"`    // "allow" or "block"
	Exceptions []policy.Provider `json:"exceptions"` // for whom the default does not hold
	Version    int64             `json:"version"`
}

// BlockPage is a page of the sets that block anything.
type BlockPage struct {
	Blocks []Permissions `json:"blocks"`
	Next   string        `json:"next,omitempty"` // to ask for what comes after; empty: nothing does
}

// word is how a decision is said.
func word(allowed bool) string {
	if allowed {
		return "allow"
	}
	return "block"
}

func permissions(e policy.Employee, s policy.Set) Permissions {
	p := Permissions{VOEN: e.VOEN, FIN: e.FIN, Default: word(!s.BlockAll), Exceptions: s.Exceptions, Version: s.Version}
	if p.Exceptions == nil {
		p.Exceptions = []policy.Provider{}
	}
	return p
}

// blocks is GET /v1/admin/blocks: all sets that block anything.
func (b *Cabinet) blocks(c echo.Context) error {
	q := queryOf(c)
	voen, limit := q.voen("voen"), q.limit()
	after := parameter(q, "after", "VÖEN/FIN, as in next", func(s string) (e policy.Employee, err error) {
		organisation, person, _ := strings.Cut(s, "/")
		if e.VOEN, err = policy.ParseVOEN(organisation); err == nil {
			e.FIN, err = policy.ParseFIN(person)
		}
		return e, err
	})
	if q.err != nil {
		return q.err
	}
	voens, err := scope(administrator(c), voen)
	if err != nil {
		return err
	}
	if voens == nil {
		voens = []policy.VOEN{""} // all of them
	}
	all := []Permissions{}
	for _, voen := range voens {
		saved, err := b.Permissions.Record.List(c.Request().Context(), voen, after, limit+1-len(all))
		if err != nil {
			return err
		}
		for _, s := range saved {
			all = append(all, permissions(s.Employee, s.Set))
		}
		if len(all) > limit {
			break
		}
	}
	shown, last := page(all, limit)
	answer := BlockPage{Blocks: shown}
	if last != nil {
		answer.Next = string(last.VOEN) + "/" + string(last.FIN)
	}
	return c.JSON(http.StatusOK, answer)
}

// scope is which organisations a list is of: the one that is asked for, else
// all that are the administrator's; nil: all on record.
func scope(a registry.Administrator, voen policy.VOEN) ([]policy.VOEN, error) {
	switch {
	case voen != "":
		return []policy.VOEN{voen}, may(a, voen)
	case a.Role == registry.Operator:
		return nil, nil
	}
	return append([]policy.VOEN{}, a.Organisations...), nil
}

// showPermissions is GET …/employees/{fin}/permissions.
func (b *Cabinet) showPermissions(c echo.Context) error {
	e, err := b.employeeOf(c)
	if err != nil {
		return err
	}
	set, err := b.Permissions.Record.Get(c.Request().Context(), e)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, permissions(e, set))
}

// maxSet is the most octets of a set's body: before and after are to go into one
// entry of the audit log.
const maxSet = 1 << 20

// permissionsWanted is the body of PUT …/employees/{fin}/permissions.
type permissionsWanted struct {
	Default    string   `json:"default"`
	Exceptions []string `json:"exceptions"`
	Version    *int64   `json:"version"` // that it was made from
}

func (in *permissionsWanted) set() (s policy.Set, err error) {
	if in.Default != word(true) && in.Default != word(false) {
		return s, gateway.Invalid("default", "allow or block")
	}
	if in.Exceptions == nil {
		return s, gateway.Invalid("exceptions", "a list of providers' short names; it may be empty")
	}
	s.BlockAll = in.Default == word(false)
	if s.Exceptions, err = list("exceptions", in.Exceptions, providerWanted, policy.ParseProvider); err != nil {
		return s, err
	}
	s.Version, err = version(in.Version)
	return s, err
}

// list reads a list in which nothing may be twice, and sorts it.
func list[T cmp.Ordered](field string, texts []string, wanted string, parse func(string) (T, error)) ([]T, error) {
	seen := make(map[T]bool, len(texts))
	for i, text := range texts {
		value, err := parse(text)
		if err != nil {
			return nil, gateway.Invalid(fmt.Sprintf("%s[%d]", field, i), wanted)
		}
		if seen[value] {
			return nil, gateway.Invalid(fmt.Sprintf("%s[%d]", field, i), text+" is there twice")
		}
		seen[value] = true
	}
	all := make([]T, 0, len(texts))
	for value := range seen {
		all = append(all, value)
	}
	slices.Sort(all)
	return all, nil
}

func version(v *int64) (int64, error) {
	if v == nil || *v < 0 {
		return 0, gateway.Invalid("version", "the version that this was made from, a whole number")
	}
	return *v, nil
}

// setPermissions is PUT …/employees/{fin}/permissions: all that is said of one
// employee.
func (b *Cabinet) setPermissions(c echo.Context) error {
	e, err := b.employeeOf(c)
	if err != nil {
		return err
	}
	body, err := strict.Body(c.Response(), c.Request(), maxSet, "at most 1 MiB")
	if err != nil {
		return err
	}
	var in permissionsWanted
	if err := strict.Decode(body, &in); err != nil {
		return err
	}
	wanted, err := in.set()
	if err != nil {
		return err
	}
	known, err := b.Registry.KnownProviders(c.Request().Context(), nil, wanted.Exceptions)
	if err != nil {
		return err
	}
	for i, p := range in.Exceptions {
		if !known[policy.Provider(p)] {
			return gateway.Invalid(fmt.Sprintf("exceptions[%d]", i), "there is no provider "+p)
		}
	}
	return b.saveOne(c, e, "set permissions", "", func(before policy.Set) (policy.Set, error) {
		if before.BlockAll == wanted.BlockAll && slices.Equal(before.Exceptions, wanted.Exceptions) {
			return before, nil // it may be repeated
		}
		if before.Version != wanted.Version {
			return before, stale(permissions(e, before), differenceOfSets(wanted, before))
		}
		return wanted, nil
	})
}

// stale is the refusal of a change that was made from what is no longer so.
func stale(current, difference any) error {
	return &gateway.Refusal{Code: gateway.VersionConflict, Detail: "look at what is different, and send yours again with the version that is current",
		More: map[string]any{"current": current, "difference": difference}}
}

// Difference is where two sets of permissions differ: yours is what a request
// wanted, now is what is on record.
type Difference struct {
	Provider policy.Provider `json:"provider,omitempty"` // of an employee's; "*": the default
	FIN      policy.FIN      `json:"fin,omitempty"`      // of a provider's
	Yours    string          `json:"yours"`
	Now      string          `json:"now"`
}

func differenceOfSets(yours, now policy.Set) (all []Difference) {
	if yours.BlockAll != now.BlockAll {
		all = append(all, Difference{Provider: "*", Yours: word(!yours.BlockAll), Now: word(!now.BlockAll)})
	}
	for _, p := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(yours.Exceptions, now.Exceptions)))) {
		if yours.Allows(p) != now.Allows(p) {
			all = append(all, Difference{Provider: p, Yours: word(yours.Allows(p)), Now: word(now.Allows(p))})
		}
	}
	return all
}

// block is PUT …/blocks/{provider}. It says what is to be so whatever it finds, so
// it needs no version; but it may have one, and so may the three after it.
func (b *Cabinet) block(c echo.Context) error { return b.setOne(c, "block", false) }

// unblock is DELETE …/blocks/{provider}.
func (b *Cabinet) unblock(c echo.Context) error { return b.setOne(c, "unblock", true) }

// blockAll is PUT …/blocks: for all, also for who joins later.
func (b *Cabinet) blockAll(c echo.Context) error { return b.setAll(c, "block all", false) }

// unblockAll is DELETE …/blocks.
func (b *Cabinet) unblockAll(c echo.Context) error { return b.setAll(c, "unblock all", true) }

func (b *Cabinet) setOne(c echo.Context, action string, allowed bool) error {
	e, err := b.employeeOf(c)
	if err != nil {
		return err
	}
	p, err := b.providerOf(c)
	if err != nil {
		return err
	}
	return b.command(c, e, action, p, func(s policy.Set) policy.Set { return s.With(p, allowed) })
}

func (b *Cabinet) setAll(c echo.Context, action string, allowed bool) error {
	e, err := b.employeeOf(c)
	if err != nil {
		return err
	}
	return b.command(c, e, action, "", func(policy.Set) policy.Set { return policy.Set{BlockAll: !allowed} })
}

// command changes one set from what it finds or, if the address has a version,
// from that alone.
func (b *Cabinet) command(c echo.Context, e policy.Employee, action string, p policy.Provider, change func(policy.Set) policy.Set) error {
	q := queryOf(c)
	madeFrom := parameter(q, "version", "the version that this was made from, a whole number", func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 63) })
	if q.err != nil {
		return q.err
	}
	return b.saveOne(c, e, action, p, func(before policy.Set) (policy.Set, error) {
		wanted := change(before)
		difference := differenceOfSets(wanted, before)
		if q.values.Has("version") && before.Version != int64(madeFrom) && len(difference) > 0 {
			return before, stale(permissions(e, before), difference)
		}
		return wanted, nil
	})
}

// employeeOf reads whom a path is about. All that it names must be on record: a
// block with a slip of the pen in it would protect nobody.
func (b *Cabinet) employeeOf(c echo.Context) (e policy.Employee, err error) {
	e.VOEN = policy.VOEN(c.Param("voen")) // route.serve has looked at it
	if e.FIN, err = policy.ParseFIN(c.Param("fin")); err != nil {
		return e, gateway.Invalid("fin", finWanted)
	}
	return e, notFound(b.Registry.HasEmployee(c.Request().Context(), e))
}

// providerOf reads the provider of a path, who must be on record.
func (b *Cabinet) providerOf(c echo.Context) (policy.Provider, error) {
	p, err := policy.ParseProvider(c.Param("provider"))
	if err != nil {
		return p, gateway.Invalid("provider", providerWanted)
	}
	_, err = b.Registry.ProviderName(c.Request().Context(), p)
	return p, notFound(err)
}

// saveOne changes one set and answers with it.
func (b *Cabinet) saveOne(c echo.Context, e policy.Employee, action string, p policy.Provider, change func(policy.Set) (policy.Set, error)) error {
	sets, err := b.save(c, policy.Save{
		Employees: []policy.Employee{e},
		Change:    func(_ policy.Employee, before policy.Set) (policy.Set, error) { return change(before) },
	}, p, func(policy.Employee) string { return action })
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, permissions(e, sets[0]))
}

// save changes permission sets and the audit log together: an entry for each set
// that changed. p is the provider that the change is about, if it is about one.
func (b *Cabinet) save(c echo.Context, save policy.Save, p policy.Provider, action func(policy.Employee) string) ([]policy.Set, error) {
	save.Also = func(ctx context.Context, tx *sql.Tx, changed []policy.Changed) error {
		entries := make([]registry.Change, 0, len(changed))
		for _, s := range changed {
			action, p := action(s.Employee), p
			if one, allowed, only := s.OnlyDecision(); only { // so that it is found as one
				action, p = map[bool]string{false: "block", true: "unblock"}[allowed], one
			}
			entries = append(entries, changeOf(by(c), s, action, p))
		}
		return b.Registry.Audit(ctx, tx, entries...)
	}
	sets, err := b.Permissions.Save(c.Request().Context(), save)
	return sets, refusedSave(err)
}

// refusedSave is the answer to a save that was not made, or of which that is not
// certain.
func refusedSave(err error) error {
	detail := "nothing was saved: try again shortly"
	switch {
	case !errors.Is(err, policy.ErrUnavailable):
		return err
	case errors.Is(err, policy.ErrUncertain):
		detail = "not certain to be in force: save it again"
	}
	return &gateway.Refusal{Code: gateway.PolicyUnavailable, Detail: detail, Cause: err}
}

// changeOf is the entry of the audit log for one set.
func changeOf(entry registry.Change, s policy.Changed, action string, p policy.Provider) registry.Change {
	entry.Action, entry.Subject = action, strings.TrimSpace(s.Employee.String()+" "+string(p))
	entry.VOEN, entry.FIN, entry.Provider = s.Employee.VOEN, s.Employee.FIN, p
	entry.Before, entry.After = permissions(s.Employee, s.Before), permissions(s.Employee, s.After)
	return entry
}
