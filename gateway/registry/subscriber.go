package registry

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
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

// AddOrganisation records an organisation; one on record keeps its name.
func (r *Registry) AddOrganisation(ctx context.Context, voen policy.VOEN, name string) error {
	_, err := r.db.ExecContext(ctx, `INSERT INTO organisations (voen, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, voen, name)
	if err != nil {
		return fmt.Errorf("registry: organisation: %w", err)
	}
	return nil
}

// Enrol records a subscriber with all certificates, or nothing.
func (r *Registry) Enrol(ctx context.Context, p Person, certificates []gateway.Certificate) error {
	for _, c := range certificates {
		if c.Type.OfOrganisation() != (c.VOEN != "") {
			return fmt.Errorf("registry: a %s certificate with VÖEN %q", c.Type, c.VOEN)
		}
	}
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO subscribers (msisdn, iccid, fin, given_name, surname, user_id_hash, short_answers) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		p.MSISDN, p.ICCID, p.FIN, p.GivenName, p.Surname, r.hashUserID(p.MSISDN, p.UserID), p.ShortAnswers); err != nil {
		return fmt.Errorf("registry: subscriber: %w", err)
	}
	for _, c := range certificates {
		if _, err := tx.ExecContext(ctx, `INSERT INTO certificates (serial, iccid, card_key, type, voen, fin, der, state, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8)`,
			c.Serial, p.ICCID, c.Key, c.Type, c.VOEN, p.FIN, c.X509.Raw, time.Now().UnixMilli()); err != nil {
			return fmt.Errorf("registry: certificate: %w", err)
		}
	}
	return tx.Commit()
}

// hashUserID binds the User ID to its number: the same digits of two people
// have different hashes.
func (r *Registry) hashUserID(m simcard.MSISDN, userID string) []byte {
	mac := hmac.New(sha256.New, r.pepper)
	mac.Write([]byte(m))
	mac.Write([]byte{0})
	mac.Write([]byte(userID))
	return mac.Sum(nil)
}

// Subscriber implements gateway.Directory. An unknown number and a wrong User
// ID take the same way through it.
func (r *Registry) Subscriber(ctx context.Context, m simcard.MSISDN, userID string) (gateway.Subscriber, error) {
	s := gateway.Subscriber{MSISDN: m}
	var hash []byte
	err := r.db.QueryRowContext(ctx, `SELECT iccid, fin, user_id_hash, short_answers FROM subscribers WHERE msisdn = $1`, m).Scan(&s.ICCID, &s.FIN, &hash, &s.ShortAnswers)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return s, fmt.Errorf("registry: %w", err)
	}
	if !hmac.Equal(hash, r.hashUserID(m, userID)) {
		return gateway.Subscriber{}, gateway.ErrNoSubscriber
	}
	rows, err := r.db.QueryContext(ctx, certificateColumns+` WHERE iccid = $1 ORDER BY card_key, serial`, s.ICCID)
	if err != nil {
		return s, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		c, err := scanCertificate(rows)
		if err != nil {
			return s, err
		}
		s.Certificates = append(s.Certificates, c)
	}
	return s, rows.Err()
}

const certificateColumns = `SELECT serial, card_key, type, voen, der, state FROM certificates`

func scanCertificate(row interface{ Scan(...any) error }) (c gateway.Certificate, err error) {
	var der []byte
	var state string
	if err := row.Scan(&c.Serial, &c.Key, &c.Type, &c.VOEN, &der, &state); err != nil {
		return c, err
	}
	c.Active = state == "active"
	if c.X509, err = x509.ParseCertificate(der); err != nil {
		return c, fmt.Errorf("registry: certificate %s: %w", c.Serial, err)
	}
	return c, nil
}

// Certificate implements gateway.Directory.
func (r *Registry) Certificate(ctx context.Context, serial string) (gateway.Certificate, error) {
	c, err := scanCertificate(r.db.QueryRowContext(ctx, certificateColumns+` WHERE serial = $1`, serial))
	if err != nil {
		return c, unknown(err, "certificate")
	}
	return c, nil
}

// HasEmployee tells whether the organisation has, or had, such an employee:
// somebody with a certificate of it.
func (r *Registry) HasEmployee(ctx context.Context, e policy.Employee) error {
	var one int
	if err := r.db.QueryRowContext(ctx, `SELECT 1 FROM organisations WHERE voen = $1`, e.VOEN).Scan(&one); err != nil {
		return unknown(err, "organisation")
	}
	if err := r.db.QueryRowContext(ctx, `SELECT 1 FROM certificates WHERE voen = $1 AND fin = $2 LIMIT 1`, e.VOEN, e.FIN).Scan(&one); err != nil {
		return unknown(err, "employee")
	}
	return nil
}

// Subscribers lists the numbers on record.
func (r *Registry) Subscribers(ctx context.Context) ([]simcard.MSISDN, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT msisdn FROM subscribers ORDER BY msisdn`)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	var all []simcard.MSISDN
	for rows.Next() {
		var m simcard.MSISDN
		if err := rows.Scan(&m); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
		all = append(all, m)
	}
	return all, rows.Err()
}

// Serial is how the record writes a certificate's serial number.
func Serial(n *big.Int) string { return n.Text(16) }

// SetCertificateState suspends ("suspended"), revokes ("revoked") or brings
// back ("active") a certificate. A revoked one stays revoked.
func (r *Registry) SetCertificateState(ctx context.Context, serial, state string) error {
	result, err := r.db.ExecContext(ctx, `UPDATE certificates SET state = $2, changed_at = $3 WHERE serial = $1 AND state <> 'revoked'`, serial, state, time.Now().UnixMilli())
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("%w: certificate that can change", ErrUnknown)
	}
	return nil
}

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
	var serial, state string
	var changed int64
	if err := row.Scan(&serial, &state, &changed); err != nil {
		return nil, err
	}
	if state == "active" {
		return nil, nil
	}
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok {
		return nil, fmt.Errorf("registry: serial number %q", serial)
	}
	return &pki.Revoked{Serial: n, At: time.UnixMilli(changed).UTC().Truncate(time.Second), Hold: state == "suspended"}, nil
}

// RevokedSerial tells of one serial number, as pki.Authority's OCSP asks.
func (r *Registry) RevokedSerial(ctx context.Context, serial *big.Int) (*pki.Revoked, error) {
	revoked, err := scanRevoked(r.db.QueryRowContext(ctx, `SELECT serial, state, changed_at FROM certificates WHERE serial = $1`, Serial(serial)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, pki.ErrUnknownCertificate
	}
	return revoked, err
}
