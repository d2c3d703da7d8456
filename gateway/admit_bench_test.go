package gateway

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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

	employees [staff]policy.Employee
}

// turns are short, so that what else the machine does falls on both alike.
const turns = 21

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
		a.employees[i] = policy.Employee{VOEN: "1400000011", FIN: policy.FIN(fmt.Sprintf("7D%05d", i))}
		if err := a.permissions.Load(b.Context(), a.employees[i]); err != nil {
			b.Fatal(err)
		}
	}
	return a
}

// next is a request that nothing stands against, and its transaction.
func (a *admission) next() (*Transaction, Request) {
	n := a.n.Add(1)
	line := strconv.FormatInt(100_000_000+n, 10)
	r := Request{Provider: "bank", MSISDN: simcard.MSISDN("+994" + line), UserID: "123456",
		Algorithm: applet.SHA256, Digest: make([]byte, 32), Text: "Müqavilə № 12", Timeout: time.Minute}
	binary.BigEndian.PutUint64(r.Digest, uint64(n))
	return &Transaction{
		ID: newID(), State: Pending, Progress: Accepted, Provider: r.Provider, MSISDN: r.MSISDN, ICCID: simcard.ICCID("8999450000" + line),
		Employee: &a.employees[n%staff], Serial: "4f1d8a5c8d6c4f0b9a7e6d5c4b3a2f1e", Type: Business, Key: 1, Algorithm: r.Algorithm, Digest: r.Digest, Text: r.Text,
		SigningTime: time.Now().UTC().Truncate(time.Second),
	}, r
}

// turn is how long one takes, and atMost how many can be made in it.
const (
	turn   = 150 * time.Millisecond
	atMost = 15_000
)

// ours is a turn of admissions as Admit makes them.
func (a *admission) ours(b *testing.B, callers int) float64 {
	type call struct {
		t *Transaction
		r Request
	}
	calls := make([]call, atMost)
	for i := range calls {
		calls[i].t, calls[i].r = a.next()
	}
	return rate(b, callers, func(ctx context.Context, i int) error {
		ctx, cancel := context.WithTimeout(ctx, redisPatience)
		defer cancel()
		_, err := a.decide(ctx, calls[i].t, calls[i].r)
		return err
	})
}

// bare is a turn of the same script on the same connections, with its arguments
// made before.
func (a *admission) bare(b *testing.B, callers int) float64 {
	type call struct {
		keys []string
		args []any
	}
	calls := make([]call, atMost)
	for i := range calls {
		t, r := a.next()
		var err error
		if calls[i].keys, calls[i].args, err = a.admitArguments(t, r); err != nil {
			b.Fatal(err)
		}
	}
	return rate(b, callers, func(ctx context.Context, i int) error {
		answer, err := a.runScript(ctx, admit, calls[i].keys, calls[i].args...)
		if err == nil && answer[0] != "admitted" {
			err = fmt.Errorf("answered %q", answer)
		}
		return err
	})
}

// rate is how many a second so many callers get through in a turn.
func rate(b *testing.B, callers int, f func(ctx context.Context, i int) error) float64 {
	runtime.GC() // of what was made for it
	var begun, done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range callers {
		all.Go(func() {
			for i := begun.Add(1) - 1; i < atMost && time.Since(began) < turn; i = begun.Add(1) - 1 {
				if err := f(b.Context(), int(i)); err != nil {
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
// calls a second, and the ratio of the two (of-bare); medians of the turns.
func BenchmarkAdmission(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			a := newAdmission(b)
			var admits, calls, ratios []float64
			b.ResetTimer()
			for range turns {
				x, y := a.ours(b, callers), a.bare(b, callers)
				admits, calls, ratios = append(admits, x), append(calls, y), append(ratios, x/y)
			}
			for _, s := range [][]float64{admits, calls, ratios} {
				slices.Sort(s)
			}
			b.ReportMetric(admits[turns/2], "admits/s")
			b.ReportMetric(calls[turns/2], "bare/s")
			b.ReportMetric(ratios[turns/2], "of-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}
