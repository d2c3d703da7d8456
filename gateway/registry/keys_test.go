package registry_test

import (
	"database/sql"
	"errors"
	"regexp"
	"strings"
	"testing"

	"imza/gateway/registry"
)

func TestKeysSayWhatTheyOpen(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		for form, key := range map[string]string{`^imza-p-[a-z2-7]{26}$`: registry.NewProviderKey(), `^imza-a-[a-z2-7]{26}$`: registry.NewAdminKey()} {
			if !regexp.MustCompile(form).MatchString(key) || seen[key] {
				t.Errorf("%s is not of the form %s, or came before", key, form)
			}
			seen[key] = true
		}
	}
}

func TestKeysOpenWhatTheyAreFor(t *testing.T) {
	r := fresh(t)
	provider, admin, next := registry.NewProviderKey(), registry.NewAdminKey(), registry.NewProviderKey()
	if err := r.SetProvider(t.Context(), "demo", "Demo xidmət", provider); err != nil {
		t.Fatal(err)
	}
	if err := r.SetAdministrator(t.Context(), registry.Administrator{ID: "operator", Role: registry.Operator}, admin); err != nil {
		t.Fatal(err)
	}
	opens := func(key, wantProvider, wantAdmin string) {
		t.Helper()
		p, _, ok, err := r.ProviderByKey(t.Context(), key)
		if string(p) != wantProvider || ok != (wantProvider != "") || err != nil {
			t.Errorf("%s opens provider %q %t %v, want %q", key, p, ok, err, wantProvider)
		}
		a, ok, err := r.AdministratorByKey(t.Context(), key)
		if a.ID != wantAdmin || ok != (wantAdmin != "") || err != nil {
			t.Errorf("%s opens administrator %q %t %v, want %q", key, a.ID, ok, err, wantAdmin)
		}
	}
	opens(provider, "demo", "")
	opens(admin, "", "operator")
	for _, key := range []string{"", next, "imza-p-", strings.ToUpper(provider), provider + " ", provider[:len(provider)-1], strings.TrimPrefix(provider, "imza-p-"), "' OR 1=1 --"} {
		opens(key, "", "")
	}
	// A new key takes the old one's place.
	if err := r.SetProvider(t.Context(), "demo", "Demo", next); err != nil {
		t.Fatal(err)
	}
	opens(provider, "", "")
	opens(next, "demo", "")
	if name, err := r.ProviderName(t.Context(), "demo"); err != nil || name != "Demo" {
		t.Errorf("%q %v", name, err)
	}
	// One key is not two providers', nor two administrators'.
	if err := r.SetProvider(t.Context(), "other", "Other", next); err == nil {
		t.Error("two providers with one key")
	}
	if err := r.SetAdministrator(t.Context(), registry.Administrator{ID: "other", Role: registry.Operator}, admin); err == nil {
		t.Error("two administrators with one key")
	}
	opens(next, "demo", "")
	opens(admin, "", "operator")
	if _, err := r.ProviderName(t.Context(), "other"); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// A record that cannot be read opens nothing, and says so.
func TestClosedRecordOpensNothing(t *testing.T) {
	r := fresh(t)
	key := registry.NewProviderKey()
	if err := r.SetProvider(t.Context(), "demo", "Demo", key); err != nil {
		t.Fatal(err)
	}
	c := r.enrol(t, person(1))
	if err := errors.Join(r.db.Close(), r.Registry.Close()); err != nil {
		t.Fatal(err)
	}
	if p, _, ok, err := r.ProviderByKey(t.Context(), key); p != "" || ok || err == nil {
		t.Errorf("%s %t %v", p, ok, err)
	}
	if a, ok, err := r.AdministratorByKey(t.Context(), key); a.ID != "" || ok || err == nil {
		t.Errorf("%s %t %v", a.ID, ok, err)
	}
	// Nor does it say that somebody is unknown, or that a certificate is good.
	if _, err := r.Subscriber(t.Context(), aysel, userID); err == nil || errors.Is(err, registry.ErrUnknown) || strings.Contains(err.Error(), "User ID") {
		t.Errorf("%v", err)
	}
	if _, err := r.RevokedSerial(t.Context(), c.X509.SerialNumber); err == nil || errors.Is(err, sql.ErrNoRows) {
		t.Errorf("%v", err)
	}
	if _, err := r.Certificate(t.Context(), c.Serial); err == nil || errors.Is(err, registry.ErrUnknown) {
		t.Errorf("%v", err)
	}
	if _, err := r.ProviderName(t.Context(), "demo"); err == nil || errors.Is(err, registry.ErrUnknown) {
		t.Errorf("%v", err)
	}
}
