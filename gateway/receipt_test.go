package gateway_test

import (
	"sync"
	"testing"
	"time"

	"imza/gateway"
	"imza/policy/redistest"
	"imza/smpp"
)

// receiptFor is a receipt for the last message that was submitted.
func (w *world) receiptFor(p *telephone, r smpp.Receipt) *smpp.ShortMessage {
	r.MessageID = w.operator.lastID()
	return smpp.NewReceipt(&smpp.ShortMessage{Source: smpp.Address{Addr: "7777"}, Dest: smpp.International(p.number.Digits())}, r, time.Now(), time.Now())
}

// What a receipt says ends a transaction early, each in its own state, or
// leaves it alone.
func TestReceipts(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	for i, c := range []struct {
		name    string
		receipt smpp.Receipt
		want    gateway.State
		counted string
	}{
		{"delivered", smpp.Receipt{State: smpp.Delivered}, gateway.Pending, "delivrd"},
		{"accepted", smpp.Receipt{State: smpp.Accepted}, gateway.Pending, "acceptd"},
		{"enroute", smpp.Receipt{State: smpp.Enroute}, gateway.Pending, "enroute"},
		{"undeliverable", smpp.Receipt{State: smpp.Undeliverable}, gateway.Undeliverable, "undeliv"},
		{"rejected", smpp.Receipt{State: smpp.Rejected}, gateway.Undeliverable, "rejectd"},
		{"deleted", smpp.Receipt{State: smpp.Deleted}, gateway.Undeliverable, "deleted"},
		{"absent", smpp.Receipt{State: smpp.Undeliverable, Error: smpp.AbsentSubscriber}, gateway.Absent, "absent"},
		{"absent for short messages", smpp.Receipt{State: smpp.Undeliverable, Error: smpp.NetworkError{Network: 3, Code: 6}}, gateway.Absent, "absent"},
		{"tried until it expired", smpp.Receipt{State: smpp.Expired}, gateway.Absent, "absent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.enrol(i + 1)
			before := w.count("imza_receipts_total", c.counted)
			tx := w.admit(p, time.Minute)
			w.operator.next()
			w.progresses(t, tx.ID, gateway.Sent)
			if err := w.operator.send(w.receiptFor(p, c.receipt)); err != nil {
				t.Fatal(err)
			}
			if state := w.state(tx.ID, 0); state != c.want {
				t.Errorf("%s, want %s", state, c.want)
			}
			if n := w.count("imza_receipts_total", c.counted); n != before+1 {
				t.Errorf("counted %d times as %s", n-before, c.counted)
			}
			if c.want == gateway.Pending {
				return
			}
			if err := w.operator.send(w.receiptFor(p, smpp.Receipt{State: smpp.Delivered})); err != nil {
				t.Fatal(err)
			}
			if state := w.state(tx.ID, 0); state != c.want {
				t.Errorf("%s after another receipt, want %s", state, c.want)
			}
			again := w.admit(p, time.Minute) // the telephone is free
			if again.ID == tx.ID {
				t.Error("the same transaction")
			}
		})
	}
	if n := w.count("imza_receipts_total", "late"); n != 6 {
		t.Errorf("%d late receipts, want 6", n)
	}
	w.operator.mustSend(&smpp.ShortMessage{ESMClass: 4, Message: []byte("id:nobodys stat:DELIVRD")})
	if n := w.count("imza_receipts_total", "unknown"); n != 1 {
		t.Errorf("%d unknown receipts, want 1", n)
	}
}

// An id tells a message only together with the operator: two of them give the
// same one to different messages.
func TestReceiptsOfTwoOperators(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	w.operator.next()
	w.progresses(t, tx.ID, gateway.Sent)
	receipt := w.receiptFor(p, smpp.Receipt{State: smpp.Rejected})
	if status := w.gateway.Receive(t.Context(), &smpp.Pool{Name: "other"}, receipt); status != smpp.StatusOK {
		t.Fatal(status)
	}
	if state := w.state(tx.ID, 0); state != gateway.Pending {
		t.Errorf("%s by the receipt of another operator", state)
	}
	if err := w.operator.send(receipt); err != nil {
		t.Fatal(err)
	}
	if state := w.state(tx.ID, 0); state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
}

// An operator that writes its ids in hex when it takes a message, and in
// decimal in the receipt.
func TestReceiptWithTheIDInAnotherRadix(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	w.operator.mu.Lock()
	w.operator.format = "0%x"
	w.operator.mu.Unlock()
	w.pool.IDs = smpp.IDs{Response: 16, Receipt: 10}
	for n := range 11 { // 0a is the tenth
		tx := w.admit(w.enrol(n+1), time.Minute)
		w.operator.next()
		w.progresses(t, tx.ID, gateway.Sent)
		if n+1 < 11 {
			continue
		}
		w.operator.mustSend(&smpp.ShortMessage{ESMClass: 4, Message: []byte("id:11 stat:REJECTD")})
		if state := w.state(tx.ID, 0); state != gateway.Undeliverable {
			t.Errorf("%s", state)
		}
	}
}

// A number that no operator has ends its transaction at once.
func TestNumberWithoutOperator(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrolNumber(1, "+994601234567")
	tx := w.admit(p, time.Minute)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
	if e := w.recorded(tx.ID); e.Reason != "no operator for this number" {
		t.Errorf("reason %q", e.Reason)
	}
}

// Receipts of all segments, in any order and twice, end one transaction once.
func TestManyReceiptsAtOnce(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	w.operator.next()
	w.progresses(t, tx.ID, gateway.Sent)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			r := smpp.Receipt{State: smpp.Undeliverable}
			if i%2 == 0 {
				r.Error = smpp.AbsentSubscriber
			}
			if err := w.operator.send(w.receiptFor(p, r)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if state := w.state(tx.ID, 0); state != gateway.Absent && state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
	ended := w.count("imza_transactions_ended_total", "absent") + w.count("imza_transactions_ended_total", "undeliverable")
	if ended != 1 {
		t.Errorf("ended %d times", ended)
	}
}
