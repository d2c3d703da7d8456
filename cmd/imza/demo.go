package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
	"imza/simcard/ota"
)

// The demo's organisations, provider and administrator.
const (
	demoProvider     = policy.Provider("demo")
	demoProviderName = "Demo xidmət"
	demoAdmin        = "demo-operator"
	firstVOEN        = policy.VOEN("1400000011")
	secondVOEN       = policy.VOEN("1400000022")
)

var demoOrganisations = map[policy.VOEN]string{firstVOEN: "Nümunə MMC", secondVOEN: "Sınaq ASC"}

// demoPIN2 is what all demo subscribers type.
const demoPIN2 = "12345"

// demoSubscriber is one of the people of the demo: who they are, what is on
// their card, and what they do.
type demoSubscriber struct {
	givenName, surname string
	rsa                bool
	certificates       []wantedCertificate // none: one business certificate
	behaviour          emulator.Behaviour  // empty: signs
	fault              emulator.Fault
	off, scramble      bool
	does, ends         string // for the table
}

type wantedCertificate struct {
	kind gateway.CertificateType
	voen policy.VOEN
}

// demoSubscribers are numbered from 1: +994500000001 with User ID 100001, and
// so on.
var demoSubscribers = []demoSubscriber{
	{givenName: "Aysel", surname: "Məmmədova", does: "signs (P-256)", ends: "signed"},
	{givenName: "Orxan", surname: "Əliyev", rsa: true, does: "signs (RSA-2048)", ends: "signed"},
	{givenName: "Leyla", surname: "Həsənova", behaviour: emulator.Cancels, does: "cancels", ends: "cancelled_by_user"},
	{givenName: "Rəşad", surname: "Quliyev", behaviour: emulator.WrongOnce, does: "types a wrong PIN2 once, then the right one", ends: "signed"},
	{givenName: "Günel", surname: "Rzayeva", behaviour: emulator.WrongAlways, does: "types a wrong PIN2 until it is blocked", ends: "pin_blocked"},
	{givenName: "Elçin", surname: "İsmayılov", off: true, does: "has the telephone switched off", ends: "absent"},
	{givenName: "Nigar", surname: "Kərimova", behaviour: emulator.Absent, does: "never answers", ends: "expired"},
	{givenName: "Tural", surname: "Hüseynov", fault: emulator.ForeignKey, does: "has a card that signs with another key", ends: "signature_invalid"},
	{givenName: "Sevda", surname: "Abbasova", fault: emulator.AnotherDigest, does: "has a card that signs another digest", ends: "signature_invalid"},
	{givenName: "Cavid", surname: "Nəbiyev", scramble: true, does: "answers with segments out of order and doubled", ends: "signed"},
	{givenName: "Fidan", surname: "Şıxəliyeva", certificates: []wantedCertificate{
		{gateway.Business, firstVOEN}, {gateway.Business, secondVOEN}, {gateway.Citizen, ""}},
		does: "signs for either of two organisations, or as a citizen", ends: "signed"},
}

func demoMSISDN(n int) simcard.MSISDN { return simcard.MSISDN(fmt.Sprintf("+9945000%05d", n)) }
func demoUserID(n int) string         { return fmt.Sprintf("%06d", 100000+n) }
func demoFIN(n int) policy.FIN        { return policy.FIN(fmt.Sprintf("7DEM%03d", n)) }
func demoICCID(n int) (simcard.ICCID, error) {
	return simcard.NewICCID(fmt.Sprintf("899940100%09d", n))
}

func (d *demoSubscriber) wanted() []wantedCertificate {
	if d.certificates == nil {
		return []wantedCertificate{{gateway.Business, firstVOEN}}
	}
	return d.certificates
}

// demo is the demo's people with their telephones, and the keys to try it.
type demo struct {
	providerKey, adminKey string
}

