package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"imza/smpp"
)

// window is how many messages may be unanswered on a session.
const window = 100

// serving is what of a centre is on the network now.
type serving struct {
	server    *smpp.Server
	port      *port
	restarted chan struct{} // while it restarts: closed when another is in place
}

// open puts a port on the network. The caller holds mu.
func (c *SMSC) open(listener net.Listener) {
	c.serving = serving{server: c.newServer(), port: &port{Listener: listener, open: make(map[net.Conn]struct{})}}
}

func (c *SMSC) newServer() *smpp.Server {
	return &smpp.Server{
		Options: smpp.Options{SystemID: "imza-smsc", Window: window, Handler: c.submit, Log: c.Log},
		Account: func(id string) (smpp.Account, bool) {
			if isNumber(id) {
				return c.handsetAccount(id)
			}
			return c.account(id)
		},
		Bound: c.onBind,
	}
}

// Serve takes SMPP connections until Close.
func (c *SMSC) Serve(listener net.Listener) error {
	if c.Rate > 0 {
		// A twentieth of a second's worth may come at once.
		c.limit = rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate/20)))
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		listener.Close()
		return net.ErrClosed
	}
	c.open(listener)
	c.mu.Unlock()
	for {
		now := c.serves()
		err := now.server.Serve(now.port)
		next := c.serves()
		switch {
		case next.server != now.server: // it has restarted already
		case next.restarted == nil:
			return err
		default:
			select {
			case <-next.restarted:
			case <-c.ctx.Done():
				return net.ErrClosed
			}
		}
	}
}

func (c *SMSC) serves() serving {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.serving
}

// Close ends all sessions and switches the handsets off that were added.
func (c *SMSC) Close() error {
	c.mu.Lock()
	c.closed = true
	server := c.serving.server
	lines := make([]*Line, 0, len(c.lines))
	for _, l := range c.lines {
		lines = append(lines, l)
	}
	c.mu.Unlock()
	c.cancel()
	c.later.stop()
	var err error
	if server != nil {
		err = server.Close()
	}
	if errors.Is(err, net.ErrClosed) { // in the middle of a restart
		err = nil
	}
	for _, l := range lines {
		if l.Handset != nil {
			l.Handset.SwitchOff()
		}
	}
	c.running.Wait()
	return err
}

// Restart cuts all connections without a word, closes the port, and opens it
// again after a while; it returns then. Messages that were accepted are kept and
// go on.
func (c *SMSC) Restart(down time.Duration) error {
	c.mu.Lock()
	p, server := c.serving.port, c.serving.server
	switch {
	case c.closed || p == nil:
		c.mu.Unlock()
		return errors.New("emulator: the message centre does not serve")
	case c.serving.restarted != nil:
		c.mu.Unlock()
		return errors.New("emulator: the message centre is restarting already")
	}
	restarted := make(chan struct{})
	c.serving.restarted = restarted
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.ctx, down)
	defer cancel()
	p.cut()
	_ = server.Close() // the port is closed already
	<-ctx.Done()
	for c.ctx.Err() == nil {
		listener, err := net.Listen(p.Addr().Network(), p.Addr().String())
		if err != nil {
			c.Log.Warn("smsc: the port is not open again", "err", err)
			sleep(c.ctx, 100*time.Millisecond)
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			listener.Close()
			break
		}
		c.open(listener)
		close(restarted)
		return nil
	}
	return fmt.Errorf("emulator: the message centre did not come back: %w", net.ErrClosed)
}

// port is a listener whose connections can be cut.
type port struct {
	net.Listener

	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	p.open[conn] = struct{}{}
	return &portConn{conn, p}, nil
}

// cut closes the port and resets all its connections: what was not sent yet is
// not sent.
func (p *port) cut() {
	p.mu.Lock()
	p.closed = true
	open := p.open
	p.open = nil
	p.mu.Unlock()
	p.Listener.Close()
	for conn := range open {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
}

// portConn is a connection that its port knows of.
type portConn struct {
	net.Conn
	port *port
}

// Close implements net.Conn.
func (c *portConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.open, c.Conn)
	c.port.mu.Unlock()
	return c.Conn.Close()
}
