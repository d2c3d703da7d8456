package emulator

import (
	"bytes"
	"slices"
	"testing"

	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// arrival is a segment on its way: the i-th of the genuine challenge, or of
// somebody else's message.
type arrival struct {
	i       int
	genuine bool
}

// orders calls f with every order of the arrivals.
func orders(all []arrival, f func([]arrival)) {
	var place func(n int)
	place = func(n int) {
		if n == len(all) {
			f(all)
			return
		}
		for i := n; i < len(all); i++ {
			all[n], all[i] = all[i], all[n]
			place(n + 1)
			all[n], all[i] = all[i], all[n]
		}
	}
	place(0)
}

// whole reports when the last genuine segment arrives, and whether one of
// somebody else's has come by then to the place of one that was there already.
func whole(order []arrival) (last int, overwritten bool) {
	last = -1
	for at, a := range order {
		if a.genuine {
			last = at
		}
	}
	there := make(map[int]bool)
	for _, a := range order[:last] {
		if a.genuine {
			there[a.i] = true
		} else if there[a.i] {
			overwritten = true
		}
	}
	return last, overwritten
}

// Somebody else's segments with the same reference and number of parts, in
// every order with those of a genuine challenge. From another number they are
// another message. From the same number, as an SMSC might let through, one that
// comes to the place of a genuine segment before the last one is there takes it:
// no card can tell. The challenge is not lost for it when the network, which was
// told 9000, brings the segment again.
func TestSegmentsOfOthersDoNotLoseAChallenge(t *testing.T) {
	from := func(a sms.Address, ud []byte) []byte {
		d := sms.Deliver{Originator: a, PID: sms.PIDDataDownload, DCS: sms.DCSClass2Binary, Timestamp: signingTime, UDHI: true, UserData: ud}
		tpdu, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return tpdu
	}
	foreign := segment(t, sealed(t, applet.TAR, ota.Signing, otherKeys, 1<<30)) // of one message
	stranger := sms.Address{Type: sms.International, Digits: "994559999999"}
	for name, theirs := range map[string]sms.Address{"another number": stranger, "the same number": asker} {
		lost, orderings := 0, 0
		all := []arrival{{0, true}, {1, true}, {2, true}, {0, false}, {1, false}, {2, false}}
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		orders(all, func(order []arrival) {
			orderings++
			genuine := c.segments(t, long())
			forged := make([][]byte, len(genuine))
			for i, ud := range genuine {
				forged[i] = bytes.Clone(ud)
				copy(forged[i][len(ud)-20:], foreign[0][40+orderings%20:])
			}
			last, overwritten := whole(order)
			overwritten = overwritten && theirs == asker
			for at, a := range order {
				tpdu := from(asker, genuine[a.i])
				if !a.genuine {
					tpdu = from(theirs, forged[a.i])
				}
				sw := x.envelope(tpdu)
				if _, shown := sw.Proactive(); shown && at < last || shown != (at >= last && !overwritten) {
					t.Fatalf("%s, order %v: at %d %s", name, order, at, sw)
				}
			}
			if overwritten {
				lost++
				if c.profile.Counter == c.counter {
					t.Fatalf("%s, order %v: the counter of what was not opened is taken", name, order)
				}
				for _, ud := range genuine {
					x.envelope(from(asker, ud))
				}
			}
			display := x.want(toolkit.DisplayText)
			x.respond(display.Respond(toolkit.NoUserResponse))
			x.idle()
			if c.profile.Counter != c.counter {
				t.Fatalf("%s, order %v: the challenge's counter is not taken", name, order)
			}
		})
		if orderings != 720 || (lost > 0) != (theirs == asker) {
			t.Errorf("%s: %d of %d orders need a segment again", name, lost, orderings)
		}
		x.signs(c)
	}
}

// The network brings the last segment of a challenge twice, and the next one has
// the same reference, of which there are 256: it is shown, whatever the order of
// its segments.
func TestDoubledSegmentsDoNotHarmTheNextMessage(t *testing.T) {
	for _, ask := range []func() applet.Challenge{long, func() applet.Challenge { // of three, and of two messages
		asked := challenge()
		asked.Text = "Müqavilə № 17 — 250 ₼, ödəniş 22 noyabr 2026-cı il tarixinədək, Bakı şəhəri, Nizami küçəsi 203"
		return asked
	}} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		n := len(c.segments(t, ask()))
		var all []arrival
		for i := range n {
			all = append(all, arrival{i, true})
		}
		for doubled := range n {
			orders(slices.Clone(all), func(order []arrival) {
				first := c.segments(t, ask())
				x.sign(first, testPIN2)
				if a := x.answer(c); a.Result != applet.Signed {
					t.Fatalf("answered %s", a.Result)
				}
				quiet(t, c, deliver(t, first[doubled]), "a segment of what was answered, doubled")
				asked := ask()
				next := c.segments(t, asked)
				for i, a := range order {
					if !slices.ContainsFunc(order[:i], func(b arrival) bool { return b.i == doubled }) {
						x.envelope(deliver(t, first[doubled])) // it comes a third time, before its successor
					}
					x.envelope(deliver(t, next[a.i]))
				}
				input := x.confirm()
				x.respond(typed(input, testPIN2))
				if a := x.answer(c); a.Result != applet.Signed || a.Reference != asked.Reference {
					t.Fatalf("segment %d doubled, the next in order %v: answered %s", doubled+1, order, a.Result)
				}
				x.idle()
			})
		}
		if n < 2 {
			t.Errorf("a challenge of %d messages", n)
		}
	}
}
