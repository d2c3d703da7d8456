package cabinet_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
	"imza/policy/sqltest"
)

func state(s string) map[string]any { return map[string]any{"state": s} }

// Whoever is suspended is so when the PUT has returned: for the next request, for
// what is under way, and for who waits for it.
func TestStatesHoldAtOnce(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		put := func(path, to string) {
			t.Helper()
			if a := s.Do(t, "PUT", path+"/state", s.AdminKey, state(to)); a.Status != http.StatusOK {
				t.Fatalf("%s %s: %d %s", path, to, a.Status, a.Body)
			}
		}
		for name, pathOf := range map[string]func(who *gatewaytest.Subscriber) string{
			"subscriber": func(who *gatewaytest.Subscriber) string { return "/v1/admin/subscribers/" + string(who.MSISDN) },
			"certificate": func(who *gatewaytest.Subscriber) string {
				return "/v1/admin/certificates/" + who.Certificates[0].Serial
			},
		} {
			hold := gatewaytest.NewHold()
			who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
			path := pathOf(who)
			id := s.Ask(t, key, who.Request()).ID
			hold.Prompted(t)
			put(path, "suspended")
			hold.Open() // the person types PIN2 after that
			if got := s.End(t, key, id); got.Status != "signature_invalid" || got.CMS != nil {
				t.Errorf("%s: ended as %s", name, got.Status)
			}
			s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusConflict, "certificate_not_active")
			put(path, "suspended") // it is
			put(path, "active")
			signs(t, s, key, who.Request(), true)
		}

		who := s.Enrol(t, gatewaytest.Person{})
		path := "/v1/admin/certificates/" + who.Certificates[0].Serial
		put(path, "revoked")
		put(path, "revoked")
		s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusConflict, "certificate_not_active")
		for _, to := range []string{"active", "suspended"} {
			s.Do(t, "PUT", path+"/state", s.AdminKey, state(to)).Refused(t, http.StatusConflict, "certificate_revoked")
		}
		if got := read[registry.HeldCertificate](t, s.Do(t, "GET", path, s.AdminKey, nil)); got.State != "revoked" || got.FIN != who.FIN {
			t.Errorf("%+v", got)
		}
	})
}

// A suspended provider is not even told of what it has been waiting for.
func TestSuspendedProviderIsNotTold(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if a := s.Do(t, "GET", signatures+"/"+id+"?wait=20", key, nil); a.Status != http.StatusForbidden {
				t.Errorf("who waited is answered %d", a.Status)
			}
		})
		time.Sleep(100 * time.Millisecond) // it waits
		if got := read[registry.ProviderEntry](t, s.Do(t, "PUT", "/v1/admin/providers/bank/state", s.AdminKey, state("suspended"))); got.State != "suspended" {
			t.Errorf("%+v", got)
		}
		hold.Open()
		waiting.Wait()
		s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusForbidden, "provider_suspended")
		s.Do(t, "PUT", "/v1/admin/providers/bank/state", s.AdminKey, state("active"))
		if got := s.End(t, key, id); got.Status != "signed" {
			t.Errorf("ended as %s", got.Status)
		}
	})
}

