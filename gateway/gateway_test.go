package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// Segments in any order, each doubled: signed, once.
func TestAnswerInAnyOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		random := rand.New(rand.NewPCG(1, 1))
		for range 10 {
			tx := w.admit(p, time.Minute)
			segments := p.answer(w.operator.next())
			if len(segments) < 3 {
				t.Fatalf("an answer of %d segments shows nothing", len(segments))
			}
			segments = append(segments, segments...)
			random.Shuffle(len(segments), func(i, j int) { segments[i], segments[j] = segments[j], segments[i] })
			w.operator.mustDeliver(p.number, segments...)
			if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
				t.Fatalf("%s", state)
			}
			if e := w.recorded(tx.ID); e.State != gateway.Signed || e.Serial != tx.Serial || e.Provider != provider {
				t.Errorf("on record: %+v", e)
			}
		}
	})
}

// S3, S7: whatever hostile messages arrive, nothing is released, nothing
// crashes, each is counted, and the card's own answer still counts after.
func TestHostileMessages(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p, other := w.enrol(1), w.enrol(2)
		before := w.admit(p, time.Minute)
		old := p.answer(w.operator.next())
		w.operator.mustDeliver(p.number, old...)
		if state := w.state(before.ID, 10*time.Second); state != gateway.Signed {
			t.Fatal(state)
		}
		tx := w.admit(p, time.Minute)
		genuine := p.answer(w.operator.next())
		reference, err := applet.ParseReference(tx.ID)
		if err != nil {
			t.Fatal(err)
		}
		signed := applet.Answer{Reference: reference, Result: applet.Signed, Signature: []byte{0x30, 0}}
		for name, hostile := range map[string][][]byte{
			"the previous transaction's answer":   old,
			"another card's answer":               other.forge(tx.Counter, signed),
			"a counter that is not the asked one": p.forge(tx.Counter+1, signed),
			"a forged checksum":                   {flip(p.forge(tx.Counter, applet.Answer{Reference: reference, Result: applet.CancelledByUser})[0], 40)},
			"no security header":                  {{0x00, 1, 2, 3}},
			"a command packet":                    {bytes.Replace(p.forge(tx.Counter, applet.Answer{Reference: reference, Result: applet.Busy})[0], []byte{0x71}, []byte{0x70}, 1)},
			"a truncated packet":                  {genuine[0][:10], {5, 0, 3, 9, 3, 1, 0x71}},
			"part 0 of 3":                         {{5, 0, 3, 9, 3, 0, 1}},
			"part 4 of 3":                         {{5, 0, 3, 9, 3, 4, 1}},
			"a header past the end":               {{200, 1}},
			"an element past the header":          {{3, 0x71, 9, 1}},
			"a header alone":                      {{2, 0x71, 0}},
		} {
			count := w.dropped()
			for _, ud := range hostile {
				if err := w.operator.deliver(p.number, ud); err != nil && !errors.As(err, new(smpp.Status)) {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if state := w.state(tx.ID, 0); state != gateway.Pending {
				t.Fatalf("%s: ended as %s", name, state)
			}
			if name != "a truncated packet" && name != "a header past the end" && w.dropped() == count {
				t.Errorf("%s: not counted", name)
			}
		}
		// From numbers that nothing was asked of, and from none.
		count := w.dropped()
		w.operator.mustDeliver("+994509999999", genuine...)
		for _, source := range []smpp.Address{{}, {Addr: "BANK"}, {Addr: "12345678901234567890"}} {
			if err := w.operator.send(&smpp.ShortMessage{Source: source, ESMClass: smpp.ESMClassUDHI, Message: genuine[0]}); err != nil {
				t.Error(err)
			}
		}
		if err := w.operator.send(&smpp.ShortMessage{Source: smpp.International(p.number.Digits()), Message: []byte("salam")}); err != nil {
			t.Error(err)
		}
		if n := w.dropped() - count; n != len(genuine)+4 {
			t.Errorf("%d counted, want %d", n, len(genuine)+4)
		}
		w.operator.mustDeliver(p.number, genuine...)
		if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
			t.Errorf("the card's own answer: %s", state)
		}
		w.operator.mustDeliver(p.number, genuine...) // and once more, too late
		if state := w.state(tx.ID, 0); state != gateway.Signed {
			t.Errorf("after a replay: %s", state)
		}
	})
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// Random octets from a telephone that has a transaction.
func TestRandomMessages(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	genuine := p.answer(w.operator.next())
	random := rand.New(rand.NewPCG(7, 7))
	for range 1500 {
		ud := bytes.Clone(genuine[random.IntN(len(genuine))])
		switch random.IntN(3) {
		case 0:
			for i := range ud {
				ud[i] = byte(random.Uint32())
			}
		case 1:
			ud[random.IntN(len(ud))] ^= byte(1 + random.IntN(255))
		case 2:
			ud = ud[:random.IntN(len(ud))]
		}
		if err := w.operator.deliver(p.number, ud); err != nil && !errors.As(err, new(smpp.Status)) {
			t.Fatal(err)
		}
		if state := w.state(tx.ID, 0); state != gateway.Pending {
			t.Fatalf("%x: %s", ud, state)
		}
	}
	// The mixture of theirs and ours fails once, and leaves nothing behind.
	w.operator.mustDeliver(p.number, genuine...)
	w.operator.mustDeliver(p.number, genuine...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
		t.Errorf("%s", state)
	}
}

