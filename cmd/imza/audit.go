package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"imza/gateway/registry"
)

type auditCommand struct {
	List   auditListCommand   `cmd:"" default:"withargs" help:"Show who changed what (this is what \"imza audit\" does)."`
	Export auditExportCommand `cmd:"" help:"Write all that is found, for other programs or to verify it elsewhere."`
	Verify auditVerifyCommand `cmd:"" help:"Look whether somebody changed the log itself."`
}

// auditSearch is what the log is searched by.
type auditSearch struct {
	administrator
	VOEN     string `name:"voen" placeholder:"10 digits" help:"What concerns this organisation."`
	FIN      string `name:"fin" placeholder:"FIN" help:"What concerns this person."`
	Provider string `placeholder:"NAME" help:"What is about this provider alone."`
	Actor    string `placeholder:"NAME" help:"What this administrator did."`
	Action   string `placeholder:"WORDS" help:"What was done, in the words of the log, like \"set permissions\"."`
	From     string `placeholder:"TIME" help:"Not before: a day (UTC), like 2026-12-31, or a time, like 2026-12-31T08:00:00+04:00."`
	Until    string `placeholder:"TIME" help:"Before this day or time."`
}

// export streams what is found.
func (a *auditSearch) export(ctx context.Context, kind string, read func(io.Reader) error) error {
	query := url.Values{}
	for name, value := range map[string]string{"voen": a.VOEN, "fin": a.FIN, "provider": a.Provider, "actor": a.Actor, "action": a.Action, "from": a.From, "until": a.Until} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return (&client{url: a.URL, key: a.Key}).stream(ctx, "/v1/admin/audit/export?"+query.Encode(), kind, read)
}

const ndjson = "application/x-ndjson"

type auditListCommand struct {
	auditSearch
	Last int `default:"100" placeholder:"N" help:"Only the last ones of what is found; 0: all. Default: 100."`
}

// Validate refuses what means nothing.
func (c *auditListCommand) Validate() error {
	if c.Last < 0 {
		return errors.New("--last is 0 or more")
	}
	return nil
}

// Run lists.
func (c *auditListCommand) Run(ctx context.Context, s streams) error {
	var rows []string
	left := 0 // out
	if err := c.export(ctx, ndjson, func(answer io.Reader) error {
		for lines := json.NewDecoder(answer); ; {
			var e registry.AuditEntry
			if err := lines.Decode(&e); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if rows = append(rows, auditRow(e)); c.Last > 0 && len(rows) > c.Last {
				rows, left = rows[1:], left+1
			}
		}
	}); err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(s.err, "%d older ones are left out: --last 0 shows all.\n", left)
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NO\tTIME\tWHO\tROLE\tFROM\tACTION\tSUBJECT\tCHANGE")
	for _, row := range rows {
		fmt.Fprintln(table, row)
	}
	return table.Flush()
}

func auditRow(e registry.AuditEntry) string {
	cells := []string{strconv.FormatInt(e.Sequence, 10), e.At.UTC().Format(time.RFC3339), e.Actor, e.Role, e.Source, e.Action, e.Subject, changeInShort(e.Before, e.After)}
	for i, text := range cells {
		cells[i] = onOneLine(text)
	}
	return strings.Join(cells, "\t")
}

type auditExportCommand struct {
	auditSearch
	CSV bool   `name:"csv" help:"For spreadsheets. Default: one JSON object a line, which can be verified if there was no filter."`
	Out string `placeholder:"FILE" help:"Where it goes. Default: the standard output."`
}

// Run exports.
func (c *auditExportCommand) Run(ctx context.Context, s streams) error {
	kind := ndjson
	if c.CSV {
		kind = "text/csv"
	}
	if c.Out == "" {
		return c.export(ctx, kind, func(answer io.Reader) error {
			_, err := io.Copy(s.out, answer)
			return err
		})
	}
	return c.export(ctx, kind, func(answer io.Reader) error { return writeWhole(c.Out, answer) })
}

// writeWhole writes a file of its owner's: what was cut off does not pass for all
// of it.
func writeWhole(path string, content io.Reader) error {
	next := path + ".next"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, path)
}

