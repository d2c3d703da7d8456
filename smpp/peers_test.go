package smpp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imza/smpp"
)

// The peers_*_test.go files put other implementations of SMPP at the far side:
// as ESMEs at our Server, and as SMSCs for our ESME. All that crosses the
// connection is tapped, and tshark is the judge of it.

// peerLimit bounds one exchange with a peer, its start included.
const peerLimit = 15 * time.Second

// The bind and the addresses that all exchanges use.
const (
	peerSystemID = "imza"
	peerPassword = "secret"
	peerSender   = "imza"
	peerNumber   = "994500000001"
)

// What TS 31.115 wants to be seen of a message for or from the SIM: an 8-bit
// message of class 2 for the (U)SIM Data Download.
const (
	dataDownload = 0x7F
	class2       = 0xF6
)

// deliver sends one deliver_sm and waits until it is acknowledged.
type deliver func(context.Context, *smpp.ShortMessage) error

// submit sends the segments of a message and returns the SMSC's id of each.
type submit func(context.Context, ...*smpp.ShortMessage) (ids []string, err error)

// startSMSC runs our server until the test ends. Each session that a peer binds
// comes out of bound.
func startSMSC(t *testing.T, handler func(*smpp.ShortMessage) (id string)) (addr string, bound <-chan deliver) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sessions := make(chan deliver, 10)
	server := &smpp.Server{
		Account: func(systemID string) (smpp.Account, bool) {
			return smpp.Account{Password: peerPassword}, systemID == peerSystemID
		},
		Bound: func(s *smpp.Session) { sessions <- s.Deliver },
		Options: smpp.Options{SystemID: "smsc", Enquire: peerEnquire,
			Malformed: func(err error) { t.Errorf("the peer sent what we refuse: %v", err) },
			Handler: func(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
				return handler(m), smpp.StatusOK
			}},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String(), sessions
}

// startESME keeps our ESME bound until unbind is called, or the test ends.
func startESME(t *testing.T, addr string, handler func(*smpp.ShortMessage)) (send submit, unbind func()) {
	t.Helper()
	esme := &smpp.Pool{
		Name: "peer", Addr: addr, Bind: smpp.BindRequest{SystemID: peerSystemID, Password: peerPassword},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Options: smpp.Options{Enquire: peerEnquire,
			Malformed: func(err error) { t.Errorf("the peer sent what we refuse: %v", err) }},
		Handler: func(_ context.Context, _ *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
			handler(m)
			return smpp.StatusOK
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); esme.Run(ctx) }()
	unbind = func() { cancel(); <-stopped }
	t.Cleanup(unbind)
	return func(ctx context.Context, messages ...*smpp.ShortMessage) ([]string, error) {
		return esme.Submit(ctx, func() error { return nil }, messages...)
	}, unbind
}

// encode writes a submit_sm.
func encode(t *testing.T, m *smpp.ShortMessage) []byte {
	t.Helper()
	body, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return (&smpp.PDU{Command: smpp.SubmitSM, Sequence: 1, Body: body}).Append(nil)
}

// peerEnquire is short, so that enquire_link is seen in each exchange.
const peerEnquire = 200 * time.Millisecond

// octets are the bodies of two messages, with all values of an octet between
// them, behind the security header for the SIM (70) or from it (71).
func octets(header byte) [][]byte {
	bodies := make([][]byte, 2)
	for i := range bodies {
		bodies[i] = []byte{2, header, 0}
		for n := range 128 {
			bodies[i] = append(bodies[i], byte(128*i+n))
		}
	}
	return bodies
}

// toSIM and fromSIM are what octets look like on their way.
func toSIM(body []byte) *smpp.ShortMessage {
	return &smpp.ShortMessage{
		Source: smpp.Address{TON: 5, Addr: peerSender}, Dest: smpp.International(peerNumber),
		ESMClass: smpp.ESMClassUDHI, ProtocolID: dataDownload, DataCoding: class2,
		RegisteredDelivery: smpp.ReceiptOnFinal, Validity: smpp.RelativeTime(2 * time.Minute), Message: body,
	}
}

func fromSIM(body []byte) *smpp.ShortMessage {
	return &smpp.ShortMessage{
		Source: smpp.International(peerNumber), Dest: smpp.Address{TON: 5, Addr: peerSender},
		ESMClass: smpp.ESMClassUDHI, ProtocolID: dataDownload, DataCoding: class2, Message: body,
	}
}

// mailbox keeps what our side took, until it is asked for.
type mailbox struct{ messages chan *smpp.ShortMessage }

func newMailbox() mailbox { return mailbox{make(chan *smpp.ShortMessage, 100)} }

