package policy

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// apply makes a save in a transaction, and tells how many sets changed.
func apply(ctx context.Context, tx *sql.Tx, save Save) (sets []Set, n int, err error) {
	sets, changed, err := change(ctx, tx, save)
	if err != nil || save.Also == nil {
		return sets, len(changed), err
	}
	return sets, len(changed), save.Also(ctx, tx, changed)
}

// change applies a save to the sets, which it locks first: two saves of one set
// follow one another. All are locked in one order, and the views after them.
func change(ctx context.Context, tx *sql.Tx, save Save) (sets []Set, changed []Changed, err error) {
	before, err := lock(ctx, tx, save.Employees)
	if err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	if save.Check != nil {
		if err := save.Check(ctx, tx); err != nil {
			return nil, nil, err
		}
	}
	views := make(map[view]bool)
	for _, e := range save.Employees {
		was := before[e]
		is, err := save.Change(e, was)
		if err != nil {
			return nil, nil, err
		}
		is.Exceptions = slices.Compact(slices.Sorted(slices.Values(is.Exceptions)))
		is.Version = was.Version
		if differ := was.differ(is); is.BlockAll != was.BlockAll || len(differ) > 0 {
			is.Version++
			changed = append(changed, Changed{e, was, is})
			if is.BlockAll != was.BlockAll {
				views[view{e.VOEN, ""}] = true
			}
			for _, p := range differ {
				views[view{e.VOEN, p}] = true
			}
		}
		sets = append(sets, is)
	}
	if err := write(ctx, tx, changed); err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	if err := raise(ctx, tx, slices.SortedFunc(maps.Keys(views), view.compare)); err != nil {
		return nil, nil, fmt.Errorf("policy: %w", err)
	}
	return sets, changed, nil
}

// atOnce is how many rows one statement reads or writes.
const atOnce = 100

// lock reads sets and keeps them from changing until the transaction ends.
func lock(ctx context.Context, tx *sql.Tx, employees []Employee) (map[Employee]Set, error) {
	sets := make(map[Employee]Set, len(employees))
	for some := range slices.Chunk(slices.SortedFunc(slices.Values(employees), Employee.compare), atOnce) {
		var args []any
		for _, e := range some {
			args = append(args, e.VOEN, e.FIN)
		}
		rows, err := tx.QueryContext(ctx, `INSERT INTO permission_sets (voen, fin, version, block_all) VALUES `+repeat(len(some), `(?, ?, 0, FALSE)`, `, `)+`
			ON CONFLICT (voen, fin) DO UPDATE SET version = permission_sets.version RETURNING voen, fin, version, block_all`, args...)
		if err != nil {
			return nil, err
		}
		if err := scan(rows, func() error {
			var e Employee
			var s Set
			err := rows.Scan(&e.VOEN, &e.FIN, &s.Version, &s.BlockAll)
			sets[e] = s
			return err
		}); err != nil {
			return nil, err
		}
		rows, err = tx.QueryContext(ctx, `SELECT voen, fin, provider FROM permission_exceptions WHERE `+repeat(len(some), `(voen = ? AND fin = ?)`, ` OR `), args...)
		if err != nil {
			return nil, err
		}
		if err := scan(rows, func() error {
			var e Employee
			var p Provider
			err := rows.Scan(&e.VOEN, &e.FIN, &p)
			s := sets[e]
			s.Exceptions = append(s.Exceptions, p)
			sets[e] = s
			return err
		}); err != nil {
			return nil, err
		}
	}
	if len(sets) != len(employees) {
		return nil, fmt.Errorf("%d of %d sets", len(sets), len(employees))
	}
	for _, s := range sets {
		slices.Sort(s.Exceptions) // the database's collation may differ
	}
	return sets, nil
}

// write replaces sets by others.
func write(ctx context.Context, tx *sql.Tx, changed []Changed) error {
	var sets, added, removed []any // arguments, a row after the other
	for _, c := range changed {
		sets = append(sets, c.Employee.VOEN, c.Employee.FIN, c.After.Version, c.After.BlockAll)
		for _, p := range c.Before.differ(c.After) {
			row := []any{c.Employee.VOEN, c.Employee.FIN, p}
			if c.Before.excepts(p) {
				removed = append(removed, row...)
			} else {
				added = append(added, row...)
			}
		}
	}
	if err := inRows(ctx, tx, sets, 4, `INSERT INTO permission_sets (voen, fin, version, block_all) VALUES `, `(?, ?, ?, ?)`, `, `,
		` ON CONFLICT (voen, fin) DO UPDATE SET version = excluded.version, block_all = excluded.block_all`); err != nil {
		return err
	}
	if err := inRows(ctx, tx, removed, 3, `DELETE FROM permission_exceptions WHERE `, `(voen = ? AND fin = ? AND provider = ?)`, ` OR `, ``); err != nil {
		return err
	}
	return inRows(ctx, tx, added, 3, `INSERT INTO permission_exceptions (voen, fin, provider) VALUES `, `(?, ?, ?)`, `, `, ``)
}

// raise counts a change of views.
func raise(ctx context.Context, tx *sql.Tx, views []view) error {
	var args []any
	for _, v := range views {
		args = append(args, v.voen, v.provider)
	}
	return inRows(ctx, tx, args, 2, `INSERT INTO permission_views (voen, provider, version) VALUES `, `(?, ?, 1)`, `, `,
		` ON CONFLICT (voen, provider) DO UPDATE SET version = permission_views.version + 1`)
}

// inRows runs a statement for arguments that are columns to a row.
func inRows(ctx context.Context, tx *sql.Tx, args []any, columns int, before, row, between, after string) error {
	for some := range slices.Chunk(args, atOnce*columns) {
		if _, err := tx.ExecContext(ctx, before+repeat(len(some)/columns, row, between)+after, some...); err != nil {
			return err
		}
	}
	return nil
}

// repeat writes n rows, with numbers in place of their question marks.
func repeat(n int, row, between string) string {
	parts := strings.Split(strings.TrimSuffix(strings.Repeat(row+between, n), between), "?")
	var b strings.Builder
	for i, part := range parts {
		b.WriteString(part)
		if i < len(parts)-1 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(i + 1))
		}
	}
	return b.String()
}

// scan reads rows to their end.
func scan(rows *sql.Rows, one func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := one(); err != nil {
			return err
		}
	}
	return rows.Err()
}
