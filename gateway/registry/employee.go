package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"imza/policy"
	"imza/simcard"
)

// Employee is somebody who works, or worked, for an organisation, with what is
// on record of them there.
type Employee struct {
	VOEN         policy.VOEN        `json:"voen"`
	FIN          policy.FIN         `json:"fin"`
	GivenName    string             `json:"givenName"`
	Surname      string             `json:"surname"`
	Numbers      []simcard.MSISDN   `json:"numbers"`      // of the SIMs with these certificates
	Certificates []CertificateEntry `json:"certificates"` // of this organisation only
}

// EmployeeFilter says which employees of an organisation are wanted. What is
// empty does not matter; State and the times are about one certificate.
type EmployeeFilter struct {
	VOEN   policy.VOEN
	Text   string // words that are in names, FIN or numbers, in any case
	Name   string // words that are in names
	FIN    policy.FIN
	Number string // a whole number with its plus, or some digits of one
	// State is one of Active, Suspended and Revoked, as set, or Expired, of what is
	// not revoked; what is expired is neither active nor suspended.
	State         State
	ExpiresBefore time.Time
	ExpiresAfter  time.Time // or just then
	After         policy.FIN
	Limit         int
}

// Expired is a state for an EmployeeFilter: time does it, nobody sets it.
const Expired State = "expired"

