package cabinet_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// workADay makes one change of every kind, and returns whom they are about.
func workADay(t *testing.T, s *gatewaytest.Stack) *gatewaytest.Subscriber {
	t.Helper()
	who := s.Enrol(t, gatewaytest.Person{})
	mine := manager(t, s, "aysel", gatewaytest.FirstVOEN)
	do := func(method, path, key string, body any) {
		t.Helper()
		if a := s.Do(t, method, path, key, body); a.Status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
		}
	}
	const admin = "/v1/admin"
	do("PUT", admin+"/providers/bank", s.AdminKey, map[string]any{"name": "Bank"})
	do("PUT", admin+"/providers/bank", s.AdminKey, map[string]any{"name": "Bank <Ə>"})
	do("POST", admin+"/providers/bank/key", s.AdminKey, nil)
	do("PUT", blockPath(who, "bank"), mine, nil)
	do("DELETE", blockPath(who, "bank"), mine, nil)
	do("PUT", strings.TrimSuffix(blockPath(who, ""), "/"), mine, nil)
	do("DELETE", strings.TrimSuffix(blockPath(who, ""), "/"), mine, nil)
	do("PUT", permissionsPath(who), mine, set(4, "block", "bank"))
	do("PUT", viewPath("bank"), mine, viewBody(view(t, s, "bank").Version, who.FIN))
	do("PUT", admin+"/providers/bank/state", s.AdminKey, state("suspended"))
	do("PUT", admin+"/subscribers/"+string(who.MSISDN)+"/state", s.AdminKey, state("suspended"))
	do("PUT", admin+"/certificates/"+who.Certificates[0].Serial+"/state", s.AdminKey, state("revoked"))
	do("PUT", admin+"/administrators/babek", s.AdminKey, map[string]any{"role": "manager", "organisations": []string{"1400000011"}})
	do("PUT", admin+"/administrators/babek", s.AdminKey, map[string]any{"role": "operator"})
	do("POST", admin+"/administrators/babek/key", s.AdminKey, nil)
	do("DELETE", admin+"/administrators/babek", s.AdminKey, nil)
	return who
}

func TestAudit(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		began := time.Now().Add(-time.Second)
		who := workADay(t, s)
		page := read[cabinet.AuditPage](t, s.Do(t, "GET", "/v1/admin/audit", s.AdminKey, nil))
		var told []string
		for i, e := range page.Entries {
			told = append(told, e.Action)
			role := "operator"
			if e.Actor == "aysel" {
				role = "manager"
			}
			if e.Sequence != int64(i+1) || e.Role != role || e.Source != "127.0.0.1" || e.At.Before(began) || e.At.After(time.Now().Add(time.Second)) || len(e.Before) == 0 || len(e.After) == 0 {
				t.Errorf("%+v", e)
			}
		}
		want := []string{"create provider", "rename provider", "renew provider key", "block", "unblock", "block all", "unblock all", "set permissions", "block",
			"set provider state", "set subscriber state", "set certificate state", "create administrator", "change administrator", "renew administrator key", "remove administrator"}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("the log tells of %q", told)
		}
		middle := page.Entries[8].At.Add(time.Millisecond)
		from, until := 0, 0
		for _, e := range page.Entries {
			if e.At.Before(middle) {
				until++
			} else {
				from++
			}
		}
		now := url.QueryEscape(time.Now().Add(time.Second).Format(time.RFC3339))
		for query, n := range map[string]int{
			"voen=1400000011": 7, "voen=1400000022": 0, "voen=9999999999": 0, "fin=" + string(who.FIN): 8, "fin=7TST999": 0, "provider=bank": 8, "provider=shop": 0,
			"actor=aysel": 6, "actor=" + gatewaytest.Administrator: 10, "actor=babek": 0, "action=block": 2, "action=set+permissions": 1, "action=Block": 0, "action=%25": 0, "action='+OR+1=1": 0,
			"actor=aysel&action=block": 2, "from=" + now: 0, "until=" + now: 16, "from=2020-01-01": 16, "until=2020-01-01": 0, "after=15": 1, "after=16": 0,
			"from=" + url.QueryEscape(middle.Format(time.RFC3339Nano)): from, "until=" + url.QueryEscape(middle.Format(time.RFC3339Nano)): until, "after=9223372036854775807": 0,
		} {
			if got := read[cabinet.AuditPage](t, s.Do(t, "GET", "/v1/admin/audit?"+query, s.AdminKey, nil)).Entries; len(got) != n || got == nil {
				t.Errorf("%s: %d, not %d", query, len(got), n)
			}
			if strings.HasPrefix(query, "after") {
				continue
			}
			a := s.Do(t, "GET", "/v1/admin/audit/export?"+query, s.AdminKey, nil)
			if got := bytes.Count(a.Body, []byte("\n")); got != n {
				t.Errorf("%s, exported: %d, not %d", query, got, n)
			}
		}
	})
}

