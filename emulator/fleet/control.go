package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"imza/emulator"
)

// Control is how whoever runs a load test works the emulator:
//
//	GET  /readyz                             200 once it is ready
//	GET  /metrics                            Prometheus: process_*, go_*, imza_emulator_*
//	POST /runs                               {"seed": 7} begins a new run
//	POST /operators/{name}/restart?down=2s   takes a message centre away for a while
//
// It is for this machine alone: whoever reaches it may stop the operators.
func (e *Emulator) Control() http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(), figures{e})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /runs", e.postRun)
	mux.HandleFunc("POST /operators/{name}/restart", e.postRestart)
	// A page that somebody looks at on this machine must not reach it.
	return http.NewCrossOriginProtection().Handler(mux)
}

const mostBody = 1 << 10

func (e *Emulator) postRun(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Seed *uint64 `json:"seed"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&asked)
	if err == nil && asked.Seed == nil {
		err = errors.New("seed: there is none")
	}
	if err == nil && !errors.Is(decoder.Decode(new(json.RawMessage)), io.EOF) {
		err = errors.New("there is more after the object")
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	e.Begin(*asked.Seed)
	reply(w, http.StatusOK, map[string]any{"seed": *asked.Seed, "run": e.runs.Load()})
}

// longestDown is how long a message centre may be told to stay away.
const longestDown = 10 * time.Minute

func (e *Emulator) postRestart(w http.ResponseWriter, r *http.Request) {
	down, err := time.ParseDuration(r.URL.Query().Get("down"))
	if err != nil || down <= 0 || down > longestDown {
		refuse(w, http.StatusBadRequest, fmt.Errorf("down: a time like 2s, at most %s", longestDown))
		return
	}
	err = e.Restart(r.PathValue("name"), down)
	switch {
	case errors.Is(err, ErrNoOperator):
		refuse(w, http.StatusNotFound, err)
	case errors.Is(err, ErrRestarting):
		refuse(w, http.StatusConflict, err)
	case err != nil:
		refuse(w, http.StatusInternalServerError, err)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

func refuse(w http.ResponseWriter, status int, err error) {
	reply(w, status, map[string]string{"error": err.Error()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // who asked may be gone
}

// figures are the emulator's own metrics.
type figures struct{ *Emulator }

var (
	describeMessages  = prometheus.NewDesc("imza_emulator_messages_total", "Segments and receipts by way (to_handset, from_handset, receipt) and by what became of them.", []string{"operator", "way", "fate"}, nil)
	describeThrottled = prometheus.NewDesc("imza_emulator_throttled_total", "submit_sm that were answered ESME_RTHROTTLED.", []string{"operator"}, nil)
	describeRefused   = prometheus.NewDesc("imza_emulator_refused_total", "submit_sm that were refused otherwise.", []string{"operator"}, nil)
	describeHeld      = prometheus.NewDesc("imza_emulator_held", "Messages that the network has, or that wait for a handset.", []string{"operator"}, nil)
	describeWaiting   = prometheus.NewDesc("imza_emulator_waiting", "Messages and receipts that wait to be taken by the gateway.", []string{"operator"}, nil)
	describeCards     = prometheus.NewDesc("imza_emulator_cards", "SIM cards of the fleet.", nil, nil)
	describeWarm      = prometheus.NewDesc("imza_emulator_telephones", "Telephones that are made at this moment.", nil, nil)
	describeMade      = prometheus.NewDesc("imza_emulator_telephones_made_total", "Telephones that were made since the start.", nil, nil)
	describeUnmade    = prometheus.NewDesc("imza_emulator_telephones_unmade_total", "Telephones that were unmade to make room for others.", nil, nil)
	describeOperators = prometheus.NewDesc("imza_emulator_operators", "Operators.", nil, nil)
	describeRuns      = prometheus.NewDesc("imza_emulator_runs_total", "Runs that were begun.", nil, nil)
)

// Describe implements prometheus.Collector.
func (figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{describeMessages, describeThrottled, describeRefused, describeHeld, describeWaiting,
		describeCards, describeWarm, describeMade, describeUnmade, describeOperators, describeRuns} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (e figures) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, c := range e.centres {
		s := c.smsc.Stats()
		for way, fates := range map[string]emulator.Fates{"to_handset": s.ToHandset, "from_handset": s.FromHandset, "receipt": s.Receipts} {
			for fate, n := range map[string]uint64{"accepted": fates.Accepted, "delivered": fates.Delivered, "failed": fates.Failed,
				"lost": fates.Lost, "twice": fates.Twice, "reordered": fates.Reordered, "late": fates.Late} {
				counter(describeMessages, n, c.Name, way, fate)
			}
		}
		counter(describeThrottled, s.Throttled, c.Name)
		counter(describeRefused, s.Refused, c.Name)
		gauge(describeHeld, s.Held, c.Name)
		gauge(describeWaiting, s.Waiting, c.Name)
	}
	gauge(describeCards, e.fleet.plan.Cards)
	gauge(describeWarm, e.people.Warm())
	counter(describeMade, e.people.made.Load())
	counter(describeUnmade, e.people.unmade.Load())
	gauge(describeOperators, len(e.centres))
	counter(describeRuns, e.runs.Load())
}
