package registry

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// How SQLite goes about what is asked of a large record. It has no statistics,
// so the plans are the same for a small one. PostgreSQL plans by what it has.
func TestNothingIsSearchedFromEndToEnd(t *testing.T) {
	db, dialect, err := OpenDatabase(filepath.Join(t.TempDir(), "record.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = Open(t.Context(), db, dialect, []byte("pepper"))
	if err != nil {
		t.Fatal(err)
	}
	plan := func(query string, args ...any) string {
		t.Helper()
		type row struct {
			id, parent, unused int
			detail             string
		}
		rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
		steps, err := collect(rows, err, func(s *row) []any { return []any{&s.id, &s.parent, &s.unused, &s.detail} })
		if err != nil {
			t.Fatal(err)
		}
		var details []string
		for _, s := range steps {
			details = append(details, s.detail)
		}
		return strings.Join(details, "; ")
	}
	check := func(name, plan string, want ...string) {
		t.Helper()
		if strings.Contains(plan, "SCAN") {
			t.Errorf("%s: %s", name, plan)
		}
		for _, w := range want {
			if !strings.Contains(plan, w) {
				t.Errorf("%s: %s; want %s", name, plan, w)
			}
		}
		t.Logf("%s: %s", name, plan)
	}
	check("key", plan(providerByKey, hashKey("k")))
	check("subscriber", plan(subscriberByUserID, "+994500000001", []byte("hash")), "certificates_iccid")
	check("certificate", plan(certificateBySerial, "4f"))
	check("numbers", strings.ReplaceAll(plan(holdersBy+`msisdn IN (VALUES ($1), ($2))`, "+994500000001", "+994500000002"), "SCAN 2-ROW VALUES CLAUSE", ""), "(msisdn=?)")
	check("cards", strings.ReplaceAll(plan(holdersBy+`iccid IN (VALUES ($1), ($2))`, "1", "2"), "SCAN 2-ROW VALUES CLAUSE", ""), "(iccid=?)")
	check("certificates of cards", strings.ReplaceAll(plan(certificatesBy+`iccid IN (VALUES ($1), ($2))`, "1", "2"), "SCAN 2-ROW VALUES CLAUSE", ""), "certificates_iccid (iccid=?)")
	now := time.Now()
	for name, c := range map[string]struct {
		filter EmployeeFilter
		index  string
		common bool // certificates that expire then are many
	}{
		"all":                 {EmployeeFilter{}, "(voen=? AND fin>?)", false},
		"text":                {EmployeeFilter{Text: "a b"}, "(voen=? AND fin>?)", false},
		"FIN":                 {EmployeeFilter{FIN: "7DEM001"}, "(voen=? AND fin=?)", false},
		"number":              {EmployeeFilter{Number: "+994500000001"}, "certificates_iccid", false},
		"number, active":      {EmployeeFilter{Number: "+994500000001", State: Active}, "certificates_iccid", false},
		"number, FIN":         {EmployeeFilter{Number: "+994500000001", FIN: "7DEM001"}, "certificates_iccid", false},
		"active":              {EmployeeFilter{State: Active}, "certificates_state (voen=? AND state=? AND fin>?)", false},
		"revoked, text":       {EmployeeFilter{State: Revoked, Text: "a"}, "certificates_state (voen=? AND state=? AND fin>?)", false},
		"active, FIN":         {EmployeeFilter{State: Active, FIN: "7DEM001"}, "certificates_employee (voen=? AND fin=? AND state=?)", false},
		"expired":             {EmployeeFilter{State: Expired}, "certificates_expiry (voen=? AND not_after>? AND not_after<?)", false},
		"expires":             {EmployeeFilter{ExpiresBefore: now}, "certificates_expiry (voen=? AND not_after>? AND not_after<?)", false},
		"active, expires":     {EmployeeFilter{State: Active, ExpiresBefore: now}, "certificates_expiry (voen=? AND not_after>? AND not_after<?)", false},
		"expired, FIN":        {EmployeeFilter{State: Expired, FIN: "7DEM001"}, "certificates", false},
		"expired, many, FIN":  {EmployeeFilter{State: Expired, FIN: "7DEM001"}, "certificates_employee (voen=? AND fin=?)", true},
		"expired, many":       {EmployeeFilter{State: Expired}, "certificates_employee (voen=? AND fin>?)", true},
		"active, many expire": {EmployeeFilter{State: Active, ExpiresBefore: now}, "(voen=? AND state=? AND fin>?)", true},
	} {
		c.filter.VOEN, c.filter.After, c.filter.Limit = "1400000011", "7DEM000", 50
		query, args := c.filter.query(c.filter.expires() && !c.common)
		check(name, plan(query, args...), c.index)
	}
}
