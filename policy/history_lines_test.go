package policy

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// lines are the connections of one node, which can be laid to another server.
type lines struct {
	mu   sync.Mutex
	addr string
	open map[net.Conn]bool
}

func (l *lines) client(instead map[string]*redis.Script) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Addr: "the one that counts", Dialer: l.dial, OnConnect: OpenEpoch, MaintNotificationsConfig: plain, ContextTimeoutEnabled: true,
		MaxRetries: 1, MinRetryBackoff: time.Millisecond, DialerRetries: 1, PoolSize: 32,
	})
	client.AddHook(&meddler{client: client, instead: instead})
	return client
}

// dial leaves connecting to the first write: after some failures to dial
// go-redis tries only once a second, and a server that is back waits for that.
func (l *lines) dial(_ context.Context, network, _ string) (net.Conn, error) {
	return &lateConn{dial: func() (net.Conn, error) { return l.connect(network) }}, nil
}

// lateConn is a connection that is not there before it is written to.
type lateConn struct {
	net.Conn
	dial func() (net.Conn, error)
}

func (c *lateConn) Write(b []byte) (n int, err error) {
	if c.Conn == nil {
		if c.Conn, err = c.dial(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// NetConn is for go-redis, which looks whether a connection is still there.
func (c *lateConn) NetConn() net.Conn { return c.Conn }

func (c *lateConn) Close() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

func (c *lateConn) SetDeadline(t time.Time) error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

func (c *lateConn) SetReadDeadline(t time.Time) error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *lateConn) SetWriteDeadline(t time.Time) error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

func (l *lines) connect(network string) (net.Conn, error) {
	l.mu.Lock()
	addr := l.addr
	l.mu.Unlock()
	conn, err := net.DialTimeout(network, addr, time.Second/3)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = make(map[net.Conn]bool)
	}
	l.open[conn] = true
	return conn, nil
}

// lay has new connections go to another server, and cuts the old ones or leaves
// them as they are.
func (l *lines) lay(addr string, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
	if cut {
		for conn := range l.open {
			conn.Close()
		}
		clear(l.open)
	}
}
