package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

type smppCommand struct {
	Decode smppDecodeCommand `cmd:"" help:"Explain PDUs: their fields, TLVs, user data header and security header."`
	Ping   smppPingCommand   `cmd:"" help:"Bind to a message centre, print what it announces, and time enquire_link."`
}

type smppDecodeCommand struct {
	PDU      []string `arg:"" optional:"" name:"hex" help:"Whole PDUs, from command_length on; blanks and line ends are passed over. Without it they are read from the standard input."`
	Password bool     `help:"Print passwords, too."`

	in io.Reader
}

// Run explains one PDU after the other, down to the first that is none.
func (c *smppDecodeCommand) Run(s streams) error {
	text := strings.Join(c.PDU, "")
	if text == "" {
		in := c.in
		if in == nil {
			in = os.Stdin
		}
		all, err := io.ReadAll(io.LimitReader(in, 64<<20))
		if err != nil {
			return err
		}
		text = string(all)
	}
	raw, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return fmt.Errorf("this is not hex: %w", err)
	}
	if len(raw) == 0 {
		return errors.New("there is no PDU")
	}
	for rest := bytes.NewReader(raw); rest.Len() > 0; {
		at := len(raw) - rest.Len()
		p, err := smpp.ReadPDU(rest, smpp.MaxPDU)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = fmt.Errorf("the PDU at octet %d is cut off: %d octets are here", at, len(raw)-at)
		}
		if err != nil {
			return err
		}
		if err := c.explain(s.out, p); err != nil {
			return err
		}
	}
	return nil
}

// explain prints the fields of one PDU, those before an error too.
func (c *smppDecodeCommand) explain(w io.Writer, p smpp.PDU) error {
	fmt.Fprintf(w, "%s, %d octets, sequence %d", p.Command, 16+len(p.Body), p.Sequence)
	if p.Command&(1<<31) != 0 || p.Status != 0 {
		fmt.Fprintf(w, ", %s", p.Status.Text())
	}
	fmt.Fprintln(w)
	fields, failed := smpp.Explain(p)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.Name == "password" && !c.Password {
			f.Value = "(not printed)"
		}
		fmt.Fprintf(table, "  %4d\t%s\t%s\n", f.Offset, f.Name, fieldValue(f))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	body, err := smpp.Parse(p.Command, p.Body)
	if err != nil {
		return err
	}
	switch m := body.(type) {
	case *smpp.ShortMessage:
		explainMessage(w, m)
	case *smpp.Data:
		explainMessage(w, m.ShortMessage())
	}
	fmt.Fprintln(w)
	return nil
}

func fieldValue(f smpp.Field) string {
	switch v := f.Value.(type) {
	case uint8:
		text := fmt.Sprintf("%d (0x%02x)", v, v)
		if f.Name == "message_state" {
			text += ", " + smpp.State(v).String()
		}
		return text
	case uint32:
		return smpp.Status(v).Text()
	case []byte:
		text := fmt.Sprintf("%d octets: %x", len(v), v)
		switch {
		case f.Name == "message_state" && len(v) == 1:
			text += " " + smpp.State(v[0]).String()
		case printable(v):
			text += fmt.Sprintf(" %q", bytes.TrimRight(v, "\x00"))
		}
		return text
	default:
		return fmt.Sprintf("%q", v)
	}
}

func printable(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	for _, r := range string(b) {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return false
		}
	}
	return len(b) > 0
}

// explainMessage prints what a message carries.
func explainMessage(w io.Writer, m *smpp.ShortMessage) {
	if m.IsReceipt() {
		r, err := smpp.ParseReceipt(m)
		if err != nil {
			fmt.Fprintln(w, "  receipt:", err)
			return
		}
		fmt.Fprintf(w, "  receipt of message %q: %s", r.MessageID, r.State)
		if r.Error.Code != 0 {
			fmt.Fprintf(w, ", error %d of network %d", r.Error.Code, r.Error.Network)
		}
		if r.Absent() {
			fmt.Fprint(w, ", the telephone was not reached")
		}
		fmt.Fprintln(w)
		return
	}
	if m.ESMClass&smpp.ESMClassUDHI == 0 {
		return
	}
	elements, payload, err := sms.Elements(m.Content())
	if err != nil {
		fmt.Fprintln(w, "  user data header:", err)
		return
	}
	for _, e := range elements {
		fmt.Fprintf(w, "  user data header %02x: %s\n", e.ID, elementText(e))
	}
	for _, e := range elements {
		explainPacket(w, sms.Kind(e.ID), payload)
	}
}

