package load

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// client speaks HTTP to one server. It is fasthttp's, which costs a third of
// net/http's: what the load tester burns on the same machine the gateway has not.
type client struct {
	base string // the address, without a slash at its end
	http fasthttp.HostClient

	mu     sync.Mutex
	open   map[net.Conn]bool
	halted bool
}

// maxUnderWay is how many requests may be under way at once. Each has a
// connection, and one address has about 28,000 of them for another.
const maxUnderWay = 24_000

// idle is how long a connection is kept that nothing is asked over: shorter than
// any server keeps it, since a request over one that the server is just closing
// would be lost, and not be asked again.
const idle = 5 * time.Second

// CheckAddress tells whether something is the address of a server.
func CheckAddress(address string) error {
	_, err := newClient(address)
	return err
}

func newClient(address string) (*client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("it is no address such as http://127.0.0.1:8080")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("%s is no address such as http://127.0.0.1:8080", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	c := &client{base: strings.TrimSuffix(address, "/"), open: make(map[net.Conn]bool)}
	c.http = fasthttp.HostClient{
		Addr: net.JoinHostPort(u.Hostname(), port), IsTLS: u.Scheme == "https", TLSConfig: &tls.Config{ServerName: u.Hostname()},
		Dial: c.dial, MaxConns: maxUnderWay + 1000, MaxIdleConnDuration: idle, MaxResponseBodySize: maxAnswer,
		NoDefaultUserAgentHeader: true, DisableHeaderNamesNormalizing: true, DisablePathNormalizing: true,
		// What is asked again would be asked twice in the gateway's account.
		MaxIdemponentCallAttempts: 1,
	}
	return c, nil
}

// maxAnswer is the most octets of an answer.
const maxAnswer = 8 << 20

var errHalted = errors.New("load: it is not waited for any more")

func (c *client) dial(addr string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.halted {
		conn.Close()
		return nil, errHalted
	}
	c.open[conn] = true
	return &opened{conn, c}, nil
}

// opened is a connection that halt knows of.
type opened struct {
	net.Conn
	client *client
}

func (o *opened) Close() error {
	o.client.mu.Lock()
	delete(o.client.open, o.Conn)
	o.client.mu.Unlock()
	return o.Conn.Close()
}

// halt ends whatever is under way, and lets nothing begin.
func (c *client) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted = true
	for conn := range c.open {
		conn.Close()
	}
}

func (c *client) isHalted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.halted
}

// message is what is asked.
type message struct {
	method, path  string
	authorization string // the whole header; empty: none
	contentType   string // of the body; empty: JSON
	body          []byte
	patience      time.Duration
}

// do asks and has the answer read, whose octets are good until read returns. The
// error is that of the connection, or read's. Neither has a key or a User ID in it.
func (c *client) do(m message, read func(status int, body []byte) error) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(c.base + m.path)
	request.Header.SetMethod(m.method)
	if m.authorization != "" {
		request.Header.Set(fasthttp.HeaderAuthorization, m.authorization)
	}
	if m.body != nil {
		request.Header.SetContentType("application/json")
		if m.contentType != "" {
			request.Header.SetContentType(m.contentType)
		}
		request.SetBodyRaw(m.body)
	}
	if err := c.http.DoTimeout(request, response, m.patience); err != nil {
		return err
	}
	return read(response.StatusCode(), response.Body())
}

// problem is a refusal, as RFC 9457 says it.
type problem struct {
	status       int
	code, detail string
}

func (p *problem) Error() string {
	said := fmt.Sprintf("answered %d", p.status)
	if p.code != "" {
		said += " " + p.code
	}
	if p.detail != "" {
		said += ": " + p.detail
	}
	return said
}

// parseProblem reads a refusal; what has no code is none. The emulator says only
// what is wrong.
func parseProblem(status int, body []byte) *problem {
	p := &problem{status: status}
	err := members(body, func(name, value []byte) (err error) {
		var v []byte
		switch string(name) {
		case "code":
			v, err = text("code", value)
			p.code = string(v)
		case "detail", "error":
			if json.Unmarshal(value, &p.detail) != nil {
				p.detail = ""
			}
		}
		return err
	})
	if err != nil {
		p.code = ""
	}
	return p
}

// control asks for what is not measured: a good answer or an error.
func (c *client) control(m message, read func(body []byte) error) error {
	if m.patience == 0 {
		m.patience = 30 * time.Second
	}
	err := c.do(m, func(status int, body []byte) error {
		if status >= 300 {
			return parseProblem(status, body)
		}
		if read == nil {
			return nil
		}
		return read(body)
	})
	if err != nil {
		return fmt.Errorf("%s %s%s: %w", m.method, c.base, m.path, err)
	}
	return nil
}
