package gateway

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec   // by "accepted" or the refusal's code
	ends     *prometheus.CounterVec   // by final state
	seconds  *prometheus.HistogramVec // from admission to the end, by state
	dropped  *prometheus.CounterVec   // messages that nothing came of, by reason
	receipts *prometheus.CounterVec   // by operator and state

	mu      sync.Mutex
	unknown map[string]struct{} // transactions that may have ended, by id
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		unknown:  make(map[string]struct{}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imza_requests_total", Help: "Requests for a signature, by what became of them."}, []string{"result"}),
		ends:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imza_transactions_ended_total", Help: "Transactions that ended, by final state."}, []string{"state"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "imza_transaction_seconds", Help: "From admission to the end.",
			Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300}}, []string{"state"}),
		dropped:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imza_messages_dropped_total", Help: "Short messages from telephones that nothing came of, by reason."}, []string{"reason"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "imza_receipts_total", Help: "Delivery receipts, by what they say. late: of a transaction that had ended. unknown: of no message that is known, or not yet; such an early one is counted again when it is."}, []string{"operator", "state"}),
	}
	r.MustRegister(m.requests, m.ends, m.seconds, m.dropped, m.receipts)
	return m
}

// mostUnsure bounds what is remembered of ends that are not known.
const mostUnsure = 10_000

// unsure remembers that it is not known whether an attempt ended a transaction: if
// it did, the next one finds it ended, and nobody has counted it.
func (m *metrics) unsure(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.unknown { // of most of them nothing comes any more: any may go
		if len(m.unknown) < mostUnsure {
			break
		}
		delete(m.unknown, other)
	}
	m.unknown[id] = struct{}{}
}

// sure tells whether it was not known how a transaction stands, until now.
func (m *metrics) sure(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, was := m.unknown[id]
	delete(m.unknown, id)
	return was
}

// was counts an end that an earlier attempt of this node brought about unnoticed.
func (m *metrics) was(t *Transaction, state State) {
	if m.sure(t.ID) {
		m.ended(t, state)
	}
}

func (m *metrics) ended(t *Transaction, state State) {
	m.sure(t.ID)
	m.ends.WithLabelValues(string(state)).Inc()
	m.seconds.WithLabelValues(string(state)).Observe(time.Since(t.Accepted).Seconds())
}
