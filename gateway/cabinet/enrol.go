package cabinet

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/gateway/strict"
	"imza/pki"
	"imza/policy"
)

// EnrolledSubscriber is a subscriber who is on record, with the certificates that
// were asked for, in that order.
type EnrolledSubscriber struct {
	MSISDN       string              `json:"msisdn"`
	Certificates []IssuedCertificate `json:"certificates"`
}

// IssuedCertificate is the certificate of one of a card's keys.
type IssuedCertificate struct {
	Key         byte   `json:"key"`
	Serial      string `json:"serial"`
	Certificate []byte `json:"certificate"` // DER
}

// EnrolmentDone is the answer to an enrolment.
type EnrolmentDone struct {
	Subscribers []EnrolledSubscriber `json:"subscribers"`
}

// enrolAttempts is how often an enrolment is begun again because somebody else
// enrolled the same people meanwhile.
const enrolAttempts = 3

// enrol is POST /v1/admin/subscribers: subscribers with the certificates for keys
// that their cards have made, all of them or none. Who is on record already just
// so is answered as before, so that an enrolment that was cut off is run again.
func (b *Cabinet) enrol(c echo.Context) error {
	body, err := strict.Body(c.Response(), c.Request(), maxEnrolment, fmt.Sprintf("at most %d MiB", maxEnrolment>>20))
	if err != nil {
		return err
	}
	all, err := parseEnrolment(body)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	if err := b.nameOrganisations(ctx, all); err != nil {
		return err
	}
	if err := each(all, (*enrolment).checkRequests); err != nil {
		return err
	}
	for range enrolAttempts {
		made, err := b.enrolOnce(ctx, all, by(c))
		if errors.Is(err, registry.ErrEnrolled) {
			continue
		}
		if err != nil {
			return err
		}
		status := http.StatusOK
		if made > 0 {
			status = http.StatusCreated
		}
		return c.JSON(status, answerOf(all))
	}
	return &gateway.Refusal{Code: gateway.Unavailable, Detail: "somebody else enrols the same people: try again shortly", RetryAfter: time.Second}
}

// enrolOnce finds out who is on record, and enrols the others.
func (b *Cabinet) enrolOnce(ctx context.Context, all []*enrolment, by registry.Change) (made int, err error) {
	people := make([]registry.Person, len(all))
	for i, e := range all {
		people[i] = e.Person
	}
	standings, err := b.Registry.Standings(ctx, people)
	if err != nil {
		return 0, err
	}
	var fresh []*enrolment
	for i, e := range all {
		known, err := e.asOnRecord(standings[i])
		if err != nil {
			return 0, err
		}
		if !known {
			fresh = append(fresh, e)
		}
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	at := time.Now().UTC().Truncate(time.Second) // as certificates have it
	if err := each(fresh, func(e *enrolment) error { return e.issue(b.Authority, at) }); err != nil {
		return 0, err
	}
	enrolments := make([]registry.Enrolment, len(fresh))
	for i, e := range fresh {
		enrolments[i] = e.Enrolment
	}
	return len(fresh), b.Registry.EnrolMany(ctx, enrolments, by)
}

// nameOrganisations finds what the organisations are called, which their
// certificates say.
func (b *Cabinet) nameOrganisations(ctx context.Context, all []*enrolment) error {
	names := make(map[policy.VOEN]registry.Names)
	for _, e := range all {
		for _, k := range e.keys {
			if k.voen != "" {
				names[k.voen] = registry.Names{}
			}
		}
	}
	voens := make([]policy.VOEN, 0, len(names))
	for voen := range names {
		voens = append(voens, voen)
	}
	names, err := b.Registry.OrganisationNames(ctx, nil, voens)
	if err != nil {
		return err
	}
	for _, e := range all {
		for i := range e.keys {
			k := &e.keys[i]
			if k.organisation = names[k.voen].Name; k.voen != "" && k.organisation == "" {
				return gateway.Invalid(k.path+".voen", string(k.voen)+" is not on record")
			}
		}
	}
	return nil
}

// checkRequests judges the certification requests, and takes the keys from them.
func (e *enrolment) checkRequests() error {
	for i := range e.keys {
		k := &e.keys[i]
		public, err := pki.CheckRequest(k.request, string(e.ICCID))
		if err != nil {
			return gateway.Invalid(k.path+".request", strings.TrimPrefix(err.Error(), "pki: request: "))
		}
		k.public = public
	}
	return nil
}

// issue makes the certificates.
func (e *enrolment) issue(authority *pki.Authority, at time.Time) error {
	e.Certificates = nil
	for _, k := range e.keys {
		cert, err := authority.Issue(pki.Holder{FIN: string(e.FIN), GivenName: e.GivenName, Surname: e.Surname,
			VOEN: string(k.voen), Organisation: k.organisation}, pki.Signing, k.public, at)
		if err != nil {
			return err
		}
		e.Certificates = append(e.Certificates, gateway.Certificate{Serial: registry.Serial(cert.SerialNumber),
			Type: k.kind, VOEN: k.voen, Key: k.number, Active: true, X509: cert})
	}
	return nil
}

// asOnRecord takes the certificates that are on record for these very keys, and
// tells whether there are such. What is there otherwise is refused.
func (e *enrolment) asOnRecord(s registry.Standing) (bool, error) {
	if s.Taken != "" {
		return false, taken(e.path+"."+s.Taken, map[string]string{
			"msisdn": "is on record with another card", "iccid": "is on record with another number",
			"fin": "is another person's on record, who has this number and this card", "userId": "is not the one on record for this number",
		}[s.Taken])
	}
	if !s.Enrolled {
		return false, nil
	}
	e.Certificates = nil
	for _, k := range e.keys {
		found := k.among(s.Certificates)
		if found == nil {
			return false, taken(k.path, "the subscriber is on record without this certificate")
		}
		e.Certificates = append(e.Certificates, *found)
	}
	return true, nil
}

func taken(field, detail string) error {
	return &gateway.Refusal{Code: gateway.AlreadyEnrolled, Field: field, Detail: detail}
}

// among finds the latest certificate of a kind for this very key.
func (k *keyToCertify) among(certificates []gateway.Certificate) (latest *gateway.Certificate) {
	for i, c := range certificates {
		same, ok := c.X509.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if c.Key != k.number || c.Type != k.kind || c.VOEN != k.voen || !ok || !same.Equal(k.public) {
			continue
		}
		if latest == nil || c.X509.NotBefore.After(latest.X509.NotBefore) {
			latest = &certificates[i]
		}
	}
	return latest
}

func answerOf(all []*enrolment) (done EnrolmentDone) {
	for _, e := range all {
		s := EnrolledSubscriber{MSISDN: string(e.MSISDN)}
		for _, c := range e.Certificates {
			s.Certificates = append(s.Certificates, IssuedCertificate{c.Key, c.Serial, c.X509.Raw})
		}
		done.Subscribers = append(done.Subscribers, s)
	}
	return done
}

// each does for all what takes a processor's time, on all processors. Of several
// errors it returns the first by order.
func each(all []*enrolment, do func(*enrolment) error) error {
	errs := make([]error, len(all))
	var next atomic.Int64
	var working sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		working.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				errs[i] = do(all[i])
			}
		})
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
