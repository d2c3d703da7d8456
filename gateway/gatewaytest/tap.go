package gatewaytest

import (
	"bytes"
	"context"
	"net"
	"sync"

	"imza/simcard"
	"imza/smpp"
)

// tap listens in on what the gateway sends to the operator.
type tap struct {
	mu        sync.Mutex
	submitted map[string]int // submit_sm by the digits of the number
}

func (t *tap) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &tapped{Conn: conn, tap: t}, nil
}

type tapped struct {
	net.Conn
	tap  *tap
	rest []byte // the beginning of a PDU
}

// Write counts before it sends, so that whoever sees the effect of a message
// finds it counted.
func (c *tapped) Write(p []byte) (int, error) {
	c.tap.mu.Lock()
	c.rest = append(c.rest, p...)
	for {
		r := bytes.NewReader(c.rest)
		pdu, err := smpp.ReadPDU(r, smpp.MaxPDU)
		if err != nil {
			break // the rest of it comes with the next write
		}
		c.rest = c.rest[len(c.rest)-r.Len():]
		if m, err := smpp.ParseShortMessage(pdu.Body); pdu.Command == smpp.SubmitSM && err == nil {
			if c.tap.submitted == nil {
				c.tap.submitted = make(map[string]int)
			}
			c.tap.submitted[m.Dest.Addr]++
		}
	}
	c.tap.mu.Unlock()
	return c.Conn.Write(p)
}

// Submitted is how many submit_sm went to the operator for a number.
func (s *Stack) Submitted(m simcard.MSISDN) int {
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	return s.tap.submitted[m.Digits()]
}

// SubmittedAll is how many submit_sm went to the operator.
func (s *Stack) SubmittedAll() int {
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	all := 0
	for _, n := range s.tap.submitted {
		all += n
	}
	return all
}
