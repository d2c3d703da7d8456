package registry_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
	"imza/simcard"
)

// manager is who changes things in tests.
var manager = registry.Change{Actor: "leyla", Role: "manager", Source: "192.0.2.7"}

// named enrols a person with a business certificate.
func (r *record) named(t testing.TB, n int, voen policy.VOEN, given, surname string) (registry.Person, gateway.Certificate) {
	t.Helper()
	p := person(n)
	p.GivenName, p.Surname = given, surname
	c := certificate(t, p, gateway.Business, voen, 1)
	if err := r.Enrol(t.Context(), p, []gateway.Certificate{c}); err != nil {
		t.Fatal(err)
	}
	return p, c
}

// fins are the employees that a filter finds, in one string.
func (r *record) fins(t testing.TB, f registry.EmployeeFilter) string {
	t.Helper()
	if f.VOEN == "" {
		f.VOEN = xezer
	}
	if f.Limit == 0 {
		f.Limit = 100
	}
	page, err := r.Employees(t.Context(), f)
	if err != nil {
		t.Errorf("%+v: %v", f, err)
	}
	var all []string
	for _, e := range page {
		all = append(all, strings.TrimPrefix(string(e.FIN), "7DEM00"))
	}
	return strings.Join(all, " ")
}

func (r *record) set(t testing.TB, serial string, s registry.State) {
	t.Helper()
	if err := r.SetCertificateState(t.Context(), serial, s, manager); err != nil {
		t.Fatal(err)
	}
}

func TestEmployeesAreFoundHoweverTheyAreTyped(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.named(t, 1, xezer, "Aysel", "Şıxəliyeva")
		r.named(t, 2, xezer, "İlqar", "Isgəndərov")
		r.named(t, 3, xezer, "Qız", "IŞIQ")
		r.named(t, 4, xezer, "100%", "under_score!")
		r.named(t, 5, xezer, "Достоевский", "Ёлка")
		r.named(t, 6, xezer, "佐藤", "ﬁ ＡＢＣ")
		r.named(t, 7, nicat, "Aysel", "Şıxəliyeva")
		r.named(t, 8, xezer, "Jose\u0301", "Σίσυφος")
		for _, c := range []struct{ text, want string }{
			{"", "1 2 3 4 5 6 8"}, {"aysel", "1"}, {"AYSEL", "1"}, {"ŞIXƏLİYEVA", "1"}, {"şixəliyeva", "1"}, {"şıxəli", "1"},
			{"S\u0327ıxəli", "1"}, {"  şıxəliyeva\taysel ", "1"}, {"aysel ilqar", ""}, {"sıxəli", ""},
			{"ilqar", "2"}, {"ILQAR", "2"}, {"ı", "1 2 3 6"}, {"i\u0307lqar", "2"}, {"I\u0307lqar", "2"}, {"isgəndərov İLQAR", "2"}, {"IŞIQ", "3"}, {"işiq", "3"},
			{"%", "4"}, {"_", "4"}, {"!", "4"}, {"100%", "4"}, {"r_s", "4"}, {"a_sel", ""}, {"a%l", ""}, {`\`, ""}, {"!!", ""},
			{"ДОСТОЕВСКИЙ", "5"}, {"ёлка", "5"}, {"Е\u0308ЛКА", "5"}, {"佐藤", "6"}, {"fi abc", "6"}, {"José", "8"}, {"σίσυφοσ", "8"},
			{"7dem002", "2"}, {"7DEM00", "1 2 3 4 5 6 8"}, {"+994500000003", "3"}, {"00000004", "4"}, {"aysel 7dem001 0000001", "1"},
			{"' OR 1=1 --", ""}, {`"; DROP TABLE employees; --`, ""}, {"<script>", ""}, {"$1", ""}, {"?", ""},
			{strings.Repeat("ə", 10_000), ""}, {strings.Repeat("x ", 5_000), ""}, {"a y s e l a y s e l", ""},
		} {
			if got := r.fins(t, registry.EmployeeFilter{Text: c.text}); got != c.want {
				t.Errorf("text %.40q finds %q, want %q", c.text, got, c.want)
			}
		}
		for _, c := range []struct{ name, want string }{
			{"aysel", "1"}, {"Şıxəliyeva Aysel", "1"}, {"7DEM001", ""}, {"+994500000001", ""}, {"7", ""}, {"100", "4"}, {"%", "4"},
		} {
			if got := r.fins(t, registry.EmployeeFilter{Name: c.name}); got != c.want {
				t.Errorf("name %q finds %q, want %q", c.name, got, c.want)
			}
		}
		for _, c := range []struct{ number, want string }{
			{"+994500000001", "1"}, {"994500000001", "1"}, {"50 000-00-02", "2"}, {"00000003", "3"}, {"+9945", "1 2 3 4 5 6 8"},
			{"+994500000007", ""}, {"+994500000099", ""}, {"100%", ""}, {"7001", ""}, {"19945", ""}, {"%", ""},
		} {
			if got := r.fins(t, registry.EmployeeFilter{Number: c.number}); got != c.want {
				t.Errorf("number %q finds %q, want %q", c.number, got, c.want)
			}
		}
		if got := r.fins(t, registry.EmployeeFilter{VOEN: nicat}); got != "7" {
			t.Errorf("the other organisation's: %q", got)
		}
	})
}

