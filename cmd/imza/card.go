package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"imza/emulator"
	"imza/pki"
	"imza/simcard"
	"imza/simcard/pcsc"
	"imza/simcard/toolkit"
)

type cardCommand struct {
	List        cardListCommand        `cmd:"" help:"List the readers and what is in them."`
	Info        cardInfoCommand        `cmd:"" help:"Tell what a card says of itself: number, keys, certificates, tries left."`
	APDU        cardAPDUCommand        `cmd:"" name:"apdu" help:"Send APDUs to a card and print what comes back."`
	Serve       cardServeCommand       `cmd:"" help:"Put a software SIM into a virtual reader (vpcd)."`
	Handset     cardHandsetCommand     `cmd:"" help:"Be a telephone with a card, on the emulated network."`
	Personalise cardPersonaliseCommand `cmd:"" help:"Make the profile of a new software SIM, and its PIN letter."`
}

// cardFlags say which card: one in a reader, or a software SIM in this process.
type cardFlags struct {
	Reader  string `placeholder:"NAME" xor:"card" help:"The reader that the card is in; a part of its name will do. Default: the only one with a card."`
	Profile string `placeholder:"FILE" xor:"card" help:"The profile of a software SIM, in place of a card in a reader."`
}

// opened is a card that is in use by a command.
type opened struct {
	simcard.Card
	where string
	atr   []byte
	close func() error
}

func (c *cardFlags) open(exclusive bool) (*opened, error) {
	if c.Profile != "" {
		memory, err := emulator.OpenMemory(c.Profile)
		if err != nil {
			return nil, err
		}
		sim, err := memory.Card()
		if err != nil {
			return nil, errors.Join(err, memory.Close())
		}
		return &opened{sim, c.Profile, sim.ATR(), memory.Close}, nil
	}
	name := c.Reader
	if name == "" {
		var err error
		if name, err = onlyReader(); err != nil {
			return nil, err
		}
	}
	card, err := pcsc.Connect(name, pcsc.Options{Exclusive: exclusive, Timeout: cardTimeout})
	if err != nil {
		return nil, err
	}
	return &opened{card, card.Name(), card.ATR(), card.Close}, nil
}

// onlyReader is the one reader that has a card.
func onlyReader() (string, error) {
	readers, err := pcsc.List()
	if err != nil {
		return "", err
	}
	var with []string
	for _, r := range readers {
		if r.ATR != nil {
			with = append(with, r.Name)
		}
	}
	switch len(with) {
	case 0:
		return "", fmt.Errorf("no card in any of %d readers", len(readers))
	case 1:
		return with[0], nil
	}
	return "", fmt.Errorf("several readers have a card: say --reader with one of %q", with)
}

type cardListCommand struct{}

// Run lists.
func (*cardListCommand) Run(s streams) error {
	readers, err := pcsc.List()
	if err != nil {
		return err
	}
	if len(readers) == 0 {
		fmt.Fprintln(s.out, "No readers.")
		return nil
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "READER\tCARD")
	for _, r := range readers {
		what := "none"
		switch {
		case r.Mute:
			what = "one that does not answer"
		case r.ATR != nil && r.InUse:
			what = fmt.Sprintf("%X, in use", r.ATR)
		case r.ATR != nil:
			what = fmt.Sprintf("%X", r.ATR)
		}
		fmt.Fprintf(table, "%s\t%s\n", r.Name, what)
	}
	return table.Flush()
}

type cardInfoCommand struct{ cardFlags }

// Run tells.
func (c *cardInfoCommand) Run(s streams) (err error) {
	card, err := c.open(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, card.close()) }()
	with := signer{card}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "card\t%s\nATR\t%X\n", card.where, card.atr)
	iccid, err := with.iccid()
	if err != nil {
		fmt.Fprintf(table, "ICCID\tnot read: %v\n", err)
	} else {
		fmt.Fprintf(table, "ICCID\t%s\n", iccid)
	}
	about, err := with.open()
	if errors.Is(err, errNoApplet) {
		fmt.Fprintln(table, "applet\tnone: this card does not sign")
		return table.Flush()
	}
	if err != nil {
		return errors.Join(table.Flush(), err)
	}
	answers := "full answers only"
	if about.Short {
		answers = "gives short answers"
	}
	fmt.Fprintf(table, "applet\tversion %d, %s\n", about.Version, answers)
	fmt.Fprintf(table, "tries left\tPIN1 %d, PIN2 %d, PUK %d\n", about.PIN1, about.PIN2, about.PUK)
	if err := table.Flush(); err != nil {
		return err
	}
	return with.printKeys(s.out)
}

func (s signer) printKeys(w io.Writer) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		fmt.Fprintln(w, "\nNo keys.")
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tFOR\tKIND\tCERTIFICATE")
	for _, k := range keys {
		what := "none"
		if k.Certified {
			if what, err = s.whose(k.Number); err != nil {
				return err
			}
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", k.Number, useOf(k), k.Kind, what)
	}
	return table.Flush()
}

// whose tells of a key's certificate.
func (s signer) whose(key byte) (string, error) {
	cert, err := s.certificate(key)
	if err != nil {
		return "", err
	}
	if cert == nil {
		return "none, though the card says that it has one", nil
	}
	holder, err := pki.HolderOf(cert)
	what := cert.Subject.String()
	if err == nil {
		what = holder.GivenName + " " + holder.Surname
	}
	if holder.VOEN != "" {
		what += " for " + strings.Join(cert.Subject.Organization, " ") + " (" + holder.VOEN + ")"
	}
	// Whoever made the certificate wrote these names; a terminal is not to obey them.
	what = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, what)
	return what + ", until " + cert.NotAfter.UTC().Format(time.DateOnly), nil
}

