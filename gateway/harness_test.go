package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/simcard/toolkit"
	"imza/smpp"
)

// operator is an SMSC that the test plays: what the gateway submits waits here,
// and the test delivers what it likes.
type operator struct {
	t         *testing.T
	addr      string
	submitted chan *smpp.ShortMessage
	// onSubmit, if set, answers a submit_sm in place of "id-1", "id-2" …
	onSubmit func(context.Context, *smpp.Session, *smpp.ShortMessage, string) (string, smpp.Status)

	mu      sync.Mutex
	format  string // of ids, with the number of the message in it
	count   int
	session *smpp.Session
	bound   chan struct{}
}

func newOperator(t *testing.T) *operator {
	return &operator{t: t, format: "id-%d", submitted: make(chan *smpp.ShortMessage, 1000), bound: make(chan struct{})}
}

// listen takes connections at its address, or a free one, until the test ends.
func (o *operator) listen() {
	o.t.Helper()
	if o.addr == "" {
		o.addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = listener.Addr().String()
	server := &smpp.Server{Options: smpp.Options{Handler: o.submit, Window: 100}, Bound: func(s *smpp.Session) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.session = s
		select {
		case <-o.bound:
		default:
			close(o.bound)
		}
	}}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	o.t.Cleanup(func() { _ = server.Close(); <-done })
}

func (o *operator) submit(ctx context.Context, s *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	o.mu.Lock()
	o.count++
	id := fmt.Sprintf(o.format, o.count)
	o.mu.Unlock()
	if o.onSubmit != nil {
		return o.onSubmit(ctx, s, m, id)
	}
	o.submitted <- m
	return id, smpp.StatusOK
}

// next is the next message that the gateway submits.
func (o *operator) next() *smpp.ShortMessage {
	o.t.Helper()
	select {
	case m := <-o.submitted:
		return m
	case <-time.After(10 * time.Second):
		o.t.Fatal("nothing was submitted")
		return nil
	}
}

// deliver brings user data from a number to the gateway.
func (o *operator) deliver(from simcard.MSISDN, ud []byte) error {
	return o.send(&smpp.ShortMessage{Source: smpp.International(from.Digits()), Dest: smpp.Address{Addr: "7777"},
		ESMClass: smpp.ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0x04, Message: ud})
}

func (o *operator) send(m *smpp.ShortMessage) error {
	o.t.Helper()
	<-o.bound
	o.mu.Lock()
	s := o.session
	o.mu.Unlock()
	return s.Deliver(o.t.Context(), m)
}

func (o *operator) mustSend(m *smpp.ShortMessage) {
	o.t.Helper()
	if err := o.send(m); err != nil {
		o.t.Fatalf("deliver_sm: %v", err)
	}
}

func (o *operator) mustDeliver(from simcard.MSISDN, uds ...[]byte) {
	o.t.Helper()
	for _, ud := range uds {
		if err := o.deliver(from, ud); err != nil {
			o.t.Fatalf("deliver_sm: %v", err)
		}
	}
}

// telephone is a card in the hands of the test.
type telephone struct {
	t       *testing.T
	number  simcard.MSISDN
	iccid   simcard.ICCID
	card    *emulator.SIM
	channel *ota.Channel
}

const pin2 = "86420"

// answer gives a challenge's segments to the card, types PIN2, and returns the
// user data of the answer's segments.
func (p *telephone) answer(challenge ...*smpp.ShortMessage) (segments [][]byte) {
	p.t.Helper()
	var sw simcard.SW
	for _, m := range challenge {
		d := sms.Deliver{Originator: sms.Address{Type: 0x81, Digits: m.Source.Addr}, PID: m.ProtocolID, DCS: m.DataCoding,
			Timestamp: time.Now(), UDHI: true, UserData: m.Message}
		tpdu, err := d.Append(nil)
		if err != nil {
			p.t.Fatal(err)
		}
		sw = p.do(simcard.Command{CLA: 0x80, INS: 0xC2, Data: toolkit.SMSDownload(nil, tpdu)}).SW
	}
	for {
		n, more := sw.Proactive()
		if !more {
			return segments
		}
		c, err := toolkit.ParseCommand(p.do(simcard.Command{CLA: 0x80, INS: 0x12, Le: n}).Data)
		if err != nil {
			p.t.Fatal(err)
		}
		r := c.Respond(toolkit.Done)
		switch c.Type {
		case toolkit.GetInput:
			r.Text = &toolkit.Text{Coding: 4, Octets: []byte(pin2)}
		case toolkit.SendShortMessage:
			submit, err := sms.ParseSubmit(c.TPDU)
			if err != nil {
				p.t.Fatal(err)
			}
			segments = append(segments, submit.UserData)
		}
		sw = p.do(simcard.Command{CLA: 0x80, INS: 0x14, Data: r.Append(nil)}).SW
	}
}

