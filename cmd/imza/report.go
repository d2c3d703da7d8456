package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"imza/emulator/load"
	figures "imza/emulator/report" // report is a function here
)

// reportCommand makes a table and a page of what load tests wrote down.
type reportCommand struct {
	Files []string `arg:"" name:"file" help:"What imza load wrote; two of them are set side by side." type:"path"`
	HTML  string   `name:"html" placeholder:"FILE" help:"Write one page with charts as well, which needs nothing but itself." type:"path"`
}

// Validate refuses what means nothing.
func (c *reportCommand) Validate() error {
	if len(c.Files) > 2 {
		return errors.New("one results file, or two to be set side by side")
	}
	for _, file := range c.Files {
		if c.HTML != "" && filepath.Clean(file) == filepath.Clean(c.HTML) {
			return errors.New("--html is one of the results, which would be overwritten")
		}
	}
	return nil
}

// Run writes the table, and the page if there is to be one. A run whose balance
// does not agree is an answer, and not a good one.
func (c *reportCommand) Run(_ context.Context, s streams) error {
	var runs []*figures.Run
	for _, file := range c.Files {
		results, err := load.ReadFile(file)
		if err != nil {
			return err
		}
		runs = append(runs, figures.Of(filepath.Base(file), results))
	}
	if err := figures.Text(s.out, runs...); err != nil {
		return err
	}
	if c.HTML != "" {
		var page bytes.Buffer
		if err := figures.Page(&page, runs...); err != nil {
			return err
		}
		if err := writeWhole(c.HTML, &page); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
		fmt.Fprintf(s.err, "The page is in %s.\n", c.HTML)
	}
	for _, r := range runs {
		if !r.OK() {
			return fmt.Errorf("%s: the run was not whole, its balance does not agree, or there were faults", r.Name)
		}
	}
	return nil
}
