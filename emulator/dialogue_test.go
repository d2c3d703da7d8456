package emulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// dialogueFile holds what a terminal and a card said to each other, octet for
// octet: a challenge that is shown, a wrong PIN2, and a person who then thinks
// better of it, since a signature is another one each time.
const dialogueFile = "testdata/dialogue.txt"

var record = flag.Bool("record", false, "write "+dialogueFile+" anew")

// recorded is the challenge of the dialogue.
func recorded() applet.Challenge {
	digest := sha256.Sum256(document)
	asked := applet.Challenge{Operation: applet.Sign, Key: 1, Algorithm: applet.SHA256, Digest: digest[:],
		Time: signingTime, Language: applet.Azerbaijani, Text: "Müqavilə № 17 — 250 ₼"}
	copy(asked.Reference[:], "reference1")
	return asked
}

// exchange is one command, and its answer.
type exchange struct {
	name            string
	command, answer []byte
}

func readDialogue(t testing.TB) (dialogue []exchange) {
	t.Helper()
	text, err := os.ReadFile(dialogueFile)
	if err != nil {
		t.Fatal(err)
	}
	var e exchange
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "# "):
			e.name = line[2:]
		case strings.HasPrefix(line, "> "):
			e.command = unhex(t, line[2:])
		case strings.HasPrefix(line, "< "):
			e.answer = unhex(t, line[2:])
			dialogue = append(dialogue, e)
		}
	}
	if len(dialogue) == 0 {
		t.Fatal(dialogueFile + " is empty")
	}
	return dialogue
}

// What goes over the wire does not change unnoticed: handsets and gateways of
// other versions are out there.
func TestDialogueIsAsRecorded(t *testing.T) {
	if *record {
		recordDialogue(t)
	}
	c := newCard(t, nil)
	c.Reset()
	for _, e := range readDialogue(t) {
		answer, err := c.Transmit(e.command)
		if err != nil || !bytes.Equal(answer, e.answer) {
			t.Fatalf("%s: the card answers %x (%v), recorded is %x", e.name, answer, err, e.answer)
		}
	}
}

