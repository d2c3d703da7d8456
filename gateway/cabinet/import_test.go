package cabinet_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3filter"

	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy"
	"imza/policy/redistest"
	"imza/policy/sqltest"
)

// Text of any form is what OpenAPI promises; kin-openapi would read it as CSV
// with commas.
func init() { openapi3filter.RegisterBodyDecoder("text/csv", openapi3filter.FileBodyDecoder) }

const imports = "/v1/admin/imports"

func importAs(t testing.TB, s *gatewaytest.Stack, key, query, text string) gatewaytest.Answer {
	t.Helper()
	return s.Do(t, "POST", imports+query, key, text, "Content-Type", "text/csv; charset=utf-8")
}

// imported reads what an import that was done is answered with, first in a dry
// run, which must tell the same and change nothing.
func imported(t testing.TB, s *gatewaytest.Stack, key, text string) cabinet.Imported {
	t.Helper()
	var done [2]cabinet.Imported
	for i, query := range []string{"?dryRun=true", "?dryRun=false"} {
		before := dump(t, s)
		a := importAs(t, s, key, query, text)
		if a.Status != http.StatusOK || json.Unmarshal(a.Body, &done[i]) != nil {
			t.Fatalf("answered %d %s", a.Status, a.Body)
		}
		if changed := done[i].Created+done[i].Changed > 0; (before != dump(t, s)) != (changed && !done[i].DryRun) {
			t.Errorf("%+v, and the record is the same: %t", done[i], before == dump(t, s))
		}
	}
	if !done[0].DryRun || done[1].DryRun {
		t.Errorf("a dry run is %+v, a real one %+v", done[0], done[1])
	}
	done[0].DryRun = false
	if done[0] != done[1] || done[1].Rows != done[1].Created+done[1].Changed+done[1].Unchanged {
		t.Errorf("the dry run said %+v, the real one %+v", done[0], done[1])
	}
	return done[1]
}

// faulty reads the faults of a file that is refused, which must change nothing,
// as "row field: detail".
func faulty(t testing.TB, s *gatewaytest.Stack, key, text string) string {
	t.Helper()
	before := dump(t, s)
	var said [2]string
	for i, query := range []string{"?dryRun=true", ""} {
		a := importAs(t, s, key, query, text)
		a.Refused(t, http.StatusBadRequest, "invalid_import")
		var faults struct {
			Errors []cabinet.ImportFault
			Total  int
		}
		if err := json.Unmarshal(a.Body, &faults); err != nil {
			t.Fatal(err)
		}
		if faults.Total < len(faults.Errors) || len(faults.Errors) != min(100, faults.Total) || faults.Total == 0 {
			t.Errorf("%d faults, %d listed", faults.Total, len(faults.Errors))
		}
		var all []string
		for _, f := range faults.Errors {
			all = append(all, fmt.Sprintf("%d %s: %s", f.Row, f.Field, f.Detail))
		}
		said[i] = strings.Join(all, "; ")
	}
	if said[0] != said[1] {
		t.Errorf("the dry run said %s, the real one %s", said[0], said[1])
	}
	if dump(t, s) != before {
		t.Errorf("%q changed the record", text)
	}
	return said[1]
}

