package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imza/emulator/fleet"
	"imza/emulator/load"
	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/registry"
)

// enrolCommand has the cards of a fleet certified by a gateway, and their holders
// put on its record.
type enrolCommand struct {
	administrator
	Fleet     string `default:"./emulated" placeholder:"DIR" help:"The folder of \"imza emulator\". Default: ./emulated."`
	Cards     int    `placeholder:"N" help:"How many cards, from the first on. Default: all."`
	Providers int    `default:"3" placeholder:"N" help:"How many providers there are to be that ask for signatures. Default: 3."`

	batch    int           // 0: enrolBatch
	patience time.Duration // 0: enrolPatience
}

// maxLoadProviders is more than a load test asks as.
const maxLoadProviders = 100

// Validate is the parser's.
func (c *enrolCommand) Validate() error {
	switch {
	case c.Cards < 0:
		return fmt.Errorf("--cards: %d: there are no fewer than none", c.Cards)
	case c.Providers < 1 || c.Providers > maxLoadProviders:
		return fmt.Errorf("--providers: %d: 1 to %d", c.Providers, maxLoadProviders)
	}
	return nil
}

// Run enrols what is not yet enrolled.
func (c *enrolCommand) Run(ctx context.Context, s streams) error {
	f, err := openFleet(c.Fleet)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.Cards == 0 {
		c.Cards = f.Plan().Cards
	}
	if c.Cards > f.Plan().Cards {
		return fmt.Errorf("--cards: %s: the fleet in %s has %s", load.Thousands(c.Cards), c.Fleet, load.Thousands(f.Plan().Cards))
	}
	e := &enroller{fleet: f, admin: client{url: c.URL, key: c.Key, patience: importTime}, streams: s,
		size: cmp.Or(c.batch, enrolBatch), patience: cmp.Or(c.patience, enrolPatience)}
	if e.access, err = fleet.ReadAccess(c.Fleet); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e.access.URL = c.URL
	for _, prepare := range []func(context.Context) error{
		e.importOrganisations,
		func(ctx context.Context) error { return e.putProviders(ctx, c.Providers) },
		e.findWhereItWasLeft,
	} {
		if err := prepare(ctx); err != nil {
			return e.told(err)
		}
	}
	if err := e.access.Write(f.Dir()); err != nil {
		return err
	}
	return e.enrol(ctx, c.Cards)
}

// openFleet opens the folder that "imza emulator" made.
func openFleet(dir string) (*fleet.Fleet, error) {
	f, err := fleet.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf(`--fleet: there are no cards in %s: "imza emulator --data %s" makes them`, dir, quotedIfNeeded(dir))
	}
	return f, err
}

// enroller brings a fleet into a gateway.
type enroller struct {
	fleet    *fleet.Fleet
	admin    client
	access   fleet.Access
	size     int // of a batch
	patience time.Duration
	streams
}

// errStopped says that somebody stopped it.
var errStopped = errors.New("stopped")

// told says of a gateway that cannot be reached which one it is.
func (e *enroller) told(err error) error {
	var no *refused
	switch {
	case errors.As(err, &no):
		return err
	case errors.Is(err, context.Canceled):
		return errStopped
	}
	return fmt.Errorf("the gateway at %s: %w", e.admin.url, err)
}

