package emulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// Handset is a telephone: it hands what the network brings to its card, carries
// out what the card wants, and shows prompts to its person. The card may be
// any simcard.Card: a software SIM, or one in a reader.
type Handset struct {
	Card   simcard.Card
	Person Person
	// Send gives an SMS-SUBMIT TPDU to the network.
	Send func(tpdu []byte) error
	// Lost, if set, is told when the card no longer answers.
	Lost func(error)
	Log  *slog.Logger

	bus     sync.Mutex // a command, its GET RESPONSE included, is not interrupted
	session sync.Mutex // one proactive session at a time
	power   sync.Mutex // over ctx: no session begins once SwitchOff waits for them to end
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	menuMu sync.Mutex
	menu   Menu
}

// Menu is what the card put into the handset's menu (SET UP MENU).
type Menu struct {
	Title string
	Items []Item
}

// ErrBusy says that the card's toolkit cannot take more now; what was to be
// delivered may be tried again.
var ErrBusy = errors.New("emulator: the card's toolkit is busy")

// Insert puts a card into the handset, which is switched off.
func (h *Handset) Insert(card simcard.Card) {
	h.bus.Lock()
	defer h.bus.Unlock()
	h.Card = card
}

// connect gives the handset its network.
func (h *Handset) connect(send func(tpdu []byte) error) {
	h.bus.Lock()
	defer h.bus.Unlock()
	h.Send = send
}

// send gives a TPDU to the network, if there is one.
func (h *Handset) send(tpdu []byte) error {
	h.bus.Lock()
	send := h.Send
	h.bus.Unlock()
	if send == nil {
		return errors.New("emulator: no network")
	}
	return send(tpdu)
}

// SwitchOn tells the card what the terminal can do, as every terminal does
// first (TS 102 223 §5.2), and has the person unlock the telephone if its own
// PIN is asked for. The card must have been reset. The handset is on until the
// context ends, or SwitchOff; where it cannot be switched on it stays off. Neither
// SwitchOn nor SwitchOff may be called while it runs: end the context.
func (h *Handset) SwitchOn(ctx context.Context) error {
	h.power.Lock()
	h.ctx, h.cancel = context.WithCancel(ctx)
	h.power.Unlock()
	h.setMenu(Menu{})
	h.session.Lock() // what the card wants waits until it is unlocked
	sw, err := h.begin()
	if err != nil {
		h.power.Lock()
		h.cancel()
		h.power.Unlock()
	}
	h.session.Unlock()
	if err != nil {
		h.running.Wait() // for what was delivered meanwhile, which comes to nothing
		return err
	}
	h.proceed(sw)
	return nil
}

func (h *Handset) begin() (simcard.SW, error) {
	r, err := h.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: toolkit.SigningTerminal()})
	if err != nil {
		return 0, err
	}
	if !r.SW.OK() {
		return 0, fmt.Errorf("emulator: TERMINAL PROFILE: %s", r.SW)
	}
	return r.SW, h.unlock()
}

// ErrLocked says that a telephone stays off since its own PIN was not given.
var ErrLocked = errors.New("emulator: the telephone is locked by its own PIN")

// unlock has the person type the telephone's PIN, if the card's USIM asks for
// one (TS 31.101 §9.5). What was wrong is not sent again: somebody who types the
// same each time would block the card.
func (h *Handset) unlock() error {
	r, err := h.do(simcard.Select(simcard.USIM))
	if err != nil || !r.SW.OK() {
		return err // a card without USIM locks nothing
	}
	fcp, err := simcard.ParseFCP(r.Data)
	if err != nil || !fcp.Asks(simcard.PINTelephone) {
		return nil // nor does one that does not say so
	}
	text, tried := "PIN", ""
	for h.ctx.Err() == nil {
		reply := h.ask(Prompt{Kind: Ask, Unlock: true, Text: text, Hidden: true, Digits: true, Min: 4, Max: simcard.PINLen})
		if reply.Result != toolkit.Done || reply.Typed == tried {
			return ErrLocked
		}
		tried = reply.Typed
		r, err := h.do(simcard.Command{INS: simcard.Verify, P2: simcard.PINTelephone, Data: simcard.PadPIN(reply.Typed)})
		if err != nil {
			return err
		}
		left, wrong := r.SW.Tries()
		switch {
		case r.SW.OK():
			return nil
		case !wrong || left == 0:
			return fmt.Errorf("%w: %s", ErrLocked, r.SW)
		}
		text = fmt.Sprintf("PIN (%d)", left)
	}
	return h.ctx.Err()
}

// SwitchOff ends whatever is on the screen.
func (h *Handset) SwitchOff() {
	h.power.Lock()
	if h.cancel != nil {
		h.cancel()
	}
	h.power.Unlock()
	h.running.Wait()
	h.setMenu(Menu{})
}

func (h *Handset) on() bool {
	h.power.Lock()
	defer h.power.Unlock()
	return h.ctx != nil && h.ctx.Err() == nil
}

// Idle reports whether the handset serves its card with nothing now. The card may
// want something all the same that nobody has fetched yet: see SIM.Idle.
func (h *Handset) Idle() bool {
	idle := h.session.TryLock()
	if idle {
		h.session.Unlock()
	}
	return idle
}

