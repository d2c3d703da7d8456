package emulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"imza/simcard"
)

// What opens the telephone that the test's cards are in.
const (
	phonePIN, phonePIN2 = "4321", "87654"
	phonePUK, phonePUK2 = "11112222", "33334444"
)

// phoneCard is a card whose telephone asks for its PIN.
func phoneCard(t testing.TB) *card {
	t.Helper()
	c := newCard(t, nil)
	c.profile.Telephone = Telephone{PIN: NewPIN(phonePIN), PIN2: NewPIN(phonePIN2), PUK: NewPUK(phonePUK), PUK2: NewPUK(phonePUK2), Asks: true}
	c.profile.ADM = NewPUK("11223344")
	c.Reset()
	return c
}

// Commands about a PIN (TS 102 221 §11.1.9 to §11.1.13).
func gives(reference byte, digits string) string {
	return fmt.Sprintf("002000%02X08%X", reference, padded(digits))
}
func changes(reference byte, old, digits string) string {
	return fmt.Sprintf("002400%02X10%X", reference, pair(old, digits))
}
func disables(reference byte, digits string) string {
	return fmt.Sprintf("002600%02X08%X", reference, padded(digits))
}
func enables(reference byte, digits string) string {
	return fmt.Sprintf("002800%02X08%X", reference, padded(digits))
}
func unblocks(reference byte, puk, digits string) string {
	return fmt.Sprintf("002C00%02X10%X", reference, pair(puk, digits))
}
func asksPIN(reference byte) string { return fmt.Sprintf("002000%02X", reference) }
func asksPUK(reference byte) string { return fmt.Sprintf("002C00%02X", reference) }

// lastWrong is what the try that blocks a PIN or a PUK is answered; from the next
// command on it is 6983 (TS 102 221 §11.1.9.1.1, §11.1.13.1.1).
const lastWrong = "63C0"

// pinTurn is an APDU about a PIN, its status word, and the tries that are left
// of PIN, PIN2, PUK and PUK2; none: they are as before.
type pinTurn struct {
	apdu, sw string
	tries    []int
}

