package fleet

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mozilla.org/pkcs7"
)

// enrolled is a fleet whose cards all have certificates.
func enrolled(t testing.TB, p Plan) (*Fleet, *authority) {
	t.Helper()
	f, a := newFleet(t, p), newAuthority(t)
	for i := range f.plan.Cards {
		a.enrol(t, f, i)
	}
	return f, a
}

// What somebody else's code says of the signatures of cards of each sort.
func TestSignaturesAreGood(t *testing.T) {
	f, _ := enrolled(t, Plan{Seed: 1, Cards: 8, RSA: 0.5, Old: 0.5})
	start(t, f, "", Options{})
	g := newESME(t, f)
	kinds := map[string]bool{}
	for i := range f.plan.Cards {
		text, answer := g.askIn(i, 1, 10*time.Second, false)
		if text != "signed" {
			t.Fatalf("card %d: %s", i, text)
		}
		der, _, err := f.certificates.get(i)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := pkcs7.Parse(answer.Signature)
		if err != nil {
			t.Fatal(err)
		}
		signed.Content, signed.Certificates = document, []*x509.Certificate{certificate}
		if err := signed.Verify(); err != nil {
			t.Errorf("card %d: %v", i, err)
		}
		kinds[certificate.PublicKeyAlgorithm.String()] = true
	}
	if len(kinds) != 2 {
		t.Errorf("only %v", kinds)
	}
}

// Each behaviour, and what comes of a challenge, and of a second one.
func TestBehaviours(t *testing.T) {
	f, _ := enrolled(t, Plan{Seed: 1, Cards: 2})
	for behaviour, want := range map[string][2]string{
		"signs":             {"signed", "signed"},
		"cancels":           {"cancelled", "cancelled"},
		"wrong-once":        {"signed", "signed"},
		"wrong-always":      {"pin blocked", "pin blocked"},
		"blocked":           {"pin blocked", "pin blocked"},
		"absent":            {"nothing", "nothing"},
		"off":               {"undeliverable", "undeliverable"},
		"away, back: 200ms": {"signed", "signed"},
		"changes-telephone": {"nothing", "signed"},
		"late":              {"nothing", "nothing"},
	} {
		t.Run(behaviour, func(t *testing.T) {
			start(t, f, "people: [{share: 1, does: "+behaviour+"}]", Options{})
			g := newESME(t, f)
			patience := func(want string) time.Duration {
				if want == "nothing" {
					return 300 * time.Millisecond
				}
				return 10 * time.Second
			}
			began := time.Now()
			if got := g.ask(0, 1, patience(want[0])); got != want[0] {
				t.Errorf("at first %s, want %s", got, want[0])
			}
			if took := time.Since(began); strings.HasPrefix(behaviour, "away") && took < 200*time.Millisecond {
				t.Errorf("was away for %s only", took)
			}
			if got := g.ask(0, 2, patience(want[1])); got != want[1] {
				t.Errorf("then %s, want %s", got, want[1])
			}
		})
	}
}

// The shares of people are those that the scenario says.
func TestShares(t *testing.T) {
	s, err := ParseScenario([]byte("people: [{share: 0.5, does: cancels}, {share: 0.2, does: off}]"))
	if err != nil {
		t.Fatal(err)
	}
	const people = 20_000
	counts := map[Behaviour]int{}
	for i := range people {
		counts[sortOf(s.People, 7, fmt.Sprint(i)).Does]++
	}
	for does, share := range map[Behaviour]float64{Cancels: 0.5, Off: 0.2, Signs: 0.3} {
		if got := float64(counts[does]) / people; got < share-0.02 || got > share+0.02 {
			t.Errorf("%s: %.3f, want %.3f", does, got, share)
		}
	}
}

const mixed = `
people:
  - {share: 0.2, does: cancels, think: {median: 1ms, sigma: 1}}
  - {share: 0.2, does: wrong-always}
  - {share: 0.1, does: off}
  - {share: 0.1, does: blocked}
network: {delay: {median: 2ms, sigma: 1}, twice: 0.2, reordered: 0.0, lost: 0.1, receipts: {absent: 0.1}}
`

// The same seed gives the same outcomes, in whatever order people are asked, and
// another one gives others.
func TestSeedDecides(t *testing.T) {
	const cards, rounds = 60, 2
	f, _ := enrolled(t, Plan{Seed: 1, Cards: cards})
	e := start(t, f, mixed, Options{Seed: 7, Warm: 10})
	g := newESME(t, f)
	run := func(reverse bool) (outcomes [cards * rounds]string) {
		for round := range rounds {
			var asked sync.WaitGroup
			for n := range cards {
				i := n
				if reverse {
					i = cards - 1 - n
				}
				asked.Go(func() { outcomes[round*cards+i] = g.ask(i, uint64(round+1), 700*time.Millisecond) })
			}
			asked.Wait()
		}
		return outcomes
	}
	first := run(false)
	e.Begin(7)
	second := run(true)
	for i := range first {
		if first[i] != second[i] {
			t.Errorf("card %d, round %d: %s, then %s", i%cards, i/cards, first[i], second[i])
		}
	}
	var people [2][cards]Behaviour
	for n := range people {
		for i := range cards {
			people[n][i] = e.people.sortIs(i)
		}
		e.Begin(8)
	}
	if people[0] == people[1] {
		t.Error("with another seed people are the same")
	}
	if run(false) == first {
		t.Error("another seed decides the same")
	}
	counts := map[string]int{}
	for _, o := range first {
		counts[o]++
	}
	if len(counts) < 5 {
		t.Errorf("too few sorts of outcomes to tell: %v", slices.Sorted(maps.Keys(counts)))
	}
	t.Log(counts)
}

