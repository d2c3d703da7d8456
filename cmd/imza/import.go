package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"imza/gateway"
	"imza/gateway/cabinet"
)

type importCommand struct {
	administrator
	Files  []string `arg:"" name:"file" help:"CSV of organisations, employees or blocks; - is the standard input."`
	DryRun bool     `help:"Check all of it, and change nothing."`
}

// Run imports the files one after another, until one is refused.
func (c *importCommand) Run(ctx context.Context, s streams) error {
	for _, name := range c.Files {
		content, err := readImport(name)
		if err != nil {
			return err
		}
		done, faults, err := c.send(ctx, content)
		for _, f := range faults.Errors {
			field := ""
			if f.Field != "" {
				field = f.Field + ": "
			}
			fmt.Fprintf(s.err, "%s:%d: %s%s\n", name, f.Row, field, f.Detail)
		}
		if more := faults.Total - len(faults.Errors); more > 0 {
			fmt.Fprintf(s.err, "%s: %d more\n", name, more)
		}
		if err != nil {
			return err
		}
		tried := ""
		if done.DryRun {
			tried = " (dry run: nothing was changed)"
		}
		fmt.Fprintf(s.out, "%s: %s: %d rows, %d created, %d changed, %d unchanged%s\n", name, done.Kind, done.Rows, done.Created, done.Changed, done.Unchanged, tried)
	}
	return nil
}

// readImport reads a file whole, so that one that cannot be read is not sent,
// and one that is too large need not be.
func readImport(name string) ([]byte, error) {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	content, err := io.ReadAll(io.LimitReader(file, cabinet.MaxImport+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(content) > cabinet.MaxImport {
		return nil, &refused{code: string(gateway.DocumentTooLarge), detail: fmt.Sprintf("%s has more than %d MiB", name, cabinet.MaxImport>>20)}
	}
	return content, nil
}

// importFaults are what is wrong with a file that was refused.
type importFaults struct {
	Errors []cabinet.ImportFault
	Total  int
}

// importTime is how long the gateway may take for a file.
const importTime = 5 * time.Minute

// send imports one file. If it is refused for what is in it, that is told too.
func (c *importCommand) send(ctx context.Context, content []byte) (done cabinet.Imported, faults importFaults, err error) {
	api := &client{url: c.URL, key: c.Key, patience: importTime}
	path := fmt.Sprintf("/v1/admin/imports?dryRun=%t", c.DryRun)
	err = api.send(ctx, http.MethodPost, path, "text/csv; charset=utf-8", content, &done)
	var no *refused
	if errors.As(err, &no) {
		_ = json.Unmarshal(no.document, &faults) // a refusal of another kind has none
	}
	return done, faults, err
}
