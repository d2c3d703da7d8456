package cabinet_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/policy/redistest"
	"imza/simcard"
)

const subscribers = "/v1/admin/subscribers"

// certificationRequest is what a card asks with to have a key certified.
func certificationRequest(t testing.TB, iccid string, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{SerialNumber: iccid}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// candidate is somebody who can be enrolled, with one business certificate; for a
// test to change.
func candidate(t testing.TB, n int) map[string]any {
	t.Helper()
	iccid, err := simcard.NewICCID(fmt.Sprintf("899940177%09d", n))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"msisdn": fmt.Sprintf("+9945517%05d", n), "iccid": string(iccid), "fin": fmt.Sprintf("9NEW%03d", n),
		"givenName": "Leyla", "surname": "Həsənova", "userId": fmt.Sprintf("%06d", 510000+n), "shortAnswers": n%2 == 1,
		"certificates": []map[string]any{certifiable(t, string(iccid), newKey(t), 1, "business", string(gatewaytest.FirstVOEN))},
	}
}

func certifiable(t testing.TB, iccid string, key crypto.Signer, number int, kind, voen string) map[string]any {
	t.Helper()
	c := map[string]any{"key": number, "type": kind, "request": certificationRequest(t, iccid, key)}
	if voen != "" {
		c["voen"] = voen
	}
	return c
}

func enrolmentOf(people ...map[string]any) map[string]any {
	return map[string]any{"subscribers": people}
}

// with is somebody with one thing that is otherwise.
func with(person map[string]any, name string, value any) map[string]any {
	other := maps.Clone(person)
	other[name] = value
	return other
}

// enrolled enrols people, who must all be taken, with that status.
func enrolled(t testing.TB, s *gatewaytest.Stack, status int, people ...map[string]any) (done cabinet.EnrolmentDone) {
	t.Helper()
	a := s.Do(t, "POST", subscribers, s.AdminKey, enrolmentOf(people...))
	if a.Status != status || json.Unmarshal(a.Body, &done) != nil || len(done.Subscribers) != len(people) {
		t.Fatalf("answered %d %.1000s", a.Status, a.Body)
	}
	return done
}

func TestManyAreEnrolled(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		first, second := string(gatewaytest.FirstVOEN), string(gatewaytest.SecondVOEN)
		plain, several := candidate(t, 1), candidate(t, 2)
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys := []crypto.Signer{rsaKey, newKey(t), newKey(t), newKey(t)}
		iccid := several["iccid"].(string)
		several["certificates"] = []map[string]any{
			certifiable(t, iccid, keys[0], 7, "business", second), certifiable(t, iccid, keys[1], 2, "citizen", ""),
			certifiable(t, iccid, keys[2], 255, "government", first), certifiable(t, iccid, keys[3], 3, "business", second),
		}
		people := []map[string]any{several, plain}
		for i := range 100 { // so that they are inserted in several statements
			people = append(people, candidate(t, 100+i))
		}
		done := enrolled(t, s, http.StatusCreated, people...)
		for i, p := range people {
			checkEnrolled(t, s, p, done.Subscribers[i])
		}
		for i, c := range done.Subscribers[0].Certificates {
			if cert, _ := x509.ParseCertificate(c.Certificate); !keys[i].Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey) {
				t.Errorf("certificate %d is for another key", i)
			}
		}

		// The employees are found by their numbers, in each organisation.
		for voen, want := range map[string]int{first: 2, second: 1} {
			page := read[cabinet.EmployeePage](t, s.Do(t, "GET", "/v1/admin/organisations/"+voen+"/employees?number=551700002&q=leyla", s.AdminKey, nil))
			if len(page.Employees) != 1 || string(page.Employees[0].FIN) != several["fin"] || len(page.Employees[0].Certificates) != 3-want {
				t.Errorf("%s: %+v", voen, page.Employees)
			}
		}
		checkEnrolmentLog(t, s, several, len(people))

		// The same again changes nothing, and is answered the same; with somebody
		// new, only they are enrolled.
		before := dump(t, s)
		if again := enrolled(t, s, http.StatusOK, people...); fmt.Sprint(again) != fmt.Sprint(done) || dump(t, s) != before {
			t.Error("it was done twice")
		}
		more := enrolled(t, s, http.StatusCreated, plain, candidate(t, 3), several)
		if fmt.Sprint(more.Subscribers[0]) != fmt.Sprint(done.Subscribers[1]) || fmt.Sprint(more.Subscribers[2]) != fmt.Sprint(done.Subscribers[0]) {
			t.Error("who was there has other certificates")
		}
	})
}