// With room for few, cards come and go; what they remember does not.
func TestCardsRememberWhileUnmade(t *testing.T) {
	const cards, warm = 40, 4
	f, _ := enrolled(t, Plan{Seed: 1, Cards: cards, Operators: []Operator{{"one", "99450"}}})
	e := start(t, f, "people: [{share: 0.5, does: wrong-always, think: {median: 1ms}}]", Options{Warm: warm})
	g := newESME(t, f)
	replay := g.packet(0, 5, true)
	for counter := uint64(5); counter < 7; counter++ {
		for i := range cards {
			want := "signed"
			if e.people.sortIs(i) == WrongAlways {
				want = "pin blocked"
			}
			if got := g.ask(i, counter, 10*time.Second); got != want {
				t.Errorf("card %d: %s, want %s", i, got, want)
			}
		}
	}
	for i := range cards {
		// The text, and the PIN three times; the second time it was blocked already.
		if prompts := e.people.run.memories[i].prompts; e.people.sortIs(i) == WrongAlways && prompts != 4 {
			t.Errorf("card %d asked %d times", i, prompts)
		}
	}
	if made, unmade := e.people.made.Load(), e.people.unmade.Load(); made < 2*cards || unmade < made-warm-2 {
		t.Errorf("%d were made, %d unmade: cards stayed", made, unmade)
	}
	if n := e.people.Warm(); n > warm {
		t.Errorf("%d telephones are warm, want %d at most", n, warm)
	}
	// The last one that card 0 took was 6.
	for _, m := range replay {
		if _, err := g.sessions[0].Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := g.ask(0, 6, 300*time.Millisecond); got != "nothing" || g.refused.Load() == 0 {
		t.Errorf("packets with counters that were there before: %s, %d refused", got, g.refused.Load())
	}
}

// sortIs is the sort of who holds a card in this run.
func (p *crowd) sortIs(i int) Behaviour {
	return sortOf(p.sorts, p.run.seed, p.fleet.msisdn(i).Digits()).Does
}

// A certificate that is put on a card while the emulator runs is there from the
// next message on; one that was replaced counts no more.
func TestCertificateComesLater(t *testing.T) {
	f, a := newFleet(t, Plan{Seed: 1, Cards: 1}), newAuthority(t)
	start(t, f, "", Options{})
	g := newESME(t, f)
	if got := g.ask(0, 1, 10*time.Second); got != "key unknown" {
		t.Errorf("without a certificate: %s", got)
	}
	other, err := Open(f.dir) // as "imza enrol" has it
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for counter := uint64(2); counter < 4; counter++ {
		a.enrol(t, other, 0)
		text, answer := g.askIn(0, counter, 10*time.Second, false)
		if text != "signed" {
			t.Fatalf("with one: %s", text)
		}
		signed, err := pkcs7.Parse(answer.Signature)
		if err != nil {
			t.Fatal(err)
		}
		der, _, err := f.certificates.get(0)
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if signed.Signers[0].IssuerAndSerialNumber.SerialNumber.Cmp(certificate.SerialNumber) != 0 {
			t.Error("signed by the certificate that was there before")
		}
	}
}

// A run may begin at any moment: prompts end, cards are fresh, and nobody is
// asked by what was sent before.
func TestBeginAtAnyMoment(t *testing.T) {
	const cards = 20
	f, _ := enrolled(t, Plan{Seed: 1, Cards: cards})
	e := start(t, f, `
people: [{share: 0.3, does: late}, {share: 0.3, does: absent}, {share: 0.2, does: changes-telephone, think: {median: 5ms}}]
network: {delay: {median: 5ms, sigma: 1}, twice: 0.5}`, Options{Warm: 2})
	g := newESME(t, f)
	for round := range uint64(10) {
		var asked sync.WaitGroup
		for i := range cards {
			asked.Go(func() { g.ask(i, 1, 30*time.Millisecond) }) // the same counter in each run
		}
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		e.Begin(round)
		asked.Wait()
	}
	e.Begin(1)
	signed := 0
	for i := range cards {
		if e.people.sortIs(i) == Signs {
			if got := g.ask(i, 1, 10*time.Second); got != "signed" {
				t.Errorf("card %d: %s", i, got)
			}
			signed++
		}
	}
	if signed == 0 {
		t.Error("nobody signs")
	}
}
