package emulator

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// work is something that a card does for a terminal, and stores.
type work struct {
	prepare func(testing.TB, *card)
	first   []simcard.Command // before it
	run     func(*terminal) (done bool)
	changes func(*Profile) // if it is done
}

// commanded is work that is one command.
func commanded(c simcard.Command) func(*terminal) bool {
	return func(x *terminal) bool {
		r := x.do(c)
		if r.SW != simcard.SWOK && r.SW != simcard.SWMemory {
			x.Fatalf("INS %02X: %s", c.INS, r.SW)
		}
		return r.SW == simcard.SWOK
	}
}

// fromMenu is work that an entry of the menu does, for PIN2.
func fromMenu(item byte, entries ...string) func(*terminal) bool {
	return func(x *terminal) bool {
		x.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}})
		list := x.want(toolkit.SetUpMenu)
		x.respond(list.Respond(toolkit.Done))
		x.do(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: toolkit.MenuSelection(nil, item)})
		for left := entries; ; {
			c := x.fetch()
			r := c.Respond(toolkit.Done)
			switch c.Type {
			case toolkit.SelectItem:
				r.Item = 2
			case toolkit.GetInput:
				r, left = typed(c, left[0]), left[1:]
			}
			x.respond(r)
			if c.Type == toolkit.DisplayText {
				return shown(x, c) != azerbaijaniMenu.failed
			}
		}
	}
}

func stored(t testing.TB) map[string]work {
	t.Helper()
	adm := func(_ testing.TB, c *card) { c.profile.ADM = NewPUK(testADM) }
	asks := func(_ testing.TB, c *card) { c.profile.Telephone.Asks = true }
	isIssuer := simcard.Command{INS: insVerify, P2: simcard.ADM, Data: padded(testADM)}
	wanted := applet.KeyRecord{Number: 2, Operation: applet.Sign, Kind: applet.P256}
	renewed := issue(testP256().Public()).Raw
	newPIN2 := func(p *Profile) { p.PIN2 = NewPIN("22222") }
	return map[string]work{
		"CHANGE":        {nil, nil, commanded(simcard.Command{INS: insChange, P2: p2PIN2, Data: pair(testPIN2, "22222")}), newPIN2},
		"UNBLOCK":       {blockPIN2, nil, commanded(simcard.Command{INS: insUnblock, P2: p2PIN2, Data: pair(testPUK, "22222")}), newPIN2},
		"menu: change":  {nil, nil, fromMenu(itemChangePIN2, testPIN2, "22222", "22222"), newPIN2},
		"menu: unblock": {blockPIN2, nil, fromMenu(itemUnblock, testPUK, "22222", "22222"), newPIN2},
		"UNBLOCK of a PIN that is not asked for": {nil, nil,
			commanded(simcard.Command{INS: insUnblock, P2: simcard.PINTelephone, Data: pair("00000000", "2222")}),
			func(p *Profile) { p.Telephone.Asks, p.Telephone.PIN = true, NewPIN("2222") }},
		"ENABLE": {nil, nil, commanded(simcard.Command{INS: simcard.EnablePIN, P2: simcard.PINTelephone, Data: padded("0000")}),
			func(p *Profile) { p.Telephone.Asks = true }},
		"DISABLE": {asks, nil, commanded(simcard.Command{INS: simcard.DisablePIN, P2: simcard.PINTelephone, Data: padded("0000")}),
			func(p *Profile) { p.Telephone.Asks = false }},
		"GENERATE KEY PAIR": {adm, []simcard.Command{isIssuer}, commanded(simcard.Command{INS: simcard.GenerateKeyPair, Data: wanted.GenerateKey()}),
			func(p *Profile) { p.Keys = append(p.Keys, Key{Number: 2}) }},
		"UPDATE BINARY": {adm, []simcard.Command{isIssuer, simcard.SelectEF(simcard.EFCert | 1), {INS: simcard.UpdateBinary, Data: renewed[:200]}},
			commanded(simcard.Command{INS: simcard.UpdateBinary, P2: 200, Data: renewed[200:]}), func(p *Profile) { p.Keys[0].Certificate = renewed }},
	}
}

// A memory that fails once and then works again, so that the card goes on: what
// the card says it did not do is not done later either, when it stores something
// else.
func TestMemoryThatFailsOnce(t *testing.T) {
	for name, w := range stored(t) {
		for at := 1; ; at++ {
			failed := false
			for _, through := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/save %d stored %t", name, at, through), func(t *testing.T) { failed = w.withFailure(t, at, through) })
			}
			if !failed {
				if at < 2 {
					t.Errorf("%s stores nothing", name)
				}
				break
			}
		}
	}
}

// withFailure does the work with its n-th save failing, which is stored all the
// same if it gets through, and reports whether there was such a save.
func (w *work) withFailure(t *testing.T, n int, through bool) (failed bool) {
	t.Helper()
	c := newCard(t, nil)
	if w.prepare != nil {
		w.prepare(t, c)
	}
	counts, saves := false, 0
	var err error
	if c.SIM, err = NewSIM(c.profile, func(now *Profile) error {
		if counts {
			saves++
		}
		if !counts || saves != n {
			return c.save(now)
		}
		if failed = true; through {
			_ = c.save(now)
		}
		return errCut
	}); err != nil {
		t.Fatal(err)
	}
	c.boot(t)
	x := &terminal{TB: t, card: c}
	for _, first := range w.first {
		if r := x.do(first); r.SW != simcard.SWOK {
			t.Fatalf("INS %02X: %s", first.INS, r.SW)
		}
	}
	want := *c.profile
	want.Keys = slices.Clone(want.Keys)
	counts = true
	done := w.run(x)
	counts = false
	if done == failed {
		t.Errorf("the card said done %t, its memory failed %t", done, failed)
	}
	if done {
		w.changes(&want)
	}
	if got, want := settled(c.profile), settled(&want); got != want {
		t.Errorf("the card said done %t and has %s, want %s", done, got, want)
	}
	if c.profile.PIN2.Tries > 0 {
		x.sign(c.segments(t, challenge()), c.profile.PIN2.Digits)
		if a := x.answer(c); a.Result != applet.Signed {
			t.Errorf("a challenge is answered %s", a.Result)
		}
	} else if err := c.save(c.profile); err != nil {
		t.Fatal(err)
	}
	if got, want := settled(parse(t, c.stored[len(c.stored)-1])), settled(&want); got != want {
		t.Errorf("the card said done %t and stores %s, want %s", done, got, want)
	}
	return failed
}

// settled is what must be one thing or the other: the tries of a PIN that was
// compared need not, unless it is blocked.
func settled(p *Profile) string {
	pin := func(p PIN) string { return fmt.Sprintf("%s (blocked %t)", p.Digits, p.Tries == 0) }
	text := fmt.Sprint(pin(p.PIN1), pin(p.PIN2), pin(p.PUK), pin(p.Telephone.PIN), p.Telephone.Asks)
	for i := range p.Keys {
		text += fmt.Sprintf(" key %d %x", p.Keys[i].Number, sha256.Sum256(p.Keys[i].Certificate))
	}
	return text
}
