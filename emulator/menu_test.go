package emulator

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// saying is what the card's menu says in one language, for the test's own: of a
// PIN's name where there is a %s.
type saying struct {
	entries                               []string
	which, current, puk, new, again, diff string
	changed, unblocked, blocked, failed   string
	wrong                                 string // of a name and the tries left
}

var sayings = map[applet.Language]saying{
	applet.Azerbaijani: {[]string{"PIN1 dəyişmək", "PIN2 dəyişmək", "PUK ilə blokdan çıxarmaq", "Kartın nömrəsi"},
		"Hansı PIN?", "Hazırkı %s", "PUK daxil edin", "Yeni %s", "Yeni %s, təkrar", "Fərqlidir. Yeni %s",
		"%s dəyişdirildi", "%s blokdan çıxarıldı", "%s bloklanıb", "Alınmadı", "%s səhvdir. Qalan cəhd: %d"},
	applet.English: {[]string{"Change PIN1", "Change PIN2", "Unblock with PUK", "Card number"},
		"Which PIN?", "Current %s", "Enter the PUK", "New %s", "New %s again", "They differ. New %s",
		"%s is changed", "%s is unblocked", "%s is blocked", "Failed", "Wrong %s. Tries left: %d"},
	applet.Russian: {[]string{"Сменить PIN1", "Сменить PIN2", "Разблокировать по PUK", "Номер карты"},
		"Какой PIN?", "Текущий %s", "Введите PUK", "Новый %s", "Новый %s ещё раз", "Не совпали. Новый %s",
		"%s изменён", "%s разблокирован", "%s заблокирован", "Не удалось", "Неверный %s. Осталось попыток: %d"},
}

func (s saying) of(text, name string) string {
	return strings.ReplaceAll(text, "%s", name)
}

func (s saying) left(name string, left int) string { return fmt.Sprintf(s.wrong, name, left) }

// withMenu is a card in a terminal that has put its menu up.
func withMenu(t testing.TB, language applet.Language) (*card, *terminal) {
	t.Helper()
	c := newCard(t, nil)
	c.profile.Language = language
	x := &terminal{TB: t, card: c}
	x.begins(toolkit.SigningTerminal())
	x.completes(toolkit.SetUpMenu)
	x.idle()
	return c, x
}

// begins is a reset and a TERMINAL PROFILE.
func (x *terminal) begins(p toolkit.Profile) {
	x.Helper()
	x.card.(*card).Reset()
	if r := x.do(simcard.Command{CLA: 0x80, INS: 0x10, Data: p}); !r.SW.OK() {
		x.Fatalf("TERMINAL PROFILE %X: %s", p, r.SW)
	}
}

// completes carries out the command that waits, and says so.
func (x *terminal) completes(kind toolkit.Type) simcard.SW {
	x.Helper()
	c := x.want(kind)
	return x.respond(c.Respond(toolkit.Done))
}

// chooses is a menu selection, by octets that were made elsewhere: TS 102 384
// §27.22.4.7, menu selection.
func (x *terminal) chooses(item byte) simcard.SW {
	x.Helper()
	return x.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: []byte{0xD3, 0x07, 0x82, 0x02, 0x01, 0x81, 0x90, 0x01, item}}).SW
}

// exchanged is what the card shows next, as the person reads it, and what the
// person does.
type exchanged struct{ shows, does string }

// What a person does: anything else is typed.
const (
	clears   = "clears the text"
	cancels  = "cancels"
	goesBack = "goes back"
	isAbsent = "does nothing"
	takes1   = "takes item 1"
	takes2   = "takes item 2"
	takes9   = "takes item 9"
)

// dialogueWith goes through a dialogue, which ends with the last of all.
func (x *terminal) dialogueWith(item byte, all ...exchanged) {
	x.Helper()
	if sw := x.chooses(item); sw>>8 != 0x91 {
		x.Fatalf("item %d: %s", item, sw)
	}
	for _, e := range all {
		c := x.fetch()
		if got := read(x, c); got != e.shows {
			x.Fatalf("shows %q, want %q", got, e.shows)
		}
		x.respond(did(x, c, e.does))
	}
	if x.sw != simcard.SWOK {
		x.Fatalf("the dialogue goes on: %s", x.sw)
	}
	x.idle()
}

// read is what a command shows, with a sign for what it wants: a text to be
// cleared, digits that are hidden, or one of several items.
func read(t testing.TB, c toolkit.Command) string {
	t.Helper()
	switch {
	case c.Type == toolkit.DisplayText && c.Qualifier == 0x80: // waits for the user, normal priority
		return shown(t, c)
	case c.Type == toolkit.GetInput && c.Qualifier == 0x04 && c.MinInput == 4 && c.MaxInput == 8:
		return shown(t, c) + " ****"
	case c.Type == toolkit.SelectItem && c.Qualifier == 0:
		title, items := menuText(t, c)
		return title + " " + strings.Join(items, "/")
	}
	t.Fatalf("command %+v", c)
	return ""
}