func TestTelephonePINs(t *testing.T) {
	// EF_IMSI in the USIM is read by who gave the PIN, or where none is asked for.
	reads, readsNot := pinTurn{"00B0870009", "9000", nil}, pinTurn{"00B0870009", "6982", nil}
	usim := pinTurn{selectsUSIM, "9000", nil}
	for name, turns := range map[string][]pinTurn{
		"VERIFY": {usim, readsNot, {gives(0x01, phonePIN), "9000", nil}, reads},
		"VERIFY without digits asks": {usim, {asksPIN(0x01), "63C3", nil}, readsNot, {gives(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, {asksPIN(0x01), "63C2", nil},
			{gives(0x01, phonePIN), "9000", []int{3, 3, 10, 10}}, {asksPIN(0x01), "63C3", nil}, reads},
		"VERIFY, wrong, takes the status away": {usim, {gives(0x01, phonePIN), "9000", nil}, reads, {gives(0x01, phonePIN2), "63C2", []int{2, 3, 10, 10}}, readsNot,
			{gives(0x01, phonePIN), "9000", []int{3, 3, 10, 10}}, reads},
		"VERIFY, wrong, until it blocks": {usim, {gives(0x01, phonePIN), "9000", nil}, {gives(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, {gives(0x01, "0000"), "63C1", []int{1, 3, 10, 10}},
			{gives(0x01, "0000"), lastWrong, []int{0, 3, 10, 10}}, {gives(0x01, phonePIN), "6983", nil}, {asksPIN(0x01), "6983", nil}, readsNot,
			{changes(0x01, phonePIN, "5555"), "6983", nil}, {disables(0x01, phonePIN), "6983", nil}, {gives(0x81, phonePIN2), "9000", nil}},
		"CHANGE": {usim, {changes(0x01, phonePIN, "5555"), "9000", nil}, reads, {gives(0x01, phonePIN), "63C2", []int{2, 3, 10, 10}}, readsNot, {gives(0x01, "5555"), "9000", []int{3, 3, 10, 10}}, reads},
		"CHANGE, wrong": {usim, {gives(0x01, phonePIN), "9000", nil}, {changes(0x01, "0000", "5555"), "63C2", []int{2, 3, 10, 10}}, readsNot, {changes(0x01, "0000", "5555"), "63C1", []int{1, 3, 10, 10}},
			{changes(0x01, phonePIN, "5555"), "9000", []int{3, 3, 10, 10}}, reads},
		// Nothing is compared: no try is taken, and what was given stays given.
		"CHANGE to what is no PIN": {usim, {gives(0x01, phonePIN), "9000", nil}, {changes(0x01, phonePIN, "555"), "6A80", []int{3, 3, 10, 10}}, reads,
			{"0024000108" + "34333231FFFFFFFF", "6700", []int{3, 3, 10, 10}}, reads, {changes(0x01, "0000", "55x5"), "6A80", []int{3, 3, 10, 10}}, reads},
		"DISABLE": {usim, readsNot, {disables(0x01, phonePIN), "9000", nil}, reads, {gives(0x01, phonePIN), "6984", nil}, {asksPIN(0x01), "6984", nil},
			{changes(0x01, phonePIN, "5555"), "6984", nil}, {disables(0x01, phonePIN), "6984", []int{3, 3, 10, 10}}, reads},
		"DISABLE, wrong": {usim, {gives(0x01, phonePIN), "9000", nil}, {disables(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, readsNot, {disables(0x01, "0000"), "63C1", []int{1, 3, 10, 10}},
			{disables(0x01, "0000"), lastWrong, []int{0, 3, 10, 10}}, {disables(0x01, phonePIN), "6983", nil}, readsNot},
		"ENABLE": {usim, {enables(0x01, phonePIN), "6984", []int{3, 3, 10, 10}}, readsNot, {disables(0x01, phonePIN), "9000", nil}, {enables(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, reads,
			{enables(0x01, phonePIN), "9000", []int{3, 3, 10, 10}}, {asksPIN(0x01), "63C3", nil}, reads, {gives(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, readsNot},
		"ENABLE, wrong, until it blocks": {usim, {disables(0x01, phonePIN), "9000", nil}, {enables(0x01, "0000"), "63C2", []int{2, 3, 10, 10}}, {enables(0x01, "0000"), "63C1", []int{1, 3, 10, 10}},
			{enables(0x01, "0000"), lastWrong, []int{0, 3, 10, 10}}, {enables(0x01, phonePIN), "6983", nil}, reads},
		"other lengths": {{"0020000104 34333231", "6700", []int{3, 3, 10, 10}}, {"0026000104 34333231", "6700", []int{3, 3, 10, 10}}, {"00260001", "6700", nil}, {"00280001", "6700", nil},
			{"0028000109 34333231FFFFFFFFFF", "6700", []int{3, 3, 10, 10}}, {"002C000108 3131313132323232", "6700", []int{3, 3, 10, 10}}},
		"UNBLOCK": {usim, {gives(0x01, "0000"), "63C2", nil}, {gives(0x01, "0000"), "63C1", nil}, {gives(0x01, "0000"), lastWrong, []int{0, 3, 10, 10}},
			{unblocks(0x01, "00000000", "5555"), "63C9", []int{0, 3, 9, 10}}, {asksPUK(0x01), "63C9", nil}, {unblocks(0x01, phonePUK2, "5555"), "63C8", []int{0, 3, 8, 10}}, readsNot,
			{unblocks(0x01, phonePUK, "5555"), "9000", []int{3, 3, 10, 10}}, reads, {gives(0x01, phonePIN), "63C2", nil}, {gives(0x01, "5555"), "9000", []int{3, 3, 10, 10}}},
		"UNBLOCK of what is not blocked": {usim, {unblocks(0x01, phonePUK, "5555"), "9000", []int{3, 3, 10, 10}}, reads, {gives(0x01, "5555"), "9000", nil}},
		"UNBLOCK, wrong, takes no status": {usim, {gives(0x01, phonePIN), "9000", nil}, {unblocks(0x01, "00000000", "5555"), "63C9", []int{3, 3, 9, 10}}, reads,
			{unblocks(0x01, phonePUK, "555"), "6A80", []int{3, 3, 9, 10}}, reads},
		// §11.1.13.1.1: afterwards the PIN is enabled, and counts as given.
		"UNBLOCK of what is disabled": {usim, {disables(0x01, phonePIN), "9000", nil}, {gives(0x01, phonePIN), "6984", nil}, {unblocks(0x01, phonePUK, "5555"), "9000", []int{3, 3, 10, 10}},
			{asksPIN(0x01), "63C3", nil}, reads, {gives(0x01, phonePIN), "63C2", nil}, readsNot, {gives(0x01, "5555"), "9000", nil}, reads},
		"UNBLOCK, wrong, leaves it disabled": {usim, {disables(0x01, phonePIN), "9000", nil}, {unblocks(0x01, "00000000", "5555"), "63C9", []int{3, 3, 9, 10}}, {asksPIN(0x01), "6984", nil}, reads},
		"PIN2 has its own PUK": {usim, {gives(0x81, phonePIN), "63C2", []int{3, 2, 10, 10}}, {gives(0x81, phonePIN), "63C1", []int{3, 1, 10, 10}}, {gives(0x81, phonePIN), lastWrong, []int{3, 0, 10, 10}},
			{unblocks(0x81, phonePUK, "66666"), "63C9", []int{3, 0, 10, 9}}, {asksPUK(0x81), "63C9", nil}, {asksPUK(0x01), "63CA", nil},
			{unblocks(0x81, phonePUK2, "66666"), "9000", []int{3, 3, 10, 10}}, {gives(0x81, "66666"), "9000", nil}, {gives(0x01, phonePIN), "9000", nil}},
		"PIN2 opens no file of PIN's": {usim, {gives(0x81, phonePIN2), "9000", nil}, readsNot},
		"PIN2 is not optional":        {usim, {disables(0x81, phonePIN2), "6A81", []int{3, 3, 10, 10}}, {enables(0x81, phonePIN2), "6A81", []int{3, 3, 10, 10}}, {asksPIN(0x81), "63C3", nil}},
		"the applet's are not optional": {{selectsSigner, "9000", nil}, {disables(0x02, testPIN1), "6A81", nil}, {disables(0x82, testPIN2), "6A81", nil}, {disables(0x02, "0000"), "6A81", nil},
			{enables(0x02, testPIN1), "6A81", nil}, {enables(0x82, testPIN2), "6A81", nil}, {asksPIN(0x02), "63C3", nil}, {asksPIN(0x82), "63C3", nil}},
		// The ADM code is the issuer's: nothing unblocks it, and it is not changed.
		"the ADM code": {{asksPIN(0x0A), "63CA", nil}, {gives(0x0A, "11223345"), "63C9", nil}, {gives(0x0A, "11223344"), "9000", nil}, {asksPIN(0x0A), "63CA", nil},
			{changes(0x0A, "11223344", "55556666"), "6A88", nil}, {unblocks(0x0A, phonePUK, "55556666"), "6A88", nil}, {asksPUK(0x0A), "6A88", nil},
			{disables(0x0A, "11223344"), "6A81", nil}, {enables(0x0A, "11223344"), "6A81", nil}},
		"the PIN is everybody's, wherever": {{selectsSigner, "9000", nil}, {gives(0x01, phonePIN), "9000", nil}, usim, reads, {selectsMF, "9000", nil}, {gives(0x01, "0000"), "63C2", nil}, usim, readsNot},
		"other parameters":                 {{"0020010108" + "34333231FFFFFFFF", "6A88", []int{3, 3, 10, 10}}, {"0026800108" + "34333231FFFFFFFF", "6A88", []int{3, 3, 10, 10}}, {"00200100", "6A88", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			c := phoneCard(t)
			p := c.profile
			for _, turn := range turns {
				data, sw := answered(t, c, turn.apdu)
				if turn.apdu != "00B0870009" && len(data) > 0 || sw.String() != turn.sw {
					t.Fatalf("%s: %X %s, want %s", turn.apdu, data, sw, turn.sw)
				}
				telephone := p.Telephone
				tries := []int{telephone.PIN.Tries, telephone.PIN2.Tries, telephone.PUK.Tries, telephone.PUK2.Tries}
				if turn.tries != nil && !slices.Equal(tries, turn.tries) {
					t.Fatalf("%s: tries of PIN, PIN2, PUK and PUK2 %v, want %v", turn.apdu, tries, turn.tries)
				}
			}
			sameTries(t, p, 3, 3, 10) // the applet's are others
			if len(c.stored) > 0 {    // what the card remembers is what it goes by
				now, err := json.Marshal(p)
				if err != nil || string(now) != string(c.stored[len(c.stored)-1]) {
					t.Errorf("stored is %s, the card goes by %s", c.stored[len(c.stored)-1], now)
				}
			}
		})
	}
}

// References with bit 8 are an application's own (TS 102 221 §9.5.1): they count
// where it is selected, with whatever file of it.
func TestLocalReferencesCountInTheirApplication(t *testing.T) {
	for where, selects := range map[string][]string{
		"MF": {selectsMF}, "a file of the MF": {selectsMF, "00A4000C022FE2"},
		"USIM": {selectsUSIM}, "a file of the USIM": {selectsUSIM, "00A4000C026F07"},
		"signer": {selectsSigner}, "a file of the signer": {selectsSigner, "00A4000C026F01"},
	} {
		c := phoneCard(t)
		for _, command := range selects {
			done(t, c, command)
		}
		for reference := range 256 {
			want := simcard.SWReferencedData
			switch {
			case reference == 0x01, reference == 0x02, reference == 0x81 && selects[0] == selectsUSIM, reference == 0x82 && selects[0] == selectsSigner:
				want = 0x63C3
			case reference == 0x0A:
				want = 0x63CA
			}
			if _, sw := answered(t, c, asksPIN(byte(reference))); sw != want {
				t.Errorf("%02X in %s: %s, want %s", reference, where, sw, want)
			}
			if want != simcard.SWReferencedData {
				continue
			}
			for _, command := range []string{gives(byte(reference), testPIN2), changes(byte(reference), testPIN2, "2222"), disables(byte(reference), testPIN2),
				enables(byte(reference), testPIN2), unblocks(byte(reference), testPUK, "2222"), asksPUK(byte(reference))} {
				if _, sw := answered(t, c, command); sw != want {
					t.Errorf("%s in %s: %s, want %s", command, where, sw, want)
				}
			}
		}
		if c.saves != 0 {
			t.Errorf("something was stored in %s", where)
		}
	}
}

func TestTenWrongPUKsBlockThePUKForGood(t *testing.T) {
	for reference, puk := range map[byte]string{0x01: phonePUK, 0x81: phonePUK2} {
		c := phoneCard(t)
		done(t, c, selectsUSIM)
		for left := 9; left >= 0; left-- {
			want := simcard.SWTries(left).String()
			if left == 0 {
				want = lastWrong
			}
			if _, sw := answered(t, c, unblocks(reference, "00000000", "5555")); sw.String() != want {
				t.Fatalf("%02X: %s, want %s", reference, sw, want)
			}
		}
		for range 2 { // not even after the power was off
			for _, command := range []string{unblocks(reference, puk, "5555"), asksPUK(reference)} {
				if _, sw := answered(t, c, command); sw != simcard.SWPINBlocked {
					t.Errorf("%s: %s", command, sw)
				}
			}
			c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
			done(t, c, selectsUSIM)
		}
		// The PIN is as it was, and the other's PUK, too.
		if _, sw := answered(t, c, asksPIN(reference)); sw.String() != "63C3" {
			t.Errorf("%s", sw)
		}
		if _, sw := answered(t, c, asksPUK(reference^0x80)); sw.String() != "63CA" {
			t.Errorf("%s", sw)
		}
	}
}

// What was given is forgotten with the power; what was changed, blocked or
// disabled is not.
func TestWhatSurvivesAReset(t *testing.T) {
	c := phoneCard(t)
	restart := map[string]func(){
		"reset": func() { c.Reset() },
		"stored and read again": func() {
			p, err := ParseProfile(c.stored[len(c.stored)-1])
			if err != nil {
				t.Fatal(err)
			}
			c.powerOn(t, p)
			c.Reset()
		},
	}
	check := func(want ...turn) {
		t.Helper()
		for name, again := range restart {
			again()
			for _, turn := range want {
				if data, sw := answered(t, c, turn.apdu); fmt.Sprintf("%X%s", data, sw) != turn.answer {
					t.Errorf("%s, %s: %X %s, want %s", name, turn.apdu, data, sw, turn.answer)
				}
			}
		}
	}
	imsi := turn{"00B0870009", "6982"}
	usim := turn{selectsUSIM, "9000"}
	done(t, c, selectsUSIM)
	done(t, c, gives(0x01, phonePIN))
	check(usim, imsi)
	// The ADM code: a key is made by who gave it.
	done(t, c, selectsSigner)
	done(t, c, gives(0x0A, "11223344"))
	check(turn{selectsSigner, "9000"}, turn{"0047000008B606840109800101", "6982"})
	answered(t, c, gives(0x01, "0000"))
	check(usim, turn{asksPIN(0x01), "63C2"}, imsi)
	done(t, c, changes(0x01, phonePIN, "5555"))
	check(usim, imsi, turn{asksPIN(0x01), "63C3"}, turn{gives(0x01, "5555"), "9000"})
	done(t, c, disables(0x01, "5555"))
	check(usim, turn{"00B0870001", "08" + "9000"}, turn{asksPIN(0x01), "6984"})
	done(t, c, enables(0x01, "5555"))
	check(usim, imsi, turn{asksPIN(0x01), "63C3"})
	done(t, c, disables(0x01, "5555"))
	done(t, c, unblocks(0x01, phonePUK, phonePIN))
	check(usim, imsi, turn{asksPIN(0x01), "63C3"})
	for range 3 {
		answered(t, c, gives(0x01, "0000"))
	}
	check(usim, turn{gives(0x01, phonePIN), "6983"}, imsi)
	done(t, c, unblocks(0x01, phonePUK, "7777"))
	done(t, c, selectsUSIM)
	done(t, c, changes(0x81, phonePIN2, "8888"))
	check(usim, turn{gives(0x01, "7777"), "9000"}, turn{gives(0x81, "8888"), "9000"})
}

// While the telephone asks for its PIN the signing applet works all the same: it
// has PINs of its own.
func TestALockedTelephonesCardSigns(t *testing.T) {
	c := phoneCard(t)
	c.boot(t)
	(&terminal{TB: t, card: c}).signs(c)
}
