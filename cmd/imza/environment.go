package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imza/gateway/registry"
	"imza/policy"
)

// environment is where the demo's keys are kept, in a form that a shell sources.
func (p *program) environment() string { return filepath.Join(p.config.Data, "demo.env") }

// openKeys takes the keys of an earlier start, or makes new ones.
func (d *demo) openKeys(ctx context.Context, p *program) error {
	text, err := os.ReadFile(p.environment())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "export IMZA_KEY":
			d.providerKey = value
		case "export IMZA_BANK_KEY":
			d.bankKey = value
		case "export IMZA_ADMIN_KEY":
			d.adminKey = value
		case "export IMZA_MANAGER_KEY":
			d.managerKey = value
		case "export IMZA_HANDSET_PASSWORD": // telephones out there come back with it
			p.handsetPassword = value
		}
	}
	for _, v := range []struct {
		id   policy.Provider
		name string
		key  *string
	}{{demoProvider, demoProviderName, &d.providerKey}, {bankProvider, bankProviderName, &d.bankKey}} {
		if *v.key == "" {
			*v.key = registry.NewProviderKey()
		}
		if err := p.registry.SetProvider(ctx, v.id, v.name, *v.key); err != nil {
			return err
		}
	}
	for _, v := range []struct {
		registry.Administrator
		key *string
	}{
		{registry.Administrator{ID: demoOperator, Role: registry.Operator}, &d.adminKey},
		{registry.Administrator{ID: demoManager, Role: registry.Manager, Organisations: []policy.VOEN{firstVOEN}}, &d.managerKey},
	} {
		if *v.key == "" {
			*v.key = registry.NewAdminKey()
		}
		if err := p.registry.SetAdministrator(ctx, v.Administrator, *v.key); err != nil {
			return err
		}
	}
	return nil
}

// writeEnvironment writes what a shell needs to try the demo, and the anchors
// that a signature is checked with.
func (p *program) writeEnvironment() error {
	var b strings.Builder
	fmt.Fprintln(&b, "# Source this file, then try: imza sign --help")
	for _, v := range [][2]string{
		{"IMZA_URL", p.url()},
		{"IMZA_KEY", p.demo.providerKey},
		{"IMZA_BANK_KEY", p.demo.bankKey},
		{"IMZA_ADMIN_KEY", p.demo.adminKey},
		{"IMZA_MANAGER_KEY", p.demo.managerKey},
		{"IMZA_SMPP_ADDR", p.SMPPAddr},
		{"IMZA_SMPP_PASSWORD", p.password},
		{"IMZA_HANDSET_PASSWORD", p.handsetPassword},
		{"IMZA_DEMO_PROVIDER", string(demoProvider)},
		{"IMZA_DEMO_MSISDN", string(demoMSISDN(1))},
		{"IMZA_DEMO_USER_ID", demoUserID(1)},
		{"IMZA_DEMO_FIN", string(demoFIN(1))},
		{"IMZA_DEMO_VOEN", string(firstVOEN)},
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], v[1])
	}
	if self, err := os.Executable(); err == nil {
		// So that "imza" is found where it was not installed.
		fmt.Fprintf(&b, "export PATH=\"$PATH\":%s\n", quoted(filepath.Dir(self)))
	}
	if err := writeWhole(p.environment(), strings.NewReader(b.String())); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.config.Data, "ca.pem"), p.authority.Anchors(), 0o644)
}

// quoted is a string as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
