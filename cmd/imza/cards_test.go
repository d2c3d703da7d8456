//go:build pcsc

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/emulator"
	"imza/simcard/pcsc"
	"imza/simcard/pcsc/pcsctest"
)

// The telephone of subscriber 12 with the card in a reader: the same day as with
// the card in its own process, and then the reader fails.
func TestHandsetWithReader(t *testing.T) {
	d := pcsctest.Start(t, 2)
	dir := t.TempDir()
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: dir, PromptLimit: 100}})
	card := newPlug(t, d.Readers[0], demoProfile(t, dir, 12))
	put(card)
	c := testHandset(t, p, "--reader", "TEST reader 1 00 00")
	if status, out, said := p.imza(t, "card", "list"); status != exitOK || !strings.Contains(out, "DD, in use\n") || !strings.Contains(out, d.Readers[1].Name+"  none\n") {
		t.Errorf("status %d, %s%s", status, out, said)
	}
	if status, _, said := p.imza(t, "card", "info"); status != exitFailure || !strings.Contains(said, "in use by another program") {
		t.Errorf("status %d, %s", status, said)
	}
	byHand := func() {
		t.Helper()
		asked := p.requests(t, 12)
		code := c.sees(`Müqavilə № 7\r\nKod: (\d{4})\r\n.*cancel\r\n`)[1]
		c.types(enterKey)
		c.sees("PIN2 daxil edin\r\n.*: ")
		c.types(demoPIN2 + enterKey)
		asked.signed(code)
	}
	card.out()
	c.sees("no card in the reader.*\r\n")
	p.ends(t, 12, "absent")
	put(card)
	c.sees(isOn)
	byHand()
	// pcscd dies with a text on the screen, and what is typed then goes nowhere.
	provider{t, p}.ask(12, 3)
	c.sees("Demo xidmət\r\nKod: ")
	d.Kill()
	c.sees("pcscd is not running")
	d.Restart()
	put(card)
	c.sees(isOn)
	c.types(enterKey + demoPIN2 + enterKey)
	eventually(t, "the telephone is free", func() bool {
		_, answer := provider{t, p}.do("POST", "/v1/signatures", map[string]any{"msisdn": demoMSISDN(12), "userId": demoUserID(12),
			"certificate": map[string]any{"type": "business"}, "document": []byte("x"), "timeout": 1})
		return answer["id"] != nil
	})
	c.sees("Demo xidmət\r\nKod: .*\r\n.*cancel")
	c.types(escapeKey)
	c.sees("İmtina edildi")
	byHand()
	c.types(interruptKey)
	c.exits(exitOK)
	if status, out, said := p.imza(t, "card", "info"); status != exitOK || !strings.Contains(out, "PIN1 3, PIN2 3, PUK 10") {
		t.Errorf("status %d, %s%s", status, out, said)
	}
}

// tool runs a program that knows nothing of imza, and returns what it prints.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.Command(name, args...)
	// pcsc-tools look for a list of cards there, and fetch one from the network if
	// the card is on none.
	command.Env = append(os.Environ(), "XDG_CACHE_HOME="+knownCards(t), "HOME="+t.TempDir(), "LC_ALL=C")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func knownCards(t *testing.T) string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "smartcard_list.txt"), strings.TrimSpace(fmt.Sprintf("% X", new(emulator.SIM).ATR()))+"\n\timza software SIM\n")
	return dir
}

// serve runs "imza card serve" as a process.
func serve(t *testing.T, slot pcsctest.Slot, profile string) (stop func()) {
	t.Helper()
	printed, stop := dial(t, slot, profile)
	printed.await(t, fmt.Sprintf("is in the virtual reader on port %d. Ctrl-C takes it out.\n", slot.Port), 1)
	return stop
}

// dial is serve without waiting for the reader to take the card.
func dial(t *testing.T, slot pcsctest.Slot, profile string) (printed *watched, stop func()) {
	t.Helper()
	printed = new(watched)
	command := exec.Command("imza", "card", "serve", "--profile", profile, "--reader-port", fmt.Sprint(slot.Port))
	command.Stdout, command.Stderr = printed, printed
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = command.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-exited
	})
	return printed, func() {
		t.Helper()
		if err := command.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			t.Fatal("Ctrl-C does not end it")
		}
		if !command.ProcessState.Success() {
			t.Errorf("%s\n%s", command.ProcessState, printed.string())
		}
	}
}

// exchange is an APDU and the response that TS 102 221 has for it.
type exchange struct{ what, apdu, response string }

