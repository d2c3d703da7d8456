package cabinet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
)

// permissionsPath is where all is said of an employee of the first organisation.
func permissionsPath(who *gatewaytest.Subscriber) string {
	return "/v1/admin/organisations/" + string(gatewaytest.FirstVOEN) + "/employees/" + string(who.FIN) + "/permissions"
}

// set is the body that a set is put with.
func set(version int64, decision string, exceptions ...string) map[string]any {
	if exceptions == nil {
		exceptions = []string{}
	}
	return map[string]any{"default": decision, "exceptions": exceptions, "version": version}
}

// conflict is a problem document of 409 version_conflict.
type conflict struct {
	Current struct {
		cabinet.Permissions
		Blocked []policy.FIN
	}
	Difference []cabinet.Difference
}

func conflicting(t *testing.T, a gatewaytest.Answer) (c conflict) {
	t.Helper()
	a.Refused(t, http.StatusConflict, "version_conflict")
	a.Status = http.StatusOK
	return read[conflict](t, a)
}

// signs holds that a request is admitted and signed, or refused at once.
func signs(t *testing.T, s *gatewaytest.Stack, key string, request any, want bool) {
	t.Helper()
	if !want {
		s.Do(t, "POST", signatures, key, request).Refused(t, http.StatusForbidden, "blocked_by_organisation")
		return
	}
	if got := s.End(t, key, s.Ask(t, key, request).ID); got.Status != "signed" {
		t.Errorf("ended as %s", got.Status)
	}
}

// A manager sits with an employee: one provider, several, all, all but one, none.
// Each holds for the very next request.
func TestByEmployee(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		keys := map[string]string{}
		for _, p := range []string{"bank", "shop", "post"} {
			keys[p] = s.Provider(t, policy.Provider(p), registry.NewProviderKey())
		}
		mine := manager(t, s, "aysel", gatewaytest.FirstVOEN)
		who := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{
			{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN}, {Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}, {Type: gateway.Citizen},
		}})
		colleague := s.Enrol(t, gatewaytest.Person{})
		got := permissions(t, s.Do(t, "GET", permissionsPath(who), mine, nil))
		if fmt.Sprint(got) != fmt.Sprint(cabinet.Permissions{VOEN: gatewaytest.FirstVOEN, FIN: who.FIN, Default: "allow"}) || got.Exceptions == nil {
			t.Errorf("of whom nothing was ever said: %+v", got)
		}
		for _, step := range []struct {
			decision   string
			exceptions []string
			allowed    string
		}{
			{"allow", []string{"bank"}, "shop post"},
			{"allow", []string{"shop", "post"}, "bank"},
			{"allow", []string{"post", "bank", "shop"}, ""},
			{"block", nil, ""},
			{"block", []string{"bank"}, "bank"},
			{"allow", nil, "bank shop post"},
		} {
			before := got.Version
			got = permissions(t, s.Do(t, "PUT", permissionsPath(who), mine, set(before, step.decision, step.exceptions...)))
			slices.Sort(step.exceptions)
			if got.Version != before+1 || got.Default != step.decision || fmt.Sprint(got.Exceptions) != fmt.Sprint(step.exceptions) {
				t.Errorf("%v: %+v", step, got)
			}
			for p, key := range keys {
				signs(t, s, key, who.Request(), strings.Contains(step.allowed, p))
			}
			// The person's other certificates and other people are not concerned.
			elsewhere := who.Request()
			elsewhere["certificate"] = map[string]any{"type": "business", "voen": string(gatewaytest.SecondVOEN)}
			signs(t, s, keys["bank"], elsewhere, true)
			elsewhere["certificate"] = map[string]any{"type": "citizen"}
			signs(t, s, keys["bank"], elsewhere, true)
			signs(t, s, keys["bank"], colleague.Request(), true)
		}
		if all := everyEntry(t, s); len(all) != 6 || all[0].Actor != "aysel" || all[0].Role != "manager" || all[0].Source != "127.0.0.1" || all[0].Action != "block" || all[0].Provider != "bank" || all[1].Action != "set permissions" ||
			all[0].Subject != "1400000011/"+string(who.FIN)+" bank" || all[0].FIN != who.FIN || time.Since(all[0].At) > time.Hour ||
			exceptionsIn(all[0].Before) != "[]" || exceptionsIn(all[0].After) != `["bank"]` {
			t.Errorf("the log: %+v", all)
		}
	})
}

