package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"imza/gateway"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
)

// Person is a subscriber as enrolled.
type Person struct {
	MSISDN             simcard.MSISDN
	ICCID              simcard.ICCID
	FIN                policy.FIN
	GivenName, Surname string
	UserID             string
	ShortAnswers       bool // the card gives them
}

// Enrol records a subscriber with all certificates, or nothing. Whoever has a
// certificate of an organisation is its employee from then on; names that are on
// record there, from an import, stay.
func (r *Registry) Enrol(ctx context.Context, p Person, certificates []gateway.Certificate) error {
	if err := ofOneKind(certificates); err != nil {
		return err
	}
	return r.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO subscribers (msisdn, iccid, fin, given_name, surname, user_id_hash, short_answers) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			p.MSISDN, p.ICCID, p.FIN, p.GivenName, p.Surname, r.hashUserID(p.MSISDN, p.UserID), p.ShortAnswers); err != nil {
			return fmt.Errorf("registry: subscriber: %w", err)
		}
		return addCertificates(ctx, tx, p, certificates)
	})
}

// AddCertificates records further certificates of a subscriber, as after a
// renewal: the person stays the employee that they are. Those before stay active
// until they are revoked; who asks for a signature gets it by the latest.
func (r *Registry) AddCertificates(ctx context.Context, iccid simcard.ICCID, certificates []gateway.Certificate) error {
	if err := ofOneKind(certificates); err != nil {
		return err
	}
	return r.write(ctx, func(tx *sql.Tx) error {
		if err := one(tx.ExecContext(ctx, `UPDATE subscribers SET iccid = iccid WHERE iccid = $1`, iccid)); err != nil {
			return unknown(err, "subscriber")
		}
		p := Person{ICCID: iccid}
		if err := tx.QueryRowContext(ctx, `SELECT fin, given_name, surname FROM subscribers WHERE iccid = $1`, iccid).Scan(&p.FIN, &p.GivenName, &p.Surname); err != nil {
			return unknown(err, "subscriber")
		}
		return addCertificates(ctx, tx, p, certificates)
	})
}

// ofOneKind holds that certificates are either a citizen's or an organisation's.
func ofOneKind(certificates []gateway.Certificate) error {
	for _, c := range certificates {
		if c.Type.OfOrganisation() != (c.VOEN != "") {
			return fmt.Errorf("registry: a %s certificate with VÖEN %q", c.Type, c.VOEN)
		}
	}
	return nil
}

func addCertificates(ctx context.Context, tx *sql.Tx, p Person, certificates []gateway.Certificate) error {
	var organisations []policy.VOEN
	for _, c := range certificates {
		if _, err := tx.ExecContext(ctx, `INSERT INTO certificates (serial, iccid, card_key, type, voen, fin, der, state, changed_at, not_before, not_after)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $9, $10)`,
			c.Serial, p.ICCID, c.Key, c.Type, c.VOEN, p.FIN, c.X509.Raw, time.Now().UnixMilli(), c.X509.NotBefore.UnixMilli(), c.X509.NotAfter.UnixMilli()); err != nil {
			return fmt.Errorf("registry: certificate: %w", err)
		}
		if c.VOEN != "" {
			organisations = append(organisations, c.VOEN)
		}
	}
	slices.Sort(organisations) // two that enrol do not wait for each other
	for _, voen := range slices.Compact(organisations) {
		if err := addEmployee(ctx, tx, policy.Employee{VOEN: voen, FIN: p.FIN}, p.GivenName, p.Surname); err != nil {
			return err
		}
	}
	return nil
}

