package load_test

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/emulator"
	"imza/emulator/load"
	"imza/gateway"
	"imza/gateway/gatewaytest"
)

// A run of everything at once: every request is accounted for, by the load
// tester, by the file and by the gateway.
func TestRun(t *testing.T) {
	t.Parallel()
	people := slices.Concat(signers(80),
		crowd(4, gatewaytest.Person{Behaviour: emulator.Cancels}),
		crowd(4, gatewaytest.Person{Certificates: []gateway.Wanted{{Type: gateway.Citizen}, {Type: gateway.Government, VOEN: gatewaytest.SecondVOEN}}}))
	g := stand(t, people...)
	g.Refused, g.Flips = 0.2, 5
	g.Phases = []load.Phase{{Name: "warm-up", From: 20, To: 20, Duration: 300 * time.Millisecond, Aside: true}, {Name: "50-150/s", From: 50, To: 150, Duration: 1500 * time.Millisecond}}
	ending, got := run(t, t.Context(), g)
	exact(t, ending)
	b := ending.Balance
	if b.Ends[load.Signed] < 80 || b.Ends[load.CancelledByUser] == 0 || b.Ends[load.RefusedByPolicy] < 15 || ending.CutShort {
		t.Errorf("ended as %v", b.Ends)
	}
	if g.Verified() != b.Ends[load.Signed] {
		t.Errorf("%d signatures were verified of %d", g.Verified(), b.Ends[load.Signed])
	}
	if len(b.Lines) < 8 {
		t.Errorf("compared with the gateway only in %v", b.Lines)
	}
	if recount := got.Recount(); recount.Asked != b.Asked || !reflect.DeepEqual(recount.Ends, b.Ends) {
		t.Errorf("in the file are %v", recount.Ends)
	}
	expectations := make(map[load.Expect]int)
	types := make(map[load.Certificate]int)
	var last time.Duration
	for i, r := range inOrder(got.Requests) {
		expectations[r.Expect]++
		types[r.Certificate]++
		if r.Index < 1<<31 && (int(r.Index) != i || r.Due < last) {
			t.Fatalf("request %d is number %d, due at %s", i, r.Index, r.Due)
		}
		last = r.Due
		if latency, ok := r.Latency(); r.End == load.Signed && (!ok || latency <= 0 || r.Accepted <= r.Sent || r.Sent < 0 || r.Released <= r.Accepted) {
			t.Fatalf("the moments of %+v are in no order", r)
		}
	}
	if expectations[load.ExpectRefuse] == 0 || expectations[load.ExpectAccept] == 0 || types[load.Citizen] == 0 || types[load.Government] == 0 {
		t.Errorf("expected %v of certificates %v", expectations, types)
	}
	if phases := got.Run.Phases; len(phases) != 3 || !phases[0].Aside || !phases[2].Aside || phases[2].Name != "flips" {
		t.Errorf("phases %+v", phases)
	}
	if len(got.Samples) == 0 || got.Samples[0].Processes[0].Name != "load" || got.Samples[0].Processes[0].CPU == 0 {
		t.Errorf("samples %+v", got.Samples)
	}
	// Nothing of it stays: with the same seed, nobody who was blocked is.
	g.Refused, g.Flips = 0, 0
	again := *fresh(g)
	again.Phases = []load.Phase{{Name: "once", From: 88, To: 88, Duration: time.Second}}
	ending, _ = run(t, t.Context(), &again)
	exact(t, ending)
	if ending.Balance.Ends[load.RefusedByPolicy] != 0 {
		t.Errorf("after the run, %v", ending.Balance.Ends)
	}
}

// Runs of all kinds, on one stand, since making the cards of so many people takes
// longer than the runs.
func TestRuns(t *testing.T) {
	t.Parallel()
	g := stand(t, signers(60)...)
	for name, test := range map[string]func(*testing.T, *load.Generator){
		"same seed": testSameSeed, "turns": testTurns, "closed loop": testClosedLoop, "latency": testLatencyCountsFromDue,
		"gateway stops": testGatewayStops, "disk full": testDiskFull, "file forgets": testForgetful, "emulator": testEmulator, "does not begin": testDoesNotBegin,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(g)) })
	}
}

