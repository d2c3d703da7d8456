package registry

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"imza/policy"
)

// Change is one thing that an administrator did.
type Change struct {
	Actor  string // the administrator
	Role   string // as what: "operator", "manager"
	Source string // the address that the request came from

	Action  string // what was done, like "block"
	Subject string // to whom, like "1400000011/7DEM001 demo"

	// What the log can be searched by; empty where it does not apply.
	VOEN     policy.VOEN
	FIN      policy.FIN
	Provider policy.Provider

	Before, After any // as JSON
}

// maxChange is how many octets the texts of one entry may have, so that who
// reads an export can bound its lines.
const maxChange = 4 << 20

// Audit appends changes to the log, in the transaction that makes them: if that
// is rolled back, they are not in the log. It may be the transaction's first
// statement, but on PostgreSQL others that append wait from here to the commit:
// so it comes after all that others may hold, or each would wait for the other.
// After an error the transaction must not be committed.
func (r *Registry) Audit(ctx context.Context, tx *sql.Tx, changes ...Change) error {
	links := make([]*link, 0, len(changes))
	for _, c := range changes {
		l, err := c.link()
		if err != nil {
			return fmt.Errorf("registry: audit: %w", err)
		}
		links = append(links, l)
	}
	if err := r.appendLinks(ctx, tx, links); err != nil {
		return fmt.Errorf("registry: audit: %w", err)
	}
	return nil
}

// link has the texts of an entry, and no place in the chain.
func (c Change) link() (*link, error) {
	l := new(link)
	size := 0
	for i, text := range []string{c.Actor, c.Role, c.Source, c.Action, c.Subject, string(c.VOEN), string(c.FIN), string(c.Provider)} {
		l.texts[i] = []byte(storable(text))
		size += len(l.texts[i])
	}
	for i, value := range []any{c.Before, c.After} {
		text, err := json.Marshal(value) // compact
		if err != nil {
			return nil, err
		}
		text = bytes.ToValidUTF8(text, []byte("\ufffd")) // a json.RawMessage may hold anything in its strings
		l.texts[8+i] = text
		size += len(text)
	}
	if size > maxChange {
		return nil, fmt.Errorf("an entry of %d octets, at most %d", size, maxChange)
	}
	return l, nil
}

// storable is a text as every database keeps it and JSON gives it back.
// PostgreSQL takes no NUL.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}

// appendLinks gives entries their place in the chain; those without a time get
// the present one.
func (r *Registry) appendLinks(ctx context.Context, tx *sql.Tx, links []*link) error {
	if len(links) == 0 {
		return nil
	}
	sealer, err := r.sealer()
	if err != nil {
		return err
	}
	// That the head is written first takes it for this transaction.
	var last head
	err = tx.QueryRowContext(ctx, `UPDATE audit_head SET sequence = sequence WHERE id = 1 RETURNING sequence, hash, seal`).Scan(&last.sequence, &last.hash, &last.seal)
	if errors.Is(err, sql.ErrNoRows) {
		last, err = restoreHead(ctx, tx)
	}
	if err != nil {
		return err
	}
	// Nor is one right that somebody set back: its numbers are taken.
	var highest int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(sequence), 0) FROM audit`).Scan(&highest); err != nil {
		return err
	}
	if highest > last.sequence {
		if last, err = lastEntry(ctx, tx); err != nil {
			return err
		}
	}
	// A head that the gateway did not write stays unsealed: sealing it would
	// hide that somebody cut the log short. Refusing to go on would leave an
	// employee unblocked because of it.
	sealed := sealer.made(last)
	now := time.Now().UnixMilli()
	var hasher hasher
	for _, l := range links {
		if l.at == 0 {
			l.at = now
		}
		l.sequence, l.previous = last.sequence+1, last.hash
		sum := hasher.sum(l)
		l.hash, l.seal = sum[:], sealer.seal(sum[:])
		last = head{sequence: l.sequence, hash: l.hash}
	}
	if err := insertLinks(ctx, tx, links); err != nil {
		return err
	}
	last.seal = []byte{}
	if sealed {
		last.seal = sealer.sealHead(last)
	}
	_, err = tx.ExecContext(ctx, `UPDATE audit_head SET sequence = $1, hash = $2, seal = $3 WHERE id = 1`, last.sequence, last.hash, last.seal)
	return err
}

// restoreHead puts the last entry in the place of a head that somebody removed.
// It has no seal, which a verification tells.
func restoreHead(ctx context.Context, tx *sql.Tx) (last head, err error) {
	if last, err = lastEntry(ctx, tx); err != nil {
		return last, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit_head (id, sequence, hash, seal) VALUES (1, $1, $2, $3)`, last.sequence, last.hash, last.seal)
	return last, err
}

