package cabinet

import (
	"context"
	"database/sql"
	"slices"

	"imza/gateway/registry"
	"imza/policy"
)

// importChunk is how many rows are asked about, or written into the log, at once.
const importChunk = 500

// importBlocks saves all blocks of a file as one change: they are on record and
// in force together.
func (b *Cabinet) importBlocks(ctx context.Context, f *importFile, done *Imported, entry registry.Change) error {
	said := make(map[policy.Employee][]importRow)
	var employees []policy.Employee
	for _, r := range f.rows {
		if said[r.employee()] == nil {
			employees = append(employees, r.employee())
		}
		said[r.employee()] = append(said[r.employee()], r)
	}
	save := b.Permissions.Save
	if done.DryRun {
		save = b.Permissions.Record.Try
	}
	_, err := save(ctx, policy.Save{
		Employees: employees,
		Decisions: len(f.rows),
		Check:     func(ctx context.Context, tx *sql.Tx) error { return b.lookUp(ctx, tx, f) },
		Change: func(e policy.Employee, before policy.Set) (policy.Set, error) {
			return applyBlocks(said[e], before, done), nil
		},
		Also: func(ctx context.Context, tx *sql.Tx, changed []policy.Changed) error {
			for chunk := range slices.Chunk(changed, importChunk) {
				entries := make([]registry.Change, len(chunk))
				for i, c := range chunk {
					entries[i] = changeOf(entry, c, "import blocks", "")
				}
				if err := b.Registry.Audit(ctx, tx, entries...); err != nil {
					return err
				}
			}
			return done.keep(len(changed))
		},
	})
	return err
}

// keep is errNotKept for a dry run, and if nothing changed.
func (d *Imported) keep(changed int) error {
	if d.DryRun || changed == 0 {
		return errNotKept
	}
	return nil
}

// applyBlocks says of one employee what the file says, and counts the rows by
// whether they changed anything. What is said of all providers comes first, as
// it leaves no exceptions; clash sees to it that the rest does not contradict.
func applyBlocks(rows []importRow, before policy.Set, done *Imported) policy.Set {
	after := before
	for _, r := range rows {
		if r.provider == allProviders {
			after.BlockAll, after.Exceptions = r.block, nil
		}
	}
	for _, r := range rows {
		changed := before.Allows(r.provider) == r.block
		if r.provider == allProviders {
			changed = before.BlockAll != r.block || len(before.Exceptions) > 0
		} else {
			after = after.With(r.provider, !r.block)
		}
		if changed {
			done.Changed++
		} else {
			done.Unchanged++
		}
	}
	return after
}

// renamed is a row that changes what somebody is called.
type renamed struct {
	row    importRow
	before *registry.Names // nil: not on record until now
}

// importNames records all organisations or employees of a file, in one
// transaction. The log comes last: whoever appends to it keeps others waiting
// until the transaction ends.
func (b *Cabinet) importNames(ctx context.Context, f *importFile, done *Imported, entry registry.Change) error {
	// In one order, so that two imports wait for one another at most once.
	slices.SortFunc(f.rows, func(r, s importRow) int {
		return compareEmployees(r.employee(), s.employee())
	})
	return b.Registry.Import(ctx, func(tx *sql.Tx) error {
		if err := b.lookUp(ctx, tx, f); err != nil {
			return err
		}
		var all []renamed
		for rows := range slices.Chunk(f.rows, importChunk) {
			changed, err := b.rename(ctx, tx, f.kind, rows, done)
			if err != nil {
				return err
			}
			all = append(all, changed...)
		}
		for chunk := range slices.Chunk(all, importChunk) {
			entries := make([]registry.Change, len(chunk))
			for i, c := range chunk {
				entries[i] = c.entry(f.kind, entry)
			}
			if err := b.Registry.Audit(ctx, tx, entries...); err != nil {
				return err
			}
		}
		return done.keep(len(all))
	})
}

// rename writes those rows that say something new.
func (b *Cabinet) rename(ctx context.Context, tx *sql.Tx, kind string, rows []importRow, done *Imported) (all []renamed, err error) {
	names, err := b.names(ctx, tx, kind, rows)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		before, there := names[r.employee()]
		if there && before == r.names() {
			done.Unchanged++
			continue
		}
		var outcome registry.Outcome
		if kind == ofOrganisations {
			outcome, err = b.Registry.ImportOrganisation(ctx, tx, r.voen, r.name)
		} else {
			outcome, err = b.Registry.ImportEmployee(ctx, tx, r.voen, r.fin, r.givenName, r.surname)
		}
		switch {
		case err != nil:
			return nil, err
		case outcome == registry.Created && !there:
			done.Created++
			all = append(all, renamed{r, nil})
		case outcome == registry.Altered && there:
			done.Changed++
			all = append(all, renamed{r, &before})
		default:
			return nil, errMeanwhile
		}
	}
	return all, nil
}

// names reads what those of the rows who are on record are called; an
// organisation is there as an employee without FIN.
func (b *Cabinet) names(ctx context.Context, tx *sql.Tx, kind string, rows []importRow) (map[policy.Employee]registry.Names, error) {
	if kind == ofEmployees {
		employees := make([]policy.Employee, len(rows))
		for i, r := range rows {
			employees[i] = r.employee()
		}
		return b.Registry.EmployeeNames(ctx, tx, employees)
	}
	voens := make([]policy.VOEN, len(rows))
	for i, r := range rows {
		voens[i] = r.voen
	}
	names := make(map[policy.Employee]registry.Names, len(rows))
	organisations, err := b.Registry.OrganisationNames(ctx, tx, voens)
	for voen, n := range organisations {
		names[policy.Employee{VOEN: voen}] = n
	}
	return names, err
}

func (r *importRow) names() registry.Names {
	return registry.Names{Name: r.name, GivenName: r.givenName, Surname: r.surname}
}

// entry is what the log says of it.
func (r *renamed) entry(kind string, entry registry.Change) registry.Change {
	entry.VOEN, entry.FIN = r.row.voen, r.row.fin
	entry.Action, entry.Subject = "import employee", r.row.employee().String()
	if kind == ofOrganisations {
		entry.Action, entry.Subject = "import organisation", string(r.row.voen)
	}
	if r.before != nil {
		entry.Before = *r.before
	}
	entry.After = r.row.names()
	return entry
}