// fresh is a generator for another run with the same settings.
func fresh(g *load.Generator) *load.Generator {
	return &load.Generator{URL: g.URL, Providers: g.Providers, Cards: g.Cards, Subscriber: g.Subscriber, Seed: g.Seed, Phases: g.Phases,
		Timeout: g.Timeout, Text: g.Text, Refused: g.Refused, Flips: g.Flips, AdminKey: g.AdminKey, VerifyEvery: g.VerifyEvery, Command: g.Command}
}

func inOrder(requests []load.Request) []load.Request {
	return slices.SortedFunc(slices.Values(requests), func(x, y load.Request) int { return int(int64(x.Index) - int64(y.Index)) })
}

// The same seed asks the same people the same at the same times.
func testSameSeed(t *testing.T, g *load.Generator) {
	g.Refused, g.Phases = 0.1, []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: 500 * time.Millisecond}}
	of := func(seed uint64) []load.Request {
		again := fresh(g)
		again.Seed = seed
		ending, got := run(t, t.Context(), again)
		exact(t, ending)
		return inOrder(got.Requests)
	}
	same := func(x, y load.Request) bool {
		return x.Subscriber == y.Subscriber && x.Provider == y.Provider && x.Certificate == y.Certificate && x.Expect == y.Expect && x.Due == y.Due
	}
	first, second := of(7), of(7)
	if !slices.EqualFunc(first, second, same) {
		t.Error("the same seed asked otherwise")
	}
	slow := func(r load.Request) bool { return r.End == load.RefusedBusy || r.End == load.RefusedUnknown } // a machine that is
	for i, r := range first {
		if r.End != second[i].End && !slow(r) && !slow(second[i]) {
			t.Errorf("request %d ended as %s, and then as %s", i, r.End, second[i].End)
		}
	}
	if slices.EqualFunc(first, of(8), same) {
		t.Error("another seed asked the same")
	}
}

// Nobody is asked again before all others were.
func testTurns(t *testing.T, g *load.Generator) {
	_, got := run(t, t.Context(), g)
	turn := make(map[uint32]bool)
	for i, r := range inOrder(got.Requests) {
		if i%60 == 0 {
			clear(turn)
		}
		if turn[r.Subscriber] {
			t.Fatalf("request %d asks subscriber %d again", i, r.Subscriber)
		}
		turn[r.Subscriber] = true
	}
}

func testClosedLoop(t *testing.T, g *load.Generator) {
	g.Phases = []load.Phase{{Name: "4 callers", Callers: 4, Duration: 700 * time.Millisecond}}
	ending, got := run(t, t.Context(), g)
	exact(t, ending)
	if ending.Balance.Asked < 20 {
		t.Errorf("%d requests", ending.Balance.Asked)
	}
	type change struct {
		at time.Duration
		by int
	}
	var changes []change
	for _, r := range got.Requests {
		latency, _ := r.Latency()
		changes = append(changes, change{r.Due, 1}, change{r.Due + latency, -1})
	}
	slices.SortFunc(changes, func(x, y change) int {
		if x.at != y.at {
			return int(x.at - y.at)
		}
		return x.by - y.by
	})
	underWay, most := 0, 0
	for _, c := range changes {
		underWay += c.by
		most = max(most, underWay)
	}
	if most != 4 {
		t.Errorf("%d were under way at once, of 4 callers", most)
	}
}

// Latency counts from when a request was due: a gateway that answers one after
// the other is found out, though each of its answers is quick.
func testLatencyCountsFromDue(t *testing.T, g *load.Generator) {
	var turn sync.Mutex
	between(t, g, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		if r.Method == http.MethodPost {
			turn.Lock()
			defer turn.Unlock()
			time.Sleep(20 * time.Millisecond) // 50 a second, and 100 are asked
		}
		gateway.ServeHTTP(w, r)
	})
	g.Even = true
	ending, _ := run(t, t.Context(), g)
	exact(t, ending)
	figures := g.Figures()[0]
	if most := time.Duration(figures.Latency.Max()) * time.Microsecond; most < 700*time.Millisecond || most > 5*time.Second {
		t.Errorf("the last of 100 requests, each of which takes 20 ms, took %s", most)
	}
}