// menuText is a menu as the person reads it; its items are numbered from 1.
func menuText(t testing.TB, c toolkit.Command) (title string, items []string) {
	t.Helper()
	title, err := sms.DecodeAlpha(c.Alpha)
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range c.Items {
		text, err := sms.DecodeAlpha(item.Text)
		if err != nil || int(item.ID) != i+1 {
			t.Fatalf("item %+v: %v", item, err)
		}
		items = append(items, text)
	}
	return title, items
}

func did(t testing.TB, c toolkit.Command, what string) toolkit.Response {
	t.Helper()
	r := c.Respond(toolkit.Done)
	switch what {
	case clears:
	case cancels:
		r.Result = toolkit.SessionEnded
	case goesBack:
		r.Result = toolkit.Backward
	case isAbsent:
		r.Result = toolkit.NoUserResponse
	case takes1, takes2, takes9:
		r.Item = what[len(what)-1] - '0'
	default:
		r = typed(c, what)
	}
	return r
}

func TestMenuIsSetUp(t *testing.T) {
	for language, s := range sayings {
		c := newCard(t, nil)
		c.profile.Language = language
		x := &terminal{TB: t, card: c}
		x.begins(toolkit.SigningTerminal())
		n, waits := x.sw.Proactive()
		menu := x.want(toolkit.SetUpMenu)
		title, items := menuText(t, menu)
		if title != "imza" || !slices.Equal(items, s.entries) || menu.Qualifier != 0 {
			t.Errorf("language %d: %q %q, qualifier %02X", language, title, items, menu.Qualifier)
		}
		if !waits || n > 255 {
			t.Errorf("language %d: a menu of %d octets", language, n)
		}
		if sw := x.respond(menu.Respond(toolkit.Done)); sw != simcard.SWOK {
			t.Errorf("%s", sw)
		}
		x.idle()
		x.signs(c)
	}
	// A card of no language speaks Azerbaijani.
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.begins(toolkit.SigningTerminal())
	if _, items := menuText(t, x.want(toolkit.SetUpMenu)); !slices.Equal(items, sayings[applet.Azerbaijani].entries) {
		t.Errorf("%q", items)
	}
}

// A terminal that does not say that it takes a menu, tells what is chosen from it,
// and does all that the dialogues behind it need, gets none (TS 102 223 §5.2).
func TestMenuIsForTerminalsThatTakeOne(t *testing.T) {
	all := toolkit.Profile{0xFF, 0xFF, 0xFF, 0xFF}
	without := func(octet, bit int) toolkit.Profile {
		p := slices.Clone(all)
		p[octet-1] &^= 1 << (bit - 1)
		return p
	}
	for octet := 1; octet <= 4; octet++ {
		for bit := 1; bit <= 8; bit++ {
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			x.begins(without(octet, bit))
			needed := slices.Contains([]string{
				"1.4", // menu selection
				"3.1", // DISPLAY TEXT
				"3.3", // GET INPUT
				"4.1", // SELECT ITEM
				"4.6", // SET UP MENU
			}, fmt.Sprintf("%d.%d", octet, bit))
			if _, waits := x.sw.Proactive(); waits == needed {
				t.Errorf("without octet %d bit %d: %s", octet, bit, x.sw)
			}
		}
	}
	for _, p := range []toolkit.Profile{{0x00}, {0xFF}, {0xFF, 0xFF, 0xFF}, {0xF7, 0xFF, 0xFF, 0xFF, 0xFF}} {
		x := &terminal{TB: t, card: newCard(t, nil)}
		x.begins(p)
		if x.sw != simcard.SWOK {
			t.Errorf("%X: %s", p, x.sw)
		}
		x.idle()
	}
	x := &terminal{TB: t, card: newCard(t, nil)}
	x.begins(append(slices.Clone(all), make([]byte, 30)...)) // as long as terminals' are
	x.want(toolkit.SetUpMenu)
	for _, command := range []simcard.Command{{CLA: 0x80, INS: 0x10}, {CLA: 0x80, INS: 0x10, P1: 1, Data: all}, {CLA: 0x80, INS: 0x10, P2: 1, Data: all}} {
		if r := x.do(command); r.SW.OK() {
			t.Errorf("%X: %s", command.Append(nil), r.SW)
		}
	}
}