// Who is blocked for all is blocked for a provider that comes later.
func TestLaterProvidersAreCovered(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		who, other := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		s.Do(t, "PUT", strings.TrimSuffix(blockPath(who, ""), "/"), s.AdminKey, nil)
		later := read[cabinet.Provider](t, s.Do(t, "PUT", "/v1/admin/providers/later", s.AdminKey, map[string]any{"name": "Sonrakı"})).Key
		signs(t, s, later, who.Request(), false)
		signs(t, s, later, other.Request(), true)
		if v := view(t, s, "later"); fmt.Sprint(v.Blocked) != fmt.Sprint([]policy.FIN{who.FIN}) {
			t.Errorf("by provider: %+v", v)
		}
	})
}

// A renewed certificate is of the same employee: the block holds.
func TestBlockOutlivesRenewal(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Certified: time.Now().Add(-time.Hour)})
		s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)
		renewed := s.Renew(t, who, gateway.Wanted{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN})
		signs(t, s, key, who.Request(), false)
		s.Do(t, "DELETE", blockPath(who, "bank"), s.AdminKey, nil)
		got := s.End(t, key, s.Ask(t, key, who.Request()).ID)
		if got.Status != "signed" || string(got.Certificate) != string(renewed.X509.Raw) {
			t.Errorf("ended as %s", got.Status)
		}
		employee := read[cabinet.EmployeeWithPermissions](t, s.Do(t, "GET", strings.TrimSuffix(permissionsPath(who), "/permissions"), s.AdminKey, nil))
		if len(employee.Certificates) != 2 || employee.Permissions.Version != 2 {
			t.Errorf("%+v", employee)
		}
	})
}

// Two managers have one employee on the screen. The second is told what is
// different, and may insist.
func TestTwoManagersByEmployee(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		shop := s.Provider(t, "shop", registry.NewProviderKey())
		one, two := manager(t, s, "aysel", gatewaytest.FirstVOEN), manager(t, s, "babek", gatewaytest.FirstVOEN)
		who := s.Enrol(t, gatewaytest.Person{})
		first, second := set(0, "allow", "bank"), set(0, "block", "shop")
		s.Do(t, "PUT", permissionsPath(who), one, first)
		got := conflicting(t, s.Do(t, "PUT", permissionsPath(who), two, second))
		want := []cabinet.Difference{{Provider: "*", Yours: "block", Now: "allow"}}
		if fmt.Sprint(got.Difference) != fmt.Sprint(want) || got.Current.Version != 1 || got.Current.Default != "allow" || fmt.Sprint(got.Current.Exceptions) != "[bank]" {
			t.Errorf("the conflict: %+v", got)
		}
		signs(t, s, key, who.Request(), false)
		signs(t, s, shop, who.Request(), true)

		// The first one's answer was lost, and it asks again: the same, whatever version.
		if again := permissions(t, s.Do(t, "PUT", permissionsPath(who), one, first)); again.Version != 1 {
			t.Errorf("again: %+v", again)
		}
		second["version"] = got.Current.Version
		s.Do(t, "PUT", permissionsPath(who), two, second)
		signs(t, s, key, who.Request(), false)
		signs(t, s, shop, who.Request(), true)
		got = conflicting(t, s.Do(t, "PUT", permissionsPath(who), one, set(1, "allow", "shop")))
		want = []cabinet.Difference{{Provider: "*", Yours: "allow", Now: "block"}, {Provider: "shop", Yours: "block", Now: "allow"}}
		if fmt.Sprint(got.Difference) != fmt.Sprint(want) {
			t.Errorf("the conflict: %+v", got)
		}
		for _, version := range []int64{0, 1, 2, 7} {
			if again := permissions(t, s.Do(t, "PUT", permissionsPath(who), two, set(version, "block", "shop"))); again.Version != 2 {
				t.Errorf("again with version %d: %+v", version, again)
			}
		}
		if log := auditLog(t, s); len(log) != 2 {
			t.Errorf("two changes, and the log has %v", log)
		}
	})
}