func recordDialogue(t *testing.T) {
	t.Helper()
	c := newCard(t, nil)
	between := &recorder{card: c}
	x := &terminal{TB: t, card: between}
	var names []string
	did := func(name string) {
		for n := len(names); n < len(between.commands); n++ {
			names = append(names, name)
		}
	}
	c.Reset()
	x.sw = x.do(simcard.Command{CLA: 0x80, INS: 0x10, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}}).SW
	did("TERMINAL PROFILE")
	menu := x.want(toolkit.SetUpMenu)
	did("FETCH: SET UP MENU")
	x.respond(menu.Respond(toolkit.Done))
	did("TERMINAL RESPONSE: it is in the handset's menu")
	x.do(simcard.Select(simcard.Signer))
	did("SELECT: the signing applet")
	x.bring(c.segments(t, recorded()))
	did("ENVELOPE (SMS-PP download): the challenge, counter 1001")
	display := x.want(toolkit.DisplayText)
	did("FETCH: DISPLAY TEXT")
	x.respond(display.Respond(toolkit.Done))
	did("TERMINAL RESPONSE: the person cleared it")
	input := x.want(toolkit.GetInput)
	did("FETCH: GET INPUT")
	x.respond(typed(input, "00000"))
	did("TERMINAL RESPONSE: a wrong PIN2")
	input = x.want(toolkit.GetInput)
	did("FETCH: GET INPUT, two tries left")
	x.respond(input.Respond(toolkit.SessionEnded))
	did("TERMINAL RESPONSE: ended by the user")
	if a := x.answer(c); a.Result != applet.CancelledByUser {
		t.Fatalf("%s", a.Result)
	}
	did("FETCH: SEND SHORT MESSAGE, and its TERMINAL RESPONSE: sent")
	x.do(simcard.Command{INS: insVerify, P2: p2PIN2})
	did("VERIFY: how many tries has PIN2")
	x.do(simcard.Command{INS: insVerify, P2: p2PIN1, Data: padded("0000")})
	did("VERIFY: a wrong PIN1")
	x.do(simcard.Command{INS: insUnblock, P2: p2PIN1, Data: pair("00000000", "1111")})
	did("UNBLOCK: a wrong PUK")
	var b strings.Builder
	fmt.Fprintf(&b, "A terminal (>) and a card (<), as recordDialogue in dialogue_test.go wrote it.\nKIc is %x, KID %x.\n", testKeys.KIc, testKeys.KID)
	for i, name := range names {
		fmt.Fprintf(&b, "\n# %s\n> %x\n< %x\n", name, between.commands[i], between.answers[i])
	}
	if err := os.WriteFile(dialogueFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What the card says and hears of the recorded dialogue, by the standards'
// tables and not by this module's code.
func TestRecordedDialogueIsByTheStandards(t *testing.T) {
	octets := map[string][]byte{}
	for _, e := range readDialogue(t) {
		if _, there := octets[e.name]; !there {
			octets[e.name] = e.answer
		}
	}
	ucs2 := func(text string) (hexed string) {
		for _, r := range text {
			hexed += fmt.Sprintf("%04x", r)
		}
		return hexed
	}
	code := applet.VerificationCode(recorded().Digest)
	text := ucs2(recorded().Text + "\nKod: " + code)
	wrong := ucs2("PIN2 səhvdir. Qalan cəhd: 2")
	for name, want := range map[string]string{
		// TS 102 223 §6.6.7: alpha identifier, items.
		"FETCH: SET UP MENU": "d0819f 8103012500 82028182 8504" + hex.EncodeToString([]byte("imza")) +
			"8f1c0180" + ucs2("PIN1 dəyişmək") + "8f1c0280" + ucs2("PIN2 dəyişmək") + "8f320380" + ucs2("PUK ilə blokdan çıxarmaq") + "8f1e0480" + ucs2("Kartın nömrəsi") + "9000",
		// §6.6.1: command details, device identities, text string.
		"FETCH: DISPLAY TEXT": fmt.Sprintf("d0%02x 8103022181 82028102 8d%02x08%s 9000", 12+len(text)/2, 1+len(text)/2, text),
		// §6.6.3: response length 4 to 8.
		"FETCH: GET INPUT":                 "d01f 8103032304 82028182 8d1004" + hex.EncodeToString([]byte("PIN2 daxil edin")) + "91020408 9000",
		"FETCH: GET INPUT, two tries left": fmt.Sprintf("d0%02x 8103042304 82028182 8d%02x08%s 91020408 9000", 16+len(wrong)/2, 1+len(wrong)/2, wrong),
	} {
		if got := hex.EncodeToString(octets[name]); got != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s\n%s, want\n%s", name, got, strings.ReplaceAll(want, " ", ""))
		}
	}
	// §6.6.9 and TS 23.040 §9.2.2.2: SMS-SUBMIT with UDHI and no validity
	// period to 994124040404, PID 7F, DCS F6, then TS 31.115 §4.3's header.
	sent := octets["FETCH: SEND SHORT MESSAGE, and its TERMINAL RESPONSE: sent"]
	// §8.2 and TS 102 221 annex A: what is shown meanwhile, "80" and UCS-2.
	head := unhex(t, "d05e 8103051300 82028183 851b80"+ucs2("İmtina edildi")+" 8b36 4100 0c91991442404040 7f f6 29 027100")
	if !bytes.HasPrefix(sent, head) {
		t.Fatalf("SEND SHORT MESSAGE\n%x, want\n%x", sent, head)
	}
	// TS 102 225 §5.2, opened by openssl: RPL, RHL, TAR; then CNTR 1001 again,
	// four octets of padding, status 00, the checksum; then the answer.
	packet := sent[len(head) : len(sent)-2]
	if header := unhex(t, "0024 12 494d5a"); !bytes.HasPrefix(packet, header) {
		t.Fatalf("the answer packet is %x", packet)
	}
	plain := openssl(t, packet[6:], "enc", "-d", "-aes-128-cbc", "-nopad", "-K", hex.EncodeToString(testKeys.KIc), "-iv", strings.Repeat("0", 32))
	answer := append([]byte{0x81}, "reference1\x01"...)
	want := append(unhex(t, "00000003e9 05 00"), plain[7:15]...)
	want = append(append(want, answer...), 0, 0, 0, 0, 0)
	if !bytes.Equal(plain, want) {
		t.Errorf("the answer is\n%x, want\n%x", plain, want)
	}
	covered := bytes.Join([][]byte{{0x02, 0x71, 0x00}, packet[:6], plain[:7], plain[15:]}, nil)
	mac := openssl(t, covered, "mac", "-cipher", "AES-128-CBC", "-macopt", "hexkey:"+hex.EncodeToString(testKeys.KID), "-in", "-", "-binary", "CMAC")
	if !bytes.Equal(mac[:8], plain[7:15]) {
		t.Errorf("the answer's checksum is %x, openssl's CMAC %x", plain[7:15], mac)
	}
}

