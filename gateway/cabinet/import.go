package cabinet

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy"
)

// MaxImport is the most octets of a file that is imported.
const MaxImport = 16 << 20

// Imported is what became of a file. Its rows are those that created something,
// those that changed something, and those that found it as it should be.
type Imported struct {
	DryRun    bool   `json:"dryRun"`
	Kind      string `json:"kind"`
	Rows      int    `json:"rows"`
	Created   int    `json:"created"`
	Changed   int    `json:"changed"`
	Unchanged int    `json:"unchanged"`
}

var (
	// errFaults says that something is wrong with the file; it is among its faults.
	errFaults = errors.New("cabinet: the file has faults")
	// errNotKept has a transaction rolled back that came to its end: it was only
	// tried, or there is nothing in it.
	errNotKept = errors.New("cabinet: not to be kept")
	// errMeanwhile says that somebody else made what was about to be made.
	errMeanwhile = errors.New("cabinet: imported by somebody else meanwhile")
)

// imports takes a file of organisations, employees or blocks, all of it or
// nothing. A dry run goes the whole way, and does not commit.
func (b *Cabinet) imports(c echo.Context) error {
	dryRun, err := importParameters(c)
	if err != nil {
		return err
	}
	f, err := b.readImport(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	// What is wrong is found before anything is touched, and all of it at once.
	if err := b.lookUp(ctx, nil, f); err != nil {
		return f.refusal(err)
	}
	done := Imported{DryRun: dryRun, Kind: f.kind, Rows: len(f.rows)}
	if f.kind == ofBlocks {
		err = b.importBlocks(ctx, f, &done, by(c))
	} else {
		err = b.importNames(ctx, f, &done, by(c))
	}
	if err != nil && !errors.Is(err, errNotKept) {
		return f.refusal(err)
	}
	return c.JSON(http.StatusOK, done)
}

// importParameters reads whether it is a dry run, and looks at what is said of
// the body.
func importParameters(c echo.Context) (dryRun bool, err error) {
	q := queryOf(c)
	dryRun = parameter(q, "dryRun", "true or false", func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, errForm
		}
		return s == "true", nil
	})
	if q.err != nil {
		return false, q.err
	}
	media, parameters, err := mime.ParseMediaType(c.Request().Header.Get(echo.HeaderContentType))
	if charset, ok := parameters["charset"]; err != nil || media != "text/csv" || ok && !strings.EqualFold(charset, "utf-8") {
		return false, gateway.Invalid("Content-Type", "text/csv, in UTF-8")
	}
	return dryRun, nil
}

// readImport reads what the administrator may import. Its faults are those that
// show in the file itself.
func (b *Cabinet) readImport(c echo.Context) (*importFile, error) {
	who := administrator(c)
	f, err := openImport(http.MaxBytesReader(c.Response(), c.Request().Body, MaxImport))
	if err != nil {
		return nil, unreadable(err)
	}
	if f.kind == "" {
		return nil, f.refusal(errFaults)
	}
	if who.Role != registry.Operator && f.kind != ofBlocks {
		return nil, &gateway.Refusal{Code: gateway.Forbidden, Detail: "only operators import " + f.kind}
	}
	if err := f.readRows(); err != nil {
		return nil, unreadable(err)
	}
	// Nor is a manager told whether others have such an employee.
	f.rows = slices.DeleteFunc(f.rows, func(r importRow) bool {
		foreign := !who.May(r.voen)
		if foreign {
			f.add(r.line, "voen", "not your organisation")
		}
		return foreign
	})
	return f, nil
}

func unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &gateway.Refusal{Code: gateway.DocumentTooLarge, Detail: fmt.Sprintf("at most %d MiB", MaxImport>>20)}
	}
	return &gateway.Refusal{Code: gateway.InvalidRequest, Field: "body", Detail: "was cut off", Cause: err}
}

// refusal is the answer to a file that was not imported.
func (f *importFile) refusal(err error) error {
	switch {
	case errors.Is(err, errFaults):
		return &gateway.Refusal{Code: gateway.InvalidImport, Detail: "nothing was imported", More: map[string]any{"errors": f.listed, "total": f.total}}
	case errors.Is(err, errMeanwhile):
		return &gateway.Refusal{Code: gateway.Unavailable, Detail: "import it again", RetryAfter: time.Second, Cause: err}
	}
	return refusedSave(err)
}

// lookUp looks for what the rows name that is not on record, and fails if
// anything is wrong with the file. tx may be nil.
func (b *Cabinet) lookUp(ctx context.Context, tx *sql.Tx, f *importFile) error {
	if f.kind != ofOrganisations {
		voens := make(map[policy.VOEN]bool)
		for _, r := range f.rows {
			voens[r.voen] = true
		}
		known, err := b.Registry.KnownOrganisations(ctx, tx, slices.Sorted(maps.Keys(voens)))
		if err != nil {
			return err
		}
		for _, r := range f.rows {
			if !known[r.voen] {
				f.add(r.line, "voen", "no such organisation is on record")
			}
		}
		if f.kind == ofBlocks {
			if err := b.lookUpBlocks(ctx, tx, f, known); err != nil {
				return err
			}
		}
	}
	if f.total > 0 {
		return errFaults
	}
	return nil
}

func (b *Cabinet) lookUpBlocks(ctx context.Context, tx *sql.Tx, f *importFile, organisations map[policy.VOEN]bool) error {
	employees, providers := make(map[policy.Employee]bool), make(map[policy.Provider]bool)
	for _, r := range f.rows {
		employees[r.employee()] = true
		if r.provider != allProviders {
			providers[r.provider] = true
		}
	}
	knownEmployees, err := b.Registry.KnownEmployees(ctx, tx, slices.SortedFunc(maps.Keys(employees), compareEmployees))
	if err != nil {
		return err
	}
	knownProviders, err := b.Registry.KnownProviders(ctx, tx, slices.Sorted(maps.Keys(providers)))
	if err != nil {
		return err
	}
	for _, r := range f.rows {
		if organisations[r.voen] && !knownEmployees[r.employee()] {
			f.add(r.line, "fin", "the organisation has no such employee on record")
		}
		if r.provider != allProviders && !knownProviders[r.provider] {
			f.add(r.line, "provider", "no such provider is on record")
		}
	}
	return nil
}

func compareEmployees(e, f policy.Employee) int {
	return cmp.Or(cmp.Compare(e.VOEN, f.VOEN), cmp.Compare(e.FIN, f.FIN))
}