// elementText tells the information elements that matter here
// (TS 23.040 §9.2.3.24).
func elementText(e sms.Element) string {
	d := e.Data
	switch {
	case e.ID == 0x00 && len(d) == 3:
		return fmt.Sprintf("segment %d of %d, reference %d", d[2], d[1], d[0])
	case e.ID == 0x08 && len(d) == 4:
		return fmt.Sprintf("segment %d of %d, reference %d", d[3], d[2], int(d[0])<<8|int(d[1]))
	case e.ID == 0x05 && len(d) == 4:
		return fmt.Sprintf("port %d from port %d", int(d[0])<<8|int(d[1]), int(d[2])<<8|int(d[3]))
	case sms.Kind(e.ID) == sms.CommandPacket:
		return "(U)SIM toolkit, a command packet"
	case sms.Kind(e.ID) == sms.ResponsePacket:
		return "(U)SIM toolkit, a response packet"
	}
	return fmt.Sprintf("%x", d)
}

// explainPacket prints what a secured packet says in clear (TS 102 225 §5).
func explainPacket(w io.Writer, kind sms.Kind, packet []byte) {
	name, peek := "CPL", ota.PeekCommand
	switch kind {
	case sms.CommandPacket:
	case sms.ResponsePacket:
		name, peek = "RPL", ota.PeekResponse
	default:
		return
	}
	h, err := peek(packet)
	if err != nil {
		fmt.Fprintln(w, "  secured packet:", err)
		return
	}
	fmt.Fprintf(w, "  secured packet: %s %d, TAR %s, checksum of %d octets, %d octets from CNTR on", name, h.Length, h.TAR, h.Checksum, h.Secured)
	if missing := h.Length + 2 - len(packet); missing > 0 {
		fmt.Fprintf(w, " and %d in other segments", missing)
	}
	fmt.Fprintln(w)
	if kind == sms.CommandPacket {
		fmt.Fprintf(w, "  security: SPI %s, KIc %02x, KID %02x\n", h.Security.SPI, h.Security.KIc, h.Security.KID)
	}
}

type smppPingCommand struct {
	Addr       string        `arg:"" optional:"" help:"host:port of the message centre."`
	SystemID   string        `name:"system-id" default:"imza" help:"Whom to bind as."`
	SystemType string        `name:"system-type" help:"The system_type, if the operator wants one."`
	Password   string        `env:"IMZA_SMPP_PASSWORD" help:"The password; better in the environment as IMZA_SMPP_PASSWORD, or in --password-file."`
	PassFile   string        `name:"password-file" placeholder:"FILE" help:"A file whose first line is the password."`
	Mode       string        `default:"transmitter" enum:"transceiver,transmitter,receiver" help:"How to bind: transmitter, or transceiver or receiver, which take a share of what is delivered to the system_id."`
	TLS        bool          `name:"tls" help:"Use TLS."`
	CAFile     string        `name:"ca-file" placeholder:"FILE" help:"With --tls: whom to trust, in PEM. Default: what the system trusts."`
	ServerName string        `name:"server-name" help:"With --tls: the name in the certificate, if it is not the host's."`
	Count      int           `default:"3" help:"How many enquire_link."`
	Interval   time.Duration `default:"200ms" help:"The pause between them."`
	Timeout    time.Duration `default:"5s" help:"For the connection, the bind and each answer."`
	Operators  string        `placeholder:"FILE" help:"Take all this from an operators file, with --operator."`
	Operator   string        `placeholder:"NAME" help:"Which operator of the file."`
}