// Nobody is asked for a PIN on a terminal that cannot ask for it, or cannot send
// what comes of it; and nothing is sent by one that cannot.
func TestChallengesAreForTerminalsThatTakeThem(t *testing.T) {
	for octet := 1; octet <= 4; octet++ {
		for bit := 1; bit <= 8; bit++ {
			facility := fmt.Sprintf("%d.%d", octet, bit)
			c := newCard(t, nil)
			x := &terminal{TB: t, card: c}
			able := toolkit.Profile{0xFF, 0xFF, 0xFF, 0xFF &^ 0x20} // without a menu
			able[octet-1] &^= 1 << (bit - 1)
			x.begins(able)
			tries := c.profile.PIN2.Tries
			x.bring(c.segments(t, challenge()))
			switch facility {
			case "3.1", "3.3": // DISPLAY TEXT, GET INPUT
				if a := x.answer(c); a.Result != applet.TerminalFailed {
					t.Errorf("without %s: %s", facility, a.Result)
				}
			case "4.2": // SEND SHORT MESSAGE
				unknown := challenge()
				unknown.Key = 9
				x.idle()
				x.bring(c.segments(t, unknown))
			default:
				x.respond(typed(x.confirm(), testPIN2))
				if a := x.answer(c); a.Result != applet.Signed {
					t.Errorf("without %s: %s", facility, a.Result)
				}
			}
			x.idle()
			if c.profile.PIN2.Tries != tries {
				t.Errorf("without %s: %d tries left", facility, c.profile.PIN2.Tries)
			}
		}
	}
}

// Who has not said what it can do is asked for nothing, whatever it does.
func TestNothingIsProactiveBeforeTheProfile(t *testing.T) {
	c := newCard(t, nil)
	c.Reset()
	x := &terminal{TB: t, card: c}
	none := func(what string, sw, want simcard.SW) {
		t.Helper()
		if sw != want {
			t.Errorf("%s: %s, want %s", what, sw, want)
		}
	}
	for _, apdu := range []string{"00A4000C023F00", selectsUSIM, "00A4000C026F07", "80F2000C", selectsSigner, "00A4000C026F01", "00B0000003"} {
		done(t, c, apdu)
	}
	fetched(t, c, "00A40004023F00")
	done(t, c, selectsSigner)
	none("VERIFY", x.do(simcard.Command{INS: insVerify, P2: p2PIN2, Data: padded(testPIN2)}).SW, simcard.SWOK)
	none("FETCH", x.do(simcard.Command{CLA: 0x80, INS: 0x12, Le: 256}).SW, simcard.SWConditions)
	none("a menu selection", x.chooses(1), simcard.SWConditions)
	saves := c.saves
	asked := challenge()
	for _, ud := range c.segments(t, asked) {
		none("a short message", x.envelope(deliver(t, ud)), simcard.SWConditions)
	}
	none("TERMINAL RESPONSE", x.respond(toolkit.Response{Number: 1, Type: toolkit.SetUpMenu}), simcard.SWConditions)
	if c.saves != saves {
		t.Error("a challenge that could not be shown was taken")
	}
	x.begins(noMenu)
	x.signs(c)
}

// 91XX stands in place of 9000 whenever a proactive command waits, and only then
// (TS 102 221 §7.4.2.1).
func TestWaitingCommandsAreAnnouncedEverywhere(t *testing.T) {
	c := newCard(t, nil)
	c.profile.ADM = NewPUK("11223344")
	x := &terminal{TB: t, card: c}
	x.begins(toolkit.SigningTerminal())
	waits, _ := x.sw.Proactive()
	good := []string{selectsMF, "00A4000C022FE2", "00B000000A", "00A4000C022F00", "00B201041A", "80F2000C", "80F2000022", selectsUSIM, selectsSigner,
		gives(0x02, testPIN1), gives(0x82, testPIN2), changes(0x82, testPIN2, testPIN2), unblocks(0x02, testPUK, testPIN1), gives(0x0A, "11223344"),
		"00A4000C024C01", "00D60000043082FFFF", "00A4000C023F00"}
	bad := map[string]string{"00A4000C022FE3": "6A82", "00B0000A0001": "6700", asksPIN(0x01): "6984", gives(0x03, "0000"): "6A88", "00C0000001": "6985",
		"0070000001": "6881", "FFFFFFFF": "6E00", "80F2030000": "6A86", "80C2000002D600": "6A80"}
	every := func(want simcard.SW) {
		t.Helper()
		for _, apdu := range good {
			if _, sw := answered(t, c, apdu); sw != want {
				t.Errorf("%s: %s, want %s", apdu, sw, want)
			}
		}
		// What waits for GET RESPONSE comes first; its last piece announces.
		for _, turn := range []turn{{"00A40004023F00", "6122"}, {"00C0000000", "6C22"}, {"00C0000001", "6121"}, {"00C0000021", want.String()}} {
			if _, sw := answered(t, c, turn.apdu); sw.String() != turn.answer {
				t.Errorf("%s: %s, want %s", turn.apdu, sw, turn.answer)
			}
		}
		for apdu, want := range bad {
			if _, sw := answered(t, c, apdu); sw.String() != want {
				t.Errorf("%s: %s, want %s", apdu, sw, want)
			}
		}
	}
	every(simcard.SWProactive(waits))
	// A wrong length does not take it.
	if _, sw := answered(t, c, "8012000001"); sw != simcard.SWLength(waits) {
		t.Errorf("FETCH: %s", sw)
	}
	every(simcard.SWProactive(waits))
	if data, sw := answered(t, c, fmt.Sprintf("80120000%02X", byte(waits))); sw != simcard.SWOK || len(data) != waits {
		t.Errorf("FETCH: %d octets, %s", len(data), sw)
	}
	every(simcard.SWOK) // it is with the terminal
	if _, sw := answered(t, c, "8012000000"); sw != simcard.SWConditions {
		t.Errorf("FETCH: %s", sw)
	}
	if _, sw := answered(t, c, "801400000C 810301250082028281830100"); sw != simcard.SWOK {
		t.Errorf("TERMINAL RESPONSE: %s", sw)
	}
	every(simcard.SWOK) // it is over
}

