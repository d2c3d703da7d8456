package cabinet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"imza/gateway/cabinet"
	"imza/gateway/gatewaytest"
	"imza/policy/redistest"
	"imza/policy/sqltest"
)

// BenchmarkEnrol enrols a thousand at once, as "imza enrol" does, of which the
// cards' part is left out.
func BenchmarkEnrol(b *testing.B) {
	for name, database := range map[string]func(testing.TB) string{"SQLite": sqltest.SQLite, "PostgreSQL": sqltest.Postgres} {
		b.Run(name, func(b *testing.B) {
			s := gatewaytest.StartOn(b, redistest.Start(b).Addr, database(b))
			const batch = cabinet.MaxEnrolment
			n := 0
			for b.Loop() {
				b.StopTimer()
				people := make([]map[string]any, batch)
				for i := range people {
					n++
					people[i] = candidate(b, n)
					people[i]["fin"] = fmt.Sprintf("%07d", n*7919%10_000_000)
				}
				body, err := json.Marshal(enrolmentOf(people...))
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				r, err := http.NewRequest("POST", s.URL+subscribers, strings.NewReader(string(body)))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+s.AdminKey)
				a, err := http.DefaultClient.Do(r)
				if err != nil || a.StatusCode != http.StatusCreated {
					b.Fatal(err, a)
				}
				a.Body.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/subscriber")
		})
	}
}