// exchanges are made with a card of an ICCID in this order.
func exchanges(iccid string) []exchange {
	return []exchange{
		{"SELECT MF", "00 A4 00 04 02 3F 00", "61 22"},
		{"GET RESPONSE", "00 C0 00 00 22", "62 20 82 02 78 21 83 02 3F 00 A5 03 80 01 71 8A 01 05 8B 03 2F 06 01 C6 09 90 01 40 83 01 01 83 01 0A 90 00"},
		{"GET RESPONSE again", "00 C0 00 00 22", "69 85"},
		{"SELECT EF_ICCID, no data", "00 A4 00 0C 02 2F E2", "90 00"},
		{"READ BINARY", "00 B0 00 00 0A", iccid + " 90 00"},
		{"READ BINARY, Le 0", "00 B0 00 00 00", "6C 0A"},
		{"READ BINARY, the end", "00 B0 00 08 02", iccid[24:] + " 90 00"},
		{"READ BINARY beyond", "00 B0 00 0A 01", "6B 00"},
		{"READ BINARY by short id", "00 B0 82 00 0A", iccid + " 90 00"},
		{"READ RECORD of a transparent EF", "00 B2 01 04 0A", "69 81"},
		{"SELECT what there is not", "00 A4 00 04 02 12 34", "6A 82"},
		{"READ BINARY of what stayed selected", "00 B0 00 00 01", iccid[:2] + " 90 00"},
		{"STATUS of the MF", "80 F2 00 0C", "90 00"},
		{"STATUS, AID with none selected", "80 F2 00 01 00", "69 85"},
		{"READ RECORD of EF_DIR by short id", "00 B2 01 F4 1A", "61 18 4F 10 A0 00 00 00 87 10 02 FF FF FF FF 89 00 00 01 00 50 04 55 53 49 4D 90 00"},
		{"SELECT the USIM", "00 A4 04 0C 07 A0 00 00 00 87 10 02", "90 00"},
		{"STATUS, AID", "80 F2 00 01 12", "84 10 A0 00 00 00 87 10 02 FF FF FF FF 89 00 00 01 00 90 00"},
		{"STATUS, FCP, Le too small is taken for the beginning", "80 F2 00 00 02", "62 2E 90 00"},
		{"STATUS, wrong P2", "80 F2 00 02 00", "6A 86"},
		{"VERIFY, empty, of the telephone's PIN, which is not asked for", "00 20 00 01", "69 84"},
		{"VERIFY, empty, of PIN2 outside of the applet", "00 20 00 82", "6A 88"},
		{"SELECT the applet", "00 A4 04 0C 06 F0 49 4D 5A 41 01", "90 00"},
		{"VERIFY, empty, of PIN1", "00 20 00 02", "63 C3"},
		{"VERIFY, empty, of PIN2", "00 20 00 82", "63 C3"},
		{"VERIFY, empty, of ADM", "00 20 00 0A", "63 CA"},
		{"VERIFY, no such PIN", "00 20 00 77", "6A 88"},
		{"UNBLOCK, empty", "00 2C 00 82", "63 CA"},
		{"SELECT the applet's file", "00 A4 00 0C 02 6F 01", "90 00"},
		{"READ BINARY", "00 B0 00 00 0F", "80 01 01 81 01 01 82 01 03 83 01 03 84 01 0A 90 00"},
		{"SELECT the key list", "00 A4 00 0C 02 6F 02", "90 00"},
		{"READ RECORD", "00 B2 01 04 04", "01 01 01 00 90 00"},
		{"READ RECORD, none", "00 B2 02 04 04", "6A 83"},
		{"UPDATE BINARY without ADM", "00 D6 00 00 01 00", "69 81"},
		{"GENERATE KEY PAIR without ADM", "00 47 00 00 08 B6 06 84 01 02 80 01 01", "69 82"},
		{"FETCH of nothing", "80 12 00 00 10", "69 85"},
		{"TERMINAL RESPONSE to nothing", "80 14 00 00 0C 81 03 01 21 80 82 02 82 81 83 01 00", "69 85"},
		{"wrong CLA", "F0 A4 00 0C 02 3F 00", "6E 00"},
		{"CLA of another INS", "00 F2 00 0C", "6E 00"},
		{"a logical channel", "01 A4 00 0C 02 3F 00", "68 81"},
		{"MANAGE CHANNEL", "00 70 00 00 01", "68 81"},
		{"secure messaging", "04 A4 00 0C 02 3F 00", "68 82"},
		{"wrong INS", "00 FE 00 00", "6D 00"},
		{"SELECT, wrong P1", "00 A4 07 0C 02 3F 00", "6A 86"},
		{"SELECT, wrong length", "00 A4 00 0C 03 3F 00 00", "67 00"},
	}
}

