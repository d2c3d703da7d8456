package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"

	"imza/emulator"
	"imza/smpp/proxytest"
)

// demoProfile is the file of a demo subscriber's card.
func demoProfile(t testing.TB, data string, n int) string {
	t.Helper()
	iccid, err := demoICCID(n)
	if err != nil {
		t.Fatal(err)
	}
	return emulator.Shelf{Dir: filepath.Join(data, "cards")}.Path(iccid)
}

// console is an imza on a pseudo-terminal, before a person.
type console struct {
	*testing.T
	command  *exec.Cmd
	pty, tty *os.File
	before   *term.State
	exited   chan struct{}

	mu   sync.Mutex
	text []byte // all that was printed
	read int    // of it, by sees
}

// openConsole starts it.
func openConsole(t *testing.T, args ...string) *console {
	t.Helper()
	c := &console{T: t, command: exec.Command("imza", args...), exited: make(chan struct{})}
	var err error
	if c.pty, c.tty, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	if c.before, err = term.GetState(int(c.tty.Fd())); err != nil {
		t.Fatal(err)
	}
	c.command.Stdin, c.command.Stdout, c.command.Stderr = c.tty, c.tty, c.tty
	c.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(c.collect)
	go func() { _ = c.command.Wait(); close(c.exited) }()
	t.Cleanup(func() {
		_ = c.command.Process.Kill()
		<-c.exited
		_ = c.tty.Close()
		_ = c.pty.Close()
		reading.Wait()
		if t.Failed() {
			t.Logf("the terminal shows\n%s", c.text)
		}
	})
	return c
}

func (c *console) collect() {
	var octets [4096]byte
	for {
		n, err := c.pty.Read(octets[:])
		if err != nil {
			return
		}
		c.mu.Lock()
		c.text = append(c.text, octets[:n]...)
		c.mu.Unlock()
	}
}

// sees waits until the terminal shows something new that matches, and returns
// it with its submatches.
func (c *console) sees(expression string) []string {
	c.Helper()
	pattern := regexp.MustCompile(expression)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		fresh := c.text[c.read:]
		if at := pattern.FindSubmatchIndex(fresh); at != nil {
			found := make([]string, len(at)/2)
			for i := range found {
				found[i] = string(fresh[at[2*i]:at[2*i+1]])
			}
			c.read += at[1]
			c.mu.Unlock()
			return found
		}
		c.mu.Unlock()
		if time.Now().After(deadline) {
			c.Fatalf("the terminal never shows %q", expression)
		}
	}
}

// shows is all that the terminal has shown.
func (c *console) shows() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

func (c *console) types(keys string) {
	c.Helper()
	if _, err := c.pty.WriteString(keys); err != nil {
		c.Fatal(err)
	}
}

// exits waits for the end, after which the terminal must be as it was.
func (c *console) exits(status int) {
	c.Helper()
	select {
	case <-c.exited:
	case <-time.After(10 * time.Second):
		c.Fatal("it does not end")
	}
	if got := c.command.ProcessState.ExitCode(); got != status {
		c.Errorf("exit status %d, want %d", got, status)
	}
	after, err := term.GetState(int(c.tty.Fd()))
	if err != nil || !reflect.DeepEqual(after, c.before) {
		c.Errorf("the terminal is not as it was (%v)", err)
	}
}

// Keys.
const (
	enterKey     = "\r"
	escapeKey    = "\x1b"
	upKey        = "\x1b[A"
	backspaceKey = "\x7f"
	interruptKey = "\x03"
)

// request is an imza sign that runs beside the test.
type request struct {
	t         *testing.T
	p         *program
	in        string
	done      chan struct{}
	status    int
	out, said string
}

// requests has a demo subscriber asked for a signature.
func (p *program) requests(t *testing.T, n int) *request {
	t.Helper()
	r := &request{t: t, p: p, in: document(t), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.status, r.out, r.said = p.imza(t, "sign", "--in", r.in, "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--timeout", "30", "--text", "Müqavilə № 7")
	}()
	return r
}

// signed waits for the signature, has OpenSSL judge it, and compares the code
// that the telephone showed.
func (r *request) signed(code string) {
	r.t.Helper()
	<-r.done
	if r.status != exitOK {
		r.t.Fatalf("status %d, %s%s", r.status, r.out, r.said)
	}
	if !strings.Contains(r.said, "Verification code "+code+":") {
		r.t.Errorf("the telephone's code is %s, and the provider says %s", code, r.said)
	}
	opensslVerify(r.t, r.p, r.in+".p7s", r.in)
}

