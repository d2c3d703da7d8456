package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"imza/simcard"
	"imza/smpp"
)

// defaultOperators are those of Azerbaijan, all emulated.
//
//go:embed operators.yaml
var defaultOperators []byte

// operators is the file that --operators names.
type operators struct {
	Operators  []operator        `yaml:"operators"`
	Ported     map[string]string `yaml:"ported"`      // operator by number
	PortedFile string            `yaml:"ported_file"` // the same as CSV: number,operator

	dir string // of the file; other files are named relative to it
}

type operator struct {
	Name     string   `yaml:"name"`
	Prefixes []string `yaml:"prefixes"`
	SMSC     *smsc    `yaml:"smsc"` // nil: the emulated one
}

// smsc is how a message centre is reached.
type smsc struct {
	Addr         string        `yaml:"addr"`
	SystemID     string        `yaml:"system_id"`
	SystemType   string        `yaml:"system_type"`
	PasswordFile string        `yaml:"password_file"`
	Binds        int           `yaml:"binds"`
	Mode         string        `yaml:"mode"`
	Window       int           `yaml:"window"`
	Rate         float64       `yaml:"rate"`
	Timeout      time.Duration `yaml:"timeout"`
	Enquire      time.Duration `yaml:"enquire"`
	TLS          *tlsFiles     `yaml:"tls"`
	MessageIDs   struct {
		Response radix `yaml:"response"`
		Receipt  radix `yaml:"receipt"`
	} `yaml:"message_ids"`
}

type tlsFiles struct {
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// radix is how ids are written; empty is as they are.
type radix string

func (r radix) smpp() (smpp.Radix, error) {
	switch r {
	case "":
		return 0, nil
	case "hex":
		return 16, nil
	case "decimal":
		return 10, nil
	}
	return 0, fmt.Errorf("%q is neither hex nor decimal", string(r))
}

// readOperators reads a file, or the default for no path. Unknown keys are
// errors, since a misspelt one would be a limit that does not hold.
func readOperators(path string) (*operators, error) {
	text, o := defaultOperators, &operators{}
	if path != "" {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			return nil, err
		}
		o.dir = filepath.Dir(path)
	}
	if err := o.decode(text); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// maxOperators is the size of the file; many ported numbers have a file of
// their own.
const maxOperators = 1 << 20

func (o *operators) decode(text []byte) error {
	if len(text) > maxOperators {
		return fmt.Errorf("%d octets, at most %d: ported_file is for many numbers", len(text), maxOperators)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(o); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("there is a second document")
	}
	var all yaml.Node
	if err := yaml.Unmarshal(text, &all); err != nil {
		return err
	}
	if err := noNulls(&all); err != nil {
		return err
	}
	if len(o.Operators) == 0 {
		return errors.New("operators: there are none")
	}
	return nil
}

// noNulls refuses keys without a value: "tls:" with all below it commented out
// would be no TLS, and "smsc:" an emulated operator.
func noNulls(n *yaml.Node) error {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && child.Tag == "!!null" {
			return fmt.Errorf("line %d: %s has no value; {} is one that is empty", n.Content[i-1].Line, n.Content[i-1].Value)
		}
		if err := noNulls(child); err != nil {
			return err
		}
	}
	return nil
}

// emulatedAt is where the message centre of the emulated operators is.
type emulatedAt struct{ addr, password string }