// openssl is what openssl makes of some octets.
func openssl(t *testing.T, input []byte, arguments ...string) []byte {
	t.Helper()
	command := exec.Command("openssl", arguments...)
	command.Stdin = bytes.NewReader(input)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v", arguments, err)
	}
	return output
}

// replay is a fuzz input: how far the card is, then commands, each behind its
// length in two octets.
func replay(state byte, commands ...[]byte) []byte {
	b := []byte{state}
	for _, c := range commands {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(c))), c...)
	}
	return b
}

// FuzzAPDU throws commands at a card: at one that nobody asked anything, which
// must stay as it is, and at one with a challenge on the screen, which must
// not sign. Its keys and PINs are not those of the recorded dialogue.
func FuzzAPDU(f *testing.F) {
	var commands [][]byte
	for _, e := range readDialogue(f) {
		commands = append(commands, e.command)
	}
	for state := range byte(3) {
		f.Add(replay(state, commands...))
		f.Add(replay(state, commands[2:]...)) // from the first FETCH on
		f.Add(replay(state, commands[4:]...)) // from GET INPUT on
		for _, c := range commands {
			f.Add(replay(state, c, c))
		}
	}
	ready := newCard(f, nil).profile
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 {
			return
		}
		p := &Profile{ICCID: ready.ICCID, OTA: otherKeys, PIN1: PIN{"24680", pinTries}, PIN2: PIN{"192837", pinTries}, PUK: PIN{"46464646", pukTries}, Keys: slices.Clone(ready.Keys)}
		c := &card{counter: 1000}
		c.powerOn(t, p)
		x := &terminal{TB: t, card: c}
		if input[0]%3 > 0 {
			x.bring(c.segments(t, recorded()))
		}
		if input[0]%3 > 1 {
			x.confirm()
		}
		before, asleep := *p, input[0]%3 == 0
		parts := sms.Reassembler{Expiry: time.Hour, Most: 8}
		for rest := input[1:]; len(rest) >= 2; {
			n := min(int(binary.BigEndian.Uint16(rest)), len(rest)-2)
			command := rest[2 : 2+n]
			rest = rest[2+n:]
			answer, err := c.Transmit(command)
			if err != nil || len(answer) < 2 || len(answer) > 258 {
				t.Fatalf("%x is answered %x, %v", command, answer, err)
			}
			r, err := simcard.ParseResponse(answer)
			if err != nil {
				t.Fatal(err)
			}
			for i, now := range p.tries() {
				if now > before.tries()[i] {
					t.Fatalf("%x gives tries back: %v after %v", command, p.tries(), before.tries())
				}
			}
			before.PIN1.Tries, before.PIN2.Tries, before.PUK.Tries = p.PIN1.Tries, p.PIN2.Tries, p.PUK.Tries
			if p.PIN1 != before.PIN1 || p.PIN2 != before.PIN2 || p.PUK != before.PUK || p.Counter != before.Counter {
				t.Fatalf("%x changes the card", command)
			}
			if len(r.Data) > 0 && command[0] == 0x80 && command[1] == simcard.Fetch {
				c.mustNotSign(t, r.Data, &parts, asleep)
			}
		}
	})
}

// mustNotSign fails the test if a fetched command completes an answer that
// carries a signature.
func (c *card) mustNotSign(t *testing.T, fetched []byte, parts *sms.Reassembler, asleep bool) {
	t.Helper()
	command, err := toolkit.ParseCommand(fetched)
	if err != nil {
		t.Fatal(err)
	}
	if command.Type != toolkit.SendShortMessage {
		return
	}
	if asleep {
		t.Fatalf("a card that nobody asked anything sends %x", command.TPDU)
	}
	submit, err := sms.ParseSubmit(command.TPDU)
	if err != nil {
		t.Fatal(err)
	}
	part, err := sms.ParseUserData(submit.UserData)
	if err != nil {
		t.Fatal(err)
	}
	if part.Total != 1 {
		t.Fatalf("an answer in %d messages: only a signature is so long", part.Total)
	}
	m, _, err := parts.Add("", part, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if a, _ := c.open(t, m); a.Result == applet.Signed {
		t.Fatal("signed")
	}
}