// checkEnrolled holds that somebody is on record as they were enrolled.
func checkEnrolled(t *testing.T, s *gatewaytest.Stack, p map[string]any, done cabinet.EnrolledSubscriber) {
	t.Helper()
	wanted := p["certificates"].([]map[string]any)
	if done.MSISDN != p["msisdn"] || len(done.Certificates) != len(wanted) {
		t.Fatalf("%+v", done)
	}
	found, err := s.Registry.Subscriber(t.Context(), simcard.MSISDN(done.MSISDN), p["userId"].(string))
	if err != nil || string(found.ICCID) != p["iccid"] || string(found.FIN) != p["fin"] || found.ShortAnswers != p["shortAnswers"] || len(found.Certificates) != len(wanted) {
		t.Fatalf("%+v %v", found, err)
	}
	onRecord := make(map[string]gateway.Certificate)
	for _, c := range found.Certificates {
		onRecord[c.Serial] = c
	}
	for i, c := range done.Certificates {
		is := onRecord[c.Serial]
		if w := wanted[i]; int(c.Key) != w["key"] || is.Key != c.Key || string(is.Type) != w["type"] || is.VOEN != policy.VOEN(fmt.Sprint(orEmpty(w["voen"]))) || !is.ActiveAt(time.Now()) || !bytes.Equal(is.X509.Raw, c.Certificate) {
			t.Fatalf("%+v is on record as %+v, wanted as %v", c, is, w)
		}
		if err := s.Authority.Check(is.X509, pki.Signing, time.Now()); err != nil || registry.Serial(is.X509.SerialNumber) != c.Serial {
			t.Errorf("certificate %s: %v", c.Serial, err)
		}
		h, err := pki.HolderOf(is.X509)
		if err != nil || h.FIN != p["fin"] || h.GivenName != p["givenName"] || h.Surname != p["surname"] || h.VOEN != string(is.VOEN) || (h.VOEN == string(gatewaytest.SecondVOEN)) != (h.Organisation == "Sınaq ASC") {
			t.Errorf("%+v %v", h, err)
		}
	}
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// checkEnrolmentLog holds that the log tells managers of what is theirs, and of
// nobody else's.
func checkEnrolmentLog(t *testing.T, s *gatewaytest.Stack, several map[string]any, people int) {
	t.Helper()
	all := everyEntry(t, s)
	if len(all) != people+2 { // of three for one of them
		t.Errorf("%d entries for %d people", len(all), people)
	}
	var told []string
	for _, e := range all {
		if e.Actor != gatewaytest.Administrator || e.Action != "enrol subscriber" || e.Subject == "" || e.FIN == "" || string(e.Before) != "null" {
			t.Errorf("%+v", e)
		}
		if string(e.FIN) == several["fin"] {
			var after struct {
				ICCID        string
				Certificates []struct{ Type string }
			}
			if err := json.Unmarshal(e.After, &after); err != nil || after.ICCID != several["iccid"] {
				t.Errorf("%s: %v", e.After, err)
			}
			told = append(told, fmt.Sprint(e.VOEN, after.Certificates))
		}
	}
	if want := "1400000022[{business} {business}] [{citizen}] 1400000011[{government}]"; strings.Join(told, " ") != want {
		t.Errorf("%q", told)
	}
	if log := read[cabinet.AuditPage](t, s.Do(t, "GET", "/v1/admin/audit?fin="+several["fin"].(string), manager(t, s, "rena", gatewaytest.SecondVOEN), nil)); len(log.Entries) != 1 {
		t.Errorf("%+v", log)
	}
}

// What is taken is named, and then nobody is enrolled.
func TestWhatIsTakenIsNamed(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		there, other := candidate(t, 1), candidate(t, 2)
		enrolled(t, s, http.StatusCreated, there, other)
		before := dump(t, s)
		iccid := there["iccid"].(string)
		fresh := candidate(t, 3)
		again := there["certificates"].([]map[string]any)[0]
		cardOf := with(candidate(t, 4), "iccid", other["iccid"])
		cardOf["certificates"] = other["certificates"]
		for name, c := range map[string]struct {
			person map[string]any
			field  string
		}{
			"number of somebody else": {with(candidate(t, 4), "msisdn", there["msisdn"]), "msisdn"},
			"card of somebody else":   {cardOf, "iccid"},
			"another person":          {with(there, "fin", "9NEW999"), "fin"},
			"another User ID":         {with(there, "userId", "999999"), "userId"},
			"another key":             {with(there, "certificates", []map[string]any{certifiable(t, iccid, newKey(t), 1, "business", "1400000011")}), "certificates[0]"},
			"another type":            {with(there, "certificates", []map[string]any{with(again, "type", "government")}), "certificates[0]"},
			"another number of key":   {with(there, "certificates", []map[string]any{with(again, "key", 2)}), "certificates[0]"},
			"another organisation":    {with(there, "certificates", []map[string]any{with(again, "voen", "1400000022")}), "certificates[0]"},
			"one more":                {with(there, "certificates", []map[string]any{again, certifiable(t, iccid, newKey(t), 2, "citizen", "")}), "certificates[1]"},
		} {
			p := s.Do(t, "POST", subscribers, s.AdminKey, enrolmentOf(fresh, c.person)).Refused(t, http.StatusConflict, "already_enrolled")
			if p.Field != "subscribers[1]."+c.field || p.Detail == "" {
				t.Errorf("%s: %+v, not %s", name, p, c.field)
			}
		}
		if dump(t, s) != before {
			t.Error("something was changed")
		}
		// Names are no more than what somebody is called, and a state is no reason.
		serial := enrolled(t, s, http.StatusOK, with(there, "surname", "Quliyeva")).Subscribers[0].Certificates[0].Serial
		s.Do(t, "PUT", "/v1/admin/certificates/"+serial+"/state", s.AdminKey, state("suspended"))
		if got := enrolled(t, s, http.StatusOK, there).Subscribers[0].Certificates[0].Serial; got != serial {
			t.Errorf("%s, not %s", got, serial)
		}
	})
}

