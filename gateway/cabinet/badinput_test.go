package cabinet_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// badValues are wrong in every field that is written in few signs.
var badValues = []any{nil, "", " ", "x y", "'; DROP TABLE providers; --", "' OR ''='", "<script>alert(1)</script>", "%00", "a\x00", "\u202e", "٣", strings.Repeat("1", 100_000),
	json.RawMessage("\"\xff\""), json.RawMessage(`"\ud800"`), json.RawMessage("1.5"), json.RawMessage("1e400"), json.RawMessage("9223372036854775808"), -1, true, []any{}, map[string]any{}}

// hurt is a good body with one member replaced; nil takes it away.
func hurt(t *testing.T, body map[string]any, name string, value any) string {
	t.Helper()
	changed := make(map[string]any)
	for n, v := range body {
		changed[n] = v
	}
	changed[name] = value
	if value == nil {
		delete(changed, name)
	}
	raw, err := json.Marshal(changed)
	if err == nil {
		return string(raw)
	}
	// What no JSON can be made of is put in by hand.
	changed[name] = "HERE"
	if raw, err = json.Marshal(changed); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(raw), `"HERE"`, string(value.(json.RawMessage)), 1)
}

func TestBadBodiesAreNamedAndNothingIsChanged(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	fin, foreign := string(who.FIN), "7TST999"
	administrator := map[string]any{"role": "manager", "organisations": []string{"1400000011"}}
	for path, body := range map[string]map[string]any{
		permissionsPath(who):                                              set(0, "allow", "bank"),
		viewPath("bank"):                                                  viewBody(0, who.FIN),
		"/v1/admin/providers/other":                                       {"name": "Ə"},
		"/v1/admin/providers/bank/state":                                  state("suspended"),
		"/v1/admin/subscribers/" + string(who.MSISDN) + "/state":          state("suspended"),
		"/v1/admin/certificates/" + who.Certificates[0].Serial + "/state": state("revoked"),
		"/v1/admin/administrators/aysel":                                  administrator,
	} {
		refuse := func(text, field string) {
			t.Helper()
			p := s.Do(t, "PUT", path, s.AdminKey, text).Refused(t, http.StatusBadRequest, "invalid_request")
			if p.Field != field && !strings.HasPrefix(p.Field, field+"[") && !strings.HasPrefix(p.Field, field+".") {
				t.Errorf("%s %.100q: the field is said to be %q (%s), not %q", path, text, p.Field, p.Detail, field)
			}
		}
		for name := range body {
			for _, value := range badValues {
				text, ofName := fmt.Sprint(value), name == "name"
				if list, ok := value.([]any); ok && len(list) == 0 && (name == "blocked" || name == "exceptions") {
					continue // which is good
				}
				if _, isText := value.(string); isText && ofName && text != "" && text != " " && !strings.Contains(text, "\x00") && len(text) < 1000 {
					continue // a name may be anything
				}
				if len(text) > 64<<10 && path != viewPath("bank") && path != permissionsPath(who) {
					s.Do(t, "PUT", path, s.AdminKey, hurt(t, body, name, value)).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
					continue
				}
				refuse(hurt(t, body, name, value), name)
			}
			good := hurt(t, body, "", nil)
			at := strings.Index(good, `"`+name+`":`)
			refuse(good[:at]+`"`+name+`":null,`+good[at:], name) // twice
		}
		good := hurt(t, body, "", nil)
		for _, text := range []string{"", " ", "{", good[:len(good)-1], good + "}", good + good, good + "x", "[" + good + "]", "[]", "5", `"a"`, "\x00", "\ufeff" + good,
			strings.Repeat("[", 1000), strings.Replace(good, ":", "=", 1), "state=active", "<a/>"} {
			refuse(text, "body")
		}
		refuse(strings.Replace(good, "{", `{"more":1,`, 1), "more")
		for name := range body {
			refuse(strings.Replace(good, `"`+name+`"`, `"`+strings.ToUpper(name)+`"`, 1), strings.ToUpper(name))
		}
		for name, reader := range map[string]io.Reader{"told": strings.NewReader(strings.Repeat(" ", 30<<20)), "not told": io.MultiReader(strings.NewReader(strings.Repeat(" ", 30<<20)))} {
			before := s.Uploaded.Load()
			s.Do(t, "PUT", path, s.AdminKey, reader).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
			if read := s.Uploaded.Load() - before; read > 5<<20 {
				t.Errorf("%s: %d MiB of 30 were read", name, read>>20)
			}
		}
	}

	for _, c := range []struct {
		path  string
		body  map[string]any
		field string
	}{
		{permissionsPath(who), set(0, "Allow"), "default"}, {permissionsPath(who), set(0, "deny"), "default"},
		{permissionsPath(who), set(0, "allow", "bank", "bank"), "exceptions[1]"}, {permissionsPath(who), set(0, "allow", "bank", "shop"), "exceptions[1]"},
		{permissionsPath(who), set(0, "allow", "Bank"), "exceptions[0]"}, {permissionsPath(who), set(0, "allow", "*"), "exceptions[0]"}, {permissionsPath(who), set(-1, "allow"), "version"},
		{viewPath("bank"), map[string]any{"version": 0, "blocked": []any{fin, fin}}, "blocked[1]"}, {viewPath("bank"), map[string]any{"version": 0, "blocked": []any{fin, foreign}}, "blocked[1]"},
		{viewPath("bank"), map[string]any{"version": 0, "blocked": []any{foreign, fin, "7TST998"}}, "blocked[0]"}, {viewPath("bank"), map[string]any{"version": 0, "blocked": []any{strings.ToLower(fin)}}, "blocked[0]"},
		{viewPath("bank"), map[string]any{"version": 0, "blocked": []any{fin, 5}}, "blocked[1]"}, {viewPath("bank"), map[string]any{"version": 0, "blocked": []any{fin, nil}}, "blocked[1]"},
		{viewPath("bank"), map[string]any{"version": 0, "blocked": []any{[]any{fin}}}, "blocked[0]"},
		{"/v1/admin/administrators/aysel", map[string]any{"role": "manager"}, "organisations"}, {"/v1/admin/administrators/aysel", map[string]any{"role": "operator", "organisations": []string{"1400000011"}}, "organisations"},
		{"/v1/admin/administrators/aysel", map[string]any{"role": "manager", "organisations": []string{"1400000011", "9999999999"}}, "organisations[1]"},
		{"/v1/admin/administrators/aysel", map[string]any{"role": "manager", "organisations": []string{"1400000011", "1400000011"}}, "organisations[1]"},
		{"/v1/admin/administrators/aysel", map[string]any{"role": "Operator"}, "role"}, {"/v1/admin/administrators/aysel", map[string]any{"role": ""}, "role"},
		{"/v1/admin/providers/bank/state", state("revoked"), "state"}, {"/v1/admin/subscribers/" + string(who.MSISDN) + "/state", state("expired"), "state"},
		{"/v1/admin/providers/other", map[string]any{"name": "two\nlines"}, "name"}, {"/v1/admin/providers/other", map[string]any{"name": "\x1b[2J"}, "name"}, {"/v1/admin/providers/other", map[string]any{"name": strings.Repeat("Ə", 201)}, "name"},
	} {
		if p := s.Do(t, "PUT", c.path, s.AdminKey, c.body).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != c.field {
			t.Errorf("%s %v: field %q, not %q", c.path, c.body, p.Field, c.field)
		}
	}
	// One more than the most; the last one is what is wrong with it.
	many := make([]string, 100_001)
	for i := range many {
		many[i] = fmt.Sprintf("A%06d", i)
	}
	if p := s.Do(t, "PUT", viewPath("bank"), s.AdminKey, map[string]any{"version": 0, "blocked": many}).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != "blocked" {
		t.Errorf("%+v", p)
	}
	if p := s.Do(t, "PUT", viewPath("bank"), s.AdminKey, map[string]any{"version": 0, "blocked": many[:100_000]}).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != "blocked[0]" {
		t.Errorf("%+v", p)
	}
	if log := everyEntry(t, s); log != nil {
		t.Errorf("something was changed: %+v", log)
	}
}

