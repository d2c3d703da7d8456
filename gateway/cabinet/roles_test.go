package cabinet_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// operatorsOnly are the routes that managers are refused, whatever the
// organisation.
var operatorsOnly = map[string]bool{
	"PUT /v1/admin/providers/:provider": true, "POST /v1/admin/providers/:provider/key": true, "PUT /v1/admin/providers/:provider/state": true,
	"POST /v1/admin/subscribers": true, "GET /v1/admin/subscribers/:msisdn": true, "PUT /v1/admin/subscribers/:msisdn/state": true,
	"GET /v1/admin/certificates/:serial": true, "PUT /v1/admin/certificates/:serial/state": true,
	"GET /v1/admin/administrators": true, "PUT /v1/admin/administrators/:administrator": true, "DELETE /v1/admin/administrators/:administrator": true,
	"POST /v1/admin/administrators/:administrator/key": true, "GET /v1/admin/audit/verify": true,
}

// Every route there is, with every kind of key.
func TestRoles(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	provider := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	mine, another := manager(t, s, "aysel", gatewaytest.FirstVOEN), manager(t, s, "babek", gatewaytest.SecondVOEN)
	fill := strings.NewReplacer(":voen", "1400000011", ":fin", string(who.FIN), ":provider", "bank", ":msisdn", string(who.MSISDN),
		":serial", who.Certificates[0].Serial, ":administrator", "someone")
	body := func(method, path string) any {
		switch {
		case method == "POST" && strings.HasSuffix(path, "/subscribers"):
			return enrolmentOf(candidate(t, 900))
		case method != "PUT":
			return nil
		case strings.HasSuffix(path, "/state"):
			return state("active")
		case strings.HasSuffix(path, "/providers/:provider/permissions"):
			return viewBody(0)
		case strings.HasSuffix(path, "/permissions"):
			return set(0, "allow")
		case strings.HasSuffix(path, "/administrators/:administrator"):
			return map[string]any{"role": "operator"}
		case strings.HasSuffix(path, "/providers/:provider"):
			return map[string]any{"name": "Bank"}
		}
		return nil
	}
	e, seen := echo.New(), 0
	(&cabinet.Cabinet{}).Mount(e)
	for _, key := range []string{"", provider, another, mine, s.AdminKey} { // the last may do everything
		for _, r := range e.Routes() {
			route, path := r.Method+" "+r.Path, fill.Replace(r.Path)
			if r.Path == "/v1/admin/openapi.yaml" {
				if a := s.Do(t, r.Method, path, key, nil); a.Status != http.StatusOK {
					t.Errorf("%s: %d", route, a.Status)
				}
				continue
			}
			seen++
			var a gatewaytest.Answer
			if r.Path == imports {
				a = importAs(t, s, key, "", "voen,fin,provider,action\n1400000011,"+string(who.FIN)+",bank,unblock\n")
			} else {
				a = s.Do(t, r.Method, path, key, body(r.Method, r.Path))
			}
			switch {
			case key == "" || key == provider:
				a.Refused(t, http.StatusUnauthorized, "unauthorized")
			case key != s.AdminKey && operatorsOnly[route], key == another && strings.Contains(r.Path, ":voen"):
				a.Refused(t, http.StatusForbidden, "forbidden")
			case key == another && r.Path == imports:
				a.Refused(t, http.StatusBadRequest, "invalid_import")
			// It was let in: whoever is to be renewed may not be there yet, and the
			// version may be another by now.
			case a.Status >= 300 && a.Status != http.StatusConflict && !(a.Status == http.StatusNotFound && strings.Contains(path, "/someone")):
				t.Errorf("%s: %d %s", route, a.Status, a.Body)
			}
		}
		if key == another { // nothing was changed so far
			if log := everyEntry(t, s); log != nil {
				t.Errorf("%+v", log)
			}
		}
	}
	if want := 5 * (len(e.Routes()) - 1); seen != want || len(e.Routes()) != 32 {
		t.Errorf("%d of %d", seen, want)
	}
}

// A manager learns nothing of organisations that are not his, by no way.
func TestManagersSeeTheirOwn(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	mine, none := manager(t, s, "aysel", gatewaytest.FirstVOEN), manager(t, s, "nobody")
	own := s.Enrol(t, gatewaytest.Person{})
	other := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}}})
	// One works for both, and is theirs as far as theirs.
	both := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN}, {Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}, {Type: gateway.Citizen}}})
	for _, who := range []*gatewaytest.Subscriber{own, both} {
		s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)
	}
	for _, who := range []*gatewaytest.Subscriber{other, both} {
		s.Do(t, "PUT", pathOf(string(gatewaytest.SecondVOEN), string(who.FIN), "bank"), s.AdminKey, nil)
		s.Do(t, "PUT", "/v1/admin/certificates/"+who.Certificates[len(who.Certificates)-1].Serial+"/state", s.AdminKey, state("suspended"))
		s.Do(t, "PUT", "/v1/admin/subscribers/"+string(who.MSISDN)+"/state", s.AdminKey, state("suspended"))
	}
	foreign := append([]string{string(gatewaytest.SecondVOEN), string(other.FIN), string(other.MSISDN), "Sınaq"}, other.Certificates[0].Serial)
	for _, c := range both.Certificates[1:] {
		foreign = append(foreign, c.Serial)
	}
	for _, path := range []string{
		"/whoami", "/organisations", "/organisations?q=1400000022", "/organisations/1400000011", "/organisations/1400000011/employees", "/organisations/1400000011/employees?q=7TST",
		"/organisations/1400000011/employees/" + string(both.FIN), "/blocks", "/blocks?limit=1", "/providers", "/audit", "/audit?provider=bank", "/audit/export",
		"/audit?fin=" + string(both.FIN), "/audit?action=set+certificate+state", "/organisations/1400000011/providers/bank/permissions",
	} {
		a := s.Do(t, "GET", "/v1/admin"+path, mine, nil)
		for _, text := range foreign {
			if a.Status != http.StatusOK || strings.Contains(string(a.Body), text) {
				t.Errorf("%s: %d, and %q is in %s", path, a.Status, text, a.Body)
			}
		}
	}
	for _, path := range []string{"/blocks?voen=", "/audit?voen=", "/audit/export?voen=", "/organisations/"} {
		for _, voen := range []string{"1400000022", "9999999999"} { // on record or not
			p := s.Do(t, "GET", "/v1/admin"+path+voen, mine, nil).Refused(t, http.StatusForbidden, "forbidden")
			if strings.Contains(p.Detail, voen) {
				t.Errorf("%+v", p)
			}
		}
	}
	for path, want := range map[string]string{
		"/organisations": `{"organisations":[]}`, "/blocks": `{"blocks":[]}`, "/audit": `{"entries":[]}`, "/audit/export": ``,
		"/whoami": `{"administrator":"nobody","role":"manager","organisations":[]}`,
	} {
		if a := s.Do(t, "GET", "/v1/admin"+path, none, nil); a.Status != http.StatusOK || strings.TrimSpace(string(a.Body)) != want {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	// What concerns his own he sees, whoever did it.
	var page cabinet.AuditPage
	if err := json.Unmarshal(s.Do(t, "GET", "/v1/admin/audit", mine, nil).Body, &page); err != nil || len(page.Entries) != 2 {
		t.Errorf("%v %+v", err, page)
	}
}
