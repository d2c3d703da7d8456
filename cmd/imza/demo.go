package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"imza/emulator"
	"imza/emulator/screen"
	"imza/gateway"
	"imza/policy"
	"imza/simcard"
)

// The demo's organisations, providers and administrators. The manager is one of
// the first organisation.
const (
	demoProvider     = policy.Provider("demo")
	demoProviderName = "Demo xidmət"
	bankProvider     = policy.Provider("bank")
	bankProviderName = "Demo bank"
	demoOperator     = "demo-operator"
	demoManager      = "demo-manager"
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
	old                bool // the card gives no short answers
	off, scramble      bool
	away               bool   // the card is in a reader, if it is anywhere
	stranger           bool   // it is not of the demo's making
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
	{givenName: "Rəşad", surname: "Quliyev", behaviour: emulator.WrongOnce, old: true, does: "types a wrong PIN2 once, then the right one", ends: "signed"},
	{givenName: "Günel", surname: "Rzayeva", behaviour: emulator.WrongAlways, does: "types a wrong PIN2 until it is blocked", ends: "pin_blocked"},
	{givenName: "Elçin", surname: "İsmayılov", off: true, does: "has the telephone switched off", ends: "absent"},
	{givenName: "Nigar", surname: "Kərimova", behaviour: emulator.Absent, does: "never answers", ends: "expired"},
	{givenName: "Tural", surname: "Hüseynov", fault: emulator.ForeignKey, does: "has a card that signs with another key", ends: "signature_invalid"},
	{givenName: "Sevda", surname: "Abbasova", fault: emulator.AnotherDigest, does: "has a card that signs another digest", ends: "signature_invalid"},
	{givenName: "Cavid", surname: "Nəbiyev", scramble: true, old: true, does: "answers with segments out of order and doubled", ends: "signed"},
	{givenName: "Fidan", surname: "Şıxəliyeva", certificates: []wantedCertificate{
		{gateway.Business, firstVOEN}, {gateway.Business, secondVOEN}, {gateway.Citizen, ""}},
		does: "signs for either of two organisations, or as a citizen", ends: "signed"},
	{givenName: "Samir", surname: "Qasımov", away: true, does: "has the card in a reader, if it is anywhere", ends: "absent"},
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
	providerKey, bankKey string
	adminKey, managerKey string // the operator's, the manager's
	shelf                emulator.Shelf
	screens              []*screen.Screen
	slots                []*slot
	extra                []demoSubscriber // cards in readers that are nobody's of the above
}

// open enrols who is not on record yet, and connects all telephones.
func (d *demo) open(ctx context.Context, p *program, smsc *emulator.SMSC) error {
	for voen, name := range demoOrganisations {
		if err := p.registry.AddOrganisation(ctx, voen, name); err != nil {
			return err
		}
	}
	if err := d.openKeys(ctx, p); err != nil {
		return err
	}
	enrolled, err := p.registry.Subscribers(ctx)
	if err != nil {
		return err
	}
	d.shelf = emulator.Shelf{Dir: filepath.Join(p.config.Data, "cards")}
	inReaders, err := d.places(p)
	if err != nil {
		return err
	}
	for i, s := range demoSubscribers {
		n := i + 1
		if !slices.Contains(enrolled, demoMSISDN(n)) {
			if err := d.issueCard(ctx, p, n, s); err != nil {
				return fmt.Errorf("demo subscriber %d: %w", n, err)
			}
		}
		iccid, err := demoICCID(n)
		if err != nil {
			return err
		}
		reader, err := inReaders.take(iccid)
		if err != nil {
			return err
		}
		if err := d.connect(p, smsc, n, s, iccid, reader); err != nil {
			return fmt.Errorf("demo subscriber %d: %w", n, err)
		}
	}
	if err := d.openStrangers(ctx, p, smsc, enrolled, inReaders); err != nil {
		return err
	}
	if len(d.slots) > 0 {
		p.onClose(runAside(func(ctx context.Context) { watch(ctx, d.slots...) }))
		d.awaitCards(ctx)
	}
	return nil
}

// awaitCards waits until it is known of each card in a reader whether its
// telephone is on. One that has to be unlocked first, on its page, is off when
// the program is up.
func (d *demo) awaitCards(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, s := range d.slots {
		select {
		case <-s.first:
		case <-ctx.Done():
		}
	}
}

