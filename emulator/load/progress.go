package load

import (
	"fmt"
	"time"
)

// quietFor is how often it is told how it goes where a line cannot be written
// over.
const quietFor = 5 * time.Second

// clearLine brings a terminal's cursor back to the margin and clears the line.
const clearLine = "\r\x1b[K"

// told is what was told last, and what happened since.
type told struct {
	at    time.Duration
	asked int64
	since second
}

// progress tells how it goes; at last, too, when the time for it has not come.
func (g *Generator) progress(last bool) {
	now, asked := time.Since(g.started), g.account.asked.Load()
	more, ended, faults := g.account.take()
	g.told.since.add(more)
	passed := now - g.told.at
	due := quietFor - time.Second/2
	if last || g.Live {
		due = time.Second / 2 // a rate over less than that tells nothing
	}
	if g.Progress == nil || passed < due {
		return
	}
	before, after := "", "\n"
	if g.Live {
		before, after = clearLine, ""
	}
	s := &g.told.since
	fmt.Fprintf(g.Progress, "%s%s  %s/s asked  %s/s signed  %s under way  p50 %s  p99 %s  %s refused  %s at fault%s", before, clock(now),
		rate(asked-g.told.asked, passed), rate(s.signed, passed), Thousands(max(0, asked-ended)),
		s.percentile(0.5), s.percentile(0.99), Thousands(s.refused), Thousands(faults), after)
	g.told = told{at: now, asked: asked}
}

func (s *second) add(more second) {
	s.signed += more.signed
	s.refused += more.refused
	s.latencies = append(s.latencies, more.latencies...)
}

// say tells something on a line of its own.
func (g *Generator) say(text string) {
	if g.Progress == nil {
		return
	}
	if g.Live {
		fmt.Fprint(g.Progress, clearLine)
	}
	fmt.Fprintln(g.Progress, text)
}

func rate(n int64, in time.Duration) string {
	return Thousands(int64(float64(n)/in.Seconds() + 0.5))
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// Thousands writes a number with commas between its thousands.
func Thousands[N ~int | ~int64](n N) string {
	text := fmt.Sprintf("%d", n)
	from := 0
	if n < 0 {
		from = 1
	}
	for i := len(text) - 3; i > from; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Short writes a latency with three digits.
func Short(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.2f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}