// Ctrl-C: asking stops, what is under way is waited for only so long, and the
// balance is drawn.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	hold := gatewaytest.NewHold()
	defer hold.Open()
	g := stand(t, slices.Concat(signers(30), crowd(5, gatewaytest.Person{Think: hold.Think}))...)
	g.Phases = []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: time.Minute}}
	halt := make(chan struct{})
	g.Halt = halt
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		hold.Prompted(t)
		time.Sleep(300 * time.Millisecond)
		interrupt()
		time.Sleep(100 * time.Millisecond)
		close(halt)
	}()
	begin := time.Now()
	ending, got := run(t, ctx, g)
	exact(t, ending)
	if !ending.CutShort || ending.Why != "interrupted" || time.Since(begin) > 5*time.Second {
		t.Errorf("%+v after %s", ending, time.Since(begin))
	}
	if ending.Balance.Ends[load.NotWaitedFor] == 0 {
		t.Errorf("all were waited for: %v", ending.Balance.Ends)
	}
	if got.Ending.Why != "interrupted" {
		t.Error("the file does not say so")
	}
}

// A gateway that is gone in the middle: each request has an end, the run stops
// and says why, and what was there before is in the file.
func testGatewayStops(t *testing.T, g *load.Generator) {
	g.Phases = []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: time.Minute}}
	g.SetPatience(700*time.Millisecond, 100*time.Millisecond)
	halt := make(chan struct{})
	g.Halt = halt
	defer time.AfterFunc(2*time.Second, func() { close(halt) }).Stop() // the grace need not pass
	begin := time.Now()
	between(t, g, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
		if time.Since(begin) > 600*time.Millisecond {
			panic(http.ErrAbortHandler)
		}
		gateway.ServeHTTP(w, r)
	})
	ending, _ := run(t, t.Context(), g)
	b := ending.Balance
	if !ending.CutShort || !strings.Contains(ending.Why, "nothing but failures") {
		t.Errorf("%v, %s", ending.CutShort, ending.Why)
	}
	if b.Ended() != b.Asked || b.Ends[load.Signed] == 0 || b.Ends[load.Unanswered] == 0 {
		t.Errorf("%d asked, %v", b.Asked, b.Ends)
	}
	if ending.OK() || !strings.Contains(strings.Join(b.Differences(), ";"), "counters cannot be had") {
		t.Errorf("a balance that nobody could check is said to be good: %v", b.Differences())
	}
}

// forgetful is a file of which not all is there when it is read again.
type forgetful struct{ *os.File }

func (f forgetful) ReadAt(b []byte, at int64) (int, error) {
	const kept = 2000
	if at >= kept {
		return 0, io.EOF
	}
	return f.File.ReadAt(b[:min(len(b), int(kept-at))], at)
}

// What was written is read again, and must be what was counted.
func testForgetful(t *testing.T, g *load.Generator) {
	file, err := os.Create(filepath.Join(t.TempDir(), "results.imza"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	g.Out = forgetful{file}
	g.Phases = []load.Phase{{Name: "200/s", From: 200, To: 200, Duration: 300 * time.Millisecond}}
	ending, err := g.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ending.OK() || !strings.Contains(strings.Join(ending.Balance.Differences(), ";"), "written in all") {
		t.Errorf("differences: %v", ending.Balance.Differences())
	}
}

// full is a disk with so many octets left.
type full struct{ left int }

var errFull = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, errFull
	}
	f.left -= len(b)
	return len(b), nil
}

func testDiskFull(t *testing.T, g *load.Generator) {
	g.Phases = []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: time.Minute}}
	g.Out = &full{left: 3000}
	begin := time.Now()
	ending, err := g.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !ending.CutShort || !strings.Contains(ending.Why, errFull.Error()) || time.Since(begin) > 10*time.Second {
		t.Errorf("%+v", ending)
	}
	if b := ending.Balance; b.Asked == 0 || b.Ended() != b.Asked || b.Ends[load.Signed] == 0 {
		t.Errorf("the balance: %d asked, %v", b.Asked, b.Ends)
	}
	g = fresh(g)
	g.Out = &full{}
	if _, err := g.Run(t.Context()); !errors.Is(err, errFull) {
		t.Errorf("with no space at all: %v", err)
	}
}

