package load

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestBalance(t *testing.T) {
	var b Balance
	for _, e := range []End{Signed, Signed, Expired, RefusedByPolicy} {
		b.Count(&Request{End: e})
	}
	b.Asked = 4
	b.Lines = []Line{{What: "ended", Here: 3, There: 3}, {What: "asked", Here: 3, There: 4, More: 1}, {What: "refused", Here: 2, There: 1, Less: 1}}
	if !b.OK() || b.Sorted()[0] != Signed {
		t.Errorf("%v of %+v", b.Differences(), b)
	}
	for want, change := range map[string]func(*Balance){
		"1 are missing":       func(b *Balance) { b.Asked++ },
		"-1 are missing":      func(b *Balance) { b.Asked-- },
		"ended: 3 here":       func(b *Balance) { b.Lines[0].There++ },
		"asked: 3 here, 5":    func(b *Balance) { b.Lines[1].There++ },
		"refused: 2 here, 0":  func(b *Balance) { b.Lines[2].There-- },
		"nobody could see it": func(b *Balance) { b.Unseen = "nobody could see it" },
	} {
		bad := b
		bad.Lines = append([]Line(nil), b.Lines...)
		change(&bad)
		if bad.OK() || !strings.Contains(strings.Join(bad.Differences(), ";"), want) {
			t.Errorf("%s: %v", want, bad.Differences())
		}
	}
	b.Count(&Request{End: Signed, Fault: SignedBlocked})
	b.Asked++
	if b.OK() || len(b.Differences()) > 0 {
		t.Error("a fault is none")
	}
}

func TestExposition(t *testing.T) {
	const text = `# HELP imza_smpp_waiting Messages.
# TYPE imza_smpp_waiting gauge
imza_smpp_waiting{operator="nar",bind="1"} 3
imza_smpp_waiting{operator="nar",bind="2"} 4 1700000000000
# TYPE imza_smpp_bind_up gauge
imza_smpp_bind_up{operator="nar"} 1
# TYPE imza_requests_total counter
imza_requests_total{result="accepted"} 1.5e3
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.25
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1e+06
broken{ 1
imza_nan NaN

imza_alone`
	var p Process
	depths := make(map[string]float64)
	p.take([]byte(text), depths)
	if p.CPU != 12.25 || p.RSS != 1e6 || !maps.Equal(depths, map[string]float64{"smpp waiting nar": 7}) {
		t.Errorf("%+v, %v", p, depths)
	}
	eachMetric([]byte(text), func(m metric) {
		if m.name == "imza_requests_total" && (m.label("result") != "accepted" || m.value != 1500 || m.label("other") != "") {
			t.Errorf("%+v", m)
		}
	})
}

