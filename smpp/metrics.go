package smpp

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are what a bind counts, over all its sessions.
type stats struct {
	submits   atomic.Uint64 // submit_sm that were accepted
	refused   atomic.Uint64 // and that were refused, throttling apart
	throttled atomic.Uint64
	overdue   atomic.Uint64 // requests that were not answered in time
	late      atomic.Uint64 // responses to nothing that waits
	nacks     atomic.Uint64 // generic_nack that came
	messages  atomic.Uint64 // deliver_sm and data_sm that came
	malformed atomic.Uint64 // bodies that do not parse
	full      atomic.Uint64 // messages that were turned away because there were too many
	binds     atomic.Uint64 // sessions that began

	seconds prometheus.Histogram // from a request to its response
}

func (s *stats) answered(d time.Duration) {
	if s.seconds != nil {
		s.seconds.Observe(d.Seconds())
	}
}

// submitted counts a submit_sm by how it was answered.
func (s *stats) submitted(status Status) {
	switch {
	case status == StatusOK:
		s.submits.Add(1)
	case status.busy():
		s.throttled.Add(1)
	case status == StatusNotBound: // it is sent again over another session
	default:
		s.refused.Add(1)
	}
}

// counters are the metrics that a bind's stats become.
var counters = []struct {
	name, help string
	value      func(*stats) *atomic.Uint64
}{
	{"submits_total", "submit_sm that the operator accepted.", func(s *stats) *atomic.Uint64 { return &s.submits }},
	{"refused_total", "submit_sm that the operator refused for good.", func(s *stats) *atomic.Uint64 { return &s.refused }},
	{"throttles_total", "submit_sm that the operator was too busy for (status 0x58 or 0x14).", func(s *stats) *atomic.Uint64 { return &s.throttled }},
	{"overdue_total", "Requests without a response in time.", func(s *stats) *atomic.Uint64 { return &s.overdue }},
	{"late_total", "Responses that came late, or to nothing that was asked.", func(s *stats) *atomic.Uint64 { return &s.late }},
	{"nacks_total", "generic_nack that came.", func(s *stats) *atomic.Uint64 { return &s.nacks }},
	{"messages_total", "deliver_sm and data_sm that came and were handed on.", func(s *stats) *atomic.Uint64 { return &s.messages }},
	{"malformed_total", "Bodies that did not parse.", func(s *stats) *atomic.Uint64 { return &s.malformed }},
	{"turned_away_total", "Messages answered with \"queue full\", since too many waited to be stored.", func(s *stats) *atomic.Uint64 { return &s.full }},
	{"binds_total", "Sessions that began.", func(s *stats) *atomic.Uint64 { return &s.binds }},
}

// descs of one pool's metrics; the label bind is the connection's number.
type descs struct {
	up, window, waiting, rate, retries *prometheus.Desc
	counters                           []*prometheus.Desc
}

func newDescs(operator string) *descs {
	constant := prometheus.Labels{"operator": operator}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("imza_smpp_"+name, help, labels, constant)
	}
	d := &descs{
		up:      desc("bind_up", "1 while the bind stands.", "bind"),
		window:  desc("window_in_use", "Requests that are not answered yet.", "bind"),
		waiting: desc("waiting", "Messages that the operator has not accepted yet."),
		rate:    desc("rate_limit", "submit_sm a second that are allowed now; +Inf is without limit."),
		retries: desc("retries_total", "Messages, or what was left of them, that were tried again."),
	}
	for _, c := range counters {
		d.counters = append(d.counters, desc(c.name, c.help, "bind"))
	}
	return d
}

func newSeconds(operator string, bind int) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "imza_smpp_response_seconds", Help: "From a request to its response.",
		ConstLabels: prometheus.Labels{"operator": operator, "bind": strconv.Itoa(bind)},
		Buckets:     []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
	})
}

// Describe implements prometheus.Collector.
func (p *Pool) Describe(out chan<- *prometheus.Desc) {
	p.init()
	for _, d := range append([]*prometheus.Desc{p.descs.up, p.descs.window, p.descs.waiting, p.descs.rate, p.descs.retries}, p.descs.counters...) {
		out <- d
	}
	for _, l := range p.links {
		l.stats.seconds.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (p *Pool) Collect(out chan<- prometheus.Metric) {
	p.init()
	d := p.descs
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	gauge(d.waiting, float64(p.waiting.Load()))
	gauge(d.rate, p.pace.rate())
	out <- prometheus.MustNewConstMetric(d.retries, prometheus.CounterValue, float64(p.retries.Load()))
	for _, l := range p.links {
		up, used := 0.0, 0
		if s := l.session.Load(); s != nil {
			up, used = 1, s.Unanswered()
		}
		gauge(d.up, up, l.name)
		gauge(d.window, float64(used), l.name)
		for i, c := range counters {
			out <- prometheus.MustNewConstMetric(d.counters[i], prometheus.CounterValue, float64(c.value(l.stats).Load()), l.name)
		}
		l.stats.seconds.Collect(out)
	}
}