func (b mailbox) take(ctx context.Context, t *testing.T, n int) (taken []*smpp.ShortMessage) {
	t.Helper()
	for range n {
		select {
		case m := <-b.messages:
			taken = append(taken, m)
		case <-ctx.Done():
			t.Fatalf("%d messages came, %d were due: %v", len(taken), n, ctx.Err())
		}
	}
	return taken
}

// checkBodies reports what differs. The order does not count: messages are
// handled beside each other.
func checkBodies(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	rest := make(map[string]int)
	for _, body := range want {
		rest[string(body)]++
	}
	for _, body := range got {
		if rest[string(body)] == 0 {
			t.Errorf("%s: % x is not what was sent", what, body)
		}
		rest[string(body)]--
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d messages, want %d", what, len(got), len(want))
	}
}

// checkOTA checks what our side made of messages for or from the SIM.
func checkOTA(t *testing.T, got []*smpp.ShortMessage, want [][]byte, source, dest string) {
	t.Helper()
	var bodies [][]byte
	for _, m := range got {
		bodies = append(bodies, m.Message)
		if m.ESMClass&smpp.ESMClassUDHI == 0 || m.ProtocolID != dataDownload || m.DataCoding != class2 {
			t.Errorf("esm_class %02x, protocol_id %02x, data_coding %02x", m.ESMClass, m.ProtocolID, m.DataCoding)
		}
		if m.Source.Addr != source || m.Dest.Addr != dest {
			t.Errorf("from %q to %q, want %q to %q", m.Source.Addr, m.Dest.Addr, source, dest)
		}
	}
	checkBodies(t, "what our side took", bodies, want)
}

// foreignESME is another implementation, bound to our SMSC. What goes wrong is
// fatal to the test.
type foreignESME interface {
	// submit sends messages, each of which asks for a receipt, and returns the
	// ids that the SMSC gave, once all are acknowledged.
	submit(ctx context.Context, bodies [][]byte) (ids []string)
	// receipt is the next receipt: of which message, and its state as the text
	// of a receipt has it.
	receipt(ctx context.Context) (id, stat string)
	// message is the body of the next message.
	message(ctx context.Context) []byte
	// unbind returns once the peer has gone.
	unbind(ctx context.Context)
}

// quirks are what peers do each in their own way.
type quirks struct {
	enquires bool // sends enquire_link within the exchange
}

// exchangeWithESME starts a peer at our SMSC, and goes through all that an ESME
// does there.
func exchangeWithESME(t *testing.T, start func(ctx context.Context, t *testing.T, addr string) foreignESME, quirks quirks) {
	needJudge(t)
	ctx, cancel := context.WithTimeout(t.Context(), peerLimit)
	defer cancel()
	box, number := newMailbox(), atomic.Int64{}
	addr, bound := startSMSC(t, func(m *smpp.ShortMessage) string {
		box.messages <- m
		return fmt.Sprintf("a%d", number.Add(1))
	})
	tap := startTap(t, addr)
	peer := start(ctx, t, tap.addr)
	var send deliver
	select {
	case send = <-bound:
	case <-ctx.Done():
		t.Fatal("the peer did not bind")
	}

	ids := peer.submit(ctx, octets(0x70))
	taken := box.take(ctx, t, 2)
	checkOTA(t, taken, octets(0x70), peerSender, peerNumber)
	for _, m := range taken {
		if m.RegisteredDelivery&smpp.ReceiptOnFinal == 0 {
			t.Errorf("registered_delivery %02x asks for no receipt", m.RegisteredDelivery)
		}
	}
	deliverReceipts(ctx, t, send, taken[0], peer, ids)
	for _, body := range octets(0x71) {
		if err := send(ctx, fromSIM(body)); err != nil {
			t.Errorf("deliver_sm: %v", err)
		}
		if got := peer.message(ctx); !bytes.Equal(got, body) {
			t.Errorf("the peer took\n% x, sent was\n% x", got, body)
		}
	}
	tap.await(ctx, t, fromESME, smpp.EnquireLinkResp)
	if quirks.enquires {
		tap.await(ctx, t, fromSMSC, smpp.EnquireLinkResp)
	}
	peer.unbind(ctx)
	tap.await(ctx, t, fromSMSC, smpp.UnbindResp)
	judge(t, tap.dissect(ctx, t), quirks)
}

