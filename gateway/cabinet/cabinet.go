// Package cabinet is where an organisation's permissions are kept: the admin
// API by which employees are blocked for providers, or let sign again.
package cabinet

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

//go:embed openapi.yaml
var openapi []byte

// Cabinet serves administrators.
type Cabinet struct {
	Permissions *policy.Store
	Registry    *registry.Registry
}

// Mount adds the routes to a server.
//
//	GET    /v1/admin/blocks?voen=…                                            all sets that say anything
//	PUT    /v1/admin/organisations/{voen}/employees/{fin}/blocks/{provider}   block
//	DELETE /v1/admin/organisations/{voen}/employees/{fin}/blocks/{provider}   unblock
//	PUT    /v1/admin/organisations/{voen}/employees/{fin}/blocks              block for all, also for who joins later
//	DELETE /v1/admin/organisations/{voen}/employees/{fin}/blocks              unblock for all
//	GET    /v1/admin/openapi.yaml                                             their description, without a key
//
// A block is in force when its PUT has returned.
func (b *Cabinet) Mount(e *echo.Echo) {
	e.GET("/v1/admin/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openapi) })
	// By route, not by group: a group would answer a wrong method with 404.
	key := middleware.KeyAuthWithConfig(middleware.KeyAuthConfig{Validator: b.authenticate, ErrorHandler: noKey})
	const all = "/v1/admin/organisations/:voen/employees/:fin/blocks"
	const one = all + "/:provider"
	e.GET("/v1/admin/blocks", b.list, key)
	for _, way := range []struct {
		action  string
		method  func(string, echo.HandlerFunc, ...echo.MiddlewareFunc) *echo.Route
		allowed bool
	}{{"block", e.PUT, false}, {"unblock", e.DELETE, true}} {
		way.method(one, func(c echo.Context) error { return b.setOne(c, way.action, way.allowed) }, key)
		way.method(all, func(c echo.Context) error { return b.setAll(c, way.action+" all", way.allowed) }, key)
	}
}

const administratorOf = "administrator"

func (b *Cabinet) authenticate(key string, c echo.Context) (bool, error) {
	id, ok, err := b.Registry.AdministratorByKey(c.Request().Context(), key)
	if err == nil && !ok {
		err = &gateway.Refusal{Code: gateway.Unauthorized, Detail: "this administrator's key is not known"}
	}
	c.Set(administratorOf, id)
	return ok, err
}

// noKey is the answer to a request without a key; every other error is one of
// authenticate's own.
func noKey(err error, _ echo.Context) error {
	var missing *middleware.ErrKeyAuthMissing
	if errors.As(err, &missing) {
		return &gateway.Refusal{Code: gateway.Unauthorized, Detail: "an administrator's key is wanted: Authorization: Bearer …"}
	}
	return err
}

// Permissions is the permission set of one employee, as the API shows it.
type Permissions struct {
	VOEN       policy.VOEN       `json:"voen"`
	FIN        policy.FIN        `json:"fin"`
	Default    string            `json:"default"`    // "allow" or "block"
	Exceptions []policy.Provider `json:"exceptions"` // for whom the default does not hold
	Version    int64             `json:"version"`
}

func permissions(e policy.Employee, s policy.Set) Permissions {
	p := Permissions{VOEN: e.VOEN, FIN: e.FIN, Default: "allow", Exceptions: s.Exceptions, Version: s.Version}
	if s.BlockAll {
		p.Default = "block"
	}
	if p.Exceptions == nil {
		p.Exceptions = []policy.Provider{}
	}
	return p
}

func (b *Cabinet) list(c echo.Context) error {
	var voen policy.VOEN
	if text := c.QueryParam("voen"); text != "" {
		var err error
		if voen, err = policy.ParseVOEN(text); err != nil {
			return gateway.Invalid("voen", "ten digits")
		}
	}
	saved, err := b.Permissions.Record.List(c.Request().Context(), voen, policy.Employee{}, 1000)
	if err != nil {
		return err
	}
	all := make([]Permissions, 0, len(saved))
	for _, s := range saved {
		all = append(all, permissions(s.Employee, s.Set))
	}
	return c.JSON(http.StatusOK, all)
}

// setOne blocks an employee for one provider, or lets them sign again.
func (b *Cabinet) setOne(c echo.Context, action string, allowed bool) error {
	e, err := b.employee(c)
	if err != nil {
		return err
	}
	p, err := policy.ParseProvider(c.Param("provider"))
	if err != nil {
		return gateway.Invalid("provider", "a provider's short name")
	}
	if _, err := b.Registry.ProviderName(c.Request().Context(), p); err != nil {
		return notFound(err)
	}
	return b.save(c, e, action, e.String()+" "+string(p), func(s policy.Set) policy.Set { return s.With(p, allowed) })
}

// setAll blocks an employee for all providers, without exception, or for none.
func (b *Cabinet) setAll(c echo.Context, action string, allowed bool) error {
	e, err := b.employee(c)
	if err != nil {
		return err
	}
	return b.save(c, e, action, e.String(), func(s policy.Set) policy.Set {
		s.BlockAll, s.Exceptions = !allowed, nil
		return s
	})
}

// employee reads whom a request is about. All that it names must be on record:
// a block with a slip of the pen in it would protect nobody.
func (b *Cabinet) employee(c echo.Context) (e policy.Employee, err error) {
	if e.VOEN, err = policy.ParseVOEN(c.Param("voen")); err != nil {
		return e, gateway.Invalid("voen", "ten digits")
	}
	if e.FIN, err = policy.ParseFIN(c.Param("fin")); err != nil {
		return e, gateway.Invalid("fin", "seven digits and capital letters, without I and O")
	}
	return e, notFound(b.Registry.HasEmployee(c.Request().Context(), e))
}

// notFound makes a refusal of what is not on record.
func notFound(err error) error {
	if errors.Is(err, registry.ErrUnknown) {
		return &gateway.Refusal{Code: gateway.NotFound, Detail: err.Error()}
	}
	return err
}

// save changes a permission set and the audit log together.
func (b *Cabinet) save(c echo.Context, e policy.Employee, action, subject string, change func(policy.Set) policy.Set) error {
	ctx := c.Request().Context()
	actor, _ := c.Get(administratorOf).(string)
	saved, err := b.Permissions.Save(ctx, policy.Save{
		Employees: []policy.Employee{e},
		Change:    func(_ policy.Employee, before policy.Set) (policy.Set, error) { return change(before), nil },
		Also: func(ctx context.Context, tx *sql.Tx, changed []policy.Changed) error {
			for _, c := range changed {
				if err := registry.Audit(ctx, tx, registry.Change{Actor: actor, Action: action, Subject: subject,
					Before: permissions(e, c.Before), After: permissions(e, c.After)}); err != nil {
					return err
				}
			}
			return nil
		},
	})
	if errors.Is(err, policy.ErrUnavailable) {
		return &gateway.Refusal{Code: gateway.PolicyUnavailable, Detail: "not certain to be in force: save it again", Cause: err}
	}
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, permissions(e, saved[0]))
}
