// Command imza is the whole of imza: the gateway with an emulated operator
// (up), or each in a process of its own (gateway, emulator), the provider's side
// (sign), the administrators' (block, unblock, blocks, audit, import), load tests
// (enrol, load, report) and tools for those who look into captures, connections and
// cards (ota, smpp, card).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are all commands and their flags.
type commands struct {
	Up       upCommand       `cmd:"" help:"Run everything in one process: gateway, operator, telephones and SIM cards."`
	Emulator emulatorCommand `cmd:"" help:"Run emulated operators alone, with up to millions of SIM cards and the people who hold them."`
	Gateway  gatewayCommand  `cmd:"" help:"Run the gateway alone, with operators that are elsewhere."`
	Sign     signCommand     `cmd:"" help:"Have a file signed by telephone, as a provider does."`
	Block    blockCommand    `cmd:"" help:"Block an employee for providers, or employees for a provider. It is in force when the command returns."`
	Unblock  unblockCommand  `cmd:"" help:"Let a blocked employee sign for providers again, or employees for a provider."`
	Blocks   blocksCommand   `cmd:"" help:"List the employees who are blocked."`
	Audit    auditCommand    `cmd:"" help:"Who changed what, and whether somebody changed the log of it."`
	Import   importCommand   `cmd:"" help:"Import organisations, employees or blocks from CSV, as an administrator."`
	Enrol    enrolCommand    `cmd:"" help:"Enrol the cards of \"imza emulator\" into a gateway, as an administrator."`
	Load     loadCommand     `cmd:"" help:"Load-test a gateway with the people of \"imza emulator\": its balance is drawn at the end."`
	Report   reportCommand   `cmd:"" help:"Figures of a load test, or of two side by side: a table, and a page with charts."`
	Card     cardCommand     `cmd:"" help:"SIM cards: in readers, or emulated."`
	SMPP     smppCommand     `cmd:"" name:"smpp" help:"Look into PDUs, and try a message centre."`
	OTA      otaCommand      `cmd:"" name:"ota" help:"Seal or open one secured packet (TS 102 225)."`
}

// streams are where a command reads and writes.
type streams struct{ out, err io.Writer }

// Exit statuses. A refusal is an answer, a failure is the lack of one.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3
)

const description = `imza is a mobile-signature gateway with an emulator for all that it needs.

Begin with "imza up". It prints what it runs and a command to try.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 refused, ended without a signature, or a log that was changed.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run is the program without its process.
func run(ctx context.Context, args []string, s streams) int {
	status := -1 // set when the parser itself ends the program, after --help
	parser, err := kong.New(new(commands),
		kong.Name("imza"), kong.Description(description),
		kong.Writers(s.out, s.err), kong.Exit(func(code int) { status = code }),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(s))
	if err != nil {
		fmt.Fprintln(s.err, "imza:", err)
		return exitFailure
	}
	bare := len(args) == 0
	if bare {
		args = []string{"--help"} // more use than an error
	}
	command, err := parser.Parse(args)
	if bare {
		return exitUsage
	}
	if status >= 0 {
		return status
	}
	if err != nil {
		fmt.Fprintln(s.err, "imza:", err)
		fmt.Fprintln(s.err, `"imza --help" tells what there is.`)
		return exitUsage
	}
	err = command.Run()
	var no *refused
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &no):
		fmt.Fprintln(s.err, "imza: refused:", no)
		return exitRefused
	}
	fmt.Fprintln(s.err, "imza:", err)
	return exitFailure
}