func (p *telephone) do(c simcard.Command) simcard.Response {
	p.t.Helper()
	r, err := simcard.Do(p.card, c)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// forge seals any answer with the card's own keys: a card that went mad.
func (p *telephone) forge(counter uint64, a applet.Answer) [][]byte {
	p.t.Helper()
	return p.forgeRaw(ota.Response{Counter: counter, Data: a.Append(nil)})
}

func (p *telephone) forgeRaw(r ota.Response) [][]byte {
	p.t.Helper()
	packet, err := p.channel.SealResponse(r)
	if err != nil {
		p.t.Fatal(err)
	}
	segments, err := sms.Segment(sms.ResponsePacket, packet, 77)
	if err != nil {
		p.t.Fatal(err)
	}
	return segments
}

// world is a gateway with all that it needs.
type world struct {
	t           *testing.T
	redis       string
	gateway     *gateway.Gateway
	registry    *registry.Registry
	permissions *policy.Store
	operator    *operator
	metrics     *prometheus.Registry
	pool        *smpp.Pool // of the node that was made last
	log         *lockedBuffer
	config      gateway.Config
	short       bool // cards enrolled from now on give short answers
}

var masterKey = bytes.Repeat([]byte{0x4B}, 16)

const (
	provider = policy.Provider("bank")
	voen     = policy.VOEN("1234567890")
	fin      = policy.FIN("5ABC123")
	userID   = "271828"
)

// newWorld boots a gateway; its operator listens already.
func newWorld(t *testing.T, redis string) *world {
	t.Helper()
	o := newOperator(t)
	o.listen()
	return newWorldWith(t, redis, o)
}

func newWorldWith(t *testing.T, redis string, o *operator) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, redis: redis, operator: o, log: new(lockedBuffer)}
	dir := t.TempDir()
	db, dialect, err := registry.OpenDatabase(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if w.registry, err = registry.Open(ctx, db, dialect, []byte("pepper")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.registry.Close() })
	record, err := policy.OpenRecord(ctx, db, dialect)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.OpenAuthority(filepath.Join(dir, "ca"), "http://127.0.0.1:1", time.Now().UTC().Truncate(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.registry.SetProvider(ctx, provider, "Bank", "key"); err != nil {
		t.Fatal(err)
	}
	if err := w.registry.AddOrganisation(ctx, voen, "Nümunə"); err != nil {
		t.Fatal(err)
	}
	w.config = gateway.Config{Directory: w.registry, Journal: w.registry, Authority: authority, MasterKey: masterKey,
		Source: smpp.Address{TON: 3, Addr: "7777"}, PromptLimit: 100,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	w.permissions = &policy.Store{Record: record}
	w.gateway, w.metrics = w.node()
	t.Cleanup(w.noSecretsInTheLog)
	return w
}

// node runs one more gateway on the same Redis and record.
func (w *world) node() (*gateway.Gateway, *prometheus.Registry) {
	w.t.Helper()
	client, err := gateway.OpenRedis("redis://" + w.redis)
	if err != nil {
		w.t.Fatal(err)
	}
	c := w.config
	c.Redis = client
	c.Permissions = &policy.Store{Record: w.permissions.Record, Redis: client}
	w.permissions.Redis = client
	metrics := prometheus.NewRegistry()
	c.Metrics = metrics
	c.Network = new(smpp.Network)
	g := gateway.New(c)
	w.pool = &smpp.Pool{Name: "test", Addr: w.operator.addr, Bind: smpp.BindRequest{SystemID: "imza"}, Options: smpp.Options{Window: 100},
		Handler: g.Receive, Log: c.Log}
	if err := c.Network.Add(w.pool, "99450"); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	running.Go(func() { c.Network.Run(ctx) })
	w.t.Cleanup(func() { cancel(); running.Wait(); client.Close() })
	return g, metrics
}

// enrol records subscriber n with a business certificate and gives the test
// the telephone.
func (w *world) enrol(n int) *telephone {
	w.t.Helper()
	return w.enrolNumber(n, simcard.MSISDN(fmt.Sprintf("+99450%07d", n)))
}

func (w *world) enrolNumber(n int, number simcard.MSISDN) *telephone {
	w.t.Helper()
	p := &telephone{t: w.t, number: number}
	var err error
	if p.iccid, err = simcard.NewICCID(fmt.Sprintf("8999401%011d", n)); err != nil {
		w.t.Fatal(err)
	}
	keys, err := ota.DeriveKeys(masterKey, string(p.iccid))
	if err != nil {
		w.t.Fatal(err)
	}
	if p.channel, err = ota.NewChannel(applet.TAR, ota.Signing, keys); err != nil {
		w.t.Fatal(err)
	}
	profile := emulator.NewProfile(p.iccid, keys, "1111", pin2, "12345678")
	private, err := emulator.NewKey(applet.P256)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := profile.AddKey(1, applet.Sign, private); err != nil {
		w.t.Fatal(err)
	}
	cert, err := w.config.Authority.Issue(pki.Holder{FIN: string(fin), GivenName: "A", Surname: "B", VOEN: string(voen), Organisation: "Nümunə"},
		pki.Signing, private.Public(), time.Now().UTC().Truncate(time.Second))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := profile.SetCertificate(1, cert.Raw); err != nil {
		w.t.Fatal(err)
	}
	if p.card, err = emulator.NewSIM(profile, func(*emulator.Profile) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
	p.do(simcard.Command{CLA: 0x80, INS: simcard.TerminalProfile, Data: []byte{0xFF, 0xFF, 0xFF, 0x03}}) // all but a menu
	err = w.registry.Enrol(w.t.Context(), registry.Person{MSISDN: p.number, ICCID: p.iccid, FIN: fin, GivenName: "A", Surname: "B", UserID: userID, ShortAnswers: w.short},
		[]gateway.Certificate{{Serial: registry.Serial(cert.SerialNumber), Type: gateway.Business, VOEN: voen, Key: 1, X509: cert}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// request is a good one.
func request(p *telephone, timeout time.Duration) gateway.Request {
	digest := sha256.Sum256([]byte("document"))
	return gateway.Request{Provider: provider, MSISDN: p.number, UserID: userID, Wanted: gateway.Wanted{Type: gateway.Business},
		Algorithm: applet.SHA256, Digest: digest[:], Text: "Sign 12", Language: applet.English, Timeout: timeout}
}

func (w *world) admit(p *telephone, timeout time.Duration) *gateway.Transaction {
	w.t.Helper()
	t, err := w.gateway.Admit(w.t.Context(), request(p, timeout))
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// state waits for the end of a transaction, at most so long.
func (w *world) state(id string, wait time.Duration) gateway.State {
	w.t.Helper()
	t, err := w.gateway.Get(w.t.Context(), provider, id, wait)
	if err != nil {
		w.t.Fatal(err)
	}
	return t.State
}

// recorded waits until the journal has the end of a transaction.
func (w *world) recorded(id string) gateway.Entry {
	w.t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		e, err := w.registry.Find(w.t.Context(), id)
		if err == nil && e.State.Final() {
			return e
		}
		if err != nil && !errors.Is(err, gateway.ErrNotRecorded) {
			w.t.Fatal(err)
		}
		if time.Now().After(until) {
			w.t.Fatalf("the journal has no end of %s: %+v %v", id, e, err)
		}
	}
}

// awaitPolicy waits until a Redis server that has taken another's place counts.
func (w *world) awaitPolicy() {
	w.t.Helper()
	for until := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := w.permissions.Renew(w.t.Context())
		if err == nil {
			return
		}
		if time.Now().After(until) {
			w.t.Fatal(err)
		}
	}
}

func (w *world) block(allowed bool) {
	w.t.Helper()
	if _, err := w.permissions.Save(w.t.Context(), policy.Save{
		Employees: []policy.Employee{{VOEN: voen, FIN: fin}},
		Change:    func(_ policy.Employee, s policy.Set) (policy.Set, error) { return s.With(provider, allowed), nil },
	}); err != nil {
		w.t.Fatal(err)
	}
}

// dropped is how many messages were counted as dropped.
func (w *world) dropped() int { return w.count("imza_messages_dropped_total", "") }

// count is the value of a counter for one label value, or of all together.
func (w *world) count(name, label string) int {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := m.GetLabel() // in the order of their names; the last is what it is about
			if label == "" || labels[len(labels)-1].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return int(n)
}

// progresses waits until a transaction has come so far.
func (w *world) progresses(t *testing.T, id string, to gateway.Progress) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		tx, err := w.gateway.Get(t.Context(), provider, id, 0)
		if err != nil {
			t.Fatal(err)
		}
		if tx.Progress == to {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s, not %s", tx.Progress, to)
		}
	}
}

// noSecretsInTheLog holds S6 over whatever the test did.
func (w *world) noSecretsInTheLog() {
	keys, err := ota.DeriveKeys(masterKey, "x")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, secret := range []string{userID, pin2, hex.EncodeToString(masterKey), hex.EncodeToString(keys.KIc), "KKKK"} {
		if strings.Contains(w.log.String(), secret) {
			w.t.Errorf("the log has the secret %q", secret)
		}
	}
}

// lockedBuffer is a log that many write and the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lastID is the id that the operator gave last.
func (o *operator) lastID() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return fmt.Sprintf(o.format, o.count)
}

// unusedAddr is an address at which nobody listens.
func unusedAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
