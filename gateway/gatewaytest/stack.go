// Package gatewaytest boots the whole signing path for tests: record, policy,
// authority, gateway and both APIs over HTTP, an emulated operator over SMPP,
// and people with telephones and SIM cards. Only tests import it.
//
//	stack.go       all of it, on the Redis and the database that the test gives
//	subscriber.go  people, and how they are held back
//	tap.go         what goes to the operator
//	client.go      requests to the APIs
//	contract.go    every answer against the OpenAPI documents
//	secrets.go     what must be in no log, metric or answer
package gatewaytest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/labstack/echo/v4"
	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"imza/emulator"
	"imza/gateway"
	"imza/gateway/api"
	"imza/gateway/cabinet"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/policy/redistest"
	"imza/policy/sqltest"
	"imza/smpp"
)

// The organisations on record.
const (
	FirstVOEN  = policy.VOEN("1400000011")
	SecondVOEN = policy.VOEN("1400000022")
)

var organisations = map[policy.VOEN]string{FirstVOEN: "Nümunə MMC", SecondVOEN: "Sınaq ASC"}

// Administrator is who AdminKey is the key of.
const Administrator = "test-operator"

// Stack is everything, running until the test ends. That no secret got into
// log, metrics or answers is checked then.
type Stack struct {
	URL         string
	AdminKey    string
	Redis       *redis.Client
	DB          *sql.DB
	Journal     *sql.DB // where transactions are
	Registry    *registry.Registry
	Permissions *policy.Store
	Authority   *pki.Authority
	// Uploaded counts the octets of request bodies that the handlers have read.
	Uploaded atomic.Int64

	smsc      *emulator.SMSC
	tap       tap
	masterKey []byte
	people    atomic.Int32
	secrets   secrets
	log       *slog.Logger
}

// Each runs a test on a stack of its own with the embedded Redis and SQLite, and
// on another with a real Redis and PostgreSQL, side by side.
func Each(t *testing.T, test func(t *testing.T, s *Stack)) {
	t.Run("miniredis+SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, Start(t, miniredis.RunT(t).Addr()))
	})
	t.Run("redis-server+PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, StartOn(t, redistest.Start(t).Addr, sqltest.Postgres(t)))
	})
}

// Start boots a stack on the Redis at an address, and SQLite.
func Start(t testing.TB, redisAddr string) *Stack {
	t.Helper()
	return StartOn(t, redisAddr, sqltest.SQLite(t))
}

// StartOn boots a stack on the Redis at an address, and the database at one that
// registry.OpenDatabase knows.
func StartOn(t testing.TB, redisAddr, database string) *Stack {
	t.Helper()
	s := &Stack{masterKey: make([]byte, 16), AdminKey: registry.NewAdminKey()}
	rand.Read(s.masterKey)
	s.log = slog.New(slog.NewTextHandler(&s.secrets, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.secrets.add(s.AdminKey, hex.EncodeToString(s.masterKey))
	s.openRecord(t, database)
	must(t, s.openRedis(t, redisAddr))

	// The address comes first: the certificates carry it.
	server := httptest.NewUnstartedServer(nil)
	t.Cleanup(server.Close)
	s.URL = "http://" + server.Listener.Addr().String()
	var err error
	s.Authority, err = pki.OpenAuthority(t.TempDir(), s.URL, time.Now().UTC().Truncate(time.Second))
	must(t, err)
	g, metrics := s.startSigning(t)
	s.serve(t, server, g, metrics)
	return s
}

// must ends the test on an error; it is for what is not under test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Stack) openRecord(t testing.TB, database string) {
	t.Helper()
	ctx := t.Context()
	var dialect goose.Dialect
	var err error
	s.DB, dialect, err = registry.OpenDatabase(database)
	must(t, err)
	t.Cleanup(func() { s.DB.Close() })
	s.Registry, err = registry.Open(ctx, s.DB, dialect, []byte("pepper of a test"))
	must(t, err)
	t.Cleanup(func() { s.Registry.Close() })
	s.Journal = s.DB
	if !registry.IsPostgres(database) {
		s.Journal, _, err = registry.OpenDatabase(registry.JournalPath(database))
		must(t, err)
		t.Cleanup(func() { s.Journal.Close() })
	}
	record, err := policy.OpenRecord(ctx, s.DB, dialect)
	must(t, err)
	s.Permissions = &policy.Store{Record: record}
	for voen, name := range organisations {
		must(t, s.Registry.AddOrganisation(ctx, voen, name))
	}
	must(t, s.Registry.SetAdministrator(ctx, registry.Administrator{ID: Administrator, Role: registry.Operator}, s.AdminKey))
}

func (s *Stack) openRedis(t testing.TB, addr string) (err error) {
	redis.SetLogger(quiet{})
	s.Redis, err = gateway.OpenRedis("redis://" + addr)
	if err != nil {
		return err
	}
	t.Cleanup(func() { s.Redis.Close() })
	s.Permissions.Redis = s.Redis
	return s.Redis.Ping(t.Context()).Err()
}

// quiet drops go-redis's own log, as the program does.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// startSigning runs operator and gateway, bound to one another.
func (s *Stack) startSigning(t testing.TB) (*gateway.Gateway, *prometheus.Registry) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	password := rand.Text()[:8]
	s.secrets.add(password)
	s.smsc = emulator.NewSMSC(func(string) (smpp.Account, bool) { return smpp.Account{Password: password}, true }, s.log)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.smsc.Serve(listener); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the operator: %v", err)
		}
	})
	t.Cleanup(func() { s.smsc.Close(); serving.Wait() })

	metrics := prometheus.NewRegistry()
	network := new(smpp.Network)
	g := gateway.New(gateway.Config{
		Redis: s.Redis, Permissions: s.Permissions, Directory: s.Registry, Journal: s.Registry,
		Authority: s.Authority, MasterKey: s.masterKey, Network: network, Source: smpp.Address{TON: 3, Addr: "7777"},
		Metrics: metrics, Log: s.log,
	})
	must(t, network.Add(&smpp.Pool{
		Name: "test", Addr: listener.Addr().String(), Bind: smpp.BindRequest{SystemID: "imza", Password: password},
		Options: smpp.Options{Window: 100}, Handler: g.Receive, Dial: s.tap.dial, Log: s.log,
	}, "994"))
	runAside(t, g.Run)
	runAside(t, network.Run)
	for deadline := time.Now().Add(10 * time.Second); g.Ready(t.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(g.Ready(t.Context()))
		}
	}
	return g, metrics
}

// runAside runs f until the test ends, and waits for it then.
func runAside(t testing.TB, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// serve puts both APIs on the server, and looks through all that was logged
// and measured when the test ends.
func (s *Stack) serve(t testing.TB, server *httptest.Server, g *gateway.Gateway, metrics *prometheus.Registry) {
	t.Helper()
	e := (&api.API{Gateway: g, Registry: s.Registry, Authority: s.Authority, Log: s.log}).Handler()
	(&cabinet.Cabinet{Permissions: s.Permissions, Registry: s.Registry, Authority: s.Authority}).Mount(e)
	e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})))
	e.Logger.SetOutput(&s.secrets)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &counted{r.Body, &s.Uploaded}
		e.ServeHTTP(w, r)
	})
	server.Config.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelError)
	server.Start()
	t.Cleanup(func() {
		g.Release() // long polls end now
		measured := httptest.NewRecorder()
		e.ServeHTTP(measured, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		s.secrets.Write(measured.Body.Bytes())
		s.secrets.check(t)
	})
}

// counted is a body whose octets are counted as they are read.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}
