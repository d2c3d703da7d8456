package cabinet_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
)

// pages reads a list to its end, and gives what id says of each entry.
func pages[T any](t *testing.T, s *gatewaytest.Stack, key, path, name string, id func(T) string) (all []string) {
	t.Helper()
	for after := ""; ; {
		answer := read[map[string]json.RawMessage](t, s.Do(t, "GET", path+after, key, nil))
		var entries []T
		if err := json.Unmarshal(answer[name], &entries); err != nil || entries == nil {
			t.Fatalf("%s%s: %v", path, after, err)
		}
		for _, e := range entries {
			all = append(all, id(e))
		}
		if answer["next"] == nil {
			return all
		}
		if len(entries) == 0 || len(all) > 10_000 {
			t.Fatalf("%s%s does not end", path, after)
		}
		after = "&after=" + url.QueryEscape(strings.Trim(string(answer["next"]), `"`))
	}
}

// Every list is complete and in order, however long its pages are.
func TestListsPageByPage(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		crowd(t, s, 23)
		var organisations strings.Builder
		organisations.WriteString("voen,name\n")
		for i := range 23 {
			fmt.Fprintf(&organisations, "20000000%02d,Qurum %d\n", i, i)
			s.Provider(t, policy.Provider(fmt.Sprintf("p-%02d", i)), registry.NewProviderKey())
		}
		if a := importAs(t, s, s.AdminKey, "", organisations.String()); a.Status != 200 {
			t.Fatalf("%s", a.Body)
		}
		for _, limit := range []int{1, 2, 7, 22, 23, 24, 25, 26, 1000} {
			size := fmt.Sprintf("?limit=%d", limit)
			for name, got := range map[string][]string{
				"organisations": pages(t, s, s.AdminKey, "/v1/admin/organisations"+size, "organisations", func(o registry.Organisation) string { return string(o.VOEN) }),
				"employees":     pages(t, s, s.AdminKey, "/v1/admin/organisations/1400000011/employees"+size, "employees", func(e registry.Employee) string { return string(e.FIN) }),
				"filtered":      pages(t, s, s.AdminKey, "/v1/admin/organisations/1400000011/employees"+size+"&q=V%C6%8FL%C4%B0YEV", "employees", func(e registry.Employee) string { return string(e.FIN) }),
				"providers":     pages(t, s, s.AdminKey, "/v1/admin/providers"+size, "providers", func(p registry.ProviderEntry) string { return string(p.ID) }),
				"audit":         pages(t, s, s.AdminKey, "/v1/admin/audit"+size+"&action=import+employee", "entries", func(e registry.AuditEntry) string { return fmt.Sprintf("%09d", e.Sequence) }),
			} {
				want := 23
				if name == "organisations" {
					want = 25
				}
				if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != want || len(got) != want {
					t.Errorf("%s%s: %v", name, size, got)
				}
			}
		}
	})
}