// lastEntry is the last entry as a head without a seal.
func lastEntry(ctx context.Context, tx *sql.Tx) (last head, err error) {
	last.hash, last.seal = []byte{}, []byte{}
	err = tx.QueryRowContext(ctx, `SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1`).Scan(&last.sequence, &last.hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return last, err
}

// linkColumns are those of a link, in the order of values and of reading.
var linkColumns = "sequence, at, " + strings.Join(chainTexts[:], ", ") + ", previous, hash, seal"

func insertLinks(ctx context.Context, tx *sql.Tx, links []*link) error {
	_, err := insertRows(ctx, tx, "INSERT INTO audit ("+linkColumns+")", "", links, func(all []any, l *link) []any {
		all = append(all, l.sequence, l.at)
		for _, text := range l.texts {
			all = append(all, string(text))
		}
		previous := l.previous
		if previous == nil {
			previous = []byte{} // not NULL
		}
		return append(all, previous, l.hash, l.seal)
	})
	return err
}

// AuditFilter says which entries are wanted; its zero value, all.
type AuditFilter struct {
	VOENs    []policy.VOEN // of one of these; nil: of any, and of none
	FIN      policy.FIN
	Provider policy.Provider // what is about it, and what changed sets that name it
	Actor    string
	Action   string
	From     time.Time // inclusive
	Until    time.Time // exclusive
	After    int64     // those after this sequence
	Limit    int       // 0: all
}

// where writes the filter for SQL.
func (f AuditFilter) where() *conditions {
	c := new(conditions)
	c.and("sequence > ?", f.After)
	if f.Provider != "" {
		// Of what was changed together, the sets before and after name it.
		named := like(`"` + storable(string(f.Provider)) + `"`)
		c.and("(provider = ? OR before LIKE ? ESCAPE '!' OR after LIKE ? ESCAPE '!')", storable(string(f.Provider)), named, named)
	}
	for _, column := range []struct{ name, value string }{{"fin", string(f.FIN)}, {"actor", f.Actor}, {"action", f.Action}} {
		if column.value != "" {
			c.and(column.name+" = ?", storable(column.value))
		}
	}
	if !f.From.IsZero() {
		c.and("at >= ?", ceilMilli(f.From))
	}
	if !f.Until.IsZero() {
		c.and("at < ?", ceilMilli(f.Until))
	}
	if f.VOENs != nil {
		voens := make([]string, len(f.VOENs))
		for i, voen := range f.VOENs {
			voens[i] = storable(string(voen))
		}
		in(c, "voen", voens)
	}
	return c
}

// ceilMilli is the first whole millisecond that is not before t.
func ceilMilli(t time.Time) int64 { return t.Add(time.Millisecond - 1).UnixMilli() }

// auditPage is how many entries AuditEntries reads at once.
const auditPage = 200

// AuditEntries calls yield for each entry that is wanted, in order of sequence,
// until it returns an error. It reads page by page, so a slow reader holds up
// nobody; since entries only come at the end, none is missed or given twice.
func (r *Registry) AuditEntries(ctx context.Context, f AuditFilter, yield func(AuditEntry) error) error {
	if f.VOENs != nil && len(f.VOENs) == 0 {
		return nil
	}
	for left := f.Limit; ; {
		size := auditPage
		if f.Limit > 0 {
			size = min(size, left)
		}
		page, err := r.auditEntries(ctx, f, size)
		if err != nil {
			return fmt.Errorf("registry: audit: %w", err)
		}
		for _, e := range page {
			if err := yield(e); err != nil {
				return err
			}
			f.After = e.Sequence
		}
		left -= len(page)
		if len(page) < size || f.Limit > 0 && left == 0 {
			return nil
		}
	}
}

func (r *Registry) auditEntries(ctx context.Context, f AuditFilter, limit int) (page []AuditEntry, err error) {
	where := f.where()
	rows, err := r.db.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM audit%s ORDER BY sequence LIMIT %d", linkColumns, where, limit), where.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	scanner := newLinkScanner()
	for rows.Next() {
		l, err := scanner.scan(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, l.entry())
	}
	return page, rows.Err()
}
