package load_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imza/emulator/load"
	"imza/gateway/gatewaytest"
)

// A load test is believed because it finds out what is wrong. Here somebody
// between it and a good gateway does, each time, one thing that a bad gateway
// would, and only that must be found.
func TestLiesAreFoundOut(t *testing.T) {
	t.Parallel()
	good := stand(t, signers(60)...)
	once := new(atomic.Bool)
	signature := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/signatures/") && !strings.HasSuffix(r.URL.Path, "/none")
	}
	for name, test := range map[string]struct {
		lie        func(w http.ResponseWriter, r *http.Request, gateway http.Handler)
		fault      load.Fault // that is found
		difference string     // in the balance
		end        load.End   // that there is then
	}{
		"a block is saved and not in force": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if strings.Contains(r.URL.Path, "/blocks/") || strings.HasSuffix(r.URL.Path, "/imports") {
					_, _ = io.WriteString(w, "{}")
					return
				}
				gateway.ServeHTTP(w, r)
			}, fault: load.AcceptedBlocked,
		},
		"a block is never lifted": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.Method == http.MethodDelete {
					_, _ = io.WriteString(w, "{}")
					return
				}
				gateway.ServeHTTP(w, r)
			}, fault: load.RefusedAllowed,
		},
		"a refusal for another reason": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.URL.Path != "/v1/signatures" {
					gateway.ServeHTTP(w, r)
					return
				}
				edited(w, r, gateway, func(b []byte) []byte {
					return bytes.ReplaceAll(b, []byte(`"blocked_by_organisation"`), []byte(`"too_many_prompts"`))
				})
			}, fault: load.RefusedOtherwise, difference: "requests: blocked_by_organisation",
		},
		"a signature of something else": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.Method == http.MethodPost && r.URL.Path == "/v1/signatures" {
					body, _ := io.ReadAll(r.Body)
					at := bytes.Index(body, []byte(`"value":"`)) + len(`"value":"`)
					copy(body[at:], "AAAA")
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				gateway.ServeHTTP(w, r)
			}, fault: load.DoesNotVerify,
		},
		"no signature": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				edited(w, r, gateway, func(b []byte) []byte { return bytes.Replace(b, []byte(`"cms"`), []byte(`"msc"`), 1) })
			}, fault: load.DoesNotVerify,
		},
		"an end after the deadline": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				edited(w, r, gateway, func(b []byte) []byte {
					return bytes.Replace(b, []byte(`"endedAt":"2`), []byte(`"endedAt":"3`), 1)
				})
			}, fault: load.EndedLate,
		},
		"nonsense": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if signature(r) {
					edited(w, r, gateway, func(b []byte) []byte { return b[:len(b)/2] })
					return
				}
				gateway.ServeHTTP(w, r)
			}, fault: load.AnswerNotUnderstood, end: load.Lost,
		},
		"nonsense at once": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.Method == http.MethodPost && r.URL.Path == "/v1/signatures" {
					edited(w, r, gateway, func(b []byte) []byte { return b[:len(b)/2] })
					return
				}
				gateway.ServeHTTP(w, r)
			}, fault: load.AnswerNotUnderstood, end: load.Unanswered,
		},
		"asked twice": { // as a client would that repeats on its own
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.Method == http.MethodPost && r.URL.Path == "/v1/signatures" && once.CompareAndSwap(false, true) {
					body, _ := io.ReadAll(r.Body)
					again := r.Clone(r.Context())
					again.Body = io.NopCloser(bytes.NewReader(body))
					gateway.ServeHTTP(httptest.NewRecorder(), again)
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				gateway.ServeHTTP(w, r)
			}, difference: "requests in all",
		},
		"ended otherwise": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				edited(w, r, gateway, func(b []byte) []byte {
					return bytes.Replace(b, []byte(`"status":"signed"`), []byte(`"status":"absent"`), 1)
				})
			}, difference: "ended: signed",
		},
		"started anew": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				edited(w, r, gateway, func(b []byte) []byte {
					if r.URL.Path == "/metrics" {
						return fmt.Appendf(b, "process_start_time_seconds %d\n", time.Now().UnixNano())
					}
					return b
				})
			}, difference: "started anew",
		},
		// This is no lie: an answer that is lost. The request is under way all the
		// same, and the balance allows for that, and for no more.
		"a lost answer": {
			lie: func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
				if r.Method == http.MethodPost && r.URL.Path == "/v1/signatures" && r.ContentLength%3 == 0 {
					gateway.ServeHTTP(httptest.NewRecorder(), r)
					panic(http.ErrAbortHandler)
				}
				gateway.ServeHTTP(w, r)
			}, end: load.Unanswered,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := fresh(good)
			g.Refused, g.Flips = 0.2, 6
			g.SetPatience(time.Second, 300*time.Millisecond)
			g.Phases = []load.Phase{{Name: "60/s", From: 60, To: 60, Duration: 400 * time.Millisecond}}
			between(t, g, test.lie)
			ending, _ := run(t, t.Context(), g)
			b := ending.Balance
			if b.Ended() != b.Asked {
				t.Errorf("%d asked, ended as %v", b.Asked, b.Ends)
			}
			if test.fault != load.NoFault && b.Faults[test.fault.String()] == 0 {
				t.Errorf("at fault: %v", b.Faults)
			}
			if test.fault == load.NoFault && len(b.Faults) > 0 && !strings.Contains(name, "otherwise") {
				t.Errorf("at fault: %v", b.Faults)
			}
			differences := strings.Join(b.Differences(), "; ")
			if test.difference == "" && differences != "" || !strings.Contains(differences, test.difference) {
				t.Errorf("differences: %s; wanted %q", differences, test.difference)
			}
			if test.end != "" && b.Ends[test.end] == 0 {
				t.Errorf("ends: %v", slices.Sorted(maps.Keys(b.Ends)))
			}
			if ending.OK() == (test.fault != load.NoFault || test.difference != "") {
				t.Errorf("the run is judged %v", ending.OK())
			}
			if name == "a block is never lifted" { // the next run lifts it
				next, _ := run(t, t.Context(), fresh(good))
				exact(t, next)
			}
		})
	}
}