// The emulator is told the seed, and restarts an operator at its time.
func testEmulator(t *testing.T, g *load.Generator) {
	var mu sync.Mutex
	var calls []string
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, "process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 1000\n# TYPE imza_emulator_waiting gauge\nimza_emulator_waiting{operator=\"nar\"} 4\n")
			return
		}
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, r.Method+" "+r.URL.String()+" "+string(body))
	}))
	defer control.Close()
	g.Emulator = control.URL
	g.Restarts = []load.Restart{{Operator: "nar", After: 200 * time.Millisecond, Down: time.Second}}
	g.Phases = []load.Phase{{Name: "100/s", From: 100, To: 100, Duration: 1200 * time.Millisecond}}
	ending, got := run(t, t.Context(), g)
	exact(t, ending)
	if want := []string{`POST /runs {"seed":1}`, "POST /operators/nar/restart?down=1s "}; !slices.Equal(calls, want) {
		t.Errorf("calls %q", calls)
	}
	last := got.Samples[len(got.Samples)-1]
	if !slices.Contains(last.Processes, load.Process{Name: "emulator", CPU: 1.5, RSS: 1000}) || last.Depths["emulator waiting nar"] != 4 {
		t.Errorf("sample %+v", last)
	}
}

// What must not begin does not, and says why.
func testDoesNotBegin(t *testing.T, g *load.Generator) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, test := range map[string]struct {
		change func(*load.Generator)
		want   string
	}{
		"no gateway":   {func(g *load.Generator) { g.URL = closed.URL }, "the gateway is away"},
		"no address":   {func(g *load.Generator) { g.URL = "localhost" }, "no address"},
		"wrong key":    {func(g *load.Generator) { g.Providers = []load.Provider{{ID: "x", Key: "imza-p-none"}} }, "provider x"},
		"no emulator":  {func(g *load.Generator) { g.Emulator = closed.URL }, "the emulator is away"},
		"no providers": {func(g *load.Generator) { g.Providers = nil }, "0 providers"},
		"nobody":       {func(g *load.Generator) { g.Cards = 0 }, "nobody is enrolled"},
		"no phase":     {func(g *load.Generator) { g.Phases = nil }, "0 phases"},
		"rate":         {func(g *load.Generator) { g.Phases[0].From = 1e9 }, "requests a second"},
		"rate NaN":     {func(g *load.Generator) { g.Phases[0].From = math.NaN() }, "requests a second"},
		"timeout":      {func(g *load.Generator) { g.Timeout = 1500 * time.Millisecond }, "whole seconds"},
		"text":         {func(g *load.Generator) { g.Text = `"` }, "ASCII"},
		"share":        {func(g *load.Generator) { g.Refused = 1 }, "less than 1"},
		"no admin":     {func(g *load.Generator) { g.Refused, g.AdminKey = 0.5, "" }, "administrator's key"},
		"wrong admin":  {func(g *load.Generator) { g.Refused, g.AdminKey = 0.5, "imza-a-x" }, "401 unauthorized"},
		"restart":      {func(g *load.Generator) { g.Restarts = []load.Restart{{Operator: "nar"}} }, "none is named"},
		"restart late": {func(g *load.Generator) {
			g.Emulator, g.Restarts = "x", []load.Restart{{Operator: "nar", After: time.Hour}}
		}, "the run is over"},
		"redis":         {func(g *load.Generator) { g.Redis = "x:y" }, "Redis"},
		"no flips left": {func(g *load.Generator) { g.Flips, g.Cards = 1, 9 }, "too few subscribers of organisations"},
	} {
		again := fresh(g)
		again.Phases, again.Out = slices.Clone(g.Phases), io.Discard
		test.change(again)
		_, err := again.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "imza-") {
			t.Errorf("%s: the error has a key in it: %v", name, err)
		}
	}
}
