package report_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"imza/emulator/load"
	"imza/emulator/report"
)

// file is a results file of requests that a test makes itself.
type file struct {
	run      load.Run
	requests []load.Request
	samples  []load.Sample
	ending   *load.Ending
}

func newFile() *file {
	return &file{run: load.Run{Started: started, Seed: 7, Providers: []string{"load-1"}, Cards: 100,
		Phases: []load.Phase{{Name: "steady", From: 100, To: 100, Duration: 2 * time.Second}}}}
}

// ask adds a request that ended so, after so long.
func (f *file) ask(due time.Duration, end load.End, after time.Duration) *load.Request {
	r := load.Request{Index: uint32(len(f.requests)), Subscriber: uint32(len(f.requests)), End: end, Due: due,
		Sent: 100, Accepted: 300, Pushed: load.Never, Answered: load.Never, Verified: load.Never, Released: load.Moment(after.Microseconds())}
	f.requests = append(f.requests, r)
	return &f.requests[len(f.requests)-1]
}

// balance ends the file with the balance that is right.
func (f *file) balance() *load.Ending {
	f.ending = &load.Ending{Ended: started.Add(3 * time.Second), Balance: load.Balance{Asked: int64(len(f.requests))}}
	for i := range f.requests {
		f.ending.Balance.Count(&f.requests[i])
	}
	return f.ending
}

func (f *file) of(t testing.TB, name string) *report.Run {
	t.Helper()
	var out bytes.Buffer
	w, err := load.NewWriter(&out, f.run)
	must(t, err)
	for i := range f.requests {
		must(t, w.Request(&f.requests[i]))
	}
	for _, s := range f.samples {
		must(t, w.Sample(s))
	}
	if f.ending != nil {
		must(t, w.End(*f.ending))
	} else {
		must(t, w.Sample(load.Sample{})) // after which what was written is in the file
	}
	results, err := load.Read(&out)
	must(t, err)
	return report.Of(name, results)
}

// Figures of two hundred requests that can be counted on fingers.
func TestFigures(t *testing.T) {
	f := newFile()
	for i := range 200 { // each 10 ms, of 1, 2, … 200 ms, in an order that mixes them
		f.ask(time.Duration(i)*10*time.Millisecond, load.Signed, time.Duration(i*77%200+1)*time.Millisecond)
	}
	f.ask(1500*time.Millisecond, load.CancelledByUser, 5*time.Second)
	f.ask(1600*time.Millisecond, load.RefusedByPolicy, time.Millisecond)
	f.ask(1700*time.Millisecond, load.Unanswered, 0).Released = load.Never
	f.balance()
	r := f.of(t, "a.imza")
	if !r.OK() {
		t.Error("the run is not OK")
	}
	p := r.Phases[0]
	if p.Asked != 203 || p.Signed != 200 || p.Other() != 3 || p.Length != 2*time.Second || p.AskedRate() != 101.5 {
		t.Errorf("asked %d, signed %d, other %d in %v, %v a second", p.Asked, p.Signed, p.Other(), p.Length, p.AskedRate())
	}
	if p.Rate < 95 || p.Rate > 101 {
		t.Errorf("%.1f signatures a second, they are 100", p.Rate)
	}
	for percent, want := range map[float64]time.Duration{50: 100 * time.Millisecond, 90: 180 * time.Millisecond, 99: 198 * time.Millisecond, 100: 200 * time.Millisecond} {
		if got := p.Percentile(percent); got < want || got > want+want/500 {
			t.Errorf("p%v is %v, want %v", percent, got, want)
		}
	}
	if s := r.Series; s.Every != time.Second || s.Parts[0].Asked != 100 || s.Parts[1].Asked != 103 || s.Parts[1].Other != 2 || s.Parts[6].Other != 1 || s.Parts[0].Max > 200*time.Millisecond || s.Parts[2].P50 != 0 {
		t.Errorf("by second: %+v", s)
	}
}

// Latency counts from due: a load tester that was late does not hide it.
func TestLatencyFromDue(t *testing.T) {
	f := newFile()
	r := f.ask(0, load.Signed, 2*time.Second)
	r.Sent, r.Accepted, r.Pushed, r.Answered, r.Verified = 1_900_000, 1_910_000, 1_905_000, 1_990_000, 1_995_000
	run := f.of(t, "a.imza")
	if p := run.Whole.Percentile(50); p < 2*time.Second {
		t.Errorf("the latency is %v, want 2s", p)
	}
	var sum time.Duration
	for _, s := range run.Steps {
		sum += s.Mean
	}
	if sum != 2*time.Second || run.Steps[0].Mean != 1900*time.Millisecond || run.Steps[2].Mean != -5*time.Millisecond {
		t.Errorf("the steps are %+v", run.Steps)
	}
}