// dump is all that an import may change.
func dump(t testing.TB, s *gatewaytest.Stack) string {
	t.Helper()
	var all []string
	for _, table := range []string{"organisations", "employees", "permission_sets", "permission_exceptions", "permission_views", "audit", "providers", "subscribers", "certificates"} {
		rows, err := s.DB.QueryContext(t.Context(), `SELECT * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(table, values))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all) // unchanged rows may move
	return strings.Join(all, "\n")
}

// entry is one of the audit log.
type entry struct{ actor, role, action, subject, before, after string }

func entries(t testing.TB, s *gatewaytest.Stack) (all []entry) {
	t.Helper()
	err := s.Registry.AuditEntries(t.Context(), registry.AuditFilter{}, func(e registry.AuditEntry) error {
		all = append(all, entry{e.Actor, e.Role, e.Action, e.Subject, string(e.Before), string(e.After)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// manager is a key of somebody who manages an organisation.
func manager(t testing.TB, s *gatewaytest.Stack, id string, voens ...policy.VOEN) string {
	t.Helper()
	key := registry.NewAdminKey()
	if err := s.Registry.SetAdministrator(t.Context(), registry.Administrator{ID: id, Role: registry.Manager, Organisations: voens}, key); err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	namesHeader  = "voen,name\n"
	peopleHeader = "voen,fin,given_name,surname\n"
	blocksHeader = "voen,fin,provider,action\n"
)

func TestImport(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		bank, shop := s.Provider(t, "bank", registry.NewProviderKey()), s.Provider(t, "shop", registry.NewProviderKey())
		who := s.Enrol(t, gatewaytest.Person{})
		steps := []struct {
			text                        string
			created, changed, unchanged int
			log                         []entry
		}{
			{namesHeader + "1400000033,Yeni MMC\n1400000011,Nümunə MMC\n1400000022,Sınaq QSC\n", 1, 1, 1, []entry{
				{gatewaytest.Administrator, "operator", "import organisation", "1400000022", `{"name":"Sınaq ASC"}`, `{"name":"Sınaq QSC"}`},
				{gatewaytest.Administrator, "operator", "import organisation", "1400000033", `null`, `{"name":"Yeni MMC"}`}}},
			{peopleHeader + "1400000033,7NEW001,Əli,Vəliyev\n1400000011," + string(who.FIN) + ",Aysel,Əliyeva\n1400000033," + string(who.FIN) + ",Aysel,Əliyeva\n", 2, 1, 0, []entry{
				{gatewaytest.Administrator, "operator", "import employee", "1400000011/" + string(who.FIN), `{"givenName":"Aysel","surname":"Məmmədova"}`, `{"givenName":"Aysel","surname":"Əliyeva"}`},
				{gatewaytest.Administrator, "operator", "import employee", "1400000033/7NEW001", `null`, `{"givenName":"Əli","surname":"Vəliyev"}`},
				{gatewaytest.Administrator, "operator", "import employee", "1400000033/" + string(who.FIN), `null`, `{"givenName":"Aysel","surname":"Əliyeva"}`}}},
			{"action;voen;fin;provider\r\nblock;1400000011;" + string(who.FIN) + ";bank\r\nunblock;1400000033;7NEW001;*\r\n", 0, 1, 1, []entry{
				{gatewaytest.Administrator, "operator", "import blocks", "1400000011/" + string(who.FIN), `[]`, `["bank"]`}}},
		}
		for i, step := range steps {
			before := len(entries(t, s))
			rows := step.created + step.changed + step.unchanged
			got := imported(t, s, s.AdminKey, step.text)
			if want := (cabinet.Imported{Kind: got.Kind, Rows: rows, Created: step.created, Changed: step.changed, Unchanged: step.unchanged}); got != want {
				t.Errorf("step %d: %+v, want %+v", i, got, want)
			}
			log := entries(t, s)[before:]
			for i, e := range log {
				if e.action == "import blocks" { // the sets are shown as elsewhere; their exceptions suffice here
					log[i].before, log[i].after = exceptions(t, e.before), exceptions(t, e.after)
				}
			}
			if !slices.Equal(log, step.log) {
				t.Errorf("step %d: logged\n%v\nwant\n%v", i, log, step.log)
			}
			// Once more, as after a lost answer.
			if got := imported(t, s, s.AdminKey, step.text); got.Unchanged != rows || len(entries(t, s)) != before+len(step.log) {
				t.Errorf("step %d, again: %+v, logged %v", i, got, entries(t, s)[before:])
			}
		}
		s.Do(t, "POST", signatures, bank, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
		if got := s.End(t, shop, s.Ask(t, shop, who.Request()).ID); got.Status != "signed" {
			t.Errorf("for a provider of whom nothing was said it ended as %s", got.Status)
		}
		// Each of these is in force when it is answered.
		for provider, action := range map[string]string{"*": "unblock", "bank": "unblock"} {
			imported(t, s, s.AdminKey, blocksHeader+"1400000011,"+string(who.FIN)+",*,block\n")
			for _, key := range []string{bank, shop} {
				s.Do(t, "POST", signatures, key, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
			}
			imported(t, s, s.AdminKey, blocksHeader+"1400000011,"+string(who.FIN)+","+provider+","+action+"\n")
			if got := s.End(t, bank, s.Ask(t, bank, who.Request()).ID); got.Status != "signed" {
				t.Errorf("%s: ended as %s", action, got.Status)
			}
		}
		if report, err := s.Registry.VerifyAudit(t.Context()); err != nil || len(report.Faults) > 0 {
			t.Errorf("the log: %v, %v", report, err)
		}
	})
}

// exceptions are those of a permission set in the log.
func exceptions(t testing.TB, set string) string {
	t.Helper()
	var p struct{ Exceptions json.RawMessage }
	if err := json.Unmarshal([]byte(set), &p); err != nil {
		t.Fatal(err)
	}
	return string(p.Exceptions)
}

func TestImportOfWhatIsNotOnRecord(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		s.Provider(t, "bank", registry.NewProviderKey())
		imported(t, s, s.AdminKey, peopleHeader+"1400000011,7NEW001,a,b\n")
		const unknown = "no such organisation is on record"
		for text, want := range map[string]string{
			peopleHeader + "1400000011,7NEW001,a,b\n9999999999,7NEW001,a,b\n999999999,7NEW001,a,b\n9999999998,7NEW001,a,b\n": "3 voen: " + unknown + "; 4 voen: ten digits; 5 voen: " + unknown,
			blocksHeader + "1400000011,7NEW001,bank,block\n1400000011,7NEW001,shop,block\n1400000022,7NEW001,bank,block\n9999999999,7NEW001,shop,block\n1400000011,7NEW002,*,block\n": "3 provider: no such provider is on record; " +
				"4 fin: the organisation has no such employee on record; 5 voen: " + unknown + "; 5 provider: no such provider is on record; 6 fin: the organisation has no such employee on record",
			blocksHeader: "1 : there are no rows",
			"":           "1 : the file is empty",
			"a,b\n":      "1 a: is not a column of organisations (voen,name); 1 b: is not a column of organisations (voen,name); 1 voen: is missing, a column of organisations (voen,name); 1 name: is missing, a column of organisations (voen,name)",
		} {
			if got := faulty(t, s, s.AdminKey, text); got != want {
				t.Errorf("%q:\n got %s\nwant %s", text, got, want)
			}
		}
	})
}

func TestImportByAManager(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		s.Provider(t, "bank", registry.NewProviderKey())
		imported(t, s, s.AdminKey, peopleHeader+"1400000011,7NEW001,a,b\n1400000022,7NEW001,a,b\n")
		key := manager(t, s, "first", gatewaytest.FirstVOEN)
		if got := imported(t, s, key, blocksHeader+"1400000011,7NEW001,bank,block\n"); got.Changed != 1 {
			t.Errorf("%+v", got)
		}
		if log := entries(t, s); log[len(log)-1].actor != "first" || log[len(log)-1].role != "manager" {
			t.Errorf("logged as %v", log[len(log)-1])
		}
		// Others' employees and organisations are not his, whether they exist or not.
		const foreign = " voen: not your organisation"
		if got, want := faulty(t, s, key, blocksHeader+"1400000011,7NEW001,bank,unblock\n1400000022,7NEW001,bank,block\n1400000022,7NEW009,bank,block\n9999999999,7NEW001,none,block\n"),
			"3"+foreign+"; 4"+foreign+"; 5"+foreign; got != want {
			t.Errorf("got %s", got)
		}
		before := dump(t, s)
		for _, text := range []string{peopleHeader + "1400000011,7NEW002,a,b\n", namesHeader + "1400000011,a\n", namesHeader + "bad\n"} {
			importAs(t, s, key, "", text).Refused(t, http.StatusForbidden, "forbidden")
		}
		importAs(t, s, manager(t, s, "none"), "", blocksHeader+"1400000011,7NEW001,bank,unblock\n").Refused(t, http.StatusBadRequest, "invalid_import")
		if dump(t, s) != before {
			t.Error("something was changed")
		}
	})
}

func TestImportRequests(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	before := dump(t, s)
	const good = namesHeader + "1400000033,a\n"
	for _, c := range []struct{ query, media, field string }{
		{"?dryrun=true", "text/csv", "dryrun"}, {"?dryRun=1", "text/csv", "dryRun"}, {"?dryRun", "text/csv", "dryRun"}, {"?dryRun=true&dryRun=false", "text/csv", "dryRun"},
		{"", "application/json", "Content-Type"}, {"", "text/csv; charset=windows-1254", "Content-Type"}, {"", "text/csv;;", "Content-Type"}, {"", "application/x-www-form-urlencoded", "Content-Type"},
	} {
		if p := s.Do(t, "POST", imports+c.query, s.AdminKey, good, "Content-Type", c.media).Refused(t, http.StatusBadRequest, "invalid_request"); p.Field != c.field {
			t.Errorf("%+v: the field is said to be %q", c, p.Field)
		}
	}
	importAs(t, s, registry.NewAdminKey(), "", good).Refused(t, http.StatusUnauthorized, "unauthorized")
	large := namesHeader + "1400000033,\"" + strings.Repeat("a", cabinet.MaxImport+1-len(namesHeader)-len("1400000033,\"\"\n")) + "\"\n"
	importAs(t, s, s.AdminKey, "", large).Refused(t, http.StatusRequestEntityTooLarge, "document_too_large")
	if got := faulty(t, s, s.AdminKey, large[:len(large)-3]+"\"\n"); got != "2 name: is longer than 200 characters" {
		t.Errorf("one octet less: %s", got)
	}
	if dump(t, s) != before {
		t.Error("something was changed")
	}
}

// Whatever can be read is a name, and comes out as it went in.
func TestImportedNamesAreData(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		names := []string{"=cmd|'/C calc'!A0", "+1", "@SUM(A1)", "-2", "Robert'); DROP TABLE organisations;--", "<script>alert(1)</script>", "%_!\\", "İIıi Şükürlü", "山田 太郎", "محمد", "Ωμέγα", "🙂",
			"\"", "a,b;c", "null", "$1", "e\u0301", "\u202eabc", strings.Repeat("ş", 200), " a "}
		var text strings.Builder
		text.WriteString(namesHeader)
		for i, name := range names {
			fmt.Fprintf(&text, "15000000%02d,\"%s\"\n", i, strings.ReplaceAll(name, `"`, `""`))
		}
		if got := imported(t, s, s.AdminKey, text.String()); got.Created != len(names) {
			t.Errorf("%+v", got)
		}
		for i, name := range names {
			if o, err := s.Registry.Organisation(t.Context(), policy.VOEN(fmt.Sprintf("15000000%02d", i))); err != nil || o.Name != name {
				t.Errorf("%q is %q, %v", name, o.Name, err)
			}
		}
		if got := imported(t, s, s.AdminKey, text.String()); got.Unchanged != len(names) {
			t.Errorf("again: %+v", got)
		}
	})
}