// fill makes a pool of each operator. Those without a message centre of their
// own are at the emulated one, bound by their name.
func (o *operators) fill(n *smpp.Network, emulated emulatedAt, dial dialer, log *slog.Logger) error {
	for i, op := range o.Operators {
		if op.Name == "" || strings.Trim(op.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(op.Name) > 15 {
			return fmt.Errorf("operators[%d].name: %q: up to 15 small letters, digits, - and _ make a name", i, op.Name)
		}
		pool, err := o.pool(op, emulated)
		if err != nil {
			return fmt.Errorf("operator %s: %w", op.Name, err)
		}
		pool.Dial, pool.Log = dial, log
		prefixes := make([]string, len(op.Prefixes))
		for i, p := range op.Prefixes {
			prefixes[i] = strings.TrimPrefix(p, "+")
		}
		if err := n.Add(pool, prefixes...); err != nil {
			return err
		}
	}
	return o.port(n)
}

func (o *operators) pool(op operator, emulated emulatedAt) (*smpp.Pool, error) {
	if op.SMSC == nil {
		return &smpp.Pool{Name: op.Name, Addr: emulated.addr, Bind: smpp.BindRequest{SystemID: op.Name, Password: emulated.password},
			Options: smpp.Options{Window: 100}}, nil
	}
	c := op.SMSC
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return nil, fmt.Errorf("smsc.addr: %w", err)
	}
	p := &smpp.Pool{
		Name: op.Name, Addr: c.Addr, Bind: smpp.BindRequest{SystemID: c.SystemID, SystemType: c.SystemType},
		Binds: c.Binds, Pair: c.Mode == "pair", Rate: c.Rate,
		Options: smpp.Options{Window: c.Window, Timeout: c.Timeout, Enquire: c.Enquire},
	}
	switch {
	case c.Mode != "" && c.Mode != "pair" && c.Mode != "transceiver":
		return nil, fmt.Errorf("smsc.mode: %q is neither transceiver nor pair", c.Mode)
	case c.Binds < 0 || c.Window < 0 || !(c.Rate >= 0) || c.Timeout < 0 || c.Enquire < 0:
		return nil, errors.New("smsc: binds, window, rate, timeout and enquire are not negative")
	case (c.MessageIDs.Response == "") != (c.MessageIDs.Receipt == ""):
		return nil, errors.New("smsc.message_ids: response and receipt are both given, or neither")
	}
	var err error
	if p.IDs.Response, err = c.MessageIDs.Response.smpp(); err != nil {
		return nil, fmt.Errorf("smsc.message_ids.response: %w", err)
	}
	if p.IDs.Receipt, err = c.MessageIDs.Receipt.smpp(); err != nil {
		return nil, fmt.Errorf("smsc.message_ids.receipt: %w", err)
	}
	if c.PasswordFile != "" {
		text, err := os.ReadFile(o.path(c.PasswordFile))
		if err != nil {
			return nil, fmt.Errorf("smsc.password_file: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		p.Bind.Password = strings.TrimRight(line, "\r")
	}
	if _, err := p.Bind.Append(nil); err != nil { // too long, say
		return nil, fmt.Errorf("smsc: %w", err)
	}
	if p.TLS, err = o.tls(c.TLS); err != nil {
		return nil, fmt.Errorf("smsc.tls: %w", err)
	}
	return p, nil
}

func (o *operators) tls(f *tlsFiles) (*tls.Config, error) {
	if f == nil {
		return nil, nil
	}
	config := &tls.Config{ServerName: f.ServerName, MinVersion: tls.VersionTLS12}
	if f.CAFile != "" {
		pem, err := os.ReadFile(o.path(f.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: there is no certificate in %s", f.CAFile)
		}
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("cert_file and key_file are both given, or neither")
	}
	if f.CertFile != "" {
		own, err := tls.LoadX509KeyPair(o.path(f.CertFile), o.path(f.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// port tells the network of the numbers that were ported.
func (o *operators) port(n *smpp.Network) error {
	port := func(number, name string) error {
		msisdn, err := simcard.ParseMSISDN(number)
		if err != nil {
			return fmt.Errorf("ported: %w", err)
		}
		return n.Port(msisdn.Digits(), name)
	}
	for number, name := range o.Ported {
		if err := port(number, name); err != nil {
			return err
		}
	}
	if o.PortedFile == "" {
		return nil
	}
	file, err := os.Open(o.path(o.PortedFile))
	if err != nil {
		return fmt.Errorf("ported_file: %w", err)
	}
	defer file.Close()
	rows := csv.NewReader(file)
	rows.FieldsPerRecord, rows.Comment, rows.TrimLeadingSpace, rows.ReuseRecord = 2, '#', true, true
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ported_file: %w", err) // it names the line
		}
		if err := port(strings.Clone(row[0]), strings.TrimSpace(row[1])); err != nil {
			line, _ := rows.FieldPos(0)
			return fmt.Errorf("ported_file, line %d: %w", line, err)
		}
	}
}

func (o *operators) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(o.dir, name)
}

// named finds an operator that has a message centre of its own.
func (o *operators) named(name string) (operator, error) {
	var names []string
	for _, op := range o.Operators {
		if op.SMSC == nil {
			continue
		}
		if op.Name == name {
			return op, nil
		}
		names = append(names, op.Name)
	}
	return operator{}, fmt.Errorf("--operator: %q is none of those with an smsc: %s", name, strings.Join(names, ", "))
}

// emulated are the names of the operators that have no message centre of their
// own.
func (o *operators) emulated() (names []string) {
	for _, op := range o.Operators {
		if op.SMSC == nil {
			names = append(names, op.Name)
		}
	}
	return names
}