// The person changes a PIN, in each language, and the card remembers.
func TestChangingAPIN(t *testing.T) {
	for language, s := range sayings {
		for item, pin := range map[byte]struct{ name, digits string }{1: {"PIN1", testPIN1}, 2: {"PIN2", testPIN2}} {
			current, fresh, again := s.of(s.current, pin.name)+" ****", s.of(s.new, pin.name)+" ****", s.of(s.again, pin.name)+" ****"
			changed, blocked, diff := s.of(s.changed, pin.name), s.of(s.blocked, pin.name), s.of(s.diff, pin.name)+" ****"
			left := func(n int) string { return s.left(pin.name, n) + " ****" }
			for name, d := range map[string]struct {
				all   []exchanged
				now   string
				tries int
			}{
				"right":                      {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, "24680"}, {changed, clears}}, "24680", 3},
				"four digits":                {[]exchanged{{current, pin.digits}, {fresh, "2468"}, {again, "2468"}, {changed, clears}}, "2468", 3},
				"eight digits":               {[]exchanged{{current, pin.digits}, {fresh, "24680135"}, {again, "24680135"}, {changed, clears}}, "24680135", 3},
				"to the same":                {[]exchanged{{current, pin.digits}, {fresh, pin.digits}, {again, pin.digits}, {changed, clears}}, pin.digits, 3},
				"the text is not cleared":    {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, "24680"}, {changed, isAbsent}}, "24680", 3},
				"a wrong one, then right":    {[]exchanged{{current, "0000"}, {left(2), pin.digits}, {fresh, "24680"}, {again, "24680"}, {changed, clears}}, "24680", 3},
				"two wrong ones, then right": {[]exchanged{{current, "0000"}, {left(2), "0001"}, {left(1), pin.digits}, {fresh, "24680"}, {again, "24680"}, {changed, clears}}, "24680", 3},
				"wrong until it blocks":      {[]exchanged{{current, "0000"}, {left(2), "0001"}, {left(1), "0002"}, {blocked, clears}}, pin.digits, 0},
				"the new ones differ": {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, "24681"}, {diff, "13579"}, {again, "13570"}, {diff, "5555"}, {again, "5555"},
					{changed, clears}}, "5555", 3},
				"no PIN is typed":              {[]exchanged{{current, "123"}, {s.failed, clears}}, pin.digits, 3},
				"letters are typed":            {[]exchanged{{current, "12a45"}, {s.failed, clears}}, pin.digits, 3},
				"nine digits are typed":        {[]exchanged{{current, "123456789"}, {s.failed, clears}}, pin.digits, 3},
				"the new one is none":          {[]exchanged{{current, pin.digits}, {fresh, "12"}, {s.failed, clears}}, pin.digits, 3},
				"the new one again is none":    {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, ""}, {s.failed, clears}}, pin.digits, 3},
				"cancelled at once":            {[]exchanged{{current, cancels}}, pin.digits, 3},
				"cancelled after a wrong one":  {[]exchanged{{current, "0000"}, {left(2), cancels}}, pin.digits, 2},
				"cancelled at the new one":     {[]exchanged{{current, pin.digits}, {fresh, cancels}}, pin.digits, 3},
				"cancelled at the new again":   {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, cancels}}, pin.digits, 3},
				"cancelled when they differ":   {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, "24681"}, {diff, cancels}}, pin.digits, 3},
				"back at once":                 {[]exchanged{{current, goesBack}}, pin.digits, 3},
				"back at the new one":          {[]exchanged{{current, pin.digits}, {fresh, goesBack}}, pin.digits, 3},
				"back at the new one again":    {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, goesBack}}, pin.digits, 3},
				"absent at once":               {[]exchanged{{current, isAbsent}}, pin.digits, 3},
				"absent at the new one":        {[]exchanged{{current, pin.digits}, {fresh, isAbsent}}, pin.digits, 3},
				"absent at the new one again":  {[]exchanged{{current, pin.digits}, {fresh, "24680"}, {again, isAbsent}}, pin.digits, 3},
				"blocked before it is entered": {[]exchanged{{blocked, clears}}, pin.digits, 0},
			} {
				t.Run(fmt.Sprintf("%d %s %s", language, pin.name, name), func(t *testing.T) {
					c, x := withMenu(t, language)
					of := func(p *Profile) *PIN {
						if item == 1 {
							return &p.PIN1
						}
						return &p.PIN2
					}
					if len(d.all) == 1 && d.all[0].shows == blocked {
						of(c.profile).Tries = 0
						if err := c.save(c.profile); err != nil {
							t.Fatal(err)
						}
					}
					x.dialogueWith(item, d.all...)
					if got := *of(c.profile); got.Digits != d.now || got.Tries != d.tries {
						t.Errorf("the PIN is %+v, want %s with %d tries", got, d.now, d.tries)
					}
					// The other PIN and the PUK are as they were.
					want := []int{3, 3, 10}
					want[item-1] = d.tries
					sameTries(t, c.profile, want...)
					if len(c.stored) > 0 {
						if got := *of(parse(t, c.stored[len(c.stored)-1])); got.Digits != d.now || got.Tries != d.tries {
							t.Errorf("stored is %+v", got)
						}
					}
					// And the dialogue is over: the next begins at its beginning.
					x.dialogueWith(4, exchanged{string(c.profile.ICCID), clears})
				})
			}
		}
	}
}

