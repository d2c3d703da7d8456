package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"fmt"
	"log/slog"
	"math/big"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
	"imza/simcard"
	"imza/simcard/applet"
)

// size is a record of so many employees with permission sets, in SQLite on disk,
// and a gateway on it. A thousand of them, spread evenly, have a telephone and
// sign; they are known by their place.
type size struct {
	*gateway.Gateway
	registry    *registry.Registry
	permissions *policy.Store
	spread      int
	turn        int
}

const signers = 1000

func newSize(b *testing.B, employees int) *size {
	b.Helper()
	db, dialect, err := registry.OpenDatabase(filepath.Join(b.TempDir(), "record.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	s := &size{spread: employees / signers}
	if s.registry, err = registry.Open(b.Context(), db, dialect, []byte("pepper")); err != nil {
		b.Fatal(err)
	}
	record, err := policy.OpenRecord(b.Context(), db, dialect)
	if err != nil {
		b.Fatal(err)
	}
	client, err := gateway.OpenRedis("redis://" + redistest.Start(b).Addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	s.permissions = &policy.Store{Record: record, Redis: client}
	s.Gateway = gateway.New(gateway.Config{Redis: client, Permissions: s.permissions, Directory: s.registry, MasterKey: make([]byte, 16),
		PromptLimit: 1 << 30, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	s.populate(b, db, employees)
	return s
}

// populate enrols the signers, and writes all others by SQL alone.
func (s *size) populate(b *testing.B, db *sql.DB, employees int) {
	b.Helper()
	certificate := smallCertificate(b)
	for place := range signers {
		e, m, iccid := s.signer(place)
		if place == 0 {
			if err := s.registry.AddOrganisation(b.Context(), e.VOEN, "Nümunə MMC"); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.registry.Enrol(b.Context(), registry.Person{MSISDN: m, ICCID: iccid, FIN: e.FIN, GivenName: "Aysel", Surname: "Məmmədova", UserID: "123456"},
			[]gateway.Certificate{{Serial: "a" + string(e.FIN), Type: gateway.Business, VOEN: e.VOEN, Key: 1, X509: certificate}}); err != nil {
			b.Fatal(err)
		}
	}
	everybody := fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < %d),
		p AS (SELECT i, substr(CAST(10000000 + i AS TEXT), 2) AS fin, '1400000011' AS voen FROM n) `, employees)
	others := fmt.Sprintf(` FROM p WHERE i %% %d <> 0`, s.spread)
	for _, statement := range []string{
		`INSERT INTO subscribers (msisdn, iccid, fin, given_name, surname, user_id_hash) ` + everybody + `SELECT '+99450' || fin, '899940100000' || fin, fin, 'Aysel', 'Məmmədova', x'00'` + others,
		`INSERT INTO certificates (serial, iccid, card_key, type, voen, fin, der, state, changed_at, not_before, not_after) ` + everybody +
			fmt.Sprintf(`SELECT 'a' || fin, '899940100000' || fin, 1, 'business', voen, fin, x'%x', 'active', 1, 1, 2`, certificate.Raw) + others,
		`INSERT INTO employees (voen, fin, given_name, surname, search) ` + everybody + `SELECT voen, fin, 'Aysel', 'Məmmədova', fin || ' aysel məmmədova'` + others,
		`INSERT INTO permission_sets (voen, fin, version, block_all) ` + everybody + `SELECT voen, fin, 1, FALSE FROM p`,
		`INSERT INTO permission_exceptions (voen, fin, provider) ` + everybody + `SELECT voen, fin, 'notary' FROM p`,
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := db.ExecContext(b.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		b.Fatal(err)
	}
}

func (s *size) signer(place int) (policy.Employee, simcard.MSISDN, simcard.ICCID) {
	fin := fmt.Sprintf("%07d", place*s.spread)
	return policy.Employee{VOEN: "1400000011", FIN: policy.FIN(fin)}, simcard.MSISDN("+99450" + fin), simcard.ICCID("899940100000" + fin)
}

// next is another signer each time, in an order that is none.
func (s *size) next() (policy.Employee, simcard.MSISDN) {
	s.turn = (s.turn + 387) % signers
	e, m, _ := s.signer(s.turn)
	return e, m
}

// smallCertificate has little more than a key in it.
func smallCertificate(b *testing.B) *x509.Certificate {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		b.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// admit is an admission with all that it asks of the record.
func (s *size) admit(ctx context.Context) error {
	_, m := s.next()
	digest := make([]byte, 32)
	rand.Read(digest)
	_, err := s.AdmitUnsent(ctx, gateway.Request{Provider: "bank", MSISDN: m, UserID: "123456", Wanted: gateway.Wanted{Type: gateway.Business},
		Algorithm: applet.SHA256, Digest: digest, Text: "Müqavilə № 12", Timeout: time.Millisecond})
	return err
}

// forget is what came before an admission whose set is not in Redis.
func (s *size) forget(ctx context.Context) error {
	turn := s.turn
	e, _ := s.next()
	s.turn = turn
	return s.permissions.Redis.Del(ctx, policy.SetKey(e)).Err()
}

// save is a manager's, with its audit entry.
func (s *size) save(ctx context.Context) error {
	e, _ := s.next()
	_, err := s.permissions.Save(ctx, policy.Save{
		Employees: []policy.Employee{e},
		Change: func(_ policy.Employee, before policy.Set) (policy.Set, error) {
			return before.With("shop", !before.Allows("shop")), nil
		},
		Also: func(ctx context.Context, tx *sql.Tx, changed []policy.Changed) error {
			return s.registry.Audit(ctx, tx, registry.Change{Actor: "manager", Action: "block", Subject: e.String(), VOEN: e.VOEN, FIN: e.FIN,
				Before: changed[0].Before, After: changed[0].After})
		},
	})
	return err
}

// BenchmarkSizes sets a record of 1,000,000 employees beside one of 1,000, in
// turns. Metrics, of each operation: µs with a thousand, µs with a million, and
// the second as a multiple of the first; medians.
func BenchmarkSizes(b *testing.B) {
	small, large := newSize(b, signers), newSize(b, 1_000_000)
	for _, s := range []*size{small, large} {
		for range signers { // what is in use is in memory
			if err := s.admit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, o := range []struct {
		name   string
		before func(*size) error
		do     func(*size) error
	}{
		{"admit", nil, func(s *size) error { return s.admit(b.Context()) }},
		{"admit-loading", func(s *size) error { return s.forget(b.Context()) }, func(s *size) error { return s.admit(b.Context()) }},
		{"save", nil, func(s *size) error { return s.save(b.Context()) }},
	} {
		b.Run(o.name, func(b *testing.B) {
			var took [2][]time.Duration
			for range 2000 {
				for i, s := range []*size{small, large} {
					if o.before != nil {
						if err := o.before(s); err != nil {
							b.Fatal(err)
						}
					}
					began := time.Now()
					if err := o.do(s); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(began))
				}
			}
			for i := range took {
				slices.Sort(took[i])
			}
			thousand, million := took[0][1000].Seconds()*1e6, took[1][1000].Seconds()*1e6
			b.ReportMetric(thousand, "µs/1k")
			b.ReportMetric(million, "µs/1M")
			b.ReportMetric(million/thousand, "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
	keys, err := large.permissions.Redis.DBSize(b.Context()).Result()
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("with 1,000,000 employees on record, of whom 1,000 sign, Redis has %d keys, transactions of this benchmark included", keys)
}
