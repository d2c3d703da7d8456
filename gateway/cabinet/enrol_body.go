package cabinet

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"regexp"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/gateway/strict"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
)

// Limits of one enrolment.
const (
	MaxEnrolment    = 1000 // subscribers
	maxEnrolment    = 8 << 20
	maxCertificates = 8 // of one subscriber
)

// enrolmentBody is the body of POST /v1/admin/subscribers.
type enrolmentBody struct {
	Subscribers []struct {
		MSISDN       string `json:"msisdn"`
		ICCID        string `json:"iccid"`
		FIN          string `json:"fin"`
		GivenName    string `json:"givenName"`
		Surname      string `json:"surname"`
		UserID       string `json:"userId"`
		ShortAnswers bool   `json:"shortAnswers"`
		Certificates []struct {
			Key     int    `json:"key"`
			Type    string `json:"type"`
			VOEN    string `json:"voen"`
			Request string `json:"request"`
		} `json:"certificates"`
	} `json:"subscribers"`
}

// enrolment is a subscriber who is to be enrolled.
type enrolment struct {
	registry.Enrolment
	path string // in the body, like "subscribers[3]"
	keys []keyToCertify
}

// keyToCertify is one of a card's keys, and what its certificate is to be.
type keyToCertify struct {
	path         string // in the body, like "subscribers[3].certificates[0]"
	number       byte
	kind         gateway.CertificateType
	voen         policy.VOEN
	organisation string           // its name; set by nameOrganisations
	request      []byte           // PKCS#10
	public       crypto.PublicKey // set by checkRequests
}

var userIDForm = regexp.MustCompile(`^[0-9]{6}$`)

// parseEnrolment reads who is to be enrolled. No number and no card is there
// twice; a person may be, with two.
func parseEnrolment(body []byte) ([]*enrolment, error) {
	var in enrolmentBody
	if err := strict.Decode(body, &in); err != nil {
		return nil, err
	}
	if n := len(in.Subscribers); n == 0 || n > MaxEnrolment {
		return nil, gateway.Invalid("subscribers", fmt.Sprintf("a list of 1 to %d", MaxEnrolment))
	}
	all := make([]*enrolment, len(in.Subscribers))
	numbers, cards := make(map[simcard.MSISDN]int, len(all)), make(map[simcard.ICCID]int, len(all))
	for i := range in.Subscribers {
		e, err := in.enrolment(i)
		if err != nil {
			return nil, err
		}
		if first, ok := numbers[e.MSISDN]; ok {
			return nil, gateway.Invalid(e.path+".msisdn", fmt.Sprintf("is also that of subscribers[%d]", first))
		}
		if first, ok := cards[e.ICCID]; ok {
			return nil, gateway.Invalid(e.path+".iccid", fmt.Sprintf("is also that of subscribers[%d]", first))
		}
		all[i], numbers[e.MSISDN], cards[e.ICCID] = e, i, i
	}
	return all, nil
}

// enrolment reads one subscriber.
func (in *enrolmentBody) enrolment(i int) (*enrolment, error) {
	s := &in.Subscribers[i]
	e := &enrolment{path: fmt.Sprintf("subscribers[%d]", i)}
	var err error
	if e.MSISDN, err = simcard.ParseMSISDN(s.MSISDN); err != nil {
		return nil, gateway.Invalid(e.path+".msisdn", "a number like +994501234567")
	}
	if e.ICCID, err = simcard.ParseICCID(s.ICCID); err != nil {
		return nil, gateway.Invalid(e.path+".iccid", "the number on the card: 18 to 20 digits, the last a check digit")
	}
	if e.FIN, err = policy.ParseFIN(s.FIN); err != nil {
		return nil, gateway.Invalid(e.path+".fin", finWanted)
	}
	if wrong := wrongName(s.GivenName); wrong != "" {
		return nil, gateway.Invalid(e.path+".givenName", wrong)
	}
	if wrong := wrongName(s.Surname); wrong != "" {
		return nil, gateway.Invalid(e.path+".surname", wrong)
	}
	if !userIDForm.MatchString(s.UserID) {
		return nil, gateway.Invalid(e.path+".userId", "six digits")
	}
	e.GivenName, e.Surname, e.UserID, e.ShortAnswers = s.GivenName, s.Surname, s.UserID, s.ShortAnswers
	e.keys, err = in.keys(i, e.path+".certificates")
	return e, err
}

// keys reads which of one subscriber's keys are to be certified.
func (in *enrolmentBody) keys(i int, path string) ([]keyToCertify, error) {
	certificates := in.Subscribers[i].Certificates
	if n := len(certificates); n == 0 || n > maxCertificates {
		return nil, gateway.Invalid(path, fmt.Sprintf("a list of 1 to %d", maxCertificates))
	}
	keys := make([]keyToCertify, len(certificates))
	numbers := make(map[int]bool, len(certificates))
	for j, c := range certificates {
		k := &keys[j]
		k.path = fmt.Sprintf("%s[%d]", path, j)
		switch k.kind = gateway.CertificateType(c.Type); {
		case c.Key < 1 || c.Key > 255:
			return nil, gateway.Invalid(k.path+".key", "the number of the card's key, 1 to 255")
		case numbers[c.Key]:
			return nil, gateway.Invalid(k.path+".key", "is there twice")
		case k.kind != gateway.Citizen && !k.kind.OfOrganisation():
			return nil, gateway.Invalid(k.path+".type", "citizen, business or government")
		case k.kind == gateway.Citizen && c.VOEN != "":
			return nil, gateway.Invalid(k.path+".voen", "a citizen's certificate has none")
		}
		var err error
		if k.kind.OfOrganisation() {
			if k.voen, err = policy.ParseVOEN(c.VOEN); err != nil {
				return nil, gateway.Invalid(k.path+".voen", "ten digits")
			}
		}
		if k.request, err = base64.StdEncoding.Strict().DecodeString(c.Request); err != nil || len(k.request) == 0 || len(k.request) > pki.MaxRequest {
			return nil, gateway.Invalid(k.path+".request", fmt.Sprintf("a certification request (PKCS#10) in base64, of at most %d octets", pki.MaxRequest))
		}
		k.number, numbers[c.Key] = byte(c.Key), true
	}
	return keys, nil
}
