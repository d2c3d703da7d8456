package emulator

import (
	"strings"
	"testing"

	"imza/simcard/applet"
	"imza/simcard/toolkit"
)

// A digest that begins 2f and ends b6 has the code 1462: from the page of a
// Baltic Mobile-ID provider, not from our own formula.
func digestOfCode1462() []byte {
	digest := make([]byte, 32)
	digest[0], digest[31] = 0x2F, 0xB6
	return digest
}

func TestTextAndCodeAreShown(t *testing.T) {
	texts := []string{
		"",
		"Sign the contract",
		"Müqavilə № 17 — 250 ₼",
		"Подписать договор",
		"{[~]} ^ | \\ €", // take two octets each in the default alphabet
		"قبول",
		"日本",
	}
	for language, w := range map[applet.Language]struct{ code, pin, wrong string }{
		applet.Azerbaijani: {"Kod: 1462", "PIN2 daxil edin", "PIN2 səhvdir. Qalan cəhd: 2"},
		applet.English:     {"Code: 1462", "Enter PIN2", "Wrong PIN2. Tries left: 2"},
		applet.Russian:     {"Код: 1462", "Введите PIN2", "Неверный PIN2. Осталось попыток: 2"},
	} {
		for _, text := range texts {
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			asked := challenge()
			asked.Digest, asked.Language, asked.Text = digestOfCode1462(), language, text
			x.bring(c.segments(t, asked))
			display := x.want(toolkit.DisplayText)
			if got, want := shown(t, display), text+"\n"+w.code; got != want {
				t.Errorf("shows %q, want %q", got, want)
			}
			if display.Qualifier != toolkit.DisplayUserClears|toolkit.DisplayHighPriority {
				t.Errorf("DISPLAY TEXT's qualifier is %02x: the text has to wait for the person", display.Qualifier)
			}
			x.respond(display.Respond(toolkit.Done))
			input := x.want(toolkit.GetInput)
			prompts(t, input, w.pin)
			x.respond(typed(input, "00000"))
			prompts(t, x.want(toolkit.GetInput), w.wrong)
		}
	}
}

// prompts checks a GET INPUT (TS 102 223 §8.6: bit 3 hides what is typed, bits
// 1 and 2 clear are digits in the default alphabet, bit 4 clear is unpacked).
func prompts(t *testing.T, c toolkit.Command, want string) {
	t.Helper()
	if got := shown(t, c); got != want {
		t.Errorf("asks %q, want %q", got, want)
	}
	if c.Qualifier != 0x04 || c.MinInput != 4 || c.MaxInput != 8 {
		t.Errorf("GET INPUT has qualifier %02x and takes %d to %d digits, want 04 and 4 to 8", c.Qualifier, c.MinInput, c.MaxInput)
	}
}

// The longest texts, whatever their alphabet, are shown whole: FETCH has at
// most 256 octets, and says so with 00.
func TestLongestTextFits(t *testing.T) {
	for _, letter := range []string{"x", "€", "ə", "Ж", "語"} {
		for language, w := range wordsOf {
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			asked := challenge()
			asked.Language, asked.Text = language, strings.Repeat(letter, applet.MaxText)
			x.bring(c.segments(t, asked))
			if got, want := shown(t, x.want(toolkit.DisplayText)), asked.Text+"\n"+w.code+": "+applet.VerificationCode(asked.Digest); got != want {
				t.Errorf("%d × %s in language %d: shows %q", applet.MaxText, letter, language, got)
			}
		}
	}
}

// What cannot be shown is not asked: the gateway does not let such texts
// through, but the card does not rely on it.
func TestChallengesThatDoNotParseAreNotShown(t *testing.T) {
	whole := challenge()
	good, err := whole.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		data := append([]byte(nil), good...)
		data[at] = to
		return data
	}
	const language, coding = 50, 51 // octets of a challenge with SHA-256
	for name, data := range map[string][]byte{
		"nothing":                      {},
		"an answer":                    (&applet.Answer{Reference: whole.Reference, Result: applet.Signed}).Append(nil),
		"cut off in the digest":        good[:20],
		"operation 03":                 change(11, 3),
		"SHA-1":                        change(13, 0),
		"language 00":                  change(language, 0),
		"language 04":                  change(language, 4),
		"coding 04":                    change(coding, 4),
		"a control in the text":        append(append([]byte(nil), good...), '\n'),
		"a text turned round":          append(change(coding, 8)[:coding+1], 0x20, 0x2E, 0x00, 'x'), // U+202E
		"half a character":             append(change(coding, 8)[:coding+1], 0x20),
		"more characters than allowed": append(append([]byte(nil), good...), make([]byte, 100)...),
	} {
		c := newCard(t, nil)
		x := &terminal{TB: t, card: c}
		c.counter++
		packet, err := c.channel.SealCommand(c.counter, data)
		if err != nil {
			t.Fatal(err)
		}
		x.bring(segment(t, packet))
		if a := x.answer(c); a.Result != applet.NotUnderstood {
			t.Errorf("%s: %s", name, a.Result)
		}
		x.idle()
		x.signs(c)
	}
}

// What is under PIN1 is signed by a key for that, and by no other.
func TestAuthenticationIsUnderPIN1(t *testing.T) {
	c := newCard(t, nil)
	if err := c.profile.AddKey(2, applet.Authenticate, testP384()); err != nil {
		t.Fatal(err)
	}
	cert := issue(testP384().Public())
	if err := c.profile.SetCertificate(2, cert.Raw); err != nil {
		t.Fatal(err)
	}
	x := &terminal{TB: t, card: c}
	ask := func(operation applet.Operation, key byte) applet.Challenge {
		asked := challenge()
		asked.Operation, asked.Key, asked.Digest = operation, key, digestOf(applet.SHA256, document)
		x.bring(c.segments(t, asked))
		return asked
	}
	for operation, key := range map[applet.Operation]byte{applet.Authenticate: 1, applet.Sign: 2} {
		asked := ask(operation, key)
		if a := x.answer(c); a.Result != applet.KeyUnknown || a.Reference != asked.Reference {
			t.Errorf("operation %d with key %d: %s", operation, key, a.Result)
		}
	}
	asked := ask(applet.Authenticate, 2)
	input := x.confirm()
	prompts(t, input, "PIN1 daxil edin")
	x.respond(typed(input, testPIN2))
	sameTries(t, c.profile, 2, 3, 10)
	input = x.want(toolkit.GetInput)
	prompts(t, input, "PIN1 səhvdir. Qalan cəhd: 2")
	x.respond(typed(input, testPIN1))
	a := x.answer(c)
	if a.Result != applet.Signed {
		t.Fatalf("%s", a.Result)
	}
	sameTries(t, c.profile, 3, 3, 10)
	looksRight(t, a.Signature, asked, cert)
	if verdict, err := judge(t, a.Signature, document, cert); err != nil {
		t.Errorf("openssl: %s", verdict)
	}
	c.profile.PIN1.Tries = 0
	ask(applet.Authenticate, 2)
	if a := x.answer(c); a.Result != applet.PINBlocked {
		t.Errorf("%s", a.Result)
	}
	x.signs(c)
}
