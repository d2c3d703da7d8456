package gateway

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"

	"imza/policy"
	"imza/policy/redistest"
	"imza/simcard"
	"imza/simcard/applet"
)

// admission is a gateway's admission alone: nothing is pushed, and the record
// was asked before.
type admission struct {
	*Gateway
	server *redistest.Server
	n      atomic.Int64
}

// staff is how many employees the callers ask for in turn.
const staff = 1000

func newAdmission(b *testing.B) *admission {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "record.db")+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	record, err := policy.OpenRecord(b.Context(), db, goose.DialectSQLite3)
	if err != nil {
		b.Fatal(err)
	}
	a := &admission{server: redistest.Start(b)}
	client, err := OpenRedis("redis://" + a.server.Addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	a.Gateway = New(Config{Redis: client, Permissions: &policy.Store{Record: record, Redis: client}, MasterKey: make([]byte, 16),
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(cancel)
	go a.every(ctx, "policy", renewEvery, a.permissions.Renew)
	for i := range staff {
		if err := a.permissions.Load(b.Context(), employeeNo(i)); err != nil {
			b.Fatal(err)
		}
	}
	return a
}

func employeeNo(i int) policy.Employee {
	return policy.Employee{VOEN: "1400000011", FIN: policy.FIN(fmt.Sprintf("7D%05d", i))}
}

// next is a request that nothing stands against, and its transaction.
func (a *admission) next() (*Transaction, Request) {
	n := a.n.Add(1)
	e := employeeNo(int(n % staff))
	digest := make([]byte, 32)
	copy(digest, fmt.Sprint(n))
	r := Request{Provider: "bank", MSISDN: simcard.MSISDN(fmt.Sprintf("+9945%08d", n)), UserID: "123456",
		Algorithm: applet.SHA256, Digest: digest, Text: "Müqavilə № 12", Timeout: time.Minute}
	return &Transaction{
		ID: newID(), State: Pending, Progress: Accepted, Provider: r.Provider, MSISDN: r.MSISDN, ICCID: simcard.ICCID(fmt.Sprintf("89994%015d", n)),
		Employee: &e, Serial: "4f1d8a5c8d6c4f0b9a7e6d5c4b3a2f1e", Type: Business, Key: 1, Algorithm: r.Algorithm, Digest: r.Digest, Text: r.Text,
		SigningTime: time.Now().UTC().Truncate(time.Second),
	}, r
}

// ours is one admission as Admit makes it.
func (a *admission) ours(ctx context.Context) error {
	t, r := a.next()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	_, err := a.decide(ctx, t, r)
	return err
}

// bare is the same script on the same connection, with all its arguments there.
func (a *admission) bare(keys []string, args []any) func(context.Context) error {
	return func(ctx context.Context) error {
		n := fmt.Sprint(a.n.Add(1))
		own := slices.Clone(keys)
		own[0], own[1] = own[0]+n, own[1]+n
		answer, err := a.runScript(ctx, admit, own, args...)
		if err == nil && answer[0] != "admitted" {
			err = fmt.Errorf("answered %q", answer)
		}
		return err
	}
}

// rate is how many a second so many callers get through within a time.
func rate(b *testing.B, callers int, d time.Duration, f func(context.Context) error) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range callers {
		all.Go(func() {
			for time.Since(began) < d {
				if err := f(b.Context()); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// BenchmarkAdmission sets the whole admission beside a bare call of its script,
// in turns, with Redis and callers on one machine. Metrics: admits a second, bare
// calls a second, and the ratio of the two (of-bare); medians of five turns.
func BenchmarkAdmission(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			a := newAdmission(b)
			t, r := a.next()
			keys, args, err := a.admitArguments(t, r)
			if err != nil {
				b.Fatal(err)
			}
			bare := a.bare(keys, args)
			var admits, calls, ratios []float64
			b.ResetTimer()
			for range 5 {
				x := rate(b, callers, 600*time.Millisecond, a.ours)
				y := rate(b, callers, 600*time.Millisecond, bare)
				admits, calls, ratios = append(admits, x), append(calls, y), append(ratios, x/y)
			}
			for _, s := range [][]float64{admits, calls, ratios} {
				slices.Sort(s)
			}
			b.ReportMetric(admits[2], "admits/s")
			b.ReportMetric(calls[2], "bare/s")
			b.ReportMetric(ratios[2], "of-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}
