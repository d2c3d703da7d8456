package registry_test

import (
	"bytes"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/pki"
	"imza/policy"
	"imza/simcard"
)

func TestSubscriberIsFoundByNumberAndUserID(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p := person(1)
		certificates := []gateway.Certificate{
			certificate(t, p, gateway.Citizen, "", 3),
			certificate(t, p, gateway.Business, xezer, 1),
			certificate(t, p, gateway.Government, nicat, 2),
		}
		for i, serial := range []string{"a", "b", "c"} { // in another order than the keys
			certificates[i].Serial = serial
		}
		if err := r.Enrol(t.Context(), p, certificates); err != nil {
			t.Fatal(err)
		}
		got, err := r.Subscriber(t.Context(), p.MSISDN, userID)
		if err != nil {
			t.Fatal(err)
		}
		if got.MSISDN != p.MSISDN || got.FIN != p.FIN || got.ICCID != p.ICCID || got.ShortAnswers || len(got.Certificates) != 3 {
			t.Fatalf("%+v", got)
		}
		able := person(2)
		able.ShortAnswers = true
		r.enrol(t, able)
		if got, err := r.Subscriber(t.Context(), able.MSISDN, able.UserID); err != nil || !got.ShortAnswers {
			t.Errorf("%+v %v", got, err)
		}
		for i, want := range []gateway.Certificate{certificates[1], certificates[2], certificates[0]} { // by key
			c := got.Certificates[i]
			if c.Serial != want.Serial || c.Type != want.Type || c.VOEN != want.VOEN || c.Key != want.Key || !c.Active || !c.X509.Equal(want.X509) {
				t.Errorf("certificate %d is %+v, want %+v", i, c, want)
			}
			if one, err := r.Certificate(t.Context(), want.Serial); err != nil || one.Key != want.Key || !one.X509.Equal(want.X509) {
				t.Errorf("%+v %v", one, err)
			}
		}
	})
}

// Nobody learns from an answer whether a number is a subscriber's.
func TestWrongUserIDAndUnknownNumberAreOne(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.enrol(t, person(1))
		other := person(2)
		other.UserID = "111111"
		r.enrol(t, other)
		for _, c := range []struct {
			m      simcard.MSISDN
			userID string
		}{
			{aysel, "835196"}, {aysel, ""}, {aysel, userID + "0"}, {aysel, userID[:5]}, {aysel, " " + userID}, {aysel, "111111"},
			{"+994500000009", userID}, {"+994500000009", ""}, {"", userID}, {"+99450000000", userID}, {aysel, "\x00" + userID},
		} {
			s, err := r.Subscriber(t.Context(), c.m, c.userID)
			if err != gateway.ErrNoSubscriber {
				t.Errorf("%s with %q: %v", c.m, c.userID, err)
			}
			if len(s.Certificates) > 0 {
				t.Errorf("%s with %q: certificates for nobody", c.m, c.userID)
			}
		}
		// PostgreSQL has no NUL in text.
		if s, err := r.Subscriber(t.Context(), aysel+"\x00", userID); err == nil || len(s.Certificates) > 0 {
			t.Errorf("%+v %v", s, err)
		}
	})
}

func TestUserIDsAreHashedForTheirNumberUnderThePepper(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.enrol(t, person(1))
		r.enrol(t, person(2)) // the same User ID
		rows, err := r.db.QueryContext(t.Context(), `SELECT user_id_hash FROM subscribers`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var hashes [][]byte
		for rows.Next() {
			var hash []byte
			if err := rows.Scan(&hash); err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, hash)
		}
		if rows.Err() != nil || len(hashes) != 2 || bytes.Equal(hashes[0], hashes[1]) || len(hashes[0]) != 32 {
			t.Errorf("%x", hashes)
		}
		// The same record under another pepper, which opening refuses.
		if _, err := r.db.ExecContext(t.Context(), `DELETE FROM owner`); err != nil {
			t.Fatal(err)
		}
		stolen, err := registry.Open(t.Context(), r.db, r.dialect, []byte("another pepper"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stolen.Subscriber(t.Context(), aysel, userID); err != gateway.ErrNoSubscriber {
			t.Errorf("found under another pepper: %v", err)
		}
	})
}

func TestEnrolIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		first := r.enrol(t, person(1))
		before := r.dump(t)
		second := person(2)
		good := certificate(t, second, gateway.Business, xezer, 1)
		duplicate := first
		same := person(2)
		same.MSISDN = aysel
		card := person(2)
		card.ICCID = person(1).ICCID
		for name, c := range map[string]struct {
			person       registry.Person
			certificates []gateway.Certificate
		}{
			"a serial number that is there":  {second, []gateway.Certificate{good, duplicate}},
			"one serial number twice":        {second, []gateway.Certificate{good, good}},
			"a number that is there":         {same, []gateway.Certificate{good}},
			"a card that is there":           {card, []gateway.Certificate{good}},
			"an organisation's without one":  {second, []gateway.Certificate{good, {Serial: "a", Type: gateway.Government, Key: 2, X509: good.X509}}},
			"a citizen's of an organisation": {second, []gateway.Certificate{good, {Serial: "a", Type: gateway.Citizen, VOEN: xezer, Key: 2, X509: good.X509}}},
		} {
			if err := r.Enrol(t.Context(), c.person, c.certificates); err == nil {
				t.Errorf("%s: enrolled", name)
			}
			if after := r.dump(t); after != before {
				t.Errorf("%s: left\n%s", name, after)
			}
		}
		if err := r.Enrol(t.Context(), second, []gateway.Certificate{good}); err != nil { // nothing stands in its way
			t.Error(err)
		}
		all, err := r.Subscribers(t.Context())
		if err != nil || !slices.Equal(all, []simcard.MSISDN{aysel, second.MSISDN}) {
			t.Errorf("%v %v", all, err)
		}
	})
}

func TestRevokedStaysRevoked(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		serial := r.enrol(t, person(1)).Serial
		active := func(want bool) {
			t.Helper()
			c, err := r.Certificate(t.Context(), serial)
			if err != nil || c.Active != want || c.ActiveAt(now.Add(time.Hour)) != want {
				t.Errorf("active %t, want %t (%v)", c.Active, want, err)
			}
			s, err := r.Subscriber(t.Context(), aysel, userID)
			if err != nil || s.Certificates[0].Active != want {
				t.Errorf("the subscriber's: %+v %v", s.Certificates, err)
			}
		}
		for _, step := range []struct {
			state  registry.State
			active bool
		}{{"suspended", false}, {"active", true}, {"active", true}, {"suspended", false}, {"suspended", false}, {"revoked", false}} {
			if err := r.SetCertificateState(t.Context(), serial, step.state, registry.Change{}); err != nil {
				t.Fatalf("%s: %v", step.state, err)
			}
			active(step.active)
		}
		for _, state := range []registry.State{"active", "suspended", "revoked"} {
			if err := r.SetCertificateState(t.Context(), serial, state, registry.Change{}); state != registry.Revoked && !errors.Is(err, registry.ErrRevoked) {
				t.Errorf("%s after revoked: %v", state, err)
			}
			active(false)
		}
		if err := r.SetCertificateState(t.Context(), "abc", "revoked", registry.Change{}); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("a certificate that is not there: %v", err)
		}
		if _, err := r.Certificate(t.Context(), "abc"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("a certificate that is not there: %v", err)
		}
	})
}

// A state that does not exist makes no certificate active: unknown means no.
func TestOnlyActiveIsActive(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		serial := r.enrol(t, person(1)).Serial
		for _, state := range []registry.State{"Active", "", "active ", "ACTIVE", "aktiv"} {
			if r.SetCertificateState(t.Context(), serial, state, registry.Change{}) != nil {
				continue // it may refuse
			}
			if c, err := r.Certificate(t.Context(), serial); err != nil || c.Active {
				t.Errorf("state %q is active (%v)", state, err)
			}
		}
	})
}

