package api_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
)

func TestSuspendedProviderIsRefusedEverywhere(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		set := func(state registry.State) {
			t.Helper()
			if err := s.Registry.SetProviderState(t.Context(), "bank", state, registry.Change{Actor: "operator"}); err != nil {
				t.Fatal(err)
			}
		}
		set(registry.Suspended)
		s.Do(t, post, signatures, key, who.Request()).Refused(t, http.StatusForbidden, "provider_suspended")
		s.Do(t, "GET", signatures+"/"+id, key, nil).Refused(t, http.StatusForbidden, "provider_suspended")
		s.Do(t, "GET", signatures+"/"+id+"?wait=1", key, nil).Refused(t, http.StatusForbidden, "provider_suspended")
		s.Do(t, "DELETE", signatures+"/"+id, key, nil).Refused(t, http.StatusForbidden, "provider_suspended")
		s.Do(t, "GET", signatures+"/"+id, other, nil).Refused(t, http.StatusNotFound, "not_found")
		s.Do(t, "GET", signatures+"/"+id, registry.NewProviderKey(), nil).Refused(t, http.StatusUnauthorized, "unauthorized")
		if n := s.SubmittedAll(); n != 1 {
			t.Errorf("%d messages went to the operator; the one before is 1", n)
		}
		// What was under way goes on, and is there afterwards.
		hold.Open()
		set(registry.Active)
		if got := s.End(t, key, id); got.Status != "signed" {
			t.Errorf("ended as %s", got.Status)
		}
		s.End(t, key, s.Ask(t, key, who.Request()).ID)
	})
}

func TestSuspendedSubscriberSignsNothing(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think, Certificates: []gateway.Wanted{
			{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN}, {Type: gateway.Citizen},
		}})
		set := func(state registry.State) {
			t.Helper()
			if err := s.Registry.SetSubscriberState(t.Context(), who.MSISDN, state, registry.Change{Actor: "operator"}); err != nil {
				t.Fatal(err)
			}
		}
		// One that is under way is not released, whichever certificate it is of.
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		set(registry.Suspended)
		hold.Open()
		if got := s.End(t, key, id); got.Status != "signature_invalid" || got.CMS != nil {
			t.Errorf("ended as %s, with %d octets of CMS", got.Status, len(got.CMS))
		}
		for _, certificate := range []string{"business", "citizen"} {
			s.Do(t, post, signatures, key, with(who.Request(), "certificate", map[string]any{"type": certificate})).Refused(t, http.StatusConflict, "certificate_not_active")
		}
		// Who does not know the User ID does not learn of it.
		s.Do(t, post, signatures, key, with(who.Request(), "userId", "999999")).Refused(t, http.StatusNotFound, "not_a_subscriber")
		if n := s.Submitted(who.MSISDN); n != 1 {
			t.Errorf("%d messages went to the telephone; the one before is 1", n)
		}
		set(registry.Active)
		if got := s.End(t, key, s.Ask(t, key, who.Request()).ID); got.Status != "signed" {
			t.Errorf("back, it ended as %s", got.Status)
		}
	})
}

// What an organisation said of an employee holds for every certificate, also for
// one that came later.
func TestBlockOutlivesARenewedCertificate(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		shop := s.Provider(t, "shop", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Certified: time.Now().Add(-time.Hour)})
		first := who.Certificates[0]
		block := "/v1/admin/organisations/" + string(gatewaytest.FirstVOEN) + "/employees/" + string(who.FIN) + "/blocks/bank"
		s.Do(t, "PUT", block, s.AdminKey, nil)
		renewed := s.Renew(t, who, gateway.Wanted{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN})
		refused := func() {
			t.Helper()
			s.Do(t, post, signatures, key, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
		}
		refused()
		if err := s.Registry.SetCertificateState(t.Context(), first.Serial, registry.Revoked, registry.Change{Actor: "operator"}); err != nil {
			t.Fatal(err)
		}
		refused()
		signed := func(key string) {
			t.Helper()
			if got := s.End(t, key, s.Ask(t, key, who.Request()).ID); got.Status != "signed" || !bytes.Equal(got.Certificate, renewed.X509.Raw) {
				t.Errorf("%s, by another certificate or by none", got.Status)
			}
		}
		signed(shop)
		s.Do(t, "DELETE", block, s.AdminKey, nil)
		signed(key)
	})
}
