package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"imza/gateway/registry"
)

// The sizes that are set beside one another: so many subscribers are asked in
// both, and in the second there are thousandfold as many on record.
const (
	asked     = 1000
	manifold  = 1000
	mostTimes = 1.1 // as much as one signature may cost beside a million
)

// sizeTurns are short, so that what else the machine does falls on both alike.
const sizeTurns = 7

// compareSizes has the same load on two stacks in turns, one with a thousand
// subscribers on record, one with a million.
func (o *options) compareSizes(ctx context.Context, imza, dir string, out io.Writer) error {
	var stacks [2]*stack
	for i := range stacks {
		folder := filepath.Join(dir, [...]string{"thousand", "million"}[i])
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		s, err := startStack(ctx, imza, folder, asked)
		if err != nil {
			return err
		}
		defer s.Close()
		fmt.Fprintf(out, "%d cards are enrolled", asked)
		began := time.Now()
		s.gateway.stop()
		if err := multiply(ctx, filepath.Join(folder, "data", "imza.db"), 1+i*(manifold-1)); err != nil {
			return err
		}
		if err := s.startGateway(ctx); err != nil {
			return err
		}
		fmt.Fprintf(out, ", %d subscribers are on record after %s.\n", asked*(1+i*(manifold-1)), time.Since(began).Round(time.Second))
		stacks[i] = s
	}
	var turns [2][]turn
	share := max(o.span/(2*sizeTurns), time.Second)
	for n := range sizeTurns + 1 {
		for i, s := range stacks {
			t, err := s.test(ctx, n+1, share, closed(o.callers)...)
			if err != nil {
				return err
			}
			if n > 0 { // the first has everything in memory
				turns[i] = append(turns[i], t)
			}
			if len(t.amiss) > 0 {
				return fmt.Errorf("%w: %q", errAmiss, t.amiss)
			}
		}
	}
	return printSizes(out, turns)
}

func printSizes(out io.Writer, turns [2][]turn) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\none signature\t%d on record\t%d on record\ttimes\t\n", asked, asked*manifold)
	row := func(name, unit string, of func(*turn) float64) float64 {
		times := medianOf(len(turns[0]), func(i int) float64 { return of(&turns[1][i]) / of(&turns[0][i]) })
		fmt.Fprintf(w, "%s\t%.1f%s\t%.1f%s\t%.2f\t\n", name, median(turns[0], of), unit, median(turns[1], of), unit, times)
		return times
	}
	row("CPU of the gateway", " µs", func(t *turn) float64 { return t.gateway })
	row("CPU of Redis", " µs", func(t *turn) float64 { return t.redis })
	both := row("CPU of both", " µs", func(t *turn) float64 { return t.gateway + t.redis })
	row("CPU of all", " µs", (*turn).cpu)
	row("a second", "", func(t *turn) float64 { return t.perSecond })
	row("p50", " ms", func(t *turn) float64 { return micros(t.within(500)) / 1000 })
	row("p99", " ms", func(t *turn) float64 { return micros(t.within(990)) / 1000 })
	if err := w.Flush(); err != nil {
		return err
	}
	word := "holds"
	if both > mostTimes {
		word = "DOES NOT HOLD"
	}
	_, err := fmt.Fprintf(out, "\na signature costs %.2f times as much CPU, at most %.1f: %s\n", both, mostTimes, word)
	return err
}

// multiply has every employee of a record have a permission set of his own, and
// then puts others on record until there are so many times as many: for each, his
// like under numbers that come right behind his. So those who are asked stand as
// far apart as if they were any among all. Nobody reads the others, whose numbers
// are longer than they may be.
func multiply(ctx context.Context, path string, times int) error {
	db, _, err := registry.OpenDatabase(path)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	for _, statement := range []string{
		`INSERT INTO permission_sets (voen, fin, version, block_all) SELECT voen, fin, 1, FALSE FROM employees WHERE true ON CONFLICT DO NOTHING`,
		`INSERT INTO permission_exceptions (voen, fin, provider) SELECT voen, fin, 'notary' FROM employees WHERE true ON CONFLICT DO NOTHING`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	for _, table := range []string{"subscribers", "certificates", "employees", "permission_sets", "permission_exceptions"} {
		if err := multiplyTable(ctx, tx, table, times); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	return err
}

// numbers are the columns in which those on record differ.
var numbers = map[string]bool{"msisdn": true, "iccid": true, "fin": true, "serial": true}

func multiplyTable(ctx context.Context, tx *sql.Tx, table string, times int) error {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` LIMIT 0`)
	if err != nil {
		return err
	}
	columns, err := rows.Columns()
	if err := rows.Close(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	values := make([]string, len(columns))
	for i, c := range columns {
		if values[i] = "t." + c; numbers[c] {
			values[i] += " || n.suffix"
		}
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO %s (%s)
		WITH RECURSIVE k (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i + 1 < ?), n (suffix) AS (SELECT printf('%%03d', i) FROM k WHERE i < ?)
		SELECT %s FROM %s t CROSS JOIN n ORDER BY t.rowid`, table, strings.Join(columns, ", "), strings.Join(values, ", "), table), times, times)
	return err
}
