package screen

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// problem is a request that was refused: what it is outside, as an RFC 9457
// document. It holds nothing of the request.
type problem struct {
	status              int
	code, detail, field string
}

func (p *problem) Error() string { return fmt.Sprintf("screen: %s: %s %s", p.code, p.field, p.detail) }

func invalid(field, detail string) error {
	return &problem{status: http.StatusBadRequest, code: "invalid_request", detail: detail, field: field}
}

func forbidden(detail string) error {
	return &problem{status: http.StatusForbidden, code: "forbidden", detail: detail}
}

// problems writes refusals; other errors are the server's to handle.
func problems(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		var p *problem
		if !errors.As(err, &p) || c.Response().Committed {
			return err
		}
		c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
		return c.JSON(p.status, struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Code   string `json:"code"`
			Detail string `json:"detail,omitempty"`
			Field  string `json:"field,omitempty"`
		}{"about:blank", http.StatusText(p.status), p.status, p.code, p.detail, p.field})
	}
}

// policy is what the pages may do: nothing but load what this server has, and
// speak to it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		return next(c)
	}
}

// byAddress refuses requests for any name but localhost: a stranger's page can
// have its own name lead to this machine, and is of the same origin then (DNS
// rebinding).
func byAddress(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		host := c.Request().Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		} else {
			host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		}
		if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
			return forbidden("open this page by its IP address or as localhost")
		}
		return next(c)
	}
}

// fromHere refuses requests that another site's page makes. It is for what a
// page does, and for its events too: to listen is to be the person.
func fromHere(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Request().Header
		if site := h.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
			return forbidden("this is for the page of the telephone alone")
		}
		if _, there := h["Origin"]; there {
			origin, err := url.Parse(h.Get("Origin"))
			if err != nil || origin.Host == "" || !strings.EqualFold(origin.Host, c.Request().Host) {
				return forbidden("this is for the page of the telephone alone")
			}
		}
		return next(c)
	}
}