// validFor issues a certificate that expires in a time from now on.
func validFor(t testing.TB, p registry.Person, voen policy.VOEN, key byte, d time.Duration) gateway.Certificate {
	t.Helper()
	c := certificate(t, p, gateway.Business, voen, key)
	x := *c.X509
	x.NotAfter = time.Now().Add(d).UTC().Truncate(time.Second)
	c.X509 = &x
	return c
}

func TestEmployeesByTheirCertificates(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		// Each with two certificates, of which the second is long valid: what is
		// asked must hold of one of them, not of both together.
		states := []registry.State{1: registry.Active, 2: registry.Suspended, 3: registry.Revoked, 4: registry.Active, 5: registry.Suspended, 6: registry.Revoked}
		for n := 1; n <= 6; n++ {
			p, left := person(n), 10*day
			if n > 3 {
				left = -10 * day
			}
			first := validFor(t, p, xezer, 1, left)
			second := validFor(t, p, nicat, 2, 700*day)
			if err := r.Enrol(t.Context(), p, []gateway.Certificate{first, second}); err != nil {
				t.Fatal(err)
			}
			if states[n] != registry.Active {
				r.set(t, first.Serial, states[n])
			}
		}
		long := person(7)
		if err := r.Enrol(t.Context(), long, []gateway.Certificate{validFor(t, long, xezer, 1, 700*day), validFor(t, long, xezer, 2, 20*day)}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		type filter = registry.EmployeeFilter
		for name, c := range map[string]struct {
			filter
			want string
		}{
			"active":                 {filter{State: registry.Active}, "1 7"},
			"suspended":              {filter{State: registry.Suspended}, "2"},
			"revoked":                {filter{State: registry.Revoked}, "3 6"},
			"expired":                {filter{State: registry.Expired}, "4 5"},
			"no such state":          {filter{State: "aktiv"}, ""},
			"before":                 {filter{ExpiresBefore: now.Add(15 * day)}, "1 2 3 4 5 6"},
			"after":                  {filter{ExpiresAfter: now.Add(15 * day)}, "7"},
			"between":                {filter{ExpiresAfter: now, ExpiresBefore: now.Add(15 * day)}, "1 2 3"},
			"between, active":        {filter{State: registry.Active, ExpiresAfter: now, ExpiresBefore: now.Add(15 * day)}, "1"},
			"between, of two":        {filter{State: registry.Active, ExpiresAfter: now.Add(30 * day), ExpiresBefore: now.Add(60 * day)}, ""},
			"the wrong way round":    {filter{ExpiresAfter: now.Add(15 * day), ExpiresBefore: now}, ""},
			"expired, before":        {filter{State: registry.Expired, ExpiresBefore: now.Add(-11 * day)}, ""},
			"expired, to come":       {filter{State: registry.Expired, ExpiresAfter: now}, ""},
			"with a number":          {filter{Number: "+994500000002", State: registry.Suspended}, "2"},
			"with another's":         {filter{Number: "+994500000001", State: registry.Suspended}, ""},
			"number, FIN":            {filter{Number: "+994500000001", FIN: "7DEM002"}, ""},
			"with a FIN":             {filter{FIN: "7DEM003", State: registry.Revoked}, "3"},
			"with another FIN":       {filter{FIN: "7DEM001", State: registry.Revoked}, ""},
			"with a text":            {filter{Text: "0000003", State: registry.Revoked}, "3"},
			"after one":              {filter{After: "7DEM004"}, "5 6 7"},
			"after one, revoked":     {filter{After: "7DEM003", State: registry.Revoked}, "6"},
			"after one, expired":     {filter{After: "7DEM004", State: registry.Expired}, "5"},
			"after one, by number":   {filter{After: "7DEM001", Number: "+994500000001"}, ""},
			"another organisation's": {filter{VOEN: nicat, State: registry.Suspended}, ""},
			"nobody's":               {filter{VOEN: "1400000099"}, ""},
		} {
			if got := r.fins(t, c.filter); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		// Pages of every length are all of them, each once, however they are asked.
		for _, f := range []filter{{}, {State: registry.Revoked}, {State: registry.Expired}, {Text: "aysel"}, {ExpiresBefore: now.Add(15 * day)}} {
			whole := r.fins(t, f)
			for limit := 1; limit <= 8; limit++ {
				f.Limit, f.After = limit, ""
				var pages []string
				for page := r.fins(t, f); page != ""; page = r.fins(t, f) {
					pages = append(pages, page)
					f.After = policy.FIN("7DEM00" + page[strings.LastIndex(page, " ")+1:])
				}
				if got := strings.Join(pages, " "); got != whole {
					t.Errorf("%+v: %s, want %s", f, got, whole)
				}
			}
		}
	})
}