// open enrols who is not on record yet, and connects all telephones.
func (d *demo) open(ctx context.Context, p *program, smsc *emulator.SMSC) error {
	if err := d.openKeys(ctx, p); err != nil {
		return err
	}
	for voen, name := range demoOrganisations {
		if err := p.registry.AddOrganisation(ctx, voen, name); err != nil {
			return err
		}
	}
	enrolled, err := p.registry.Subscribers(ctx)
	if err != nil {
		return err
	}
	shelf := emulator.Shelf{Dir: filepath.Join(p.config.Data, "cards")}
	var pool *emulator.RSAPool
	for i, s := range demoSubscribers {
		n := i + 1
		if !slices.Contains(enrolled, demoMSISDN(n)) {
			if pool == nil {
				pool = newDemoPool()
			}
			if err := enrol(ctx, p, shelf, pool, n, s); err != nil {
				return fmt.Errorf("demo subscriber %d: %w", n, err)
			}
		}
		if err := connect(p, shelf, smsc, n, s); err != nil {
			return fmt.Errorf("demo subscriber %d: %w", n, err)
		}
	}
	return nil
}

// newDemoPool makes as many RSA keys as the demo's cards want.
func newDemoPool() *emulator.RSAPool {
	n := 0
	for _, s := range demoSubscribers {
		if s.rsa {
			n += len(s.wanted())
		}
	}
	return emulator.NewRSAPool(n)
}

// enrol makes a subscriber's card, has its keys certified, and records all.
// The card is on its shelf before the record knows the subscriber, so a start
// that is cut off in between begins this one anew.
func enrol(ctx context.Context, p *program, shelf emulator.Shelf, pool *emulator.RSAPool, n int, s demoSubscriber) error {
	iccid, err := demoICCID(n)
	if err != nil {
		return err
	}
	keys, err := ota.DeriveKeys(p.masterKey, string(iccid))
	if err != nil {
		return err
	}
	profile := emulator.NewProfile(iccid, keys, "1234", demoPIN2, "12345678")
	profile.Fault = s.fault
	var certificates []gateway.Certificate
	for i, w := range s.wanted() {
		private, err := emulator.NewP256()
		if s.rsa {
			private, err = pool.Take()
		}
		if err != nil {
			return err
		}
		key := byte(i + 1)
		public, err := profile.AddKey(key, private)
		if err != nil {
			return err
		}
		holder := pki.Holder{FIN: string(demoFIN(n)), GivenName: s.givenName, Surname: s.surname,
			VOEN: string(w.voen), Organisation: demoOrganisations[w.voen]}
		cert, err := p.authority.Issue(holder, pki.Signing, public, now())
		if err != nil {
			return err
		}
		if err := profile.SetCertificate(key, cert); err != nil {
			return err
		}
		certificates = append(certificates, gateway.Certificate{Serial: registry.Serial(cert.SerialNumber), Type: w.kind, VOEN: w.voen, Key: key, X509: cert})
	}
	if err := shelf.Put(profile); err != nil {
		return err
	}
	return p.registry.Enrol(ctx, registry.Person{MSISDN: demoMSISDN(n), ICCID: iccid, FIN: demoFIN(n),
		GivenName: s.givenName, Surname: s.surname, UserID: demoUserID(n)}, certificates)
}

