package policy

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// View is the sets of one organisation as one provider sees them.
type View struct {
	Version int64 // rises whenever a decision for this provider may have changed
	Blocked []FIN // who may not sign for it; sorted
}

// view is what a version is counted for. Changes of a default count for all
// providers, under the empty name.
type view struct {
	voen     VOEN
	provider Provider
}

func (v view) compare(w view) int {
	return cmp.Or(cmp.Compare(v.voen, w.voen), cmp.Compare(v.provider, w.provider))
}

// View reads who of an organisation is blocked for a provider.
func (r *Record) View(ctx context.Context, voen VOEN, p Provider) (v View, err error) {
	// The version comes first: should a save fall in between, it is the older one,
	// and what is made of this view is a conflict.
	if err := r.db.QueryRowContext(ctx, `SELECT COALESCE(SUM(version), 0) FROM permission_views WHERE voen = $1 AND provider IN ('', $2)`, voen, p).Scan(&v.Version); err != nil {
		return v, fmt.Errorf("policy: %w", err)
	}
	rows, err := r.db.QueryContext(ctx, `SELECT fin FROM permission_sets s WHERE voen = $1 AND block_all <>
		EXISTS (SELECT 1 FROM permission_exceptions x WHERE x.voen = s.voen AND x.fin = s.fin AND x.provider = $2) ORDER BY fin`, voen, p)
	if err != nil {
		return v, fmt.Errorf("policy: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var fin FIN
		if err := rows.Scan(&fin); err != nil {
			return v, fmt.Errorf("policy: %w", err)
		}
		v.Blocked = append(v.Blocked, fin)
	}
	return v, rows.Err()
}

// ViewVersion reads a view's version for a save's Check, and keeps it from
// changing until the save's transaction ends.
func (r *Record) ViewVersion(ctx context.Context, tx *sql.Tx, voen VOEN, p Provider) (sum int64, err error) {
	for _, name := range []Provider{"", p} {
		var version int64
		if err := tx.QueryRowContext(ctx, `INSERT INTO permission_views (voen, provider, version) VALUES ($1, $2, 0)
			ON CONFLICT (voen, provider) DO UPDATE SET version = permission_views.version RETURNING version`, voen, name).Scan(&version); err != nil {
			return 0, fmt.Errorf("policy: %w", err)
		}
		sum += version
	}
	return sum, nil
}

// Saved is a set with whom it is about.
type Saved struct {
	Employee Employee
	Set      Set
}

// List reads sets that block anything, of one organisation or, with an empty
// VOEN, of all: at most limit, by VÖEN and FIN, those after an employee.
func (r *Record) List(ctx context.Context, voen VOEN, after Employee, limit int) ([]Saved, error) {
	// One statement, so that what it reads is of one moment.
	rows, err := r.db.QueryContext(ctx, `SELECT s.voen, s.fin, s.version, s.block_all, x.provider FROM (
			SELECT voen, fin, version, block_all FROM permission_sets s WHERE ($1 = '' OR voen = $1) AND (voen, fin) > ($2, $3) AND
			(block_all OR EXISTS (SELECT 1 FROM permission_exceptions x WHERE x.voen = s.voen AND x.fin = s.fin)) ORDER BY voen, fin LIMIT $4) s
		LEFT JOIN permission_exceptions x ON x.voen = s.voen AND x.fin = s.fin ORDER BY s.voen, s.fin`,
		voen, after.VOEN, after.FIN, limit)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var all []Saved
	if err := scan(rows, func() error {
		var s Saved
		var p sql.NullString
		if err := rows.Scan(&s.Employee.VOEN, &s.Employee.FIN, &s.Set.Version, &s.Set.BlockAll, &p); err != nil {
			return err
		}
		if len(all) == 0 || all[len(all)-1].Employee != s.Employee {
			all = append(all, s)
		}
		if set := &all[len(all)-1].Set; p.Valid {
			set.Exceptions = append(set.Exceptions, Provider(p.String))
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	for _, s := range all {
		slices.Sort(s.Set.Exceptions) // the database's collation may differ
	}
	return all, nil
}