// do has the card carry out a command.
func (h *Handset) do(c simcard.Command) (simcard.Response, error) {
	h.bus.Lock()
	r, err := simcard.Response{}, errNoCard
	if h.Card != nil {
		r, err = simcard.Do(h.Card, c)
	}
	h.bus.Unlock()
	if err != nil && h.Lost != nil {
		h.Lost(err)
	}
	return r, err
}

// errNoCard says that no card answers: for the network such a telephone is off.
var errNoCard = errors.New("emulator: no card in the handset")

// Deliver takes an SMS-DELIVER TPDU from the network. Data download goes to the
// card (TS 31.111 §7.1.1.1); everything else would be for the screen, and is
// dropped. It returns once the card has it.
func (h *Handset) Deliver(tpdu []byte) error {
	if !h.on() {
		return errOff
	}
	d, err := sms.ParseDeliver(tpdu)
	if err != nil {
		return err
	}
	if d.PID != sms.PIDDataDownload || !class2(d.DCS) {
		return nil
	}
	return h.envelope(toolkit.SMSDownload(nil, tpdu))
}

// Menu is what the card has in the handset's menu now.
func (h *Handset) Menu() Menu {
	h.menuMu.Lock()
	defer h.menuMu.Unlock()
	return h.menu
}

func (h *Handset) setMenu(m Menu) {
	h.menuMu.Lock()
	defer h.menuMu.Unlock()
	h.menu = m
}

// Select tells the card that the person chose an item of its menu.
func (h *Handset) Select(item byte) error {
	return h.envelope(toolkit.MenuSelection(nil, item))
}

func (h *Handset) envelope(data []byte) error {
	r, err := h.do(simcard.Command{CLA: 0x80, INS: simcard.Envelope, Data: data})
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errNoCard, err)
	case r.SW == simcard.SWToolkitBusy:
		return ErrBusy
	case !r.SW.OK():
		return fmt.Errorf("emulator: ENVELOPE: %s", r.SW)
	}
	h.proceed(r.SW)
	return nil
}

// class2 reports whether a data coding scheme says "class 2, for the SIM":
// message class coding, or the general group with a class (TS 23.038 §4).
func class2(dcs byte) bool { return dcs&0xF3 == 0xF2 || dcs&0xD3 == 0x12 }

// proceed serves the card if it wants something, beside what else happens.
func (h *Handset) proceed(sw simcard.SW) {
	h.power.Lock()
	defer h.power.Unlock()
	on := h.ctx != nil && h.ctx.Err() == nil
	if _, proactive := sw.Proactive(); proactive && on {
		h.running.Go(func() {
			h.session.Lock()
			defer h.session.Unlock()
			if err := h.serve(sw); err != nil {
				h.Log.Warn("handset: session ended", "err", err)
			}
		})
	}
}

// serve fetches and carries out proactive commands until the card has none.
func (h *Handset) serve(sw simcard.SW) error {
	for h.ctx.Err() == nil {
		n, proactive := sw.Proactive()
		if !proactive {
			return nil
		}
		r, err := h.do(simcard.Command{CLA: 0x80, INS: simcard.Fetch, Le: n})
		if err != nil {
			return err
		}
		if r.SW == simcard.SWConditions {
			return nil // another session has served it
		}
		if !r.SW.OK() {
			return fmt.Errorf("emulator: FETCH: %s", r.SW)
		}
		c, err := toolkit.ParseCommand(r.Data)
		if err != nil && c.Number == 0 {
			return err // not even whose response it would be
		}
		response := c.Respond(toolkit.NotUnderstood)
		if err == nil {
			response = h.carryOut(&c)
		}
		if h.ctx.Err() != nil {
			return nil
		}
		data := response.Append(nil)
		if len(data) > 255 { // more was typed than an APDU holds
			response = c.Respond(toolkit.BeyondCapabilities)
			data = response.Append(nil)
		}
		r, err = h.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalResponse, Data: data})
		if err != nil {
			return err
		}
		sw = r.SW
	}
	return nil
}

// carryOut does what a proactive command asks for.
func (h *Handset) carryOut(c *toolkit.Command) toolkit.Response {
	switch c.Type {
	case toolkit.DisplayText, toolkit.GetInput, toolkit.SelectItem:
		p, err := promptOf(c)
		if err != nil {
			return c.Respond(toolkit.NotUnderstood)
		}
		if c.Type == toolkit.DisplayText && c.Qualifier&toolkit.DisplayUserClears == 0 {
			h.Person.Note(p.Text)
			return c.Respond(toolkit.Done)
		}
		return answer(c, h.ask(p))
	case toolkit.SetUpMenu:
		title, items, err := menuOf(c)
		if err != nil {
			return c.Respond(toolkit.NotUnderstood)
		}
		h.setMenu(Menu{title, items})
		return c.Respond(toolkit.Done)
	case toolkit.SendShortMessage:
		if text, err := sms.DecodeAlpha(c.Alpha); err == nil && text != "" {
			h.Person.Note(readable(text))
		}
		if err := h.send(c.TPDU); err != nil {
			return c.Respond(toolkit.SMSError)
		}
		return c.Respond(toolkit.Done)
	}
	return c.Respond(toolkit.BeyondCapabilities)
}