func TestBadAddressesAreNamed(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	lists := map[string][]string{ // and what may be asked of them
		"/organisations": {"q", "after", "limit"}, "/blocks": {"voen", "after", "limit"}, "/providers": {"after", "limit"},
		"/organisations/1400000011/employees": {"q", "name", "fin", "number", "state", "expiresBefore", "expiresAfter", "after", "limit"},
		"/audit":                              {"voen", "fin", "provider", "actor", "action", "from", "until", "after", "limit"},
		"/audit/export":                       {"voen", "fin", "provider", "actor", "action", "from", "until"},
		"/whoami":                             nil, "/organisations/1400000011": nil, "/administrators": nil, "/audit/verify": nil, "/subscribers/" + string(who.MSISDN): nil,
		"/certificates/" + who.Certificates[0].Serial: nil, "/organisations/1400000011/employees/" + string(who.FIN) + "/permissions": nil,
		"/organisations/1400000011/providers/bank/permissions": nil,
	}
	good := map[string]string{"voen": "1400000011", "fin": string(who.FIN), "provider": "bank", "actor": "aysel", "action": "block", "q": "a", "name": "a", "number": "994", "state": "active",
		"expiresBefore": "2027-01-01", "expiresAfter": "2027-01-01", "from": "2027-01-01", "until": "2027-01-01", "limit": "1"}
	refuse := func(path, query, field string) {
		t.Helper()
		if p := s.Do(t, "GET", "/v1/admin"+path+"?"+query, s.AdminKey, nil).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != field {
			t.Errorf("%s?%.100s: field %q (%s), not %q", path, query, p.Field, p.Detail, field)
		}
	}
	for path, names := range lists {
		for _, name := range []string{"voem", "Voen", "VOEN", "page", "offset", "q%20", "limit%5B%5D", "voen;", "%3Cscript%3E"} {
			decoded := strings.NewReplacer("%20", " ", "%5B", "[", "%5D", "]", "%3C", "<", "%3E", ">").Replace(name)
			if name == "voen;" {
				decoded = "query"
			}
			refuse(path, name+"=1400000011", decoded)
		}
		refuse(path, "=1", "query")
		refuse(path, "a=%zz", "query")
		for _, name := range names {
			free := name == "q" || name == "name" || name == "action"
			for _, bad := range []string{"", "%20", "x%20y", "%27%20OR%201=1--", "%3Cscript%3E", "-1", "1.5", "%D9%A3", "%E2%80%AE", "%00", "a%00b", "%FF", "%C0%AF", strings.Repeat("1", 3000)} {
				text := strings.Contains(bad, "%00") || bad == "%FF" || bad == "%C0%AF"
				if name == "actor" && bad == "1.5" {
					continue // somebody may be called so
				}
				if !free || text || len(bad) > 1000 {
					refuse(path, name+"="+bad, name)
				}
			}
			if value, ok := good[name]; ok {
				refuse(path, name+"="+value+"&"+name+"="+value, name)
			}
		}
	}
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=1001": "limit", "limit=+5": "limit", "limit=1e2": "limit", "limit=0x10": "limit", "limit=99999999999999999999": "limit",
		"after=1400000011": "after", "after=1400000011/": "after", "after=1400000011/7TSTI01": "after", "after=1400000011/7TST001/x": "after", "after=1400000011%2F7tst001": "after",
	} {
		refuse("/blocks", query, field)
	}
	for _, moment := range []string{"2026", "2026-13-01", "2026-02-30", "2026-03-01T25:00:00Z", "2026-03-01T09:30:00", "2026-03-01T09:30:00+04:00", "2026-03-01 09:30:00Z", "1700000000", "yesterday"} {
		refuse("/audit", "from="+strings.ReplaceAll(moment, " ", "%20"), "from")
	}

	// What a path names is looked at before anything else of it is.
	for path, field := range map[string]string{
		"/organisations/140000001": "voen", "/organisations/1400000011%20": "voen", "/organisations/%00": "voen", "/organisations/x/employees": "voen",
		"/organisations/1400000011/employees/7tst001": "fin", "/organisations/1400000011/employees/7TSTI01": "fin", "/organisations/1400000011/employees/7TST001%00/permissions": "fin",
		"/organisations/1400000011/providers/Bank/permissions": "provider", "/organisations/1400000011/providers/%2A/permissions": "provider",
		"/subscribers/994500000001": "msisdn", "/subscribers/%2B99450": "msisdn", "/subscribers/x": "msisdn", "/certificates/XYZ": "serial", "/certificates/" + strings.Repeat("a", 41): "serial", "/certificates/-1": "serial",
	} {
		if p := s.Do(t, "GET", "/v1/admin"+path, s.AdminKey, nil).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != field {
			t.Errorf("%s: field %q, not %q", path, p.Field, field)
		}
	}
	for _, id := range []string{"Aysel", "-a", "a%20b", "a%00", "%C9%99", strings.Repeat("a", 65), "a'b", "%3Cb%3E"} {
		for _, method := range []string{"PUT", "DELETE"} {
			if p := s.Do(t, method, "/v1/admin/administrators/"+id, s.AdminKey, map[string]any{"role": "operator"}).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != "administrator" {
				t.Errorf("%s: field %q", id, p.Field)
			}
		}
	}
	for _, path := range []string{"/organisations/9999999999", "/organisations/9999999999/employees", "/organisations/9999999999/providers/bank/permissions", "/organisations/1400000011/employees/7TST999",
		"/organisations/1400000011/employees/7TST999/permissions", "/organisations/1400000022/employees/" + string(who.FIN), "/organisations/1400000011/providers/shop/permissions",
		"/subscribers/%2B994509999999", "/certificates/abc"} {
		s.Do(t, "GET", "/v1/admin"+path, s.AdminKey, nil).Refused(t, http.StatusNotFound, "not_found")
	}
	for _, c := range [][2]string{{"PUT", "/providers/shop/state"}, {"PUT", "/subscribers/+994509999999/state"}, {"PUT", "/certificates/abc/state"}, {"POST", "/providers/shop/key"}, {"POST", "/administrators/nobody/key"}} {
		s.Do(t, c[0], "/v1/admin"+c[1], s.AdminKey, state("suspended")).Refused(t, http.StatusNotFound, "not_found")
	}
	if log := everyEntry(t, s); log != nil {
		t.Errorf("something was changed: %+v", log)
	}
}
