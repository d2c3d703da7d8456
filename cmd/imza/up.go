package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"imza/emulator"
	"imza/emulator/screen"
	"imza/smpp"
)

type upCommand struct {
	gatewayFlags
	SMPP      string        `name:"smpp" default:"127.0.0.1:2775" placeholder:"ADDR" help:"Address of the emulated operators; port 0 takes a free one. Default: 127.0.0.1:2775."`
	Operators string        `placeholder:"FILE" help:"Which operators there are and how they are reached (docs/operators.md). Default: those of Azerbaijan, emulated."`
	Think     time.Duration `default:"700ms" help:"How long the emulated people take at each prompt."`
	PCSC      []string      `name:"pcsc" placeholder:"NAME" help:"A card reader whose card is a demo subscriber's (docs/card.md); may be given again. A card that is nobody's is enrolled as a further subscriber."`

	// dial is how the gateway reaches the operator; tests listen in.
	dial dialer
	// think replaces Think; tests hold people back with it.
	think func(context.Context)
}

// Run runs everything until the process is told to stop.
func (c *upCommand) Run(ctx context.Context, s streams) error {
	log, err := newLog(s.err, c.Log)
	if err != nil {
		return err
	}
	slog.SetDefault(log)
	p, err := start(ctx, c, log)
	if err != nil {
		return err
	}
	p.welcome(s.out)
	var failed error
	select {
	case <-ctx.Done():
		fmt.Fprintln(s.out, "Stopping.")
	case failed = <-p.failed:
	}
	return errors.Join(failed, p.Close())
}

// program is everything in one process: what up runs, and tests boot.
type program struct {
	node
	SMPPAddr string

	config   *upCommand
	password string // of the emulated operators; new with each start
	// handsetPassword is what telephones in other processes bind with, who must
	// not pass for an operator's customer. It is kept, as the keys are.
	handsetPassword string
	demo            demo
}

// start brings everything up, and takes it down again if a part fails.
func start(ctx context.Context, c *upCommand, log *slog.Logger) (_ *program, err error) {
	p := &program{config: c, node: newNode(&c.gatewayFlags, log)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.operators, err = readOperators(c.Operators); err != nil {
		return nil, err
	}
	web, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	operator, err := p.listenOn("smpp", c.SMPP)
	if err != nil {
		return nil, err
	}
	p.SMPPAddr = operator.Addr().String()
	p.password, p.handsetPassword = rand.Text()[:8], rand.Text()[:8]
	if err := p.operators.fill(&p.network, emulatedAt{p.SMPPAddr, p.password}, c.dial, log); err != nil {
		return nil, err
	}
	if err := p.startOperator(ctx, operator); err != nil {
		return nil, err
	}
	if err := p.startGateway(ctx, web, p.mountScreens); err != nil {
		return nil, err
	}
	if err := p.awaitOperators(ctx); err != nil {
		return nil, err
	}
	return p, p.writeEnvironment()
}

// mountScreens serves the telephones beside the APIs.
func (p *program) mountScreens(e *echo.Echo, server *http.Server) {
	screen.Mount(e, p.demo.screens)
	for _, s := range p.demo.screens {
		server.RegisterOnShutdown(s.Close) // else open pages would hold it up
	}
}

// startOperator runs the message centre of the emulated operators; the gateway
// is bound to it once for each, by the operator's name.
func (p *program) startOperator(ctx context.Context, listener net.Listener) error {
	names := p.operators.emulated()
	smsc := emulator.NewSMSC(func(id string) (smpp.Account, bool) {
		return smpp.Account{Password: p.password, Binds: 10}, slices.Contains(names, id)
	}, p.log)
	p.onClose(func() error { return ignoreClosed(smsc.Close)() })
	if err := p.demo.open(ctx, p, smsc); err != nil {
		return err
	}
	smsc.HandsetPassword = p.handsetPassword
	go func() {
		if err := smsc.Serve(listener); !errors.Is(err, net.ErrClosed) {
			p.failed <- fmt.Errorf("smpp: %w", err)
		}
	}()
	return nil
}

// awaitOperators waits for the emulated operators. Real ones may be away for
// long, and are dialled again and again.
func (p *program) awaitOperators(ctx context.Context) error {
	emulated := p.operators.emulated()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		missing := ""
		p.network.Operators(func(pool *smpp.Pool) {
			if slices.Contains(emulated, pool.Name) && !pool.Bound() {
				missing = pool.Name
			}
		})
		switch {
		case missing == "":
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return fmt.Errorf("the emulated operator %s could not be bound to", missing)
		}
	}
}
