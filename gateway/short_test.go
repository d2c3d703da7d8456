package gateway_test

import (
	"bytes"
	"testing"
	"time"

	"imza/gateway"
	"imza/policy/redistest"
	"imza/simcard/applet"
	"imza/simcard/ota"
)

// A card that is on record as able to is asked for the short answer, which is
// one message, and what is released does not tell.
func TestShortAnswer(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		var released []*gateway.Transaction
		for n, short := range []bool{false, true} {
			w.short = short
			p := w.enrol(n + 1)
			tx := w.admit(p, time.Minute)
			challenge := w.operator.next()
			if first := opened(t, p, challenge.Message[3:]); first != map[bool]byte{false: 0x01, true: 0x02}[short] {
				t.Errorf("short %t: the challenge begins with %02x", short, first)
			}
			segments := p.answer(challenge)
			if (len(segments) == 1) != short {
				t.Errorf("short %t: answered in %d messages", short, len(segments))
			}
			w.operator.mustDeliver(p.number, segments...)
			if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
				t.Fatalf("short %t: %s", short, state)
			}
			got, err := w.gateway.Get(t.Context(), provider, tx.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			released = append(released, got)
		}
		// Up to what differs anyway: two serial numbers and ECDSA's two numbers may
		// each be an octet shorter.
		if a, b := len(released[0].CMS), len(released[1].CMS); a-b > 8 || b-a > 8 {
			t.Errorf("signatures of %d and %d octets", a, b)
		}
	})
}

// opened is the first octet of what a command packet carries.
func opened(t *testing.T, p *telephone, packet []byte) byte {
	t.Helper()
	_, data, err := p.channel.OpenCommand(packet)
	if err != nil || len(data) == 0 {
		t.Fatalf("%x: %v", packet, err)
	}
	return data[0]
}