// Keys are shown once, open something from then on, and are in no log.
func TestKeys(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	who := s.Enrol(t, gatewaytest.Person{})
	name := `<b>Şirkət "Ə"</b> 'x'; DROP TABLE providers; -- 北京 🖋`
	made := s.Do(t, "PUT", "/v1/admin/providers/bank", s.AdminKey, map[string]any{"name": name})
	provider := read[cabinet.Provider](t, made)
	if made.Status != http.StatusCreated || provider.Name != name || provider.Key == "" {
		t.Fatalf("%d %s", made.Status, made.Body)
	}
	signs(t, s, provider.Key, who.Request(), true)
	for range 2 {
		again := s.Do(t, "PUT", "/v1/admin/providers/bank", s.AdminKey, map[string]any{"name": name + "!"})
		if got := read[cabinet.Provider](t, again); again.Status != http.StatusOK || got.Key != "" || got.Name != name+"!" {
			t.Errorf("%d %s", again.Status, again.Body)
		}
	}
	renewed := read[cabinet.Key](t, s.Do(t, "POST", "/v1/admin/providers/bank/key", s.AdminKey, nil)).Key
	s.Do(t, "POST", signatures, provider.Key, who.Request()).Refused(t, http.StatusUnauthorized, "unauthorized")
	signs(t, s, renewed, who.Request(), true)

	role := map[string]any{"role": "manager", "organisations": []string{"1400000022", "1400000011"}}
	admin := read[cabinet.Administrator](t, s.Do(t, "PUT", "/v1/admin/administrators/aysel", s.AdminKey, role))
	if got := read[registry.Administrator](t, s.Do(t, "GET", "/v1/admin/whoami", admin.Key, nil)); got.ID != "aysel" || got.Role != "manager" || len(got.Organisations) != 2 {
		t.Errorf("%+v", got)
	}
	role["organisations"] = []string{"1400000022"}
	if got := read[cabinet.Administrator](t, s.Do(t, "PUT", "/v1/admin/administrators/aysel", s.AdminKey, role)); got.Key != "" {
		t.Errorf("a key of one on record: %+v", got)
	}
	s.Do(t, "GET", permissionsPath(who), admin.Key, nil).Refused(t, http.StatusForbidden, "forbidden") // at once
	second := read[cabinet.Key](t, s.Do(t, "POST", "/v1/admin/administrators/aysel/key", s.AdminKey, nil)).Key
	s.Do(t, "GET", "/v1/admin/whoami", admin.Key, nil).Refused(t, http.StatusUnauthorized, "unauthorized")
	s.Do(t, "GET", "/v1/admin/whoami", second, nil)
	if a := s.Do(t, "DELETE", "/v1/admin/administrators/aysel", s.AdminKey, nil); a.Status != http.StatusNoContent {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	s.Do(t, "GET", "/v1/admin/whoami", second, nil).Refused(t, http.StatusUnauthorized, "unauthorized")
	s.Do(t, "DELETE", "/v1/admin/administrators/aysel", s.AdminKey, nil).Refused(t, http.StatusNotFound, "not_found")
	s.Do(t, "POST", "/v1/admin/administrators/aysel/key", s.AdminKey, nil).Refused(t, http.StatusNotFound, "not_found")

	// The last operator stays.
	own := "/v1/admin/administrators/" + gatewaytest.Administrator
	s.Do(t, "DELETE", own, s.AdminKey, nil).Refused(t, http.StatusConflict, "last_operator")
	s.Do(t, "PUT", own, s.AdminKey, role).Refused(t, http.StatusConflict, "last_operator")
	s.Do(t, "PUT", "/v1/admin/administrators/babek", s.AdminKey, map[string]any{"role": "operator"})
	if a := s.Do(t, "DELETE", own, s.AdminKey, nil); a.Status != http.StatusNoContent {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, e := range everyEntry(t, s) {
		if found := s.Secrets([]byte(string(e.Before) + string(e.After) + e.Subject)); found != nil {
			t.Errorf("a key is in the audit log: %+v", e)
		}
	}
}

// A PostgreSQL that is away is no failure of the gateway's: it says to come again,
// changes nothing, and goes on when it is back.
func TestDatabaseAway(t *testing.T) {
	server := sqltest.Start(t)
	s := gatewaytest.StartOn(t, redistest.Start(t).Addr, server.URL)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	server.Kill()
	for _, c := range []struct {
		method, path, key string
		body              any
	}{
		{"GET", "/v1/admin/whoami", s.AdminKey, nil}, {"GET", "/v1/admin/providers", s.AdminKey, nil},
		{"PUT", blockPath(who, "bank"), s.AdminKey, nil}, {"POST", signatures, key, who.Request()},
	} {
		a := s.Do(t, c.method, c.path, c.key, c.body)
		if a.Refused(t, http.StatusServiceUnavailable, "unavailable"); a.Header.Get("Retry-After") == "" {
			t.Errorf("%s %s: it does not say when", c.method, c.path)
		}
	}
	server.Restart(t)
	for a, until := (gatewaytest.Answer{}), time.Now().Add(10*time.Second); a.Status != http.StatusOK; a = s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil) {
		if time.Now().After(until) {
			t.Fatalf("not yet back: %d %s", a.Status, a.Body)
		}
	}
	s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
}
