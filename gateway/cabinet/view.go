package cabinet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/strict"
	"imza/policy"
)

// View is who of an organisation may not sign for one provider, as the API shows
// it.
type View struct {
	VOEN     policy.VOEN     `json:"voen"`
	Provider policy.Provider `json:"provider"`
	Version  int64           `json:"version"`
	Blocked  []policy.FIN    `json:"blocked"`
}

func viewOf(voen policy.VOEN, p policy.Provider, v policy.View) View {
	if v.Blocked == nil {
		v.Blocked = []policy.FIN{}
	}
	return View{voen, p, v.Version, v.Blocked}
}

// A view's body holds up to maxBlocked employees, on lines of their own if one
// likes.
const (
	maxBlocked = 100_000
	maxView    = 4 << 20
)

// viewWanted is the body of PUT …/providers/{provider}/permissions.
type viewWanted struct {
	Blocked []string `json:"blocked"`
	Version *int64   `json:"version"` // that it was made from
}

// showView is GET …/providers/{provider}/permissions.
func (b *Cabinet) showView(c echo.Context) error {
	voen, p, err := b.viewed(c)
	if err != nil {
		return err
	}
	v, err := b.Permissions.Record.View(c.Request().Context(), voen, p)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, viewOf(voen, p, v))
}

// viewed reads organisation and provider, which must be on record.
func (b *Cabinet) viewed(c echo.Context) (policy.VOEN, policy.Provider, error) {
	voen := policy.VOEN(c.Param("voen")) // route.serve has looked at it
	if _, err := b.Registry.Organisation(c.Request().Context(), voen); err != nil {
		return "", "", notFound(err)
	}
	p, err := b.providerOf(c)
	return voen, p, err
}

// errStale says that a view has changed since it was looked at.
var errStale = errors.New("cabinet: the view has changed")

// setView is PUT …/providers/{provider}/permissions: all who may not sign for
// one provider, together.
func (b *Cabinet) setView(c echo.Context) error {
	ctx := c.Request().Context()
	voen, p, err := b.viewed(c)
	if err != nil {
		return err
	}
	wanted, madeFrom, in, err := readView(c)
	if err != nil {
		return err
	}
	now, err := b.Permissions.Record.View(ctx, voen, p)
	if err != nil {
		return err
	}
	block, unblock := without(wanted, now.Blocked), without(now.Blocked, wanted)
	if err := b.checkEmployees(ctx, voen, block, in.Blocked); err != nil {
		return err
	}
	if now.Version == madeFrom && len(block)+len(unblock) > 0 {
		saved, err := b.saveView(c, voen, p, now.Version, block, unblock)
		if err == nil {
			return c.JSON(http.StatusOK, viewOf(voen, p, policy.View{Version: saved, Blocked: wanted}))
		}
		if !errors.Is(err, errStale) {
			return err
		}
		if now, err = b.Permissions.Record.View(ctx, voen, p); err != nil {
			return err
		}
	}
	if slices.Equal(wanted, now.Blocked) { // it may be repeated
		return c.JSON(http.StatusOK, viewOf(voen, p, now))
	}
	return stale(viewOf(voen, p, now), differenceOfViews(wanted, now.Blocked))
}

// readView reads the body of a view: who is to be blocked, sorted, and the
// version that it was made from.
func readView(c echo.Context) (wanted []policy.FIN, madeFrom int64, in viewWanted, err error) {
	body, err := strict.Body(c.Response(), c.Request(), maxView, "at most 4 MiB")
	if err != nil {
		return nil, 0, in, err
	}
	if err := strict.Decode(body, &in); err != nil {
		return nil, 0, in, err
	}
	if in.Blocked == nil || len(in.Blocked) > maxBlocked {
		return nil, 0, in, gateway.Invalid("blocked", fmt.Sprintf("a list of at most %d FINs; it may be empty", maxBlocked))
	}
	if wanted, err = list("blocked", in.Blocked, finWanted, policy.ParseFIN); err != nil {
		return nil, 0, in, err
	}
	madeFrom, err = version(in.Version)
	return wanted, madeFrom, in, err
}

// without lists those of one sorted list that are not in another.
func without(all, not []policy.FIN) (rest []policy.FIN) {
	for _, fin := range all {
		if _, there := slices.BinarySearch(not, fin); !there {
			rest = append(rest, fin)
		}
	}
	return rest
}

// checkEmployees refuses who is not an employee of the organisation, by the
// place in the list that was sent.
func (b *Cabinet) checkEmployees(ctx context.Context, voen policy.VOEN, fins []policy.FIN, sent []string) error {
	employees := make([]policy.Employee, len(fins))
	for i, fin := range fins {
		employees[i] = policy.Employee{VOEN: voen, FIN: fin}
	}
	known, err := b.Registry.KnownEmployees(ctx, nil, employees)
	if err != nil || len(known) == len(fins) {
		return err
	}
	for i, fin := range sent {
		_, asked := slices.BinarySearch(fins, policy.FIN(fin))
		if asked && !known[policy.Employee{VOEN: voen, FIN: policy.FIN(fin)}] {
			return gateway.Invalid(fmt.Sprintf("blocked[%d]", i), fin+" is not an employee of this organisation")
		}
	}
	return nil
}

// saveView blocks and unblocks, if the view still is what it was: errStale. It
// returns the version that it then has; those in between were nobody's to see.
func (b *Cabinet) saveView(c echo.Context, voen policy.VOEN, p policy.Provider, looked int64, block, unblock []policy.FIN) (int64, error) {
	blocks := make(map[policy.FIN]bool, len(block))
	save := policy.Save{
		Check: func(ctx context.Context, tx *sql.Tx) error {
			now, err := b.Permissions.Record.ViewVersion(ctx, tx, voen, p)
			if err == nil && now != looked {
				err = errStale
			}
			return err
		},
		Change: func(e policy.Employee, before policy.Set) (policy.Set, error) {
			return before.With(p, !blocks[e.FIN]), nil
		},
	}
	for _, fin := range block {
		blocks[fin] = true
	}
	for _, fin := range slices.Concat(block, unblock) {
		save.Employees = append(save.Employees, policy.Employee{VOEN: voen, FIN: fin})
	}
	_, err := b.save(c, save, p, func(e policy.Employee) string {
		if blocks[e.FIN] {
			return "block"
		}
		return "unblock"
	})
	return looked + 1, err // for this provider, however many employees
}

func differenceOfViews(yours, now []policy.FIN) []Difference {
	all := []Difference{}
	for _, fin := range without(yours, now) {
		all = append(all, Difference{FIN: fin, Yours: word(false), Now: word(true)})
	}
	for _, fin := range without(now, yours) {
		all = append(all, Difference{FIN: fin, Yours: word(true), Now: word(false)})
	}
	slices.SortFunc(all, func(a, b Difference) int { return cmp.Compare(a.FIN, b.FIN) })
	return all
}