// The person unblocks a PIN with the PUK, in each language.
func TestUnblockingAPIN(t *testing.T) {
	for language, s := range sayings {
		which := s.which + " PIN1/PIN2"
		puk := s.puk + " ****"
		left := func(n int) string { return s.left("PUK", n) + " ****" }
		var tenWrong []exchanged
		tenWrong = append(tenWrong, exchanged{which, takes2}, exchanged{puk, "00000000"})
		for n := 9; n >= 1; n-- {
			tenWrong = append(tenWrong, exchanged{left(n), "0000000" + fmt.Sprint(n)})
		}
		tenWrong = append(tenWrong, exchanged{s.of(s.blocked, "PUK"), clears})
		for i, name := range []string{"PIN1", "PIN2"} {
			takes, digits := []string{takes1, takes2}[i], []string{testPIN1, testPIN2}[i]
			fresh, again, unblocked := s.of(s.new, name)+" ****", s.of(s.again, name)+" ****", s.of(s.unblocked, name)
			begins := []exchanged{{which, takes}, {puk, testPUK}}
			for what, d := range map[string]struct {
				all        []exchanged
				now        string
				tries, puk int
			}{
				"right":                   {append(slices.Clone(begins), exchanged{fresh, "24680"}, exchanged{again, "24680"}, exchanged{unblocked, clears}), "24680", 3, 10},
				"wrong once, then right":  {[]exchanged{{which, takes}, {puk, "00000000"}, {left(9), testPUK}, {fresh, "24680"}, {again, "24680"}, {unblocked, clears}}, "24680", 3, 10},
				"wrong, and cancelled":    {[]exchanged{{which, takes}, {puk, "00000000"}, {left(9), "00000001"}, {left(8), cancels}}, digits, 0, 8},
				"the new ones differ":     {append(slices.Clone(begins), exchanged{fresh, "24680"}, exchanged{again, "24681"}, exchanged{s.of(s.diff, name) + " ****", "5555"}, exchanged{again, "5555"}, exchanged{unblocked, clears}), "5555", 3, 10},
				"no PUK is typed":         {[]exchanged{{which, takes}, {puk, "x"}, {s.failed, clears}}, digits, 0, 10},
				"cancelled at once":       {[]exchanged{{which, cancels}}, digits, 0, 10},
				"back at once":            {[]exchanged{{which, goesBack}}, digits, 0, 10},
				"absent at once":          {[]exchanged{{which, isAbsent}}, digits, 0, 10},
				"cancelled at the PUK":    {[]exchanged{{which, takes}, {puk, cancels}}, digits, 0, 10},
				"absent at the PUK":       {[]exchanged{{which, takes}, {puk, isAbsent}}, digits, 0, 10},
				"cancelled at the new":    {append(slices.Clone(begins), exchanged{fresh, cancels}), digits, 0, 10},
				"absent at the new again": {append(slices.Clone(begins), exchanged{fresh, "24680"}, exchanged{again, isAbsent}), digits, 0, 10},
				"an item that is none":    {[]exchanged{{which, takes9}}, digits, 0, 10},
				"nothing is chosen":       {[]exchanged{{which, clears}}, digits, 0, 10},
			} {
				t.Run(fmt.Sprintf("%d %s %s", language, name, what), func(t *testing.T) {
					c, x := withMenu(t, language)
					pins := []*PIN{&c.profile.PIN1, &c.profile.PIN2}
					pins[i].Tries = 0
					x.dialogueWith(3, d.all...)
					if got := *pins[i]; got.Digits != d.now || got.Tries != d.tries {
						t.Errorf("%s is %+v, want %s with %d tries", name, got, d.now, d.tries)
					}
					if got := *pins[1-i]; got.Tries != 3 || got.Digits != []string{testPIN2, testPIN1}[i] {
						t.Errorf("the other PIN is %+v", got)
					}
					if got := c.profile.PUK; got.Digits != testPUK || got.Tries != d.puk {
						t.Errorf("the PUK is %+v, want %d tries", got, d.puk)
					}
				})
			}
		}
		t.Run(fmt.Sprintf("%d ten wrong PUKs", language), func(t *testing.T) {
			c, x := withMenu(t, language)
			x.dialogueWith(3, tenWrong...)
			sameTries(t, c.profile, 3, 3, 0)
			// From then on it is not asked for, not even after the power was off.
			for range 2 {
				x.dialogueWith(3, exchanged{which, takes1}, exchanged{s.of(s.blocked, "PUK"), clears})
				c.powerOn(t, parse(t, c.stored[len(c.stored)-1]))
				x.begins(toolkit.SigningTerminal())
				x.completes(toolkit.SetUpMenu)
			}
			x.signs(c)
		})
	}
}

