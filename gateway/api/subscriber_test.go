package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
)

const post, signatures = "POST", "/v1/signatures"

func TestUnknownNumberAndWrongUserIDAreNotToldApart(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		other := s.Enrol(t, gatewaytest.Person{})
		unknown := s.Do(t, post, signatures, key, with(who.Request(), "msisdn", "+994559999999"))
		unknown.Refused(t, http.StatusNotFound, "not_a_subscriber")
		for name, request := range map[string]any{
			"a wrong User ID":     with(who.Request(), "userId", "999999"),
			"another's User ID":   with(who.Request(), "userId", other.UserID),
			"no such certificate": with(with(who.Request(), "userId", "999998"), "certificate.type", "government"),
		} {
			wrong := s.Do(t, post, signatures, key, request)
			unknown.Header.Set("Date", wrong.Header.Get("Date"))
			if wrong.Status != unknown.Status || !bytes.Equal(wrong.Body, unknown.Body) || fmt.Sprint(wrong.Header) != fmt.Sprint(unknown.Header) {
				t.Errorf("%s: %d %v %s\nunknown number: %d %v %s", name, wrong.Status, wrong.Header, wrong.Body, unknown.Status, unknown.Header, unknown.Body)
			}
		}
		noTransaction(t, s)
	})
}

func TestGuessingUserIDsShutsTheNumberForThatProvider(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		who, neighbour := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		var wrong gatewaytest.Answer
		guess := func(n int) {
			t.Helper()
			wrong = s.Do(t, post, signatures, key, with(who.Request(), "userId", fmt.Sprintf("%06d", 999_000-n)))
			wrong.Refused(t, http.StatusNotFound, "not_a_subscriber")
		}
		for n := range 19 {
			guess(n)
		}
		s.End(t, key, s.Ask(t, key, who.Request()).ID) // the right one still counts
		guess(19)
		right := s.Do(t, post, signatures, key, who.Request())
		if right.Status != wrong.Status || !bytes.Equal(right.Body, wrong.Body) {
			t.Errorf("after 20 guesses the right User ID is answered %d %s, a wrong one %d %s", right.Status, right.Body, wrong.Status, wrong.Body)
		}
		// Nor may another refusal tell that this User ID is the right one.
		for _, certificate := range []map[string]any{{"type": "government"}, {"type": "business", "voen": string(gatewaytest.SecondVOEN)}} {
			if right := s.Do(t, post, signatures, key, with(who.Request(), "certificate", certificate)); !bytes.Equal(right.Body, wrong.Body) {
				t.Errorf("for a certificate that there is not: %s", right.Body)
			}
		}
		if n := s.Submitted(who.MSISDN); n != 1 {
			t.Errorf("%d messages went to the telephone; the one before the last guess is 1", n)
		}
		s.End(t, other, s.Ask(t, other, who.Request()).ID)
		s.End(t, key, s.Ask(t, key, neighbour.Request()).ID)
	})
}

func TestOnlyActiveCertificatesSign(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		serial := who.Certificates[0].Serial
		set := func(state registry.State) {
			t.Helper()
			if err := s.Registry.SetCertificateState(t.Context(), serial, state, registry.Change{}); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(request any) {
			t.Helper()
			s.Do(t, post, signatures, key, request).Refused(t, http.StatusConflict, "certificate_not_active")
		}
		for _, certificate := range []map[string]any{
			{"type": "citizen"}, {"type": "government"}, {"type": "business", "voen": string(gatewaytest.SecondVOEN)},
			{"type": "government", "voen": string(gatewaytest.FirstVOEN)}, {"type": "business", "voen": "9999999999"},
		} {
			refused(with(who.Request(), "certificate", certificate))
		}
		set("suspended")
		refused(who.Request())
		set("active")
		s.End(t, key, s.Ask(t, key, who.Request()).ID)
		set("revoked")
		refused(who.Request())

		expired := s.Enrol(t, gatewaytest.Person{Certified: time.Now().AddDate(-3, 0, -1)})
		refused(expired.Request())
		notYet := s.Enrol(t, gatewaytest.Person{Certified: time.Now().Add(time.Hour)})
		refused(notYet.Request())
		if n := s.SubmittedAll(); n != 1 {
			t.Errorf("%d messages went to the operator; the one while it was active is 1", n)
		}
	})
}

