package cabinet

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

// ProviderPage is a page of providers.
type ProviderPage struct {
	Providers []registry.ProviderEntry `json:"providers"`
	Next      policy.Provider          `json:"next,omitempty"` // to ask for what comes after; empty: nothing does
}

// providers is GET /v1/admin/providers.
func (b *Cabinet) providers(c echo.Context) error {
	q := queryOf(c)
	after, limit := q.provider("after"), q.limit()
	if q.err != nil {
		return q.err
	}
	all, err := b.Registry.Providers(c.Request().Context(), after, limit+1)
	if err != nil {
		return err
	}
	shown, last := page(all, limit)
	answer := ProviderPage{Providers: shown}
	if last != nil {
		answer.Next = last.ID
	}
	return c.JSON(http.StatusOK, answer)
}

// Key is a new key, which is shown this once.
type Key struct {
	Key string `json:"key"`
}

// Provider is a provider that was put on record, with its key if it is new.
type Provider struct {
	ID   policy.Provider `json:"provider"`
	Name string          `json:"name"`
	Key  string          `json:"key,omitempty"`
}

// putProvider is PUT /v1/admin/providers/{provider}: a new one, or another name.
func (b *Cabinet) putProvider(c echo.Context) error {
	p, err := policy.ParseProvider(c.Param("provider"))
	if err != nil {
		return gateway.Invalid("provider", providerWanted)
	}
	var in struct {
		Name string `json:"name"`
	}
	if err := read(c, &in); err != nil {
		return err
	}
	if wrong := wrongName(in.Name); wrong != "" {
		return gateway.Invalid("name", wrong)
	}
	key, err := b.Registry.PutProvider(c.Request().Context(), p, in.Name, by(c))
	if err != nil {
		return err
	}
	return c.JSON(created(key), Provider{p, in.Name, key})
}

// created is the status of what was put on record, of which a new one has a key.
func created(key string) int {
	if key == "" {
		return http.StatusOK
	}
	return http.StatusCreated
}

// renewProviderKey is POST /v1/admin/providers/{provider}/key.
func (b *Cabinet) renewProviderKey(c echo.Context) error {
	p, err := b.providerOf(c)
	if err != nil {
		return err
	}
	key, err := b.Registry.RenewProviderKey(c.Request().Context(), p, by(c))
	if err != nil {
		return notFound(err)
	}
	return c.JSON(http.StatusOK, Key{key})
}

// setProviderState is PUT /v1/admin/providers/{provider}/state.
func (b *Cabinet) setProviderState(c echo.Context) error {
	p, err := b.providerOf(c)
	if err != nil {
		return err
	}
	s, err := state(c, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	if err := b.Registry.SetProviderState(c.Request().Context(), p, s, by(c)); err != nil {
		return notFound(err)
	}
	name, err := b.Registry.ProviderName(c.Request().Context(), p)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, registry.ProviderEntry{ID: p, Name: name, State: s})
}