// What is exported is the log, and can be verified without the gateway.
func TestAuditExport(t *testing.T) {
	gatewaytest.Each(t, func(t *testing.T, s *gatewaytest.Stack) {
		workADay(t, s)
		a := s.Do(t, "GET", "/v1/admin/audit/export", s.AdminKey, nil)
		if got := a.Header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("it is %s", got)
		}
		exported, err := registry.VerifyExport(bytes.NewReader(a.Body))
		if err != nil || exported.Entries != 16 || len(exported.Faults) != 0 {
			t.Errorf("%+v %v", exported, err)
		}
		report := read[registry.AuditReport](t, s.Do(t, "GET", "/v1/admin/audit/verify", s.AdminKey, nil))
		if report.Entries != 16 || report.Head != exported.Head || report.Faults == nil || len(report.Faults) != 0 {
			t.Errorf("%+v", report)
		}
		table := s.Do(t, "GET", "/v1/admin/audit/export", s.AdminKey, nil, "Accept", "text/html, text/csv;q=0.9")
		rows, err := csv.NewReader(bytes.NewReader(table.Body)).ReadAll()
		if err != nil || len(rows) != 17 || table.Header.Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Fatalf("%v, %d rows of %s", err, len(rows), table.Header.Get("Content-Type"))
		}
		var e registry.AuditEntry
		if err := json.Unmarshal(bytes.Split(a.Body, []byte("\n"))[1], &e); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprintf("%q", rows[2]), fmt.Sprintf("%q", []string{"2", e.At.Format(time.RFC3339Nano), gatewaytest.Administrator, "operator", "127.0.0.1",
			"rename provider", "bank", "", "", "bank", string(e.Before), string(e.After), e.Previous, e.Hash}); got != want {
			t.Errorf("%s, not %s", got, want)
		}

		// Somebody has their hands in the database.
		if _, err := s.DB.ExecContext(t.Context(), `UPDATE audit SET actor = 'somebody' WHERE sequence = 4`); err == nil {
			report = read[registry.AuditReport](t, s.Do(t, "GET", "/v1/admin/audit/verify", s.AdminKey, nil))
			if len(report.Faults) == 0 || report.Faults[0].Sequence != 4 {
				t.Errorf("%+v", report)
			}
		}
	})
}

// An export that fails on the way must not look like a whole one.
func TestExportThatFailsIsCutOff(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	crowd(t, s, 2000)
	s.Do(t, "GET", "/v1/admin/audit/export", s.AdminKey, nil)
	r, err := http.NewRequest("GET", s.URL+"/v1/admin/audit/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.AdminKey)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	s.DB.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err == nil && bytes.Count(body.Bytes(), []byte("\n")) != 2000 {
		t.Errorf("%d entries, and no error", bytes.Count(body.Bytes(), []byte("\n")))
	} else if err == nil {
		t.Log("it was faster")
	}
}