// connect puts a subscriber's card into a handset, and that on the network. A
// card that is in a reader is served from there.
func (d *demo) connect(p *program, smsc *emulator.SMSC, n int, s demoSubscriber, iccid simcard.ICCID, reader string) error {
	line := &emulator.Line{MSISDN: demoMSISDN(n), Off: s.off, Scramble: s.scramble}
	if operator := p.network.Operator(line.MSISDN.Digits()); operator != nil {
		line.Operator = operator.Name
	}
	if s.away && reader == "" { // its handset is in another process
		smsc.Add(line)
		return nil
	}
	handset := &emulator.Handset{Log: p.log}
	handset.Person = d.person(p, n, s, handset)
	line.Handset = handset
	if reader != "" {
		line.Off = true // until the card has been asked
		smsc.Add(line)
		slot := &slot{reader: reader, handset: handset, iccid: iccid, log: p.log,
			inserted: func(in bool) { smsc.SetOff(line.MSISDN, !in || s.off) }}
		d.slots = append(d.slots, slot)
		p.onClose(slot.begin())
		return nil
	}
	memory, err := emulator.OpenMemory(d.shelf.Path(iccid))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("its card is gone from %s: remove the data folder to begin anew", d.shelf.Dir)
	case errors.Is(err, emulator.ErrInUse):
		return fmt.Errorf("its card is in another program: name its reader with --pcsc, or take it out there: %w", err)
	case err != nil:
		return fmt.Errorf("its card cannot be read (if an older imza made it, remove %s to begin anew): %w", p.config.Data, err)
	}
	p.onClose(memory.Close)
	card, err := memory.Card()
	if err != nil {
		return err
	}
	handset.Insert(card)
	smsc.Add(line)
	err = switchOn(context.Background(), handset, nil)
	if errors.Is(err, emulator.ErrLocked) { // somebody enabled its PIN; the others are not to go without
		p.log.Warn("a telephone stays off until its PIN is typed on its page", "number", line.MSISDN)
		smsc.SetOff(line.MSISDN, true)
		p.onClose(runAside(func(ctx context.Context) { unlock(ctx, handset, func() { smsc.SetOff(line.MSISDN, s.off) }) }))
		return nil
	}
	return err
}

// unlock asks for a telephone's own PIN again and again until somebody who knows
// it has its page open.
func unlock(ctx context.Context, handset *emulator.Handset, on func()) {
	for {
		select {
		case <-time.After(lockedRetry):
		case <-ctx.Done():
			return
		}
		if switchOn(ctx, handset, nil) == nil {
			on()
			<-ctx.Done() // which the handset is on in
			return
		}
	}
}

// person is who holds a subscriber's handset: whoever looks at its page in a
// browser, else the actor that the demo has for it.
func (d *demo) person(p *program, n int, s demoSubscriber, handset *emulator.Handset) emulator.Person {
	actor := &emulator.Actor{PIN1: "1234", PIN2: demoPIN2, Behaviour: s.behaviour, Think: p.config.think, GivesUp: 2 * time.Second}
	if actor.Behaviour == "" {
		actor.Behaviour = emulator.Signs
	}
	if actor.Think == nil {
		actor.Think = emulator.Thinking(p.config.Think)
	}
	page := &screen.Screen{Number: demoMSISDN(n), Name: s.givenName + " " + s.surname, About: s.does, Handset: handset, Otherwise: actor, Off: s.off}
	if s.stranger {
		page.Otherwise = nil // nobody here knows the PIN
	}
	d.screens = append(d.screens, page)
	return page
}

// welcome tells what is running and what to try.
func (p *program) welcome(w io.Writer) {
	fmt.Fprintf(w, "imza is up.\n\n")
	store := "embedded"
	if p.config.Redis != "" {
		store = "the one given"
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  API\t%s\t(metrics at /metrics, description at /v1/openapi.yaml)\n", p.url())
	fmt.Fprintf(table, "  telephones\t%s/telephones\t(be one of the people below)\n", p.url())
	fmt.Fprintf(table, "  operators, SMPP\t%s\t(emulated: %s)\n", p.SMPPAddr, strings.Join(p.operators.emulated(), ", "))
	fmt.Fprintf(table, "  Redis\t%s\n", store)
	stays := p.config.Data
	if p.config.Database == "" {
		fmt.Fprintf(table, "  record, keys, cards\t%s\n", p.config.Data)
	} else {
		fmt.Fprintf(table, "  record\t%s\n", withoutUser(p.config.Database))
		fmt.Fprintf(table, "  keys, cards\t%s\n", p.config.Data)
		stays += " and the database"
	}
	table.Flush()
	fmt.Fprintf(w, "\nDemo subscribers:\n\n")
	table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  NUMBER\tUSER ID\tWHO\tWHAT HAPPENS\tENDS AS")
	for i, s := range slices.Concat(demoSubscribers, p.demo.extra) {
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
`, quotedIfNeeded(p.environment()), stays)
}

// withoutUser is a database's URL without who opens it and how: a password may
// be in there.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "PostgreSQL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
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