type cardAPDUCommand struct {
	cardFlags
	Follow bool     `help:"Fetch what waits (61XX) and give again what had the wrong length (6CXX), as a terminal does."`
	APDUs  []string `arg:"" name:"hex" optional:"" help:"Command APDUs, one an argument. Without any they are read from stdin, one a line; what follows a # is a comment. The exit status is 0 whatever the card answers."`
}

// Run sends. To interrupt it need not wait for more input, or for a card that
// hangs; that the process ends resets the card.
func (c *cardAPDUCommand) Run(ctx context.Context, s streams) error {
	done, stdin := make(chan error, 1), os.Stdin
	go func() { done <- c.send(stdin, s) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}

func (c *cardAPDUCommand) send(stdin io.Reader, s streams) (err error) {
	script, err := c.script(stdin)
	if err != nil {
		return err
	}
	card, err := c.open(true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, card.close()) }()
	for _, command := range script {
		fmt.Fprintln(s.out, ">", masked(command))
		for followed := 0; ; followed++ {
			answer, err := card.Transmit(command)
			if err != nil {
				return err
			}
			r, err := simcard.ParseResponse(answer)
			if err != nil {
				return err
			}
			data := strings.ToUpper(hex.EncodeToString(r.Data))
			fmt.Fprintln(s.out, strings.TrimRight("< "+strings.TrimLeft(data+" "+r.SW.String()+"  "+r.SW.Meaning(), " "), " "))
			next, more := simcard.Next(command, r.SW)
			if !more || !c.Follow {
				break
			}
			if followed == mostFollowed {
				return fmt.Errorf("the card has not come to an end after %d commands", followed)
			}
			command = next
			fmt.Fprintln(s.out, ">", masked(command))
		}
	}
	return nil
}

// mostFollowed is how many commands may follow from one: the answers of 64 KiB.
const mostFollowed = 256

func (c *cardAPDUCommand) script(stdin io.Reader) (all [][]byte, err error) {
	lines := c.APDUs
	if len(lines) == 0 {
		scanner := bufio.NewScanner(stdin)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			lines = append(lines, scanner.Text())
		}
		if err := scanner.Err(); err != nil {
			return nil, err
		}
	}
	for i, line := range lines {
		line, _, _ = strings.Cut(line, "#")
		line = strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r:", r) {
				return -1
			}
			return r
		}, line)
		if line == "" {
			continue
		}
		apdu, err := hex.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("APDU %d is not hex", i+1) // it may hold a PIN: not repeated
		}
		all = append(all, apdu)
	}
	if len(all) == 0 {
		return nil, errors.New("no APDU to send")
	}
	longer := func(apdu []byte) bool { return len(apdu) > 1 }
	if len(c.APDUs) > 1 && !slices.ContainsFunc(all, longer) {
		return nil, errors.New("each APDU has one octet: put one with blanks in it into quotes")
	}
	return all, nil
}

// masked is an APDU in hex, without the PINs in it.
func masked(apdu []byte) string {
	text := strings.ToUpper(hex.EncodeToString(apdu))
	if len(apdu) > 5 {
		switch apdu[1] {
		case simcard.Verify, simcard.ChangePIN, simcard.DisablePIN, simcard.EnablePIN, simcard.UnblockPIN:
			return text[:10] + strings.Repeat("*", len(text)-10)
		case simcard.TerminalResponse: // what was typed at GET INPUT
			if r, err := toolkit.ParseResponse(apdu[5:]); err != nil || r.Text != nil {
				return text[:10] + strings.Repeat("*", len(text)-10)
			}
		}
	}
	return text
}

type cardServeCommand struct {
	Profile    string `required:"" placeholder:"FILE" help:"The profile of the software SIM."`
	ReaderPort int    `default:"35963" placeholder:"PORT" help:"The TCP port of the virtual reader's slot on this machine. Default: 35963, vpcd's first; 35964 is its second."`
}

// Run serves the card until it is told to stop.
func (c *cardServeCommand) Run(ctx context.Context, s streams) error {
	if c.ReaderPort < 1 || c.ReaderPort > 65535 {
		return errors.New("--reader-port is not 1 to 65535")
	}
	memory, err := emulator.OpenMemory(c.Profile)
	if err != nil {
		return err
	}
	defer memory.Close()
	card, err := memory.Card()
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", c.ReaderPort)
	told := ""
	for once := false; ; {
		// A second card in a reader is told nothing at all.
		silent := time.AfterFunc(2*time.Second, func() {
			fmt.Fprintf(s.err, "imza: the virtual reader on port %d is silent: another card may be in it\n", c.ReaderPort)
		})
		err := emulator.Plug(ctx, addr, card, func() {
			silent.Stop()
			once, told = true, ""
			fmt.Fprintf(s.out, "Card %s is in the virtual reader on port %d. Ctrl-C takes it out.\n", memory.Profile.ICCID, c.ReaderPort)
		})
		silent.Stop()
		if ctx.Err() != nil {
			return nil
		}
		if !once { // it never was there
			return fmt.Errorf("%w; does pcscd run, with vsmartcard-vpcd?", err)
		}
		if err.Error() != told {
			told = err.Error() // once, not at each try
			fmt.Fprintln(s.err, "imza:", err)
		}
		select { // pcscd may come again
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}
