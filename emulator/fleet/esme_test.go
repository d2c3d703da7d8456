package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// document is what everybody signs.
var document = []byte("document")

// start runs the operators of a fleet.
func start(t testing.TB, f *Fleet, scenario string, o Options) *Emulator {
	t.Helper()
	s, err := ParseScenario([]byte(scenario))
	if err != nil {
		t.Fatal(err)
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	e, err := Start(f, s, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// esme asks people as a gateway does, over the operators that the folder's file
// tells of.
type esme struct {
	testing.TB
	fleet     *Fleet
	sessions  []*smpp.Session // by operator
	passwords []string
	text      string // that people are shown

	mu       sync.Mutex
	segments sms.Reassembler
	waiting  map[string]chan outcome // by number
	refused  atomic.Int64            // packets, of which a copy may have been carried out
}

// outcome is what came of a challenge: an answer, or the state in a receipt of
// one that did not arrive.
type outcome struct {
	answer applet.Answer
	state  smpp.State
}

func (o outcome) String() string {
	switch {
	case o.state == smpp.Undeliverable:
		return "undeliverable"
	case o.state != 0:
		return "expired"
	}
	return o.answer.Result.String()
}

const asker = "994500000000"

func newESME(t testing.TB, f *Fleet) *esme {
	t.Helper()
	g := &esme{TB: t, fleet: f, text: "Sign?", waiting: make(map[string]chan outcome), segments: sms.Reassembler{Expiry: time.Minute, Most: 10_000}}
	text, err := os.ReadFile(filepath.Join(f.dir, "operators.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file operatorsFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for i, o := range file.Operators {
		if o.Name != f.plan.Operators[i].Name || o.Prefixes[0] != "+"+f.plan.Operators[i].Prefix {
			t.Fatalf("operators.yaml has %+v", o)
		}
		password, err := os.ReadFile(filepath.Join(f.dir, o.SMSC.PasswordFile))
		if err != nil {
			t.Fatal(err)
		}
		g.passwords = append(g.passwords, strings.TrimSpace(string(password)))
		s, err := smpp.Bind(t.Context(), dial(t, o.SMSC.Addr, time.Now()), smpp.BindTransceiver, smpp.BindRequest{SystemID: o.SMSC.SystemID, Password: g.passwords[i]},
			smpp.Options{Window: o.SMSC.Window, Handler: g.take})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		g.sessions = append(g.sessions, s)
	}
	return g
}

// dial connects, if need be when somebody is there.
func dial(t testing.TB, addr string, deadline time.Time) net.Conn {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// packet is a challenge for a card, in as many messages as it needs.
func (g *esme) packet(i int, counter uint64, short bool) (all []*smpp.ShortMessage) {
	g.Helper()
	s := g.fleet.Subscriber(i)
	digest := sha256.Sum256(document)
	c := applet.Challenge{Short: short && s.ShortAnswers, Operation: applet.Sign, Key: firstKey, Algorithm: 1, Digest: digest[:],
		Time: time.Unix(1_800_000_000, 0), Language: applet.English, Text: g.text}
	binary.BigEndian.PutUint64(c.Reference[:], counter)
	data, err := c.Append(nil)
	if err != nil {
		g.Fatal(err)
	}
	packet, err := g.channel(i).SealCommand(counter, data)
	if err != nil {
		g.Fatal(err)
	}
	parts, err := sms.Segment(sms.CommandPacket, packet, byte(counter))
	if err != nil {
		g.Fatal(err)
	}
	for _, ud := range parts {
		all = append(all, &smpp.ShortMessage{Source: smpp.International(asker), Dest: smpp.International(s.MSISDN.Digits()),
			ESMClass: smpp.ESMClassUDHI, ProtocolID: sms.PIDDataDownload, DataCoding: sms.DCSClass2Binary, RegisteredDelivery: smpp.ReceiptOnFinal, Message: ud})
	}
	return all
}

func (g *esme) channel(i int) *ota.Channel {
	g.Helper()
	keys, err := ota.DeriveKeys(g.fleet.MasterKey(), string(g.fleet.Subscriber(i).ICCID))
	if err != nil {
		g.Fatal(err)
	}
	channel, err := ota.NewChannel(applet.TAR, ota.Signing, keys)
	if err != nil {
		g.Fatal(err)
	}
	return channel
}

// ask sends a challenge to a card and tells what came of it; "nothing" where
// nothing comes in time.
func (g *esme) ask(i int, counter uint64, patience time.Duration) string {
	g.Helper()
	text, _ := g.askIn(i, counter, patience, true)
	return text
}

func (g *esme) askIn(i int, counter uint64, patience time.Duration, short bool) (string, applet.Answer) {
	g.Helper()
	came := g.await(i)
	for _, m := range g.packet(i, counter, short) {
		if _, err := g.sessions[i%len(g.sessions)].Submit(g.Context(), m); err != nil {
			g.Fatal(err)
		}
	}
	select {
	case o := <-came:
		return o.String(), o.answer
	case <-time.After(patience):
		return "nothing", applet.Answer{}
	}
}

// await gives a channel for what comes of challenges to a card from now on.
func (g *esme) await(i int) chan outcome {
	came := make(chan outcome, 10)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[g.fleet.Subscriber(i).MSISDN.Digits()] = came
	return came
}

// take takes what the operators bring.
func (g *esme) take(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.IsReceipt() {
		r, err := smpp.ParseReceipt(m)
		if err != nil {
			g.Error(err)
		} else if r.State != smpp.Delivered {
			g.waiting[m.Source.Addr] <- outcome{state: r.State}
		}
		return "", smpp.StatusOK
	}
	part, err := sms.ParseUserData(m.Message)
	if err != nil {
		g.Error(err)
		return "", smpp.StatusOK
	}
	message, whole, err := g.segments.Add(m.Source.Addr, part, time.Now())
	if err != nil || !whole {
		return "", smpp.StatusOK
	}
	i, ok := g.index(m.Source.Addr)
	if !ok {
		g.Errorf("%s is nobody's", m.Source.Addr)
		return "", smpp.StatusOK
	}
	r, err := g.channel(i).OpenResponse(message.Payload)
	if err != nil {
		g.Error(err)
		return "", smpp.StatusOK
	}
	if r.Status != ota.StatusOK {
		g.refused.Add(1)
		return "", smpp.StatusOK
	}
	var o outcome
	if o.answer, err = applet.ParseAnswer(r.Data); err != nil {
		g.Error(err)
	}
	select {
	case g.waiting[m.Source.Addr] <- o:
	default:
	}
	return "", smpp.StatusOK
}

func (g *esme) index(number string) (int, bool) {
	for operator := range g.fleet.plan.Operators {
		n := network{people: &crowd{fleet: g.fleet}, operator: operator}
		if i, ok := n.index(number); ok {
			return i, true
		}
	}
	return 0, false
}