// crowd imports employees of the first organisation, and returns their FINs.
func crowd(t testing.TB, s *gatewaytest.Stack, n int) []policy.FIN {
	t.Helper()
	var text strings.Builder
	text.WriteString(peopleHeader)
	fins := make([]policy.FIN, n)
	for i := range fins {
		fins[i] = policy.FIN(fmt.Sprintf("8A%05d", i))
		fmt.Fprintf(&text, "1400000011,%s,Əli,Vəliyev\n", fins[i])
	}
	if a := importAs(t, s, s.AdminKey, "", text.String()); a.Status != http.StatusOK {
		t.Fatalf("answered %d %s", a.Status, a.Body)
	}
	return fins
}

func blocksOf(fins []policy.FIN, provider, action string) string {
	var text strings.Builder
	text.WriteString(blocksHeader)
	for _, fin := range fins {
		fmt.Fprintf(&text, "1400000011,%s,%s,%s\n", fin, provider, action)
	}
	return text.String()
}

func TestImportOfMany(t *testing.T) {
	for name, database := range map[string]func(testing.TB) string{"SQLite": sqltest.SQLite, "PostgreSQL": sqltest.Postgres} {
		t.Run(name, func(t *testing.T) {
			s := gatewaytest.StartOn(t, redistest.Start(t).Addr, database(t))
			s.Provider(t, "bank", registry.NewProviderKey())
			const n = manyRows
			var organisations, people strings.Builder
			organisations.WriteString(namesHeader)
			people.WriteString(peopleHeader)
			var fins []policy.FIN
			for i := range n {
				fmt.Fprintf(&organisations, "17%08d,Təşkilat %d\n", i, i)
				fins = append(fins, policy.FIN(fmt.Sprintf("8A%05d", i)))
				fmt.Fprintf(&people, "1400000011,%s,Əli,Vəliyev %d\n", fins[i], i)
			}
			for _, step := range []struct {
				what, text string
				want       cabinet.Imported
			}{
				{"organisations", organisations.String(), cabinet.Imported{Created: n}},
				{"organisations again", organisations.String(), cabinet.Imported{Unchanged: n}},
				{"employees", people.String(), cabinet.Imported{Created: n}},
				{"employees renamed", strings.ReplaceAll(people.String(), "Əli", "Vəli"), cabinet.Imported{Changed: n}},
				{"blocks", blocksOf(fins, "bank", "block"), cabinet.Imported{Changed: n}},
				{"blocks again", blocksOf(fins, "bank", "block"), cabinet.Imported{Unchanged: n}},
				{"blocks for all", blocksOf(fins, "*", "block"), cabinet.Imported{Changed: n}},
			} {
				var a gatewaytest.Answer
				began := time.Now()
				for range 3 { // a save has only so much time, and other tests take theirs
					if a = importAs(t, s, s.AdminKey, "", step.text); a.Status != http.StatusServiceUnavailable {
						break
					}
				}
				t.Logf("%s: %d ms", step.what, time.Since(began).Milliseconds())
				var got cabinet.Imported
				if a.Status != http.StatusOK || json.Unmarshal(a.Body, &got) != nil {
					t.Fatalf("%s: answered %d %s", step.what, a.Status, a.Body)
				}
				step.want.Kind, step.want.Rows = got.Kind, n
				if got != step.want {
					t.Errorf("%s: %+v", step.what, got)
				}
			}
			if v, err := s.Permissions.Record.View(t.Context(), gatewaytest.FirstVOEN, "bank"); err != nil || len(v.Blocked) != n {
				t.Errorf("%d are blocked, %v", len(v.Blocked), err)
			}
		})
	}
}

