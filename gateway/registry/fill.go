package registry

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"

	"imza/gateway"
	"imza/policy"
)

// fillBatch is how many rows are filled in together.
const fillBatch = 500

// fill adds what an earlier version did not record and SQL cannot tell: how long
// certificates are valid, who is an employee by them, and what is searched. It
// may be run at any time, by several at once (all go in one order), and does
// nothing when all is there.
func (r *Registry) fill(ctx context.Context) error {
	for _, batch := range []func(context.Context) (int, error){r.fillOrganisations, r.fillCertificates} {
		for {
			n, err := batch(ctx)
			if err != nil {
				return fmt.Errorf("registry: filling in: %w", err)
			}
			if n < fillBatch {
				break
			}
		}
	}
	return nil
}

func (r *Registry) fillOrganisations(ctx context.Context) (int, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT voen, name FROM organisations WHERE search = '' ORDER BY voen LIMIT $1`, fillBatch)
	batch, err := collect(rows, err, func(o *Organisation) []any { return []any{&o.VOEN, &o.Name} })
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	return len(batch), r.write(ctx, func(tx *sql.Tx) error {
		for _, o := range batch {
			if _, err := tx.ExecContext(ctx, `UPDATE organisations SET search = $2 WHERE voen = $1 AND search = ''`, o.VOEN, searchedOrganisation(string(o.VOEN), o.Name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *Registry) fillCertificates(ctx context.Context) (int, error) {
	type row struct {
		gateway.Certificate
		der []byte
		Person
	}
	rows, err := r.db.QueryContext(ctx, `SELECT c.serial, c.voen, c.der, c.fin, s.given_name, s.surname
		FROM certificates c JOIN subscribers s ON s.iccid = c.iccid WHERE c.not_after = 0 ORDER BY c.serial LIMIT $1`, fillBatch)
	batch, err := collect(rows, err, func(w *row) []any {
		return []any{&w.Serial, &w.VOEN, &w.der, &w.FIN, &w.GivenName, &w.Surname}
	})
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	return len(batch), r.write(ctx, func(tx *sql.Tx) error {
		for _, w := range batch {
			from, until := validity(w.der)
			if err := one(tx.ExecContext(ctx, `UPDATE certificates SET not_before = $2, not_after = $3 WHERE serial = $1 AND not_after = 0`, w.Serial, from, until)); err != nil {
				if errors.Is(err, sql.ErrNoRows) {
					continue // another one was faster
				}
				return err
			}
			if w.VOEN == "" {
				continue
			}
			if err := addEmployee(ctx, tx, policy.Employee{VOEN: w.VOEN, FIN: w.FIN}, w.GivenName, w.Surname); err != nil {
				return err
			}
		}
		return nil
	})
}

// validity is from when until when a certificate is valid, in ms since 1970. One
// that cannot be read never was: it must not keep the others from being read.
func validity(der []byte) (from, until int64) {
	c, err := x509.ParseCertificate(der)
	if err != nil || c.NotAfter.UnixMilli() == 0 {
		return 1, 1
	}
	return c.NotBefore.UnixMilli(), c.NotAfter.UnixMilli()
}
