package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Blocks are what a test changes in the gateway, over the admin API, and puts
// back. A run that was killed could not; the next one does it then.

// block is one provider's of one employee.
type block struct{ voen, fin, provider string }

// block saves the blocks of those whom policy must refuse, all at once, when
// those that an earlier run has left are lifted.
func (g *Generator) block() error {
	if g.AdminKey == "" {
		return nil
	}
	left, err := g.leftBlocks()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		g.say(fmt.Sprintf("%s blocks for these providers were there, as a run leaves them that was killed: they are lifted", Thousands(int64(len(left)))))
		if err := g.importBlocks("unblock", left); err != nil {
			return err
		}
	}
	if len(g.plan.blocked) == 0 {
		return nil
	}
	return g.importBlocks("block", g.plannedBlocks())
}

// liftBlocks lifts them again.
func (g *Generator) liftBlocks() {
	if len(g.plan.blocked) == 0 {
		return
	}
	if err := g.persist(func() error { return g.importBlocks("unblock", g.plannedBlocks()) }); err != nil {
		g.say(fmt.Sprintf("the blocks of %d subscribers could not be lifted; the next run does it: %v", len(g.plan.blocked), err))
	}
}

func (g *Generator) plannedBlocks() (all []block) {
	for _, b := range g.plan.blocked {
		all = append(all, block{b.wanted.VOEN, b.who.FIN, g.Providers[b.provider].ID})
	}
	return all
}

// leftBlocks lists the blocks that there are for the providers of this test.
func (g *Generator) leftBlocks() (all []block, err error) {
	for after, more := "", true; more; {
		var page struct {
			Blocks []struct {
				VOEN, FIN, Default string
				Exceptions         []string
			}
			Next string
		}
		path := "/v1/admin/blocks?limit=100"
		if after != "" {
			path += "&after=" + url.QueryEscape(after)
		}
		err := g.control.control(message{method: http.MethodGet, path: path, authorization: "Bearer " + g.AdminKey}, func(body []byte) error {
			return json.Unmarshal(body, &page)
		})
		if err != nil {
			return nil, err
		}
		for _, b := range page.Blocks {
			for _, p := range b.Exceptions {
				if b.Default == "allow" && slices.ContainsFunc(g.Providers, func(ours Provider) bool { return ours.ID == p }) {
					all = append(all, block{b.VOEN, b.FIN, p})
				}
			}
		}
		after, more = page.Next, page.Next != ""
	}
	return all, nil
}

// One import has so many rows, and takes no longer than that.
const (
	mostRows    = 5000
	importTakes = time.Minute
)

func (g *Generator) importBlocks(action string, blocks []block) error {
	for some := range slices.Chunk(blocks, mostRows) {
		var csv bytes.Buffer
		csv.WriteString("voen,fin,provider,action\n")
		for _, b := range some {
			fmt.Fprintf(&csv, "%s,%s,%s,%s\n", b.voen, b.fin, b.provider, action)
		}
		err := g.control.control(message{method: http.MethodPost, path: "/v1/admin/imports", authorization: "Bearer " + g.AdminKey,
			contentType: "text/csv", body: csv.Bytes(), patience: importTakes}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
