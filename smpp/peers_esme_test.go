package smpp_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	foreign "github.com/fiorix/go-smpp/smpp"
	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
)

// This file has the foreign ESMEs.

func TestNodeClientAsESME(t *testing.T) {
	exchangeWithESME(t, startNodeESME, quirks{enquires: true})
}

// go-smpp cannot be made to send enquire_link more often than every 10 s.
func TestGoSMPPAsESME(t *testing.T) {
	exchangeWithESME(t, startGoSMPP, quirks{})
}

func TestKannelAsESME(t *testing.T) {
	exchangeWithESME(t, startKannel, quirks{enquires: true})
}

// nodeESME is testdata/peers/client.js.
type nodeESME struct {
	t      *testing.T
	script *process
}

func startNodeESME(ctx context.Context, t *testing.T, addr string) foreignESME {
	needNode(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	script := startProcess(ctx, t, "node", "testdata/peers/client.js", host, port, peerSystemID, peerPassword, peerSender, peerNumber)
	if e := script.next(ctx, "bound"); e.Status != 0 {
		t.Fatalf("bind: %+v", e)
	}
	return &nodeESME{t, script}
}

func (e *nodeESME) submit(ctx context.Context, bodies [][]byte) (ids []string) {
	for _, body := range bodies {
		e.script.tell(fmt.Sprintf("%x\n", body))
	}
	for range bodies {
		answer := e.script.next(ctx, "submit_sm_resp")
		if answer.Status != 0 {
			e.t.Errorf("submit_sm was answered with %+v", answer)
		}
		ids = append(ids, answer.ID)
	}
	return ids
}

func (e *nodeESME) receipt(ctx context.Context) (id, stat string) {
	r := e.script.next(ctx, "receipt")
	return r.ID, r.Stat
}

func (e *nodeESME) message(ctx context.Context) []byte {
	m := e.script.next(ctx, "deliver_sm")
	if m.ESMClass != 0x40 || m.ProtocolID != dataDownload || m.DataCoding != class2 || m.Source != peerNumber || m.Dest != peerSender {
		e.t.Errorf("the peer took %+v", m)
	}
	return m.body(e.t)
}

func (e *nodeESME) unbind(ctx context.Context) {
	e.script.endOfInput()
	e.script.next(ctx, "unbind_resp")
	e.script.wait(ctx)
}

// goSMPP is go-smpp's Transceiver.
type goSMPP struct {
	t         *testing.T
	client    *foreign.Transceiver
	delivered chan delivered
}

// delivered is what go-smpp makes of a deliver_sm.
type delivered struct {
	esmClass, protocolID, dataCoding byte
	source, dest                     string
	body                             []byte
}

func startGoSMPP(ctx context.Context, t *testing.T, addr string) foreignESME {
	e := &goSMPP{t: t, delivered: make(chan delivered, 10)}
	e.client = &foreign.Transceiver{Addr: addr, User: peerSystemID, Passwd: peerPassword, RespTimeout: peerLimit,
		Handler: func(p pdu.Body) {
			if p.Header().ID == pdu.DeliverSMID {
				e.delivered <- readDelivered(p.Fields())
			}
		}}
	status := e.client.Bind()
	t.Cleanup(func() { _ = e.client.Close() })
	select {
	case s := <-status:
		if s.Status() != foreign.Connected {
			t.Fatalf("bind: %v", s.Error())
		}
	case <-ctx.Done():
		t.Fatal("bind: no answer")
	}
	return e
}

// readDelivered takes the body first. The strings of other fields end in a NUL
// that go-smpp appends, and behind an empty information element, as 71 00 is,
// that NUL falls on the first octet of the text: so the header is put together
// from its parts, and none of them is asked for its Bytes.
func readDelivered(f pdufield.Map) (d delivered) {
	if header, ok := f[pdufield.GSMUserData].(*pdufield.UDHList); ok {
		d.body = []byte{f[pdufield.UDHLength].(*pdufield.Fixed).Data}
		for _, element := range header.Data {
			d.body = append(d.body, element.IEI.Data, element.IELength.Data)
			d.body = append(d.body, element.IEData.Data...)
		}
	}
	d.body = append(d.body, f[pdufield.ShortMessage].(*pdufield.SM).Data...)
	d.esmClass = f[pdufield.ESMClass].(*pdufield.Fixed).Data
	d.protocolID = f[pdufield.ProtocolID].(*pdufield.Fixed).Data
	d.dataCoding = f[pdufield.DataCoding].(*pdufield.Fixed).Data
	d.source = f[pdufield.SourceAddr].String()
	d.dest = f[pdufield.DestinationAddr].String()
	return d
}

// class2Text is a text that go-smpp leaves as it is, with a data_coding that it
// does not know.
type class2Text []byte

func (c class2Text) Type() pdutext.DataCoding { return class2 }
func (c class2Text) Encode() []byte           { return c }
func (c class2Text) Decode() []byte           { return c }

func (e *goSMPP) submit(_ context.Context, bodies [][]byte) (ids []string) {
	for _, body := range bodies {
		sent, err := e.client.Submit(&foreign.ShortMessage{
			SourceAddrTON: 5, Src: peerSender, DestAddrTON: 1, DestAddrNPI: 1, Dst: peerNumber,
			ESMClass: 0x40, ProtocolID: dataDownload, Register: pdufield.FinalDeliveryReceipt, Text: class2Text(body),
		})
		if err != nil {
			e.t.Fatalf("submit_sm: %v", err)
		}
		ids = append(ids, sent.RespID())
	}
	return ids
}

func (e *goSMPP) next(ctx context.Context) (d delivered) {
	select {
	case d = <-e.delivered:
	case <-ctx.Done():
		e.t.Fatal("go-smpp was delivered nothing")
	}
	if d.source != peerNumber || d.dest != peerSender {
		e.t.Errorf("from %q to %q", d.source, d.dest)
	}
	return d
}

// receiptText is a receipt's text (SMPP 3.4 appendix B).
var receiptText = regexp.MustCompile(`^id:(\S+) .*\bstat:(\S+) `)

func (e *goSMPP) receipt(ctx context.Context) (id, stat string) {
	d := e.next(ctx)
	match := receiptText.FindSubmatch(d.body)
	if d.esmClass != 0x04 || match == nil {
		e.t.Fatalf("%02x %q is no receipt", d.esmClass, d.body)
	}
	return string(match[1]), string(match[2])
}

func (e *goSMPP) message(ctx context.Context) []byte {
	d := e.next(ctx)
	if d.esmClass != 0x40 || d.protocolID != dataDownload || d.dataCoding != class2 {
		e.t.Errorf("the peer took %+v", d)
	}
	return d.body
}

func (e *goSMPP) unbind(context.Context) {
	if err := e.client.Close(); err != nil {
		e.t.Errorf("unbind: %v", err)
	}
}

// kannel is Kannel: bearerbox, that speaks SMPP, and smsbox, that speaks HTTP.
type kannel struct {
	t                 *testing.T
	sendsms           string // URL
	callbacks         string // URL of our HTTP server
	reports           chan url.Values
	messages          chan url.Values
	bearerbox, smsbox *process
}

// Debian has them where a user's PATH does not lead.
const bearerbox, smsbox = "/usr/sbin/bearerbox", "/usr/sbin/smsbox"

func startKannel(ctx context.Context, t *testing.T, addr string) foreignESME {
	needCommands(t, bearerbox, smsbox)
	k := &kannel{t: t, reports: make(chan url.Values, 10), messages: make(chan url.Values, 10)}
	server := httptest.NewServer(http.HandlerFunc(k.callback))
	t.Cleanup(server.Close)
	k.callbacks = server.URL
	box, sendsms := freePort(t), freePort(t)
	k.sendsms = "http://" + sendsms + "/cgi-bin/sendsms"
	conf := k.configure(addr, map[string]string{"ADMIN_PORT": freePort(t), "SMSBOX_PORT": box, "SENDSMS_PORT": sendsms})
	k.bearerbox = startProcess(ctx, t, bearerbox, "-v", "0", conf)
	k.bearerbox.awaitListener(ctx, box)
	k.smsbox = startProcess(ctx, t, smsbox, "-v", "0", conf)
	k.smsbox.awaitListener(ctx, sendsms)
	return k
}

// configure fills testdata/peers/kannel.conf in. The addresses are host:port.
func (k *kannel) configure(smsc string, listen map[string]string) (file string) {
	k.t.Helper()
	words := []string{"SYSTEM_ID", peerSystemID, "PASSWORD", peerPassword, "CALLBACKS", k.callbacks}
	listen["SMSC_PORT"] = smsc
	for word, addr := range listen {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			k.t.Fatal(err)
		}
		words = append(words, word, port)
	}
	template, err := os.ReadFile("testdata/peers/kannel.conf")
	if err != nil {
		k.t.Fatal(err)
	}
	file = filepath.Join(k.t.TempDir(), "kannel.conf")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(words...).Replace(string(template))), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return file
}

