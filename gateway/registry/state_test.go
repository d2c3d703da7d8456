package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"imza/gateway"
	"imza/gateway/registry"
)

// A certificate is active only if its subscriber is.
func TestSuspendedSubscriberHasNoActiveCertificate(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p, c := r.named(t, 1, xezer, "Aysel", "Məmmədova")
		_, neighbour := r.named(t, 2, xezer, "Aysel", "Məmmədova")
		for _, step := range []struct {
			subscriber, certificate registry.State
			active                  bool
		}{
			{registry.Active, registry.Active, true}, {registry.Suspended, registry.Active, false}, {registry.Suspended, registry.Suspended, false},
			{registry.Active, registry.Suspended, false}, {registry.Active, registry.Active, true}, {registry.Suspended, registry.Active, false},
		} {
			if err := r.SetSubscriberState(t.Context(), p.MSISDN, step.subscriber, operator); err != nil {
				t.Fatal(err)
			}
			r.set(t, c.Serial, step.certificate)
			one, err := r.Certificate(t.Context(), c.Serial)
			if err != nil || one.Active != step.active {
				t.Errorf("%+v: %+v %v", step, one, err)
			}
			s, err := r.Subscriber(t.Context(), p.MSISDN, userID)
			if err != nil || len(s.Certificates) != 1 || s.Certificates[0].Active != step.active {
				t.Errorf("%+v: %+v %v", step, s, err)
			}
			if other, err := r.Certificate(t.Context(), neighbour.Serial); err != nil || !other.Active {
				t.Errorf("the neighbour's: %+v %v", other, err)
			}
			entry, err := r.SubscriberEntry(t.Context(), p.MSISDN)
			if err != nil || entry.State != step.subscriber || entry.Certificates[0].State != step.certificate {
				t.Errorf("%+v: %+v %v", step, entry, err)
			}
		}
		for name, err := range map[string]error{
			"revoked": r.SetSubscriberState(t.Context(), p.MSISDN, registry.Revoked, operator), "expired": r.SetCertificateState(t.Context(), c.Serial, registry.Expired, operator),
		} {
			if !errors.Is(err, registry.ErrState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := r.SetSubscriberState(t.Context(), "+994500000099", registry.Active, operator); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
	})
}

func TestStatesAreLoggedOnce(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		var seen int64
		p, c := r.named(t, 1, xezer, "Aysel", "Məmmədova")
		for _, s := range []registry.State{registry.Active, registry.Suspended, registry.Suspended, registry.Revoked, registry.Revoked} {
			r.set(t, c.Serial, s)
		}
		if err := r.SetCertificateState(t.Context(), c.Serial, registry.Active, manager); !errors.Is(err, registry.ErrRevoked) {
			t.Errorf("%v", err)
		}
		for _, s := range []registry.State{registry.Active, registry.Suspended, registry.Suspended} {
			if err := r.SetSubscriberState(t.Context(), p.MSISDN, s, operator); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprintf("leyla manager set certificate state: %[1]s (14000000117DEM001) {\"state\":\"active\"} -> {\"state\":\"suspended\"}\n"+
			"leyla manager set certificate state: %[1]s (14000000117DEM001) {\"state\":\"suspended\"} -> {\"state\":\"revoked\"}\n"+
			"root operator set subscriber state: +994500000001 (7DEM001) {\"state\":\"active\"} -> {\"state\":\"suspended\"}", c.Serial)
		if got := r.logged(t, &seen); got != want {
			t.Errorf("logged\n%s\nwant\n%s", got, want)
		}
		// Several who do the same at once: one did it.
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := r.SetSubscriberState(t.Context(), p.MSISDN, registry.Active, operator); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := r.logged(t, &seen); strings.Count(got, "\n") != 0 || got == "" {
			t.Errorf("logged\n%s", got)
		}
	})
}

// What cannot be logged is not done.
func TestStateAndItsEntryAreOne(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		_, c := r.named(t, 1, xezer, "Aysel", "Məmmədova")
		if _, err := r.db.ExecContext(t.Context(), `ALTER TABLE audit RENAME TO gone`); err != nil {
			t.Fatal(err)
		}
		if err := r.SetCertificateState(t.Context(), c.Serial, registry.Revoked, operator); err == nil {
			t.Error("set without an entry")
		}
		if got, err := r.Certificate(t.Context(), c.Serial); err != nil || !got.Active {
			t.Errorf("%+v %v", got, err)
		}
	})
}

// A certificate that was parsed before is taken for the same only if its octets
// are.
func TestParsedCertificatesAreOfTheirOctets(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p, c := r.named(t, 1, xezer, "Aysel", "Məmmədova")
		other := certificate(t, p, gateway.Business, xezer, 1)
		for range 2 {
			if got, err := r.Certificate(t.Context(), c.Serial); err != nil || !got.X509.Equal(c.X509) {
				t.Errorf("%v", err)
			}
		}
		if _, err := r.db.ExecContext(t.Context(), `UPDATE certificates SET der = $2 WHERE serial = $1`, c.Serial, other.X509.Raw); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Certificate(t.Context(), c.Serial); err != nil || !got.X509.Equal(other.X509) {
			t.Errorf("%v", err)
		}
	})
}