// A block that is in force a moment after its save has returned is too late, and
// one that never is lets a signature through that was under way.
func TestLateBlocksAreFoundOut(t *testing.T) {
	t.Parallel()
	think := func(ctx context.Context) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	good := stand(t, crowd(40, gatewaytest.Person{Think: think})...)
	good.Phases = []load.Phase{{Name: "1/s", From: 1, To: 1, Duration: time.Second}}
	for name, test := range map[string]struct {
		late  time.Duration // by how much; 0: for ever
		fault load.Fault
	}{
		"a moment later": {30 * time.Millisecond, load.RefusedOtherwise}, // busy with the one before, since no policy said no
		"never":          {0, load.SignedBlocked},
	} {
		g := fresh(good)
		g.Flips = 10
		var late sync.WaitGroup
		between(t, g, func(w http.ResponseWriter, r *http.Request, gateway http.Handler) {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blocks/") {
				if test.late > 0 {
					later := r.Clone(context.WithoutCancel(r.Context()))
					later.Body = http.NoBody
					late.Go(func() {
						time.Sleep(test.late)
						gateway.ServeHTTP(httptest.NewRecorder(), later)
					})
				}
				_, _ = io.WriteString(w, "{}")
				return
			}
			gateway.ServeHTTP(w, r)
		})
		ending, _ := run(t, t.Context(), g)
		late.Wait()
		if ending.OK() || ending.Balance.Faults[test.fault.String()] == 0 {
			t.Errorf("%s: at fault %v", name, ending.Balance.Faults)
		}
	}
	// And a good gateway is not accused.
	g := fresh(good)
	g.Flips = 10
	ending, _ := run(t, t.Context(), g)
	exact(t, ending)
	if ending.Balance.Ends[load.Blocked] == 0 {
		t.Errorf("no block met a request under way: %v", ending.Balance.Ends)
	}
}
