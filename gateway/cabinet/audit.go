package cabinet

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"imza/gateway/registry"
)

// AuditPage is a page of the audit log.
type AuditPage struct {
	Entries []registry.AuditEntry `json:"entries"`
	Next    int64                 `json:"next,omitempty"` // to ask for what comes after; 0: nothing does
}

// auditParameters are what the log is searched by.
const auditParameters = "voen fin provider actor action from until"

// auditFilter reads the search. A manager sees what concerns his organisations.
func auditFilter(c echo.Context, q *query) (f registry.AuditFilter, err error) {
	voen := q.voen("voen")
	f = registry.AuditFilter{FIN: q.fin("fin"), Provider: q.provider("provider"),
		Actor: parameter(q, "actor", administratorWanted, matching(administratorForm)), Action: q.text("action"), From: q.time("from"), Until: q.time("until")}
	if q.err != nil {
		return f, q.err
	}
	f.VOENs, err = scope(administrator(c), voen)
	return f, err
}

// audit is GET /v1/admin/audit.
func (b *Cabinet) audit(c echo.Context) error {
	q := queryOf(c)
	limit := q.limit()
	after := parameter(q, "after", "the sequence of an entry, as in next", func(s string) (int64, error) {
		n, err := strconv.ParseUint(s, 10, 63)
		return int64(n), err
	})
	f, err := auditFilter(c, q)
	if err != nil {
		return err
	}
	f.After, f.Limit = after, limit+1
	all := []registry.AuditEntry{}
	if err := b.Registry.AuditEntries(c.Request().Context(), f, func(e registry.AuditEntry) error {
		all = append(all, e)
		return nil
	}); err != nil {
		return err
	}
	shown, last := page(all, limit)
	answer := AuditPage{Entries: shown}
	if last != nil {
		answer.Next = last.Sequence
	}
	return c.JSON(http.StatusOK, answer)
}

// exportAudit is GET /v1/admin/audit/export: all that is found, as it is read.
// What goes wrong on the way cuts the answer off.
func (b *Cabinet) exportAudit(c echo.Context) error {
	f, err := auditFilter(c, queryOf(c))
	if err != nil {
		return err
	}
	header := c.Response().Header()
	write, kind, name := ndjson(c), "application/x-ndjson", "imza-audit.ndjson"
	end := func() error { return nil }
	if strings.Contains(c.Request().Header.Get(echo.HeaderAccept), "text/csv") {
		kind, name = "text/csv; charset=utf-8", "imza-audit.csv"
		write, end = asCSV(c)
	}
	header.Set(echo.HeaderContentType, kind)
	header.Set(echo.HeaderContentDisposition, `attachment; filename="`+name+`"`)
	if err := b.Registry.AuditEntries(c.Request().Context(), f, write); err != nil {
		if !c.Response().Committed {
			header.Del(echo.HeaderContentDisposition)
		}
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if !c.Response().Committed { // nothing was found
		c.Response().WriteHeader(http.StatusOK)
	}
	return nil
}

// ndjson writes entries as the log is verified by: octet for octet.
func ndjson(c echo.Context) func(registry.AuditEntry) error {
	return func(e registry.AuditEntry) error {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = c.Response().Write(append(line, '\n'))
		return err
	}
}

// asCSV writes entries for spreadsheets.
func asCSV(c echo.Context) (write func(registry.AuditEntry) error, end func() error) {
	w := csv.NewWriter(c.Response())
	w.Write([]string{"sequence", "at", "actor", "role", "source", "action", "subject", "voen", "fin", "provider", "before", "after", "previous", "hash"})
	write = func(e registry.AuditEntry) error {
		return w.Write([]string{strconv.FormatInt(e.Sequence, 10), e.At.Format(time.RFC3339Nano), e.Actor, e.Role, e.Source, e.Action, e.Subject,
			string(e.VOEN), string(e.FIN), string(e.Provider), string(e.Before), string(e.After), e.Previous, e.Hash})
	}
	end = func() error {
		w.Flush()
		return w.Error()
	}
	return write, end
}

// verifyAudit is GET /v1/admin/audit/verify.
func (b *Cabinet) verifyAudit(c echo.Context) error {
	report, err := b.Registry.VerifyAudit(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, report)
}
