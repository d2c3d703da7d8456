package registry_test

import (
	"testing"
	"time"

	"imza/gateway/registry"
)

// A provider that has just called is known without asking the record: what this
// node changes counts at once all the same, and what another changes soon.
func TestCallersAreForgotten(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		here, there := r.Registry, r.again().Registry
		key := registry.NewProviderKey()
		if err := here.SetProvider(t.Context(), "bank", "Bank", key); err != nil {
			t.Fatal(err)
		}
		state := func() registry.State {
			t.Helper()
			_, s, ok, err := here.ProviderByKey(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return "unknown"
			}
			return s
		}
		set := func(r *registry.Registry, s registry.State) {
			t.Helper()
			if err := r.SetProviderState(t.Context(), "bank", s, registry.Change{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 {
			if s := state(); s != registry.Active {
				t.Fatalf("the provider is %s", s)
			}
			set(here, registry.Suspended)
			if s := state(); s != registry.Suspended {
				t.Fatalf("the provider that was suspended here is %s", s)
			}
			set(here, registry.Active)
		}
		state() // known now
		set(there, registry.Suspended)
		time.Sleep(150 * time.Millisecond)
		if s := state(); s != registry.Suspended {
			t.Fatalf("150 ms after it was suspended on another node the provider is %s", s)
		}
		set(there, registry.Active)
		state()
		if _, err := here.RenewProviderKey(t.Context(), "bank", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		if s := state(); s != "unknown" {
			t.Fatalf("the key before is %s", s)
		}
	})
}