// HasEmployee tells whether the organisation has, or had, such an employee.
func (r *Registry) HasEmployee(ctx context.Context, e policy.Employee) error {
	var one int
	if err := r.db.QueryRowContext(ctx, `SELECT 1 FROM organisations WHERE voen = $1`, e.VOEN).Scan(&one); err != nil {
		return unknown(err, "organisation")
	}
	if err := r.db.QueryRowContext(ctx, `SELECT 1 FROM employees WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN).Scan(&one); err != nil {
		return unknown(err, "employee")
	}
	return nil
}

// Employee reads one. ErrUnknown says whether it is the organisation or the
// employee that is not on record.
func (r *Registry) Employee(ctx context.Context, e policy.Employee) (Employee, error) {
	if err := r.HasEmployee(ctx, e); err != nil {
		return Employee{}, err
	}
	all, err := r.Employees(ctx, EmployeeFilter{VOEN: e.VOEN, FIN: e.FIN, Limit: 1})
	if err != nil {
		return Employee{}, err
	}
	if len(all) == 0 {
		return Employee{}, fmt.Errorf("%w: employee", ErrUnknown)
	}
	return all[0], nil
}

// Employees lists employees of an organisation, by FIN.
func (r *Registry) Employees(ctx context.Context, f EmployeeFilter) ([]Employee, error) {
	rare, err := r.expiryIsRare(ctx, f)
	if err != nil {
		return nil, err
	}
	query, args := f.query(rare)
	rows, err := r.db.QueryContext(ctx, query, args...)
	all, err := collect(rows, err, func(e *Employee) []any { return []any{&e.FIN, &e.GivenName, &e.Surname} })
	if err != nil || len(all) == 0 {
		return all, err
	}
	return all, r.addCertificatesTo(ctx, f.VOEN, all)
}

// addCertificatesTo reads the certificates of a whole page at once.
func (r *Registry) addCertificatesTo(ctx context.Context, voen policy.VOEN, page []Employee) error {
	of := make(map[policy.FIN]*Employee, len(page))
	fins := make([]policy.FIN, len(page))
	for i := range page {
		e := &page[i]
		e.VOEN, e.Numbers, e.Certificates = voen, []simcard.MSISDN{}, []CertificateEntry{}
		of[e.FIN], fins[i] = e, e.FIN
	}
	type row struct {
		CertificateEntry
		fin policy.FIN
	}
	var c conditions
	c.and(`c.voen = ?`, voen)
	in(&c, `c.fin`, fins)
	rows, err := r.db.QueryContext(ctx, `SELECT `+certificateEntryColumns+`, c.fin
		FROM certificates c JOIN subscribers s ON s.iccid = c.iccid`+c.String()+` ORDER BY c.not_before, c.serial`, c.args...)
	certificates, err := collect(rows, err, func(w *row) []any { return append(w.fields(), &w.fin) })
	if err != nil {
		return err
	}
	for _, w := range certificates {
		e := of[w.fin]
		e.Certificates = append(e.Certificates, w.CertificateEntry)
		if !slices.Contains(e.Numbers, w.MSISDN) {
			e.Numbers = append(e.Numbers, w.MSISDN)
		}
	}
	return nil
}

var (
	wholeNumber = regexp.MustCompile(`^\+[0-9]{8,15}$`)
	noDigits    = regexp.MustCompile(`[^0-9]+`)
)

// commonExpiry is how many certificates of an organisation expire in a time
// before it is quicker to go through its employees until enough of them do.
const commonExpiry = 5000

// query puts the statement of a page together. Which table comes first is said
// with CROSS JOIN, which SQLite keeps to, and which index it takes with a + or
// || ” that keeps a column out of one; each way there is an index
// (00004_administration.sql). rare says that the certificates that expire in the
// time that is wanted are few, so that it is best to begin with them.
func (f EmployeeFilter) query(rare bool) (string, []any) {
	var c conditions
	from, fin, distinct := `employees e`, `e.fin`, `DISTINCT `
	const ofCertificate = ` AND e.voen = c.voen AND e.fin = c.fin`
	switch {
	case wholeNumber.MatchString(f.Number):
		from, fin = `subscribers s CROSS JOIN certificates c CROSS JOIN employees e`, `c.fin`
		c.and(`s.msisdn = ? AND c.iccid = s.iccid`+ofCertificate, f.Number)
		c.and(`(c.voen || '') = ? AND (c.fin || '') > ?`, f.VOEN, f.After)
		f.certificate(&c, false)
	case !f.certified():
		distinct = ``
		c.and(`e.voen = ? AND e.fin > ?`, f.VOEN, f.After)
	default:
		from, fin = `certificates c CROSS JOIN employees e`, `c.fin`
		after := `c.fin > ?`
		if rare {
			after = `(c.fin || '') > ?`
		}
		c.and(`c.voen = ?`+ofCertificate, f.VOEN)
		c.and(after, f.After)
		f.certificate(&c, rare)
	}
	if f.FIN != "" {
		c.and(fin+` = ?`, f.FIN)
	}
	f.person(&c)
	return `SELECT ` + distinct + fin + `, e.given_name, e.surname FROM ` + from + c.String() + ` ORDER BY ` + fin + ` LIMIT ` + c.arg(f.Limit), c.args
}

// expires tells whether a certificate's expiry matters; certified, whether
// anything of a certificate does.
func (f EmployeeFilter) expires() bool {
	return f.State == Expired || !f.ExpiresBefore.IsZero() || !f.ExpiresAfter.IsZero()
}

func (f EmployeeFilter) certified() bool { return f.State != "" || f.expires() }

// always is more ms than any certificate is valid.
const always = 1 << 62

// expiry is the time in which a certificate that is wanted expires, in ms since
// 1970; from is in it, until is not.
func (f EmployeeFilter) expiry(now time.Time) (from, until int64) {
	from, until = -always, always
	if !f.ExpiresAfter.IsZero() {
		from = f.ExpiresAfter.UnixMilli()
	}
	if !f.ExpiresBefore.IsZero() {
		until = f.ExpiresBefore.UnixMilli()
	}
	switch f.State {
	case Expired:
		until = min(until, now.UnixMilli())
	case Active, Suspended:
		from = max(from, now.UnixMilli())
	}
	return from, until
}

// certificate adds what is wanted of a certificate c, if anything is.
func (f EmployeeFilter) certificate(c *conditions, byExpiry bool) {
	switch {
	case !f.certified():
		return
	case f.State == Expired:
		c.and(`c.state <> ?`, Revoked)
	case f.State != "" && byExpiry:
		c.and(`(c.state || '') = ?`, f.State)
	case f.State != "":
		c.and(`c.state = ?`, f.State)
	}
	from, until := f.expiry(time.Now())
	if byExpiry { // with one bound alone SQLite takes another index
		c.and(`c.not_after >= ? AND c.not_after < ?`, from, until)
		return
	}
	if from != -always {
		c.and(`+c.not_after >= ?`, from)
	}
	if until != always {
		c.and(`+c.not_after < ?`, until)
	}
}

// expiryIsRare tells whether the certificates that expire in the time that is
// wanted are few, so that it is best to begin with them.
func (r *Registry) expiryIsRare(ctx context.Context, f EmployeeFilter) (bool, error) {
	if !f.expires() || wholeNumber.MatchString(f.Number) {
		return false, nil // there is an index that is better
	}
	from, until := f.expiry(time.Now())
	var n int
	if err := r.db.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM certificates
		WHERE voen = $1 AND not_after >= $2 AND not_after < $3 LIMIT $4) AS few`, f.VOEN, from, until, commonExpiry).Scan(&n); err != nil {
		return false, fmt.Errorf("registry: %w", err)
	}
	return n < commonExpiry, nil
}