type auditVerifyCommand struct {
	URL   string   `name:"url" env:"IMZA_URL" default:"http://127.0.0.1:8080" help:"The gateway."`
	Key   string   `env:"IMZA_ADMIN_KEY" help:"An operator's key. Not needed with --file."`
	File  string   `placeholder:"FILE" help:"Verify an export of everything (imza audit export, of an operator, without a filter) instead, without the gateway; - is the standard input."`
	Heads []string `name:"head" sep:"none" placeholder:"NO:HASH" help:"A head that was noted at an earlier time must still be in there; may be given again."`

	noted []registry.AuditHead
}

// Validate reads the heads.
func (c *auditVerifyCommand) Validate() error {
	if c.File == "" && c.Key == "" {
		return errors.New("missing flags: --key=STRING ($IMZA_ADMIN_KEY), or --file=FILE")
	}
	c.noted = nil
	for _, text := range c.Heads {
		number, hash, _ := strings.Cut(text, ":")
		sequence, err := strconv.ParseInt(number, 10, 64)
		if err != nil || sequence < 1 || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			return fmt.Errorf("--head %s is not a number and a hash, as in 12:%s…", text, strings.Repeat("ab", 4))
		}
		c.noted = append(c.noted, registry.AuditHead{Sequence: sequence, Hash: hash})
	}
	return nil
}

// Run verifies. Faults are an answer, and not a good one.
func (c *auditVerifyCommand) Run(ctx context.Context, s streams) error {
	ask := c.ofGateway
	if c.File != "" {
		ask = c.ofFile
	}
	report, err := ask(ctx)
	if err != nil {
		return err
	}
	for _, f := range report.Faults {
		what := "the log"
		if f.Sequence > 0 {
			what = strconv.FormatInt(f.Sequence, 10)
		}
		fmt.Fprintf(s.out, "%s: %s\n", what, onOneLine(f.What))
	}
	switch {
	case len(report.Faults) > 0: // whose head is not one to be noted
		fmt.Fprintf(s.out, "%d entries, last hash %s\n", report.Entries, report.Head)
		return &refused{code: "audit_log_changed", detail: "faults: " + strconv.Itoa(len(report.Faults))}
	case report.Entries == 0:
		fmt.Fprintln(s.out, "0 entries")
	default: // they are 1, 2, 3 …
		fmt.Fprintf(s.out, "%d entries, head %d:%s\n", report.Entries, report.Entries, report.Head)
	}
	return nil
}

func (c *auditVerifyCommand) ofFile(context.Context) (report registry.AuditReport, err error) {
	file := os.Stdin
	if c.File != "-" {
		if file, err = os.Open(c.File); err != nil {
			return report, err
		}
		defer file.Close()
	}
	report, err = registry.VerifyExport(file, c.noted...)
	if err == nil && report.Entries == 0 && len(report.Faults) == 0 {
		err = errors.New("there is no entry in it") // which proves nothing
	}
	return report, err
}

// ofGateway has the gateway verify the log, and looks for the heads in it.
func (c *auditVerifyCommand) ofGateway(ctx context.Context) (report registry.AuditReport, err error) {
	api := &client{url: c.URL, key: c.Key}
	if err := api.do(ctx, http.MethodGet, "/v1/admin/audit/verify", nil, &report); err != nil {
		return report, err
	}
	for _, h := range c.noted {
		var page struct{ Entries []registry.AuditEntry }
		if err := api.do(ctx, http.MethodGet, fmt.Sprintf("/v1/admin/audit?limit=1&after=%d", h.Sequence-1), nil, &page); err != nil {
			return report, err
		}
		switch {
		case len(page.Entries) == 0 || page.Entries[0].Sequence != h.Sequence:
			report.Faults = append(report.Faults, registry.AuditFault{Sequence: h.Sequence, What: "is missing, although its hash was kept elsewhere"})
		case page.Entries[0].Hash != h.Hash:
			report.Faults = append(report.Faults, registry.AuditFault{Sequence: h.Sequence, What: "has another hash than was kept elsewhere"})
		}
	}
	return report, nil
}
