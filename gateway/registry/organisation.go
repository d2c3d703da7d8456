package registry

import (
	"context"
	"database/sql"
	"fmt"

	"imza/policy"
)

// Organisation is an organisation on record.
type Organisation struct {
	VOEN      policy.VOEN `json:"voen"`
	Name      string      `json:"name"`
	Employees int         `json:"employees"` // on record, past ones too
}

// OrganisationFilter says which organisations are wanted.
type OrganisationFilter struct {
	VOENs []policy.VOEN // nil: all; empty: none
	Text  string        // words that are in name or VÖEN, in any case
	After policy.VOEN
	Limit int
}

const insertOrganisation = `INSERT INTO organisations (voen, name, search) VALUES ($1, $2, $3) ON CONFLICT (voen) DO NOTHING`

// AddOrganisation records an organisation; one on record keeps its name.
func (r *Registry) AddOrganisation(ctx context.Context, voen policy.VOEN, name string) error {
	if _, err := r.db.ExecContext(ctx, insertOrganisation, voen, name, searchedOrganisation(string(voen), name)); err != nil {
		return fmt.Errorf("registry: organisation: %w", err)
	}
	return nil
}

const organisationColumns = `SELECT o.voen, o.name, (SELECT count(*) FROM employees e WHERE e.voen = o.voen) FROM organisations o`

func (o *Organisation) fields() []any { return []any{&o.VOEN, &o.Name, &o.Employees} }

// Organisations lists organisations, by VÖEN.
func (r *Registry) Organisations(ctx context.Context, f OrganisationFilter) ([]Organisation, error) {
	if f.VOENs != nil && len(f.VOENs) == 0 {
		return []Organisation{}, nil
	}
	var c conditions
	c.and(`o.voen > ?`, f.After)
	if f.VOENs != nil {
		in(&c, `o.voen`, f.VOENs)
	}
	for _, word := range words(f.Text) {
		c.and(`o.search LIKE ? ESCAPE '!'`, like(word))
	}
	query := organisationColumns + c.String() + ` ORDER BY o.voen LIMIT ` + c.arg(f.Limit)
	rows, err := r.db.QueryContext(ctx, query, c.args...)
	return collect(rows, err, (*Organisation).fields)
}

// Organisation reads one; ErrUnknown if it is not on record.
func (r *Registry) Organisation(ctx context.Context, voen policy.VOEN) (o Organisation, err error) {
	if err := r.db.QueryRowContext(ctx, organisationColumns+` WHERE o.voen = $1`, voen).Scan(o.fields()...); err != nil {
		return o, unknown(err, "organisation")
	}
	return o, nil
}

// Outcome is what became of a row that is imported.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Altered   Outcome = "changed"
	Unchanged Outcome = "unchanged"
)

// ImportOrganisation records an organisation, or changes its name.
func (r *Registry) ImportOrganisation(ctx context.Context, tx *sql.Tx, voen policy.VOEN, name string) (Outcome, error) {
	search := searchedOrganisation(string(voen), name)
	created, err := affected(tx.ExecContext(ctx, insertOrganisation, voen, name, search))
	if err != nil {
		return "", fmt.Errorf("registry: organisation: %w", err)
	}
	if created {
		return Created, nil
	}
	altered, err := affected(tx.ExecContext(ctx, `UPDATE organisations SET name = $2, search = $3 WHERE voen = $1 AND name <> $2`, voen, name, search))
	if err != nil {
		return "", fmt.Errorf("registry: organisation: %w", err)
	}
	if altered {
		return Altered, nil
	}
	return Unchanged, nil
}