func (r *request) refused(state string) {
	r.t.Helper()
	<-r.done
	if r.status != exitRefused || !strings.Contains(r.said, "refused: "+state) {
		r.t.Errorf("status %d, %s%s, want %s", r.status, r.out, r.said, state)
	}
}

// atHandset is "imza card handset" of subscriber 12.
func atHandset(p *program, smsc string, more ...string) []string {
	return append([]string{"card", "handset", "--smsc", smsc, "--password", p.handsetPassword, "--msisdn", string(demoMSISDN(12))}, more...)
}

const isOn = `The telephone \+994500000012 is on\. Ctrl-C switches it off\.\r\n`

// testHandset is a person's day with the handset of subscriber 12, whose PIN2
// is the demo's; the flags say where the card is.
func testHandset(t *testing.T, p *program, flags ...string) *console {
	c := openConsole(t, atHandset(p, p.SMPPAddr, flags...)...)
	c.sees(isOn)
	if now, err := term.GetState(int(c.tty.Fd())); err != nil || reflect.DeepEqual(now, c.before) {
		t.Errorf("keys are not taken as they are pressed (%v)", err)
	}
	// reads waits for a text, and returns its code.
	reads := func() string {
		return c.sees(`Müqavilə № 7\r\nKod: (\d{4})\r\n.*\[Enter\] OK  \[Esc\] cancel\r\n`)[1]
	}

	asked := p.requests(t, 12)
	code := reads()
	c.types(upKey + enterKey)
	c.sees(`PIN2 daxil edin\r\n  4 to 8 digits, \[Enter\] OK  \[Esc\] cancel: `)
	c.types("12a3")
	c.types(enterKey) // too short
	c.types("44" + backspaceKey + "9" + enterKey)
	c.sees(`^\*{5}\x08 \x08\*\r\n`)
	c.sees(`PIN2 səhvdir\. Qalan cəhd: 2\r\n.*cancel: `)
	c.types(demoPIN2 + upKey + "\x1b[1;5C\x1bOP" + enterKey) // none of them is Escape
	c.sees(`^\*{5}\r\n`)
	c.sees(`  İmzalandı\r\n`)
	asked.signed(code)

	asked = p.requests(t, 12)
	reads()
	c.types(escapeKey)
	c.sees("İmtina edildi")
	asked.refused("cancelled_by_user")
	asked = p.requests(t, 12)
	reads()
	c.types(enterKey)
	c.sees("PIN2 daxil edin")
	c.types("123" + escapeKey)
	c.sees("İmtina edildi")
	asked.refused("cancelled_by_user")

	iccid, _ := demoICCID(12)
	for said := ""; said != string(iccid); { // the card may be busy with its last answer
		c.types("m")
		c.sees(`imza\r\n  \[1\] PIN1 dəyişmək\r\n  \[2\] .*\r\n  \[3\] .*\r\n  \[4\] Kartın nömrəsi\r\n  \[Esc\] cancel\r\n`)
		c.types("4")
		said = c.sees(`(` + string(iccid) + `|The card is busy\.)\r\n`)[1]
	}
	c.sees(`^  \[Enter\] OK`)
	c.types(enterKey)
	opened := strings.Count(c.shows(), "[4] Kartın nömrəsi")
	// A request that comes while the menu is open takes its place.
	eventually(t, "the card is free, and its menu opens", func() bool {
		c.types("M")
		return strings.Count(c.shows(), "[4] Kartın nömrəsi") > opened
	})
	asked = p.requests(t, 12)
	code = reads()
	c.types(enterKey)
	c.sees("PIN2 daxil edin.*\r\n.*: ")
	c.types(demoPIN2 + enterKey)
	c.sees("İmzalandı")
	asked.signed(code)

	for _, typed := range []string{demoPIN2, "1234", "12349", "123"} {
		if strings.Contains(c.shows(), typed) {
			t.Errorf("%s was typed, and is on the terminal", typed)
		}
	}
	return c
}

