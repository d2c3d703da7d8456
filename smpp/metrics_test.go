package smpp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// gathered is all metrics of a registry, by name and labels.
func gathered(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "imza_smpp_")
			var labels []string
			for _, l := range m.GetLabel() {
				if !slices.Contains([]string{"operator", "bind"}, l.GetName()) {
					t.Errorf("%s has the label %s", name, l.GetName())
				}
				labels = append(labels, l.GetValue())
			}
			slices.Sort(labels) // bind before operator, as they are here
			all[name+" "+strings.Join(labels, " ")] = value(m)
		}
	}
	return all
}

func value(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetHistogram() != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetGauge().GetValue()
}

// lockedBuffer takes logs of many.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Each counter moves when its cause happens and not else, and what is logged
// meanwhile says of which operator, bind and request it is, and nothing of what
// messages say, whom they go to, or passwords.
func TestMetricsAndLogs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const secret, number, password = "SECRETTEXT", "994551112233", "pa55word"
		message := func() *ShortMessage {
			m := sms(secret)
			m.Source, m.Dest = Address{Addr: "HIDDEN"}, International(number)
			return m
		}
		var logs lockedBuffer
		far := &farSMSC{t: t}
		var say sync.Map // what the next submit_sm is answered with
		far.submit = func(int, string) Status {
			if s, ok := say.LoadAndDelete("next"); ok {
				return s.(Status)
			}
			return StatusOK
		}
		storing := make(chan struct{})
		p := &Pool{
			Name: "azercell", Addr: "smsc:2775", Rate: 1000, Dial: far.dial,
			Bind:    BindRequest{SystemID: "imza", Password: password},
			Options: Options{Inbound: 1, Timeout: 10 * time.Second, Enquire: time.Hour},
			Log:     slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Handler: func(_ context.Context, _ *Pool, m *ShortMessage) Status { <-storing; return StatusOK },
		}
		other := &Pool{Name: "bakcell", Dial: (&farSMSC{t: t, unreachable: func(int) bool { return true }}).dial}
		registry := prometheus.NewRegistry()
		registry.MustRegister(p, other) // before they run, and both in one
		before := gathered(t, registry)
		if before["bind_up 1 azercell"] != 0 || before["rate_limit azercell"] != 1000 || before["rate_limit bakcell"] != math.Inf(1) {
			t.Errorf("%v", before)
		}
		// changed compares with what was last.
		changed := func(what string, want map[string]float64) {
			t.Helper()
			synctest.Wait()
			now := gathered(t, registry)
			if len(now) != len(before) {
				t.Errorf("%s: there are %d metrics, were %d", what, len(now), len(before))
			}
			for name, v := range now {
				if strings.HasPrefix(name, "rate_limit") {
					continue
				}
				if d := v - before[name]; d != want[name] {
					t.Errorf("%s: %s has moved by %g, want %g", what, name, d, want[name])
				}
			}
			before = now
		}
		stop := running(t, p)
		running(t, other)
		c := far.conn(1)
		changed("bound", map[string]float64{"bind_up 1 azercell": 1, "binds_total 1 azercell": 1})

		submit := func(answers ...Status) error {
			for _, s := range answers {
				say.Store("next", s)
			}
			_, err := p.Submit(t.Context(), nil, message())
			return err
		}
		if err := submit(); err != nil {
			t.Error(err)
		}
		changed("accepted", map[string]float64{"submits_total 1 azercell": 1, "response_seconds 1 azercell": 1})
		if err := submit(StatusInvalidDest); !errors.Is(err, StatusInvalidDest) {
			t.Error(err)
		}
		changed("refused", map[string]float64{"refused_total 1 azercell": 1, "response_seconds 1 azercell": 1})
		if err := submit(StatusThrottled); err != nil {
			t.Error(err)
		}
		changed("throttled", map[string]float64{"throttles_total 1 azercell": 1, "submits_total 1 azercell": 1, "retries_total azercell": 1, "response_seconds 1 azercell": 2})
		if limit := before["rate_limit azercell"]; limit >= 1000 {
			t.Errorf("the rate is %g", limit)
		}

		// A message that is not answered in time, and is answered after all.
		say.Store("next", farSilent)
		done := make(chan error)
		go func() { done <- submit() }()
		time.Sleep(time.Second)
		changed("under way", map[string]float64{"waiting azercell": 1, "window_in_use 1 azercell": 1})
		if err := <-done; err != nil {
			t.Error(err)
		}
		changed("overdue", map[string]float64{"waiting azercell": -1, "window_in_use 1 azercell": -1, "overdue_total 1 azercell": 1,
			"retries_total azercell": 1, "submits_total 1 azercell": 1, "response_seconds 1 azercell": 1})
		c.say(PDU{Command: SubmitSMResp, Sequence: 5, Body: []byte("late\x00")})
		changed("late", map[string]float64{"late_total 1 azercell": 1})
		say.Store("next", farSilent)
		go func() { done <- submit() }()
		time.Sleep(5 * time.Second) // the pace is slow by now
		h := far.heard(1)
		c.say(PDU{Command: GenericNack, Status: StatusSystemError, Sequence: h[len(h)-1].sequence})
		if err := <-done; !errors.Is(err, StatusSystemError) {
			t.Error(err)
		}
		changed("nacked", map[string]float64{"nacks_total 1 azercell": 1, "refused_total 1 azercell": 1, "response_seconds 1 azercell": 1})

		// What comes.
		c.say(PDU{Command: DeliverSM, Sequence: 70, Body: encoded(t, message())})
		changed("a message", map[string]float64{"messages_total 1 azercell": 1})
		c.say(PDU{Command: DeliverSM, Sequence: 71, Body: encoded(t, message())})
		changed("one too many", map[string]float64{"turned_away_total 1 azercell": 1})
		close(storing)
		whole := encoded(t, message())
		c.say(PDU{Command: DeliverSM, Sequence: 72, Body: whole[:len(whole)-1]})
		changed("malformed", map[string]float64{"malformed_total 1 azercell": 1})

		c.conn.Close()
		far.conn(2)
		changed("bound anew", map[string]float64{"binds_total 1 azercell": 1})
		far.mu.Lock()
		far.bind = func(int) Status { return StatusInvalidPassword }
		far.mu.Unlock()
		far.conn(2).conn.Close()
		time.Sleep(time.Minute)
		changed("gone", map[string]float64{"bind_up 1 azercell": -1})
		stop()

		text := logs.String()
		for _, hidden := range []string{secret, number, password, "HIDDEN"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s is in the logs", hidden)
			}
		}
		about := map[string]bool{}
		for line := range strings.Lines(text) {
			if !strings.Contains(line, "operator=azercell") || !strings.Contains(line, "bind=1") {
				t.Errorf("of whom is this: %s", line)
			}
			for _, request := range []string{"no response in time", "a response to nothing", "generic_nack", "does not parse"} {
				if strings.Contains(line, request) {
					about[request] = true
					if !strings.Contains(line, "sequence=") || !strings.Contains(line, "command=") {
						t.Errorf("of which request is this: %s", line)
					}
				}
			}
		}
		if len(about) != 4 {
			t.Errorf("only %v were logged:\n%s", about, text)
		}
	})
}

// Each bind of a pool has its own metrics.
func TestMetricsOfEachBind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		far := &farSMSC{t: t}
		p := &Pool{Name: "operator", Binds: 2, Pair: true, Dial: far.dial}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(p)
		running(t, p)
		far.conn(4)
		synctest.Wait()
		all := gathered(t, registry)
		for _, bind := range []string{"1", "2", "3", "4"} {
			for _, name := range []string{"bind_up", "binds_total"} {
				if all[name+" "+bind+" operator"] != 1 {
					t.Errorf("%s of bind %s is %g", name, bind, all[name+" "+bind+" operator"])
				}
			}
			if _, ok := all["response_seconds "+bind+" operator"]; !ok {
				t.Errorf("bind %s has no histogram", bind)
			}
		}
	})
}
