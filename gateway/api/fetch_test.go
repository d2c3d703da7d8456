package api_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.mozilla.org/pkcs7"

	"imza/emulator"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
)

// verify checks a signature as a provider does, by other code than the
// gateway's.
func verify(t *testing.T, got gatewaytest.Signature, document []byte) {
	t.Helper()
	signed, err := pkcs7.Parse(got.CMS)
	if err != nil {
		t.Fatal(err)
	}
	signed.Content = document
	if err := signed.Verify(); err != nil {
		t.Error(err)
	}
	if len(signed.Certificates) != 1 || !bytes.Equal(signed.Certificates[0].Raw, got.Certificate) {
		t.Error("the CMS does not carry the signer's certificate, and that alone")
	}
}

// code is the verification code by the formula in openapi.yaml.
func code(d []byte) string {
	return fmt.Sprintf("%04d", (0xFC&int(d[0]))<<5|int(d[len(d)-1])&0x7F)
}

func TestSignedShowsWhatWasSigned(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		document := []byte("I owe you one.\n")
		digest := sha256.Sum256(document)
		began := time.Now().Truncate(time.Second)
		asked := s.Ask(t, key, with(with(who.Request(), "digest.value", digest[:]), "timeout", 30))
		if left := time.Until(asked.ExpiresAt); left < 20*time.Second || left > 30*time.Second {
			t.Errorf("30 s were asked for, %v are left", left)
		}
		got := s.End(t, key, asked.ID)
		if got.Status != "signed" || got.ID != asked.ID || !got.ExpiresAt.Equal(asked.ExpiresAt) || got.VerificationCode != asked.VerificationCode {
			t.Fatalf("asked %+v, ended %+v", asked, got)
		}
		verify(t, got, document)
		if !bytes.Equal(got.Certificate, who.Certificates[0].X509.Raw) {
			t.Error("the certificate is another one")
		}
		if got.SigningTime.Before(began) || got.SigningTime.After(got.EndedAt) || got.SigningTime.Nanosecond() != 0 {
			t.Errorf("signed at %v, between %v and %v", got.SigningTime, began, got.EndedAt)
		}
		again := s.Do(t, "GET", "/v1/signatures/"+asked.ID, key, nil)
		if later := s.Do(t, "GET", "/v1/signatures/"+asked.ID+"?wait=60", key, nil); !bytes.Equal(again.Body, later.Body) {
			t.Errorf("it changed from %s to %s", again.Body, later.Body)
		}
	})
}

func TestVerificationCodeIsByTheDocumentedFormula(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		for _, c := range []struct {
			algorithm   string
			size        int
			first, last byte
			want        string
		}{
			{"SHA-256", 32, 0x2F, 0xB6, "1462"}, // DESIGN's example
			{"SHA-256", 32, 0x00, 0x00, "0000"},
			{"SHA-256", 32, 0x03, 0x80, "0000"},
			{"SHA-384", 48, 0xFF, 0xFF, "8191"},
			{"SHA-512", 64, 0x04, 0x09, "0137"},
		} {
			digest := make([]byte, c.size)
			digest[0], digest[c.size-1] = c.first, c.last
			asked := s.Ask(t, key, with(who.Request(), "digest", map[string]any{"algorithm": c.algorithm, "value": digest}))
			got := s.End(t, key, asked.ID)
			if asked.VerificationCode != c.want || got.VerificationCode != c.want || code(digest) != c.want {
				t.Errorf("%02x…%02x: %s at once, %s at the end; want %s", c.first, c.last, asked.VerificationCode, got.VerificationCode, c.want)
			}
		}
	})
}