// Validate refuses what cannot be meant.
func (c *smppPingCommand) Validate() error {
	secured := c.TLS || c.CAFile != "" || c.ServerName != ""
	switch {
	case c.Operators == "" && c.Operator != "":
		return errors.New("--operator is one of those in a file: which, says --operators")
	case c.Operators != "" && (c.Addr != "" || secured || c.PassFile != ""):
		return errors.New("either an address with its flags, or --operators with --operator")
	case c.Operators == "" && c.Addr == "":
		return errors.New("say where: an address like 127.0.0.1:2775, or --operators and --operator")
	case secured && !c.TLS:
		return errors.New("--ca-file and --server-name are for --tls")
	}
	return nil
}

// Run pings.
func (c *smppPingCommand) Run(ctx context.Context, s streams) error {
	pool, err := c.pool()
	if err != nil {
		return err
	}
	role := map[string]smpp.Command{"transceiver": smpp.BindTransceiver, "transmitter": smpp.BindTransmitter, "receiver": smpp.BindReceiver}[c.Mode]
	began := time.Now()
	session, err := pool.BindOnce(ctx, role)
	var status smpp.Status
	if errors.As(err, &status) {
		return fmt.Errorf("%s refuses the bind: %s", pool.Addr, status.Text())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", pool.Addr, err)
	}
	defer session.Close()
	answer := session.Answer()
	fmt.Fprintf(s.out, "bound to %s as %s in %s\n", pool.Addr, c.Mode, time.Since(began).Round(time.Microsecond))
	fmt.Fprintf(s.out, "  system_id %q\n", answer.SystemID)
	if v, ok := answer.TLVs.Get(smpp.TagSCInterfaceVersion); ok && len(v) == 1 {
		fmt.Fprintf(s.out, "  sc_interface_version %x.%x\n", v[0]>>4, v[0]&15)
	} else {
		fmt.Fprintln(s.out, "  sc_interface_version not announced: 3.3 or older, no TLVs")
	}
	if about := session.TLS(); about != "" {
		fmt.Fprintln(s.out, " ", about)
	}
	return c.enquire(ctx, s, session)
}

// enquire times some enquire_link and sums them up.
func (c *smppPingCommand) enquire(ctx context.Context, s streams, session *smpp.Session) error {
	var least, most, sum time.Duration
	answered := 0
	for n := 1; n <= c.Count; n++ {
		if n > 1 {
			select {
			case <-time.After(c.Interval):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		began := time.Now()
		if err := session.Enquire(ctx); err != nil {
			fmt.Fprintf(s.out, "enquire_link %d: %v\n", n, err)
			continue
		}
		took := time.Since(began)
		if answered++; answered == 1 {
			least = took
		}
		least, most, sum = min(least, took), max(most, took), sum+took
		fmt.Fprintf(s.out, "enquire_link %d: %s\n", n, took.Round(time.Microsecond))
	}
	if answered > 0 {
		fmt.Fprintf(s.out, "%d of %d answered, least %s, mean %s, most %s\n", answered, c.Count,
			least.Round(time.Microsecond), (sum / time.Duration(answered)).Round(time.Microsecond), most.Round(time.Microsecond))
	}
	if answered < c.Count {
		return fmt.Errorf("%d of %d enquire_link were not answered", c.Count-answered, c.Count)
	}
	return nil
}

// pool is the operator that the flags or the file describe.
func (c *smppPingCommand) pool() (*smpp.Pool, error) {
	o := &operators{}
	op := operator{Name: "ping", SMSC: &smsc{Addr: c.Addr, SystemID: c.SystemID, SystemType: c.SystemType,
		PasswordFile: c.PassFile, Timeout: c.Timeout}}
	if c.TLS {
		op.SMSC.TLS = &tlsFiles{CAFile: c.CAFile, ServerName: c.ServerName}
	}
	if c.Operators != "" {
		var err error
		if o, err = readOperators(c.Operators); err != nil {
			return nil, err
		}
		if op, err = o.named(c.Operator); err != nil {
			return nil, err
		}
		op.SMSC.Timeout = c.Timeout
	}
	pool, err := o.pool(op, emulatedAt{})
	if err == nil && c.PassFile == "" && c.Operators == "" {
		pool.Bind.Password = c.Password
	}
	return pool, err
}