// A SIM in the handset's own process, and a person at a terminal.
func TestHandset(t *testing.T) {
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{PromptLimit: 100}})
	c := testHandset(t, p, "--profile", demoProfile(t, p.config.Data, 12))
	if status, _, said := p.imza(t, "card", "info", "--profile", demoProfile(t, p.config.Data, 12)); status != exitFailure || !strings.Contains(said, "in use") {
		t.Errorf("the profile is in two cards: status %d, %s", status, said)
	}
	// Switched off with a text on the screen.
	provider{t, p}.ask(12, 60)
	c.sees("Demo xidmət\r\nKod: ")
	c.types(interruptKey)
	c.exits(exitOK)
}

func TestFunctionKeys(t *testing.T) {
	for keys, want := range map[string]string{
		"\x1b[\x03": "\x03", "\x1bO\x03": "\x03", "\x1b[\x031234\r": "\x031234\r", // Ctrl-C is not of a function key
		"": "", "1": "1", "\x1b": "\x1b", "\x1b1": "\x1b1", "\x1b[": "\x1b[", "\x1bO": "\x1bO",
		"\x1b[A": "", "\x1b[A1": "1", "\x1b[1;5C\r": "\r", "\x1bOP\x1b[3~\x1b": "\x1b", "\x1b[1;": "", "1\x1b[A": "1\x1b[A",
	} {
		if got := string(skipFunctionKey([]byte(keys))); got != want {
			t.Errorf("of %q %q is left, want %q", keys, got, want)
		}
	}
}

// With --pin nobody has to be there, and no terminal either.
func TestHandsetByItself(t *testing.T) {
	p := boot(t, upCommand{gatewayFlags: gatewayFlags{PromptLimit: 100}})
	proxy, err := proxytest.Listen(p.SMPPAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	o := new(watched)
	command := exec.Command("imza", atHandset(p, proxy.Addr(), "--profile", demoProfile(t, p.config.Data, 12), "--pin", demoPIN2)...)
	command.Stdout, command.Stderr = o, o
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() { _ = command.Process.Kill() })
	o.await(t, "is on.", 1)
	p.signs(t, 12)
	o.await(t, "İmzalandı", 1)

	// The message centre goes and comes again.
	proxy.Apply(proxytest.Fault{Kind: proxytest.Refuse})
	proxy.Apply(proxytest.Fault{Kind: proxytest.Cut, All: true})
	o.await(t, "trying again", 2)
	p.ends(t, 12, "absent")
	proxy.Lift()
	o.await(t, "is on.", 2)
	p.signs(t, 12)

	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("it ends with %v\n%s", err, o.string())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Ctrl-C does not end it")
	}
	if strings.Contains(o.string(), demoPIN2) {
		t.Errorf("the PIN is printed:\n%s", o.string())
	}
	p.ends(t, 12, "absent")
}

// watched is what a process prints.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *watched) string() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func (w *watched) await(t testing.TB, text string, times int) {
	t.Helper()
	eventually(t, "it prints "+text, func() bool { return strings.Count(w.string(), text) >= times })
}

// What keeps a handset off the network at first ends the command.
func TestHandsetRefused(t *testing.T) {
	p := boot(t, upCommand{})
	profile := demoProfile(t, p.config.Data, 12)
	with := func(change ...string) []string {
		args := atHandset(p, p.SMPPAddr, "--profile", profile, "--pin", demoPIN2)
		for i := 0; i < len(change); i += 2 {
			for j := range args {
				if args[j] == change[i] {
					args[j+1] = change[i+1]
				}
			}
		}
		return args
	}
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"a number that is none":     {with("--msisdn", "0501234567"), "--msisdn: not a telephone number"},
		"a number that is taken":    {with("--msisdn", string(demoMSISDN(1))), "+994500000001: "},
		"another password":          {with("--password", "nothing"), "invalid password"},
		"nobody there":              {with("--smsc", "127.0.0.1:1"), "connection refused"},
		"no such profile":           {with("--profile", filepath.Join(t.TempDir(), "none")), "no such file"},
		"a card in another handset": {with("--profile", demoProfile(t, p.config.Data, 1)), "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, said := p.imza(t, test.args...)
			if status != exitFailure || !strings.Contains(said, test.says) {
				t.Errorf("status %d, %s, want %s", status, said, test.says)
			}
		})
	}
	if status, out, said := p.imza(t, "card", "info", "--profile", profile); status != exitOK {
		t.Errorf("the card is not free again: status %d, %s%s", status, out, said)
	}
}