func TestLongPollReturnsAtTheEnd(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		id := s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)

		for _, wait := range []string{"", "?wait=0"} {
			began := time.Now()
			got := s.Do(t, "GET", "/v1/signatures/"+id+wait, key, nil).Signature(t, http.StatusOK)
			if took := time.Since(began); got.Status != "pending" || took > 900*time.Millisecond {
				t.Errorf("%q: %s after %v", wait, got.Status, took)
			}
		}
		began := time.Now()
		got := s.Do(t, "GET", "/v1/signatures/"+id+"?wait=1", key, nil).Signature(t, http.StatusOK)
		if took := time.Since(began); got.Status != "pending" || took < 900*time.Millisecond || took > 5*time.Second {
			t.Errorf("wait=1: %s after %v", got.Status, took)
		}

		type ended struct {
			gatewaytest.Answer
			at time.Time
		}
		answers := make(chan ended, 3)
		for range cap(answers) {
			go func() {
				a := s.Do(t, "GET", "/v1/signatures/"+id+"?wait=30", key, nil)
				answers <- ended{a, time.Now()}
			}()
		}
		time.Sleep(100 * time.Millisecond) // for the polls to begin
		hold.Open()
		for range cap(answers) {
			a := <-answers
			got := a.Signature(t, http.StatusOK)
			// Without the wake-up it would be the second that the clock takes.
			if late := a.at.Sub(got.EndedAt); got.Status != "signed" || late > 700*time.Millisecond {
				t.Errorf("%s, told %v after the end", got.Status, late)
			}
		}
	})
}

// However a request ends, the poll that waits for it says so.
func TestEndsAreToldApart(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		for behaviour, want := range map[emulator.Behaviour]string{
			emulator.Signs: "signed", emulator.WrongOnce: "signed", emulator.Cancels: "cancelled_by_user", emulator.WrongAlways: "pin_blocked", emulator.Absent: "expired",
		} {
			who := s.Enrol(t, gatewaytest.Person{Behaviour: behaviour})
			got := s.End(t, key, s.Ask(t, key, with(who.Request(), "timeout", 1)).ID)
			if got.Status != want {
				t.Errorf("%s ended as %s, not %s", behaviour, got.Status, want)
			}
			if got.Status != "signed" && (got.CMS != nil || got.Certificate != nil || !got.SigningTime.IsZero()) {
				t.Errorf("%s carries a signature", got.Status)
			}
		}
	})
}

func TestSignaturesOfOthersAreNotFound(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		id := s.Ask(t, key, who.Request()).ID
		notFound := func(key, path string) gatewaytest.Answer {
			t.Helper()
			a := s.Do(t, "GET", path, key, nil)
			a.Refused(t, http.StatusNotFound, "not_found")
			s.Do(t, "DELETE", path, key, nil).Refused(t, http.StatusNotFound, "not_found")
			return a
		}
		never := notFound(key, "/v1/signatures/"+strings.Repeat("a", 16))
		others := notFound(other, "/v1/signatures/"+id)
		if !bytes.Equal(others.Body, never.Body) {
			t.Errorf("another's signature is answered %s, one that never was %s", others.Body, never.Body)
		}
		if got := s.End(t, key, id); got.Status != "signed" {
			t.Errorf("another provider could end it: %s", got.Status)
		}
		notFound(other, "/v1/signatures/"+id) // nor after its end
		for _, bad := range []string{
			"x", id[:15], id + "a", strings.ToUpper(id), id + "%0A", id + "%00", "%20" + id, id + "%2F", id + "/", "..%2F..%2Fetc%2Fpasswd",
			"..", "../signatures/", "%2e%2e", "..;/", strings.Repeat("a", 8000), "%D8%A7%D9%94", "%F0%9F%96%8B", "%FF%FE", "*", "%2A", "imza:transaction:" + id,
			"%25", "a%5C", "'%20OR%201=1--", "0000000000000000", "llllllllllllllll", ":id", "a?id=" + id, "%0D%0AX-Injected:%20yes",
		} {
			a := s.Do(t, "GET", "/v1/signatures/"+bad, key, nil)
			a.Refused(t, http.StatusNotFound, "not_found")
			if a.Header.Get("X-Injected") != "" {
				t.Error("a header was injected")
			}
		}
	})
}