func TestRevocationListAndOCSPReadTheRecord(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		began := time.Now().Truncate(time.Second)
		serials := map[string]string{}
		numbers := map[string]*big.Int{}
		for i, state := range []string{"active", "suspended", "revoked", "back"} {
			c := r.enrol(t, person(i+1))
			serials[state], numbers[state] = c.Serial, c.X509.SerialNumber
		}
		if list, err := r.Revoked(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%+v %v", list, err)
		}
		for _, step := range [][2]string{{"suspended", "suspended"}, {"revoked", "revoked"}, {"back", "suspended"}, {"back", "active"}} {
			if err := r.SetCertificateState(t.Context(), serials[step[0]], registry.State(step[1]), registry.Change{}); err != nil {
				t.Fatal(err)
			}
		}
		ended := time.Now()
		right := func(got *pki.Revoked, state string) {
			t.Helper()
			if got == nil || got.Serial.Cmp(numbers[state]) != 0 || got.Hold != (state == "suspended") || got.At.Before(began) || got.At.After(ended) || got.At.Nanosecond() != 0 {
				t.Errorf("%s: %+v", state, got)
			}
		}
		list, err := r.Revoked(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("%+v %v", list, err)
		}
		for _, state := range []string{"suspended", "revoked"} {
			i := slices.IndexFunc(list, func(l pki.Revoked) bool { return l.Serial.Cmp(numbers[state]) == 0 })
			if i < 0 {
				t.Fatalf("the %s one is not in %+v", state, list)
			}
			right(&list[i], state)
			one, err := r.RevokedSerial(t.Context(), numbers[state])
			if err != nil {
				t.Fatal(err)
			}
			right(one, state)
		}
		for _, state := range []string{"active", "back"} {
			if one, err := r.RevokedSerial(t.Context(), numbers[state]); one != nil || err != nil {
				t.Errorf("%s: %+v %v", state, one, err)
			}
		}
		for _, n := range []*big.Int{big.NewInt(0), big.NewInt(12345), new(big.Int).Neg(numbers["revoked"]), new(big.Int).Lsh(numbers["revoked"], 4)} {
			if one, err := r.RevokedSerial(t.Context(), n); one != nil || !errors.Is(err, pki.ErrUnknownCertificate) {
				t.Errorf("%x: %+v %v", n, one, err)
			}
		}
	})
}

// A serial number whose first hexadecimal digit is a zero is found all the same.
func TestSerialNumbersHaveOneForm(t *testing.T) {
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(0x0A), big.NewInt(0xABCDEF), new(big.Int).Lsh(big.NewInt(1), 127)} {
		text := registry.Serial(n)
		back, ok := new(big.Int).SetString(text, 16)
		if !ok || back.Cmp(n) != 0 || text != strings.ToLower(text) || len(text) > 1 && text[0] == '0' {
			t.Errorf("%d is written %s", n, text)
		}
	}
}

func TestEmployeesAreThoseWithACertificate(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p := person(1)
		business, citizen := certificate(t, p, gateway.Business, xezer, 1), certificate(t, p, gateway.Citizen, "", 2)
		if err := r.Enrol(t.Context(), p, []gateway.Certificate{business, citizen}); err != nil {
			t.Fatal(err)
		}
		for _, o := range []policy.VOEN{xezer, nicat} {
			if err := r.AddOrganisation(t.Context(), o, "Xəzər MMC"); err != nil {
				t.Fatal(err)
			}
		}
		check := func(e policy.Employee, there bool) {
			t.Helper()
			if err := r.HasEmployee(t.Context(), e); there != (err == nil) || !there && !errors.Is(err, registry.ErrUnknown) {
				t.Errorf("%s: %v", e, err)
			}
		}
		check(policy.Employee{VOEN: xezer, FIN: p.FIN}, true)
		check(policy.Employee{VOEN: nicat, FIN: p.FIN}, false)
		check(policy.Employee{VOEN: xezer, FIN: "7DEM002"}, false)
		check(policy.Employee{VOEN: "1400000033", FIN: p.FIN}, false)
		check(policy.Employee{VOEN: "", FIN: p.FIN}, false) // a citizen's certificate is of no organisation
		// One who was: the manager may still want to see and to block.
		if err := r.SetCertificateState(t.Context(), business.Serial, "revoked", registry.Change{}); err != nil {
			t.Fatal(err)
		}
		check(policy.Employee{VOEN: xezer, FIN: p.FIN}, true)
	})
}