func TestOrganisations(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	s.Enrol(t, gatewaytest.Person{})
	both := manager(t, s, "aysel", gatewaytest.FirstVOEN, gatewaytest.SecondVOEN)
	for query, want := range map[string]string{
		"": "1400000011 1400000022", "?q=": "1400000011 1400000022", "?q=n%C3%BCmun%C9%99": "1400000011", "?q=N%C3%9CMUN%C6%8F": "1400000011", "?q=SINAQ": "1400000022",
		"?q=s%C4%B1naq+asc": "1400000022", "?q=00011": "1400000011", "?q=14": "1400000011 1400000022", "?q=%25": "", "?q=_": "", "?q='+OR+1=1": "", "?q=%3Cb%3E": "",
	} {
		for _, key := range []string{s.AdminKey, both} {
			var got []string
			for _, o := range read[cabinet.OrganisationPage](t, s.Do(t, "GET", "/v1/admin/organisations"+query, key, nil)).Organisations {
				got = append(got, string(o.VOEN))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v", query, got)
			}
		}
	}
	if got := read[registry.Organisation](t, s.Do(t, "GET", "/v1/admin/organisations/1400000011", both, nil)); got != (registry.Organisation{VOEN: "1400000011", Name: "Nümunə MMC", Employees: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestEmployees(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		people := "voen,fin,given_name,surname\n"
		for _, p := range []string{"8AAAAA1,İlham,Şıxəliyev", "8AAAAA2,Ирина,Петрова", "8AAAAA3,<script>alert(1)</script>,\"O'Neill \"\"Ə\"\"; DROP TABLE employees; --\"", "8AAAAA4,北京,🖋"} {
			people += "1400000011," + p + "\n"
		}
		if a := importAs(t, s, s.AdminKey, "", people); a.Status != 200 {
			t.Fatalf("%s", a.Body)
		}
		active, suspended := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		revoked, expired := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{Certified: time.Now().AddDate(-5, 0, 0)})
		s.Enrol(t, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Business, VOEN: gatewaytest.SecondVOEN}}})
		s.Do(t, "PUT", "/v1/admin/certificates/"+suspended.Certificates[0].Serial+"/state", s.AdminKey, state("suspended"))
		s.Do(t, "PUT", "/v1/admin/certificates/"+revoked.Certificates[0].Serial+"/state", s.AdminKey, state("revoked"))
		fins := func(all ...*gatewaytest.Subscriber) string {
			var text []string
			for _, who := range all {
				text = append(text, string(who.FIN))
			}
			return strings.Join(text, " ")
		}
		ours := fins(active, suspended, revoked, expired)
		ends := active.Certificates[0].X509.NotAfter
		for query, want := range map[string]string{
			"": ours + " 8AAAAA1 8AAAAA2 8AAAAA3 8AAAAA4", "q=": ours + " 8AAAAA1 8AAAAA2 8AAAAA3 8AAAAA4",
			"q=ilham": "8AAAAA1", "q=İLHAM": "8AAAAA1", "q=sixeliyev": "", "q=şixəliyev": "8AAAAA1", "q=ŞIXƏLİYEV": "8AAAAA1", "q=ПЕТРОВА": "8AAAAA2", "q=ирина петр": "8AAAAA2",
			"q=8aaaaa": "8AAAAA1 8AAAAA2 8AAAAA3 8AAAAA4", "q=<SCRIPT>": "8AAAAA3", "q=o'neill": "8AAAAA3", "q=北": "8AAAAA4", "q=🖋": "8AAAAA4", "q=%": "", "q=_": "", `q=\`: "",
			"q=məmmədova": ours, "q=" + string(active.MSISDN): fins(active), "q=" + string(active.FIN): fins(active), "q=nobody": "",
			"name=aysel": ours, "name=8AAAAA": "", "name=aysel&fin=" + string(revoked.FIN): fins(revoked), "fin=8AAAAA2": "8AAAAA2", "fin=8AAAAA9": "",
			"number=" + string(active.MSISDN): fins(active), "number=" + string(active.MSISDN)[5:]: fins(active), "number=9945500": ours, "number=777": "",
			"state=active": fins(active), "state=suspended": fins(suspended), "state=revoked": fins(revoked), "state=expired": fins(expired),
			"expiresBefore=" + time.Now().Format(time.RFC3339): fins(expired), "expiresAfter=" + time.Now().UTC().Format(time.DateOnly): fins(active, suspended, revoked),
			"expiresBefore=" + ends.Add(time.Hour).Format(time.RFC3339) + "&expiresAfter=" + ends.Add(-time.Hour).Format(time.RFC3339): fins(active, suspended, revoked),
			"state=active&expiresBefore=2020-01-01": "", "q=aysel&state=expired": fins(expired), "q=ilham&state=active": "",
		} {
			values, err := url.ParseQuery(strings.NewReplacer("%", "%25", "+", "%2B", ";", "%3B").Replace(query))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range read[cabinet.EmployeePage](t, s.Do(t, "GET", "/v1/admin/organisations/1400000011/employees?"+values.Encode(), s.AdminKey, nil)).Employees {
				got = append(got, string(e.FIN))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %v, not %s", query, got, want)
			}
		}
		got := read[cabinet.EmployeeWithPermissions](t, s.Do(t, "GET", "/v1/admin/organisations/1400000011/employees/8AAAAA3", s.AdminKey, nil))
		if got.GivenName != "<script>alert(1)</script>" || got.Surname != `O'Neill "Ə"; DROP TABLE employees; --` || got.Permissions.Default != "allow" || got.Numbers == nil || got.Certificates == nil {
			t.Errorf("%+v", got)
		}
		// Who has no certificate yet can be blocked all the same.
		s.Provider(t, "bank", registry.NewProviderKey())
		if p := permissions(t, s.Do(t, "PUT", pathOf("1400000011", "8AAAAA3", "bank"), s.AdminKey, nil)); p.Version != 1 {
			t.Errorf("%+v", p)
		}
	})
}