// person adds what is searched of an employee e.
func (f EmployeeFilter) person(c *conditions) {
	for _, word := range words(f.Text) {
		c.and(`e.search LIKE ? ESCAPE '!'`, like(word))
	}
	for _, word := range words(f.Name) {
		c.and(`e.search LIKE ? ESCAPE '!'`, "%\n"+like(word))
	}
	if f.Number != "" && !wholeNumber.MatchString(f.Number) {
		// Numbers are what is behind a plus and before the line feed.
		digits := noDigits.ReplaceAllString(f.Number, "")
		if digits == "" {
			c.and(`1 = 0`) // nobody's
		}
		c.and(`e.search LIKE ? ESCAPE '!'`, `%+`+like(digits)+"\n%")
	}
}

const insertEmployee = `INSERT INTO employees (voen, fin, given_name, surname, search) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (voen, fin) DO NOTHING`

// addEmployee records an employee whose certificates are on record. One who is
// there keeps the names, and is found by the numbers as they are now.
func addEmployee(ctx context.Context, tx *sql.Tx, e policy.Employee, givenName, surname string) error {
	created, err := affected(tx.ExecContext(ctx, insertEmployee, e.VOEN, e.FIN, givenName, surname, searched(string(e.FIN), "", givenName, surname)))
	if err != nil {
		return fmt.Errorf("registry: employee: %w", err)
	}
	if !created {
		if err := lockEmployee(ctx, tx, e); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT given_name, surname FROM employees WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN).Scan(&givenName, &surname); err != nil {
			return unknown(err, "employee")
		}
	}
	return setNames(ctx, tx, e, givenName, surname)
}

// lockEmployee makes an employee this transaction's: what is read of them from
// here on stays until its end.
func lockEmployee(ctx context.Context, tx *sql.Tx, e policy.Employee) error {
	if _, err := tx.ExecContext(ctx, `UPDATE employees SET search = search WHERE voen = $1 AND fin = $2`, e.VOEN, e.FIN); err != nil {
		return fmt.Errorf("registry: employee: %w", err)
	}
	return nil
}

// setNames writes the names of an employee who is this transaction's, and what
// they are found by.
func setNames(ctx context.Context, tx *sql.Tx, e policy.Employee, givenName, surname string) error {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT s.msisdn FROM certificates c JOIN subscribers s ON s.iccid = c.iccid WHERE c.voen = $1 AND c.fin = $2`, e.VOEN, e.FIN)
	numbers, err := collect(rows, err, func(m *string) []any { return []any{m} })
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE employees SET given_name = $3, surname = $4, search = $5 WHERE voen = $1 AND fin = $2`,
		e.VOEN, e.FIN, givenName, surname, searched(string(e.FIN), strings.Join(numbers, " "), givenName, surname)); err != nil {
		return fmt.Errorf("registry: employee: %w", err)
	}
	return nil
}

// ImportEmployee records an employee of an organisation on record (ErrUnknown),
// or changes the names.
func (r *Registry) ImportEmployee(ctx context.Context, tx *sql.Tx, voen policy.VOEN, fin policy.FIN, givenName, surname string) (Outcome, error) {
	e := policy.Employee{VOEN: voen, FIN: fin}
	created, err := affected(tx.ExecContext(ctx, `INSERT INTO employees (voen, fin, given_name, surname, search)
		SELECT voen, $2, $3, $4, $5 FROM organisations WHERE voen = $1 ON CONFLICT (voen, fin) DO NOTHING`,
		voen, fin, givenName, surname, searched(string(fin), "", givenName, surname)))
	if err != nil {
		return "", fmt.Errorf("registry: employee: %w", err)
	}
	if created {
		return Created, nil
	}
	var before Employee
	err = tx.QueryRowContext(ctx, `SELECT given_name, surname FROM employees WHERE voen = $1 AND fin = $2`, voen, fin).Scan(&before.GivenName, &before.Surname)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", unknown(err, "organisation")
	case err != nil:
		return "", fmt.Errorf("registry: employee: %w", err)
	case before.GivenName == givenName && before.Surname == surname:
		return Unchanged, nil
	}
	if err := lockEmployee(ctx, tx, e); err != nil {
		return "", err
	}
	return Altered, setNames(ctx, tx, e, givenName, surname)
}
