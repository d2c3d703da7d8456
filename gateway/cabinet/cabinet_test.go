package cabinet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/api"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
)

const signatures = "/v1/signatures"

// blockPath is where an employee of the first organisation is blocked for a
// provider.
func blockPath(who *gatewaytest.Subscriber, p policy.Provider) string {
	return pathOf(string(gatewaytest.FirstVOEN), string(who.FIN), string(p))
}

func pathOf(voen, fin, provider string) string {
	return "/v1/admin/organisations/" + voen + "/employees/" + fin + "/blocks/" + provider
}

// read reads an answer, which must be a good one.
func read[T any](t *testing.T, a gatewaytest.Answer) (value T) {
	t.Helper()
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	if err := json.Unmarshal(a.Body, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// permissions reads the set that an answer must be.
func permissions(t *testing.T, a gatewaytest.Answer) cabinet.Permissions {
	t.Helper()
	return read[cabinet.Permissions](t, a)
}

// audited is one entry of the audit log; of before and after, the exceptions.
type audited struct{ actor, action, subject, before, after string }

func auditLog(t *testing.T, s *gatewaytest.Stack) (log []audited) {
	t.Helper()
	for _, e := range everyEntry(t, s) {
		log = append(log, audited{e.Actor, e.Action, e.Subject, exceptionsIn(e.Before), exceptionsIn(e.After)})
	}
	return log
}

func everyEntry(t *testing.T, s *gatewaytest.Stack) (all []registry.AuditEntry) {
	t.Helper()
	if err := s.Registry.AuditEntries(t.Context(), registry.AuditFilter{}, func(e registry.AuditEntry) error {
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func exceptionsIn(raw json.RawMessage) string {
	var set struct{ Exceptions json.RawMessage }
	if json.Unmarshal(raw, &set) != nil {
		return ""
	}
	return string(set.Exceptions)
}

func TestOpenAPIDescribesEveryRouteAndNoOther(t *testing.T) {
	e := echo.New()
	(&cabinet.Cabinet{}).Mount(e)
	document, err := gatewaytest.Document(e, "/v1/admin/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	for _, r := range e.Routes() {
		served = append(served, r.Method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.Path, "{$1}"))
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %s\nserved:    %s", described, served)
	}
}

// Both APIs on one server must not hide each other's routes.
func TestBothDocumentsAreServed(t *testing.T) {
	e := (&api.API{}).Handler()
	(&cabinet.Cabinet{}).Mount(e)
	for path, title := range map[string]string{"/v1/openapi.yaml": "imza, the providers' API", "/v1/admin/openapi.yaml": "imza, the admin API"} {
		served := httptest.NewRecorder()
		e.ServeHTTP(served, httptest.NewRequest(http.MethodGet, path, nil))
		if served.Code != http.StatusOK || !strings.Contains(served.Body.String(), "title: "+title+"\n") {
			t.Errorf("%s: %d", path, served.Code)
		}
	}
}

func TestWithoutItsKeyNothingIsChanged(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	for name, header := range map[string][]string{
		"none": nil, "a provider's": {"Authorization", "Bearer " + key}, "unknown": {"Authorization", "Bearer " + registry.NewAdminKey()},
		"another scheme": {"Authorization", "Basic " + s.AdminKey}, "empty": {"Authorization", "Bearer "},
	} {
		for _, route := range [][2]string{{"PUT", blockPath(who, "bank")}, {"DELETE", blockPath(who, "bank")}, {"GET", "/v1/admin/blocks"}} {
			a := s.Do(t, route[0], route[1], "", nil, header...)
			a.Refused(t, http.StatusUnauthorized, "unauthorized")
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="imza"` {
				t.Errorf("%s: WWW-Authenticate: %s", name, got)
			}
		}
	}
	if log := auditLog(t, s); log != nil {
		t.Errorf("something was changed: %v", log)
	}
	s.Ask(t, key, who.Request())
}

func TestWhatIsNotOnRecordIsNotBlocked(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	first, second, fin := string(gatewaytest.FirstVOEN), string(gatewaytest.SecondVOEN), string(who.FIN)
	for _, c := range []struct{ voen, fin, provider, field, unknown string }{
		{"140000001", fin, "bank", "voen", ""}, {"14000000111", fin, "bank", "voen", ""}, {"140000001a", fin, "bank", "voen", ""},
		{"%2531400000011", fin, "bank", "voen", ""}, {"1400000011%20", fin, "bank", "voen", ""}, {"..", fin, "bank", "voen", ""},
		{first, strings.ToLower(fin), "bank", "fin", ""}, {first, fin + "1", "bank", "fin", ""}, {first, "7TSTI01", "bank", "fin", ""},
		{first, "7TSTO01", "bank", "fin", ""}, {first, "*", "bank", "fin", ""}, {first, "7TST%2F1", "bank", "fin", ""}, {first, "%D9%A77TST01", "bank", "fin", ""},
		{first, fin, "Bank", "provider", ""}, {first, fin, "bank%20", "provider", ""}, {first, fin, "-bank", "provider", ""},
		{first, fin, "b*", "provider", ""}, {first, fin, strings.Repeat("b", 41), "provider", ""}, {first, fin, "x:bank", "provider", ""}, {first, fin, "bank%2Fx", "provider", ""},
		{"9999999999", fin, "bank", "", "organisation"}, {first, "7TST999", "bank", "", "employee"}, {second, fin, "bank", "", "employee"},
		{first, fin, "shop", "", "provider"}, {first, fin, strings.Repeat("b", 40), "", "provider"},
	} {
		for _, method := range []string{"PUT", "DELETE"} {
			a := s.Do(t, method, pathOf(c.voen, c.fin, c.provider), s.AdminKey, nil)
			if c.field != "" {
				if p := a.Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != c.field {
					t.Errorf("%v: the field is said to be %q", c, p.Field)
				}
			} else if p := a.Refused(t, http.StatusNotFound, "not_found"); !strings.HasSuffix(p.Detail, ": "+c.unknown) {
				t.Errorf("%v: %q does not name the %s", c, p.Detail, c.unknown)
			}
		}
	}
	for _, voen := range []string{"1", "14000000110", "x", "%00", "1400000011%0A"} {
		if p := s.Do(t, "GET", "/v1/admin/blocks?voen="+voen, s.AdminKey, nil).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != "voen" {
			t.Errorf("voen=%s: field %q", voen, p.Field)
		}
	}
	for _, c := range [][2]string{{"POST", blockPath(who, "bank")}, {"GET", blockPath(who, "bank")}, {"DELETE", "/v1/admin/blocks"}, {"PUT", "/v1/admin/openapi.yaml"}} {
		if a := s.Do(t, c[0], c[1], s.AdminKey, nil); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", c[0], c[1], a.Status)
		}
	}
	for _, path := range []string{"/v1/admin", "/v1/admin/", "/v1/admin/nothing", blockPath(who, "")} {
		if a := s.Do(t, "PUT", path, s.AdminKey, nil); a.Status == http.StatusOK {
			t.Errorf("PUT %s: %s", path, a.Body)
		}
	}
	if log := auditLog(t, s); log != nil {
		t.Errorf("something was changed: %v", log)
	}
}

func TestListShowsWhatIsBlocked(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	s.Provider(t, "shop", registry.NewProviderKey())
	one, two := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
	list := func(query string) []cabinet.Permissions {
		t.Helper()
		page := read[cabinet.BlockPage](t, s.Do(t, "GET", "/v1/admin/blocks"+query, s.AdminKey, nil))
		if page.Blocks == nil || page.Next != "" {
			t.Fatalf("%+v", page)
		}
		return page.Blocks
	}
	if got := list(""); len(got) != 0 {
		t.Errorf("nothing was said, and there is %v", got)
	}
	s.Do(t, "PUT", blockPath(two, "bank"), s.AdminKey, nil)
	s.Do(t, "PUT", blockPath(one, "shop"), s.AdminKey, nil)
	last := permissions(t, s.Do(t, "PUT", blockPath(one, "bank"), s.AdminKey, nil))
	want := cabinet.Permissions{VOEN: gatewaytest.FirstVOEN, FIN: one.FIN, Default: "allow", Exceptions: []policy.Provider{"bank", "shop"}, Version: 2}
	if fmt.Sprint(last) != fmt.Sprint(want) {
		t.Errorf("saved as %v, not %v", last, want)
	}
	for query, n := range map[string]int{"": 2, "?voen=" + string(gatewaytest.FirstVOEN): 2, "?voen=" + string(gatewaytest.SecondVOEN): 0, "?voen=9999999999": 0} {
		if got := list(query); len(got) != n || n > 0 && (fmt.Sprint(got[0]) != fmt.Sprint(want) || got[1].FIN != two.FIN) {
			t.Errorf("%q lists %v", query, got)
		}
	}
	s.Do(t, "DELETE", blockPath(two, "bank"), s.AdminKey, nil)
	if got := list(""); len(got) != 1 || got[0].FIN != one.FIN {
		t.Errorf("with one let sign again, %v", got)
	}
}

// Programs branch on codes, so none may be missing from the document.
func TestOpenAPINamesEveryCode(t *testing.T) {
	e := echo.New()
	(&cabinet.Cabinet{}).Mount(e)
	served := httptest.NewRecorder()
	e.ServeHTTP(served, httptest.NewRequest(http.MethodGet, "/v1/admin/openapi.yaml", nil))
	for _, code := range []gateway.Code{
		gateway.InvalidRequest, gateway.InvalidImport, gateway.Unauthorized, gateway.Forbidden, gateway.NotFound, gateway.VersionConflict, gateway.CertificateRevoked,
		gateway.LastOperator, gateway.DocumentTooLarge, gateway.PolicyUnavailable, gateway.Unavailable, gateway.Internal,
	} {
		if !strings.Contains(served.Body.String(), "urn:imza:problem:"+string(code)+"\n") {
			t.Errorf("no example of %s", code)
		}
	}
}
