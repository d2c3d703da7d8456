package cabinet

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

// whoami is GET /v1/admin/whoami.
func (b *Cabinet) whoami(c echo.Context) error {
	return c.JSON(http.StatusOK, administrator(c))
}

// AdministratorList is all administrators.
type AdministratorList struct {
	Administrators []registry.Administrator `json:"administrators"`
}

// administrators is GET /v1/admin/administrators.
func (b *Cabinet) administrators(c echo.Context) error {
	all, err := b.Registry.Administrators(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, AdministratorList{all})
}

const administratorWanted = "an administrator's name: up to 64 lower-case letters, digits, dots, hyphens and underscores"

var administratorForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// administratorID reads the administrator in a path.
func administratorID(c echo.Context) (string, error) {
	id := c.Param("administrator")
	if !administratorForm.MatchString(id) {
		return "", gateway.Invalid("administrator", administratorWanted)
	}
	return id, nil
}

// administratorBody is the body of PUT /v1/admin/administrators/{administrator}.
type administratorBody struct {
	Role          string   `json:"role"`
	Organisations []string `json:"organisations"`
}

// administratorAsWanted reads who is to be an administrator of what.
func (b *Cabinet) administratorAsWanted(c echo.Context) (a registry.Administrator, err error) {
	if a.ID, err = administratorID(c); err != nil {
		return a, err
	}
	var in administratorBody
	if err := read(c, &in); err != nil {
		return a, err
	}
	switch a.Role = registry.Role(in.Role); {
	case a.Role != registry.Operator && a.Role != registry.Manager:
		return a, gateway.Invalid("role", "operator or manager")
	case a.Role == registry.Operator && len(in.Organisations) > 0:
		return a, gateway.Invalid("organisations", "an operator has none of his own: all are")
	case a.Role == registry.Manager && len(in.Organisations) == 0:
		return a, gateway.Invalid("organisations", "a list of a manager's organisations, at least one")
	}
	if a.Organisations, err = list("organisations", in.Organisations, "ten digits", policy.ParseVOEN); err != nil {
		return a, err
	}
	known, err := b.Registry.KnownOrganisations(c.Request().Context(), nil, a.Organisations)
	if err != nil {
		return a, err
	}
	for i, voen := range in.Organisations {
		if !known[policy.VOEN(voen)] {
			return a, gateway.Invalid(fmt.Sprintf("organisations[%d]", i), voen+" is not on record")
		}
	}
	return a, nil
}

// Administrator is an administrator who was put on record, with the key if it is
// new.
type Administrator struct {
	registry.Administrator
	Key string `json:"key,omitempty"`
}

// putAdministrator is PUT /v1/admin/administrators/{administrator}: a new one,
// or another role.
func (b *Cabinet) putAdministrator(c echo.Context) error {
	a, err := b.administratorAsWanted(c)
	if err != nil {
		return err
	}
	key, err := b.Registry.PutAdministrator(c.Request().Context(), a, by(c))
	if err != nil {
		return ofAdministrator(err)
	}
	return c.JSON(created(key), Administrator{a, key})
}

// renewAdministratorKey is POST /v1/admin/administrators/{administrator}/key.
func (b *Cabinet) renewAdministratorKey(c echo.Context) error {
	id, err := administratorID(c)
	if err != nil {
		return err
	}
	key, err := b.Registry.RenewAdministratorKey(c.Request().Context(), id, by(c))
	if err != nil {
		return ofAdministrator(err)
	}
	return c.JSON(http.StatusOK, Key{key})
}

// removeAdministrator is DELETE /v1/admin/administrators/{administrator}.
func (b *Cabinet) removeAdministrator(c echo.Context) error {
	id, err := administratorID(c)
	if err != nil {
		return err
	}
	if err := b.Registry.RemoveAdministrator(c.Request().Context(), id, by(c)); err != nil {
		return ofAdministrator(err)
	}
	return c.NoContent(http.StatusNoContent)
}

func ofAdministrator(err error) error {
	if errors.Is(err, registry.ErrLastOperator) {
		return &gateway.Refusal{Code: gateway.LastOperator, Detail: "make somebody else an operator first"}
	}
	return notFound(err)
}