// What a card with the right keys may say, and what becomes of it.
func TestWhatACardMayAnswer(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		for _, c := range []struct {
			name   string
			result applet.Result
			body   []byte
			want   gateway.State
		}{
			{"cancelled", applet.CancelledByUser, nil, gateway.CancelledByUser},
			{"PIN blocked", applet.PINBlocked, nil, gateway.PINBlocked},
			{"busy", applet.Busy, nil, gateway.CardError},
			{"unknown result", 0x55, nil, gateway.CardError},
			{"no signature", applet.Signed, nil, gateway.SignatureInvalid},
			{"not DER", applet.Signed, []byte("hello"), gateway.SignatureInvalid},
			{"BER without end", applet.Signed, bytes.Repeat([]byte{0x30, 0x80}, 3000), gateway.SignatureInvalid},
			{"over 16 KiB", applet.Signed, bytes.Repeat([]byte{0x30}, 16<<10+1), gateway.SignatureInvalid},
		} {
			tx := w.admit(p, time.Minute)
			w.operator.next()
			reference, err := applet.ParseReference(tx.ID)
			if err != nil {
				t.Fatal(err)
			}
			w.operator.mustDeliver(p.number, p.forge(tx.Counter, applet.Answer{Reference: reference, Result: c.result, Signature: c.body})...)
			if state := w.state(tx.ID, 10*time.Second); state != c.want {
				t.Errorf("%s: %s, want %s", c.name, state, c.want)
			}
		}
		for name, r := range map[string]ota.Response{
			"a response status":               {Status: ota.StatusMemory},
			"an answer that is none":          {Data: []byte{1, 2, 3}},
			"a reference of somebody else's":  {Data: (&applet.Answer{Result: applet.CancelledByUser}).Append(nil)},
			"a refusal with octets behind it": {Data: append((&applet.Answer{Result: applet.Busy}).Append(nil), 1)},
		} {
			tx := w.admit(p, time.Minute)
			w.operator.next()
			r.Counter = tx.Counter
			w.operator.mustDeliver(p.number, p.forgeRaw(r)...)
			if state := w.state(tx.ID, 10*time.Second); state != gateway.CardError {
				t.Errorf("%s: %s, want card_error", name, state)
			}
		}
	})
}

// A certificate that is suspended between request and answer releases nothing.
func TestCertificateSuspendedUnderWay(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	answer := p.answer(w.operator.next())
	if err := w.registry.SetCertificateState(t.Context(), tx.Serial, "suspended", registry.Change{}); err != nil {
		t.Fatal(err)
	}
	w.operator.mustDeliver(p.number, answer...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.SignatureInvalid {
		t.Errorf("%s", state)
	}
}

// S4: past its deadline a transaction is ended by the sweep, with nobody
// asking, and a late answer does not change it.
func TestDeadline(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		tx := w.admit(p, time.Second)
		answer := p.answer(w.operator.next())
		e := w.recorded(tx.ID)
		if e.State != gateway.Expired || e.Ended.Sub(e.Deadline) > 2*time.Second || e.Ended.Before(e.Deadline) {
			t.Errorf("%+v", e)
		}
		w.operator.mustDeliver(p.number, answer...)
		if state := w.state(tx.ID, 0); state != gateway.Expired {
			t.Errorf("after a late answer: %s", state)
		}
	})
}