// importOrganisations puts those on record whose certificates the cards carry.
func (e *enroller) importOrganisations(ctx context.Context) error {
	var text bytes.Buffer
	w := csv.NewWriter(&text)
	rows := [][]string{{"voen", "name"}}
	for _, voen := range e.fleet.VOENs() {
		rows = append(rows, []string{voen, e.fleet.OrganisationName(voen)})
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	var done cabinet.Imported
	return e.admin.send(ctx, http.MethodPost, "/v1/admin/imports", "text/csv; charset=utf-8", text.Bytes(), &done)
}

// putProviders puts the providers on record that the load comes from. The keys of
// an earlier time stay if they are still good.
func (e *enroller) putProviders(ctx context.Context, n int) error {
	providers := make([]fleet.Provider, n)
	for i := range providers {
		p := &providers[i]
		p.ID = fmt.Sprintf("load-%d", i+1)
		if known := slices.IndexFunc(e.access.Providers, func(k fleet.Provider) bool { return k.ID == p.ID }); known >= 0 {
			p.Key = e.access.Providers[known].Key
		}
		var put cabinet.Provider
		if err := e.admin.do(ctx, http.MethodPut, "/v1/admin/providers/"+p.ID, map[string]string{"name": fmt.Sprintf("Sınaq xidməti %d", i+1)}, &put); err != nil {
			return err
		}
		if put.Key != "" {
			p.Key = put.Key
			continue
		}
		good, err := e.opens(ctx, p.Key)
		if err != nil {
			return err
		}
		if good {
			continue
		}
		var renewed cabinet.Key
		if err := e.admin.do(ctx, http.MethodPost, "/v1/admin/providers/"+p.ID+"/key", nil, &renewed); err != nil {
			return err
		}
		p.Key = renewed.Key
	}
	e.access.Providers = providers
	return nil
}

// opens tells whether a provider's key is good, by asking for a signature that
// there is not.
func (e *enroller) opens(ctx context.Context, key string) (bool, error) {
	if key == "" {
		return false, nil
	}
	asking := client{url: e.admin.url, key: key}
	err := asking.do(ctx, http.MethodGet, "/v1/signatures/none", nil, new(struct{}))
	switch {
	case refusedAs(err, gateway.Unauthorized):
		return false, nil
	case refusedAs(err, gateway.NotFound):
		return true, nil
	}
	return false, err
}

// findWhereItWasLeft believes the folder only as far as this gateway has the
// cards on record: it may be another one, or have begun anew.
func (e *enroller) findWhereItWasLeft(ctx context.Context) error {
	left := e.access.Enrolled
	if left == 0 {
		return nil
	}
	left = min(left, e.fleet.Plan().Cards)
	for _, i := range []int{0, left / 2, left - 1} {
		there, err := e.knows(ctx, i)
		if err != nil {
			return err
		}
		if !there {
			fmt.Fprintf(e.err, "This gateway does not know the %s cards that were enrolled before: they are enrolled into it, too.\n", load.Thousands(left))
			e.access.Enrolled = 0
			return nil
		}
	}
	e.access.Enrolled = left
	return nil
}

// knows tells whether the gateway has a card on record, and the card its
// certificate.
func (e *enroller) knows(ctx context.Context, i int) (bool, error) {
	if certified, err := e.fleet.Enrolled(i); err != nil || !certified {
		return false, err
	}
	who := e.fleet.Subscriber(i)
	var entry registry.SubscriberEntry
	err := e.admin.do(ctx, http.MethodGet, "/v1/admin/subscribers/"+string(who.MSISDN), nil, &entry)
	if refusedAs(err, gateway.NotFound) {
		return false, nil
	}
	return entry.ICCID == who.ICCID, err
}

// enrol enrols cards up to a number, and tells what was done.
func (e *enroller) enrol(ctx context.Context, cards int) error {
	before := e.access.Enrolled
	if before >= cards {
		fmt.Fprintf(e.out, "%s cards are enrolled already.\n", load.Thousands(before))
		e.aboutProviders()
		return nil
	}
	started := time.Now()
	run := newEnrolRun(e, cards)
	err := run.work(ctx)
	if saved := e.access.Write(e.fleet.Dir()); saved != nil {
		return errors.Join(err, saved)
	}
	now, took := e.access.Enrolled-before, time.Since(started)
	if err != nil {
		fmt.Fprintf(e.err, "%s of %s cards are enrolled; run it again to go on.\n", load.Thousands(e.access.Enrolled), load.Thousands(cards))
		return err
	}
	fmt.Fprintf(e.out, "%s cards are enrolled, %s of them now, in %s: %s a second.\n", load.Thousands(e.access.Enrolled), load.Thousands(now),
		took.Round(100*time.Millisecond), load.Thousands(int(float64(now)/took.Seconds())))
	rsa := int(run.rsa.Load())
	fmt.Fprintf(e.out, "Certificates by the gateway's CA: %s for P-256 keys, each card's own", load.Thousands(int(run.certificates.Load())-rsa))
	if rsa > 0 {
		fmt.Fprintf(e.out, "; %s for RSA-2048 keys, which come from a pool of 16", load.Thousands(rsa))
	}
	fmt.Fprintln(e.out, ".")
	e.aboutProviders()
	return nil
}

func (e *enroller) aboutProviders() {
	names := make([]string, len(e.access.Providers))
	for i, p := range e.access.Providers {
		names[i] = p.ID
	}
	fmt.Fprintf(e.out, "Providers that may ask: %s. Their keys are in %s.\n", strings.Join(names, ", "), filepath.Join(e.fleet.Dir(), "load.json"))
}