// Subscribers lists the numbers on record.
func (r *Registry) Subscribers(ctx context.Context) ([]simcard.MSISDN, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT msisdn FROM subscribers ORDER BY msisdn`)
	return collect(rows, err, func(m *simcard.MSISDN) []any { return []any{m} })
}

// SubscriberEntry is a subscriber with the certificates on the SIM.
type SubscriberEntry struct {
	MSISDN       simcard.MSISDN     `json:"msisdn"`
	ICCID        simcard.ICCID      `json:"iccid"`
	FIN          policy.FIN         `json:"fin"`
	GivenName    string             `json:"givenName"`
	Surname      string             `json:"surname"`
	State        State              `json:"state"`
	Certificates []CertificateEntry `json:"certificates"`
}

// SubscriberEntry reads a subscriber; ErrUnknown if the number is not on record.
func (r *Registry) SubscriberEntry(ctx context.Context, m simcard.MSISDN) (SubscriberEntry, error) {
	s := SubscriberEntry{MSISDN: m}
	if err := r.db.QueryRowContext(ctx, `SELECT iccid, fin, given_name, surname, state FROM subscribers WHERE msisdn = $1`, m).Scan(
		&s.ICCID, &s.FIN, &s.GivenName, &s.Surname, &s.State); err != nil {
		return s, unknown(err, "subscriber")
	}
	rows, err := r.db.QueryContext(ctx, entryOfCertificate+` WHERE c.iccid = $1 ORDER BY c.not_before, c.serial`, s.ICCID)
	s.Certificates, err = collect(rows, err, (*CertificateEntry).fields)
	return s, err
}

// CertificateEntry is a certificate as administrators see it.
type CertificateEntry struct {
	Serial    string                  `json:"serial"`
	Type      gateway.CertificateType `json:"type"`
	VOEN      policy.VOEN             `json:"voen,omitempty"` // none of a citizen's
	State     State                   `json:"state"`          // as set: an expired one may be active
	NotBefore time.Time               `json:"notBefore"`
	NotAfter  time.Time               `json:"notAfter"`
	MSISDN    simcard.MSISDN          `json:"msisdn"` // of the SIM it is on
}

const (
	certificateEntryColumns = `c.serial, c.type, c.voen, c.state, c.not_before, c.not_after, s.msisdn`
	entryOfCertificate      = `SELECT ` + certificateEntryColumns + ` FROM certificates c JOIN subscribers s ON s.iccid = c.iccid`
)

func (c *CertificateEntry) fields() []any {
	return []any{&c.Serial, &c.Type, &c.VOEN, &c.State, millis{&c.NotBefore}, millis{&c.NotAfter}, &c.MSISDN}
}

// millis reads a time that is on record in ms since 1970.
type millis struct{ at *time.Time }

// Scan implements sql.Scanner.
func (m millis) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time that is %T", v)
	}
	*m.at = time.UnixMilli(n).UTC()
	return nil
}

// HeldCertificate is a certificate and who has it.
type HeldCertificate struct {
	CertificateEntry
	FIN       policy.FIN `json:"fin"`
	GivenName string     `json:"givenName"`
	Surname   string     `json:"surname"`
}

// CertificateEntry reads a certificate; ErrUnknown if there is none.
func (r *Registry) CertificateEntry(ctx context.Context, serial string) (c HeldCertificate, err error) {
	if err := r.db.QueryRowContext(ctx, `SELECT `+certificateEntryColumns+`, s.fin, s.given_name, s.surname
		FROM certificates c JOIN subscribers s ON s.iccid = c.iccid WHERE c.serial = $1`, serial).Scan(
		append(c.fields(), &c.FIN, &c.GivenName, &c.Surname)...); err != nil {
		return c, unknown(err, "certificate")
	}
	return c, nil
}

// Serial is how the record writes a certificate's serial number.
func Serial(n *big.Int) string { return n.Text(16) }

// Revoked lists the certificates that do not count, for the revocation list.
func (r *Registry) Revoked(ctx context.Context) ([]pki.Revoked, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT serial, state, changed_at FROM certificates WHERE state <> 'active' ORDER BY serial`)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	var all []pki.Revoked
	for rows.Next() {
		revoked, err := scanRevoked(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, *revoked)
	}
	return all, rows.Err()
}

func scanRevoked(row interface{ Scan(...any) error }) (*pki.Revoked, error) {
	var serial string
	var state State
	var changed int64
	if err := row.Scan(&serial, &state, &changed); err != nil {
		return nil, err
	}
	if state == Active {
		return nil, nil
	}
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok {
		return nil, fmt.Errorf("registry: serial number %q", serial)
	}
	return &pki.Revoked{Serial: n, At: time.UnixMilli(changed).UTC().Truncate(time.Second), Hold: state == Suspended}, nil
}

// RevokedSerial tells of one serial number, as pki.Authority's OCSP asks.
func (r *Registry) RevokedSerial(ctx context.Context, serial *big.Int) (*pki.Revoked, error) {
	revoked, err := scanRevoked(r.db.QueryRowContext(ctx, `SELECT serial, state, changed_at FROM certificates WHERE serial = $1`, Serial(serial)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, pki.ErrUnknownCertificate
	}
	return revoked, err
}