// Whoever comes first ends a transaction, and then it stays: a card's answer,
// the provider's withdrawal and a receipt at once, many times.
func TestOneEnd(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		ends := map[gateway.State]int{}
		for range 30 {
			tx := w.admit(p, time.Minute)
			answer := p.answer(w.operator.next())
			w.operator.mustDeliver(p.number, answer[1:]...)
			receipt := smpp.NewReceipt(&smpp.ShortMessage{Dest: smpp.International(p.number.Digits())},
				smpp.Receipt{MessageID: w.operator.lastID(), State: smpp.Undeliverable}, time.Now(), time.Now())
			var all sync.WaitGroup
			all.Go(func() { w.operator.mustDeliver(p.number, answer[0]) })
			all.Go(func() {
				if _, err := w.gateway.Cancel(t.Context(), provider, tx.ID); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if err := w.operator.send(receipt); err != nil {
					t.Error(err)
				}
			})
			first := w.state(tx.ID, 10*time.Second)
			all.Wait()
			if last := w.state(tx.ID, 0); last != first {
				t.Errorf("ended as %s, then %s", first, last)
			}
			if e := w.recorded(tx.ID); e.State != first {
				t.Errorf("ended as %s, on record %s", first, e.State)
			}
			ends[first]++
		}
		t.Log(ends)
	})
}

// A receipt that is faster than the response to its submit_sm counts as well.
func TestEarlyReceipt(t *testing.T) {
	o := newOperator(t)
	o.onSubmit = func(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage, id string) (string, smpp.Status) {
		if err := s.Deliver(ctx, smpp.NewReceipt(m, smpp.Receipt{MessageID: id, State: smpp.Rejected}, time.Now(), time.Now())); err != nil {
			t.Error(err)
		}
		return id, smpp.StatusOK
	}
	o.listen()
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	tx := w.admit(w.enrol(1), time.Minute)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
}

func TestOperatorRefuses(t *testing.T) {
	o := newOperator(t)
	o.onSubmit = func(context.Context, *smpp.Session, *smpp.ShortMessage, string) (string, smpp.Status) {
		return "", smpp.StatusInvalidDest
	}
	o.listen()
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	tx := w.admit(w.enrol(1), time.Minute)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Undeliverable {
		t.Errorf("%s", state)
	}
}

// S1: a challenge that waits for its turn is asked about again before it goes.
func TestBlockWhileTheChallengeWaits(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		// Nobody listens at the operator's address yet.
		o := newOperator(t)
		o.listen()
		late := newOperator(t)
		late.addr = unusedAddr(t)
		w := newWorldWith(t, redis, late)
		p, q := w.enrol(1), w.enrol(2)
		blocked := w.admit(p, time.Minute)
		cancelled := w.admit(q, time.Minute)
		w.block(false)
		if _, err := w.gateway.Cancel(t.Context(), provider, cancelled.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(blocked.Accepted.Add(1100 * time.Millisecond))) // longer than the gateway's patience
		late.listen()
		if state := w.state(blocked.ID, 20*time.Second); state != gateway.Blocked {
			t.Errorf("%s", state)
		}
		<-late.bound
		w.block(true)
		third := w.admit(p, time.Minute)
		if m := late.next(); m.Dest.Addr != p.number.Digits() {
			t.Errorf("to %s", m.Dest.Addr)
		}
		if len(late.submitted) != 0 {
			t.Errorf("%d challenges went out that nobody wanted", len(late.submitted))
		}
		if state := w.state(third.ID, 0); state != gateway.Pending {
			t.Errorf("%s", state)
		}
	})
}