// A file that was damaged is either still one that can be imported, or refused,
// and then nothing is changed and nobody is let through or kept out.
func TestDamagedImports(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		bank := s.Provider(t, "bank", registry.NewProviderKey())
		s.Provider(t, "shop", registry.NewProviderKey())
		blocked, free := s.Enrol(t, gatewaytest.Person{}), s.Enrol(t, gatewaytest.Person{})
		fins := crowd(t, s, 20)
		s.Do(t, "PUT", blockPath(blocked, "bank"), s.AdminKey, nil)
		random := rand.New(rand.NewPCG(1, uint64(len(t.Name()))))
		refused, done := 0, 0
		for range 150 {
			text := damaged(random, randomFile(random, append(fins, free.FIN)))
			before := dump(t, s)
			switch a := importAs(t, s, s.AdminKey, "?dryRun=true", text); a.Status {
			case http.StatusOK:
				done++
			case http.StatusBadRequest:
				a.Refused(t, http.StatusBadRequest, "invalid_import")
				refused++
				importAs(t, s, s.AdminKey, "", text).Refused(t, http.StatusBadRequest, "invalid_import")
			default:
				t.Fatalf("%q is answered %d %s", text, a.Status, a.Body)
			}
			if dump(t, s) != before {
				t.Fatalf("%q changed the record", text)
			}
		}
		if refused == 0 || done == 0 {
			t.Errorf("%d were refused, %d would have been imported", refused, done)
		}
		s.Do(t, "POST", signatures, bank, blocked.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
		if got := s.End(t, bank, s.Ask(t, bank, free.Request()).ID); got.Status != "signed" {
			t.Errorf("ended as %s", got.Status)
		}
	})
}

