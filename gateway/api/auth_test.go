package api_test

import (
	"net/http"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

func TestWithoutItsKeyNobodyIsServed(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "shop", registry.NewProviderKey())
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	id := s.Ask(t, key, who.Request()).ID
	s.End(t, key, id)
	pushed := s.SubmittedAll()

	for name, header := range map[string][]string{
		"none":               nil,
		"empty":              {"Authorization", ""},
		"scheme alone":       {"Authorization", "Bearer"},
		"no key":             {"Authorization", "Bearer "},
		"key alone":          {"Authorization", key},
		"another scheme":     {"Authorization", "Basic " + key},
		"scheme runs on":     {"Authorization", "Bearer" + key},
		"unknown":            {"Authorization", "Bearer " + registry.NewProviderKey()},
		"cut short":          {"Authorization", "Bearer " + key[:len(key)-1]},
		"too long":           {"Authorization", "Bearer " + key + "a"},
		"an administrator's": {"Authorization", "Bearer " + s.AdminKey},
		"another header":     {"X-API-Key", key},
		"injection":          {"Authorization", "Bearer ' OR ''='"},
	} {
		for _, route := range [][2]string{
			{"POST", "/v1/signatures"}, {"GET", "/v1/signatures/" + id}, {"DELETE", "/v1/signatures/" + id},
			{"GET", "/v1/signatures/" + id + "?access_token=" + key},
		} {
			var body any
			if route[0] == "POST" {
				body = who.Request()
			}
			a := s.Do(t, route[0], route[1], "", body, header...)
			a.Refused(t, http.StatusUnauthorized, "unauthorized")
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="imza"` {
				t.Errorf("%s: WWW-Authenticate: %s", name, got)
			}
		}
	}
	if n := s.SubmittedAll() - pushed; n != 0 {
		t.Errorf("%d messages went to the operator", n)
	}
	// The scheme's name may be written in any case (RFC 9110 §11.1).
	s.Do(t, "GET", "/v1/signatures/"+id, "", nil, "Authorization", "bearer "+key).Signature(t, http.StatusOK)
}

// A key that was replaced opens nothing from then on.
func TestReplacedKeyIsRefused(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	old := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	id := s.Ask(t, old, who.Request()).ID
	key := s.Provider(t, "bank", registry.NewProviderKey())
	s.Do(t, "GET", "/v1/signatures/"+id, old, nil).Refused(t, http.StatusUnauthorized, "unauthorized")
	if got := s.End(t, key, id); got.Status != "signed" {
		t.Errorf("with the new key it is %s", got.Status)
	}
}