// Two nodes on one Redis: segments of one answer arrive at both, and the end is
// heard on the node that did not see it.
func TestTwoNodes(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		second, _ := w.node()
		p := w.enrol(1)
		for range 5 {
			tx := w.admit(p, time.Minute)
			segments := p.answer(w.operator.next())
			waited := make(chan gateway.State, 1)
			go func() {
				t2, err := second.Get(t.Context(), provider, tx.ID, 20*time.Second)
				if err != nil {
					t.Error(err)
					waited <- ""
					return
				}
				waited <- t2.State
			}()
			for i, ud := range segments {
				g := []*gateway.Gateway{w.gateway, second}[i%2]
				m := &smpp.ShortMessage{Source: smpp.International(p.number.Digits()), ESMClass: smpp.ESMClassUDHI, Message: ud}
				if status := g.Receive(t.Context(), nil, m); status != smpp.StatusOK {
					t.Error(status)
				}
			}
			if state := <-waited; state != gateway.Signed {
				t.Errorf("%s", state)
			}
		}
	})
}

// S7: while Redis is away a message is not acknowledged, so the operator brings
// it again.
func TestMessageWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Addr)
	p := w.enrol(1)
	w.admit(p, time.Minute)
	answer := p.answer(w.operator.next())
	server.Kill()
	if err := w.operator.deliver(p.number, answer[0]); !errors.Is(err, smpp.StatusTemporary) {
		t.Errorf("%v", err)
	}
	_, err := w.gateway.Admit(t.Context(), request(p, time.Minute))
	var refusal *gateway.Refusal
	if !errors.As(err, &refusal) || refusal.Code != gateway.PolicyUnavailable {
		t.Errorf("%v", err)
	}
}

// What Redis lost is ended in the journal, and can be read from there.
func TestRedisLostATransaction(t *testing.T) {
	server := redistest.Start(t)
	o := newOperator(t)
	o.listen()
	w := newWorldWith(t, server.Addr, o)
	lost := gateway.Entry{ID: "aaaaaaaaaaaaaaaa", Provider: provider, MSISDN: "+994500000001", State: gateway.Pending,
		Accepted: time.Now().Add(-2 * time.Minute), Deadline: time.Now().Add(-time.Minute)}
	if err := w.registry.Record(t.Context(), []gateway.Entry{lost}); err != nil {
		t.Fatal(err)
	}
	w.node() // each node looks for what is lost when it starts
	if e := w.recorded(lost.ID); e.State != gateway.Expired || e.Reason != "lost" {
		t.Errorf("%+v", e)
	}
	if state := w.state(lost.ID, 0); state != gateway.Expired {
		t.Errorf("%s", state)
	}
	if _, err := w.gateway.Get(t.Context(), "somebody-else", lost.ID, 0); err == nil {
		t.Error("another provider reads it")
	}
}

// Card counters rise although Redis forgot the last one.
func TestCounterRisesAfterRedisIsLost(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Addr)
	p := w.enrol(1)
	var counters []uint64
	for range 2 {
		for range 3 {
			tx := w.admit(p, time.Minute)
			w.operator.mustDeliver(p.number, p.answer(w.operator.next())...)
			if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
				t.Fatal(state)
			}
			counters = append(counters, tx.Counter)
		}
		server.Kill()
		server.Restart()
		w.awaitPolicy()
		for w.gateway.Ready(t.Context()) != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	if !slices.IsSorted(counters) || len(slices.Compact(counters)) != 6 {
		t.Errorf("%d", counters)
	}
}

// A challenge with a long text takes several segments, and is signed.
func TestLongChallenge(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	r := request(p, time.Minute)
	r.Text = "Договор купли-продажи квартиры по адресу: Баку, ул. Низами 12, кв. 34, цена 120 000 манат"
	tx, err := w.gateway.Admit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	first := w.operator.next()
	part, err := sms.ParseUserData(first.Message)
	if err != nil || part.Total != 2 {
		t.Fatalf("%+v %v", part, err)
	}
	w.operator.mustDeliver(p.number, p.answer(first, w.operator.next())...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
		t.Errorf("%s", state)
	}
}

// A challenge with 40 characters is one message, whatever the letters.
func TestShortChallengeIsOneMessage(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	p := w.enrol(1)
	r := request(p, time.Minute)
	r.Text = "Ödəniş tapşırığı № 12: 250 ₼, Nümunə MMC"
	if n := len([]rune(r.Text)); n != 40 {
		t.Fatalf("%d characters", n)
	}
	if _, err := w.gateway.Admit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	m := w.operator.next()
	part, err := sms.ParseUserData(m.Message)
	if err != nil || part.Total != 1 || len(m.Message) > sms.MaxUserData {
		t.Errorf("%+v %v", part, err)
	}
	if m.ESMClass != 0x40 || m.ProtocolID != 0x7F || m.DataCoding != 0xF6 || m.RegisteredDelivery != 1 {
		t.Errorf("%+v", m)
	}
}

