package registry

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/pressly/goose/v3"
)

// linkScanner reads links row by row, into memory that the next row overwrites.
// It takes values of any type: whoever tampers with a database may leave NULL,
// or a text where a number was.
type linkScanner struct {
	link    link
	raw     [len(chainTexts) + 5]sql.RawBytes
	targets []any
}

func newLinkScanner() *linkScanner {
	s := new(linkScanner)
	for i := range s.raw {
		s.targets = append(s.targets, &s.raw[i])
	}
	return s
}

// errUnreadable says that a row holds no entry.
type errUnreadable string

func (e errUnreadable) Error() string { return string(e) }

func (s *linkScanner) scan(rows *sql.Rows) (*link, error) {
	if err := rows.Scan(s.targets...); err != nil {
		return nil, err
	}
	var err error
	if s.link.sequence, err = strconv.ParseInt(string(s.raw[0]), 10, 64); err != nil {
		s.link.sequence = 0
		return &s.link, errUnreadable(fmt.Sprintf("an entry has the sequence %.40q", s.raw[0]))
	}
	if s.link.at, err = strconv.ParseInt(string(s.raw[1]), 10, 64); err != nil {
		return &s.link, errUnreadable(fmt.Sprintf("has the time %.40q", s.raw[1]))
	}
	for i := range s.link.texts {
		s.link.texts[i] = s.raw[2+i]
	}
	rest := s.raw[2+len(s.link.texts):]
	s.link.previous, s.link.hash, s.link.seal = rest[0], rest[1], rest[2]
	return &s.link, nil
}

// VerifyAudit reads the whole log as it is at one moment, while others may append,
// and tells what somebody did to it. Heads that were kept elsewhere are looked
// for in it.
func (r *Registry) VerifyAudit(ctx context.Context, kept ...AuditHead) (AuditReport, error) {
	sealer, err := r.sealer()
	if err != nil {
		return AuditReport{}, fmt.Errorf("registry: audit: %w", err)
	}
	c := newChecker(kept)
	c.sealer = &sealer
	options := &sql.TxOptions{ReadOnly: true}
	if r.dialect == goose.DialectPostgres { // SQLite's have no other
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := r.db.BeginTx(ctx, options)
	if err != nil {
		return AuditReport{}, fmt.Errorf("registry: audit: %w", err)
	}
	defer tx.Rollback()
	h, what, err := readHead(ctx, tx)
	if err == nil {
		err = c.addAll(ctx, tx)
	}
	if err != nil {
		return AuditReport{}, fmt.Errorf("registry: audit: %w", err)
	}
	if what != "" {
		c.fault(0, what)
	} else {
		c.compare(h)
	}
	return c.end(), nil
}

// readHead tells what is wrong with a head that cannot be read.
func readHead(ctx context.Context, tx *sql.Tx) (h head, what string, err error) {
	var sequence sql.NullString // of any type
	err = tx.QueryRowContext(ctx, `SELECT sequence, hash, seal FROM audit_head WHERE id = 1`).Scan(&sequence, &h.hash, &h.seal)
	if errors.Is(err, sql.ErrNoRows) {
		return h, "the head is missing", nil
	}
	if err != nil {
		return h, "", err
	}
	if h.sequence, err = strconv.ParseInt(sequence.String, 10, 64); err != nil {
		return h, fmt.Sprintf("the head has the sequence %.40q", sequence.String), nil
	}
	return h, "", nil
}

func (c *checker) addAll(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "SELECT "+linkColumns+" FROM audit ORDER BY sequence")
	if err != nil {
		return err
	}
	defer rows.Close()
	scanner := newLinkScanner()
	for rows.Next() {
		l, err := scanner.scan(rows)
		var unreadable errUnreadable
		if errors.As(err, &unreadable) {
			c.unreadable(l.sequence, unreadable.Error())
			continue
		}
		if err != nil {
			return err
		}
		c.add(l)
	}
	return rows.Err()
}

// maxLine bounds a line of an export: a text's character may take six octets
// there, and up to maxChange of them are an entry.
const maxLine = 6*maxChange + 4096

// VerifyExport checks an export: AuditEntry as JSON, one a line, from the first
// on and without a filter. It sees what somebody changed in it who did not
// rewrite all that follows; who did shows in Head, or in heads that were kept
// elsewhere. The error is that of reading.
func VerifyExport(r io.Reader, kept ...AuditHead) (AuditReport, error) {
	c := newChecker(kept)
	lines := bufio.NewReaderSize(r, 1<<16)
	for number := 1; ; number++ {
		line, long, err := readLine(lines)
		if err == io.EOF {
			return c.end(), nil
		}
		if err != nil {
			return AuditReport{}, fmt.Errorf("registry: audit: line %d: %w", number, err)
		}
		if long {
			c.unreadable(0, fmt.Sprintf("line %d has more than %d octets", number, maxLine))
			continue
		}
		c.addLine(number, line)
	}
}

// readLine reads a line without its end. Of one that is too long it reads on to
// the end, and keeps nothing. io.EOF: there is none.
func readLine(r *bufio.Reader) (line []byte, long bool, err error) {
	for began := false; ; began = true {
		part, err := r.ReadSlice('\n')
		if err == io.EOF && (began || len(part) > 0) {
			err = nil // the last one has no end
		}
		if err != nil && err != bufio.ErrBufferFull {
			return nil, false, err
		}
		if long = long || len(line)+len(part) > maxLine; long {
			line = nil
		} else {
			line = append(line, part...)
		}
		if err == nil {
			return bytes.TrimSuffix(line, []byte("\n")), long, nil
		}
	}
}

func (c *checker) addLine(number int, line []byte) {
	l, err := parseLine(line)
	if err != nil {
		c.unreadable(0, fmt.Sprintf("line %d is not an entry: %v", number, err))
		return
	}
	if !c.add(l) {
		return
	}
	// A name that is there twice, or a time of another zone, would be read by
	// somebody else in another way than it was here.
	if again, err := json.Marshal(l.entry()); err != nil || !bytes.Equal(again, line) {
		c.fault(l.sequence, fmt.Sprintf("is not written as an export writes it (line %d)", number))
	}
}

func parseLine(line []byte) (*link, error) {
	var e AuditEntry
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, err
	}
	if e.Sequence < 1 {
		return nil, errors.New("it has no sequence")
	}
	return e.link()
}
