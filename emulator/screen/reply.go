package screen

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"imza/emulator"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// reply takes what the person at a page did with the prompt.
func (s *Screen) reply(c echo.Context) error {
	var id, result, typed string
	var item byte
	err := decode(c, map[string]any{"prompt": &id, "result": &result, "typed": &typed, "item": &item})
	if err != nil {
		return err
	}
	r := emulator.Reply{Typed: typed, Chosen: item}
	switch result {
	case "ok":
		r.Result = toolkit.Done
	case "cancel":
		r.Result = toolkit.SessionEnded
	default:
		return invalid("result", "is neither ok nor cancel")
	}
	if err := s.accept(id, r); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// accept ends the prompt with a reply, if it is the prompt that is on the screen
// and the reply is one that it allows: the first one counts.
func (s *Screen) accept(id string, r emulator.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.shown
	if p == nil || p.id != id {
		return &problem{status: http.StatusConflict, code: "prompt_gone", detail: "this prompt is no longer on the screen", field: "prompt"}
	}
	if err := p.allows(r); err != nil {
		return err
	}
	p.reply <- r
	s.shown = nil
	s.change()
	return nil
}

// allows says what is wrong with a reply, and not what was typed.
func (p *shown) allows(r emulator.Reply) error {
	done := r.Result == toolkit.Done
	switch {
	case r.Typed != "" && !(done && p.Kind == emulator.Ask):
		return invalid("typed", "is not asked for")
	case r.Chosen != 0 && !(done && p.Kind == emulator.Choose):
		return invalid("item", "is not asked for")
	case !done:
		return nil
	case p.Kind == emulator.Ask:
		for _, c := range r.Typed {
			if p.Digits && (c < '0' || c > '9') {
				return invalid("typed", "is not digits alone")
			}
		}
		if n := utf8.RuneCountInString(r.Typed); n < p.Min || n > p.Max {
			return invalid("typed", "has too few characters, or too many")
		}
		if _, _, err := sms.EncodeText(r.Typed); err != nil {
			return invalid("typed", "has characters that a card cannot take")
		}
	case p.Kind == emulator.Choose:
		if !has(p.Items, r.Chosen) {
			return invalid("item", "is not on the list")
		}
	}
	return nil
}

// choose takes the item of the menu that the person at a page chose.
func (s *Screen) choose(c echo.Context) error {
	var item byte
	if err := decode(c, map[string]any{"item": &item}); err != nil {
		return err
	}
	if !has(s.menu().Items, item) {
		return invalid("item", "is not in the menu")
	}
	err := s.Handset.Select(item)
	if errors.Is(err, emulator.ErrBusy) {
		return &problem{status: http.StatusConflict, code: "card_busy", detail: "the card is busy: try again in a moment"}
	}
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func has(items []emulator.Item, id byte) bool {
	return slices.ContainsFunc(items, func(i emulator.Item) bool { return i.ID == id })
}

// maxBody is more than any request needs.
const maxBody = 4 << 10

// decode reads one flat JSON object strictly into fields, by their names.
// encoding/json's own errors quote what they do not like, which may have been
// typed: nothing of them is passed on.
func decode(c echo.Context, fields map[string]any) error {
	if t, _, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType)); err != nil || t != echo.MIMEApplicationJSON {
		return &problem{status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", detail: "send application/json"}
	}
	d := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return badJSON(err, "body", "is not a JSON object")
	}
	seen := make(map[string]bool)
	for d.More() {
		token, err := d.Token()
		name, _ := token.(string)
		into, known := fields[name]
		if err != nil || !known || seen[name] {
			return badJSON(err, "body", "has a field that is not known, or there twice")
		}
		seen[name] = true
		if err := d.Decode(into); err != nil {
			return badJSON(err, name, "is not of the right type")
		}
	}
	if _, err := d.Token(); err != nil {
		return badJSON(err, "body", "is not a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badJSON(err, "body", "goes on after the JSON object")
	}
	return nil
}

func badJSON(err error, field, detail string) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{status: http.StatusRequestEntityTooLarge, code: "too_large", detail: "at most 4 KiB"}
	}
	return invalid(field, detail)
}
