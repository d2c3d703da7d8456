package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
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
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"imza/emulator"
	"imza/emulator/screen"
	"imza/gateway"
	"imza/gateway/api"
	"imza/gateway/cabinet"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/smpp"
)

type upCommand struct {
	Data        string        `default:"./data" placeholder:"DIR" help:"Where record, keys and cards are kept. Default: ./data."`
	HTTP        string        `name:"http" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Address of the API; port 0 takes a free one. Default: 127.0.0.1:8080."`
	SMPP        string        `name:"smpp" default:"127.0.0.1:2775" placeholder:"ADDR" help:"Address of the emulated operators; port 0 takes a free one. Default: 127.0.0.1:2775."`
	Operators   string        `placeholder:"FILE" help:"Which operators there are and how they are reached (docs/operators.md). Default: those of Azerbaijan, emulated."`
	Database    string        `name:"database" placeholder:"URL" help:"A PostgreSQL database for the record (docs/database.md), like postgres://user@host/name. Default: an SQLite file in the data folder."`
	Redis       string        `placeholder:"URL" help:"A Redis to use, like redis://127.0.0.1:6379/0. Default: an embedded one, which forgets transactions under way when it stops."`
	Think       time.Duration `default:"700ms" help:"How long the emulated people take at each prompt."`
	PCSC        []string      `name:"pcsc" placeholder:"NAME" help:"A card reader whose card is a demo subscriber's (docs/card.md); may be given again. A card that is nobody's is enrolled as a further subscriber."`
	PromptLimit int           `default:"10" help:"How many prompts in a row may go unsigned on a telephone within ten minutes."`
	Log         string        `default:"warn" enum:"debug,info,warn,error" help:"What is logged to stderr: debug, info, warn or error."`

	// dial is how the gateway reaches the operator; tests listen in.
	dial dialer
	// think replaces Think; tests hold people back with it.
	think func(context.Context)
}

// Run runs everything until the process is told to stop.
func (c *upCommand) Run(ctx context.Context, s streams) error {
	log, err := newLog(s.err, c.Log)
	if err != nil {
		return err
	}
	slog.SetDefault(log)
	p, err := start(ctx, c, log)
	if err != nil {
		return err
	}
	p.welcome(s.out)
	var failed error
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.out, "Stopping.")
	case failed = <-p.failed:
	}
	return errors.Join(failed, p.Close())
}

// newLog logs what is at least of a level.
func newLog(w io.Writer, level string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: least})), nil
}

// program is everything in one process: what up runs, and tests boot.
type program struct {
	HTTPAddr, SMPPAddr string

	config    *upCommand
	operators *operators
	password  string // of the emulated ones; new with each start
	// handsetPassword is what telephones in other processes bind with, who must
	// not pass for an operator's customer. It is kept, as the keys are.
	handsetPassword string
	network         smpp.Network // of them
	log             *slog.Logger
	masterKey       []byte
	authority       *pki.Authority
	registry        *registry.Registry
	demo            demo

	failed  chan error // a server that ended by itself
	closers []func() error
}

