package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"

	"imza/gateway/cabinet"
	"imza/policy"
)

type blocksCommand struct {
	administrator
	VOEN     string `name:"voen" placeholder:"10 digits" help:"Of this organisation only."`
	Provider string `placeholder:"NAME" help:"Only who may not sign for this provider."`
	FIN      string `name:"fin" placeholder:"FIN" help:"Of this person only."`
	JSON     bool   `name:"json" help:"One JSON object a line, as the API has it."`
}

// Validate refuses what could only find nothing.
func (c *blocksCommand) Validate() error {
	if c.Provider != "" {
		if _, err := policy.ParseProvider(c.Provider); err != nil {
			return fmt.Errorf("--provider: %w", err)
		}
	}
	if c.FIN != "" {
		if _, err := policy.ParseFIN(c.FIN); err != nil {
			return fmt.Errorf("--fin: %w", err)
		}
	}
	return nil
}

// Run lists.
func (c *blocksCommand) Run(ctx context.Context, s streams) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	if !c.JSON {
		fmt.Fprintln(table, "VÖEN\tFIN\tBLOCKED FOR\tVERSION")
	}
	lines := json.NewEncoder(s.out)
	if err := c.each(ctx, func(p cabinet.Permissions) error {
		if c.JSON {
			return lines.Encode(p)
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", p.VOEN, p.FIN, blockedFor(p), p.Version)
		return err
	}); err != nil {
		return err
	}
	return table.Flush()
}

// each reads page after page.
func (c *blocksCommand) each(ctx context.Context, yield func(cabinet.Permissions) error) error {
	query := url.Values{"limit": {"1000"}}
	if c.VOEN != "" {
		query.Set("voen", c.VOEN)
	}
	for {
		var page cabinet.BlockPage
		if err := (&client{url: c.URL, key: c.Key}).do(ctx, http.MethodGet, "/v1/admin/blocks?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, p := range page.Blocks {
			if !c.wants(p) {
				continue
			}
			if err := yield(p); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

func (c *blocksCommand) wants(p cabinet.Permissions) bool {
	if c.FIN != "" && string(p.FIN) != c.FIN {
		return false
	}
	return c.Provider == "" || slices.Contains(p.Exceptions, policy.Provider(c.Provider)) != (p.Default == "block")
}

// blockedFor says for whom somebody may not sign.
func blockedFor(p cabinet.Permissions) string {
	names := joined(p.Exceptions)
	switch {
	case p.Default != "block":
		return names
	case names == "":
		return "all"
	}
	return "all but " + names
}
