package emulator

import (
	"fmt"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// dialogue is what an entry of the applet's menu has on the screen: what
// happens with the terminal's response to it.
type dialogue struct {
	then func(toolkit.Response)
}

// Entries of the menu.
const (
	itemChangePIN1 = 1 + iota
	itemChangePIN2
	itemUnblock
	itemNumber
)

type menuWords struct {
	title                               string
	change, unblock, number             string // entries; change of a PIN's name
	which                               string
	current, puk, new, again            string // prompts; all but puk of a PIN's name
	differ                              string
	changed, unblocked, blocked, failed string // of a PIN's name; not failed
	tries                               string
}

var (
	azerbaijaniMenu = menuWords{title: "imza", change: "%s dəyişmək", unblock: "PUK ilə blokdan çıxarmaq", number: "Kartın nömrəsi", which: "Hansı PIN?",
		current: "Hazırkı %s", puk: "PUK daxil edin", new: "Yeni %s", again: "Yeni %s, təkrar", differ: "Fərqlidir. Yeni %s",
		changed: "%s dəyişdirildi", unblocked: "%s blokdan çıxarıldı", blocked: "%s bloklanıb", failed: "Alınmadı", tries: "%s səhvdir. Qalan cəhd: %d"}
	englishMenu = menuWords{title: "imza", change: "Change %s", unblock: "Unblock with PUK", number: "Card number", which: "Which PIN?",
		current: "Current %s", puk: "Enter the PUK", new: "New %s", again: "New %s again", differ: "They differ. New %s",
		changed: "%s is changed", unblocked: "%s is unblocked", blocked: "%s is blocked", failed: "Failed", tries: "Wrong %s. Tries left: %d"}
	russianMenu = menuWords{title: "imza", change: "Сменить %s", unblock: "Разблокировать по PUK", number: "Номер карты", which: "Какой PIN?",
		current: "Текущий %s", puk: "Введите PUK", new: "Новый %s", again: "Новый %s ещё раз", differ: "Не совпали. Новый %s",
		changed: "%s изменён", unblocked: "%s разблокирован", blocked: "%s заблокирован", failed: "Не удалось", tries: "Неверный %s. Осталось попыток: %d"}
)

func (s *SIM) words() *menuWords {
	if w := wordsOf[s.profile.Language]; w != nil {
		return &w.menu
	}
	return &azerbaijaniMenu
}

// setUpMenu puts the applet's entries into the handset's menu (TS 102 223
// §6.4.8).
func (s *SIM) setUpMenu() error {
	w := s.words()
	return s.proposeItems(toolkit.SetUpMenu, w.title,
		fmt.Sprintf(w.change, "PIN1"), fmt.Sprintf(w.change, "PIN2"), w.unblock, w.number)
}

// proposeItems proposes a menu whose items are numbered from 1.
func (s *SIM) proposeItems(kind toolkit.Type, title string, items ...string) error {
	c := toolkit.Command{Type: kind}
	var err error
	if c.Alpha, err = sms.EncodeAlpha(title); err != nil {
		return err
	}
	for i, text := range items {
		octets, err := sms.EncodeAlpha(text)
		if err != nil {
			return err
		}
		c.Items = append(c.Items, toolkit.Item{ID: byte(i + 1), Text: octets})
	}
	return s.propose(c)
}

// menuSelection begins what an entry is for (ENVELOPE MENU SELECTION).
func (s *SIM) menuSelection(item byte) simcard.Response {
	t := &s.toolkit
	if t.asked.active || t.menu != nil || len(t.queue) > 0 || t.waiting {
		return status(simcard.SWToolkitBusy)
	}
	p := s.profile
	switch item {
	case itemChangePIN1:
		s.askCurrent("PIN1", &p.PIN1)
	case itemChangePIN2:
		s.askCurrent("PIN2", &p.PIN2)
	case itemUnblock:
		s.askWhich()
	case itemNumber:
		s.tell(string(p.ICCID))
	default:
		return status(simcard.SWWrongData)
	}
	return status(simcard.SWOK)
}

// proceed goes on with a dialogue. The person may put an end to it anywhere.
func (s *SIM) proceed(r toolkit.Response) {
	d := s.toolkit.menu
	s.toolkit.menu = nil
	if r.Result.OK() && d.then != nil {
		d.then(r)
	}
}

// put proposes a command of a dialogue.
func (s *SIM) put(c toolkit.Command, text string, then func(toolkit.Response)) {
	if s.proposeText(c, text) == nil {
		s.toolkit.menu = &dialogue{then}
	}
}

// tell shows a text, with which the dialogue ends.
func (s *SIM) tell(text string) {
	s.put(toolkit.Command{Type: toolkit.DisplayText, Qualifier: toolkit.DisplayUserClears}, text, nil)
}

// askDigits asks for a PIN or the PUK.
func (s *SIM) askDigits(text string, then func(digits string)) {
	s.put(toolkit.Command{Type: toolkit.GetInput, Qualifier: toolkit.InputHidden, MinInput: minPIN, MaxInput: simcard.PINLen}, text,
		func(r toolkit.Response) {
			digits, ok := digitsOf(r)
			if !ok {
				s.tell(s.words().failed)
				return
			}
			then(digits)
		})
}

// askWhich begins the unblocking of either PIN.
func (s *SIM) askWhich() {
	if s.proposeItems(toolkit.SelectItem, s.words().which, "PIN1", "PIN2") != nil {
		return
	}
	s.toolkit.menu = &dialogue{func(r toolkit.Response) {
		switch r.Item {
		case 1:
			s.askPUK("PIN1", &s.profile.PIN1)
		case 2:
			s.askPUK("PIN2", &s.profile.PIN2)
		}
	}}
}

func (s *SIM) askPUK(name string, pin *PIN) {
	w := s.words()
	s.guard("PUK", &s.profile.PUK, pukTries, w.puk, func() { s.askNew(name, pin, &s.profile.PUK, fmt.Sprintf(w.new, name), w.unblocked) })
}

func (s *SIM) askCurrent(name string, pin *PIN) {
	w := s.words()
	s.guard(name, pin, pinTries, fmt.Sprintf(w.current, name), func() { s.askNew(name, pin, pin, fmt.Sprintf(w.new, name), w.changed) })
}

// guard asks for a PIN or the PUK until it is right.
func (s *SIM) guard(name string, pin *PIN, tries int, text string, then func()) {
	w := s.words()
	if pin.Tries <= 0 {
		s.tell(fmt.Sprintf(w.blocked, name))
		return
	}
	s.askDigits(text, func(digits string) {
		sw := s.try(pin, simcard.PadPIN(digits), tries)
		left, wrong := sw.Tries()
		switch {
		case sw == simcard.SWOK:
			then()
		case wrong || sw == simcard.SWPINBlocked:
			s.guard(name, pin, tries, fmt.Sprintf(w.tries, name, left), then)
		default:
			s.tell(w.failed)
		}
	})
}

// askNew asks for new digits, twice, until both are the same. The guard, the PIN
// itself or the PUK, was given before; it may have been blocked by commands since.
func (s *SIM) askNew(name string, pin, guard *PIN, text, done string) {
	w := s.words()
	s.askDigits(text, func(first string) {
		s.askDigits(fmt.Sprintf(w.again, name), func(second string) {
			switch {
			case first != second:
				s.askNew(name, pin, guard, fmt.Sprintf(w.differ, name), done)
			case guard.Tries <= 0 || s.set(pin, first) != simcard.SWOK:
				s.tell(w.failed)
			default:
				s.tell(fmt.Sprintf(done, name))
			}
		})
	})
}
