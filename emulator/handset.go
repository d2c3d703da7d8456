package emulator

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"imza/simcard"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// Handset is a telephone: it hands what the network brings to its card, carries
// out what the card wants, and shows prompts to its person. The card may be
// any simcard.Card.
type Handset struct {
	Card   simcard.Card
	Person Person
	// Send gives an SMS-SUBMIT TPDU to the network.
	Send func(tpdu []byte) error
	Log  *slog.Logger

	session sync.Mutex // one proactive session at a time
	power   sync.Mutex // over ctx: no session begins once SwitchOff waits for them to end
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// SwitchOn resets nothing: it tells the card what the terminal can do, as every
// terminal does first (TS 102 223 §5.2).
func (h *Handset) SwitchOn() error {
	h.power.Lock()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.power.Unlock()
	// SMS-PP download, DISPLAY TEXT, GET INPUT and SEND SHORT MESSAGE are
	// among the facilities; the rest is not looked at by our card.
	profile := simcard.Command{CLA: 0x80, INS: 0x10, Data: []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}}
	r, err := simcard.Do(h.Card, profile)
	if err != nil {
		return err
	}
	if _, proactive := r.SW.Proactive(); r.SW != simcard.SWOK && !proactive {
		return fmt.Errorf("emulator: TERMINAL PROFILE: %s", r.SW)
	}
	h.proceed(r.SW)
	return nil
}

// SwitchOff ends whatever is on the screen.
func (h *Handset) SwitchOff() {
	h.power.Lock()
	if h.cancel != nil {
		h.cancel()
	}
	h.power.Unlock()
	h.running.Wait()
}

// Deliver takes an SMS-DELIVER TPDU from the network. Data download goes to the
// card (TS 31.111 §7.1.1.1); everything else would be for the screen, and is
// dropped. It returns once the card has it.
func (h *Handset) Deliver(tpdu []byte) error {
	d, err := sms.ParseDeliver(tpdu)
	if err != nil {
		return err
	}
	if d.PID != sms.PIDDataDownload || !class2(d.DCS) {
		return nil
	}
	r, err := simcard.Do(h.Card, simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, tpdu)})
	if err != nil {
		return err
	}
	_, proactive := r.SW.Proactive()
	if r.SW != simcard.SWOK && !proactive {
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
	wrong := 0 // PINs in this session that were not the right one
	asked := false
	for h.ctx.Err() == nil {
		n, proactive := sw.Proactive()
		if !proactive {
			return nil
		}
		r, err := simcard.Do(h.Card, simcard.Command{CLA: 0x80, INS: 0x12, Le: n})
		if err != nil {
			return err
		}
		if r.SW == simcard.SWConditions {
			return nil // another session has served it
		}
		if r.SW != simcard.SWOK {
			return fmt.Errorf("emulator: FETCH: %s", r.SW)
		}
		c, err := toolkit.ParseCommand(r.Data)
		if err != nil {
			return err
		}
		switch {
		case c.Type == toolkit.DisplayText: // a session begins
			asked, wrong = false, 0
		case c.Type == toolkit.GetInput && asked: // it asks again
			wrong++
		case c.Type == toolkit.GetInput:
			asked = true
		}
		response := h.carryOut(&c, wrong)
		if h.ctx.Err() != nil {
			return nil
		}
		r, err = simcard.Do(h.Card, simcard.Command{CLA: 0x80, INS: 0x14, Data: response.Append(nil)})
		if err != nil {
			return err
		}
		sw = r.SW
	}
	return nil
}

// carryOut does what a proactive command asks for.
func (h *Handset) carryOut(c *toolkit.Command, wrong int) toolkit.Response {
	switch c.Type {
	case toolkit.DisplayText, toolkit.GetInput:
		if _, err := sms.DecodeText(sms.Alphabet(c.Text.Coding), c.Text.Octets); err != nil {
			return c.Respond(toolkit.NotUnderstood)
		}
		done, digits := h.Person.look(h.ctx, c.Type == toolkit.GetInput, wrong)
		switch done {
		case cancel:
			return c.Respond(toolkit.SessionEnded)
		case nothing:
			return c.Respond(toolkit.NoUserResponse)
		}
		r := c.Respond(toolkit.Done)
		if c.Type == toolkit.GetInput {
			r.Text = &toolkit.Text{Coding: byte(sms.GSM8), Octets: []byte(digits)}
		}
		return r
	case toolkit.SendShortMessage:
		if err := h.Send(c.TPDU); err != nil {
			return c.Respond(toolkit.SMSError)
		}
		return c.Respond(toolkit.Done)
	}
	return c.Respond(toolkit.BeyondCapabilities)
}