// randomFile is a good file.
func randomFile(random *rand.Rand, fins []policy.FIN) string {
	var rows []string
	comma := []string{",", ";"}[random.IntN(2)]
	end := []string{"\n", "\r\n"}[random.IntN(2)]
	for _, i := range random.Perm(len(fins))[:1+random.IntN(len(fins))] {
		row := []string{"1400000011", string(fins[i]), []string{"bank", "shop", "*"}[random.IntN(3)], []string{"block", "unblock"}[random.IntN(2)]}
		for j := range row {
			if random.IntN(4) == 0 {
				row[j] = `"` + row[j] + `"`
			}
		}
		rows = append(rows, strings.Join(row, comma))
	}
	return []string{"", "\uFEFF"}[random.IntN(2)] + strings.ReplaceAll(strings.TrimSpace(blocksHeader), ",", comma) + end + strings.Join(rows, end) + []string{"", end}[random.IntN(2)]
}

// damaged is a file of which something was lost, altered, doubled or added.
func damaged(random *rand.Rand, text string) string {
	at := random.IntN(len(text))
	until := min(len(text), at+1+random.IntN(30))
	switch random.IntN(6) {
	case 0:
		return text[:at]
	case 4: // a line
		lines := strings.SplitAfter(text, "\n")
		i := random.IntN(len(lines))
		return strings.Join(slices.Delete(lines, i, i+1), "")
	case 1:
		return text[:at] + text[until:]
	case 2:
		return text[:until] + text[at:]
	case 3:
		return text[:at] + string([]byte{byte(random.IntN(256))}) + text[at+1:]
	}
	return text[:at] + []string{"\x00", "\"", "\n", "\r", ",", ";", "\xff", "'", " ", "9"}[random.IntN(10)] + text[at:]
}

