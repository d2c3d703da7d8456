package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"imza/gateway"
	"imza/gateway/cabinet"
	"imza/policy"
)

// administrator is how the administrators' commands reach the gateway.
type administrator struct {
	URL string `name:"url" env:"IMZA_URL" default:"http://127.0.0.1:8080" help:"The gateway."`
	Key string `env:"IMZA_ADMIN_KEY" required:"" help:"The administrator's key."`
}

// whom is whom a command is about, and for which providers: one employee and any
// number of providers, or one provider and any number of employees.
type whom struct {
	administrator
	VOEN      string   `name:"voen" required:"" placeholder:"10 digits" help:"The organisation."`
	FINs      []string `name:"fin" placeholder:"FIN" help:"The employee. With one provider there may be several: give it again."`
	FINsFrom  string   `name:"fins-from" placeholder:"FILE" help:"A file of employees, one FIN a line; - is the standard input."`
	Providers []string `name:"provider" placeholder:"NAME" help:"The provider, by its short name. With one employee there may be several: give it again."`
	All       bool     `help:"All providers, also those that join later."`
}

// Help is what --help says beside the flags.
func (w *whom) Help() string {
	return "Either one employee and any number of providers, or one provider and any number of employees. All of it holds, or nothing; what somebody else changes meanwhile stays as they want it."
}

// Validate refuses what is not one save: of one employee's set, or of one
// provider's list. Several saves might stop halfway.
func (w *whom) Validate() error {
	several := len(w.FINs) > 1 || w.FINsFrom != ""
	switch {
	case len(w.FINs) == 0 && w.FINsFrom == "":
		return errors.New("missing flags: --fin=FIN or --fins-from=FILE")
	case len(w.Providers) == 0 && !w.All:
		return errors.New("missing flags: --provider=NAME or --all")
	case len(w.Providers) > 0 && w.All:
		return errors.New("--provider and --all can't be used together")
	case several && w.All:
		return errors.New("--all goes with one employee: a save is of one employee or of one provider; for many take imza import")
	case several && len(w.Providers) > 1:
		return errors.New("several employees and several providers at once: a save is of one employee or of one provider; for many take imza import")
	}
	return nil
}

// save makes the change and tells what holds then.
func (w *whom) save(ctx context.Context, s streams, allowed bool) error {
	if w.FINsFrom != "" || len(w.FINs) > 1 {
		return w.saveView(ctx, s, allowed)
	}
	return w.savePermissions(ctx, s, allowed)
}

// tries is how often a change is made anew because somebody else was faster.
const tries = 10

// untilCurrent makes a change from what it finds, until nobody changes that
// meanwhile: what is meant holds against whatever is there.
func untilCurrent(change func() error) error {
	for left := tries; ; left-- {
		if err := change(); left == 1 || !refusedAs(err, gateway.VersionConflict) {
			return err
		}
	}
}

// savePermissions changes one employee's set.
func (w *whom) savePermissions(ctx context.Context, s streams, allowed bool) error {
	path := fmt.Sprintf("/v1/admin/organisations/%s/employees/%s/permissions", url.PathEscape(w.VOEN), url.PathEscape(w.FINs[0]))
	api := &client{url: w.URL, key: w.Key}
	var before, after cabinet.Permissions
	if err := untilCurrent(func() error {
		before = cabinet.Permissions{}
		if err := api.do(ctx, http.MethodGet, path, nil, &before); err != nil {
			return err
		}
		set, err := w.change(ctx, policy.Set{BlockAll: before.Default == "block", Exceptions: before.Exceptions}, allowed)
		if err != nil {
			return err
		}
		return api.do(ctx, http.MethodPut, path, permissionsWanted(set, before.Version), &after)
	}); err != nil {
		return err
	}
	tell(s.out, fmt.Sprintf("%s of %s may %s", after.FIN, after.VOEN, maySign(after)), after.Version, after.Version == before.Version)
	return nil
}

// change is the set as it is to be. The gateway looks at the providers that it is
// sent; one that changes nothing is not, and may be a slip of the pen.
func (w *whom) change(ctx context.Context, set policy.Set, allowed bool) (policy.Set, error) {
	if w.All {
		return policy.Set{BlockAll: !allowed}, nil
	}
	for _, p := range w.Providers {
		if set.Allows(policy.Provider(p)) == allowed {
			var view cabinet.View
			if err := (&client{url: w.URL, key: w.Key}).do(ctx, http.MethodGet, w.viewPath(p), nil, &view); err != nil {
				return set, err
			}
		}
		set = set.With(policy.Provider(p), allowed)
	}
	return set, nil
}

// viewPath is where one provider's list is.
func (w *whom) viewPath(provider string) string {
	return fmt.Sprintf("/v1/admin/organisations/%s/providers/%s/permissions", url.PathEscape(w.VOEN), url.PathEscape(provider))
}

