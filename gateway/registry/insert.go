package registry

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
)

// rowsAtOnce is how many rows one statement inserts: enough that PostgreSQL's
// round trips do not count, few enough that SQLite finds its parameters fast.
const rowsAtOnce = 32

// insertRows inserts rows, each with what values appends of it, and counts those
// that were inserted. into is the statement up to VALUES, end what comes behind
// them.
func insertRows[T any](ctx context.Context, tx *sql.Tx, into, end string, rows []T, values func(all []any, row T) []any) (inserted int64, err error) {
	var statement *sql.Stmt
	if len(rows) >= rowsAtOnce {
		if statement, err = tx.PrepareContext(ctx, into+tuples(rowsAtOnce, len(values(nil, rows[0])))+end); err != nil {
			return 0, err
		}
		defer statement.Close()
	}
	var all []any
	for chunk := range slices.Chunk(rows, rowsAtOnce) {
		all = all[:0]
		for _, row := range chunk {
			all = values(all, row)
		}
		var result sql.Result
		if len(chunk) == rowsAtOnce {
			result, err = statement.ExecContext(ctx, all...)
		} else {
			result, err = tx.ExecContext(ctx, into+tuples(len(chunk), len(all)/len(chunk))+end, all...)
		}
		if err != nil {
			return inserted, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return inserted, err
		}
		inserted += n
	}
	return inserted, nil
}

// tuples writes that many rows of parameters: " VALUES ($1, $2), ($3, $4)".
func tuples(rows, columns int) string {
	b := []byte(" VALUES ")
	for i := range rows * columns {
		switch {
		case i == 0:
			b = append(b, "($"...)
		case i%columns == 0:
			b = append(b, "), ($"...)
		default:
			b = append(b, ", $"...)
		}
		b = strconv.AppendInt(b, int64(i+1), 10)
	}
	return string(append(b, ')'))
}