func TestTheCardsNumberIsShown(t *testing.T) {
	for language := range sayings {
		c, x := withMenu(t, language)
		for _, does := range []string{clears, cancels, goesBack, isAbsent} {
			x.dialogueWith(4, exchanged{string(c.profile.ICCID), does})
		}
		if c.saves != 0 {
			t.Error("something was stored")
		}
	}
}

func TestItemsThatAreNotInTheMenu(t *testing.T) {
	c, x := withMenu(t, applet.English)
	for item := range 256 {
		if item >= 1 && item <= 4 {
			continue
		}
		if sw := x.chooses(byte(item)); sw != simcard.SWWrongData {
			t.Errorf("item %d: %s", item, sw)
		}
	}
	x.idle()
	// A terminal may ask for help, which the menu does not say that it has
	// (TS 102 384 §27.22.4.7, sequence 2.1): what is chosen begins.
	r := x.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: []byte{0xD3, 0x09, 0x82, 0x02, 0x01, 0x81, 0x90, 0x01, 0x04, 0x15, 0x00}})
	if r.SW>>8 != 0x91 {
		t.Errorf("%s", r.SW)
	}
	x.completes(toolkit.DisplayText)
	if c.saves != 0 {
		t.Error("something was stored")
	}
}

// A response that is not the one to the command that was fetched changes
// nothing.
func TestMenuTakesOnlyTheResponseThatIsDue(t *testing.T) {
	c, x := withMenu(t, applet.English)
	x.chooses(1)
	input := x.want(toolkit.GetInput)
	for name, r := range map[string]toolkit.Response{
		"another number": {Number: input.Number + 1, Type: toolkit.GetInput},
		"another type":   {Number: input.Number, Type: toolkit.DisplayText},
		"of the menu":    {Number: 1, Type: toolkit.SetUpMenu},
	} {
		r.Text = typed(input, testPIN1).Text
		if sw := x.respond(r); sw != simcard.SWWrongData {
			t.Errorf("%s: %s", name, sw)
		}
	}
	x.respond(typed(input, testPIN1))
	if got := read(t, x.want(toolkit.GetInput)); got != "New PIN1 ****" {
		t.Errorf("%q", got)
	}
	sameTries(t, c.profile, 3, 3, 10)
	// The terminal cannot, or is busy: that is the end, and no try is gone.
	for _, result := range []toolkit.Result{toolkit.TerminalBusy, toolkit.BeyondCapabilities, toolkit.NotUnderstood, 0x13, 0x36, 0xFF} {
		c, x := withMenu(t, applet.English)
		x.chooses(2)
		r := typed(x.want(toolkit.GetInput), testPIN2)
		r.Result = result
		if sw := x.respond(r); sw != simcard.SWOK {
			t.Errorf("%02X: %s", byte(result), sw)
		}
		x.idle()
		if c.saves != 0 {
			t.Errorf("%02X: something was stored", byte(result))
		}
		x.signs(c)
	}
}

