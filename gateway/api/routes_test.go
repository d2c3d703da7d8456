package api_test

import (
	"net/http"
	"strings"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// gatewaytest holds that each of these answers is a problem document.
func TestWhatDoesNotExistIsAProblemToo(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/", 404, "not_found"},
		{"GET", "/nothing", 404, "not_found"},
		{"GET", "/v1", 404, "not_found"},
		{"GET", "/v1/", 404, "not_found"},
		{"POST", "/v1/nothing", 404, "not_found"},
		{"GET", "/v2/signatures", 404, "not_found"},
		{"POST", "/v1//signatures", 404, "not_found"},
		{"POST", "/v1/signatures/", 404, "not_found"},
		{"GET", "/v1/signatures/a/b", 404, "not_found"},
		{"GET", "/pki/", 404, "not_found"},
		{"GET", "/pki/issuing.key", 404, "not_found"},
		{"GET", "/pki/../ca/issuing.key", 404, "not_found"},
		{"GET", "/openapi.yaml", 404, "not_found"},
		{"GET", "/v1/signatures", 405, "method_not_allowed"},
		{"PUT", "/v1/signatures", 405, "method_not_allowed"},
		{"DELETE", "/v1/signatures", 405, "method_not_allowed"},
		{"PATCH", "/v1/signatures/" + strings.Repeat("a", 16), 405, "method_not_allowed"},
		{"POST", "/v1/signatures/" + strings.Repeat("a", 16), 405, "method_not_allowed"},
		{"BREW", "/v1/signatures", 405, "method_not_allowed"},
		{"POST", "/healthz", 405, "method_not_allowed"},
		{"DELETE", "/readyz", 405, "method_not_allowed"},
		{"PUT", "/v1/openapi.yaml", 405, "method_not_allowed"},
		{"DELETE", "/pki/ca.pem", 405, "method_not_allowed"},
		{"PUT", "/pki/ocsp", 405, "method_not_allowed"},
	} {
		a := s.Do(t, c.method, c.path, key, nil)
		if a.Status != c.status || !strings.Contains(string(a.Body), `"code":"`+c.code+`"`) {
			t.Errorf("%s %s: %d %s; want %d %s", c.method, c.path, a.Status, a.Body, c.status, c.code)
		}
		if a.Status == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", c.method, c.path)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	for _, path := range []string{"/healthz", "/readyz", "/v1/openapi.yaml"} {
		if a := s.Do(t, "GET", path, "", nil); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}
