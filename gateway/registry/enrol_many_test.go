package registry_test

import (
	"errors"
	"fmt"
	"testing"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

// Whoever is on record already keeps all others off it, and so does a certificate
// that cannot be recorded.
func TestEnrolManyIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.enrol(t, person(1))
		if err := r.AddOrganisation(t.Context(), xezer, "Xəzər MMC"); err != nil {
			t.Fatal(err)
		}
		var many []registry.Enrolment
		for i := range 70 { // more than one statement
			p := person(100 + i)
			many = append(many, registry.Enrolment{Person: p, Certificates: []gateway.Certificate{certificate(t, p, gateway.Business, xezer, 1)}})
		}
		sameNumber, sameCard, sameSerial := person(2), person(3), many[69]
		sameNumber.MSISDN, sameCard.ICCID = person(1).MSISDN, person(1).ICCID
		sameSerial.Certificates = many[0].Certificates
		wrongKind := registry.Enrolment{Person: person(4), Certificates: []gateway.Certificate{certificate(t, person(4), gateway.Citizen, xezer, 1)}}
		for name, last := range map[string]registry.Enrolment{"number": {Person: sameNumber}, "card": {Person: sameCard}, "serial": sameSerial, "kind": wrongKind} {
			err := r.EnrolMany(t.Context(), append(many[:69:69], last), registry.Change{Actor: "leyla"})
			if taken := name == "number" || name == "card"; err == nil || errors.Is(err, registry.ErrEnrolled) != taken {
				t.Errorf("%s: %v", name, err)
			}
			if numbers, err := r.Subscribers(t.Context()); err != nil || len(numbers) != 1 {
				t.Errorf("%s: %d are on record %v", name, len(numbers), err)
			}
			if log := r.entries(t, registry.AuditFilter{}); len(log) != 0 {
				t.Errorf("%s: %+v", name, log)
			}
		}
		if err := r.EnrolMany(t.Context(), many, registry.Change{Actor: "leyla"}); err != nil {
			t.Fatal(err)
		}
		r.whole(t, 70)
		for _, e := range many {
			if err := r.HasEmployee(t.Context(), policy.Employee{VOEN: xezer, FIN: e.FIN}); err != nil {
				t.Error(err)
			}
		}
	})
}

// What stands in the way is named by the number first: who has it is known then.
func TestStandings(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p, other := person(1), person(2)
		of := certificate(t, p, gateway.Business, xezer, 3)
		if err := r.Enrol(t.Context(), p, []gateway.Certificate{of, certificate(t, p, gateway.Citizen, "", 1)}); err != nil {
			t.Fatal(err)
		}
		r.enrol(t, other)
		var people []registry.Person
		var wanted []string
		add := func(taken string, change func(p *registry.Person)) {
			q := p
			change(&q)
			people, wanted = append(people, q), append(wanted, taken)
		}
		add("", func(*registry.Person) {})
		add("", func(p *registry.Person) { *p = person(3) })
		add("", func(p *registry.Person) { p.GivenName, p.ShortAnswers = "Nigar", !p.ShortAnswers })
		add("msisdn", func(p *registry.Person) { p.ICCID = person(4).ICCID })
		add("msisdn", func(p *registry.Person) { p.ICCID = other.ICCID })
		add("iccid", func(p *registry.Person) { p.MSISDN = person(4).MSISDN })
		add("fin", func(p *registry.Person) { p.FIN = other.FIN })
		add("userId", func(p *registry.Person) { p.UserID = "999999" })
		got, err := r.Standings(t.Context(), people)
		if err != nil || len(got) != len(people) {
			t.Fatal(err, len(got))
		}
		for i, s := range got {
			enrolled := i == 0 || i == 2
			if s.Taken != wanted[i] || s.Enrolled != enrolled || enrolled != (len(s.Certificates) == 2) {
				t.Errorf("%d: %+v, want %q", i, s, wanted[i])
			}
			if enrolled && (fmt.Sprint(s.Certificates[0].Key, s.Certificates[1].Key) != "1 3" || s.Certificates[1].Serial != of.Serial || !s.Certificates[1].X509.Equal(of.X509)) {
				t.Errorf("%d: %+v", i, s.Certificates)
			}
		}
		if none, err := r.Standings(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("%v %v", none, err)
		}
	})
}