// callback takes what Kannel reports: see the URLs in its configuration.
func (k *kannel) callback(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/report":
		k.reports <- r.URL.Query()
	case "/message":
		k.messages <- r.URL.Query()
	default:
		http.NotFound(w, r)
	}
}

func (k *kannel) next(ctx context.Context, from chan url.Values) url.Values {
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		k.t.Fatal("Kannel reported nothing")
		return nil
	}
}

// kannelAccepted is the dlr_mask of "the SMSC has accepted it".
const kannelAccepted = "8"

func (k *kannel) submit(ctx context.Context, bodies [][]byte) (ids []string) {
	for _, body := range bodies {
		k.sendSMS(ctx, body)
	}
	for range bodies {
		report := k.next(ctx, k.reports)
		if report.Get("status") != kannelAccepted {
			k.t.Errorf("Kannel reports %q", report)
		}
		ids = append(ids, report.Get("id"))
	}
	return ids
}

func (k *kannel) sendSMS(ctx context.Context, body []byte) {
	k.t.Helper()
	query := url.Values{
		"username": {"imza"}, "password": {peerPassword}, "from": {peerSender}, "to": {peerNumber},
		"coding": {"1"}, "mclass": {"2"}, "pid": {strconv.Itoa(dataDownload)}, "alt-dcs": {"1"},
		"udh": {string(body[:3])}, "text": {string(body[3:])},
		"dlr-mask": {"31"}, "dlr-url": {k.callbacks + "/report?status=%d&id=%F"},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.sendsms+"?"+query.Encode(), nil)
	if err != nil {
		k.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		k.t.Fatalf("sendsms: %v", err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		k.t.Fatalf("sendsms: %s", response.Status)
	}
}

func (k *kannel) receipt(ctx context.Context) (id, stat string) {
	report := k.next(ctx, k.reports)
	return report.Get("id"), map[string]string{"1": "DELIVRD", "2": "UNDELIV"}[report.Get("status")]
}

func (k *kannel) message(ctx context.Context) []byte {
	m := k.next(ctx, k.messages)
	// Kannel writes an international number with its plus, and counts coding from
	// 7-bit, 8-bit.
	if m.Get("from") != "+"+peerNumber || m.Get("to") != peerSender || m.Get("coding") != "1" || m.Get("mclass") != "2" {
		k.t.Errorf("Kannel took %q", m)
	}
	return []byte(m.Get("udh") + m.Get("text"))
}

func (k *kannel) unbind(ctx context.Context) {
	k.bearerbox.interrupt()
	k.bearerbox.wait(ctx)
	k.smsbox.wait(ctx) // it follows
}

// freePort is an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