// One thing at a time: while the card wants something a choice from the menu is
// answered 9300 (TS 102 221 §10.2.1.2).
func TestMenuSelectionsWhileTheCardIsBusy(t *testing.T) {
	busy := func(c *card, x *terminal, what string) {
		t.Helper()
		saves := c.saves
		for item := byte(1); item <= 4; item++ {
			before := x.sw
			if sw := x.chooses(item); sw != simcard.SWToolkitBusy {
				t.Errorf("%s: item %d: %s", what, item, sw)
			}
			x.sw = before
		}
		if c.saves != saves {
			t.Errorf("%s: something was stored", what)
		}
	}
	c := newCard(t, nil)
	x := &terminal{TB: t, card: c}
	x.begins(toolkit.SigningTerminal())
	busy(c, x, "the menu waits")
	menu := x.want(toolkit.SetUpMenu)
	busy(c, x, "the menu is being set up")
	x.respond(menu.Respond(toolkit.Done))

	asked := challenge()
	x.bring(c.segments(t, asked))
	busy(c, x, "a challenge waits")
	display := x.want(toolkit.DisplayText)
	busy(c, x, "a challenge is shown")
	x.respond(display.Respond(toolkit.Done))
	busy(c, x, "a challenge's PIN is about to be asked for")
	input := x.want(toolkit.GetInput)
	busy(c, x, "a challenge's PIN is asked for")
	x.respond(typed(input, testPIN2))
	busy(c, x, "the answer waits")
	if a := x.answer(c); a.Result != applet.Signed || a.Reference != asked.Reference {
		t.Errorf("%s", a.Result)
	}

	x.chooses(2)
	busy(c, x, "a dialogue waits")
	input = x.want(toolkit.GetInput)
	busy(c, x, "a dialogue is on the screen")
	x.respond(typed(input, testPIN2))
	busy(c, x, "a dialogue goes on")
	x.respond(did(t, x.want(toolkit.GetInput), cancels))
	x.dialogueWith(4, exchanged{string(c.profile.ICCID), clears})
}

// A challenge that comes while a dialogue of the menu is on the screen is
// answered "busy", and the dialogue goes on.
func TestChallengesDuringADialogueAreBusy(t *testing.T) {
	for at := range 4 {
		c, x := withMenu(t, applet.English)
		asked := challenge()
		var answers []applet.Answer
		arrives := func(step int) {
			if step == at {
				before := x.sw
				x.bring(c.segments(t, asked))
				if _, waits := before.Proactive(); waits {
					x.sw = before
				}
			}
		}
		// next is the dialogue's next command; an answer that leaves in between is
		// the challenge's.
		next := func(kind toolkit.Type) toolkit.Command {
			command := x.fetch()
			if command.Type == toolkit.SendShortMessage {
				m, whole := x.message(command, new(sms.Reassembler))
				if !whole {
					t.Fatal("a refusal in several messages")
				}
				a, _ := c.open(t, m)
				answers = append(answers, a)
				command = x.fetch()
			}
			if command.Type != kind {
				t.Fatalf("command %02X, want %02X", byte(command.Type), byte(kind))
			}
			return command
		}
		x.chooses(1)
		arrives(0) // it waits to be fetched
		input := next(toolkit.GetInput)
		arrives(1) // it is on the screen
		x.respond(typed(input, testPIN1))
		input = next(toolkit.GetInput)
		arrives(2)
		x.respond(typed(input, "2468"))
		x.respond(typed(next(toolkit.GetInput), "2468"))
		text := next(toolkit.DisplayText)
		if shown(t, text) != "PIN1 is changed" {
			t.Errorf("shows %q", shown(t, text))
		}
		arrives(3) // the last text is on the screen
		x.respond(text.Respond(toolkit.Done))
		answers = append(answers, x.drain(c)...)
		if len(answers) != 1 || answers[0].Result != applet.Busy || answers[0].Reference != asked.Reference {
			t.Fatalf("at step %d: %+v", at, answers)
		}
		if c.profile.PIN1.Digits != "2468" {
			t.Errorf("at step %d: PIN1 is %s", at, c.profile.PIN1.Digits)
		}
		x.signs(c)
	}
}

// What waits to leave the card is bounded: then a short message is answered 9300,
// so that the network tries again, and the counter stays as it is.
func TestToolkitThatIsFullIsBusy(t *testing.T) {
	c, x := withMenu(t, applet.English)
	shownFirst := challenge()
	x.bring(c.segments(t, shownFirst))
	display := x.want(toolkit.DisplayText)
	taken := 0
	for ; taken < 1000; taken++ {
		counter := c.profile.Counter
		if sw := x.envelope(deliver(t, c.segments(t, challenge())[0])); sw == simcard.SWToolkitBusy {
			if c.profile.Counter != counter {
				t.Error("the counter of a message that was not taken is gone")
			}
			break
		} else if sw != simcard.SWOK {
			t.Fatalf("%s", sw)
		}
	}
	if taken != 24 {
		t.Errorf("%d answers wait, and there is room for more or less than 24", taken)
	}
	if sw := x.chooses(4); sw != simcard.SWToolkitBusy {
		t.Errorf("a menu selection: %s", sw)
	}
	x.respond(display.Respond(toolkit.SessionEnded))
	busy, cancelled := 0, 0
	for _, a := range x.drain(c) {
		switch {
		case a.Result == applet.Busy:
			busy++
		case a.Result == applet.CancelledByUser && a.Reference == shownFirst.Reference:
			cancelled++
		}
	}
	if busy != taken || cancelled != 1 {
		t.Errorf("%d answers busy and %d cancelled, want %d and 1", busy, cancelled, taken)
	}
	x.idle()
	x.signs(c)
}

