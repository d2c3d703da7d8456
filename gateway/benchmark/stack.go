package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// stack is the whole path: a redis-server, the emulator, the gateway, each a
// process of its own, and all cards enrolled. It lives in a folder of its own.
type stack struct {
	imza              string // the program
	dir               string
	redis             *redisServer
	emulator, gateway *process
	url, control      string   // of gateway and emulator
	pprof             []string // addresses of the profiles of gateway, emulator and load
	admin             []string // the environment of who administers the gateway
}

// startStack starts all of it and enrols so many cards.
func startStack(ctx context.Context, imza, dir string, cards int) (_ *stack, err error) {
	s := &stack{imza: imza, dir: dir}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for range 3 {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		s.pprof = append(s.pprof, addr)
	}
	if s.redis, err = startRedis(ctx); err != nil {
		return nil, err
	}
	if err := s.startEmulator(ctx, cards); err != nil {
		return nil, err
	}
	if err := s.startGateway(ctx); err != nil {
		return nil, err
	}
	return s, s.enrol(ctx, cards)
}

// Close takes all of it down.
func (s *stack) Close() {
	s.gateway.stop()
	s.emulator.stop()
	if s.redis != nil {
		s.redis.Close()
	}
}

func (s *stack) startEmulator(ctx context.Context, cards int) (err error) {
	control, err := freeAddr()
	if err != nil {
		return err
	}
	s.control = "http://" + control
	// All telephones stay made, as they are in the world outside.
	s.emulator, err = begin("emulator", s.dir, s.imza, "emulator", "--cards", strconv.Itoa(cards), "--warm", strconv.Itoa(cards), "--addr", "127.0.0.1:0", "--control", control, "--pprof", s.pprof[1])
	if err != nil {
		return err
	}
	return s.emulator.await(ctx, func() (string, error) { return s.control + "/readyz", nil })
}

// startGateway starts it, or starts it again where it was.
func (s *stack) startGateway(ctx context.Context) (err error) {
	addr := strings.TrimPrefix(s.url, "http://")
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s.gateway, err = begin("gateway", s.dir, s.imza, "gateway", "--operators", "emulated/operators.yaml", "--master-key", "emulated/master.key",
		"--redis", "redis://"+s.redis.addr, "--http", addr, "--pprof", s.pprof[0])
	if err != nil {
		return err
	}
	return s.gateway.await(ctx, func() (string, error) {
		if err := s.readEnvironment(); err != nil {
			return "", err
		}
		return s.url + "/readyz", nil
	})
}

// readEnvironment reads where the gateway is and who administers it.
func (s *stack) readEnvironment() error {
	text, err := os.ReadFile(filepath.Join(s.dir, "data", "gateway.env"))
	if err != nil {
		return err
	}
	s.admin = bareEnvironment()
	for line := range strings.Lines(string(text)) {
		if variable, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			s.admin = append(s.admin, variable)
			if url, ok := strings.CutPrefix(variable, "IMZA_URL="); ok {
				s.url = url
			}
		}
	}
	return nil
}

// bareEnvironment is this process's own, without what would tell imza of another
// gateway.
func bareEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "IMZA_") })
}

// enrol enrols cards into the gateway.
func (s *stack) enrol(ctx context.Context, cards int) error {
	_, err := s.run(ctx, s.admin, "enrol", "--fleet", "emulated", "--cards", strconv.Itoa(cards))
	return err
}

// run runs one of imza's commands to its end, and returns the CPU time that it
// took. Its error has what the command said.
func (s *stack) run(ctx context.Context, env []string, args ...string) (spent time.Duration, err error) {
	command := exec.CommandContext(ctx, s.imza, args...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 20 * time.Second
	var out bytes.Buffer
	command.Dir, command.Env, command.Stdout, command.Stderr = s.dir, env, &out, &out
	if err = command.Run(); err != nil {
		err = fmt.Errorf("imza %s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	if command.ProcessState != nil {
		spent = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	}
	return spent, err
}

// settle waits until what came before has left no work: the journal is in SQL.
func (s *stack) settle(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); sleep(ctx, 20*time.Millisecond) {
		left, err := s.redis.client.XLen(ctx, "imza:journal").Result()
		if err != nil || left == 0 {
			return err
		}
	}
	return fmt.Errorf("the journal is not drained within a minute")
}

// account is what the processes of a stack have done so far.
type account struct {
	at                       time.Time
	gateway, emulator, redis time.Duration // of CPU
	busy                     time.Duration // of the whole machine
	allocations              float64       // in the gateway
	messages, receipts       float64       // segments either way, and receipts
}

func (s *stack) account(ctx context.Context) (a account, err error) {
	if a.allocations, err = metric(ctx, s.url+"/metrics", "go_memstats_mallocs_total", nil); err != nil {
		return a, err
	}
	for way, into := range map[string]*float64{"to_handset": &a.messages, "from_handset": &a.messages, "receipt": &a.receipts} {
		n, err := metric(ctx, s.control+"/metrics", "imza_emulator_messages_total", map[string]string{"way": way, "fate": "accepted"})
		if err != nil {
			return a, err
		}
		*into += n
	}
	if a.redis, err = s.redis.spent(ctx); err != nil {
		return a, err
	}
	if a.gateway, err = s.gateway.spent(); err != nil {
		return a, err
	}
	if a.emulator, err = s.emulator.spent(); err != nil {
		return a, err
	}
	a.at = time.Now()
	a.busy, err = busy()
	return a, err
}

// metric is the sum of a metric over what has these labels.
func metric(ctx context.Context, url, name string, labels map[string]string) (sum float64, err error) {
	text, err := fetch(ctx, url)
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", url, err)
	}
	family := families[name]
	if family == nil {
		return 0, fmt.Errorf("%s: there is no %s", url, name)
	}
	for _, m := range family.GetMetric() {
		match := 0
		for _, label := range m.GetLabel() {
			if want, asked := labels[label.GetName()]; asked && want == label.GetValue() {
				match++
			}
		}
		if match == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() // it is one of them
		}
	}
	return sum, nil
}