// Whether few or many certificates expire makes a difference to how they are
// found, and none to what is.
func TestManyThatExpire(t *testing.T) {
	r := fresh(t)
	populate(t, r, 12_000, 2)
	f := registry.EmployeeFilter{VOEN: "1400000000", ExpiresBefore: time.Now().Add(2000 * day), Limit: 500}
	many, err := r.Employees(t.Context(), f)
	if err != nil || len(many) != 500 {
		t.Fatalf("%d %v", len(many), err)
	}
	for i, e := range many {
		if want := policy.FIN(fmt.Sprintf("%07d", 2*i)); e.FIN != want || len(e.Certificates) != 1 || e.VOEN != f.VOEN {
			t.Fatalf("%+v, want %s", e, want)
		}
	}
	f.State = registry.Suspended
	few, err := r.Employees(t.Context(), f)
	if err != nil || len(few) != 5 { // of six; one has expired
		t.Errorf("%d %v", len(few), err)
	}
}

func TestEmployeeIsShownWithTheOrganisationsCertificatesOnly(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p := person(1)
		of := []gateway.Certificate{certificate(t, p, gateway.Business, xezer, 1), certificate(t, p, gateway.Government, nicat, 2), certificate(t, p, gateway.Citizen, "", 3)}
		if err := r.Enrol(t.Context(), p, of); err != nil {
			t.Fatal(err)
		}
		for _, o := range []policy.VOEN{xezer, nicat, "1400000033"} {
			if err := r.AddOrganisation(t.Context(), o, "Xəzər MMC"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.Employee(t.Context(), policy.Employee{VOEN: xezer, FIN: p.FIN})
		if err != nil || got.VOEN != xezer || got.FIN != p.FIN || got.GivenName != p.GivenName || got.Surname != p.Surname || !slices.Equal(got.Numbers, []simcard.MSISDN{p.MSISDN}) {
			t.Errorf("%+v %v", got, err)
		}
		want := registry.CertificateEntry{Serial: of[0].Serial, Type: gateway.Business, VOEN: xezer, State: registry.Active,
			NotBefore: of[0].X509.NotBefore, NotAfter: of[0].X509.NotAfter, MSISDN: p.MSISDN}
		if len(got.Certificates) != 1 || got.Certificates[0] != want {
			t.Errorf("%+v, want %+v", got.Certificates, want)
		}
		for what, e := range map[string]policy.Employee{"organisation": {VOEN: "1400000099", FIN: p.FIN}, "employee": {VOEN: "1400000033", FIN: p.FIN}} {
			if _, err := r.Employee(t.Context(), e); !errors.Is(err, registry.ErrUnknown) || !strings.HasSuffix(err.Error(), what) {
				t.Errorf("%s: %v", what, err)
			}
		}
		subscriber, err := r.SubscriberEntry(t.Context(), p.MSISDN)
		if err != nil || subscriber.ICCID != p.ICCID || subscriber.FIN != p.FIN || subscriber.State != registry.Active || len(subscriber.Certificates) != 3 {
			t.Errorf("%+v %v", subscriber, err)
		}
		held, err := r.CertificateEntry(t.Context(), of[0].Serial)
		if err != nil || held.CertificateEntry != want || held.FIN != p.FIN || held.GivenName != p.GivenName || held.Surname != p.Surname {
			t.Errorf("%+v %v", held, err)
		}
		if _, err := r.SubscriberEntry(t.Context(), "+994500000099"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
		if _, err := r.CertificateEntry(t.Context(), "abc"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
	})
}

// A renewed certificate is the same employee's; so is one on a second SIM.
func TestRenewalIsOfTheSameEmployee(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		p, first := r.named(t, 1, xezer, "Aysel", "Məmmədova")
		renewed, citizen := certificate(t, p, gateway.Business, xezer, 2), certificate(t, p, gateway.Citizen, "", 3)
		if err := r.AddCertificates(t.Context(), p.ICCID, []gateway.Certificate{renewed, citizen}); err != nil {
			t.Fatal(err)
		}
		second := person(2)
		second.FIN = p.FIN
		if err := r.Enrol(t.Context(), second, []gateway.Certificate{certificate(t, second, gateway.Business, xezer, 1)}); err != nil {
			t.Fatal(err)
		}
		all, err := r.Employees(t.Context(), registry.EmployeeFilter{VOEN: xezer, Limit: 10})
		if err != nil || len(all) != 1 || len(all[0].Certificates) != 3 || !slices.Equal(slices.Sorted(slices.Values(all[0].Numbers)), []simcard.MSISDN{p.MSISDN, second.MSISDN}) {
			t.Errorf("%+v %v", all, err)
		}
		for _, number := range []string{string(p.MSISDN), string(second.MSISDN), "0000001", "0000002"} {
			if got := r.fins(t, registry.EmployeeFilter{Number: number}); got != "1" {
				t.Errorf("%s finds %q", number, got)
			}
		}
		s, err := r.Subscriber(t.Context(), p.MSISDN, userID)
		if err != nil || len(s.Certificates) != 3 || s.Certificates[0].Serial != first.Serial || s.Certificates[1].Serial != renewed.Serial {
			t.Errorf("%+v %v", s, err)
		}
		before := r.dump(t)
		for name, err := range map[string]error{
			"unknown card": r.AddCertificates(t.Context(), "8999401000000000099", []gateway.Certificate{certificate(t, p, gateway.Business, xezer, 4)}),
			"there":        r.AddCertificates(t.Context(), p.ICCID, []gateway.Certificate{certificate(t, p, gateway.Business, nicat, 4), renewed}),
			"no VÖEN":      r.AddCertificates(t.Context(), p.ICCID, []gateway.Certificate{{Serial: "a", Type: gateway.Business, X509: first.X509}}),
		} {
			if err == nil {
				t.Errorf("%s: added", name)
			}
		}
		if after := r.dump(t); after != before {
			t.Errorf("left\n%s", after)
		}
	})
}

