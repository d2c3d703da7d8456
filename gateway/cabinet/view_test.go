package cabinet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
)

// viewPath is where all is said of the first organisation and a provider.
func viewPath(p string) string {
	return "/v1/admin/organisations/" + string(gatewaytest.FirstVOEN) + "/providers/" + p + "/permissions"
}

func viewBody(version int64, blocked ...policy.FIN) map[string]any {
	if blocked == nil {
		blocked = []policy.FIN{}
	}
	return map[string]any{"blocked": blocked, "version": version}
}

func view(t *testing.T, s *gatewaytest.Stack, p string) cabinet.View {
	t.Helper()
	return read[cabinet.View](t, s.Do(t, "GET", viewPath(p), s.AdminKey, nil))
}

// A manager marks who may not sign for a provider. It holds for the very next
// request, and nobody and nothing else is concerned.
func TestByProvider(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		bank, shop := s.Provider(t, "bank", registry.NewProviderKey()), s.Provider(t, "shop", registry.NewProviderKey())
		mine := manager(t, s, "aysel", gatewaytest.FirstVOEN)
		people := make([]*gatewaytest.Subscriber, 4)
		for i := range people {
			people[i] = s.Enrol(t, gatewaytest.Person{})
		}
		abroad := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}}})
		// One is blocked for all, and another for the other provider.
		s.Do(t, "PUT", strings.TrimSuffix(blockPath(people[3], ""), "/"), mine, nil)
		s.Do(t, "PUT", blockPath(people[2], "shop"), mine, nil)
		got := view(t, s, "bank")
		if fmt.Sprint(got) != fmt.Sprintf("{1400000011 bank %d [%s]}", got.Version, people[3].FIN) {
			t.Errorf("at first: %+v", got)
		}
		before := len(everyEntry(t, s))
		for _, blocked := range [][]int{{0, 1}, {1, 3}, {0, 1, 2, 3}, {}, {2}, {3}} {
			var fins []policy.FIN
			for _, i := range blocked {
				fins = append(fins, people[i].FIN)
			}
			slices.Reverse(fins) // in any order
			was := got
			got = read[cabinet.View](t, s.Do(t, "PUT", viewPath("bank"), mine, viewBody(was.Version, fins...)))
			slices.Sort(fins)
			if got.Version <= was.Version || fmt.Sprint(got.Blocked) != fmt.Sprint(fins) || got.Blocked == nil {
				t.Errorf("%v: %+v", blocked, got)
			}
			for i, who := range people {
				signs(t, s, bank, who.Request(), !slices.Contains(blocked, i))
				signs(t, s, shop, who.Request(), i < 2)
			}
			signs(t, s, bank, abroad.Request(), true)
		}
		// An entry for each who changed, with the whole set before and after.
		log := everyEntry(t, s)[before:]
		if len(log) != 3+2+2+4+1+2 {
			t.Errorf("%d entries", len(log))
		}
		for _, e := range log {
			if e.Actor != "aysel" || e.Role != "manager" || e.Source != "127.0.0.1" || e.Action != "block" && e.Action != "unblock" || e.VOEN != gatewaytest.FirstVOEN || e.Provider != "bank" ||
				e.Subject != "1400000011/"+string(e.FIN)+" bank" || e.Previous == e.Hash || string(e.Before) == string(e.After) || !json.Valid(e.Before) || !json.Valid(e.After) {
				t.Errorf("%+v", e)
			}
		}
	})
}

// Two managers have one provider on the screen.
func TestTwoManagersByProvider(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		bank := s.Provider(t, "bank", registry.NewProviderKey())
		s.Provider(t, "shop", registry.NewProviderKey())
		one, two := manager(t, s, "aysel", gatewaytest.FirstVOEN), manager(t, s, "babek", gatewaytest.FirstVOEN)
		a, b, c := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		seen := view(t, s, "bank").Version
		first, second := viewBody(seen, a.FIN, b.FIN), viewBody(seen, b.FIN, c.FIN)
		s.Do(t, "PUT", viewPath("bank"), one, first)
		got := conflicting(t, s.Do(t, "PUT", viewPath("bank"), two, second))
		want := []cabinet.Difference{{FIN: a.FIN, Yours: "allow", Now: "block"}, {FIN: c.FIN, Yours: "block", Now: "allow"}}
		if fmt.Sprint(got.Difference) != fmt.Sprint(want) || fmt.Sprint(got.Current.Blocked) != fmt.Sprint([]policy.FIN{a.FIN, b.FIN}) {
			t.Errorf("the conflict: %+v", got)
		}
		signs(t, s, bank, c.Request(), true)
		// Repeated after a lost answer.
		if again := read[cabinet.View](t, s.Do(t, "PUT", viewPath("bank"), one, first)); again.Version != got.Current.Version {
			t.Errorf("again: %+v", again)
		}
		second["version"] = got.Current.Version
		s.Do(t, "PUT", viewPath("bank"), two, second)
		signs(t, s, bank, a.Request(), true)
		signs(t, s, bank, c.Request(), false)

		// What others say by employee is a conflict, too, if it is about this provider.
		seen = view(t, s, "bank").Version
		s.Do(t, "PUT", blockPath(a, "shop"), one, nil)
		s.Do(t, "PUT", viewPath("bank"), two, viewBody(seen, b.FIN))
		seen = view(t, s, "bank").Version
		s.Do(t, "PUT", strings.TrimSuffix(blockPath(a, ""), "/"), one, nil)
		got = conflicting(t, s.Do(t, "PUT", viewPath("bank"), two, viewBody(seen, c.FIN)))
		if len(got.Difference) != 3 {
			t.Errorf("the conflict: %+v", got)
		}
	})
}

