package registry

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect reads all rows, each into the fields that into names. It takes what
// QueryContext returns, its error too.
func collect[T any](rows *sql.Rows, err error, into func(*T) []any) ([]T, error) {
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		var one T
		if err := rows.Scan(into(&one)...); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return all, nil
}

// affected tells whether a statement found something to do.
func affected(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// conditions are the WHERE clause of a statement that is put together.
type conditions struct {
	text []string
	args []any
}

// and adds a condition, in which each ? stands for one of the arguments.
func (c *conditions) and(condition string, args ...any) {
	for _, arg := range args {
		condition = strings.Replace(condition, "?", c.arg(arg), 1)
	}
	c.text = append(c.text, condition)
}

// arg adds an argument and returns how it is written.
func (c *conditions) arg(arg any) string {
	c.args = append(c.args, arg)
	return "$" + strconv.Itoa(len(c.args))
}

// in adds that a column has one of some values, of which there is at least one.
func in[T any](c *conditions, column string, values []T) {
	marks := make([]string, len(values))
	for i, v := range values {
		marks[i] = c.arg(v)
	}
	c.text = append(c.text, column+" IN ("+strings.Join(marks, ", ")+")")
}

func (c *conditions) String() string { return " WHERE " + strings.Join(c.text, " AND ") }
