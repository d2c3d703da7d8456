package emulator

import (
	"strings"
	"unicode"

	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// patience is how often a handset shows a prompt again whose reply was not one
// of those that it allows.
const patience = 20

// ask shows a prompt until the person replies with what it allows: a terminal
// does not let others through to the card (TS 102 223 §6.4.3).
func (h *Handset) ask(p Prompt) Reply {
	for range patience {
		reply := h.Person.Prompt(h.ctx, p)
		if reply.Result != toolkit.Done || h.ctx.Err() != nil || p.allows(reply) {
			return reply
		}
	}
	return Reply{Result: toolkit.NoUserResponse}
}

func (p *Prompt) allows(r Reply) bool {
	switch p.Kind {
	case Ask:
		n := 0
		for _, c := range r.Typed {
			if n++; p.Digits && (c < '0' || c > '9') {
				return false
			}
		}
		return n >= p.Min && n <= p.Max
	case Choose:
		for _, item := range p.Items {
			if item.ID == r.Chosen {
				return true
			}
		}
		return false
	}
	return true
}

func promptOf(c *toolkit.Command) (p Prompt, err error) {
	if c.Type == toolkit.SelectItem {
		p.Kind = Choose
		p.Text, p.Items, err = menuOf(c)
		return p, err
	}
	text, err := sms.DecodeText(sms.Alphabet(c.Text.Coding), c.Text.Octets)
	if err != nil {
		return p, err
	}
	p.Kind, p.Text = Show, readable(text)
	if c.Type == toolkit.GetInput {
		p.Kind = Ask
		p.Hidden, p.Digits = c.Qualifier&toolkit.InputHidden != 0, c.Qualifier&toolkit.InputAnything == 0
		p.Min, p.Max = int(c.MinInput), int(c.MaxInput)
	}
	return p, nil
}

func menuOf(c *toolkit.Command) (title string, items []Item, err error) {
	if title, err = sms.DecodeAlpha(c.Alpha); err != nil {
		return "", nil, err
	}
	for _, i := range c.Items {
		text, err := sms.DecodeAlpha(i.Text)
		if err != nil {
			return "", nil, err
		}
		items = append(items, Item{i.ID, readable(text)})
	}
	return readable(title), items, nil
}

// readable is a card's text as a screen shows it: a terminal would obey some of
// the characters that are none.
func readable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\r", "\n"))
}

// answer is the terminal's response with a person's reply.
func answer(c *toolkit.Command, reply Reply) toolkit.Response {
	r := c.Respond(reply.Result)
	if reply.Result != toolkit.Done {
		return r
	}
	switch c.Type {
	case toolkit.GetInput:
		alphabet, octets, err := sms.EncodeText(reply.Typed)
		if err != nil {
			return c.Respond(toolkit.NotUnderstood)
		}
		r.Text = &toolkit.Text{Coding: byte(alphabet), Octets: octets}
	case toolkit.SelectItem:
		r.Item = reply.Chosen
	}
	return r
}
