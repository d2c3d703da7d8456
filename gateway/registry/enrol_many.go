package registry

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imza/gateway"
	"imza/policy"
	"imza/simcard"
)

// Enrolment is a person with the certificates that they are enrolled with.
type Enrolment struct {
	Person
	Certificates []gateway.Certificate
}

// ErrEnrolled says that a number or a card is on record, of those that were to be
// enrolled. Standings tells which.
var ErrEnrolled = errors.New("registry: a number or a card is on record already")

// EnrolMany does for many what Enrol does for one, in one transaction: all are on
// record, or nobody is.
func (r *Registry) EnrolMany(ctx context.Context, all []Enrolment, by Change) error {
	var log []Change
	for _, e := range all {
		if err := ofOneKind(e.Certificates); err != nil {
			return err
		}
		log = append(log, e.changes(by)...)
	}
	// In one order, so that two that enrol the same people wait for one another at
	// most once.
	all = slices.SortedFunc(slices.Values(all), func(a, b Enrolment) int { return cmp.Compare(a.MSISDN, b.MSISDN) })
	return r.write(ctx, func(tx *sql.Tx) error {
		n, err := insertRows(ctx, tx, `INSERT INTO subscribers (msisdn, iccid, fin, given_name, surname, user_id_hash, short_answers)`, ` ON CONFLICT DO NOTHING`,
			all, func(values []any, e Enrolment) []any {
				return append(values, e.MSISDN, e.ICCID, e.FIN, e.GivenName, e.Surname, r.hashUserID(e.MSISDN, e.UserID), e.ShortAnswers)
			})
		if err != nil {
			return fmt.Errorf("registry: subscribers: %w", err)
		}
		if n < int64(len(all)) {
			return ErrEnrolled
		}
		if err := insertCertificates(ctx, tx, all); err != nil {
			return err
		}
		if err := insertEmployees(ctx, tx, employeesOf(all)); err != nil {
			return err
		}
		return r.Audit(ctx, tx, log...)
	})
}

// enrolled is what the log says of a person and one organisation.
type enrolled struct {
	ICCID        simcard.ICCID `json:"iccid"`
	GivenName    string        `json:"givenName"`
	Surname      string        `json:"surname"`
	ShortAnswers bool          `json:"shortAnswers"`
	Certificates []issued      `json:"certificates"`
}

type issued struct {
	Serial string                  `json:"serial"`
	Key    byte                    `json:"key"`
	Type   gateway.CertificateType `json:"type"`
}

// changes are the entries of the log: one for each organisation whose certificate
// there is, which its managers see, and one for a citizen's.
func (e Enrolment) changes(by Change) (all []Change) {
	by.Action, by.Subject, by.FIN = "enrol subscriber", string(e.MSISDN), e.FIN
	for i, c := range e.Certificates {
		of := func(other gateway.Certificate) bool { return other.VOEN == c.VOEN }
		if slices.IndexFunc(e.Certificates, of) < i {
			continue // told with the first of them
		}
		after := enrolled{ICCID: e.ICCID, GivenName: e.GivenName, Surname: e.Surname, ShortAnswers: e.ShortAnswers}
		for _, c := range e.Certificates[i:] {
			if of(c) {
				after.Certificates = append(after.Certificates, issued{c.Serial, c.Key, c.Type})
			}
		}
		by.VOEN, by.After = c.VOEN, after
		all = append(all, by)
	}
	return all
}

func insertCertificates(ctx context.Context, tx *sql.Tx, all []Enrolment) error {
	type row struct {
		*Enrolment
		gateway.Certificate
	}
	var rows []row
	for i := range all {
		for _, c := range all[i].Certificates {
			rows = append(rows, row{&all[i], c})
		}
	}
	now := time.Now().UnixMilli()
	_, err := insertRows(ctx, tx, `INSERT INTO certificates (serial, iccid, card_key, type, voen, fin, der, state, changed_at, not_before, not_after)`, ``,
		rows, func(values []any, w row) []any {
			return append(values, w.Serial, w.ICCID, w.Key, w.Type, w.VOEN, w.FIN, w.X509.Raw, Active, now, w.X509.NotBefore.UnixMilli(), w.X509.NotAfter.UnixMilli())
		})
	if err != nil {
		return fmt.Errorf("registry: certificates: %w", err)
	}
	return nil
}

// newEmployee is somebody who may be an organisation's employee already.
type newEmployee struct {
	policy.Employee
	givenName, surname string
	numbers            []string
}

// employeesOf are those whom these certificates make employees, in the order in
// which Enrol takes them, each once.
func employeesOf(all []Enrolment) (employees []newEmployee) {
	at := make(map[policy.Employee]int)
	for _, e := range all {
		for _, c := range e.Certificates {
			if c.VOEN == "" {
				continue
			}
			who := policy.Employee{VOEN: c.VOEN, FIN: e.FIN}
			i, ok := at[who]
			if !ok {
				i, at[who] = len(employees), len(employees)
				employees = append(employees, newEmployee{Employee: who, givenName: e.GivenName, surname: e.Surname})
			}
			if number := string(e.MSISDN); !slices.Contains(employees[i].numbers, number) {
				employees[i].numbers = append(employees[i].numbers, number)
			}
		}
	}
	slices.SortFunc(employees, func(a, b newEmployee) int {
		return cmp.Or(cmp.Compare(a.VOEN, b.VOEN), cmp.Compare(a.FIN, b.FIN))
	})
	return employees
}