// Many at once, all from one version, each with something else: one wins, and all
// others are told of what it left.
func TestManyManagersAtOnce(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		const n, rounds = 8, 3
		s.Provider(t, "bank", registry.NewProviderKey())
		for i := range n * rounds {
			s.Provider(t, policy.Provider(fmt.Sprintf("p%d", i)), registry.NewProviderKey())
		}
		who, colleagues := s.Enrol(t, gatewaytest.Person{}), crowd(t, s, n*rounds)
		for round := range rounds {
			before := permissions(t, s.Do(t, "GET", permissionsPath(who), s.AdminKey, nil)).Version
			seen := view(t, s, "bank").Version
			var sets, views [n]int
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					sets[i] = s.Do(t, "PUT", permissionsPath(who), s.AdminKey, set(before, "allow", fmt.Sprintf("p%d", n*round+i))).Status
				})
				all.Go(func() {
					views[i] = s.Do(t, "PUT", viewPath("bank"), s.AdminKey, viewBody(seen, colleagues[n*round+i])).Status
				})
			}
			all.Wait()
			for _, statuses := range [][]int{sets[:], views[:]} {
				slices.Sort(statuses)
				if statuses[0] != 200 || statuses[1] != 409 || statuses[n-1] != 409 {
					t.Errorf("answered %v", statuses)
				}
			}
			if after := permissions(t, s.Do(t, "GET", permissionsPath(who), s.AdminKey, nil)); after.Version != before+1 || len(after.Exceptions) != 1 {
				t.Errorf("%d, then %+v", before, after)
			}
			if after := view(t, s, "bank"); after.Version != seen+1 || len(after.Blocked) != 1 {
				t.Errorf("%d, then %+v", seen, after)
			}
		}
	})
}

// The list of blocks is complete, page by page, and a manager's has his own.
func TestBlocksPageByPage(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	fins := crowd(t, s, 25)
	s.Do(t, "PUT", viewPath("bank"), s.AdminKey, viewBody(0, fins...))
	who := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}}})
	s.Do(t, "PUT", pathOf(string(gatewaytest.SecondVOEN), string(who.FIN), "bank"), s.AdminKey, nil)
	both, second, none := manager(t, s, "both", gatewaytest.FirstVOEN, gatewaytest.SecondVOEN), manager(t, s, "second", gatewaytest.SecondVOEN), manager(t, s, "none")
	for _, c := range []struct {
		key, query string
		want       int
	}{
		{s.AdminKey, "limit=1000", 26}, {s.AdminKey, "limit=7", 26}, {s.AdminKey, "limit=1", 26}, {s.AdminKey, "limit=25", 26}, {s.AdminKey, "limit=26", 26},
		{both, "limit=7", 26}, {both, "limit=25", 26}, {second, "limit=7", 1}, {none, "limit=7", 0},
		{s.AdminKey, "limit=7&voen=1400000011", 25}, {both, "limit=5&voen=1400000011", 25}, {s.AdminKey, "limit=7&voen=1400000022", 1}, {s.AdminKey, "limit=7&voen=9999999999", 0},
	} {
		var got []string
		for after := ""; ; {
			p := read[cabinet.BlockPage](t, s.Do(t, "GET", "/v1/admin/blocks?"+c.query+after, c.key, nil))
			for _, b := range p.Blocks {
				got = append(got, string(b.VOEN)+"/"+string(b.FIN))
			}
			if p.Next == "" {
				break
			}
			after = "&after=" + p.Next
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != c.want {
			t.Errorf("%s: %d of %d", c.query, len(got), c.want)
		}
	}
}

// A command may carry the version that it was made from, and then it is refused
// if that is no longer so; unless it asks for what is so already.
func TestCommandsWithAVersion(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	s.Provider(t, "shop", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	if set := permissions(t, s.Do(t, "PUT", blockPath(who, "bank")+"?version=0", s.AdminKey, nil)); set.Version != 1 {
		t.Errorf("%+v", set)
	}
	var conflict struct {
		Current    cabinet.Permissions
		Difference []cabinet.Difference
	}
	a := s.Do(t, "PUT", blockPath(who, "shop")+"?version=0", s.AdminKey, nil)
	a.Refused(t, http.StatusConflict, "version_conflict")
	if err := json.Unmarshal(a.Body, &conflict); err != nil || conflict.Current.Version != 1 || fmt.Sprint(conflict.Difference) != "[{shop  block allow}]" {
		t.Errorf("%s %v", a.Body, err)
	}
	s.Do(t, "DELETE", strings.TrimSuffix(blockPath(who, ""), "/")+"?version=0", s.AdminKey, nil).Refused(t, http.StatusConflict, "version_conflict")
	permissions(t, s.Do(t, "PUT", blockPath(who, "bank")+"?version=0", s.AdminKey, nil)) // repeated
	permissions(t, s.Do(t, "PUT", blockPath(who, "shop")+"?version=1", s.AdminKey, nil))
	for _, bad := range []string{"", "-1", "1.0", "x", "99999999999999999999"} {
		if p := s.Do(t, "PUT", blockPath(who, "bank")+"?version="+bad, s.AdminKey, nil).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != "version" {
			t.Errorf("version=%s: field %q", bad, p.Field)
		}
	}
}
