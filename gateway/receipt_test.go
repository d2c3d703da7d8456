package gateway_test

import (
	"context"
	"sync"
	"sync/atomic"
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

// Both receipts come before the id is noted, the final one first (two binds,
// or data_sm retries): the final state is to count.
func TestEarlyFinalReceiptCounts(t *testing.T) {
	o := newOperator(t)
	o.onSubmit = func(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage, id string) (string, smpp.Status) {
		for _, st := range []smpp.State{smpp.Rejected, smpp.Enroute} {
			if err := s.Deliver(ctx, smpp.NewReceipt(m, smpp.Receipt{MessageID: id, State: st}, time.Now(), time.Now())); err != nil {
				t.Error(err)
			}
		}
		return id, smpp.StatusOK
	}
	o.listen()
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	w.progresses(t, tx.ID, gateway.Sent)
	time.Sleep(200 * time.Millisecond)
	if state := w.state(tx.ID, 0); state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
}

// The centre restarts and counts ids from 1 again within 15 minutes.
func TestReusedMessageID(t *testing.T) {
	o := newOperator(t)
	var first atomic.Bool
	o.onSubmit = func(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage, id string) (string, smpp.Status) {
		if first.CompareAndSwap(false, true) {
			_ = s.Deliver(ctx, smpp.NewReceipt(m, smpp.Receipt{MessageID: "1", State: smpp.Rejected}, time.Now(), time.Now()))
		}
		return "1", smpp.StatusOK
	}
	o.listen()
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	a := w.admit(w.enrol(1), time.Minute)
	if state := w.state(a.ID, 5*time.Second); state != gateway.Undeliverable {
		t.Fatalf("%s", state)
	}
	b := w.admit(w.enrol(2), time.Minute)
	if state := w.state(b.ID, 2*time.Second); state != gateway.Pending {
		t.Errorf("another person's transaction is %s by the receipt of the first", state)
	}
}

// A receipt that comes twice or too late for a withdrawn one; an id with odd characters.
func TestOddMessageIDs(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	for i, f := range []string{"state:absent-%d", "id:zz%d", "a b %d", "%d\xff", "üç%d"} {
		w.operator.mu.Lock()
		w.operator.format = f
		w.operator.mu.Unlock()
		p := w.enrol(i + 1)
		tx := w.admit(p, time.Minute)
		w.operator.next()
		w.progresses(t, tx.ID, gateway.Sent)
		if s := w.state(tx.ID, 0); s != gateway.Pending {
			t.Errorf("%q %s", f, s)
		}
		if err := w.operator.send(w.receiptFor(p, smpp.Receipt{State: smpp.Rejected})); err != nil {
			t.Error(err)
		}
		if s := w.state(tx.ID, 0); s != gateway.Undeliverable {
			t.Errorf("%q %s", f, s)
		}
	}
}

// secondCopy is an operator whose connection is lost before it has answered the
// first submit_sm, and that answers the second as told. It says what the first
// was, and when the second has come.
func secondCopy(t *testing.T, status smpp.Status) (o *operator, first *atomic.Pointer[smpp.ShortMessage], second chan string) {
	o, first, second = newOperator(t), new(atomic.Pointer[smpp.ShortMessage]), make(chan string, 1)
	o.onSubmit = func(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage, id string) (string, smpp.Status) {
		if first.CompareAndSwap(nil, m) {
			go s.Close()
			<-ctx.Done() // it was accepted, but the response never arrives
			return id, smpp.StatusOK
		}
		defer func() { second <- id }()
		return id, status
	}
	o.listen()
	return o, first, second
}

// The first copy of a challenge is on the telephone, and the card turns the
// second away. The signature counts.
func TestSecondCopyFails(t *testing.T) {
	o, first, second := secondCopy(t, smpp.StatusOK)
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	id := <-second
	w.progresses(t, tx.ID, gateway.Sent)
	answer := p.answer(first.Load()) // the person has the prompt, and signs
	w.operator.mustSend(smpp.NewReceipt(first.Load(), smpp.Receipt{MessageID: id, State: smpp.Undeliverable, Error: smpp.NetworkError{Network: 3, Code: 0xD5}}, time.Now(), time.Now()))
	w.operator.mustDeliver(p.number, answer...)
	if s := w.state(tx.ID, 3*time.Second); s != gateway.Signed {
		t.Errorf("%s, and the person has signed", s)
	}
}

// As above, but the centre refuses the second copy.
func TestSecondCopyIsRefused(t *testing.T) {
	o, first, second := secondCopy(t, smpp.StatusSubmitFailed)
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	<-second
	w.progresses(t, tx.ID, gateway.Sent)
	w.operator.mustDeliver(p.number, p.answer(first.Load())...)
	if s := w.state(tx.ID, 3*time.Second); s != gateway.Signed {
		t.Errorf("%s (%s), and the person has signed", s, w.recorded(tx.ID).Reason)
	}
}
