package gateway_test

import (
	"slices"
	"testing"
	"time"

	"imza/gateway"
	"imza/policy/redistest"
)

// A script whose answer is lost is sent again, and says again that it ended the
// transaction: else nobody who waits would be told, and nobody would count it.
func TestEndRunTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		tx := w.admit(p, time.Minute)
		_, end, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("a signature"))
		if err != nil {
			t.Fatal(err)
		}
		first, err := w.gateway.MakeBareCall(t.Context(), end)
		if err != nil || first[0] != "ended" || first[1] != string(gateway.Signed) {
			t.Fatalf("%q, %v", first, err)
		}
		again, err := w.gateway.MakeBareCall(t.Context(), end)
		if err != nil || !slices.Equal(first, again) {
			t.Errorf("at first %q, again %q, %v", first, again, err)
		}
		_, other, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("another signature"))
		if err != nil {
			t.Fatal(err)
		}
		if was, err := w.gateway.MakeBareCall(t.Context(), other); err != nil || was[0] != "was" {
			t.Errorf("another attempt: %q, %v", was, err)
		}
	})
}

// An end that an attempt brought about without this node hearing of it is counted
// when the next attempt finds it, and once.
func TestEndThatWasNotHeardOfIsCounted(t *testing.T) {
	for name, heard := range map[string]bool{"heard of": true, "not heard of": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, redistest.Start(t).Addr)
			p := w.enrol(1)
			tx := w.admit(p, time.Minute)
			_, end, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("a signature"))
			if err != nil {
				t.Fatal(err)
			}
			if !heard {
				w.gateway.Unsure(tx.ID)
			}
			if _, err := w.gateway.MakeBareCall(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			want := 0
			if !heard {
				want = 1
			}
			for range 2 {
				if _, err := w.gateway.Expire(t.Context(), tx); err != nil {
					t.Fatal(err)
				}
				if n := w.count("imza_transactions_ended_total", "signed"); n != want {
					t.Errorf("%d are counted, of %d", n, want)
				}
			}
		})
	}
}

// An end is counted once, by the node that brought it about: also if another one
// does not know what became of an attempt of its own.
func TestEndIsCountedOnceAmongNodes(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	w.short = true
	p := w.enrol(1)
	second, ofSecond := w.node()
	tx := w.admit(p, time.Minute)
	answer := p.answer(w.operator.next())
	w.gateway.Unsure(tx.ID)
	receive(t, second, p, answer)
	receive(t, w.gateway, p, answer) // the network brings it twice
	first := w.count("imza_transactions_ended_total", "signed")
	w.metrics = ofSecond
	if other := w.count("imza_transactions_ended_total", "signed"); first != 0 || other != 1 {
		t.Errorf("the one that did not end it counts %d, the one that did %d", first, other)
	}
}

// Of what is not known only so much is remembered, and the last always is.
func TestUnsureIsBounded(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	for i := range 10_000 {
		w.gateway.Unsure(time.Unix(int64(i), 0).String())
	}
	w.gateway.Unsure(tx.ID)
	_, end, err := w.gateway.BareCalls(tx, request(p, time.Minute), []byte("a signature"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.gateway.MakeBareCall(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if _, err := w.gateway.Expire(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if n := w.count("imza_transactions_ended_total", "signed"); n != 1 {
		t.Errorf("the end is counted %d times", n)
	}
}
