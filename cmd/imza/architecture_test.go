package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is which way imports point: a package of imza, and those of imza's
// that it may import. docs/architecture.md draws it.
var mayImport = map[string][]string{
	"cmd/imza":          {"emulator", "emulator/fleet", "emulator/load", "emulator/report", "emulator/screen", "gateway", "gateway/api", "gateway/cabinet", "gateway/registry", "pki", "policy", "simcard", "simcard/applet", "simcard/ota", "simcard/pcsc", "simcard/sms", "simcard/toolkit", "smpp"},
	"gateway/api":       {"gateway", "gateway/registry", "gateway/strict", "pki", "policy", "simcard", "simcard/applet"},
	"gateway/cabinet":   {"gateway", "gateway/registry", "gateway/strict", "pki", "policy", "simcard"},
	"gateway/registry":  {"gateway", "pki", "policy", "simcard"},
	"gateway/strict":    {"gateway"},
	"gateway/benchmark": {"emulator/load", "gateway", "gateway/registry", "policy", "simcard", "simcard/applet", "simcard/ota", "simcard/sms", "smpp"},
	"gateway":           {"pki", "pki/cms", "policy", "simcard", "simcard/applet", "simcard/ota", "simcard/sms", "smpp"},
	"emulator":          {"simcard", "simcard/applet", "simcard/ota", "simcard/sms", "simcard/toolkit", "smpp"},
	"emulator/fleet":    {"emulator", "simcard", "simcard/applet", "simcard/ota", "simcard/toolkit", "smpp"},
	"emulator/load":     {},
	"emulator/report":   {"emulator/load"},
	"emulator/screen":   {"emulator", "simcard", "simcard/sms", "simcard/toolkit"},
	"policy":            {},
	"pki":               {},
	"pki/cms":           {},
	"smpp":              {},
	"smpp/benchmark":    {"smpp"},
	"simcard":           {},
	"simcard/applet":    {},
	"simcard/ota":       {},
	"simcard/pcsc":      {},
	"simcard/sms":       {},
	"simcard/toolkit":   {},
}

// testHelpers are packages that only tests import.
func testHelper(path string) bool { return strings.HasSuffix(path, "test") }

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "imza/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := strings.TrimPrefix(words[0], "imza/")
		if testHelper(from) {
			continue
		}
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s is a new room: say here what it may import, and draw it in docs/architecture.md", from)
		}
		seen++
		for _, path := range words[1:] {
			to, ours := strings.CutPrefix(path, "imza/")
			if ours && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s", from, to)
			}
		}
	}
	if seen != len(mayImport) {
		t.Errorf("%d rooms were looked at, %d are known", seen, len(mayImport))
	}
}

// The emulator is the counterparty: whatever the gateway judges it with must
// not reach it, over any detour.
func TestEmulatorDoesNotKnowTheGateway(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "imza/emulator").Output()
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if strings.HasPrefix(path, "imza/gateway") || strings.HasPrefix(path, "imza/pki") || path == "imza/policy" {
			t.Errorf("the emulator depends on %s", path)
		}
	}
}