// Whoever sends the same at the same time is answered the same, and everybody is
// on record once.
func TestEnrolledByTwoAtOnce(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		var people []map[string]any
		for i := range 60 {
			people = append(people, candidate(t, 200+i))
		}
		var mu sync.Mutex
		serials := make(map[string]string) // by number
		var sending sync.WaitGroup
		for from := range 4 {
			sending.Go(func() {
				mine := append(people[10*from:60:60], people[:10*from]...)
				for i := range 5 { // and some whom nobody else sends
					mine = append(mine, candidate(t, 300+5*from+i))
				}
				for range 20 {
					a := s.Do(t, "POST", subscribers, s.AdminKey, enrolmentOf(mine...))
					if a.Status == http.StatusServiceUnavailable {
						time.Sleep(10 * time.Millisecond)
						continue
					}
					var done cabinet.EnrolmentDone
					if err := json.Unmarshal(a.Body, &done); err != nil || a.Status >= 300 {
						t.Errorf("answered %d %.500s", a.Status, a.Body)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, one := range done.Subscribers {
						if len(one.Certificates) != 1 {
							t.Errorf("%+v", one)
						}
						serial := one.Certificates[0].Serial
						if was, ok := serials[one.MSISDN]; ok && was != serial {
							t.Errorf("%s was given %s and %s", one.MSISDN, was, serial)
						}
						serials[one.MSISDN] = serial
					}
					return
				}
				t.Error("it was never their turn")
			})
		}
		sending.Wait()
		if log := everyEntry(t, s); len(log) != 80 || len(serials) != 80 {
			t.Errorf("%d entries, %d people", len(log), len(serials))
		}
	})
}

// An employee whom an import put there keeps the names, and is found by the new
// number; so is one with another SIM.
func TestEmployeesWhoAreThereAreEnrolled(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		importAs(t, s, s.AdminKey, "", peopleHeader+"1400000011,9NEW001,Nigar,Rzayeva\n")
		second := with(candidate(t, 2), "fin", "9NEW001")
		third := with(candidate(t, 3), "fin", "9NEW001")
		enrolled(t, s, http.StatusCreated, candidate(t, 1), second, candidate(t, 5))
		enrolled(t, s, http.StatusCreated, third)
		for _, digits := range []string{"551700001", "551700002", "551700003"} {
			page := read[cabinet.EmployeePage](t, s.Do(t, "GET", "/v1/admin/organisations/1400000011/employees?name=nigar&number="+digits, s.AdminKey, nil))
			if len(page.Employees) != 1 || len(page.Employees[0].Numbers) != 3 || page.Employees[0].Surname != "Rzayeva" {
				t.Errorf("%s: %+v", digits, page.Employees)
			}
		}
	})
}