// What is aside is in the balance and in no percentile.
func TestAside(t *testing.T) {
	f := newFile()
	f.run.Phases = append(f.run.Phases, load.Phase{Name: "warm-up", Aside: true, Duration: time.Second})
	for i := range 10 {
		f.ask(time.Duration(i)*100*time.Millisecond, load.Signed, 10*time.Second).Phase = 1
		f.ask(time.Second+time.Duration(i)*100*time.Millisecond, load.Signed, 10*time.Millisecond)
	}
	r := f.of(t, "a.imza")
	if p := r.Whole.Percentile(100); p > 11*time.Millisecond || r.Whole.Asked != 10 || r.Balance.Asked != 20 {
		t.Errorf("the slowest is %v of %d; %d were asked", p, r.Whole.Asked, r.Balance.Asked)
	}
}

// People who think, and a gateway that falls behind: neither changes how many are
// signed a second.
func TestSustained(t *testing.T) {
	thinking, behind := newFile(), newFile()
	for i := range 200 {
		due := time.Duration(i) * 10 * time.Millisecond
		thinking.ask(due, load.Signed, 3*time.Second)
		behind.ask(due, load.Signed, 10*time.Millisecond+due) // half as many as are asked
	}
	if rate := thinking.of(t, "a").Whole.Rate; rate < 98 || rate > 102 {
		t.Errorf("%.1f a second, want 100", rate)
	}
	if rate := behind.of(t, "b").Whole.Rate; rate < 48 || rate > 52 {
		t.Errorf("%.1f a second, want 50", rate)
	}
}

func TestProcesses(t *testing.T) {
	f := newFile()
	for i := range 100 {
		f.ask(time.Duration(i)*20*time.Millisecond, load.Signed, time.Millisecond)
	}
	for i, cpu := range []float64{5, 5.5, 0.1, 0.2} { // started anew after the second
		f.samples = append(f.samples, load.Sample{At: int64(i) * 1000, Processes: []load.Process{{Name: "gateway", CPU: cpu, RSS: float64(i+1) * 1e6}}})
	}
	p := f.of(t, "a").Processes[0]
	if p.CPU.Round(time.Millisecond) != 600*time.Millisecond || p.PerSignature.Round(time.Microsecond) != 6*time.Millisecond || p.PeakMemory != 4e6 || math.Abs(p.MeanCores-0.2) > 1e-9 {
		t.Errorf("%+v", p)
	}
}

func TestCompare(t *testing.T) {
	a, b := newFile(), newFile()
	for i := range 50 {
		a.ask(time.Duration(i)*time.Millisecond, load.Signed, time.Millisecond)
		b.ask(time.Duration(i)*time.Millisecond, load.Signed, 2*time.Millisecond)
	}
	compare := func() report.Comparison {
		x, y := slices.Clone(b.requests), b.requests
		slices.Reverse(x) // the order of the ends is another
		b.requests = x
		defer func() { b.requests = y }()
		return report.Compare(a.of(t, "a"), b.of(t, "b"))
	}
	if c := compare(); !c.Same() || c.Compared != 50 {
		t.Errorf("%+v", c)
	}
	b.requests[3].End = load.Expired
	b.requests[9].End = load.Expired
	if c := compare(); c.Same() || c.Differ != 2 || len(c.Kinds) != 1 || c.Kinds[0].Count != 2 || c.First[0].Index != 3 || c.First[0].B != load.Expired {
		t.Errorf("%+v", c)
	}
	b.requests[4].Subscriber = 99
	if c := compare(); c.Others != 1 || c.Differ != 2 {
		t.Errorf("%+v", c)
	}
	b.ask(time.Second, load.Signed, time.Millisecond)
	if c := compare(); c.Alone != 1 || c.Same() {
		t.Errorf("%+v", c)
	}
	b.run.Seed = 8
	if c := compare(); c.SameSeed || c.Same() || c.Compared != 0 {
		t.Errorf("%+v", c)
	}
}

