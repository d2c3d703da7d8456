package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// readmeCommands are the commands of the README's shell blocks, in order.
func readmeCommands(t *testing.T, readme string) (commands []string) {
	t.Helper()
	for _, block := range shellBlock.FindAllStringSubmatch(readme, -1) {
		command := ""
		for line := range strings.Lines(block[1]) {
			command += line
			if strings.Count(command, "'")%2 == 0 { // a quoted text goes on over lines
				commands = append(commands, strings.TrimSpace(command))
				command = ""
			}
		}
		if command != "" {
			t.Fatalf("a quote is open at the end of a block:\n%s", block[1])
		}
	}
	return commands
}

// tryCommands runs each in a shell of its own that has sourced demo.env and
// whatever was exported since that was last said.
func tryCommands(t *testing.T, dir string, commands []string) {
	t.Helper()
	const source = ". data/demo.env"
	exports := ""
	for _, command := range commands {
		if strings.HasPrefix(command, source) {
			exports = ""
		}
		command, refusal, refused := strings.Cut(command, " # refused: ")
		shell := exec.Command("sh", "-c", source+"; "+exports+command)
		shell.Dir = dir
		out, err := shell.CombinedOutput()
		status := shell.ProcessState.ExitCode()
		switch {
		case refused && (status != exitRefused || !strings.Contains(string(out), refusal)):
			t.Errorf("%s\nstatus %d, want a refusal as %s:\n%s", command, status, refusal, out)
		case !refused && (err != nil || strings.Contains(string(out), `"code":`)):
			t.Errorf("%s\n%v\n%s", command, err, out)
		}
		if strings.HasPrefix(command, "export ") {
			exports += command + "; "
		}
	}
}

// The README's commands are run as a newcomer would, one after another, in a
// folder that has the README and the running program's data. "make run" is what
// the program under test stands for.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(raw)
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil || !strings.Contains(string(makefile), "\tbin/imza up\n") {
		t.Errorf("make run is not imza up (%v)", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "README.md"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	boot(t, upCommand{gatewayFlags: gatewayFlags{Data: filepath.Join(dir, "data")}, Think: 10 * time.Millisecond})
	commands := readmeCommands(t, readme)
	if len(commands) < 9 || commands[0] != "make run" {
		t.Fatalf("the README's commands are %q", commands)
	}
	tryCommands(t, dir, commands[1:])
	if _, err := os.Stat(filepath.Join(dir, "README.p7s")); err != nil {
		t.Error(err)
	}
	for i, s := range demoSubscribers {
		row := fmt.Sprintf("| %s | %s | %s | %s |\n", demoMSISDN(i+1), demoUserID(i+1), s.does, s.ends)
		if !strings.Contains(readme, row) {
			t.Errorf("the README's table lacks %s", row)
		}
	}
}

// So are those of the administrators' guide.
func TestAdministratorsGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	boot(t, upCommand{gatewayFlags: gatewayFlags{Data: filepath.Join(dir, "data")}})
	commands := readmeCommands(t, string(guide))
	if len(commands) < 15 {
		t.Fatalf("its commands are %q", commands)
	}
	tryCommands(t, dir, commands)
}

// Links and file names in the documentation lead somewhere.
func TestDocumentationLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", "../../CONTRIBUTING.md")
	if len(files) < 5 {
		t.Fatalf("only %q", files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// The guide to load tests is walked through with processes of their own, on free
// ports, and without leaving its folder.
func TestLoadGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "imza"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	control, web := freeAddr(t), freeAddr(t)
	tried := 0
	for _, command := range readmeCommands(t, string(guide)) {
		tried++
		switch {
		case strings.HasPrefix(command, "imza emulator"):
			serveCommand(t, dir, command+" --addr 127.0.0.1:0 --control "+control)
		case strings.HasPrefix(command, "imza gateway"):
			serveCommand(t, dir, command+" --http "+web)
		default:
			if strings.HasPrefix(command, "imza load") {
				command += " --emulator http://" + control
			}
			shell := exec.Command("sh", "-c", "PATH=.:$PATH; . data/gateway.env; "+command)
			shell.Dir = dir
			if out, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%s\n%v\n%s", command, err, out)
			}
		}
	}
	if tried != 6 {
		t.Errorf("%d commands were tried, of 6", tried)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "report.html")); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("the page: %d octets, %v", len(page), err)
	}
}

// serveCommand runs a command beside the test, from when it says that it is up.
func serveCommand(t *testing.T, dir, command string) {
	t.Helper()
	shell := exec.Command("sh", "-c", "PATH=.:$PATH; exec "+command)
	shell.Dir, shell.Stderr = dir, t.Output()
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shell.Process.Kill(); _ = shell.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Ctrl-C stops it") {
			return
		}
	}
	t.Fatalf("%s: it ended without having been up", command)
}

// freeAddr is an address of this machine at which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
