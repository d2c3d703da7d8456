package load

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// counters are the gateway's own account.
type counters struct {
	requests map[string]int64 // by "accepted" or the refusal's code
	ends     map[string]int64 // by final state
	started  float64          // when its process was; 0: it does not say
}

// scrape reads them.
func (g *Generator) scrape() (c counters, err error) {
	c.requests, c.ends = make(map[string]int64), make(map[string]int64)
	err = g.control.control(message{method: http.MethodGet, path: "/metrics", patience: 5 * time.Second}, func(body []byte) error {
		eachMetric(body, func(m metric) {
			switch m.name {
			case "imza_requests_total":
				c.requests[m.label("result")] += int64(m.value)
			case "imza_transactions_ended_total":
				c.ends[m.label("state")] += int64(m.value)
			case "process_start_time_seconds":
				c.started = m.value
			}
		})
		return nil
	})
	return c, err
}

func sum(counts map[string]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

// uncounted are refusals that the gateway may say before it counts: nobody was
// admitted, nor refused for what was asked.
var uncounted = map[End]bool{
	refused + "unauthorized": true, refused + "provider_suspended": true, refused + "invalid_request": true, refused + "document_too_large": true,
	refused + "unavailable": true, refused + "internal": true, refused + "not_found": true,
}

// countingTakes is how long the gateway may take to count what it has told.
const countingTakes = 3 * time.Second

// compare draws the lines between this account and the gateway's. What cannot be
// compared is a difference: a balance nobody has seen is none.
func (g *Generator) compare(e *Ending, before counters) {
	if g.Shared {
		e.Notes = append(e.Notes, "the gateway's own counters were not compared, since others ask it too")
		return
	}
	var lines []Line
	for begin := time.Now(); ; time.Sleep(again / 2) {
		after, err := g.scrape()
		switch {
		case err != nil:
			e.Balance.Unseen = fmt.Sprintf("the gateway's own counters cannot be had: %v", err)
		case after.started != before.started:
			e.Balance.Unseen = "the gateway was started anew during the run, so its own counters do not tell of all of it (--shared leaves them out)"
			return
		default:
			e.Balance.Unseen, lines = "", g.account.lines(before, after)
		}
		settled := e.Balance.Unseen == "" && !slices.ContainsFunc(lines, func(l Line) bool { return !l.OK() })
		if settled || time.Since(begin) > cmp.Or(g.countingTakes, countingTakes) {
			e.Balance.Lines = append(e.Balance.Lines, lines...)
			return
		}
	}
}

// lines compares counter by counter.
func (c *account) lines(before, after counters) (all []Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := map[string]int64{"accepted": c.accepted}
	less := make(map[string]int64)
	ends := make(map[string]int64)
	for end, n := range c.balance.Ends {
		if code, ok := end.code(); ok {
			here[code] = n
			if uncounted[end] {
				less[code] = n
			}
		} else if end.Known() {
			ends[string(end)] = n
		}
	}
	requests := difference(after.requests, before.requests)
	for _, code := range names(here, requests) {
		all = append(all, Line{What: "requests: " + code, Here: here[code], There: requests[code], Less: less[code], More: c.uncertain})
	}
	all = append(all, Line{What: "requests in all", Here: sum(here), There: sum(requests), Less: sum(less), More: c.uncertain})
	// What was under way before this run began may end within it. And a request that
	// was refused because Redis did not answer in time may have got into it all the
	// same; then the gateway ends it, and nobody is told.
	more := c.uncertain + c.endless + max(0, before.requests["accepted"]-sum(before.ends)) + here["policy_unavailable"] + here["unavailable"]
	ended := difference(after.ends, before.ends)
	for _, state := range names(ends, ended) {
		all = append(all, Line{What: "ended: " + state, Here: ends[state], There: ended[state], More: more})
	}
	return append(all, Line{What: "ended in all", Here: sum(ends), There: sum(ended), More: more})
}

func difference(after, before map[string]int64) map[string]int64 {
	all := make(map[string]int64)
	for name, n := range after {
		if n != before[name] {
			all[name] = n - before[name]
		}
	}
	return all
}

// names are those of either, in order.
func names(x, y map[string]int64) []string {
	all := maps.Clone(x)
	maps.Copy(all, y)
	return slices.Sorted(maps.Keys(all))
}
