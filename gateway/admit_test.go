package gateway_test

import (
	"database/sql"
	"sync"
	"testing"
	"time"

	"imza/gateway/registry"
	"imza/policy/redistest"
)

// Writers that wait for one another hold all connections to SQLite. A provider is
// told within a second all the same: looks by key have connections of their own,
// and who needs another gives up in time.
func TestBusyWritersHoldNobodyUp(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	w.short = true
	known, stranger := w.enrol(1), w.enrol(2)
	w.admit(known, time.Second) // its permission set is in Redis
	w.operator.next()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if tx, err := w.gateway.AdmitUnsent(t.Context(), request(known, time.Millisecond)); err == nil && tx != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the telephone stays busy")
		}
	}
	time.Sleep(20 * time.Millisecond)
	var all sync.WaitGroup
	defer all.Wait()
	held := make(chan struct{})
	all.Go(func() {
		_ = w.registry.Import(t.Context(), func(*sql.Tx) error { close(held); time.Sleep(3 * time.Second); return nil })
	})
	<-held
	for range 8 {
		all.Go(func() {
			_ = w.registry.SetSubscriberState(t.Context(), stranger.number, registry.Active, registry.Change{})
		})
	}
	time.Sleep(200 * time.Millisecond)
	for name, p := range map[string]*telephone{"known": known, "stranger": stranger} {
		began := time.Now()
		_, err := w.gateway.AdmitUnsent(t.Context(), request(p, time.Millisecond))
		took := time.Since(began)
		if took > 1200*time.Millisecond {
			t.Errorf("%s: told after %s (%v)", name, took.Round(time.Millisecond), err)
		}
		if name == "known" && err != nil {
			t.Errorf("who needs nothing but looks by key is refused: %v", err)
		}
	}
}
