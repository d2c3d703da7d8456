package cabinet

import (
	"errors"
	"net/http"
	"regexp"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/simcard"
)

// number reads the number in a path.
func number(c echo.Context) (simcard.MSISDN, error) {
	m, err := simcard.ParseMSISDN(c.Param("msisdn"))
	if err != nil {
		return "", gateway.Invalid("msisdn", "a number like +994501234567")
	}
	return m, nil
}

// subscriber is GET /v1/admin/subscribers/{msisdn}.
func (b *Cabinet) subscriber(c echo.Context) error {
	m, err := number(c)
	if err != nil {
		return err
	}
	return b.showSubscriber(c, m)
}

func (b *Cabinet) showSubscriber(c echo.Context, m simcard.MSISDN) error {
	s, err := b.Registry.SubscriberEntry(c.Request().Context(), m)
	if err != nil {
		return notFound(err)
	}
	return c.JSON(http.StatusOK, s)
}

// setSubscriberState is PUT /v1/admin/subscribers/{msisdn}/state.
func (b *Cabinet) setSubscriberState(c echo.Context) error {
	m, err := number(c)
	if err != nil {
		return err
	}
	s, err := state(c, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	if err := b.Registry.SetSubscriberState(c.Request().Context(), m, s, by(c)); err != nil {
		return notFound(err)
	}
	return b.showSubscriber(c, m)
}

var serialForm = regexp.MustCompile(`^[0-9a-f]{1,40}$`)

// serial reads the serial number in a path.
func serial(c echo.Context) (string, error) {
	s := c.Param("serial")
	if !serialForm.MatchString(s) {
		return "", gateway.Invalid("serial", "a serial number: up to 40 hexadecimal digits, in small letters")
	}
	return s, nil
}

// certificate is GET /v1/admin/certificates/{serial}.
func (b *Cabinet) certificate(c echo.Context) error {
	s, err := serial(c)
	if err != nil {
		return err
	}
	return b.showCertificate(c, s)
}

func (b *Cabinet) showCertificate(c echo.Context, serial string) error {
	found, err := b.Registry.CertificateEntry(c.Request().Context(), serial)
	if err != nil {
		return notFound(err)
	}
	return c.JSON(http.StatusOK, found)
}

// setCertificateState is PUT /v1/admin/certificates/{serial}/state.
func (b *Cabinet) setCertificateState(c echo.Context) error {
	of, err := serial(c)
	if err != nil {
		return err
	}
	s, err := state(c, registry.Active, registry.Suspended, registry.Revoked)
	if err != nil {
		return err
	}
	err = b.Registry.SetCertificateState(c.Request().Context(), of, s, by(c))
	if errors.Is(err, registry.ErrRevoked) {
		return &gateway.Refusal{Code: gateway.CertificateRevoked, Detail: "a new certificate is wanted"}
	}
	if err != nil {
		return notFound(err)
	}
	return b.showCertificate(c, of)
}