// What a card with the right keys may say in a short answer, and what becomes of
// it: nothing but the very value is released.
func TestWhatAShortAnswerMayBe(t *testing.T) {
	w := newWorld(t, redistest.Start(t).Addr)
	w.short = true
	p := w.enrol(1)
	long := w.enrolFull(2)
	old := signedValue(t, p, w) // of an earlier transaction
	order := bytes.Repeat([]byte{0xFF}, 32)
	for name, c := range map[string]struct {
		short bool
		value []byte
		want  gateway.State
	}{
		"no value":                   {true, nil, gateway.SignatureInvalid},
		"an octet less":              {true, old[1:], gateway.SignatureInvalid},
		"an octet more":              {true, append(bytes.Clone(old), 0), gateway.SignatureInvalid},
		"of P-384":                   {true, make([]byte, 96), gateway.SignatureInvalid},
		"of RSA":                     {true, make([]byte, 256), gateway.SignatureInvalid},
		"zeros":                      {true, make([]byte, 64), gateway.SignatureInvalid},
		"over the order":             {true, append(bytes.Clone(order), order...), gateway.SignatureInvalid},
		"of an earlier transaction":  {true, old, gateway.SignatureInvalid},
		"DER":                        {true, append([]byte{0x30, 0x44}, make([]byte, 68)...), gateway.SignatureInvalid},
		"the other form, with value": {false, old, gateway.CardError},
		"the other form, with DER":   {false, []byte{0x30, 0}, gateway.CardError},
	} {
		tx := w.admit(p, time.Minute)
		w.operator.next()
		reference, err := applet.ParseReference(tx.ID)
		if err != nil {
			t.Fatal(err)
		}
		w.operator.mustDeliver(p.number, p.forge(tx.Counter, applet.Answer{Short: c.short, Reference: reference, Result: applet.Signed, Signature: c.value})...)
		if state := w.state(tx.ID, 10*time.Second); state != c.want {
			t.Errorf("%s: %s, want %s", name, state, c.want)
		}
		if got, err := w.gateway.Get(t.Context(), provider, tx.ID, 0); err != nil || got.CMS != nil {
			t.Errorf("%s: released %x, %v", name, got.CMS, err)
		}
		w.signs(t, p) // and the prompts count anew
	}
	// A short answer to who asked for a full one.
	tx := w.admit(long, time.Minute)
	w.operator.next()
	reference, err := applet.ParseReference(tx.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.operator.mustDeliver(long.number, long.forge(tx.Counter, applet.Answer{Short: true, Reference: reference, Result: applet.Signed, Signature: old})...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.CardError {
		t.Errorf("a short answer that nobody asked for: %s", state)
	}
}

// enrolFull enrols a subscriber whose card is not asked for short answers.
func (w *world) enrolFull(n int) *telephone {
	w.short = false
	defer func() { w.short = true }()
	return w.enrol(n)
}

// signs fails the test unless the telephone's card signs.
func (w *world) signs(t *testing.T, p *telephone) {
	t.Helper()
	tx := w.admit(p, time.Minute)
	w.operator.mustDeliver(p.number, p.answer(w.operator.next())...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
		t.Fatal(state)
	}
}

// signedValue is the value of a short answer that was good once.
func signedValue(t *testing.T, p *telephone, w *world) []byte {
	t.Helper()
	asked := request(p, time.Minute)
	asked.Text = "Another contract"
	tx, err := w.gateway.Admit(t.Context(), asked)
	if err != nil {
		t.Fatal(err)
	}
	segments := p.answer(w.operator.next())
	r, err := p.channel.OpenResponse(segments[0][3:])
	if err != nil {
		t.Fatal(err)
	}
	a, err := applet.ParseAnswer(r.Data)
	if err != nil || len(a.Signature) != 64 {
		t.Fatalf("%x %v", a.Signature, err)
	}
	w.operator.mustDeliver(p.number, segments...)
	if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
		t.Fatal(state)
	}
	return a.Signature
}

// A network brings a challenge twice: the card says of the second that its counter
// is low, and the first is still on the screen.
func TestChallengeThatComesTwiceEndsNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, redis string) {
		w := newWorld(t, redis)
		w.short = true
		p := w.enrol(1)
		tx := w.admit(p, time.Minute)
		challenge := w.operator.next()
		dropped := w.dropped()
		w.operator.mustDeliver(p.number, p.forgeRaw(ota.Response{Counter: tx.Counter, Status: ota.StatusCounterLow})...)
		if state := w.state(tx.ID, 0); state != gateway.Pending || w.dropped() != dropped+1 {
			t.Errorf("%s, %d dropped", state, w.dropped()-dropped)
		}
		w.operator.mustDeliver(p.number, p.answer(challenge)...)
		if state := w.state(tx.ID, 10*time.Second); state != gateway.Signed {
			t.Errorf("%s", state)
		}
		// The card's own words, to the very challenge: after the first has been
		// answered, in full.
		if again := p.answer(challenge); len(again) != 1 {
			t.Errorf("%d messages to a challenge that came twice", len(again))
		} else if r, err := p.channel.OpenResponse(again[0][3:]); err != nil || r.Status != ota.StatusCounterLow {
			t.Errorf("%+v %v", r, err)
		}
		// If nothing else comes of it, the reason is on record.
		tx = w.admit(p, time.Second)
		w.operator.next()
		w.operator.mustDeliver(p.number, p.forgeRaw(ota.Response{Counter: tx.Counter, Status: ota.StatusCounterLow})...)
		if e := w.recorded(tx.ID); e.State != gateway.Expired || e.Reason != "counter low" {
			t.Errorf("%s, reason %q", e.State, e.Reason)
		}
		// Other statuses are of the card's own, and end it.
		tx = w.admit(p, time.Minute)
		w.operator.next()
		w.operator.mustDeliver(p.number, p.forgeRaw(ota.Response{Counter: tx.Counter, Status: ota.StatusCounterBlocked})...)
		if state := w.state(tx.ID, 10*time.Second); state != gateway.CardError {
			t.Errorf("%s", state)
		}
	})
}
