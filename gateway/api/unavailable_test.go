package api_test

import (
	"bytes"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"imza/gateway"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// refusedWithin holds what is promised while Redis is away: whatever needs it is
// refused, soon, with advice to try again.
func refusedWithin(t *testing.T, patience time.Duration, s *gatewaytest.Stack, key, id string, who ...*gatewaytest.Subscriber) {
	t.Helper()
	timed := func(code, method, path, key string, body any, headers ...string) {
		t.Helper()
		began := time.Now()
		a := s.Do(t, method, path, key, body, headers...)
		took := time.Since(began)
		a.Refused(t, http.StatusServiceUnavailable, code)
		if took > patience {
			t.Errorf("%s %s was answered after %v", method, path, took)
		}
		if key != s.AdminKey && retryAfter(t, a) != 1 {
			t.Errorf("try again after %s s", a.Header.Get("Retry-After"))
		}
	}
	for _, w := range who {
		timed("policy_unavailable", post, signatures, key, w.Request())
		timed("policy_unavailable", post, signatures, key, w.Request(), idempotencyKey, "order-1")
		timed("policy_unavailable", post, signatures, key, with(w.Request(), "userId", "999999"))
	}
	timed("unavailable", "GET", signatures+"/"+id, key, nil)
	timed("unavailable", "GET", signatures+"/"+id+"?wait=30", key, nil)
	timed("unavailable", "DELETE", signatures+"/"+id, key, nil)
	if a := s.Do(t, "GET", "/readyz", "", nil); a.Status != http.StatusServiceUnavailable {
		t.Errorf("ready, without Redis: %d %s", a.Status, a.Body)
	}
	if a := s.Do(t, "GET", "/healthz", "", nil); a.Status != http.StatusOK {
		t.Errorf("not healthy, without Redis: %d %s", a.Status, a.Body)
	}
	// What needs no Redis is answered as ever.
	s.Do(t, post, signatures, key, "{").Refused(t, http.StatusBadRequest, "invalid_request")
	s.Do(t, post, signatures, registry.NewProviderKey(), who[0].Request()).Refused(t, http.StatusUnauthorized, "unauthorized")
}

// serviceAgain waits until requests are admitted, and holds that it is soon.
func serviceAgain(t *testing.T, s *gatewaytest.Stack, key string, who *gatewaytest.Subscriber) {
	t.Helper()
	began := time.Now()
	for {
		a := s.Do(t, post, signatures, key, who.Request())
		if a.Status == http.StatusAccepted {
			if got := s.End(t, key, a.Signature(t, a.Status).ID); got.Status != "signed" {
				t.Errorf("the first one after that ended as %s", got.Status)
			}
			return
		}
		a.Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
		if time.Since(began) > 5*time.Second {
			t.Fatal("Redis is back, the service is not")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestRedisKilled(t *testing.T) {
	t.Parallel() // it waits more than it works
	server := redistest.Start(t)
	s := gatewaytest.Start(t, server.Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	hold := gatewaytest.NewHold()
	held := s.Enrol(t, gatewaytest.Person{Think: hold.Think})
	who := s.Enrol(t, gatewaytest.Person{})
	citizen := s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Citizen}}})
	id := s.Ask(t, key, with(held.Request(), "timeout", 3)).ID
	hold.Prompted(t)
	onRecord(t, s, id, "pending")
	pushed := s.SubmittedAll()

	server.Kill()
	refusedWithin(t, time.Second, s, key, id, who, citizen)
	if n := s.SubmittedAll() - pushed; n != 0 {
		t.Errorf("%d messages went to the operator", n)
	}

	server.Restart()
	serviceAgain(t, s, key, who)
	serviceAgain(t, s, key, citizen)
	// Redis came back empty. What was under way is only on record, and no
	// signature comes of it though the person signs now.
	hold.Open()
	if got := s.End(t, key, id); got.Status != "expired" || got.Reason != "lost" {
		t.Errorf("what Redis lost ended as %s %s", got.Status, got.Reason)
	}
}

// A Redis that does not answer is harder than one that is gone: nothing fails,
// and each step has to give it up for itself.
func TestRedisHangs(t *testing.T) {
	t.Parallel() // it waits more than it works
	link := newLink(t, redistest.Start(t).Addr)
	s := gatewaytest.Start(t, link.Addr())
	key := s.Provider(t, "bank", registry.NewProviderKey())
	hold := gatewaytest.NewHold()
	held, who := s.Enrol(t, gatewaytest.Person{Think: hold.Think}), s.Enrol(t, gatewaytest.Person{})
	id := s.Ask(t, key, held.Request()).ID
	hold.Prompted(t)

	link.hang.Store(true)
	refusedWithin(t, 2*time.Second, s, key, id, who)
	link.hang.Store(false)
	serviceAgain(t, s, key, who)
	hold.Open() // Redis kept it
	if got := s.End(t, key, id); got.Status != "signed" {
		t.Errorf("what was under way ended as %s", got.Status)
	}
}

// Without the record nobody is admitted either, and what nobody foresaw is
// "internal" outside.
func TestRecordAway(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	signed := s.End(t, key, s.Ask(t, key, who.Request()).ID)
	stranger := s.Provider(t, "shop", registry.NewProviderKey()) // who has not called, and is not known without the record
	pushed := s.SubmittedAll()
	request, err := ocsp.CreateRequest(who.Certificates[0].X509, s.Authority.Issuing, nil)
	if err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		if _, err := s.DB.ExecContext(t.Context(), `ALTER TABLE `+from+` RENAME TO `+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("certificates", "mislaid")
	s.Do(t, post, signatures, key, who.Request()).Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
	s.Do(t, "GET", signatures+"/"+signed.ID, key, nil).Refused(t, http.StatusInternalServerError, "internal")
	s.Do(t, "GET", "/pki/issuing.crl", "", nil).Refused(t, http.StatusInternalServerError, "internal")
	a := s.Do(t, "POST", "/pki/ocsp", "", request, "Content-Type", "application/ocsp-request")
	if !bytes.Equal(a.Body, ocsp.TryLaterErrorResponse) {
		t.Errorf("OCSP answers %x", a.Body)
	}
	if n := bytes.Count(s.Said(), []byte("no such table: certificates")); n != 4 {
		t.Errorf("the log tells of %d failures, of 4", n)
	}
	rename("mislaid", "certificates")

	rename("providers", "mislaid")
	p := s.Do(t, post, signatures, stranger, who.Request()).Refused(t, http.StatusInternalServerError, "internal")
	if p.Detail != "" {
		t.Errorf("it was told %q", p.Detail)
	}
	rename("mislaid", "providers")
	if n := s.SubmittedAll() - pushed; n != 0 {
		t.Errorf("%d messages went to the operator", n)
	}
	s.End(t, key, s.Ask(t, key, who.Request()).ID)
}

// onRecord waits until the journal in SQL has a transaction with that state.
func onRecord(t *testing.T, s *gatewaytest.Stack, id, state string) {
	t.Helper()
	recorded := func() (n int) {
		if err := s.Journal.QueryRowContext(t.Context(), `SELECT count(*) FROM transactions WHERE id = $1 AND state = $2`, id, state).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for deadline := time.Now().Add(10 * time.Second); recorded() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not on record as %s", id, state)
		}
	}
}

// link is a way to a server on which nothing passes while it hangs.
type link struct {
	net.Listener
	hang atomic.Bool
}

func (l *link) Addr() string { return l.Listener.Addr().String() }

func newLink(t *testing.T, addr string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: listener}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", addr)
			if err != nil {
				near.Close()
				continue
			}
			running.Go(func() { l.pass(near, far) })
			running.Go(func() { l.pass(far, near) })
		}
	})
	t.Cleanup(func() { listener.Close(); l.hang.Store(false); running.Wait() })
	return l
}

func (l *link) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		for l.hang.Load() {
			time.Sleep(time.Millisecond)
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}
