package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"imza/gateway/cabinet"
)

// administrator is how the administrators' commands reach the gateway.
type administrator struct {
	URL string `name:"url" env:"IMZA_URL" default:"http://127.0.0.1:8080" help:"The gateway."`
	Key string `env:"IMZA_ADMIN_KEY" required:"" help:"The administrator's key."`
}

// employee is whom a command is about, and for which provider.
type employee struct {
	administrator
	VOEN     string `name:"voen" required:"" placeholder:"10 digits" help:"The organisation."`
	FIN      string `name:"fin" required:"" placeholder:"7 letters and digits" help:"The employee."`
	Provider string `xor:"whom" required:"" help:"The provider's short name."`
	All      bool   `xor:"whom" required:"" help:"All providers, also those that join later."`
}

func (e *employee) set(ctx context.Context, method string) (p cabinet.Permissions, err error) {
	path := fmt.Sprintf("/v1/admin/organisations/%s/employees/%s/blocks", url.PathEscape(e.VOEN), url.PathEscape(e.FIN))
	if !e.All {
		path += "/" + url.PathEscape(e.Provider)
	}
	err = (&client{e.URL, e.Key}).do(ctx, method, path, nil, &p)
	return p, err
}

// forWhom tells whom a command was about.
func (e *employee) forWhom() string {
	if e.All {
		return "any provider"
	}
	return e.Provider
}

type blockCommand struct{ employee }

// Run blocks.
func (c *blockCommand) Run(ctx context.Context, s streams) error {
	if _, err := c.set(ctx, http.MethodPut); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s of %s may not sign for %s.\n", c.FIN, c.VOEN, c.forWhom())
	return nil
}

type unblockCommand struct{ employee }

// Run unblocks.
func (c *unblockCommand) Run(ctx context.Context, s streams) error {
	if _, err := c.set(ctx, http.MethodDelete); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s of %s may sign for %s.\n", c.FIN, c.VOEN, c.forWhom())
	return nil
}

type blocksCommand struct {
	administrator
	VOEN string `name:"voen" placeholder:"10 digits" help:"Of this organisation only."`
}

// Run lists.
func (c *blocksCommand) Run(ctx context.Context, s streams) error {
	var all []cabinet.Permissions
	if err := (&client{c.URL, c.Key}).do(ctx, http.MethodGet, "/v1/admin/blocks?voen="+url.QueryEscape(c.VOEN), nil, &all); err != nil {
		return err
	}
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VÖEN\tFIN\tBLOCKED FOR")
	for _, p := range all {
		names := make([]string, len(p.Exceptions))
		for i, name := range p.Exceptions {
			names[i] = string(name)
		}
		blocked := strings.Join(names, ", ")
		switch {
		case p.Default == "block" && blocked == "":
			blocked = "all"
		case p.Default == "block":
			blocked = "all but " + blocked
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", p.VOEN, p.FIN, blocked)
	}
	return table.Flush()
}
