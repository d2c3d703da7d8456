package cabinet_test

import (
	"fmt"
	"net/http"
	"testing"

	"imza/gateway"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// S1 as providers see it, again and again: the request right after the PUT has
// returned is refused, and the one right after the DELETE is admitted.
func TestBlockIsInForceWhenItsPUTReturns(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		shop := s.Provider(t, "shop", registry.NewProviderKey())
		who, colleague := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		for round := range 10 {
			s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)
			s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
			if n := s.Submitted(who.MSISDN); n != 2*round {
				t.Fatalf("round %d: %d messages went to the telephone", round, n)
			}
			// Another provider, and another employee, are not concerned.
			s.End(t, shop, s.Ask(t, shop, who.Request()).ID)
			if round == 0 {
				s.End(t, key, s.Ask(t, key, colleague.Request()).ID)
			}
			s.Do(t, "DELETE", blockPath(who, "bank"), s.AdminKey, nil)
			if got := s.End(t, key, s.Ask(t, key, who.Request()).ID); got.Status != "signed" {
				t.Fatalf("let sign again, it ended as %s", got.Status)
			}
		}
	})
}

// A manager has a say in the organisation's certificates alone.
func TestBlockLeavesOtherCertificatesAlone(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{
			{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN}, {Type: gateway.Government, VOEN: gatewaytest.FirstVOEN},
			{Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}, {Type: gateway.Citizen},
		}})
		s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)
		for _, c := range []struct {
			certificate map[string]any
			blocked     bool
		}{
			{map[string]any{"type": "business", "voen": string(gatewaytest.FirstVOEN)}, true},
			{map[string]any{"type": "government"}, true}, // the same employer
			{map[string]any{"type": "business", "voen": string(gatewaytest.SecondVOEN)}, false},
			{map[string]any{"type": "citizen"}, false},
		} {
			request := who.Request()
			request["certificate"] = c.certificate
			if c.blocked {
				s.Do(t, "POST", signatures, key, request).Refused(t, http.StatusForbidden, "blocked_by_organisation")
			} else if got := s.End(t, key, s.Ask(t, key, request).ID); got.Status != "signed" {
				t.Errorf("%v ended as %s", c.certificate, got.Status)
			}
		}
	})
}

func TestBlockStopsASignatureUnderWay(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		shop := s.Provider(t, "shop", registry.NewProviderKey())
		for _, c := range []struct {
			key, method, path, want string
			before                  bool // blocked and let sign again before the answer
		}{
			{key: key, want: "blocked"},
			{key: shop, want: "signed"}, // the block is for the bank
			{key: key, want: "signed", before: true},
		} {
			hold := gatewaytest.NewHold()
			who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
			id := s.Ask(t, c.key, who.Request()).ID
			hold.Prompted(t)
			s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)
			if c.before {
				s.Do(t, "DELETE", blockPath(who, "bank"), s.AdminKey, nil)
			}
			hold.Open() // the person types PIN2 after the block
			got := s.End(t, c.key, id)
			if got.Status != c.want {
				t.Errorf("%+v: ended as %s", c, got.Status)
			}
			if got.Status != "signed" && (got.CMS != nil || got.Certificate != nil) {
				t.Errorf("%s, and there is a signature in the answer", got.Status)
			}
		}
	})
}

func TestChangesAreAudited(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		s.Provider(t, "bank", registry.NewProviderKey())
		s.Provider(t, "shop", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		version := func(method, provider string) int64 {
			t.Helper()
			return permissions(t, s.Do(t, method, pathOf(string(gatewaytest.FirstVOEN), string(who.FIN), provider), s.AdminKey, nil)).Version
		}
		// Every other one changes nothing, and leaves no trace.
		versions := []int64{
			version("DELETE", "bank"), version("PUT", "bank"), version("PUT", "bank"), version("PUT", "shop"), version("PUT", "shop"),
			version("DELETE", "bank"), version("DELETE", "bank"),
		}
		if got, want := fmt.Sprint(versions), "[0 1 1 2 2 3 3]"; got != want {
			t.Errorf("versions %s, want %s", got, want)
		}
		subject := string(gatewaytest.FirstVOEN) + "/" + string(who.FIN) + " "
		want := []audited{
			{gatewaytest.Administrator, "block", subject + "bank", `[]`, `["bank"]`},
			{gatewaytest.Administrator, "block", subject + "shop", `["bank"]`, `["bank","shop"]`},
			{gatewaytest.Administrator, "unblock", subject + "bank", `["bank","shop"]`, `["shop"]`},
		}
		if got := auditLog(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the log has %v, not %v", got, want)
		}
	})
}

// A change and its row in the log are one transaction: neither without the
// other.
func TestChangeAndAuditStandOrFallTogether(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	for _, table := range []string{"audit", "permission_exceptions"} {
		if _, err := s.DB.ExecContext(t.Context(), `CREATE TRIGGER fails AFTER INSERT ON `+table+` BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil).Refused(t, http.StatusInternalServerError, "internal")
		if _, err := s.DB.ExecContext(t.Context(), `DROP TRIGGER fails`); err != nil {
			t.Fatal(err)
		}
		if log := auditLog(t, s); log != nil {
			t.Errorf("the log tells of what was not done: %v", log)
		}
		// Nothing was saved, so nothing is in force, and nobody is shut out.
		if got := s.End(t, key, s.Ask(t, key, who.Request()).ID); got.Status != "signed" {
			t.Errorf("after a block that failed it ended as %s", got.Status)
		}
	}
	if got := permissions(t, s.Do(t, "PUT", blockPath(who, "bank"), s.AdminKey, nil)); got.Version != 1 || len(auditLog(t, s)) != 1 {
		t.Errorf("the first change that was made is number %d", got.Version)
	}
}

// With Redis away a block cannot be certain to be in force, and says so. When
// Redis is back, empty, every block on record holds.
func TestBlocksOutliveRedis(t *testing.T) {
	server := redistest.Start(t)
	s := gatewaytest.Start(t, server.Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	blocked, later := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
	s.Do(t, "PUT", blockPath(blocked, "bank"), s.AdminKey, nil)
	s.End(t, key, s.Ask(t, key, later.Request()).ID)

	server.Kill()
	s.Do(t, "PUT", blockPath(later, "bank"), s.AdminKey, nil).Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
	s.Do(t, "DELETE", blockPath(blocked, "bank"), s.AdminKey, nil).Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
	s.Do(t, "POST", signatures, key, later.Request()).Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
	if a := s.Do(t, "GET", "/v1/admin/blocks", s.AdminKey, nil); a.Status != http.StatusOK {
		t.Errorf("the list, which is in SQL, is answered %d", a.Status)
	}

	server.Restart()
	for a := (gatewaytest.Answer{}); a.Status != http.StatusOK; {
		a = s.Do(t, "PUT", blockPath(later, "bank"), s.AdminKey, nil)
	}
	for _, who := range []*gatewaytest.Subscriber{blocked, later} {
		s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
	}
	if n := s.Submitted(blocked.MSISDN); n != 0 {
		t.Errorf("%d messages went to who was blocked all the time", n)
	}
}