// Imports and managers' single blocks of the same employees do not undo one
// another: each is of its own provider, and the last word on each holds.
func TestImportsAndSavesAtOnce(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		s.Provider(t, "bank", registry.NewProviderKey())
		s.Provider(t, "shop", registry.NewProviderKey())
		fins := crowd(t, s, 40)
		key := manager(t, s, "first", gatewaytest.FirstVOEN)
		// until repeats what is not certain, as the answer says.
		until := func(do func() gatewaytest.Answer) {
			for {
				a := do()
				if a.Status == http.StatusOK {
					return
				}
				if a.Status != http.StatusServiceUnavailable {
					t.Errorf("answered %d %s", a.Status, a.Body)
					return
				}
			}
		}
		var working sync.WaitGroup
		working.Go(func() {
			for round := range 9 { // the last one blocks
				action := []string{"block", "unblock"}[round%2]
				until(func() gatewaytest.Answer { return importAs(t, s, s.AdminKey, "", blocksOf(fins, "bank", action)) })
				until(func() gatewaytest.Answer { return importAs(t, s, key, "?dryRun=true", blocksOf(fins, "*", "unblock")) })
			}
		})
		last := make(map[policy.FIN]string)
		working.Go(func() {
			random := rand.New(rand.NewPCG(1, 1))
			for range 60 {
				fin, method := fins[random.IntN(len(fins))], []string{"PUT", "DELETE"}[random.IntN(2)]
				until(func() gatewaytest.Answer {
					return s.Do(t, method, pathOf(string(gatewaytest.FirstVOEN), string(fin), "shop"), key, nil)
				})
				last[fin] = method
			}
		})
		working.Wait()
		for _, fin := range fins {
			set, err := s.Permissions.Record.Get(t.Context(), policy.Employee{VOEN: gatewaytest.FirstVOEN, FIN: fin})
			if err != nil || set.Allows("bank") || set.Allows("shop") == (last[fin] == "PUT") {
				t.Errorf("%s, for shop last %q: %+v, %v", fin, last[fin], set, err)
			}
		}
		if report, err := s.Registry.VerifyAudit(t.Context()); err != nil || len(report.Faults) > 0 {
			t.Errorf("the log: %v, %v", report, err)
		}
	})
}