// start brings everything up, and takes it down again if a part fails.
func start(ctx context.Context, c *upCommand, log *slog.Logger) (_ *program, err error) {
	p := &program{config: c, log: log, failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.operators, err = readOperators(c.Operators); err != nil {
		return nil, err
	}
	if err := p.takeFolder(); err != nil {
		return nil, err
	}
	web, operator, err := p.listen()
	if err != nil {
		return nil, err
	}
	if p.authority, err = pki.OpenAuthority(filepath.Join(c.Data, "ca"), p.url(), now()); err != nil {
		return nil, err
	}
	permissions, err := p.openRecord(ctx)
	if err != nil {
		return nil, err
	}
	if permissions.Redis, err = p.openRedis(ctx); err != nil {
		return nil, err
	}
	p.password, p.handsetPassword = rand.Text()[:8], rand.Text()[:8]
	if err := p.operators.fill(&p.network, emulatedAt{p.SMPPAddr, p.password}, c.dial, log); err != nil {
		return nil, err
	}
	if err := p.startOperator(ctx, operator); err != nil {
		return nil, err
	}
	if err := p.startGateway(ctx, web, permissions); err != nil {
		return nil, err
	}
	return p, p.writeEnvironment()
}

// Close takes everything down in the reverse order.
func (p *program) Close() error {
	var failures []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		failures = append(failures, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(failures...)
}

func (p *program) onClose(f func() error) { p.closers = append(p.closers, f) }

func (p *program) url() string { return "http://" + p.HTTPAddr }

// now has whole seconds, as certificates do.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// takeFolder makes the data folder this process's own, and reads or makes the
// master key in it.
func (p *program) takeFolder() error {
	dir := p.config.Data
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	p.onClose(lock.Close)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is in use by another imza: choose another folder with --data", dir)
	}
	path := filepath.Join(dir, "master.key")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 16)
		rand.Read(key)
		if err := writeSecret(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
			return err
		}
	}
	p.masterKey, err = readMasterKey(path)
	return err
}

// writeSecret writes a file that only its owner reads, whole or not at all.
func writeSecret(path string, content []byte) error {
	file, err := os.OpenFile(path+".next", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".next", path)
}

func (p *program) listen() (web, operator net.Listener, err error) {
	open := func(flag, addr string) (net.Listener, error) {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s is taken: choose another address with --%s, like 127.0.0.1:0", addr, flag)
		}
		return l, err
	}
	if web, err = open("http", p.config.HTTP); err != nil {
		return nil, nil, err
	}
	p.onClose(ignoreClosed(web.Close))
	if operator, err = open("smpp", p.config.SMPP); err != nil {
		return nil, nil, err
	}
	p.onClose(ignoreClosed(operator.Close))
	p.HTTPAddr, p.SMPPAddr = web.Addr().String(), operator.Addr().String()
	return web, operator, nil
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

func (p *program) openRecord(ctx context.Context) (*policy.Store, error) {
	address := filepath.Join(p.config.Data, "imza.db")
	if p.config.Database != "" {
		if address = p.config.Database; !registry.IsPostgres(address) {
			return nil, errors.New("--database is a URL that begins with postgres://")
		}
	}
	db, dialect, err := registry.OpenDatabase(address)
	if err != nil {
		return nil, err
	}
	p.onClose(db.Close)
	pepper, err := pepperOf(p.masterKey)
	if err != nil {
		return nil, err
	}
	p.registry, err = registry.Open(ctx, db, dialect, pepper)
	if errors.Is(err, registry.ErrForeign) {
		return nil, fmt.Errorf("the record was begun with another master key than %s: use the data folder that it was begun with, or another database", filepath.Join(p.config.Data, "master.key"))
	}
	if err != nil {
		return nil, err
	}
	record, err := policy.OpenRecord(ctx, db, dialect)
	if err != nil {
		return nil, err
	}
	return &policy.Store{Record: record}, nil
}

// pepperOf is the key under which User IDs are hashed.
func pepperOf(masterKey []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, masterKey, nil, "imza user id", sha256.Size)
}

func (p *program) openRedis(ctx context.Context) (*redis.Client, error) {
	url := p.config.Redis
	if url == "" {
		embedded := miniredis.NewMiniRedis()
		password := rand.Text() // permissions are in there
		embedded.RequireAuth(password)
		if err := embedded.Start(); err != nil {
			return nil, err
		}
		p.onClose(func() error { embedded.Close(); return nil })
		if p.config.Database == "" {
			// Nobody else is on this record: the one before is gone with its process, and
			// this one need not wait for it.
			if err := embedded.Set(policy.EmbeddedRunID, "embedded"); err != nil {
				return nil, err
			}
		}
		p.onClose(runAside(func(ctx context.Context) { passTime(ctx, embedded) }))
		url = "redis://:" + password + "@" + embedded.Addr()
	}
	redis.SetLogger(quiet{})
	client, err := gateway.OpenRedis(url)
	if err != nil {
		return nil, err
	}
	p.onClose(client.Close)
	if err := client.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return client, nil
}

