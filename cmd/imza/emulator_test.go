package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/emulator/fleet"
	"imza/simcard/applet"
	"imza/simcard/ota"
	"imza/simcard/sms"
	"imza/smpp"
)

// emulated is an "imza emulator" in a process of its own.
type emulated struct {
	dir, control string
	took         time.Duration // until it was ready
}

func spawnEmulator(t *testing.T, binary, dir string, flags ...string) *emulated {
	t.Helper()
	began := time.Now()
	command := exec.Command(binary, append([]string{"emulator", "--data", dir, "--addr", "127.0.0.1:0", "--control", "127.0.0.1:0"}, flags...)...)
	command.Stderr = t.Output()
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	control := regexp.MustCompile(`^ready: .* control (http://127\.0\.0\.1:[0-9]+),`).FindStringSubmatch(line)
	if err != nil || control == nil {
		t.Fatalf("the emulator says %q, %v", line, err)
	}
	return &emulated{dir, control[1], time.Since(began)}
}

// metric is one of its metrics.
func (e *emulated) metric(t *testing.T, name string) float64 {
	t.Helper()
	response, err := http.Get(e.control + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// write sends a challenge to some cards, over the operators that the emulator
// tells a gateway of, and waits for all answers.
func (e *emulated) write(t *testing.T, cards int) {
	t.Helper()
	f, err := fleet.Open(e.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o, err := readOperators(filepath.Join(e.dir, "operators.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := readMasterKey(filepath.Join(e.dir, "master.key"))
	if err != nil || hex.EncodeToString(key) != hex.EncodeToString(f.MasterKey()) {
		t.Fatalf("master.key: %v", err)
	}
	var network smpp.Network
	if err := o.fill(&network, emulatedAt{}, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	var answers atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	network.Operators(func(pool *smpp.Pool) {
		pool.Handler = func(_ context.Context, _ *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
			if !m.IsReceipt() {
				answers.Add(1)
			}
			return smpp.StatusOK
		}
	})
	running.Go(func() { network.Run(ctx) })
	const writers = 64
	step := f.Plan().Cards / cards
	for w := range writers {
		running.Go(func() {
			for n := w; n < cards; n += writers {
				if err := submitChallenge(ctx, &network, f, n*step); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for answers.Load() < int64(cards) && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	if n := answers.Load(); n < int64(cards) {
		t.Errorf("%d of %d cards answer", n, cards)
	}
}

func submitChallenge(ctx context.Context, network *smpp.Network, f *fleet.Fleet, card int) error {
	s := f.Subscriber(card)
	keys, err := ota.DeriveKeys(f.MasterKey(), string(s.ICCID))
	if err != nil {
		return err
	}
	channel, err := ota.NewChannel(applet.TAR, ota.Signing, keys)
	if err != nil {
		return err
	}
	c := applet.Challenge{Short: true, Operation: applet.Sign, Key: 1, Algorithm: applet.SHA256, Digest: make([]byte, 32), Time: now(), Language: applet.Azerbaijani, Text: "?"}
	data, err := c.Append(nil)
	if err != nil {
		return err
	}
	packet, err := channel.SealCommand(1, data)
	if err != nil {
		return err
	}
	parts, err := sms.Segment(sms.CommandPacket, packet, 0)
	if err != nil {
		return err
	}
	if len(parts) != 1 {
		return fmt.Errorf("%d parts", len(parts))
	}
	_, err = network.Operator(s.MSISDN.Digits()).Submit(ctx, nil, &smpp.ShortMessage{Source: smpp.International("994500000000"), Dest: smpp.International(s.MSISDN.Digits()),
		ESMClass: smpp.ESMClassUDHI, ProtocolID: sms.PIDDataDownload, DataCoding: sms.DCSClass2Binary, Message: parts[0]})
	return err
}

// A million cards are there within ten seconds and take less than 512 MiB, also
// when many of them have been used.
func TestMillionCards(t *testing.T) {
	const most = 512 << 20
	binary := filepath.Join(t.TempDir(), "imza") // without the race detector, which takes memory of its own
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := spawnEmulator(t, binary, t.TempDir(), "--cards", "1000000")
	fresh := e.metric(t, "process_resident_memory_bytes")
	if e.took > 10*time.Second || fresh > most {
		t.Errorf("ready after %s with %.0f MiB", e.took, fresh/(1<<20))
	}
	const used = 20_000
	e.write(t, used)
	rss := e.metric(t, "process_resident_memory_bytes")
	if rss > most {
		t.Errorf("%.0f MiB after %d cards were used", rss/(1<<20), used)
	}
	if made := e.metric(t, "imza_emulator_telephones_made_total"); made != used {
		t.Errorf("%.0f telephones were made, want %d", made, used)
	}
	t.Logf("ready after %s with %.0f MiB; %.0f MiB and %.2f s of CPU after %d cards were used", e.took.Round(time.Millisecond), fresh/(1<<20),
		rss/(1<<20), e.metric(t, "process_cpu_seconds_total"), used)
}

func TestEmulatorSaysPlainly(t *testing.T) {
	dir := t.TempDir()
	spawnEmulator(t, "imza", dir, "--cards", "100")
	for _, c := range []struct {
		says   string
		status int
		flags  []string
	}{
		{"in use by another emulator", exitFailure, nil},
		{dir + " has 100 cards, not 200: take another folder", exitFailure, []string{"--cards", "200"}},
		{"--cards: 1 to 8000000", exitUsage, []string{"--cards", "8000001"}},
		{"--cards: 1 to 8000000", exitUsage, []string{"--cards", "0"}},
		{"--cards: not enough memory: 8000000 cards need", exitUsage, []string{"--cards", "8000000", "--warm", "100000000"}},
		{"--scenario: scenario \"strom\"", exitFailure, []string{"--scenario", "strom"}},
		{"--control: 0.0.0.0:1 is not of this machine alone", exitFailure, []string{"--control", "0.0.0.0:1", "--data", t.TempDir()}},
		{"0.0.0.0:1 is not of this machine alone", exitFailure, []string{"--addr", "0.0.0.0:1", "--data", t.TempDir()}},
	} {
		var out, said strings.Builder
		flags := append([]string{"emulator", "--data", dir, "--addr", "127.0.0.1:0", "--control", "127.0.0.1:0"}, c.flags...)
		if status := run(t.Context(), flags, streams{&out, &said}); status != c.status || !strings.Contains(said.String(), c.says) {
			t.Errorf("%v: status %d, %s", c.flags, status, said.String())
		}
	}
}

// The same folder goes on after a restart, as do the gateway's passwords.
func TestEmulatorAgain(t *testing.T) {
	dir := t.TempDir()
	read := func() string {
		o, err := readOperators(filepath.Join(dir, "operators.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var passwords []string
		for _, op := range o.Operators {
			pool, err := o.pool(op, emulatedAt{})
			if err != nil {
				t.Fatal(err)
			}
			passwords = append(passwords, pool.Bind.Password)
		}
		return strings.Join(passwords, " ")
	}
	var before string
	for _, flags := range [][]string{{"--cards", "100", "--seed", "7"}, nil} {
		ctx, stop := context.WithCancel(t.Context())
		var out, said strings.Builder
		reader, writer := io.Pipe()
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, append([]string{"emulator", "--data", dir, "--addr", "127.0.0.1:0", "--control", "127.0.0.1:0"}, flags...), streams{writer, &said})
			writer.Close()
		}()
		lines := bufio.NewReader(reader)
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "ready: 100 cards, 3 operators, scenario instant") {
			t.Fatalf("%q %v %s", line, err, said.String())
		}
		go io.Copy(&out, lines)
		if now := read(); before != "" && now != before {
			t.Errorf("the passwords were %s and are %s", before, now)
		} else {
			before = now
		}
		stop()
		if status := <-ended; status != exitOK {
			t.Errorf("status %d: %s", status, said.String())
		}
	}
}
