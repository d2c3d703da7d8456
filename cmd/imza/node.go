package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"imza/gateway"
	"imza/gateway/api"
	"imza/gateway/cabinet"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/smpp"
)

// gatewayFlags are what a gateway is told, whoever runs it.
type gatewayFlags struct {
	Data        string `default:"./data" placeholder:"DIR" help:"Where record, keys and cards are kept. Default: ./data."`
	HTTP        string `name:"http" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the API; port 0 takes a free one. Default: 127.0.0.1:8080."`
	Database    string `name:"database" placeholder:"URL" help:"A PostgreSQL database for the record (docs/database.md), like postgres://user@host/name. Default: an SQLite file in the data folder."`
	Redis       string `placeholder:"URL" help:"A Redis to use, like redis://127.0.0.1:6379/0. Default: an embedded one, which forgets transactions under way when it stops."`
	PromptLimit int    `default:"10" help:"How many prompts in a row may go unsigned on a telephone within ten minutes."`
	Pprof       string `placeholder:"ADDR" help:"Where profiles of the process are served, like 127.0.0.1:6060. Default: nowhere."`
	Log         string `default:"warn" enum:"debug,info,warn,error" help:"What is logged to stderr: debug, info, warn or error."`
}

// node is one gateway and all that it stands on: record, Redis, keys, operators.
type node struct {
	HTTPAddr string

	flags       *gatewayFlags
	operators   *operators
	network     smpp.Network // of them
	log         *slog.Logger
	cardsKey    []byte // whoever made the cards gave it; nil: the folder has its own
	masterKey   []byte
	authority   *pki.Authority
	registry    *registry.Registry
	permissions *policy.Store

	failed  chan error // a server that ended by itself
	closers []func() error
}

func newNode(flags *gatewayFlags, log *slog.Logger) node {
	return node{flags: flags, log: log, failed: make(chan error, 2)}
}

// newLog logs what is at least of a level.
func newLog(w io.Writer, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: least})), nil
}

// Close takes everything down in the reverse order.
func (n *node) Close() error {
	var failures []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		failures = append(failures, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(failures...)
}

func (n *node) onClose(f func() error) { n.closers = append(n.closers, f) }

func (n *node) url() string { return "http://" + n.HTTPAddr }

// now has whole seconds, as certificates do.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// takeFolder makes the data folder this process's own, and reads or makes the
// master key in it.
func (n *node) takeFolder() error {
	dir := n.flags.Data
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	n.onClose(lock.Close)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use by another imza: choose another folder with --data", dir)
	}
	path := filepath.Join(dir, "master.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		key := n.cardsKey
		if key == nil {
			key = make([]byte, 16)
			rand.Read(key)
		}
		if err := writeWhole(path, strings.NewReader(hex.EncodeToString(key)+"\n")); err != nil {
			return err
		}
	}
	if n.masterKey, err = readMasterKey(path); err != nil {
		return err
	}
	if n.cardsKey != nil && !bytes.Equal(n.cardsKey, n.masterKey) {
		return fmt.Errorf("--master-key is another than %s, with which this folder was begun: choose another folder with --data", path)
	}
	return nil
}

// listenOn opens a port that a flag names.
func (n *node) listenOn(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken: choose another address with --%s, like 127.0.0.1:0", addr, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", flag, err)
	}
	n.onClose(ignoreClosed(l.Close))
	return l, nil
}

// ignoreClosed closes what its server may have closed before.
func ignoreClosed(f func() error) func() error {
	return func() error {
		if err := f(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// open takes the folder and the ports, and opens all that is kept: after it the
// gateway can be filled and started.
func (n *node) open(ctx context.Context) (web net.Listener, err error) {
	roomyHeap()
	if err := n.takeFolder(); err != nil {
		return nil, err
	}
	stop, err := serveProfiles(n.flags.Pprof)
	if err != nil {
		return nil, err
	}
	n.onClose(stop)
	if web, err = n.listenOn("http", n.flags.HTTP); err != nil {
		return nil, err
	}
	n.HTTPAddr = web.Addr().String()
	if n.authority, err = pki.OpenAuthority(filepath.Join(n.flags.Data, "ca"), n.url(), now()); err != nil {
		return nil, err
	}
	if err := n.openRecord(ctx); err != nil {
		return nil, err
	}
	n.permissions.Redis, err = n.openRedis(ctx)
	return web, err
}

// dialer opens a connection to an operator.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// gatewayNumber is where cards send their answers: a short number, type "network
// specific".
var gatewayNumber = smpp.Address{TON: 3, Addr: "7777"}

// startGateway runs the signing path, the APIs, and what else is to be mounted
// beside them. It returns when Redis counts; operators may still be away.
func (n *node) startGateway(ctx context.Context, web net.Listener, also func(*echo.Echo, *http.Server)) error {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g := gateway.New(gateway.Config{
		Redis: n.permissions.Redis, Permissions: n.permissions, Directory: n.registry, Journal: n.registry,
		Authority: n.authority, MasterKey: n.masterKey, Network: &n.network, Source: gatewayNumber,
		PromptLimit: n.flags.PromptLimit, Metrics: metrics, Log: n.log,
	})
	n.network.Operators(func(pool *smpp.Pool) {
		pool.Handler, pool.Options.Malformed = g.Receive, g.Malformed
		metrics.MustRegister(pool)
	})
	n.onClose(runAside(g.Run))
	n.onClose(runAside(n.network.Run))

	e := (&api.API{Gateway: g, Registry: n.registry, Authority: n.authority, Log: n.log}).Handler()
	(&cabinet.Cabinet{Permissions: n.permissions, Registry: n.registry, Authority: n.authority}).Mount(e)
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})))
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	also(e, server)
	go func() {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			n.failed <- fmt.Errorf("http: %w", err)
		}
	}()
	n.onClose(func() error {
		g.Release() // long polls end now, not in a minute
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return awaitPolicy(ctx, n.permissions)
}

// awaitPolicy waits until this Redis is the one that counts; another may have
// been, a moment ago.
func awaitPolicy(ctx context.Context, permissions *policy.Store) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := permissions.Renew(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
