// Package proxytest is a TCP proxy that does to an SMPP connection what
// networks and operators do to it, so that tests of either end can prove what
// they promise. It knows of SMPP only where a PDU ends, and shares no code with
// the package that it tests.
package proxytest

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Count is what a proxy has done so far, for a test to prove that its faults
// bit.
type Count struct {
	Faults      map[Kind]int // connections that a fault was put on; Refuse: times
	Connections int          // that were carried
	Refused     int          // connections that Refuse reset
	Unreachable int          // connections that were reset since the target did not take them
	Cut         int          // connections
	Torn        int          // PDUs that were half forwarded when their connection was cut or reset
	Lost        int          // whole PDUs that were held then
	Forwarded   int          // PDUs
	Swallowed   int          // PDUs, one of which only the end was swallowed included
	Delayed     int          // PDUs that a Delay was put on
	Overtaken   int          // PDUs that left after one that came later
	Trickled    int          // octets
	Stalled     int          // times that octets, or a close, had to wait for the end of a stall
}

// Proxy forwards each connection that it accepts to its target. Its methods are
// safe for concurrent use.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu          sync.Mutex
	conns       []*conn // in the order of their coming, so that a seed picks the same one again
	refusing    bool
	refuseUntil time.Time
	count       Count
}

// Listen starts a proxy to target on a port of its own on the loopback.
func Listen(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: listener, count: Count{Faults: make(map[Kind]int)}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where an ESME connects to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close resets all connections and returns when nothing of the proxy runs any
// more. It may be called again.
func (p *Proxy) Close() error {
	p.cancel()
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.mu.Lock()
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, c := range conns {
		c.end(true, false)
		c.close()
	}
	p.running.Wait()
	return err
}

// Count is what was done so far.
func (p *Proxy) Count() Count {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := p.count
	count.Faults = maps.Clone(count.Faults)
	return count
}

func (p *Proxy) tally(add func(*Count)) {
	p.mu.Lock()
	add(&p.count)
	p.mu.Unlock()
}

// Apply puts a fault on one or all of the connections that live now, and
// returns on how many. It takes the place of an earlier one of its kind, and
// works beside those of other kinds.
func (p *Proxy) Apply(f Fault) int {
	f = f.withDefaults()
	p.mu.Lock()
	var struck []*conn
	if f.Kind == Refuse {
		p.refusing, p.refuseUntil = true, after(f.For)
		p.count.Faults[Refuse]++
	} else {
		struck = p.pick(f)
		p.count.Faults[f.Kind] += len(struck)
	}
	p.mu.Unlock()
	for _, c := range struck {
		c.apply(f)
	}
	return len(struck)
}

// pick returns the connections that f is to strike. The caller holds mu.
func (p *Proxy) pick(f Fault) []*conn {
	live := slices.DeleteFunc(slices.Clone(p.conns), (*conn).ended)
	if f.All || len(live) == 0 {
		return live
	}
	i := rand.New(rand.NewPCG(f.Seed, 0)).IntN(len(live))
	return live[i : i+1]
}

// Lift ends all faults that last, except HalfOpen, which is for good.
func (p *Proxy) Lift() {
	p.mu.Lock()
	p.refusing = false
	conns := slices.Clone(p.conns)
	p.mu.Unlock()
	for _, c := range conns {
		for _, w := range c.ways {
			w.lift()
		}
	}
}

// after is d from now; 0 stands for never, which is the zero time.
func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func (p *Proxy) accept() {
	for {
		esme, err := p.listener.Accept()
		if p.ctx.Err() != nil {
			if err == nil {
				_ = esme.Close()
			}
			return
		}
		if err != nil { // out of file descriptors, perhaps: it may pass
			time.Sleep(time.Millisecond)
			continue
		}
		if tcp := esme.(*net.TCPConn); p.refuses() {
			reset(tcp)
			p.tally(func(c *Count) { c.Refused++ })
		} else {
			p.running.Go(func() { p.carry(tcp) })
		}
	}
}

func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refusing && (p.refuseUntil.IsZero() || time.Now().Before(p.refuseUntil))
}

// carry forwards one connection until it has ended.
func (p *Proxy) carry(esme *net.TCPConn) {
	smsc, err := new(net.Dialer).DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		reset(esme)
		p.tally(func(c *Count) { c.Unreachable++ })
		return
	}
	c := newConn(p, esme, smsc.(*net.TCPConn))
	defer c.close()
	if !p.add(c) {
		return
	}
	var ways sync.WaitGroup
	for _, w := range c.ways {
		ways.Go(w.run)
	}
	ways.Wait()
	p.mu.Lock()
	p.conns = slices.DeleteFunc(p.conns, func(other *conn) bool { return other == c })
	p.mu.Unlock()
}

// add makes a connection known, unless the proxy is closed.
func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	p.conns = append(p.conns, c)
	p.count.Connections++
	return true
}

// reset closes with RST. Errors mean that the other side was faster.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// conn is a connection from an ESME and the one to the SMSC that it goes on in.
type conn struct {
	proxy *Proxy
	ways  [2]*way // to the SMSC, to the ESME
	once  sync.Once
	gone  chan struct{} // closed when the connection was cut or reset
}

func newConn(p *Proxy, esme, smsc *net.TCPConn) *conn {
	for _, c := range []*net.TCPConn{esme, smsc} {
		// Left to itself, the kernel would take in megabytes during a stall.
		_ = c.SetReadBuffer(readBuffer)
	}
	c := &conn{proxy: p, gone: make(chan struct{})}
	c.ways[0] = newWay(c, esme, smsc)
	c.ways[1] = newWay(c, smsc, esme)
	c.ways[0].back, c.ways[1].back = c.ways[1], c.ways[0]
	return c
}

func (c *conn) apply(f Fault) {
	if f.Kind == Cut && f.N == 0 {
		c.end(f.Reset, true)
		return
	}
	if f.Direction != ToESME {
		c.ways[0].apply(f, 1)
	}
	if f.Direction != ToSMSC {
		c.ways[1].apply(f, 2)
	}
}

// end ends the connection towards both sides. After a FIN the ways go on to
// discard what comes for a moment: closing on unread octets would be an RST.
func (c *conn) end(rst, fault bool) {
	c.once.Do(func() {
		close(c.gone)
		for _, w := range c.ways {
			if rst {
				reset(w.to)
			} else {
				_ = w.to.CloseWrite() // it may be closed already
			}
			w.wake()
		}
		if fault {
			c.proxy.tally(func(count *Count) { count.Cut++ })
		}
	})
}

func (c *conn) ended() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *conn) close() {
	for _, w := range c.ways {
		_ = w.to.Close() // for the second time, perhaps
	}
}