// "imza card serve" puts a card before programs that know nothing of imza, and
// they find what TS 102 221 says.
func TestServedCard(t *testing.T) {
	d := pcsctest.Start(t, 2)
	dir := t.TempDir()
	key := filepath.Join(dir, "master.key")
	write(t, key, strings.Repeat("0F", 16))
	const number = "8999401000000000992"
	iccid := "98 99 04 01 00 00 00 00 99 F2"
	profile := personalise(t, key, "--iccid", number)
	none := new(program)
	if status, _, said := none.imza(t, "card", "info"); status != exitFailure || !strings.Contains(said, "no card in any of 2 readers") {
		t.Errorf("status %d, %s", status, said)
	}
	stop := serve(t, d.Readers[0], profile)
	reader := d.Readers[0].Name
	eventually(t, "the card is in the reader", func() bool {
		readers, err := pcsc.List()
		return err == nil && readers[0].ATR != nil
	})
	atr := fmt.Sprintf("%X", new(emulator.SIM).ATR())

	t.Run("twice", func(t *testing.T) {
		if status, _, said := none.imza(t, "card", "serve", "--profile", profile, "--reader-port", fmt.Sprint(d.Readers[1].Port)); status != exitFailure || !strings.Contains(said, "in use: "+profile) {
			t.Errorf("status %d, %s", status, said)
		}
	})
	t.Run("imza card", func(t *testing.T) {
		status, out, said := none.imza(t, "card", "list")
		if want := "READER                    CARD\n" + reader + "  " + atr + "\n" + d.Readers[1].Name + "  none\n"; status != exitOK || out != want {
			t.Errorf("status %d, %s\n%s, want\n%s", status, said, out, want)
		}
		status, out, said = none.imza(t, "card", "info", "--reader", "1 00 00")
		for _, want := range []string{"card        " + reader + "\n", "ATR         " + atr + "\n", "ICCID       " + number + "\n",
			"applet      version 1, gives short answers\n", "PIN1 3, PIN2 3, PUK 10\n", "1    signing, PIN2  P-256  none\n"} {
			if status != exitOK || !strings.Contains(out, want) {
				t.Errorf("status %d, %s\n%s lacks %q", status, said, out, want)
			}
		}
		for flag, want := range map[string]string{"Omnikey": "no such reader", "test reader": "any of the readers", d.Readers[1].Name: "no card in the reader " + d.Readers[1].Name} {
			if status, _, said := none.imza(t, "card", "apdu", "--reader", flag, "00A40004"); status != exitFailure || !strings.Contains(said, want) {
				t.Errorf("--reader %q: status %d, %s", flag, status, said)
			}
		}
	})
	t.Run("imza card apdu", func(t *testing.T) {
		args := []string{"card", "apdu"}
		for _, x := range exchanges(iccid) {
			args = append(args, x.apdu)
		}
		status, out, said := none.imza(t, args...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if all := exchanges(iccid); status != exitOK || len(lines) != 2*len(all) {
			t.Fatalf("status %d, %s\n%s", status, said, out)
		}
		for i, x := range exchanges(iccid) {
			got, _, _ := strings.Cut(strings.TrimPrefix(lines[2*i+1], "< "), "  ")
			if packed(got) != packed(x.response) || packed(lines[2*i]) != ">"+packed(x.apdu) {
				t.Errorf("%s: %s\n%s\nwant %s", x.what, lines[2*i], lines[2*i+1], x.response)
			}
		}
		status, out, _ = none.imza(t, "card", "apdu", "--follow", "00A40004022FE2")
		if want := "> 00A40004022FE2\n< 6119  25 octets for GET RESPONSE\n> 00C0000019\n< 62178202412183022FE28002000A8A01058B032F0601880110 9000  done\n"; status != exitOK || out != want {
			t.Errorf("status %d, %s", status, out)
		}
	})
	t.Run("opensc-tool", func(t *testing.T) {
		if out := tool(t, "opensc-tool", "-l"); !regexp.MustCompile(`(?m)^0 +Yes +` + reader + `\n1 +No +` + d.Readers[1].Name + `$`).MatchString(out) {
			t.Errorf("the readers are\n%s", out)
		}
		if out := tool(t, "opensc-tool", "--reader", reader, "--atr"); packed(out) != atr {
			t.Errorf("the ATR is %s", out)
		}
		args := []string{"--reader", reader, "--card-driver", "default"}
		for _, x := range exchanges(iccid) {
			args = append(args, "--send-apdu", packed(x.apdu))
		}
		// What waits (61XX) it may ask for by itself, and it gives a command again that
		// had the wrong length (6CXX). Data come in lines of at most 16 octets, in hex
		// with a blank each and then as one character each.
		received := regexp.MustCompile(`Received \(SW1=0x(..), SW2=0x(..)\)(?::\n((?:(?:[0-9A-F]{2} )+.*\n)+))?`).FindAllStringSubmatch(tool(t, "opensc-tool", args...), -1)
		if len(received) != len(exchanges(iccid)) {
			t.Fatalf("%d responses", len(received))
		}
		for i, x := range exchanges(iccid) {
			got := ""
			for line := range strings.Lines(received[i][3]) {
				got += packed(line[:len(line)/4*3])
			}
			got += received[i][1] + received[i][2]
			want := packed(x.response)
			switch want[:min(4, len(want))] {
			case "6122":
				want = "9000"
			case "6C0A":
				want = packed(iccid) + "9000"
			}
			if got != want {
				t.Errorf("%s: %s, want %s", x.what, got, want)
			}
		}
	})
	t.Run("scriptor", func(t *testing.T) {
		script := filepath.Join(t.TempDir(), "script")
		text := "reset\n"
		for _, x := range exchanges(iccid) {
			text += x.apdu + "\n"
		}
		write(t, script, text)
		out := tool(t, "scriptor", "-r", reader, script)
		if reset := regexp.MustCompile(`(?m)^< OK: (.*)$`).FindStringSubmatch(out); reset == nil || packed(reset[1]) != atr {
			t.Errorf("reset is answered %q", reset)
		}
		answers := regexp.MustCompile(`(?m)^< ([0-9A-F \n]+) : `).FindAllStringSubmatch(out, -1)
		if len(answers) != len(exchanges(iccid)) {
			t.Fatalf("%d answers in\n%s", len(answers), out)
		}
		for i, x := range exchanges(iccid) {
			if got := packed(answers[i][1]); got != packed(x.response) {
				t.Errorf("%s: %s, want %s", x.what, got, x.response)
			}
		}
	})
	t.Run("pcsc_scan", func(t *testing.T) {
		if out := tool(t, "pcsc_scan", "-r"); !strings.Contains(out, "0: "+reader+"\n1: "+d.Readers[1].Name+"\n") {
			t.Errorf("the readers are\n%s", out)
		}
		out := tool(t, "pcsc_scan", "-t", "1")
		for _, want := range []string{"Card inserted", "ATR: " + strings.TrimSpace(fmt.Sprintf("% X", new(emulator.SIM).ATR())) + "\n", "Protocol T = 0", "TCK = DD (correct checksum)", "imza software SIM"} {
			if !strings.Contains(out, want) {
				t.Errorf("pcsc_scan does not say %q:\n%s", want, out)
			}
		}
		for _, wrong := range []string{"WARNING", "incorrect", "RFU", "Unknown", "Error"} {
			if strings.Contains(out, wrong) {
				t.Errorf("pcsc_scan says %q:\n%s", wrong, out)
			}
		}
	})
	// A second card has to wait, and says so.
	second, _ := dial(t, d.Readers[0], personalise(t, key))
	second.await(t, fmt.Sprintf("the virtual reader on port %d is silent: another card may be in it", d.Readers[0].Port), 1)
	stop()
	second.await(t, "Ctrl-C takes it out", 1)
	// Whoever had the card has left it as it was.
	status, out, said := none.imza(t, "card", "info", "--profile", profile)
	if status != exitOK || !strings.Contains(out, "PIN1 3, PIN2 3, PUK 10") {
		t.Errorf("status %d, %s%s", status, out, said)
	}
	// pcscd goes and comes again while a card is served.
	serve(t, d.Readers[1], profile)
	d.Kill()
	if status, _, said := none.imza(t, "card", "list"); status != exitFailure || !strings.Contains(said, "pcscd is not running") {
		t.Errorf("status %d, %s", status, said)
	}
	d.Restart()
	eventually(t, "the card is back", func() bool {
		status, out, _ := none.imza(t, "card", "info", "--reader", d.Readers[1].Name)
		return status == exitOK && strings.Contains(out, number)
	})
}

// packed is hex without what is between.
func packed(hex string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", ":", "", "\n", "").Replace(hex))
}