func TestVerdicts(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*file)
		says  []string
		ok    bool
	}{
		"whole":      {func(f *file) {}, []string{"ok  Every request is accounted for: 3 asked = 2 signed + 1 with another end."}, true},
		"no ending":  {func(f *file) { f.ending = nil }, []string{"!!  The file has no ending: at octet ", "the file ends"}, false},
		"missing":    {func(f *file) { f.ending.Balance.Asked = 4 }, []string{"!!  The balance does not agree.", "asked 4, ended 3"}, false},
		"unseen":     {func(f *file) { f.ending.Balance.Unseen = "the gateway was started anew" }, []string{"!!  The balance does not agree.", "the gateway was started anew"}, false},
		"other ends": {func(f *file) { f.ending.Balance.Ends[load.Signed] = 3 }, []string{"signed: 3 in the balance, 2 in the file"}, false},
		"the gateway's": {func(f *file) { f.ending.Balance.Lines = []load.Line{{What: "signed", Here: 2, There: 1}} },
			[]string{"!!  The balance does not agree.", "signed: 2 here, 1 there"}, false},
		"fault": {func(f *file) { f.requests[0].Fault = load.SignedBlocked }, []string{"!!  There were faults", "1 × signed although blocked"}, false},
		"cut short": {func(f *file) { f.ending.CutShort, f.ending.Why = true, "interrupted" },
			[]string{"!!  The run was cut short: interrupted."}, false},
		"note": {func(f *file) { f.ending.Notes = []string{"the rate could not be kept: 90/s of 100/s"} }, []string{"        The rate could not be kept: 90/s of 100/s."}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFile()
			f.ask(0, load.Signed, time.Millisecond)
			f.ask(time.Millisecond, load.Signed, time.Millisecond)
			f.ask(2*time.Millisecond, load.Absent, time.Millisecond)
			f.balance()
			test.spoil(f)
			r := f.of(t, "a.imza")
			if r.OK() != test.ok {
				t.Errorf("OK is %v", r.OK())
			}
			text := text(t, r)
			for _, says := range test.says {
				if !strings.Contains(text, says) {
					t.Errorf("the report does not say %q:\n%s", says, text)
				}
			}
			must(t, report.Page(new(bytes.Buffer), r))
		})
	}
}

// A run without one signature, one of nothing at all, and one of a request that
// never ended, have a report as well.
func TestEmptyRuns(t *testing.T) {
	empty, unsigned := newFile(), newFile()
	empty.balance()
	unsigned.ask(0, load.Unanswered, 0).Released = load.Never
	unsigned.balance()
	for _, runs := range [][]*report.Run{{empty.of(t, "empty")}, {unsigned.of(t, "unsigned")}, {empty.of(t, "empty"), unsigned.of(t, "unsigned")}, {unsigned.of(t, "unsigned"), after.of(t)}} {
		if text := text(t, runs...); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("figures that are none:\n%s", text)
		}
		var page bytes.Buffer
		must(t, report.Page(&page, runs...))
		if start := bytes.Index(page.Bytes(), []byte(`id="charts"`)); bytes.Contains(page.Bytes()[start:start+200], []byte("ZgotmplZ")) {
			t.Error("the charts are not on the page")
		}
	}
}

func text(t testing.TB, runs ...*report.Run) string {
	t.Helper()
	var out bytes.Buffer
	must(t, report.Text(&out, runs...))
	return out.String()
}

// The table of a whole run, and of two.
func TestText(t *testing.T) {
	one, two := text(t, after.of(t)), text(t, before.of(t), after.of(t))
	t.Log("\n" + one)
	t.Log("\n" + two)
	for _, says := range []string{"signatures a second", "warm-up (aside)", "360/s", "answered → verified", "refused: blocked by organisation", "records in the file", "gateway", "p99.9"} {
		if !strings.Contains(one, says) || !strings.Contains(two, says) {
			t.Errorf("a report does not say %q", says)
		}
	}
	for _, says := range []string{"Outcomes: the same, request by request", "B / A"} {
		if !strings.Contains(two, says) {
			t.Errorf("the report of two does not say %q", says)
		}
	}
	hostile := after
	hostile.name = "a\x1b[2Jb\nc\u202e.imza"
	if text := text(t, hostile.of(t)); strings.ContainsAny(text, "\x1b\u202e") {
		t.Error("a name moves about on the terminal")
	}
}

// Page and table of a long run are made in little time.
func BenchmarkReport(b *testing.B) {
	f := newFile()
	for i := range 500_000 {
		f.ask(time.Duration(i)*500*time.Microsecond, load.Signed, time.Duration(5+i%50)*time.Millisecond)
	}
	f.balance()
	r := f.of(b, "a")
	for b.Loop() {
		must(b, report.Page(new(bytes.Buffer), report.Of("a", r.Results)))
	}
}