// The request of a plan follows from the seed and its number alone, and who is
// blocked for a provider is asked by it only when that must be refused.
func TestPlan(t *testing.T) {
	g := Generator{Cards: 1000, Seed: 3, Refused: 0.1, Flips: 2, Phases: []Phase{{Name: "x", From: 1, To: 1, Duration: time.Second}}}
	g.Providers = []Provider{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	g.Subscriber = func(i int) Subscriber {
		s := Subscriber{Certificates: []Wanted{{Type: Citizen}}}
		if i%2 == 0 {
			s.Certificates = append(s.Certificates, Wanted{Business, "1400000011"})
		}
		return s
	}
	var err error
	if g.plan, err = g.makePlan(); err != nil {
		t.Fatal(err)
	}
	flipped := make(map[uint32]bool)
	for _, p := range g.plan.flipped {
		flipped[uint32(p.subscriber)] = true
	}
	counts := make(map[Expect]int)
	asked := make(map[uint32]bool)
	for range 20_000 {
		a := g.next(0, 0)
		counts[a.Expect]++
		if forbidden, is := g.plan.refused[int(a.Subscriber)]; is && (int(a.Provider) == forbidden) != (a.Expect == ExpectRefuse) || !is && a.Expect == ExpectRefuse {
			t.Fatalf("%+v of a subscriber whom %d may not ask", a.Request, forbidden)
		}
		if a.Expect == ExpectRefuse && a.wanted.VOEN == "" {
			t.Fatal("a citizen's certificate is said to be blocked")
		}
		if flipped[a.Subscriber] {
			t.Fatal("somebody whose blocks are flipped is asked, too")
		}
		asked[a.Subscriber] = true
	}
	if share := float64(counts[ExpectRefuse]) / 20_000; share < 0.09 || share > 0.11 {
		t.Errorf("%.3f must be refused, of 0.1", share)
	}
	if len(asked) != g.plan.turning || len(flipped) != 20 || len(g.plan.blocked) != 100 {
		t.Errorf("%d were asked, %d are blocked, %d flipped", len(asked), len(g.plan.blocked), len(flipped))
	}
}

// What is allowed for is what nobody here can know, and no more.
func TestLines(t *testing.T) {
	var c account
	c.begin([]Phase{{Name: "x"}})
	for _, r := range []Request{
		{End: Signed, Accepted: 5},
		{End: Lost, Accepted: 5},           // how it ended is not known
		{End: Unanswered, Accepted: Never}, // not even whether it began
		{End: NotSent, Sent: Never, Accepted: Never},
		{End: RefusedBusy, Accepted: Never},
		{End: refused + "internal", Accepted: Never}, // which may not have been counted
	} {
		c.close(&r)
	}
	before := counters{requests: map[string]int64{"accepted": 10}, ends: map[string]int64{"signed": 9}} // one is under way
	after := counters{requests: map[string]int64{"accepted": 12, "subscriber_busy": 1}, ends: map[string]int64{"signed": 10, "expired": 1}}
	want := map[string]Line{
		"requests: accepted":        {Here: 2, There: 2, More: 1},
		"requests: subscriber_busy": {Here: 1, There: 1, More: 1},
		"requests: internal":        {Here: 1, Less: 1, More: 1},
		"requests in all":           {Here: 4, There: 3, Less: 1, More: 1},
		"ended: signed":             {Here: 1, There: 1, More: 3},
		"ended: expired":            {There: 1, More: 3},
		"ended in all":              {Here: 1, There: 2, More: 3},
	}
	got := make(map[string]Line)
	for _, l := range c.lines(before, after) {
		what := l.What
		l.What = ""
		got[what] = l
	}
	if !maps.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// A gateway is lost when failures go on to come, not when one came and the next
// poll lasts long.
func TestHealth(t *testing.T) {
	h := health{patience: 20 * time.Millisecond}
	broken := errors.New("answered 502")
	h.note(broken)
	time.Sleep(40 * time.Millisecond)
	if err := h.lost(); err != nil {
		t.Errorf("lost after one failure: %v", err)
	}
	h.note(broken)
	if h.lost() == nil {
		t.Error("not lost, though nothing but failures came for 40 ms")
	}
	h.note(nil)
	if err := h.lost(); err != nil {
		t.Errorf("lost though it answers: %v", err)
	}
}

// Where few are of organisations, those are looked for among half of the
// subscribers: the others are still asked.
func TestPairsLeaveTheOthers(t *testing.T) {
	g := &Generator{Cards: 1000, Providers: []Provider{{ID: "a"}}, Flips: 100, Phases: []Phase{{Name: "x", From: 10, To: 10, Duration: time.Second}},
		Subscriber: func(i int) Subscriber {
			c := Wanted{Type: Citizen}
			if i%100 == 0 {
				c = Wanted{Type: Business, VOEN: "1500000001"}
			}
			return Subscriber{Certificates: []Wanted{c}}
		}}
	p, err := g.makePlan()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.flipped) == 0 || p.turning < 500 {
		t.Errorf("%d are flipped, and %d asked in turn", len(p.flipped), p.turning)
	}
}
