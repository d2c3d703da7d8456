package api

import (
	"encoding/base64"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"imza/pki"
)

// publish serves those who check signatures, at the addresses that the
// certificates carry.
func (a *API) publish(e *echo.Echo) {
	e.GET("/pki/ca.pem", func(c echo.Context) error {
		return c.Blob(http.StatusOK, "application/x-pem-file", a.Authority.Anchors())
	})
	e.GET("/pki/issuing.crt", func(c echo.Context) error {
		return c.Blob(http.StatusOK, "application/pkix-cert", a.Authority.Issuing.Raw)
	})
	e.GET("/pki/issuing.crl", a.crl)
	e.POST("/pki/ocsp", a.ocspPost)
	e.GET("/pki/ocsp/*", a.ocspGet)
}

func (a *API) crl(c echo.Context) error {
	revoked, err := a.Registry.Revoked(c.Request().Context())
	if err != nil {
		return err
	}
	list, err := a.Authority.CRL(revoked, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/pkix-crl", list)
}

// maxOCSP is the most octets of an OCSP request.
const maxOCSP = 4 << 10

func (a *API) ocspPost(c echo.Context) error {
	request, err := io.ReadAll(io.LimitReader(c.Request().Body, maxOCSP))
	if err != nil {
		return err
	}
	return a.ocsp(c, request)
}

// ocspGet takes the request from the path, in base64 (RFC 6960 appendix A.1).
func (a *API) ocspGet(c echo.Context) error {
	text, err := url.PathUnescape(c.Param("*"))
	if err != nil || len(text) > maxOCSP {
		text = ""
	}
	request, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		request = nil // answered as a malformed request
	}
	return a.ocsp(c, request)
}

func (a *API) ocsp(c echo.Context, request []byte) error {
	ctx := c.Request().Context()
	answer, err := a.Authority.OCSP(request, func(serial *big.Int) (*pki.Revoked, error) {
		return a.Registry.RevokedSerial(ctx, serial)
	}, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		if answer == nil {
			return err
		}
		a.Log.Error("OCSP could not answer", "err", err) // the answer says as much as RFC 6960 has words for
	}
	return c.Blob(http.StatusOK, "application/ocsp-response", answer)
}