// All of it or nothing: the record fails at the third of five.
func TestViewIsAllOrNothing(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	bank := s.Provider(t, "bank", registry.NewProviderKey())
	var fins []policy.FIN
	var people []*gatewaytest.Subscriber
	for range 5 {
		who := s.Enrol(t, gatewaytest.Person{})
		people, fins = append(people, who), append(fins, who.FIN)
	}
	for _, trigger := range []string{
		`AFTER INSERT ON permission_exceptions WHEN NEW.fin = '` + string(fins[2]) + `'`,
		`AFTER INSERT ON audit WHEN NEW.fin = '` + string(fins[2]) + `'`,
		`AFTER INSERT ON permission_views WHEN NEW.provider = 'bank'`,
	} {
		if _, err := s.DB.ExecContext(t.Context(), `CREATE TRIGGER fails `+trigger+` BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		s.Do(t, "PUT", viewPath("bank"), s.AdminKey, viewBody(0, fins...)).Refused(t, http.StatusInternalServerError, "internal")
		if _, err := s.DB.ExecContext(t.Context(), `DROP TRIGGER fails`); err != nil {
			t.Fatal(err)
		}
		if v, log := view(t, s, "bank"), everyEntry(t, s); v.Version != 0 || len(v.Blocked) != 0 || log != nil {
			t.Errorf("%s: %+v %+v", trigger, v, log)
		}
		for _, who := range people {
			signs(t, s, bank, who.Request(), true)
		}
	}
	if v := read[cabinet.View](t, s.Do(t, "PUT", viewPath("bank"), s.AdminKey, viewBody(0, fins...))); len(v.Blocked) != 5 {
		t.Errorf("%+v", v)
	}
}

func TestViewOfTenThousand(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Provider(t, "bank", registry.NewProviderKey())
	fins := crowd(t, s, manyRows)
	before := len(everyEntry(t, s))
	for i, blocked := range [][]policy.FIN{fins, fins[1:], nil} {
		body := viewBody(view(t, s, "bank").Version, blocked...)
		began := time.Now()
		a := s.Do(t, "PUT", viewPath("bank"), s.AdminKey, body)
		took := time.Since(began)
		if v := read[cabinet.View](t, a); len(v.Blocked) != len(blocked) {
			t.Errorf("%d are blocked", len(v.Blocked))
		}
		t.Logf("%d blocked in %v", len(blocked), took)
		if i == 1 {
			s.Do(t, "PUT", viewPath("bank"), s.AdminKey, body) // repeated
		}
	}
	if n := len(everyEntry(t, s)) - before; n != 2*manyRows {
		t.Errorf("%d entries", n)
	}
}

// Either form holds for a signature that is under way.
func TestFormsStopASignatureUnderWay(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		bank := s.Provider(t, "bank", registry.NewProviderKey())
		for name, block := range map[string]func(who *gatewaytest.Subscriber){
			"by employee": func(who *gatewaytest.Subscriber) {
				permissions(t, s.Do(t, "PUT", permissionsPath(who), s.AdminKey, set(0, "allow", "bank")))
			},
			"by provider": func(who *gatewaytest.Subscriber) {
				v := view(t, s, "bank")
				read[cabinet.View](t, s.Do(t, "PUT", viewPath("bank"), s.AdminKey, viewBody(v.Version, append(v.Blocked, who.FIN)...)))
			},
		} {
			hold := gatewaytest.NewHold()
			who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
			id := s.Ask(t, bank, who.Request()).ID
			hold.Prompted(t)
			block(who)
			hold.Open() // the person types PIN2 after the block
			if got := s.End(t, bank, id); got.Status != "blocked" || got.CMS != nil {
				t.Errorf("%s: ended as %s", name, got.Status)
			}
		}
	})
}