// deliverReceipts delivers one receipt of success and one of failure.
func deliverReceipts(ctx context.Context, t *testing.T, send deliver, m *smpp.ShortMessage, peer foreignESME, ids []string) {
	t.Helper()
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("the peer was given the ids a1 and a2, and has %q", ids)
	}
	for i, state := range []smpp.State{smpp.Delivered, smpp.Undeliverable} {
		r := smpp.NewReceipt(m, smpp.Receipt{MessageID: ids[i], State: state}, time.Now(), time.Now())
		if err := send(ctx, r); err != nil {
			t.Errorf("deliver_sm of a receipt: %v", err)
		}
		if id, stat := peer.receipt(ctx); id != ids[i] || stat != state.String() {
			t.Errorf("the peer took a receipt of %q, %s; want %q, %s", id, stat, ids[i], state)
		}
	}
}

// exchangeWithSMSC binds our ESME to a script that is an SMSC, and goes through
// all that an SMSC does. The scripts are alike: see testdata/peers/README.md.
func exchangeWithSMSC(t *testing.T, start func(ctx context.Context, t *testing.T, args ...string) *process) {
	needJudge(t)
	ctx, cancel := context.WithTimeout(t.Context(), peerLimit)
	defer cancel()
	args := []string{peerSystemID, peerPassword, "2"}
	for _, body := range octets(0x71) {
		args = append(args, fmt.Sprintf("%x", body))
	}
	script := start(ctx, t, args...)
	tap := startTap(t, fmt.Sprintf("127.0.0.1:%d", script.next(ctx, "listening").Port))
	box := newMailbox()
	send, unbind := startESME(t, tap.addr, func(m *smpp.ShortMessage) { box.messages <- m })

	var segments []*smpp.ShortMessage
	for _, body := range octets(0x70) {
		segments = append(segments, toSIM(body))
	}
	ids, err := send(ctx, segments...)
	if err != nil {
		t.Fatalf("submit_sm: %v", err)
	}
	checkSubmitted(ctx, t, script, ids)
	checkTaken(t, box.take(ctx, t, 4), ids)
	for range 4 {
		if e := script.next(ctx, "deliver_sm_resp"); e.Status != 0 || !e.Expected {
			t.Errorf("deliver_sm was answered with %+v", e)
		}
	}
	if e := script.next(ctx, "enquire_link_resp"); e.Status != 0 || !e.Expected {
		t.Errorf("enquire_link was answered with %+v", e)
	}
	tap.await(ctx, t, fromSMSC, smpp.EnquireLinkResp)
	unbind()
	script.next(ctx, "unbind")
	script.wait(ctx)
	judge(t, tap.dissect(ctx, t), quirks{enquires: true})
}

// checkSubmitted compares what the SMSC saw with what we sent.
func checkSubmitted(ctx context.Context, t *testing.T, script *process, ids []string) {
	t.Helper()
	var bodies [][]byte
	var given []string
	for range 2 {
		e := script.next(ctx, "submit_sm")
		bodies, given = append(bodies, e.body(t)), append(given, e.ID)
		if e.ESMClass != 0x40 || e.ProtocolID != dataDownload || e.DataCoding != class2 || e.RegisteredDelivery != 1 {
			t.Errorf("the peer took %+v", e)
		}
		if e.Source != peerSender || e.Dest != peerNumber {
			t.Errorf("from %q to %q", e.Source, e.Dest)
		}
	}
	checkBodies(t, "what the peer took", bodies, octets(0x70))
	if strings.Join(ids, " ") != strings.Join(given, " ") {
		t.Errorf("ids %q, the peer gave %q", ids, given)
	}
}

// checkTaken checks the receipts and messages that the SMSC sent.
func checkTaken(t *testing.T, taken []*smpp.ShortMessage, ids []string) {
	t.Helper()
	var messages []*smpp.ShortMessage
	states := make(map[string]smpp.State)
	for _, m := range taken {
		if !m.IsReceipt() {
			messages = append(messages, m)
			continue
		}
		r, err := smpp.ParseReceipt(m)
		if err != nil {
			t.Errorf("receipt %q: %v", m.Message, err)
		}
		states[r.MessageID] = r.State
	}
	checkOTA(t, messages, octets(0x71), peerNumber, peerSender)
	if len(states) != 2 || states[ids[0]] != smpp.Delivered || states[ids[1]] != smpp.Undeliverable {
		t.Errorf("receipts %v of %q", states, ids)
	}
}

func TestNodeServerAsSMSC(t *testing.T) {
	exchangeWithSMSC(t, func(ctx context.Context, t *testing.T, args ...string) *process {
		needNode(t)
		return startProcess(ctx, t, "node", append([]string{"testdata/peers/server.js"}, args...)...)
	})
}

func TestNetSMPPAsSMSC(t *testing.T) {
	exchangeWithSMSC(t, func(ctx context.Context, t *testing.T, args ...string) *process {
		needPerlModule(t, "Net::SMPP")
		return startProcess(ctx, t, "perl", append([]string{"testdata/peers/server.pl"}, args...)...)
	})
}
