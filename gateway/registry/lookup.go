package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"imza/gateway"
	"imza/policy"
	"imza/simcard"
)

// lookups are what every request for a signature asks of the record, prepared
// once.
type lookups struct {
	provider, subscriber, certificate *sql.Stmt

	parsed parsed
}

const (
	providerByKey = `SELECT id, state FROM providers WHERE key_hash = $1`

	certificateColumns = `c.serial, c.card_key, c.type, c.voen, c.der, c.state, s.state`

	// The hash is among the conditions, so that an unknown number and a wrong User
	// ID are the same to this side: nothing is found, and no certificate is read.
	// That SQL compares it in whatever time tells nothing: who cannot compute it,
	// for want of the pepper, cannot approach it either.
	subscriberByUserID = `SELECT s.iccid, s.fin, s.short_answers, ` + certificateColumns + `
		FROM subscribers s LEFT JOIN certificates c ON c.iccid = s.iccid
		WHERE s.msisdn = $1 AND s.user_id_hash = $2 ORDER BY c.card_key, c.serial`

	certificateBySerial = `SELECT ` + certificateColumns + `
		FROM certificates c JOIN subscribers s ON s.iccid = c.iccid WHERE c.serial = $1`
)

// openDirectory fills in what is missing, and prepares what is asked often.
func (r *Registry) openDirectory(ctx context.Context) error {
	if err := r.fill(ctx); err != nil {
		return err
	}
	err := r.openBeside(ctx)
	if err == nil {
		err = r.lookups.prepare(ctx, cmp.Or(r.readers, r.db))
	}
	if err != nil {
		return errors.Join(err, r.Close())
	}
	return nil
}

// brief is the context of a look at a few rows by their key. SQLite's readers
// answer it from memory or from one page of the file, and nobody holds them for
// long; a context that can end would cost two goroutines each time, one of
// database/sql and one of the driver, and those a tenth of the gateway's CPU.
func (r *Registry) brief(ctx context.Context) context.Context {
	if r.readers != nil {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

func (l *lookups) prepare(ctx context.Context, db *sql.DB) error {
	for text, into := range map[string]**sql.Stmt{providerByKey: &l.provider, subscriberByUserID: &l.subscriber, certificateBySerial: &l.certificate} {
		statement, err := db.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		*into = statement
	}
	return nil
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
	rows, err := r.lookups.subscriber.QueryContext(r.brief(ctx), m, r.hashUserID(m, userID))
	if err != nil {
		return s, fmt.Errorf("registry: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var w certificateRow
		if err := rows.Scan(append([]any{&s.ICCID, &s.FIN, &s.ShortAnswers}, w.fields()...)...); err != nil {
			return s, fmt.Errorf("registry: %w", err)
		}
		if !w.serial.Valid {
			continue // who has no certificate is a subscriber all the same
		}
		c, err := r.lookups.certificateOf(w)
		if err != nil {
			return s, err
		}
		s.Certificates = append(s.Certificates, c)
	}
	if err := rows.Err(); err != nil {
		return s, fmt.Errorf("registry: %w", err)
	}
	if s.ICCID == "" {
		return gateway.Subscriber{}, gateway.ErrNoSubscriber
	}
	return s, nil
}

// Certificate implements gateway.Directory.
func (r *Registry) Certificate(ctx context.Context, serial string) (gateway.Certificate, error) {
	var w certificateRow
	if err := r.lookups.certificate.QueryRowContext(r.brief(ctx), serial).Scan(w.fields()...); err != nil {
		return gateway.Certificate{}, unknown(err, "certificate")
	}
	return r.lookups.certificateOf(w)
}

// certificateRow is certificateColumns; all are NULL where a subscriber has no
// certificate, but for the subscriber's own state.
type certificateRow struct {
	serial, kind, voen, state sql.NullString
	key                       sql.Null[byte]
	der                       []byte
	ofSubscriber              State
}

func (w *certificateRow) fields() []any {
	return []any{&w.serial, &w.key, &w.kind, &w.voen, &w.der, &w.state, &w.ofSubscriber}
}

// certificateOf makes of a row what the gateway judges by. Whether it is active
// is the record's word of this moment; only the parsing is remembered.
func (l *lookups) certificateOf(w certificateRow) (c gateway.Certificate, err error) {
	c.Serial, c.Key, c.Type, c.VOEN = w.serial.String, w.key.V, gateway.CertificateType(w.kind.String), policy.VOEN(w.voen.String)
	c.Active = State(w.state.String) == Active && w.ofSubscriber == Active
	if c.X509, err = l.parsed.parse(c.Serial, w.der); err != nil {
		return c, fmt.Errorf("registry: certificate %s: %w", c.Serial, err)
	}
	return c, nil
}

// maxParsed bounds what parsed remembers: some 10 KB each.
const maxParsed = 4096

// parsed remembers certificates by their serial numbers.
type parsed struct {
	mu sync.Mutex
	of map[string]*x509.Certificate
}

// parse parses a certificate, or finds it if the octets are the same. Nobody may
// change what it returns.
func (p *parsed) parse(serial string, der []byte) (*x509.Certificate, error) {
	p.mu.Lock()
	known := p.of[serial]
	p.mu.Unlock()
	if known != nil && bytes.Equal(known.Raw, der) {
		return known, nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = make(map[string]*x509.Certificate)
	}
	for other := range p.of { // any will do
		if len(p.of) < maxParsed {
			break
		}
		delete(p.of, other)
	}
	p.of[serial] = c
	return c, nil
}
