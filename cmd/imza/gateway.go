package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/labstack/echo/v4"

	"imza/gateway/registry"
)

// gatewayCommand is the gateway alone: nobody is emulated, nobody enrolled.
type gatewayCommand struct {
	gatewayFlags
	Operators string `required:"" placeholder:"FILE" help:"Which operators there are and how they are reached (docs/operators.md)."`
	MasterKey string `placeholder:"FILE" help:"The key that the cards' keys are derived from, as whoever made the cards gave it. Kept in the data folder from then on. Default: the folder's own, made at the first start."`
}

// firstOperator is the administrator that a gateway begins with.
const firstOperator = "operator"

// Run runs the gateway until the process is told to stop.
func (c *gatewayCommand) Run(ctx context.Context, s streams) error {
	log, err := newLog(s.err, c.Log)
	if err != nil {
		return err
	}
	n := newNode(&c.gatewayFlags, log)
	if err := n.startAlone(ctx, c); err != nil {
		return errors.Join(err, n.Close())
	}
	fmt.Fprintf(s.out, "imza gateway is up.\n\n")
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  API\t%s\n", n.url())
	for _, op := range n.operators.Operators {
		fmt.Fprintf(table, "  operator\t%s at %s\n", op.Name, op.SMSC.Addr)
	}
	fmt.Fprintf(table, "  administrator's key\t%s\n", n.environmentAlone())
	table.Flush()
	fmt.Fprintln(s.out, "\nCtrl-C stops it.")
	var failed error
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.out, "Stopping.")
	case failed = <-n.failed:
	}
	return errors.Join(failed, n.Close())
}

// startAlone brings a gateway up that has nobody emulated in its process.
func (n *node) startAlone(ctx context.Context, c *gatewayCommand) (err error) {
	if n.operators, err = readOperators(c.Operators); err != nil {
		return fmt.Errorf("--operators: %w", err)
	}
	if emulated := n.operators.emulated(); len(emulated) > 0 {
		return fmt.Errorf("--operators: %s has no smsc; only \"imza up\" emulates operators in the gateway's process, \"imza emulator\" does in one of its own", emulated[0])
	}
	if c.MasterKey != "" {
		if n.cardsKey, err = readMasterKey(c.MasterKey); err != nil {
			return fmt.Errorf("--master-key: %w", err)
		}
	}
	web, err := n.open(ctx)
	if err != nil {
		return err
	}
	if err := n.operators.fill(&n.network, emulatedAt{}, nil, n.log); err != nil {
		return err
	}
	if err := n.openAlone(ctx); err != nil {
		return err
	}
	return n.startGateway(ctx, web, func(*echo.Echo, *http.Server) {})
}

// environmentAlone is where a gateway's address and its first administrator's
// key are kept, in a form that a shell sources.
func (n *node) environmentAlone() string { return filepath.Join(n.flags.Data, "gateway.env") }

// openAlone sees to it that somebody may administer the gateway: the key of an
// earlier start stays.
func (n *node) openAlone(ctx context.Context) error {
	text, err := os.ReadFile(n.environmentAlone())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := ""
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "export IMZA_ADMIN_KEY="); ok {
			key = value
		}
	}
	if key == "" {
		key = registry.NewAdminKey()
	}
	if err := n.registry.SetAdministrator(ctx, registry.Administrator{ID: firstOperator, Role: registry.Operator}, key); err != nil {
		return err
	}
	return writeWhole(n.environmentAlone(), bytes.NewReader(fmt.Appendf(nil, "# Source this file to administer this gateway.\nexport IMZA_URL=%s\nexport IMZA_ADMIN_KEY=%s\n", n.url(), key)))
}
