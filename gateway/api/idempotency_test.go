package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
)

const idempotencyKey = "Idempotency-Key"

// repeat holds that a request gets the first answer again, octet for octet.
func repeat(t *testing.T, s *gatewaytest.Stack, when, key string, request any, first gatewaytest.Answer) {
	t.Helper()
	again := s.Do(t, post, signatures, key, request, idempotencyKey, "order-1")
	if again.Status != first.Status || !bytes.Equal(again.Body, first.Body) || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("%s: answered %d %s, at first %d %s", when, again.Status, again.Body, first.Status, first.Body)
	}
}

func TestRepeatedRequestGetsItsFirstAnswer(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		request := who.Request()
		first := s.Do(t, post, signatures, key, request, idempotencyKey, "order-1")
		id := first.Signature(t, http.StatusAccepted).ID
		if got := first.Header.Get("Location"); got != "/v1/signatures/"+id {
			t.Errorf("Location: %s", got)
		}
		repeat(t, s, "at once", key, request, first)
		hold.Prompted(t)
		repeat(t, s, "while the person thinks", key, request, first)
		hold.Open()
		if got := s.End(t, key, id); got.Status != "signed" {
			t.Fatalf("ended as %s", got.Status)
		}
		repeat(t, s, "after the end", key, request, first)

		serial := who.Certificates[0].Serial
		if err := s.Registry.SetCertificateState(t.Context(), serial, "suspended", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		repeat(t, s, "with the certificate suspended", key, request, first)
		if err := s.Registry.SetCertificateState(t.Context(), serial, "active", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		block := "/v1/admin/organisations/" + string(gatewaytest.FirstVOEN) + "/employees/" + string(who.FIN) + "/blocks/bank"
		s.Do(t, "PUT", block, s.AdminKey, nil)
		repeat(t, s, "after a block", key, request, first)
		forget(t, s, id)
		repeat(t, s, "when Redis has forgotten the signature", key, request, first)
		if n := s.Submitted(who.MSISDN); n != 1 {
			t.Errorf("the person was asked %d times", n)
		}
	})
}

func TestIdempotencyKeyOfAnotherRequestIsAConflict(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		who, another := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		request := who.Request()
		first := s.Do(t, post, signatures, key, request, idempotencyKey, "order-1")
		id := first.Signature(t, http.StatusAccepted).ID
		conflict := func(request any) {
			t.Helper()
			s.Do(t, post, signatures, key, request, idempotencyKey, "order-1").Refused(t, http.StatusConflict, "idempotency_conflict")
		}
		spaced, err := json.MarshalIndent(request, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		conflict(with(request, "text", "Müqavilə №43"))
		conflict(string(spaced)) // the same octets, as the document says
		conflict(another.Request())
		s.End(t, key, id)
		conflict(with(request, "text", "Müqavilə №43"))
		repeat(t, s, "after the conflicts", key, request, first)

		// Keys are each provider's own, and upper case is not lower case.
		theirs := s.Do(t, post, signatures, other, request, idempotencyKey, "order-1").Signature(t, http.StatusAccepted)
		if theirs.ID == id {
			t.Error("another provider got this provider's signature")
		}
		s.End(t, other, theirs.ID)
		upper := s.Do(t, post, signatures, key, request, idempotencyKey, "ORDER-1").Signature(t, http.StatusAccepted)
		if upper.ID == id {
			t.Error("another key got the first signature")
		}
		s.End(t, key, upper.ID)
		if n := s.Submitted(who.MSISDN); n != 3 {
			t.Errorf("the person was asked %d times, for three requests", n)
		}
	})
}

// A refusal is no answer to keep: the provider puts right what was wrong and
// sends it again.
func TestRefusedRequestMayBeMadeAgain(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		request := with(who.Request(), "text", "Müqavilə №43")
		s.Do(t, post, signatures, key, request, idempotencyKey, "order-2").Refused(t, http.StatusConflict, "subscriber_busy")
		hold.Open()
		s.End(t, key, id)
		if got := s.End(t, key, s.Ask(t, key, request, idempotencyKey, "order-2").ID); got.Status != "signed" || got.ID == id {
			t.Errorf("the second attempt ended as %s", got.Status)
		}
	})
}

func TestConcurrentRepetitionsAreOneRequest(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		answers := make(chan gatewaytest.Answer, 20)
		for range cap(answers) {
			go func() {
				a := s.Do(t, post, signatures, key, who.Request(), idempotencyKey, "order-1")
				for tries := 0; a.Status == http.StatusServiceUnavailable && tries < 10; tries++ { // on a machine with too much to do
					a = s.Do(t, post, signatures, key, who.Request(), idempotencyKey, "order-1")
				}
				answers <- a
			}()
		}
		first := <-answers
		id := first.Signature(t, http.StatusAccepted).ID
		for range cap(answers) - 1 {
			if a := <-answers; a.Status != first.Status || !bytes.Equal(a.Body, first.Body) {
				t.Errorf("one was answered %d %s, another %d %s", first.Status, first.Body, a.Status, a.Body)
			}
		}
		hold.Open()
		s.End(t, key, id)
		var transactions int
		if err := s.Journal.QueryRowContext(t.Context(), `SELECT count(*) FROM transactions WHERE provider = $1`, policy.Provider("bank")).Scan(&transactions); err != nil {
			t.Fatal(err)
		}
		if n := s.Submitted(who.MSISDN); n != 1 || transactions > 1 {
			t.Errorf("%d transactions, and the person was asked %d times", transactions, n)
		}
	})
}
