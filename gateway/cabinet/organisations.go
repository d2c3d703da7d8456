package cabinet

import (
	"errors"
	"net/http"
	"regexp"
	"slices"

	"github.com/labstack/echo/v4"

	"imza/gateway/registry"
	"imza/policy"
)

// OrganisationPage is a page of organisations.
type OrganisationPage struct {
	Organisations []registry.Organisation `json:"organisations"`
	Next          policy.VOEN             `json:"next,omitempty"` // to ask for what comes after; empty: nothing does
}

// organisations is GET /v1/admin/organisations: all that are the
// administrator's.
func (b *Cabinet) organisations(c echo.Context) error {
	q := queryOf(c)
	f := registry.OrganisationFilter{Text: q.text("q"), After: q.voen("after")}
	limit := q.limit()
	if q.err != nil {
		return q.err
	}
	var err error
	if f.VOENs, err = scope(administrator(c), ""); err != nil {
		return err
	}
	f.Limit = limit + 1
	all, err := b.Registry.Organisations(c.Request().Context(), f)
	if err != nil {
		return err
	}
	shown, last := page(all, limit)
	answer := OrganisationPage{Organisations: shown}
	if last != nil {
		answer.Next = last.VOEN
	}
	return c.JSON(http.StatusOK, answer)
}

// organisation is GET /v1/admin/organisations/{voen}.
func (b *Cabinet) organisation(c echo.Context) error {
	o, err := b.Registry.Organisation(c.Request().Context(), policy.VOEN(c.Param("voen")))
	if err != nil {
		return notFound(err)
	}
	return c.JSON(http.StatusOK, o)
}

// EmployeePage is a page of an organisation's employees.
type EmployeePage struct {
	Employees []registry.Employee `json:"employees"`
	Next      policy.FIN          `json:"next,omitempty"` // to ask for what comes after; empty: nothing does
}

var numberForm = regexp.MustCompile(`^\+?[0-9]{1,15}$`)

// errForm says that a text is not written as it should be.
var errForm = errors.New("cabinet: not of this form")

// matching reads what has a form.
func matching(form *regexp.Regexp) func(string) (string, error) {
	return func(s string) (string, error) {
		if !form.MatchString(s) {
			return "", errForm
		}
		return s, nil
	}
}

// oneOf reads one of some states.
func oneOf(states ...registry.State) func(string) (registry.State, error) {
	return func(s string) (registry.State, error) {
		if !slices.Contains(states, registry.State(s)) {
			return "", errForm
		}
		return registry.State(s), nil
	}
}

// employees is GET …/organisations/{voen}/employees.
func (b *Cabinet) employees(c echo.Context) error {
	q, ctx := queryOf(c), c.Request().Context()
	f := registry.EmployeeFilter{
		VOEN: policy.VOEN(c.Param("voen")), Text: q.text("q"), Name: q.text("name"), FIN: q.fin("fin"),
		Number:        parameter(q, "number", "some digits of a number, or all of it with its plus (written %2B)", matching(numberForm)),
		State:         parameter(q, "state", "active, suspended, revoked or expired", oneOf(registry.Active, registry.Suspended, registry.Revoked, registry.Expired)),
		ExpiresBefore: q.time("expiresBefore"), ExpiresAfter: q.time("expiresAfter"), After: q.fin("after"),
	}
	limit := q.limit()
	if q.err != nil {
		return q.err
	}
	if _, err := b.Registry.Organisation(ctx, f.VOEN); err != nil {
		return notFound(err)
	}
	f.Limit = limit + 1
	all, err := b.Registry.Employees(ctx, f)
	if err != nil {
		return err
	}
	shown, last := page(all, limit)
	answer := EmployeePage{Employees: shown}
	if last != nil {
		answer.Next = last.FIN
	}
	return c.JSON(http.StatusOK, answer)
}

// EmployeeWithPermissions is an employee, and whom they may sign for.
type EmployeeWithPermissions struct {
	registry.Employee
	Permissions Permissions `json:"permissions"`
}

// employee is GET …/organisations/{voen}/employees/{fin}.
func (b *Cabinet) employee(c echo.Context) error {
	e, err := b.employeeOf(c)
	if err != nil {
		return err
	}
	found, err := b.Registry.Employee(c.Request().Context(), e)
	if err != nil {
		return notFound(err)
	}
	set, err := b.Permissions.Record.Get(c.Request().Context(), e)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, EmployeeWithPermissions{found, permissions(e, set)})
}