func TestImports(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		in := func(do func(tx *sql.Tx) (registry.Outcome, error)) (outcome registry.Outcome, err error) {
			t.Helper()
			tx, err := r.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if outcome, err = do(tx); err != nil {
				return outcome, err
			}
			return outcome, tx.Commit()
		}
		for _, step := range []struct {
			name string
			want registry.Outcome
		}{{"Xəzər", registry.Created}, {"Xəzər", registry.Unchanged}, {"Xəzər MMC", registry.Altered}, {"Xəzər MMC", registry.Unchanged}} {
			if got, err := in(func(tx *sql.Tx) (registry.Outcome, error) {
				return r.ImportOrganisation(t.Context(), tx, xezer, step.name)
			}); got != step.want || err != nil {
				t.Errorf("%s: %s %v", step.name, got, err)
			}
		}
		employee := func(voen policy.VOEN, given, surname string) (registry.Outcome, error) {
			return in(func(tx *sql.Tx) (registry.Outcome, error) {
				return r.ImportEmployee(t.Context(), tx, voen, "7DEM001", given, surname)
			})
		}
		if _, err := employee(nicat, "A", "B"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
		for _, step := range []struct {
			given string
			want  registry.Outcome
		}{{"Aysel", registry.Created}, {"Aysel", registry.Unchanged}} {
			if got, err := employee(xezer, step.given, "Əliyeva"); got != step.want || err != nil {
				t.Errorf("%s: %s %v", step.given, got, err)
			}
		}
		// Who was imported stays who they are when a card is enrolled.
		p, _ := r.named(t, 1, xezer, "Another", "Name")
		if e, err := r.Employee(t.Context(), policy.Employee{VOEN: xezer, FIN: p.FIN}); err != nil || e.GivenName != "Aysel" || len(e.Certificates) != 1 {
			t.Errorf("%+v %v", e, err)
		}
		if got, err := employee(xezer, "Günel", "Əliyeva"); got != registry.Altered || err != nil {
			t.Errorf("%s %v", got, err)
		}
		for text, want := range map[string]string{"gunel": "", "GÜNEL əliyeva": "1", "aysel": "", "0000001": "1"} {
			if got := r.fins(t, registry.EmployeeFilter{Text: text}); got != want {
				t.Errorf("%s finds %q", text, got)
			}
		}
	})
}