func TestOrganisationKeepsItsName(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		for _, name := range []string{"Xəzər MMC", "Another"} {
			if err := r.AddOrganisation(t.Context(), xezer, name); err != nil {
				t.Fatal(err)
			}
		}
		if dump := r.dump(t); !strings.Contains(dump, "organisations.name Xəzər MMC\n") || strings.Contains(dump, "Another") {
			t.Error(dump)
		}
	})
}

// Whatever is in a field is its content and nothing else.
func TestFieldsOfAnyContent(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		for i, text := range []string{
			`'); DROP TABLE subscribers; --`, `" OR 1=1 --`, `$1 ? :name @x`, `%_\`, "Əliağa Şıxəli", "Достоевский", "佐藤", "أحمد", "O'Brien", "a\nb\tc", "\u202eabc", strings.Repeat("ə", 10_000), "",
		} {
			p := person(i + 1)
			p.GivenName, p.Surname, p.UserID = text, text, text
			p.MSISDN, p.FIN, p.ICCID = simcard.MSISDN(text+string(p.MSISDN)), policy.FIN(text), simcard.ICCID(text+string(p.ICCID))
			c := certificate(t, person(i+1), gateway.Business, policy.VOEN(text), 1)
			if text == "" {
				c.Type = gateway.Citizen
			}
			c.Serial = text + c.Serial
			if err := r.Enrol(t.Context(), p, []gateway.Certificate{c}); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			s, err := r.Subscriber(t.Context(), p.MSISDN, text)
			if err != nil || s.ICCID != p.ICCID || s.FIN != p.FIN || len(s.Certificates) != 1 || s.Certificates[0].Serial != c.Serial || s.Certificates[0].VOEN != c.VOEN {
				t.Errorf("%q: %+v %v", text, s, err)
			}
			if _, err := r.Subscriber(t.Context(), p.MSISDN, text+"x"); err != gateway.ErrNoSubscriber {
				t.Errorf("%q: %v", text, err)
			}
			if err := r.AddOrganisation(t.Context(), policy.VOEN(text), text); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			if err := r.HasEmployee(t.Context(), policy.Employee{VOEN: c.VOEN, FIN: p.FIN}); err != nil && c.VOEN != "" {
				t.Errorf("%q: %v", text, err)
			}
			if err := r.SetProvider(t.Context(), policy.Provider(text), text, text+"key"); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			if name, err := r.ProviderName(t.Context(), policy.Provider(text)); err != nil || name != text {
				t.Errorf("%q: %q %v", text, name, err)
			}
			if err := r.SetAdministrator(t.Context(), registry.Administrator{ID: text, Role: registry.Operator}, text+"key"); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			e := entry(text+"id", gateway.Signed)
			e.Provider, e.MSISDN, e.VOEN, e.Serial, e.Reason = policy.Provider(text), p.MSISDN, c.VOEN, c.Serial, text
			if err := r.Record(t.Context(), []gateway.Entry{e}); err != nil {
				t.Errorf("%q: %v", text, err)
			}
			if got, err := r.Find(t.Context(), e.ID); err != nil || got != e {
				t.Errorf("%q: %+v %v", text, got, err)
			}
			if err := r.SetCertificateState(t.Context(), c.Serial, "suspended", registry.Change{}); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		if all, err := r.Subscribers(t.Context()); err != nil || len(all) != 13 {
			t.Errorf("%d subscribers, %v", len(all), err)
		}
	})
}