// connect puts a subscriber's card into a handset, and that on the network.
func connect(p *program, shelf emulator.Shelf, smsc *emulator.SMSC, n int, s demoSubscriber) error {
	iccid, err := demoICCID(n)
	if err != nil {
		return err
	}
	profile, err := shelf.Get(iccid)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its card is gone from %s: remove the data folder to begin anew", shelf.Dir)
	}
	if err != nil {
		return err
	}
	card, err := emulator.NewSIM(profile, shelf.Put)
	if err != nil {
		return err
	}
	behaviour := s.behaviour
	if behaviour == "" {
		behaviour = emulator.Signs
	}
	think := p.config.think
	if think == nil {
		think = emulator.Thinking(p.config.Think)
	}
	handset := &emulator.Handset{Card: card, Log: p.log,
		Person: emulator.Person{PIN2: demoPIN2, Behaviour: behaviour, Think: think, GivesUp: 2 * time.Second}}
	line := &emulator.Line{MSISDN: demoMSISDN(n), Handset: handset, Off: s.off, Scramble: s.scramble}
	if operator := p.network.Operator(line.MSISDN.Digits()); operator != nil {
		line.Operator = operator.Name
	}
	smsc.Add(line)
	return handset.SwitchOn()
}

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
		case "export IMZA_ADMIN_KEY":
			d.adminKey = value
		}
	}
	if d.providerKey == "" {
		d.providerKey = registry.NewProviderKey()
	}
	if d.adminKey == "" {
		d.adminKey = registry.NewAdminKey()
	}
	if err := p.registry.SetProvider(ctx, demoProvider, demoProviderName, d.providerKey); err != nil {
		return err
	}
	return p.registry.SetAdministrator(ctx, demoAdmin, d.adminKey)
}

// writeEnvironment writes what a shell needs to try the demo, and the anchors
// that a signature is checked with.
func (p *program) writeEnvironment() error {
	var b strings.Builder
	fmt.Fprintln(&b, "# Source this file, then try: imza sign --help")
	for _, v := range [][2]string{
		{"IMZA_URL", p.url()},
		{"IMZA_KEY", p.demo.providerKey},
		{"IMZA_ADMIN_KEY", p.demo.adminKey},
		{"IMZA_SMPP_ADDR", p.SMPPAddr},
		{"IMZA_SMPP_PASSWORD", p.password},
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
	if err := writeSecret(p.environment(), []byte(b.String())); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.config.Data, "ca.pem"), p.authority.Anchors(), 0o644)
}

// quoted is a string as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// welcome tells what is running and what to try.
func (p *program) welcome(w io.Writer) {
	fmt.Fprintf(w, "imza is up.\n\n")
	store := "embedded"
	if p.config.Redis != "" {
		store = "the one given"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  API\t%s\t(metrics at /metrics, description at /v1/openapi.yaml)\n", p.url())
	fmt.Fprintf(table, "  operators, SMPP\t%s\t(emulated: %s)\n", p.SMPPAddr, strings.Join(p.operators.emulated(), ", "))
	fmt.Fprintf(table, "  Redis\t%s\n", store)
	fmt.Fprintf(table, "  record, keys, cards\t%s\n", p.config.Data)
	table.Flush()
	fmt.Fprintf(w, "\nDemo subscribers:\n\n")
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  NUMBER\tUSER ID\tWHO\tWHAT HAPPENS\tENDS AS")
	for i, s := range demoSubscribers {
		does, ends := s.does, s.ends
		if operator := p.realOperator(demoMSISDN(i + 1)); operator != "" {
			does, ends = "is nobody we know: "+operator+" is a real operator", "?"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s %s\t%s\t%s\n", demoMSISDN(i+1), demoUserID(i+1), s.givenName, s.surname, does, ends)
	}
	table.Flush()
	fmt.Fprintf(w, `
Try, in another shell:

  . %s
  imza sign --msisdn $IMZA_DEMO_MSISDN --user-id $IMZA_DEMO_USER_ID --in README.md --out README.p7s

Ctrl-C stops it. All of it stays in %s.
`, quotedIfNeeded(p.environment()), p.config.Data)
}

// realOperator is who has a number, if it is not an emulated operator: a request
// to it would go to somebody's telephone.
func (p *program) realOperator(number simcard.MSISDN) string {
	pool := p.network.Operator(number.Digits())
	if pool == nil || slices.Contains(p.operators.emulated(), pool.Name) {
		return ""
	}
	return pool.Name
}

// quotedIfNeeded leaves plain paths plain.
func quotedIfNeeded(path string) string {
	if strings.ContainsAny(path, " '\"\\$`!*?[]{}()<>|&;~#\t\n") {
		return quoted(path)
	}
	return path
}