// The telephone's own PIN is typed before it is on the network; Ctrl-C ends it
// there, too.
func TestHandsetIsLocked(t *testing.T) {
	p := boot(t, upCommand{})
	profile := personalise(t, filepath.Join(p.config.Data, "master.key"), "--ask-pin")
	memory, err := emulator.OpenMemory(profile)
	if err != nil {
		t.Fatal(err)
	}
	pin := memory.Profile.Telephone.PIN.Digits
	if err := memory.Close(); err != nil {
		t.Fatal(err)
	}
	c := openConsole(t, atHandset(p, p.SMPPAddr, "--profile", profile)...)
	c.sees(`\r\nPIN\r\n  4 to 8 digits`)
	c.types(interruptKey)
	c.exits(exitOK)
	c = openConsole(t, atHandset(p, p.SMPPAddr, "--profile", profile)...)
	c.sees(`\r\nPIN\r\n  4 to 8 digits`)
	c.types("00000" + enterKey)
	c.sees(`\r\nPIN \(2\)\r\n  4 to 8 digits`)
	c.types(pin + enterKey)
	c.sees(isOn)
	c.types(interruptKey)
	c.exits(exitOK)
	// With both PINs given nobody is needed, and with one of them nothing is guessed.
	c = openConsole(t, atHandset(p, p.SMPPAddr, "--profile", profile, "--pin", "12345", "--own-pin", pin)...)
	c.sees(isOn)
	c.types(interruptKey)
	c.exits(exitOK)
	c = openConsole(t, atHandset(p, p.SMPPAddr, "--profile", profile, "--pin", "12345")...)
	c.sees("locked by its own PIN")
	c.exits(exitFailure)
	// Escape: it stays off, and says why.
	c = openConsole(t, atHandset(p, p.SMPPAddr, "--profile", profile)...)
	c.sees(`\r\nPIN\r\n  4 to 8 digits`)
	c.types(escapeKey)
	c.sees("locked by its own PIN")
	c.exits(exitFailure)
}

// Ctrl-C ends what waits for more input.
func TestInterruptedAPDUs(t *testing.T) {
	key := filepath.Join(t.TempDir(), "master.key")
	write(t, key, strings.Repeat("0F", 16))
	profile := personalise(t, key)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	defer func(before *os.File) { os.Stdin = before }(os.Stdin)
	os.Stdin = in
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var said bytes.Buffer
	if status := run(ctx, []string{"card", "apdu", "--profile", profile}, streams{io.Discard, &said}); status != exitFailure || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("status %d, %s", status, said.String())
	}
	c := openConsole(t, "card", "apdu", "--profile", profile)
	c.types("00A4000C022FE2\n\x04")
	c.sees("> 00A4000C022FE2\r\n< 9000  done\r\n")
	c.exits(exitOK)
}

// strangerPIN2 is PIN2 of the cards that personalise makes here.
const strangerPIN2 = "24680"

// personalise makes the profile of a stranger's card.
func personalise(t *testing.T, masterKey string, flags ...string) (profile string) {
	t.Helper()
	profile = filepath.Join(t.TempDir(), "stranger.json")
	args := append([]string{"card", "personalise", "--out", profile, "--master-key", masterKey, "--pin2", strangerPIN2}, flags...)
	if status, _, said := new(program).imza(t, args...); status != exitOK {
		t.Fatal(said)
	}
	return profile
}

// signs has a demo subscriber sign, and OpenSSL judge.
func (p *program) signs(t *testing.T, n int) {
	t.Helper()
	in := document(t)
	status, out, said := p.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n), "--timeout", "10")
	if status != exitOK {
		t.Fatalf("subscriber %d: status %d, %s%s", n, status, out, said)
	}
	opensslVerify(t, p, in+".p7s", in)
}

// ends checks how a request to a demo subscriber ends.
func (p *program) ends(t *testing.T, n int, state string) {
	t.Helper()
	c := provider{t, p}
	if answer := c.await(c.ask(n, 10), ""); answer["status"] != state {
		t.Errorf("subscriber %d: %v (%v), want %s", n, answer["status"], answer["reason"], state)
	}
}