func TestOrganisationsAreFoundByNameAndNumber(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		for voen, name := range map[policy.VOEN]string{xezer: "Xəzər MMC", nicat: "İşıq & Söz 100%", "1400000033": "ЗАО Ёлка", "1400000044": ""} {
			if err := r.AddOrganisation(t.Context(), voen, name); err != nil {
				t.Fatal(err)
			}
		}
		r.named(t, 1, xezer, "A", "B")
		r.named(t, 2, xezer, "A", "B")
		for _, c := range []struct {
			f    registry.OrganisationFilter
			want string
		}{
			{registry.OrganisationFilter{}, "11 22 33 44"}, {registry.OrganisationFilter{After: xezer}, "22 33 44"},
			{registry.OrganisationFilter{Text: "xəzər"}, "11"}, {registry.OrganisationFilter{Text: "ISIQ"}, ""}, {registry.OrganisationFilter{Text: "IŞIQ söz"}, "22"},
			{registry.OrganisationFilter{Text: "100%"}, "22"}, {registry.OrganisationFilter{Text: "%"}, "22"}, {registry.OrganisationFilter{Text: "ёлка зао"}, "33"},
			{registry.OrganisationFilter{Text: "0000044"}, "44"}, {registry.OrganisationFilter{Text: "14"}, "11 22 33 44"},
			{registry.OrganisationFilter{VOENs: []policy.VOEN{}}, ""}, {registry.OrganisationFilter{VOENs: []policy.VOEN{nicat, "1400000099"}}, "22"},
			{registry.OrganisationFilter{VOENs: []policy.VOEN{nicat}, Text: "xəzər"}, ""},
		} {
			c.f.Limit = 10
			all, err := r.Organisations(t.Context(), c.f)
			var got []string
			for _, o := range all {
				got = append(got, string(o.VOEN[8:]))
			}
			if strings.Join(got, " ") != c.want || err != nil {
				t.Errorf("%+v finds %q, want %q (%v)", c.f, got, c.want, err)
			}
		}
		if o, err := r.Organisation(t.Context(), xezer); err != nil || o != (registry.Organisation{VOEN: xezer, Name: "Xəzər MMC", Employees: 2}) {
			t.Errorf("%+v %v", o, err)
		}
		if _, err := r.Organisation(t.Context(), "1400000099"); !errors.Is(err, registry.ErrUnknown) {
			t.Errorf("%v", err)
		}
	})
}

