package registry

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"

	"imza/policy"
)

// knownChunk is about how many one statement asks.
const knownChunk = 500

// Import runs do in one transaction, which in SQLite has the database for
// itself. An error of do leaves everything as it was.
func (r *Registry) Import(ctx context.Context, do func(tx *sql.Tx) error) error {
	return r.write(ctx, func(tx *sql.Tx) error {
		// It writes nothing, but takes the database.
		if _, err := tx.ExecContext(ctx, `UPDATE organisations SET name = name WHERE voen = ''`); err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		return do(tx)
	})
}

// Names are what an organisation or an employee is called.
type Names struct {
	Name      string `json:"name,omitempty"` // of an organisation
	GivenName string `json:"givenName,omitempty"`
	Surname   string `json:"surname,omitempty"`
}

// named is what has names.
type named struct {
	policy.Employee
	Names
}

// OrganisationNames returns the names of those organisations that are on record,
// to be changed in this transaction: nobody else changes them until it ends. tx may
// be nil for who changes nothing.
func (r *Registry) OrganisationNames(ctx context.Context, tx *sql.Tx, voens []policy.VOEN) (map[policy.VOEN]Names, error) {
	end := `ORDER BY voen`
	if tx != nil {
		end += r.lock()
	}
	all, err := known(ctx, r.or(tx), `SELECT voen, name FROM organisations WHERE voen`, end, voens,
		func(v policy.VOEN) []any { return []any{v} }, func(n *named) []any { return []any{&n.VOEN, &n.Name} })
	names := make(map[policy.VOEN]Names, len(all))
	for _, n := range all {
		names[n.VOEN] = n.Names
	}
	return names, err
}

// EmployeeNames is likewise for employees.
func (r *Registry) EmployeeNames(ctx context.Context, tx *sql.Tx, employees []policy.Employee) (map[policy.Employee]Names, error) {
	all, err := known(ctx, tx, `SELECT voen, fin, given_name, surname FROM employees WHERE (voen, fin)`, `ORDER BY voen, fin`+r.lock(), employees,
		ofEmployee, func(n *named) []any { return []any{&n.VOEN, &n.FIN, &n.GivenName, &n.Surname} })
	names := make(map[policy.Employee]Names, len(all))
	for _, n := range all {
		names[n.Employee] = n.Names
	}
	return names, err
}

// lock has a SELECT keep its rows from others until the transaction ends, all in
// one order. In SQLite nobody else writes anyway.
func (r *Registry) lock() string {
	if r.dialect == goose.DialectPostgres {
		return ` FOR NO KEY UPDATE`
	}
	return ""
}

// KnownOrganisations returns those that are on record. tx may be nil.
func (r *Registry) KnownOrganisations(ctx context.Context, tx *sql.Tx, voens []policy.VOEN) (map[policy.VOEN]bool, error) {
	all, err := known(ctx, r.or(tx), `SELECT voen FROM organisations WHERE voen`, ``, voens,
		func(v policy.VOEN) []any { return []any{v} }, func(v *policy.VOEN) []any { return []any{v} })
	return setOf(all), err
}

// KnownEmployees returns those that are on record. tx may be nil.
func (r *Registry) KnownEmployees(ctx context.Context, tx *sql.Tx, employees []policy.Employee) (map[policy.Employee]bool, error) {
	all, err := known(ctx, r.or(tx), `SELECT voen, fin FROM employees WHERE (voen, fin)`, ``, employees,
		ofEmployee, func(e *policy.Employee) []any { return []any{&e.VOEN, &e.FIN} })
	return setOf(all), err
}

// KnownProviders returns those that are on record. tx may be nil.
func (r *Registry) KnownProviders(ctx context.Context, tx *sql.Tx, providers []policy.Provider) (map[policy.Provider]bool, error) {
	all, err := known(ctx, r.or(tx), `SELECT id FROM providers WHERE id`, ``, providers,
		func(p policy.Provider) []any { return []any{p} }, func(p *policy.Provider) []any { return []any{p} })
	return setOf(all), err
}

func ofEmployee(e policy.Employee) []any { return []any{e.VOEN, e.FIN} }

func (r *Registry) or(tx *sql.Tx) queryer {
	if tx == nil {
		return r.db
	}
	return tx
}

func setOf[T comparable](all []T) map[T]bool {
	set := make(map[T]bool, len(all))
	for _, one := range all {
		set[one] = true
	}
	return set
}

// known asks which of many keys are there, some hundreds in one statement.
func known[K, T any](ctx context.Context, q queryer, query, end string, keys []K, columns func(K) []any, into func(*T) []any) (all []T, err error) {
	for chunk := range slices.Chunk(keys, knownChunk) {
		var c conditions
		tuples := make([]string, len(chunk))
		for i, key := range chunk {
			var marks []string
			for _, column := range columns(key) {
				marks = append(marks, c.arg(column))
			}
			tuples[i] = "(" + strings.Join(marks, ", ") + ")"
		}
		rows, err := q.QueryContext(ctx, query+` IN (VALUES `+strings.Join(tuples, ", ")+`) `+end, c.args...)
		found, err := collect(rows, err, into)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