// insertEmployees records employees whose certificates are on record. Among some
// of whom not all are new each is looked at again: who was there keeps the names,
// and may have other numbers.
func insertEmployees(ctx context.Context, tx *sql.Tx, all []newEmployee) error {
	for some := range slices.Chunk(all, knownChunk) {
		n, err := insertRows(ctx, tx, `INSERT INTO employees (voen, fin, given_name, surname, search)`, ` ON CONFLICT (voen, fin) DO NOTHING`,
			some, func(values []any, e newEmployee) []any {
				return append(values, e.VOEN, e.FIN, e.givenName, e.surname, searched(string(e.FIN), strings.Join(e.numbers, " "), e.givenName, e.surname))
			})
		if err != nil {
			return fmt.Errorf("registry: employees: %w", err)
		}
		if n == int64(len(some)) {
			continue
		}
		for _, e := range some {
			if err := addEmployee(ctx, tx, e.Employee, e.givenName, e.surname); err != nil {
				return err
			}
		}
	}
	return nil
}

// Standing is how somebody who is to be enrolled stands to the record.
type Standing struct {
	// Enrolled says that number, card, FIN and User ID are theirs already.
	Enrolled     bool
	Certificates []gateway.Certificate // then; by key and serial number
	// Taken is what of these is somebody else's on record, or otherwise: "msisdn",
	// "iccid", "fin" or "userId".
	Taken string
}

// holder is a row of subscribers.
type holder struct {
	msisdn     simcard.MSISDN
	iccid      simcard.ICCID
	fin        policy.FIN
	userIDHash []byte
}

const (
	holdersBy      = `SELECT msisdn, iccid, fin, user_id_hash FROM subscribers WHERE `
	certificatesBy = `SELECT iccid, card_key, type, voen, serial, der FROM certificates WHERE `
)

// Standings tells of each person whether they are on record, or what is in the
// way.
func (r *Registry) Standings(ctx context.Context, people []Person) ([]Standing, error) {
	byNumber, byCard, err := r.holders(ctx, people)
	if err != nil {
		return nil, err
	}
	all := make([]Standing, len(people))
	var enrolled []simcard.ICCID
	for i, p := range people {
		if all[i] = r.standing(p, byNumber, byCard); all[i].Enrolled {
			enrolled = append(enrolled, p.ICCID)
		}
	}
	certificates, err := r.certificatesOn(ctx, enrolled)
	if err != nil {
		return nil, err
	}
	for i, p := range people {
		if all[i].Enrolled {
			all[i].Certificates = certificates[p.ICCID]
		}
	}
	return all, nil
}

func (r *Registry) standing(p Person, byNumber map[simcard.MSISDN]holder, byCard map[simcard.ICCID]holder) Standing {
	ofNumber, numberThere := byNumber[p.MSISDN]
	_, cardThere := byCard[p.ICCID]
	switch {
	case !numberThere && !cardThere:
		return Standing{}
	case !numberThere:
		return Standing{Taken: "iccid"}
	case ofNumber.iccid != p.ICCID:
		return Standing{Taken: "msisdn"}
	case ofNumber.fin != p.FIN:
		return Standing{Taken: "fin"}
	case !hmac.Equal(ofNumber.userIDHash, r.hashUserID(p.MSISDN, p.UserID)):
		return Standing{Taken: "userId"}
	}
	return Standing{Enrolled: true}
}

// holders finds who has these numbers, and these cards.
func (r *Registry) holders(ctx context.Context, people []Person) (byNumber map[simcard.MSISDN]holder, byCard map[simcard.ICCID]holder, err error) {
	fields := func(h *holder) []any { return []any{&h.msisdn, &h.iccid, &h.fin, &h.userIDHash} }
	haveNumber, err := known(ctx, r.db, holdersBy+`msisdn`, ``, people, func(p Person) []any { return []any{p.MSISDN} }, fields)
	if err != nil {
		return nil, nil, err
	}
	haveCard, err := known(ctx, r.db, holdersBy+`iccid`, ``, people, func(p Person) []any { return []any{p.ICCID} }, fields)
	if err != nil {
		return nil, nil, err
	}
	byNumber, byCard = make(map[simcard.MSISDN]holder, len(haveNumber)), make(map[simcard.ICCID]holder, len(haveCard))
	for _, h := range haveNumber {
		byNumber[h.msisdn] = h
	}
	for _, h := range haveCard {
		byCard[h.iccid] = h
	}
	return byNumber, byCard, nil
}

// certificatesOn reads what is on record of some cards, in whatever state.
func (r *Registry) certificatesOn(ctx context.Context, cards []simcard.ICCID) (map[simcard.ICCID][]gateway.Certificate, error) {
	type row struct {
		iccid simcard.ICCID
		der   []byte
		gateway.Certificate
	}
	rows, err := known(ctx, r.db, certificatesBy+`iccid`, ``, cards,
		func(card simcard.ICCID) []any { return []any{card} },
		func(w *row) []any { return []any{&w.iccid, &w.Key, &w.Type, &w.VOEN, &w.Serial, &w.der} })
	if err != nil {
		return nil, err
	}
	all := make(map[simcard.ICCID][]gateway.Certificate, len(cards))
	for _, w := range rows {
		// Not by parsed: what signs now would be forgotten over it.
		if w.X509, err = x509.ParseCertificate(w.der); err != nil {
			return nil, fmt.Errorf("registry: certificate %s: %w", w.Serial, err)
		}
		all[w.iccid] = append(all[w.iccid], w.Certificate)
	}
	for _, certificates := range all {
		slices.SortFunc(certificates, func(a, b gateway.Certificate) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Serial, b.Serial))
		})
	}
	return all, nil
}