func TestBadEnrolmentsAreNamedAndNobodyIsEnrolled(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	good, other := candidate(t, 1), candidate(t, 2)
	iccid := good["iccid"].(string)
	certificate := good["certificates"].([]map[string]any)[0]
	before := dump(t, s)
	refuse := func(body any, field string) {
		t.Helper()
		p := s.Do(t, "POST", subscribers, s.AdminKey, body).Refused(t, http.StatusBadRequest, "invalid_request")
		if p.Field != field || p.Detail == "" {
			t.Errorf("%.300v: field %q (%s), not %q", body, p.Field, p.Detail, field)
		}
	}
	// Each member, wrong in every way; and of the certificate.
	for name := range good {
		for _, value := range badValues {
			text, isText := value.(string)
			if name == "shortAnswers" && (value == true || value == nil) || (name == "givenName" || name == "surname") && isText && strings.TrimSpace(text) != "" && !strings.Contains(text, "\x00") && len(text) < 1000 {
				continue // which is good
			}
			refuse(`{"subscribers":[`+hurt(t, other, "", nil)+`,`+hurt(t, good, name, value)+`]}`, "subscribers[1]."+name)
		}
	}
	for name := range certificate {
		for _, value := range badValues {
			c := json.RawMessage(`[` + hurt(t, certificate, name, value) + `]`)
			if !json.Valid(c) || bytes.Contains(c, []byte("\xff")) {
				continue // is wrong as text, which is tried above
			}
			refuse(`{"subscribers":[`+hurt(t, good, "certificates", c)+`]}`, "subscribers[0].certificates[0]."+name)
		}
	}
	many := make([]map[string]any, cabinet.MaxEnrolment+1)
	for i := range many {
		many[i] = good
	}
	refuse(enrolmentOf(many...), "subscribers")
	refuse(enrolmentOf(), "subscribers")
	refuse(map[string]any{}, "subscribers")
	refuse(map[string]any{"subscribers": []any{5}}, "subscribers[0]")
	refuse(enrolmentOf(good, with(other, "msisdn", good["msisdn"])), "subscribers[1].msisdn")
	refuse(enrolmentOf(good, with(other, "iccid", iccid)), "subscribers[1].iccid")
	refuse(enrolmentOf(with(good, "more", 1)), "subscribers[0].more")
	one := func(c ...map[string]any) any { return enrolmentOf(with(good, "certificates", c)) }
	const at = "subscribers[0].certificates"
	refuse(one(), at)
	refuse(one(certificate, certificate), at+"[1].key")
	refuse(one(slicesRepeat(certificate, 9)...), at)
	refuse(one(with(certificate, "key", 0)), at+"[0].key")
	refuse(one(with(certificate, "key", 256)), at+"[0].key")
	refuse(one(with(certificate, "type", "citizen")), at+"[0].voen")
	refuse(one(with(certificate, "voen", "9999999999")), at+"[0].voen")
	refuse(one(with(certificate, "more", 1)), at+"[0].more")
	request := certificate["request"].([]byte)
	foreign := other["certificates"].([]map[string]any)[0]["request"]
	flipped := bytes.Clone(request)
	flipped[len(flipped)-1] ^= 1
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]any{
		"another card's": foreign, "cut": request[:len(request)-1], "more": append(bytes.Clone(request), 0), "signature": flipped,
		"too large": make([]byte, pki.MaxRequest+1), "weak": certificationRequest(t, iccid, weak),
	} {
		t.Log(name)
		refuse(one(certificate, with(with(certificate, "request", wrong), "key", 2)), at+"[1].request")
	}
	s.Do(t, "POST", subscribers, s.AdminKey, strings.NewReader(strings.Repeat(" ", 9<<20))).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
	if dump(t, s) != before {
		t.Error("something was changed")
	}
}

func slicesRepeat(c map[string]any, n int) (all []map[string]any) {
	for i := range n {
		all = append(all, with(c, "key", i+1))
	}
	return all
}