// Somebody who writes the telephone's number on garbage cannot make the card's
// own segments, once acknowledged, be forgotten.
func TestForeignSegmentsAmongTheCardsOwn(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		tx := w.admit(p, time.Minute)
		genuine := p.answer(w.operator.next())
		for _, ud := range genuine[1:] {
			garbage := append(bytes.Clone(ud[:6]), bytes.Repeat([]byte{0xEE}, len(ud)-6)...)
			w.operator.mustDeliver(p.number, garbage)
		}
		w.operator.mustDeliver(p.number, genuine...) // each once
		if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
			t.Errorf("%s", state)
		}
	})
}

// S5: a withdrawn transaction's prompt is still on the screen, so its telephone
// stays busy until the card has answered.
func TestWithdrawnTransactionKeepsTheTelephone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		tx := w.admit(p, time.Minute)
		challenge := w.operator.next()
		if _, err := w.gateway.Cancel(t.Context(), provider, tx.ID); err != nil {
			t.Fatal(err)
		}
		var refusal *gateway.Refusal
		if _, err := w.gateway.Admit(t.Context(), request(p, time.Minute)); !errors.As(err, &refusal) || refusal.Code != gateway.SubscriberBusy {
			t.Errorf("a second prompt beside the first: %v", err)
		}
		w.operator.mustDeliver(p.number, p.answer(challenge)...)
		if state := w.state(tx.ID, 0); state != gateway.CancelledByProvider {
			t.Errorf("%s", state)
		}
		w.admit(p, time.Minute)
	})
}

// Neither the refusal nor its code tells a guesser, after twenty wrong User IDs,
// whether one is right.
func TestGuessingUserIDs(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		p := w.enrol(1)
		code := func(userID string, wanted gateway.CertificateType) gateway.Code {
			r := request(p, time.Minute)
			r.UserID, r.Wanted = userID, gateway.Wanted{Type: wanted}
			_, err := w.gateway.Admit(t.Context(), r)
			var refusal *gateway.Refusal
			if !errors.As(err, &refusal) {
				t.Fatal(err)
			}
			return refusal.Code
		}
		if got := code(userID, gateway.Government); got != gateway.CertificateNotActive {
			t.Errorf("%s", got)
		}
		for range 20 {
			if got := code("000000", gateway.Government); got != gateway.NotASubscriber {
				t.Fatalf("%s", got)
			}
		}
		for _, wanted := range []gateway.CertificateType{gateway.Government, gateway.Business} {
			if got := code(userID, wanted); got != gateway.NotASubscriber {
				t.Errorf("the right one after 20 wrong ones, %s: %s", wanted, got)
			}
		}
	})
}

// Redis stalls in the middle of an admission: the provider is told no, and the
// transaction that comes to be afterwards is ended, so that the telephone is
// not busy with nothing.
func TestAdmissionThatWasNotAnswered(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Addr)
	p := w.enrol(1)
	w.block(true) // the set's tables are warm
	if err := w.permissions.Load(t.Context(), policy.Employee{VOEN: voen, FIN: fin}); err != nil {
		t.Fatal(err)
	}
	if err := w.permissions.Redis.Do(t.Context(), "CLIENT", "PAUSE", "900", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if _, err := w.gateway.Admit(t.Context(), request(p, time.Minute)); err == nil {
		t.Fatal("admitted while Redis stood still")
	}
	if took := time.Since(started); took > 1100*time.Millisecond {
		t.Errorf("refused after %s", took)
	}
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := w.gateway.Admit(t.Context(), request(p, time.Minute)); err == nil {
			break
		} else if time.Now().After(until) {
			t.Fatalf("the telephone stays busy: %v", err)
		}
	}
}

