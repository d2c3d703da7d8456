package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imza/emulator/fleet"
	"imza/emulator/load"
	"imza/gateway/registry"
	"imza/simcard"
)

// newFleet makes a folder of cards of all kinds.
func newFleet(t *testing.T, cards int) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Create(filepath.Join(t.TempDir(), "emulated"), fleet.Plan{Seed: 7, Cards: cards, RSA: 0.02, Citizens: 0.2, Government: 0.2, Old: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// enrolFleet is "imza enrol" of a fleet, as the demo's operator.
func enrolFleet(ctx context.Context, p *program, f *fleet.Fleet, args ...string) (status int, out, told string) {
	var o, e bytes.Buffer
	args = append([]string{"enrol", "--fleet", f.Dir(), "--url", p.url(), "--key", p.demo.adminKey}, args...)
	status = run(ctx, args, streams{&o, &e})
	return status, o.String(), e.String()
}

// enrolInBatches is the same over an address, a hundred cards at once.
func enrolInBatches(ctx context.Context, p *program, f *fleet.Fleet, address string, patience time.Duration) (out, told string, err error) {
	var o, e bytes.Buffer
	c := enrolCommand{administrator: administrator{URL: address, Key: p.demo.adminKey}, Fleet: f.Dir(), Providers: 1, batch: 100, patience: patience}
	err = c.Run(ctx, streams{&o, &e})
	return o.String(), e.String(), err
}

// enrolledBy reads load.json, and holds that the cards that it tells of, and no
// others, have certificates and are on a gateway's record.
func enrolledBy(t *testing.T, p *program, f *fleet.Fleet) fleet.Access {
	t.Helper()
	a, err := fleet.ReadAccess(f.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Plan().Cards {
		want := i < a.Enrolled
		if certified, err := f.Enrolled(i); err != nil || want && !certified {
			t.Fatalf("card %d of %d has a certificate: %t %v", i, a.Enrolled, certified, err)
		}
		who := f.Subscriber(i)
		found, err := p.registry.Subscriber(t.Context(), who.MSISDN, who.UserID)
		if want && (err != nil || found.ICCID != who.ICCID || found.ShortAnswers != who.ShortAnswers || len(found.Certificates) != 1 || string(found.Certificates[0].Type) != who.Certificates[0].Type) {
			t.Fatalf("card %d of %d is on record as %+v %v", i, a.Enrolled, found, err)
		}
	}
	for _, provider := range a.Providers {
		if id, state, ok, err := p.registry.ProviderByKey(t.Context(), provider.Key); !ok || err != nil || string(id) != provider.ID || state != registry.Active {
			t.Errorf("the key of %s is %s's: %v", provider.ID, id, err)
		}
	}
	return a
}

func TestFleetIsEnrolled(t *testing.T) {
	p := boot(t, upCommand{})
	f := newFleet(t, 1300)
	status, out, told := enrolFleet(t.Context(), p, f, "--cards", "701", "--providers", "2")
	if status != exitOK || !strings.Contains(out, "701 cards are enrolled, 701 of them now") || !strings.Contains(out, "which come from a pool of 16") {
		t.Fatalf("status %d, %s%s", status, out, told)
	}
	first := enrolledBy(t, p, f)
	if first.Enrolled != 701 || len(first.Providers) != 2 || first.URL != p.url() {
		t.Errorf("%+v", first)
	}
	kept, err := os.ReadFile(filepath.Join(f.Dir(), "load.json"))
	if err != nil || strings.Contains(string(kept)+out+told, p.demo.adminKey) || strings.Contains(out+told, first.Providers[0].Key) {
		t.Errorf("a key is told: %s %v", kept, err)
	}

	// It goes on from where it was; the providers' keys stay, but for one that
	// was renewed meanwhile.
	if _, err := p.registry.RenewProviderKey(t.Context(), "load-2", registry.Change{Actor: "somebody"}); err != nil {
		t.Fatal(err)
	}
	if status, out, told := enrolFleet(t.Context(), p, f); status != exitOK || !strings.Contains(out, "1,300 cards are enrolled, 599 of them now") {
		t.Fatalf("status %d, %s%s", status, out, told)
	}
	second := enrolledBy(t, p, f)
	if second.Enrolled != 1300 || len(second.Providers) != 3 || second.Providers[0] != first.Providers[0] || second.Providers[1].Key == first.Providers[1].Key {
		t.Errorf("%+v, then %+v", first, second)
	}
	if status, out, told := enrolFleet(t.Context(), p, f); status != exitOK || !strings.Contains(out, "1,300 cards are enrolled already") {
		t.Errorf("status %d, %s%s", status, out, told)
	}

	// Another gateway does not know them.
	other := boot(t, upCommand{})
	status, out, told = enrolFleet(t.Context(), other, f, "--cards", "600")
	if status != exitOK || !strings.Contains(told, "does not know the 1,300 cards") || !strings.Contains(out, "600 cards are enrolled, 600 of them now") {
		t.Errorf("status %d, %s%s", status, out, told)
	}
	if a := enrolledBy(t, other, f); a.Enrolled != 600 || a.URL != other.url() {
		t.Errorf("%+v", a)
	}
}

// between stands between a command and a gateway. each is called for each batch,
// and tells whether it goes on, and whether its answer comes back.
func between(t *testing.T, p *program, each func(n int64) (on, back bool)) string {
	t.Helper()
	to, err := url.Parse(p.url())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	var batches atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		on, back := true, true
		if r.URL.Path == "/v1/admin/subscribers" {
			on, back = each(batches.Add(1))
		}
		switch {
		case !on:
			panic(http.ErrAbortHandler)
		case !back:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	return server.URL
}

// An answer that is lost is asked for again, and is the same.
func TestAnswersToEnrolmentsAreLost(t *testing.T) {
	p := boot(t, upCommand{})
	f := newFleet(t, 650)
	through := between(t, p, func(n int64) (bool, bool) { return n%3 != 1, n%3 != 2 })
	if out, told, err := enrolInBatches(t.Context(), p, f, through, time.Minute); err != nil || !strings.Contains(out, "650 cards are enrolled") {
		t.Fatalf("%v %s%s", err, out, told)
	}
	if a := enrolledBy(t, p, f); a.Enrolled != 650 {
		t.Errorf("%+v", a)
	}
}

// What was done is kept when the gateway stops in the middle, or somebody stops
// the command, and running it again goes on.
func TestEnrolmentIsCutOff(t *testing.T) {
	p := boot(t, upCommand{})
	f := newFleet(t, 1250)
	gone := between(t, p, func(n int64) (bool, bool) { return n < 4, true })
	out, told, err := enrolInBatches(t.Context(), p, f, gone, 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "the gateway at "+gone) || !strings.Contains(told, "of 1,250 cards are enrolled; run it again to go on") {
		t.Errorf("%v %s%s", err, out, told)
	}
	before := enrolledBy(t, p, f)
	if before.Enrolled > 300 {
		t.Errorf("%+v", before)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	through := between(t, p, func(n int64) (bool, bool) {
		if n == 2 {
			stop()
		}
		return true, true
	})
	if _, told, err = enrolInBatches(ctx, p, f, through, time.Minute); !errors.Is(err, errStopped) || !strings.Contains(told, "run it again to go on") {
		t.Errorf("%v %s", err, told)
	}
	// What was under way was waited for.
	if after := enrolledBy(t, p, f); after.Enrolled < before.Enrolled+200 || after.Enrolled == 1250 {
		t.Errorf("%d, then %d", before.Enrolled, after.Enrolled)
	}
	if status, out, told := enrolFleet(t.Context(), p, f); status != exitOK || !strings.Contains(out, "1,250 cards are enrolled") {
		t.Errorf("status %d, %s%s", status, out, told)
	}
	if a := enrolledBy(t, p, f); a.Enrolled != 1250 {
		t.Errorf("%+v", a)
	}
}

func TestEnrolmentThatCannotBe(t *testing.T) {
	p := boot(t, upCommand{})
	f := newFleet(t, 20)
	for _, c := range []struct {
		status int
		told   string
		args   []string
	}{
		{exitUsage, "--cards: -1", []string{"--cards=-1"}}, {exitUsage, "--providers: 0", []string{"--providers", "0"}}, {exitUsage, "--providers: 101", []string{"--providers", "101"}},
		{exitFailure, "--cards: 21: the fleet in", []string{"--cards", "21"}}, {exitFailure, "--fleet: there are no cards in", []string{"--fleet", t.TempDir()}},
		{exitFailure, "the gateway at http://127.0.0.1:1: ", []string{"--url", "http://127.0.0.1:1"}},
		{exitRefused, "unauthorized", []string{"--key", "imza-a-wrong"}}, {exitRefused, "forbidden", []string{"--key", p.demo.managerKey}},
	} {
		if status, out, told := enrolFleet(t.Context(), p, f, c.args...); status != c.status || !strings.Contains(told, c.told) || out != "" {
			t.Errorf("%q: status %d, %s%s", c.args, status, out, told)
		}
	}
	if _, err := fleet.ReadAccess(f.Dir()); err == nil {
		t.Error("there is something to load")
	}
	// Somebody else has the number of card 12.
	who := f.Subscriber(12)
	iccid, err := simcard.NewICCID("8999409000000000012")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.registry.Enrol(t.Context(), registry.Person{MSISDN: who.MSISDN, ICCID: iccid, FIN: "9NEW001", GivenName: "A", Surname: "B", UserID: "123456"}, nil); err != nil {
		t.Fatal(err)
	}
	status, _, told := enrolFleet(t.Context(), p, f)
	if want := "already_enrolled (subscribers[12].msisdn): is on record with another card (card 12, " + string(who.MSISDN) + ")"; status != exitRefused || !strings.Contains(told, want) {
		t.Errorf("status %d, %s", status, told)
	}
	// A file that is no load.json is not written over.
	if err := os.WriteFile(filepath.Join(f.Dir(), "load.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, told := enrolFleet(t.Context(), p, f); status != exitFailure || !strings.Contains(told, "load.json: url") {
		t.Errorf("status %d, %s", status, told)
	}
}

func TestProgressIsToldInLines(t *testing.T) {
	var told bytes.Buffer
	p := newProgress(io.MultiWriter(&told), "enrolling", 1000, 1_000_000)
	p.add(500)
	if told.Len() > 0 {
		t.Errorf("too early: %s", &told)
	}
	p.told, p.began = p.told.Add(-tellEvery), p.began.Add(-tellEvery)
	p.add(500)
	p.add(500)
	p.close()
	if got := told.String(); !strings.HasPrefix(got, "enrolling: 2,000 of 1,000,000, ") || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := load.Thousands(n); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
}