// The power goes, or the terminal begins anew, in the middle of a dialogue.
func TestRestartsEndADialogue(t *testing.T) {
	for name, restart := range map[string]func(*terminal){
		"reset":            func(x *terminal) { x.card.(*card).Reset(); x.begins(toolkit.SigningTerminal()) },
		"terminal profile": func(x *terminal) { x.do(simcard.Command{CLA: 0x80, INS: 0x10, Data: toolkit.SigningTerminal()}) },
	} {
		c, x := withMenu(t, applet.English)
		x.chooses(2)
		x.respond(typed(x.want(toolkit.GetInput), testPIN2))
		input := x.want(toolkit.GetInput)
		restart(x)
		menu := x.want(toolkit.SetUpMenu)
		if sw := x.respond(typed(input, "2468")); sw != simcard.SWWrongData {
			t.Errorf("%s: %s", name, sw)
		}
		x.respond(menu.Respond(toolkit.Done))
		x.idle()
		if c.profile.PIN2.Digits != testPIN2 {
			t.Errorf("%s: PIN2 is %s", name, c.profile.PIN2.Digits)
		}
		x.dialogueWith(4, exchanged{string(c.profile.ICCID), clears})
	}
}

// While an answer leaves, the handset shows what became of the challenge: in the
// first message's alpha identifier, in the challenge's language. The others have
// an empty one, so that the handset says nothing of its own (TS 102 223 §6.4.10).
func TestWhatIsShownWhileAnAnswerLeaves(t *testing.T) {
	type shows struct{ signed, authenticated, cancelled, blocked, failed string }
	for language, want := range map[applet.Language]shows{
		applet.Azerbaijani: {"İmzalandı", "Təsdiqləndi", "İmtina edildi", "PIN2 bloklanıb", "Alınmadı"},
		applet.English:     {"Signed", "Authenticated", "Refused", "PIN2 is blocked", "Failed"},
		applet.Russian:     {"Подписано", "Подтверждено", "Отклонено", "PIN2 заблокирован", "Не удалось"},
	} {
		for _, s := range []struct {
			want   string
			result applet.Result
			asked  func(*applet.Challenge)
			reply  func(*terminal, toolkit.Command) toolkit.Response // to GET INPUT; nil: nothing is asked
		}{
			{want.signed, applet.Signed, nil, func(x *terminal, c toolkit.Command) toolkit.Response { return typed(c, testPIN2) }},
			{want.authenticated, applet.Signed, func(a *applet.Challenge) { a.Operation, a.Key = applet.Authenticate, 2 },
				func(x *terminal, c toolkit.Command) toolkit.Response { return typed(c, testPIN1) }},
			{want.cancelled, applet.CancelledByUser, nil, func(x *terminal, c toolkit.Command) toolkit.Response { return did(x, c, cancels) }},
			{want.failed, applet.TerminalFailed, nil, func(x *terminal, c toolkit.Command) toolkit.Response { return typed(c, "x") }},
			{want.failed, applet.KeyUnknown, func(a *applet.Challenge) { a.Key = 9 }, nil},
			{want.blocked, applet.PINBlocked, func(*applet.Challenge) {}, nil},
		} {
			c, x := withMenu(t, applet.English) // the challenge's language counts, not the card's
			if err := c.profile.AddKey(2, applet.Authenticate, testP384()); err != nil {
				t.Fatal(err)
			}
			if err := c.profile.SetCertificate(2, issue(testP384().Public()).Raw); err != nil {
				t.Fatal(err)
			}
			if s.result == applet.PINBlocked {
				c.profile.PIN2.Tries = 0
			}
			asked := challenge()
			asked.Language = language
			if s.asked != nil {
				s.asked(&asked)
			}
			x.bring(c.segments(t, asked))
			if s.reply != nil {
				x.respond(s.reply(x, x.confirm()))
			}
			parts, first := sms.Reassembler{Expiry: 1 << 40, Most: 1}, true
			for whole := false; !whole; first = false {
				command := x.want(toolkit.SendShortMessage)
				said, err := sms.DecodeAlpha(command.Alpha)
				if err != nil || command.Alpha == nil || first && said != s.want || !first && said != "" {
					t.Errorf("language %d, %s: shows %q %v, want %q", language, s.result, said, err, s.want)
				}
				var m sms.Message
				if m, whole = x.message(command, &parts); whole {
					if a, _ := c.open(t, m); a.Result != s.result {
						t.Errorf("language %d: %s, want %s", language, a.Result, s.result)
					}
				}
			}
			x.idle()
		}
	}
}
