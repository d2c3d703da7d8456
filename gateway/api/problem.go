package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
)

// Problem is an RFC 9457 problem document. Code is stable, for programs; Title
// and Detail are for people.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"`
	// More are the members that only some codes have.
	More map[string]any `json:"-"`
}

// MarshalJSON puts More beside the others.
func (p Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	all, err := json.Marshal(plain(p))
	if err != nil || len(p.More) == 0 {
		return all, err
	}
	more, err := json.Marshal(p.More)
	if err != nil {
		return nil, err
	}
	return append(append(all[:len(all)-1], ','), more[1:]...), nil
}

// status is how HTTP says each code.
var status = map[gateway.Code]int{
	gateway.InvalidRequest:       http.StatusBadRequest,
	gateway.Unauthorized:         http.StatusUnauthorized,
	gateway.NotASubscriber:       http.StatusNotFound,
	gateway.NotFound:             http.StatusNotFound,
	gateway.CertificateNotActive: http.StatusConflict,
	gateway.BlockedByOrg:         http.StatusForbidden,
	gateway.PolicyUnavailable:    http.StatusServiceUnavailable,
	gateway.Unavailable:          http.StatusServiceUnavailable,
	gateway.SubscriberBusy:       http.StatusConflict,
	gateway.IdempotencyConflict:  http.StatusConflict,
	gateway.TooManyPrompts:       http.StatusTooManyRequests,
	gateway.DocumentTooLarge:     http.StatusRequestEntityTooLarge,
	gateway.ProviderSuspended:    http.StatusForbidden,
	gateway.Forbidden:            http.StatusForbidden,
	gateway.VersionConflict:      http.StatusConflict,
	gateway.CertificateRevoked:   http.StatusConflict,
	gateway.LastOperator:         http.StatusConflict,
	gateway.AlreadyEnrolled:      http.StatusConflict,
	gateway.InvalidImport:        http.StatusBadRequest,
	gateway.Internal:             http.StatusInternalServerError,
}

var title = map[gateway.Code]string{
	gateway.InvalidRequest:       "The request is not valid",
	gateway.Unauthorized:         "No valid API key",
	gateway.NotASubscriber:       "Not a subscriber",
	gateway.NotFound:             "Not found",
	gateway.CertificateNotActive: "No active certificate",
	gateway.BlockedByOrg:         "Blocked by the organisation",
	gateway.PolicyUnavailable:    "Permission cannot be checked right now",
	gateway.Unavailable:          "Not available right now",
	gateway.SubscriberBusy:       "The subscriber is busy with another request",
	gateway.IdempotencyConflict:  "Idempotency-Key used twice",
	gateway.TooManyPrompts:       "Too many requests to this subscriber",
	gateway.DocumentTooLarge:     "The document is too large",
	gateway.ProviderSuspended:    "The provider is suspended",
	gateway.Forbidden:            "Not allowed",
	gateway.VersionConflict:      "Somebody else has changed it",
	gateway.CertificateRevoked:   "A revoked certificate stays revoked",
	gateway.LastOperator:         "The last operator stays",
	gateway.AlreadyEnrolled:      "Already enrolled",
	gateway.InvalidImport:        "The file cannot be imported",
	gateway.Internal:             "Internal error",
}

// problem turns an error into HTTP, once. What is not a refusal is "internal"
// outside and a line in the log inside.
func (a *API) problem(err error, c echo.Context) {
	if c.Response().Committed {
		// An answer that is cut off must not look like a whole one.
		a.Log.Warn("answer cut off", "method", c.Request().Method, "route", c.Path(), "err", err)
		panic(http.ErrAbortHandler)
	}
	var refusal *gateway.Refusal
	var ofEcho *echo.HTTPError
	var p Problem
	switch {
	case errors.As(err, &refusal):
		p = document(refusal)
		if refusal.RetryAfter > 0 {
			seconds := math.Ceil(float64(refusal.RetryAfter) / float64(time.Second))
			c.Response().Header().Set("Retry-After", strconv.Itoa(int(seconds)))
		}
		if refusal.Cause != nil {
			a.Log.Warn("request refused", "code", refusal.Code, "err", refusal.Cause)
		}
	case errors.As(err, &ofEcho) && ofEcho.Code != http.StatusInternalServerError:
		p = Problem{Type: "about:blank", Title: http.StatusText(ofEcho.Code), Status: ofEcho.Code, Code: ofEchoCode(ofEcho.Code)}
	case registry.Away(err):
		a.Log.Warn("the record cannot be asked", "method", c.Request().Method, "route", c.Path(), "err", err)
		p = document(&gateway.Refusal{Code: gateway.Unavailable, Detail: "try again shortly"})
		c.Response().Header().Set("Retry-After", "1")
	default:
		a.Log.Error("request failed", "method", c.Request().Method, "route", c.Path(), "err", err)
		p = document(&gateway.Refusal{Code: gateway.Internal})
	}
	if p.Status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="imza"`)
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	c.Response().WriteHeader(p.Status)
	if err := c.Echo().JSONSerializer.Serialize(c, p, ""); err != nil {
		a.Log.Debug("problem not sent", "err", err)
	}
}

func document(r *gateway.Refusal) Problem {
	return Problem{
		Type:  "urn:imza:problem:" + string(r.Code),
		Title: title[r.Code], Status: status[r.Code], Code: string(r.Code), Detail: r.Detail, Field: r.Field, More: r.More,
	}
}

// ofEchoCode names what the router refuses.
func ofEchoCode(status int) string {
	switch status {
	case http.StatusNotFound:
		return string(gateway.NotFound)
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	}
	return fmt.Sprintf("http_%d", status)
}