// What an earlier version recorded is filled in when the record is opened.
func TestEarlierRecordIsFilledIn(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		const people = 3
		var serials []string
		for n := 1; n <= people; n++ {
			_, c := r.named(t, n, xezer, "Aysel", "Şıxəliyeva")
			serials = append(serials, c.Serial)
		}
		if err := r.AddOrganisation(t.Context(), xezer, "Xəzər"); err != nil {
			t.Fatal(err)
		}
		want := r.dump(t)
		for _, statement := range []string{
			`DELETE FROM employees`, `UPDATE organisations SET search = ''`, `UPDATE certificates SET not_before = 0, not_after = 0`,
		} {
			if _, err := r.db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		again := r.again()
		if got := again.dump(t); got != want {
			t.Errorf("after it:\n%s\nwant\n%s", got, want)
		}
		// One that cannot be read does not keep the record from being opened.
		if _, err := r.db.ExecContext(t.Context(), `UPDATE certificates SET der = $2, not_after = 0 WHERE serial = $1`, serials[0], []byte("no DER")); err != nil {
			t.Fatal(err)
		}
		again = again.again()
		if e, err := again.Employees(t.Context(), registry.EmployeeFilter{VOEN: xezer, State: registry.Expired, Limit: 9}); err != nil || len(e) != 1 {
			t.Errorf("%+v %v", e, err)
		}
	})
}

// PostgreSQL takes no U+0000 and nothing that is not UTF-8; whatever a database
// refuses leaves nothing behind, and what it takes comes back as it was.
func TestTextThatADatabaseMayRefuse(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		if err := r.AddOrganisation(t.Context(), xezer, "Xəzər"); err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"a\x00b", "\x00", "a\xffb", "\xc3", "<script>alert(1)</script>", `'); DROP TABLE employees; --`, strings.Repeat("Ş", 100_000), "\u202e\u200b", "\n\t"} {
			p := person(i + 1)
			p.GivenName, p.Surname = text, text
			before := r.dump(t)
			if err := r.Enrol(t.Context(), p, []gateway.Certificate{certificate(t, p, gateway.Business, xezer, 1)}); err != nil {
				if after := r.dump(t); after != before {
					t.Errorf("%.20q was refused and left\n%.1000s", text, after)
				}
				if i > 3 {
					t.Errorf("%.20q: %v", text, err)
				}
			} else if e, err := r.Employee(t.Context(), policy.Employee{VOEN: xezer, FIN: p.FIN}); err != nil || e.GivenName != text || e.Surname != text {
				t.Errorf("%.20q came back as %.20q (%v)", text, e.GivenName, err)
			}
			// It may be an error; it must not find everybody, nor end the search for good.
			_, _ = r.Employees(t.Context(), registry.EmployeeFilter{VOEN: xezer, Text: text, Name: text, Number: text, State: registry.State(text), FIN: policy.FIN(text), Limit: 10})
			_, _ = r.Organisations(t.Context(), registry.OrganisationFilter{Text: text, Limit: 10})
			_, _ = r.PutProvider(t.Context(), "bank", text, operator)
			_, _ = r.PutAdministrator(t.Context(), registry.Administrator{ID: "a" + text, Role: registry.Operator}, operator)
			if got := r.fins(t, registry.EmployeeFilter{Text: "7DEM", Limit: 1}); i > 4 && got == "" {
				t.Errorf("after %.20q nobody is found", text)
			}
		}
	})
}

// Who enrols a card while names are imported takes neither away: the names are
// the import's, and the number is found.
func TestEnrolmentDuringAnImport(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		if err := r.AddOrganisation(t.Context(), xezer, "Xəzər"); err != nil {
			t.Fatal(err)
		}
		p, _ := r.named(t, 1, xezer, "Old", "Name")
		tx, err := r.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if got, err := r.ImportEmployee(t.Context(), tx, xezer, p.FIN, "New", "Name"); got != registry.Altered || err != nil {
			t.Fatalf("%s %v", got, err)
		}
		enrolled := make(chan error)
		other := person(2)
		other.FIN = p.FIN
		card := []gateway.Certificate{certificate(t, other, gateway.Business, xezer, 1)}
		go func() { enrolled <- r.Enrol(t.Context(), other, card) }()
		time.Sleep(200 * time.Millisecond) // by then it waits
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-enrolled; err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]string{"new": "1", "old": "", "0000001": "1", "0000002": "1"} {
			if got := r.fins(t, registry.EmployeeFilter{Text: text}); got != want {
				t.Errorf("%q finds %q", text, got)
			}
		}
	})
}