// An import and its entries in the log are one transaction, all of its rows
// with it.
func TestImportAndAuditStandOrFallTogether(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	bank := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	fins := append(crowd(t, s, 5), who.FIN)
	before := dump(t, s)
	for table, text := range map[string]string{
		"audit": blocksOf(fins, "bank", "block"), "permission_exceptions": blocksOf(fins, "bank", "block"),
		"organisations": namesHeader + "1400000033,a\n", "employees": peopleHeader + "1400000022,7NEW001,a,b\n",
	} {
		// The last row fails, when the others are done.
		when := map[string]string{"audit": "NEW.fin = '" + string(who.FIN) + "'", "permission_exceptions": "NEW.fin = '" + string(who.FIN) + "'"}[table]
		if when == "" {
			when = "TRUE"
		}
		if _, err := s.DB.ExecContext(t.Context(), `CREATE TRIGGER fails AFTER INSERT ON `+table+` WHEN `+when+` BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
			t.Fatal(err)
		}
		importAs(t, s, s.AdminKey, "", text).Refused(t, http.StatusInternalServerError, "internal")
		if _, err := s.DB.ExecContext(t.Context(), `DROP TRIGGER fails`); err != nil {
			t.Fatal(err)
		}
		if dump(t, s) != before {
			t.Errorf("%s: half of it was imported", table)
		}
		if got := s.End(t, bank, s.Ask(t, bank, who.Request()).ID); got.Status != "signed" {
			t.Errorf("%s: ended as %s", table, got.Status)
		}
	}
}

// Blocks want Redis, and say so without it; the rest does not.
func TestImportWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	s := gatewaytest.Start(t, server.Addr)
	bank := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	blocks := blocksOf(append(crowd(t, s, 5), who.FIN), "bank", "block")
	server.Kill()
	importAs(t, s, s.AdminKey, "", blocks).Refused(t, http.StatusServiceUnavailable, "policy_unavailable")
	imported(t, s, s.AdminKey, namesHeader+"1400000033,a\n")
	faulty(t, s, s.AdminKey, blocks+"1400000011,7NEW009,bank,block\n")
	server.Restart()
	for a := (gatewaytest.Answer{}); a.Status != http.StatusOK; {
		a = importAs(t, s, s.AdminKey, "", blocks)
	}
	s.Do(t, "POST", signatures, bank, who.Request()).Refused(t, http.StatusForbidden, "blocked_by_organisation")
}