func TestCancelEndsOnce(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		hold := gatewaytest.NewHold()
		who := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
		path := "/v1/signatures/" + s.Ask(t, key, who.Request()).ID
		hold.Prompted(t)
		cancelled := s.Do(t, "DELETE", path, key, nil)
		if got := cancelled.Signature(t, http.StatusOK); got.Status != "cancelled_by_provider" {
			t.Fatalf("cancelled, and now %s", got.Status)
		}
		same := func(what string, a gatewaytest.Answer) {
			t.Helper()
			if a.Status != http.StatusOK || !bytes.Equal(a.Body, cancelled.Body) {
				t.Errorf("%s: %d %s, at first %s", what, a.Status, a.Body, cancelled.Body)
			}
		}
		same("cancelled again", s.Do(t, "DELETE", path, key, nil))
		same("fetched", s.Do(t, "GET", path+"?wait=10", key, nil))

		// The prompt is still on the screen, so nobody else gets to it. The person
		// types PIN2; nothing comes of it, but the telephone is free then.
		s.Do(t, "POST", "/v1/signatures", key, who.Request()).Refused(t, http.StatusConflict, "subscriber_busy")
		hold.Open()
		var next gatewaytest.Answer
		for deadline := time.Now().Add(10 * time.Second); next.Status != http.StatusAccepted; time.Sleep(5 * time.Millisecond) {
			if next = s.Do(t, "POST", "/v1/signatures", key, who.Request()); time.Now().After(deadline) {
				t.Fatalf("the telephone is not free: %s", next.Body)
			}
		}
		same("after the late signature", s.Do(t, "GET", path, key, nil))
		same("cancelled after it", s.Do(t, "DELETE", path, key, nil))

		signed := s.End(t, key, next.Signature(t, http.StatusAccepted).ID)
		path = "/v1/signatures/" + signed.ID
		if signed.Status != "signed" {
			t.Errorf("the next one ended as %s", signed.Status)
		}
		if got := s.Do(t, "DELETE", path, key, nil).Signature(t, http.StatusOK); got.Status != "signed" || got.CMS == nil {
			t.Errorf("one that was signed is cancelled: %s", got.Status)
		}
	})
}

// A long poll ends when its caller's signature is cancelled elsewhere.
func TestLongPollSeesACancellation(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{Think: gatewaytest.NewHold().Think})
		id := s.Ask(t, key, who.Request()).ID
		polled := make(chan gatewaytest.Answer, 1)
		go func() { polled <- s.Do(t, "GET", "/v1/signatures/"+id+"?wait=30", key, nil) }()
		time.Sleep(50 * time.Millisecond) // for the poll to begin
		s.Do(t, "DELETE", "/v1/signatures/"+id, key, nil)
		if got := (<-polled).Signature(t, http.StatusOK); got.Status != "cancelled_by_provider" {
			t.Errorf("the poll says %s", got.Status)
		}
	})
}

// An hour after its end Redis forgets a signature; how it ended is on record.
func TestForgottenSignatureKeepsItsEnd(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		key := s.Provider(t, "bank", registry.NewProviderKey())
		other := s.Provider(t, "shop", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		before := s.End(t, key, s.Ask(t, key, who.Request()).ID)
		forget(t, s, before.ID)
		after := s.Do(t, "GET", "/v1/signatures/"+before.ID, key, nil).Signature(t, http.StatusOK)
		if after.Status != "signed" || after.CMS != nil || !after.EndedAt.Equal(before.EndedAt) || !after.ExpiresAt.Equal(before.ExpiresAt) {
			t.Errorf("was %+v, is %+v", before, after)
		}
		s.Do(t, "GET", "/v1/signatures/"+before.ID, other, nil).Refused(t, http.StatusNotFound, "not_found")
		if got := s.Do(t, "DELETE", "/v1/signatures/"+before.ID, key, nil).Signature(t, http.StatusOK); got.Status != "signed" {
			t.Errorf("cancelled, it is %s", got.Status)
		}
	})
}

// forget takes a signed one out of Redis, as time does, once it is on record.
func forget(t *testing.T, s *gatewaytest.Stack, id string) {
	t.Helper()
	onRecord(t, s, id, "signed")
	if n, err := s.Redis.Del(t.Context(), "imza:transaction:"+id).Result(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
}