// passTime lets keys of the embedded Redis expire, which it does not by itself.
func passTime(ctx context.Context, embedded *miniredis.Miniredis) {
	const step = 50 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	before := time.Now()
	for {
		select {
		case at := <-ticker.C:
			embedded.FastForward(at.Sub(before))
			before = at
		case <-ctx.Done():
			return
		}
	}
}

// quiet drops go-redis's own log: what fails is told where it matters.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// runAside runs f until the returned function is called, which waits for it.
func runAside(f func(context.Context)) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	return func() error {
		cancel()
		running.Wait()
		return nil
	}
}

// dialer opens a connection to an operator.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// startOperator runs the message centre of the emulated operators; the gateway
// is bound to it once for each, by the operator's name.
func (p *program) startOperator(ctx context.Context, listener net.Listener) error {
	names := p.operators.emulated()
	smsc := emulator.NewSMSC(func(id string) (smpp.Account, bool) {
		return smpp.Account{Password: p.password, Binds: 10}, slices.Contains(names, id)
	}, p.log)
	p.onClose(func() error { return ignoreClosed(smsc.Close)() })
	if err := p.demo.open(ctx, p, smsc); err != nil {
		return err
	}
	smsc.HandsetPassword = p.handsetPassword
	go func() {
		if err := smsc.Serve(listener); !errors.Is(err, net.ErrClosed) {
			p.failed <- fmt.Errorf("smpp: %w", err)
		}
	}()
	return nil
}

// gatewayNumber is where cards send their answers: a short number, type "network
// specific".
var gatewayNumber = smpp.Address{TON: 3, Addr: "7777"}

func (p *program) startGateway(ctx context.Context, web net.Listener, permissions *policy.Store) error {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g := gateway.New(gateway.Config{
		Redis: permissions.Redis, Permissions: permissions, Directory: p.registry, Journal: p.registry,
		Authority: p.authority, MasterKey: p.masterKey, Network: &p.network, Source: gatewayNumber,
		PromptLimit: p.config.PromptLimit, Metrics: metrics, Log: p.log,
	})
	p.network.Operators(func(pool *smpp.Pool) {
		pool.Handler, pool.Options.Malformed = g.Receive, g.Malformed
		metrics.MustRegister(pool)
	})
	p.onClose(runAside(g.Run))
	p.onClose(runAside(p.network.Run))

	e := (&api.API{Gateway: g, Registry: p.registry, Authority: p.authority, Log: p.log}).Handler()
	(&cabinet.Cabinet{Permissions: permissions, Registry: p.registry}).Mount(e)
	screen.Mount(e, p.demo.screens)
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})))
	server := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	for _, s := range p.demo.screens {
		server.RegisterOnShutdown(s.Close) // else open pages would hold it up
	}
	go func() {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			p.failed <- fmt.Errorf("http: %w", err)
		}
	}()
	p.onClose(func() error {
		g.Release() // long polls end now, not in a minute
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return errors.Join(awaitPolicy(ctx, permissions), p.awaitOperators(ctx))
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

// awaitOperators waits for the emulated operators. Real ones may be away for
// long, and are dialled again and again.
func (p *program) awaitOperators(ctx context.Context) error {
	emulated := p.operators.emulated()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		missing := ""
		p.network.Operators(func(pool *smpp.Pool) {
			if slices.Contains(emulated, pool.Name) && !pool.Bound() {
				missing = pool.Name
			}
		})
		switch {
		case missing == "":
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("the emulated operator %s could not be bound to", missing)
		}
	}
}