// permissionsWanted is a set as the API takes it.
func permissionsWanted(set policy.Set, version int64) any {
	body := struct {
		Default    string            `json:"default"`
		Exceptions []policy.Provider `json:"exceptions"`
		Version    int64             `json:"version"`
	}{"allow", append([]policy.Provider{}, set.Exceptions...), version}
	if set.BlockAll {
		body.Default = "block"
	}
	return body
}

// maySign says what a set says, after "may".
func maySign(p cabinet.Permissions) string {
	names := joined(p.Exceptions)
	switch {
	case p.Default == "block" && names == "":
		return "not sign for any provider"
	case p.Default == "block":
		return "sign for no provider but " + names
	case names == "":
		return "sign for all providers"
	}
	return "not sign for " + names
}

func joined[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, text := range all {
		texts[i] = string(text)
	}
	return strings.Join(texts, ", ")
}

// saveView changes who may not sign for one provider.
func (w *whom) saveView(ctx context.Context, s streams, allowed bool) error {
	fins, err := w.employees()
	if err != nil {
		return err
	}
	path, api := w.viewPath(w.Providers[0]), &client{url: w.URL, key: w.Key}
	var after cabinet.View
	var already []policy.FIN
	if err := untilCurrent(func() error {
		var before cabinet.View
		if err := api.do(ctx, http.MethodGet, path, nil, &before); err != nil {
			return err
		}
		var blocked []policy.FIN
		blocked, already = changed(before.Blocked, fins, allowed)
		return api.do(ctx, http.MethodPut, path, viewWanted(blocked, before.Version), &after)
	}); err != nil {
		return err
	}
	if n := len(already); 0 < n && n < len(fins) {
		fmt.Fprintf(s.out, "Already so for %s.\n", some(already))
	}
	text := fmt.Sprintf("%s of %s may not sign for %s", some(after.Blocked), after.VOEN, after.Provider)
	if len(after.Blocked) == 0 {
		text = fmt.Sprintf("All of %s may sign for %s", after.VOEN, after.Provider)
	}
	tell(s.out, text, after.Version, len(already) == len(fins))
	return nil
}

// changed adds FINs to who is blocked, or takes them out. Of those who are already
// it held before. All lists are sorted.
func changed(blocked, fins []policy.FIN, allowed bool) (after, already []policy.FIN) {
	for _, fin := range fins {
		if _, is := slices.BinarySearch(blocked, fin); is != allowed {
			already = append(already, fin)
		}
	}
	if !allowed {
		after = slices.Concat(blocked, fins)
		slices.Sort(after)
		return slices.Compact(after), already
	}
	return slices.DeleteFunc(slices.Clone(blocked), func(fin policy.FIN) bool {
		_, is := slices.BinarySearch(fins, fin)
		return is
	}), already
}

// viewWanted is a list as the API takes it.
func viewWanted(blocked []policy.FIN, version int64) any {
	return struct {
		Blocked []policy.FIN `json:"blocked"`
		Version int64        `json:"version"`
	}{append([]policy.FIN{}, blocked...), version}
}

// tell says what holds now.
func tell(w io.Writer, text string, version int64, same bool) {
	change := ""
	if same {
		change = ": nothing changed"
	}
	fmt.Fprintf(w, "%s (version %d)%s.\n", text, version, change)
}

// some names the first of many.
func some(fins []policy.FIN) string {
	const most = 10
	if len(fins) <= most {
		return joined(fins)
	}
	return fmt.Sprintf("%s and %d more", joined(fins[:most]), len(fins)-most)
}

// employees are all who are named, each once and sorted.
func (w *whom) employees() (fins []policy.FIN, err error) {
	for _, text := range w.FINs {
		fin, err := policy.ParseFIN(text)
		if err != nil {
			return nil, fmt.Errorf("--fin %q: %w", text, err)
		}
		fins = append(fins, fin)
	}
	if w.FINsFrom != "" {
		more, err := readFINs(w.FINsFrom)
		if err != nil {
			return nil, err
		}
		fins = append(fins, more...)
	}
	slices.Sort(fins)
	return slices.Compact(fins), nil
}

// readFINs reads one FIN a line. Empty lines do not count.
func readFINs(name string) (fins []policy.FIN, err error) {
	file := os.Stdin
	if name != "-" {
		if file, err = os.Open(name); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		fin, err := policy.ParseFIN(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %.20q is %w", name, number, text, err)
		}
		fins = append(fins, fin)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(fins) == 0 {
		return nil, fmt.Errorf("%s: no FIN is in there", name)
	}
	return fins, nil
}

type blockCommand struct{ whom }

// Run blocks.
func (c *blockCommand) Run(ctx context.Context, s streams) error { return c.save(ctx, s, false) }

type unblockCommand struct{ whom }

// Run unblocks.
func (c *unblockCommand) Run(ctx context.Context, s streams) error { return c.save(ctx, s, true) }