// What ended while SQL was away is in the stream, and is not taken for lost
// although Redis holds it no longer.
func TestEndsInTheStreamAreNotLost(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Addr)
	deadline := time.Now().Add(-time.Minute)
	var entries []gateway.Entry
	for range 300 {
		var r applet.Reference
		for i := range r {
			r[i] = byte(rand.Uint32())
		}
		entries = append(entries, gateway.Entry{ID: r.String(), Provider: provider, State: gateway.Pending, Accepted: deadline, Deadline: deadline})
	}
	for _, e := range entries {
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		ms := deadline.UnixMilli()
		if err := w.permissions.Redis.XAdd(t.Context(), &goredis.XAddArgs{Stream: "imza:journal", Values: map[string]any{
			"id": e.ID, "data": raw, "state": "signed", "reason": "", "deadline": ms, "accepted": ms, "ended": ms}}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.registry.Record(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	w.node()
	for _, e := range entries {
		if got := w.recorded(e.ID); got.State != gateway.Signed {
			t.Fatalf("on record: %+v", got)
		}
	}
}

// A receipt with a state of the operator's own, faster than the response, says
// nothing against a challenge that went out.
func TestEarlyReceiptOfUnknownState(t *testing.T) {
	o := newOperator(t)
	o.onSubmit = func(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage, id string) (string, smpp.Status) {
		receipt := smpp.NewReceipt(m, smpp.Receipt{MessageID: id, State: 42}, time.Now(), time.Now())
		if err := s.Deliver(ctx, receipt); err != nil {
			t.Error(err)
		}
		o.submitted <- m
		return id, smpp.StatusOK
	}
	o.listen()
	w := newWorldWith(t, redistest.Start(t).Addr, o)
	p := w.enrol(1)
	tx := w.admit(p, time.Minute)
	w.operator.mustDeliver(p.number, p.answer(o.next())...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
		t.Errorf("%s", state)
	}
}

// Under load, with every request failing, a Redis that is back is noticed at
// once, and counts a second later.
func TestBackAfterRedisWasKilled(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, server.Addr)
	busy := request(w.enrol(1), time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				_, _ = w.gateway.Admit(ctx, busy) // refused, for one reason or another
			}
		})
	}
	for i := range 3 {
		r := request(w.enrol(i+2), time.Minute)
		server.Kill()
		time.Sleep(300 * time.Millisecond)
		server.Restart()
		for back := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			_, err := w.gateway.Admit(t.Context(), r)
			if err == nil {
				t.Logf("admitted after %s", time.Since(back))
				break
			}
			if time.Since(back) > 2*time.Second {
				t.Fatalf("not yet back: %v", err)
			}
		}
	}
	cancel()
	load.Wait()
}

// A telephone on which a prompt may be lit is kept, by whatever else ends the
// transaction, until the card has answered or the deadline is over.
func TestTelephoneIsKeptWhileAPromptMayBeLit(t *testing.T) {
	redistest.Each(t, func(t *testing.T, addr string) {
		w := newWorld(t, addr)
		busy := func(p *telephone) {
			t.Helper()
			var refusal *gateway.Refusal
			if _, err := w.gateway.Admit(t.Context(), request(p, time.Minute)); !errors.As(err, &refusal) || refusal.Code != gateway.SubscriberBusy {
				t.Errorf("a second prompt: %v", err)
			}
		}
		p := w.enrol(1)
		tx := w.admit(p, time.Minute)
		challenge := w.operator.next()
		if state, err := w.gateway.EndUnsure(t.Context(), tx); err != nil || state != gateway.Blocked {
			t.Fatal(state, err)
		}
		busy(p)
		w.operator.mustDeliver(p.number, p.answer(challenge)...)
		w.admit(p, time.Minute)

		p = w.enrol(2)
		tx = w.admit(p, time.Minute)
		if _, err := w.gateway.Cancel(t.Context(), provider, tx.ID); err != nil {
			t.Fatal(err)
		}
		// A node whose clock is ahead would end what another has withdrawn.
		if state, err := w.gateway.Expire(t.Context(), tx); err != nil || state != gateway.CancelledByProvider {
			t.Fatal(state, err)
		}
		busy(p)
	})
}

// Why Redis cannot be reached is told, not only that it cannot.
func TestUnreachedRedisSaysWhy(t *testing.T) {
	client, err := gateway.OpenRedis("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	err = client.Ping(t.Context()).Err()
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		t.Errorf("%v", err)
	}
}
