// Package cabinet is where an organisation's permissions are kept: the admin
// API by which employees are blocked for providers, or let sign again, and by
// which what is on record is looked at and kept in order. openapi.yaml
// describes it.
//
//	cabinet.go         the routes, keys and roles
//	query.go           what an address may say
//	permissions.go     permissions by employee
//	view.go            permissions by provider
//	organisations.go   organisations and their employees
//	providers.go       providers
//	subscribers.go     subscribers and certificates; enrol.go enrols many at once,
//	                   enrol_body.go reads who they are
//	administrators.go  administrators
//	audit.go           the audit log
//	import.go          many at once, from a file: import_csv.go reads it,
//	                   import_apply.go makes the change
//
// A block is in force when its PUT has returned.
package cabinet

import (
	_ "embed"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/gateway/strict"
	"imza/pki"
	"imza/policy"
)

//go:embed openapi.yaml
var openapi []byte

// Cabinet serves administrators.
type Cabinet struct {
	Permissions *policy.Store
	Registry    *registry.Registry
	Authority   *pki.Authority // which certifies those who are enrolled
}

// root is before every path.
const root = "/v1/admin"

const (
	organisationPath = "/organisations/:voen"
	employeePath     = organisationPath + "/employees/:fin"
	viewPath         = organisationPath + "/providers/:provider/permissions"
)

// route is one thing that an administrator may do.
type route struct {
	method, path string
	handle       echo.HandlerFunc
	who          who
	parameters   string // of the query, each but once
}

// who may do it. A manager is kept to the organisation in the path, if there is
// one; a list shows him his own.
type who int

const (
	everybody who = iota
	operators
)

func (b *Cabinet) routes() []route {
	const get, put, post, remove = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete
	const employees = "q name fin number state expiresBefore expiresAfter after limit"
	return []route{
		{get, "/whoami", b.whoami, everybody, ""},

		{get, "/organisations", b.organisations, everybody, "q after limit"},
		{get, organisationPath, b.organisation, everybody, ""},
		{get, organisationPath + "/employees", b.employees, everybody, employees},
		{get, employeePath, b.employee, everybody, ""},

		{get, employeePath + "/permissions", b.showPermissions, everybody, ""},
		{put, employeePath + "/permissions", b.setPermissions, everybody, ""},
		{put, employeePath + "/blocks/:provider", b.block, everybody, "version"},
		{remove, employeePath + "/blocks/:provider", b.unblock, everybody, "version"},
		{put, employeePath + "/blocks", b.blockAll, everybody, "version"},
		{remove, employeePath + "/blocks", b.unblockAll, everybody, "version"},
		{get, "/blocks", b.blocks, everybody, "voen after limit"},
		{get, viewPath, b.showView, everybody, ""},
		{put, viewPath, b.setView, everybody, ""},
		{post, "/imports", b.imports, everybody, "dryRun"},

		{get, "/providers", b.providers, everybody, "after limit"},
		{put, "/providers/:provider", b.putProvider, operators, ""},
		{post, "/providers/:provider/key", b.renewProviderKey, operators, ""},
		{put, "/providers/:provider/state", b.setProviderState, operators, ""},

		{post, "/subscribers", b.enrol, operators, ""},
		{get, "/subscribers/:msisdn", b.subscriber, operators, ""},
		{put, "/subscribers/:msisdn/state", b.setSubscriberState, operators, ""},
		{get, "/certificates/:serial", b.certificate, operators, ""},
		{put, "/certificates/:serial/state", b.setCertificateState, operators, ""},

		{get, "/administrators", b.administrators, operators, ""},
		{put, "/administrators/:administrator", b.putAdministrator, operators, ""},
		{post, "/administrators/:administrator/key", b.renewAdministratorKey, operators, ""},
		{remove, "/administrators/:administrator", b.removeAdministrator, operators, ""},

		{get, "/audit", b.audit, everybody, auditParameters + " after limit"},
		{get, "/audit/export", b.exportAudit, everybody, auditParameters},
		{get, "/audit/verify", b.verifyAudit, operators, ""},
	}
}

// Mount adds the routes to a server, and their description, which needs no key.
func (b *Cabinet) Mount(e *echo.Echo) {
	e.GET(root+"/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openapi) })
	// By route, not by group: a group would answer a wrong method with 404.
	key := middleware.KeyAuthWithConfig(middleware.KeyAuthConfig{Validator: b.authenticate, ErrorHandler: noKey})
	for _, r := range b.routes() {
		e.Add(r.method, root+r.path, r.serve, key)
	}
}

// serve lets those in who may do it, with nothing in the query that would not
// be looked at: a filter with a slip of the pen in it would show everything.
func (r route) serve(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	a := administrator(c)
	if r.who == operators && a.Role != registry.Operator {
		return &gateway.Refusal{Code: gateway.Forbidden, Detail: "operators only"}
	}
	if err := unescape(c); err != nil {
		return err
	}
	if strings.HasPrefix(r.path, organisationPath) {
		voen, err := policy.ParseVOEN(c.Param("voen"))
		if err != nil {
			return gateway.Invalid("voen", "ten digits")
		}
		if err := may(a, voen); err != nil {
			return err
		}
	}
	if err := checkQuery(c.Request().URL.RawQuery, strings.Fields(r.parameters)); err != nil {
		return err
	}
	return r.handle(c)
}

// unescape reads what the path names as it is meant: the router leaves it as it
// was sent, and a browser sends the plus of a number as %2B.
func unescape(c echo.Context) error {
	if c.Request().URL.RawPath == "" {
		return nil // as it was sent is as it is meant
	}
	values := slices.Clone(c.ParamValues())
	for i, name := range c.ParamNames() {
		value, err := url.PathUnescape(values[i])
		if err != nil {
			return gateway.Invalid(name, "cannot be read")
		}
		values[i] = value
	}
	c.SetParamValues(values...)
	return nil
}

// may refuses what is of an organisation that is not the administrator's,
// whether it is on record or not.
func may(a registry.Administrator, voen policy.VOEN) error {
	if !a.May(voen) {
		return &gateway.Refusal{Code: gateway.Forbidden, Detail: "this organisation is not one of yours"}
	}
	return nil
}

// administratorOf is where authenticate leaves the administrator.
const administratorOf = "administrator"

func (b *Cabinet) authenticate(key string, c echo.Context) (bool, error) {
	a, ok, err := b.Registry.AdministratorByKey(c.Request().Context(), key)
	if err == nil && !ok {
		err = &gateway.Refusal{Code: gateway.Unauthorized, Detail: "this administrator's key is not known"}
	}
	c.Set(administratorOf, a)
	return ok, err
}

func administrator(c echo.Context) registry.Administrator {
	return c.Get(administratorOf).(registry.Administrator)
}

// by begins an entry of the audit log: who, and from where.
func by(c echo.Context) registry.Change {
	a := administrator(c)
	return registry.Change{Actor: a.ID, Role: string(a.Role), Source: c.RealIP()}
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

// notFound makes a refusal of what is not on record.
func notFound(err error) error {
	if errors.Is(err, registry.ErrUnknown) {
		return &gateway.Refusal{Code: gateway.NotFound, Detail: strings.TrimPrefix(err.Error(), "registry: ")}
	}
	return err
}

// maxBody is enough for all bodies but those that say so.
const maxBody = 64 << 10

// read reads a small body.
func read(c echo.Context, into any) error {
	body, err := strict.Body(c.Response(), c.Request(), maxBody, "at most 64 KiB")
	if err != nil {
		return err
	}
	return strict.Decode(body, into)
}
