package report_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"imza/emulator/load"
	"imza/emulator/report"
)

// played is a run that might have been.
type played struct {
	name   string
	seed   uint64
	phases []load.Phase
	slow   float64       // how many times slower than the first
	think  time.Duration // median, of people
	moody  float64       // share of people who do not sign
	spoil  func(*load.Ending)
	cut    bool // there is no ending
}

func steady(name string) load.Phase {
	return load.Phase{Name: name, From: 120, To: 120, Duration: 10 * time.Second}
}

var started = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)

// octets plays the run and returns its results file.
func (p played) octets(t testing.TB) []byte {
	t.Helper()
	var file bytes.Buffer
	run := load.Run{Started: started, Seed: p.seed, Command: "imza load --phases 120:10s,120-360:10s,360:20s --seed 7", URL: "http://127.0.0.1:8080",
		Phases: p.phases, Providers: []string{"load-1", "load-2", "load-3"}, Cards: 100_000, Scenario: "everyday", Host: load.Host{Cores: 2, Model: "A processor of two cores"}}
	w, err := load.NewWriter(&file, run)
	if err != nil {
		t.Fatal(err)
	}
	requests := p.requests()
	balance := load.Balance{Asked: int64(len(requests))}
	second := time.Duration(0)
	for i := range requests {
		r := &requests[i]
		for ; second <= moment(r); second += time.Second {
			must(t, w.Sample(p.sample(second, requests)))
		}
		balance.Count(r)
		must(t, w.Request(r))
	}
	refused := balance.Ends[load.RefusedByPolicy]
	balance.Lines = []load.Line{
		{What: "records in the file", Here: balance.Asked, There: balance.Asked},
		{What: "accepted", Here: balance.Asked - refused, There: balance.Asked - refused},
		{What: "signed", Here: balance.Ends[load.Signed], There: balance.Ends[load.Signed]},
		{What: "refused:blocked_by_organisation", Here: refused, There: refused},
	}
	ending := load.Ending{Ended: started.Add(second), Balance: balance}
	if p.spoil != nil {
		p.spoil(&ending)
	}
	if !p.cut {
		must(t, w.End(ending))
	}
	return file.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func moment(r *load.Request) time.Duration {
	after, _ := r.Released.After()
	return r.Due + after
}

// requests are in the order of their ends.
func (p played) requests() (all []load.Request) {
	random := rand.New(rand.NewPCG(p.seed, 1))
	weather := rand.New(rand.NewPCG(p.seed, math.Float64bits(p.slow)))
	begin := time.Duration(0)
	for phase, meant := range p.phases {
		for at := 0.0; ; {
			share := at / meant.Duration.Seconds()
			at += random.ExpFloat64() / (meant.From + (meant.To-meant.From)*share)
			if at >= meant.Duration.Seconds() {
				break
			}
			r := load.Request{Index: uint32(len(all)), Subscriber: uint32(random.IntN(100_000)), Phase: uint8(phase), Provider: uint8(random.IntN(3)),
				Certificate: load.Business, Due: (begin + time.Duration(at*1e9)).Truncate(time.Microsecond), Pushed: load.Never, Answered: load.Never, Verified: load.Never}
			p.end(&r, random, weather, meant.From+(meant.To-meant.From)*share)
			all = append(all, r)
		}
		begin += meant.Duration
	}
	slices.SortFunc(all, func(a, b load.Request) int { return int(moment(&a) - moment(&b)) })
	return all
}

// end decides how a request ends, by what is the run's own, and when, by what is
// as it happens to be.
func (p played) end(r *load.Request, random, weather *rand.Rand, rate float64) {
	skewed := func(median, sigma float64) load.Moment {
		busy := 1 + math.Pow(rate/380, 6)*2
		return load.Moment(median * p.slow * busy * math.Exp(sigma*weather.NormFloat64()))
	}
	mood, thinks := random.Float64(), math.Exp(0.4*random.NormFloat64())
	r.Sent = skewed(60, 0.5)
	r.Accepted = r.Sent + skewed(1900, 0.45)
	r.Status = 200
	if mood < 0.02 {
		r.Expect, r.End, r.Released, r.Status = load.ExpectRefuse, load.RefusedByPolicy, r.Accepted, 403
		return
	}
	r.Pushed = r.Accepted + skewed(2600, 0.5)
	r.Answered = r.Pushed + skewed(3800, 0.4) + load.Moment(float64(p.think.Microseconds())*thinks)
	r.Verified = r.Answered + skewed(700, 0.4)
	r.Released = r.Verified + skewed(1500, 0.6)
	r.End = load.Signed
	if mood > 1-p.moody {
		r.End = []load.End{load.CancelledByUser, load.CancelledByUser, load.CancelledByUser, load.PINBlocked, load.Absent}[random.IntN(5)]
		r.Verified = load.Never
	}
}

// sample is how it was after so long.
func (p played) sample(at time.Duration, requests []load.Request) load.Sample {
	ended, due := 0, 0
	for i := range requests {
		if moment(&requests[i]) <= at {
			ended++
		}
		if requests[i].Due <= at {
			due++
		}
	}
	wave := 1 + 0.1*math.Sin(float64(at)/3e9)
	cpu := func(us float64) float64 { return float64(ended)*us*p.slow/1e6 + 0.02*at.Seconds() }
	under := float64(due - ended)
	return load.Sample{At: at.Milliseconds(), Processes: []load.Process{
		{Name: "gateway", CPU: cpu(410), RSS: (88 + 0.004*float64(due)) * 1e6 * wave},
		{Name: "emulator", CPU: cpu(260), RSS: 231e6 * wave},
		{Name: "load", CPU: cpu(120), RSS: 41e6},
		{Name: "redis", CPU: cpu(55), RSS: (14 + 0.002*float64(due)) * 1e6},
	}, Depths: map[string]float64{"in flight": under, "smpp waiting azercell": math.Round(under / 7), "smpp waiting bakcell": math.Round(under / 9), "journal": math.Round(3 * wave)}}
}

// of plays the run and makes its figures.
func (p played) of(t testing.TB) *report.Run {
	t.Helper()
	results, err := load.Read(bytes.NewReader(p.octets(t)))
	if err != nil {
		t.Fatal(err)
	}
	return report.Of(p.name, results)
}

// stairs are the phases of a run that goes up.
func stairs() []load.Phase {
	warm := steady("warm-up")
	warm.Duration, warm.Aside = 5*time.Second, true
	return []load.Phase{warm, steady("120/s"), {Name: "120-360/s", From: 120, To: 360, Duration: 10 * time.Second}, {Name: "360/s", From: 360, To: 360, Duration: 20 * time.Second}}
}

var (
	before = played{name: "before.imza", seed: 7, phases: stairs(), slow: 1.25, moody: 0.03}
	after  = played{name: "after.imza", seed: 7, phases: stairs(), slow: 1, moody: 0.03}
)
