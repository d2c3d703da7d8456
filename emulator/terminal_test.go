package emulator

import (
	"bytes"
	"math/big"
	"strings"
	"testing"
	"time"

	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
)

// terminal is a telephone that the test works by hand. It speaks to its card
// by APDU only.
type terminal struct {
	testing.TB
	card simcard.Card
	sw   simcard.SW // of the last command
}

func (x *terminal) do(c simcard.Command) simcard.Response {
	x.Helper()
	r, err := simcard.Do(x.card, c)
	if err != nil {
		x.Fatal(err)
	}
	x.sw = r.SW
	return r
}

// envelope hands a TPDU to the card.
func (x *terminal) envelope(tpdu []byte) simcard.SW {
	x.Helper()
	return x.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, tpdu)}).SW
}

// bring hands all segments to the card.
func (x *terminal) bring(segments [][]byte) {
	x.Helper()
	for _, ud := range segments {
		x.envelope(deliver(x, ud))
	}
}

// fetch takes the proactive command that the last status word announced.
func (x *terminal) fetch() toolkit.Command {
	x.Helper()
	n, ok := x.sw.Proactive()
	if !ok {
		x.Fatalf("%s: no proactive command waits", x.sw)
	}
	r := x.do(simcard.Command{CLA: 0x80, INS: 0x12, Le: n})
	if r.SW != simcard.SWOK || len(r.Data) != n {
		x.Fatalf("FETCH of %d octets: %s and %d octets", n, r.SW, len(r.Data))
	}
	c, err := toolkit.ParseCommand(r.Data)
	if err != nil {
		x.Fatal(err)
	}
	return c
}

// want is fetch of a certain type.
func (x *terminal) want(kind toolkit.Type) toolkit.Command {
	x.Helper()
	c := x.fetch()
	if c.Type != kind {
		x.Fatalf("proactive command %02x, want %02x", byte(c.Type), byte(kind))
	}
	return c
}

// respond sends a terminal response.
func (x *terminal) respond(r toolkit.Response) simcard.SW {
	x.Helper()
	return x.raw(r.Append(nil))
}

func (x *terminal) raw(terminalResponse []byte) simcard.SW {
	x.Helper()
	return x.do(simcard.Command{CLA: 0x80, INS: 0x14, Data: terminalResponse}).SW
}

// typed is the response to GET INPUT.
func typed(c toolkit.Command, digits string) toolkit.Response {
	r := c.Respond(toolkit.Done)
	r.Text = &toolkit.Text{Coding: byte(sms.GSM8), Octets: []byte(digits)}
	return r
}

// confirm clears the text, so that the PIN is asked for.
func (x *terminal) confirm() toolkit.Command {
	x.Helper()
	c := x.want(toolkit.DisplayText)
	x.respond(c.Respond(toolkit.Done))
	return x.want(toolkit.GetInput)
}

// sign goes through the whole dialogue, up to the answer's first message.
func (x *terminal) sign(segments [][]byte, pin string) {
	x.Helper()
	x.bring(segments)
	x.respond(typed(x.confirm(), pin))
}

// message takes a message that the card sends, and adds it to those before it.
func (x *terminal) message(command toolkit.Command, before *sms.Reassembler) (m sms.Message, whole bool) {
	x.Helper()
	x.respond(command.Respond(toolkit.Done))
	submit, err := sms.ParseSubmit(command.TPDU)
	if err != nil {
		x.Fatal(err)
	}
	if submit.Destination != asker || submit.PID != sms.PIDDataDownload || submit.DCS != sms.DCSClass2Binary || !submit.UDHI {
		x.Fatalf("the answer goes out as %+v", submit)
	}
	part, err := sms.ParseUserData(submit.UserData)
	if err != nil {
		x.Fatal(err)
	}
	if m, whole, err = before.Add("", part, time.Now()); err != nil {
		x.Fatal(err)
	}
	return m, whole
}

// answer takes all messages of the answer to the last challenge, and opens it.
func (x *terminal) answer(c *card) applet.Answer {
	x.Helper()
	parts := sms.Reassembler{Expiry: time.Hour, Most: 1}
	for {
		if m, whole := x.message(x.want(toolkit.SendShortMessage), &parts); whole {
			a, counter := c.open(x, m)
			if counter != c.counter {
				x.Fatalf("the answer is to counter %d, want %d", counter, c.counter)
			}
			return a
		}
	}
}

// drain ends what the card wants, whatever it is, and returns the answers that
// came out on the way.
func (x *terminal) drain(c *card) (answers []applet.Answer) {
	x.Helper()
	parts := sms.Reassembler{Expiry: time.Hour, Most: 4}
	for {
		if _, proactive := x.sw.Proactive(); !proactive {
			return answers
		}
		command := x.fetch()
		if command.Type != toolkit.SendShortMessage {
			x.respond(command.Respond(toolkit.SessionEnded))
		} else if m, whole := x.message(command, &parts); whole {
			a, _ := c.open(x, m)
			answers = append(answers, a)
		}
	}
}

// idle fails the test unless the card wants nothing.
func (x *terminal) idle() {
	x.Helper()
	if r := x.do(simcard.Command{CLA: 0x80, INS: 0x12, Le: 256}); r.SW != simcard.SWConditions || len(r.Data) != 0 {
		x.Fatalf("FETCH of a card that wants nothing: %s and %d octets", r.SW, len(r.Data))
	}
}

// signs fails the test unless the card signs a new challenge: whatever was
// done to it before, it is a card that works.
func (x *terminal) signs(c *card) {
	x.Helper()
	asked := challenge()
	x.sign(c.segments(x, asked), testPIN2)
	if a := x.answer(c); a.Result != applet.Signed || a.Reference != asked.Reference {
		x.Fatalf("the card does not sign: %s", a.Result)
	}
	x.idle()
}

// shown is the text of a command as the person reads it.
func shown(t testing.TB, c toolkit.Command) string {
	t.Helper()
	text, err := sms.DecodeText(sms.Alphabet(c.Text.Coding), c.Text.Octets)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// unhex reads hex with blanks in it.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	s = strings.ReplaceAll(s, " ", "")
	n, ok := new(big.Int).SetString("1"+s, 16)
	if !ok || len(s)%2 != 0 {
		t.Fatalf("%q is not hex", s)
	}
	return n.Bytes()[1:]
}

// recorder keeps all that goes to a card and comes from it.
type recorder struct {
	card     simcard.Card
	commands [][]byte
	answers  [][]byte
}

func (r *recorder) Transmit(command []byte) ([]byte, error) {
	answer, err := r.card.Transmit(command)
	r.commands = append(r.commands, bytes.Clone(command))
	r.answers = append(r.answers, bytes.Clone(answer))
	return answer, err
}