// What counts is whether the certificate is active when the signature comes.
func TestCertificateSuspendedUnderWaySignsNothing(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		if err := s.Registry.SetCertificateState(t.Context(), who.Certificates[0].Serial, "suspended", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		hold.Open()
		if got := s.End(t, key, id); got.Status != "signature_invalid" || got.CMS != nil {
			t.Errorf("ended as %s, with %d octets of CMS", got.Status, len(got.CMS))
		}
	})
}

func TestOrganisationIsNamedWhereThereAreSeveral(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{
			{Type: gateway.Business, VOEN: gatewaytest.FirstVOEN}, {Type: gateway.Business, VOEN: gatewaytest.SecondVOEN},
			{Type: gateway.Government, VOEN: gatewaytest.SecondVOEN}, {Type: gateway.Citizen},
		}})
		p := s.Do(t, post, signatures, key, with(who.Request(), "certificate.voen", nil)).Refused(t, http.StatusBadRequest, "invalid_request")
		if p.Field != "certificate.voen" {
			t.Errorf("the field is %q", p.Field)
		}
		noTransaction(t, s)
		for i, certificate := range []map[string]any{
			{"type": "business", "voen": string(gatewaytest.FirstVOEN)}, {"type": "business", "voen": string(gatewaytest.SecondVOEN)},
			{"type": "government"}, {"type": "citizen"},
		} {
			got := s.End(t, key, s.Ask(t, key, with(who.Request(), "certificate", certificate)).ID)
			if got.Status != "signed" || !bytes.Equal(got.Certificate, who.Certificates[i].X509.Raw) {
				t.Errorf("%v: %s, by another certificate or by none", certificate, got.Status)
			}
		}
		// With one of the two suspended there is nothing left to choose.
		if err := s.Registry.SetCertificateState(t.Context(), who.Certificates[0].Serial, "suspended", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		got := s.End(t, key, s.Ask(t, key, with(who.Request(), "certificate.voen", nil)).ID)
		if !bytes.Equal(got.Certificate, who.Certificates[1].X509.Raw) {
			t.Error("not by the certificate that is left")
		}
	})
}

// retryAfter is the advice in an answer, in seconds.
func retryAfter(t *testing.T, a gatewaytest.Answer) int {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if err != nil {
		t.Errorf("Retry-After: %v", err)
	}
	return seconds
}

func TestOneRequestAtATimeOnATelephone(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		free := s.Enrol(t, gatewaytest.Person{})
		id := s.Ask(t, key, with(who.Request(), "timeout", 60)).ID
		hold.Prompted(t)
		for _, key := range []string{key, other} {
			a := s.Do(t, post, signatures, key, who.Request())
			a.Refused(t, http.StatusConflict, "subscriber_busy")
			if after := retryAfter(t, a); after < 30 || after > 60 {
				t.Errorf("try again after %d s, of 60 that the first one has", after)
			}
		}
		s.End(t, key, s.Ask(t, key, free.Request()).ID) // others are not concerned
		hold.Open()
		if got := s.End(t, key, id); got.Status != "signed" {
			t.Errorf("the first one ended as %s", got.Status)
		}
		s.End(t, other, s.Ask(t, other, who.Request()).ID)
		if n := s.Submitted(who.MSISDN); n != 2 {
			t.Errorf("%d messages went to the telephone; two requests were admitted", n)
		}
	})
}

func TestTelephoneIsLeftInPeaceAfterTenUnsigned(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		providers := []string{s.Provider(t, "bank", registry.NewProviderKey()), s.Provider(t, "shop", registry.NewProviderKey())}
		cancels := gatewaytest.Person{Behaviour: emulator.Cancels}
		who := s.Enrol(t, cancels)
		end := func(n int, want string) {
			t.Helper()
			for i := range n {
				key := providers[i%len(providers)]
				if got := s.End(t, key, s.Ask(t, key, who.Request()).ID); got.Status != want {
					t.Fatalf("ended as %s, not %s", got.Status, want)
				}
			}
		}
		end(9, "cancelled_by_user")
		s.HandOver(t, who, gatewaytest.Person{})
		end(1, "signed") // clears the count
		s.HandOver(t, who, cancels)
		end(10, "cancelled_by_user")
		for _, key := range providers {
			a := s.Do(t, post, signatures, key, who.Request())
			a.Refused(t, http.StatusTooManyRequests, "too_many_prompts")
			if after := retryAfter(t, a); after < 500 || after > 600 {
				t.Errorf("try again after %d s, of ten minutes", after)
			}
		}
		if n := s.Submitted(who.MSISDN); n != 20 {
			t.Errorf("%d messages went to the telephone, for 20 requests that were admitted", n)
		}
	})
}
