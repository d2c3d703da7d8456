// Package api is the providers' REST API: requests for signatures, and what
// those who check signatures fetch. openapi.yaml describes it.
//
//	api.go         the server, authentication, the routes
//	signatures.go  the requests
//	problem.go     errors as RFC 9457 problem documents
//	publish.go     certificates, revocation list, OCSP
package api

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
)

//go:embed openapi.yaml
var openapi []byte

// API serves providers.
type API struct {
	Gateway   *gateway.Gateway
	Registry  *registry.Registry
	Authority *pki.Authority
	Log       *slog.Logger
}

// Handler returns the server's routes; others may be added to it.
func (a *API) Handler() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	// Nothing in front of the gateway is trusted to tell the client's address.
	e.IPExtractor = echo.ExtractIPDirect()
	e.HTTPErrorHandler = a.problem
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	e.GET("/readyz", a.ready)
	e.GET("/v1/openapi.yaml", func(c echo.Context) error { return c.Blob(http.StatusOK, "application/yaml", openapi) })
	// By route, not by group: a group would answer a wrong method with 404.
	key := middleware.KeyAuthWithConfig(middleware.KeyAuthConfig{Validator: a.authenticate, ErrorHandler: noKey})
	e.POST("/v1/signatures", a.create, key)
	e.GET("/v1/signatures/:id", a.get, key)
	e.DELETE("/v1/signatures/:id", a.cancel, key)
	a.publish(e)
	return e
}

func (a *API) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), time.Second)
	defer cancel()
	if err := a.Gateway.Ready(ctx); err != nil {
		a.Log.Warn("not ready", "err", err)
		return c.String(http.StatusServiceUnavailable, "not ready\n")
	}
	return c.String(http.StatusOK, "ready\n")
}

// Where authenticate leaves the provider, and the key.
const (
	providerOf = "provider"
	keyOf      = "key"
)

func (a *API) authenticate(key string, c echo.Context) (bool, error) {
	p, state, ok, err := a.Registry.ProviderByKey(c.Request().Context(), key)
	switch {
	case err != nil:
		return false, err
	case !ok:
		return false, &gateway.Refusal{Code: gateway.Unauthorized, Detail: "this API key is not known"}
	case state != registry.Active:
		return false, &gateway.Refusal{Code: gateway.ProviderSuspended, Detail: "this provider may not use the gateway for now"}
	}
	c.Set(providerOf, p)
	c.Set(keyOf, key)
	return true, nil
}

// still refuses who was let in, and may not come in any more: a long poll takes
// its time.
func (a *API) still(c echo.Context) error {
	_, err := a.authenticate(c.Get(keyOf).(string), c)
	return err
}

// noKey is the answer to a request without a key; every other error is one of
// authenticate's own.
func noKey(err error, _ echo.Context) error {
	var missing *middleware.ErrKeyAuthMissing
	if errors.As(err, &missing) {
		return &gateway.Refusal{Code: gateway.Unauthorized, Detail: "an API key is wanted: Authorization: Bearer …"}
	}
	return err
}

func provider(c echo.Context) policy.Provider { return c.Get(providerOf).(policy.Provider) }
