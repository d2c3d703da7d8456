package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"imza/gateway/registry"
	"imza/policy"
)

// operator is who changes things in tests.
var operator = registry.Change{Actor: "root", Role: "operator", Source: "192.0.2.1"}

// logged is what the log says since it was asked last.
func (r *record) logged(t testing.TB, after *int64) string {
	t.Helper()
	var all []string
	if err := r.AuditEntries(t.Context(), registry.AuditFilter{After: *after}, func(e registry.AuditEntry) error {
		*after = e.Sequence
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s: %s (%s%s%s) %s -> %s", e.Actor, e.Role, e.Action, e.Subject, e.VOEN, e.FIN, e.Provider, e.Before, e.After)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func TestAdministrators(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		var seen int64
		said := func(want string) {
			t.Helper()
			if got := r.logged(t, &seen); got != want {
				t.Errorf("logged\n%s\nwant\n%s", got, want)
			}
		}
		for _, o := range []policy.VOEN{xezer, nicat} {
			if err := r.AddOrganisation(t.Context(), o, "Xəzər"); err != nil {
				t.Fatal(err)
			}
		}
		root := registry.Administrator{ID: "root", Role: registry.Operator, Organisations: []policy.VOEN{}}
		if err := r.SetAdministrator(t.Context(), root, "rootkey"); err != nil {
			t.Fatal(err)
		}
		said("")
		leyla := registry.Administrator{ID: "leyla", Role: registry.Manager, Organisations: []policy.VOEN{nicat, xezer, nicat}}
		key, err := r.PutAdministrator(t.Context(), leyla, operator)
		if err != nil || !strings.HasPrefix(key, "imza-a-") {
			t.Fatalf("%q %v", key, err)
		}
		said(`root operator create administrator: leyla () null -> {"administrator":"leyla","role":"manager","organisations":["1400000011","1400000022"]}`)
		leyla.Organisations = []policy.VOEN{xezer, nicat}
		if got, ok, err := r.AdministratorByKey(t.Context(), key); err != nil || !ok || got.ID != "leyla" || got.Role != registry.Manager || !slices.Equal(got.Organisations, leyla.Organisations) {
			t.Errorf("%+v %t %v", got, ok, err)
		}
		for _, c := range []struct {
			who  registry.Administrator
			voen policy.VOEN
			may  bool
		}{{leyla, xezer, true}, {leyla, "1400000033", false}, {leyla, "", false}, {root, "1400000033", true}, {registry.Administrator{Role: "other", Organisations: leyla.Organisations}, xezer, false}} {
			if got := c.who.May(c.voen); got != c.may {
				t.Errorf("%+v may %s: %t", c.who, c.voen, got)
			}
		}
		// The same again changes nothing; less does.
		if key, err := r.PutAdministrator(t.Context(), leyla, operator); key != "" || err != nil {
			t.Errorf("%q %v", key, err)
		}
		said("")
		leyla.Organisations = []policy.VOEN{nicat}
		if key, err := r.PutAdministrator(t.Context(), leyla, operator); key != "" || err != nil {
			t.Errorf("%q %v", key, err)
		}
		said(`root operator change administrator: leyla () {"administrator":"leyla","role":"manager","organisations":["1400000011","1400000022"]} -> {"administrator":"leyla","role":"manager","organisations":["1400000022"]}`)
		before := r.dump(t)
		for name, c := range map[string]struct {
			who  registry.Administrator
			want error
		}{
			"new, no such organisation": {registry.Administrator{ID: "new", Role: registry.Manager, Organisations: []policy.VOEN{xezer, "1400000099"}}, registry.ErrUnknown},
			"no such organisation":      {registry.Administrator{ID: "leyla", Role: registry.Manager, Organisations: []policy.VOEN{xezer, "1400000099"}}, registry.ErrUnknown},
			"no such role":              {registry.Administrator{ID: "new", Role: "Operator"}, registry.ErrRole},
			"no role":                   {registry.Administrator{ID: "leyla"}, registry.ErrRole},
			"the last operator":         {registry.Administrator{ID: "root", Role: registry.Manager}, registry.ErrLastOperator},
		} {
			if _, err := r.PutAdministrator(t.Context(), c.who, operator); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.RemoveAdministrator(t.Context(), "root", operator); !errors.Is(err, registry.ErrLastOperator) {
			t.Errorf("%v", err)
		}
		for _, err := range []error{r.RemoveAdministrator(t.Context(), "nobody", operator), second(r.RenewAdministratorKey(t.Context(), "nobody", operator)), second(r.RenewProviderKey(t.Context(), "nobody", operator))} {
			if !errors.Is(err, registry.ErrUnknown) {
				t.Errorf("%v", err)
			}
		}
		if after := r.dump(t); after != before {
			t.Errorf("left\n%s", after)
		}
		next, err := r.RenewAdministratorKey(t.Context(), "leyla", operator)
		if err != nil || next == key {
			t.Errorf("%q %v", next, err)
		}
		for key, want := range map[string]bool{key: false, next: true} {
			if _, ok, err := r.AdministratorByKey(t.Context(), key); ok != want || err != nil {
				t.Errorf("%t %v", ok, err)
			}
		}
		if err := r.RemoveAdministrator(t.Context(), "leyla", operator); err != nil {
			t.Error(err)
		}
		said("root operator renew administrator key: leyla () null -> null\n" +
			`root operator remove administrator: leyla () {"administrator":"leyla","role":"manager","organisations":["1400000022"]} -> null`)
		if _, ok, err := r.AdministratorByKey(t.Context(), next); ok || err != nil {
			t.Errorf("%t %v", ok, err)
		}
		if all, err := r.Administrators(t.Context()); err != nil || len(all) != 1 || all[0].ID != "root" {
			t.Errorf("%+v %v", all, err)
		}
	})
}

func second(_ string, err error) error { return err }

// However many operators remove one another at once, one is left.
func TestOneOperatorIsAlwaysLeft(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const n = 6
		for i := range n {
			if err := r.SetAdministrator(t.Context(), registry.Administrator{ID: fmt.Sprint(i), Role: registry.Operator}, fmt.Sprint("key", i)); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				id := fmt.Sprint(i)
				if i%2 == 0 {
					if err := r.RemoveAdministrator(t.Context(), id, operator); err != nil && !errors.Is(err, registry.ErrLastOperator) {
						t.Error(err)
					}
				} else if _, err := r.PutAdministrator(t.Context(), registry.Administrator{ID: id, Role: registry.Manager}, operator); err != nil && !errors.Is(err, registry.ErrLastOperator) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		list, err := r.Administrators(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		operators := slices.DeleteFunc(list, func(a registry.Administrator) bool { return a.Role != registry.Operator })
		if len(operators) != 1 {
			t.Errorf("%+v", operators)
		}
	})
}

func TestProviders(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		var seen int64
		key, err := r.PutProvider(t.Context(), "bank", "Bank", operator)
		if err != nil || !strings.HasPrefix(key, "imza-p-") {
			t.Fatalf("%q %v", key, err)
		}
		for _, name := range []string{"Bank", "Xəzər Bank", "Xəzər Bank"} {
			if key, err := r.PutProvider(t.Context(), "bank", name, operator); key != "" || err != nil {
				t.Errorf("%q %v", key, err)
			}
		}
		is := func(key string, want registry.State, there bool) {
			t.Helper()
			p, s, ok, err := r.ProviderByKey(t.Context(), key)
			if ok != there || err != nil || there && (p != "bank" || s != want) {
				t.Errorf("%s %s %t %v", p, s, ok, err)
			}
		}
		is(key, registry.Active, true)
		for _, s := range []registry.State{registry.Suspended, registry.Suspended, registry.Active, registry.Suspended} {
			if err := r.SetProviderState(t.Context(), "bank", s, operator); err != nil {
				t.Error(err)
			}
			is(key, s, true)
		}
		next, err := r.RenewProviderKey(t.Context(), "bank", operator)
		if err != nil {
			t.Fatal(err)
		}
		is(key, "", false)
		is(next, registry.Suspended, true)
		want := strings.Join([]string{
			`root operator create provider: bank (bank) null -> {"name":"Bank"}`,
			`root operator rename provider: bank (bank) {"name":"Bank"} -> {"name":"Xəzər Bank"}`,
			`root operator set provider state: bank (bank) {"state":"active"} -> {"state":"suspended"}`,
			`root operator set provider state: bank (bank) {"state":"suspended"} -> {"state":"active"}`,
			`root operator set provider state: bank (bank) {"state":"active"} -> {"state":"suspended"}`,
			`root operator renew provider key: bank (bank) null -> null`,
		}, "\n")
		if got := r.logged(t, &seen); got != want {
			t.Errorf("logged\n%s\nwant\n%s", got, want)
		}
		for name, err := range map[string]error{
			"revoked":  r.SetProviderState(t.Context(), "bank", registry.Revoked, operator),
			"no state": r.SetProviderState(t.Context(), "bank", "", operator),
		} {
			if !errors.Is(err, registry.ErrState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.SetProviderState(t.Context(), "shop", registry.Active, operator); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
		for _, p := range []policy.Provider{"shop", "a-1", "zoo"} {
			if err := r.SetProvider(t.Context(), p, `<b>"'; --`, string(p)); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for after := policy.Provider(""); ; {
			page, err := r.Providers(t.Context(), after, 3)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, p := range page {
				got = append(got, fmt.Sprintf("%s %s %s", p.ID, p.Name, p.State))
				after = p.ID
			}
		}
		if want := `a-1 <b>"'; -- active, bank Xəzər Bank suspended, shop <b>"'; -- active, zoo <b>"'; -- active`; strings.Join(got, ", ") != want {
			t.Errorf("%q", got)
		}
		for _, secret := range []string{key, next} {
			if strings.Contains(r.dump(t), strings.TrimPrefix(secret, "imza-p-")) {
				t.Error("a key is on record")
			}
		}
	})
}
