package gatewaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/labstack/echo/v4"

	"imza/gateway/api"
	"imza/gateway/cabinet"
)

// contract is what the OpenAPI documents promise: the providers' and the
// administrators', as they are served.
type contract struct {
	routers []routers.Router
	problem *openapi3.Schema
}

var loadContract = sync.OnceValues(func() (*contract, error) {
	e := (&api.API{}).Handler()
	(&cabinet.Cabinet{}).Mount(e)
	c := &contract{}
	for _, path := range []string{"/v1/openapi.yaml", "/v1/admin/openapi.yaml"} {
		document, err := Document(e, path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		document.Servers = nil // any address will do
		router, err := gorillamux.NewRouter(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		c.routers = append(c.routers, router)
		c.problem = document.Components.Schemas["Problem"].Value
	}
	return c, nil
})

// Document fetches an OpenAPI document from a server, and judges it.
func Document(e *echo.Echo, path string) (*openapi3.T, error) {
	served := httptest.NewRecorder()
	e.ServeHTTP(served, httptest.NewRequest(http.MethodGet, path, nil))
	document, err := openapi3.NewLoader().LoadFromData(served.Body.Bytes())
	if err != nil {
		return nil, err
	}
	return document, document.Validate(context.Background(), openapi3.EnableExamplesValidation())
}

// check tells how an answer breaks the contract. sent is the request's body.
func (c *contract) check(r *http.Request, sent []byte, a Answer) error {
	for _, router := range c.routers {
		route, params, err := router.FindRoute(r)
		if errors.Is(err, routers.ErrPathNotFound) || errors.Is(err, routers.ErrMethodNotAllowed) {
			continue
		}
		if err != nil {
			return err
		}
		asked := &openapi3filter.RequestValidationInput{Request: r.Clone(r.Context()), PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
		// What was done had to be a good request; a large document takes too
		// long to look at.
		if a.Status < 300 && len(sent) < 1<<20 {
			asked.Request.Body = io.NopCloser(bytes.NewReader(sent))
			if err := openapi3filter.ValidateRequest(r.Context(), asked); err != nil {
				return fmt.Errorf("accepted, although: %w", err)
			}
		}
		answered := &openapi3filter.ResponseValidationInput{RequestValidationInput: asked, Status: a.Status, Header: a.Header,
			Options: &openapi3filter.Options{IncludeResponseStatus: true}}
		answered.SetBodyBytes(a.Body)
		if err := openapi3filter.ValidateResponse(r.Context(), answered); err != nil {
			return err
		}
		return a.checkProblem()
	}
	// Nothing is promised there.
	if a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
		return fmt.Errorf("status %d of what is not in the document", a.Status)
	}
	var problem any
	if err := a.decode(&problem); err != nil {
		return err
	}
	if err := c.problem.VisitJSON(problem, openapi3.EnableJSONSchema2020()); err != nil {
		return err
	}
	return a.checkProblem()
}

// checkProblem holds what RFC 9457 says of a problem document's members and
// what a schema cannot say.
func (a Answer) checkProblem() error {
	if a.Status < 400 || a.Header.Get("Content-Type") == "text/plain; charset=UTF-8" { // the latter: readyz
		return nil
	}
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		return fmt.Errorf("a problem of type %s", got)
	}
	var p Problem
	if err := a.decode(&p); err != nil {
		return err
	}
	if p.Status != a.Status {
		return fmt.Errorf("a problem that says %d in an answer of status %d", p.Status, a.Status)
	}
	if p.Type != "urn:imza:problem:"+p.Code && p.Type != "about:blank" {
		return fmt.Errorf("a problem of type %s with code %s", p.Type, p.Code)
	}
	return nil
}
