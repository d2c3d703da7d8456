package gatewaytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"imza/policy"
)

// Answer is an answer of one of the APIs.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Problem is a problem document.
type Problem struct {
	Type, Title, Code, Detail, Field string
	Status                           int
}

// Signature is what a request, a fetch and a cancellation are answered with.
type Signature struct {
	ID, Status, Progress, Reason, VerificationCode string
	ExpiresAt, EndedAt, SigningTime                time.Time
	CMS, Certificate                               []byte
}

func (a Answer) decode(into any) error {
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("status %d, %q: %w", a.Status, a.Body, err)
	}
	return nil
}

// Signature reads a signature, which the answer must be, with that status.
func (a Answer) Signature(t testing.TB, status int) (s Signature) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("status %d, %s", a.Status, a.Body)
	}
	must(t, a.decode(&s))
	return s
}

// Refused reads the problem document that the answer must be, with that status
// and code.
func (a Answer) Refused(t testing.TB, status int, code string) (p Problem) {
	t.Helper()
	if a.Status >= 400 {
		must(t, a.decode(&p))
	}
	if a.Status != status || p.Code != code {
		t.Fatalf("answered %d %s; want %d %s", a.Status, a.Body, status, code)
	}
	return p
}

// Do makes a request and judges the answer by the OpenAPI documents. The body
// is sent as it is if it is a string, octets or a reader, and as JSON otherwise;
// headers are name and value in turn. An answer that is not as promised fails
// the test, which goes on: Do may be called on any goroutine.
func (s *Stack) Do(t testing.TB, method, path, key string, body any, headers ...string) Answer {
	t.Helper()
	r, sent, err := s.request(method, path, key, body, headers)
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return Answer{}
	}
	defer response.Body.Close()
	a := Answer{Status: response.StatusCode, Header: response.Header}
	if a.Body, err = io.ReadAll(response.Body); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	s.secrets.Write(s.withoutNewKey(method, path, a))
	c, err := loadContract()
	if err == nil {
		err = c.check(r, sent, a)
	}
	if err != nil {
		t.Errorf("%s %s, answered %d, is not as OpenAPI says: %v", method, path, a.Status, err)
	}
	return a
}

// newKey is where a key is shown that was just made.
var newKey = regexp.MustCompile(`"key":"(imza-[ap]-[a-z2-7]{26})"`)

// withoutNewKey is the body of an answer without the key that it may show, this
// once. The key is a secret from then on.
func (s *Stack) withoutNewKey(method, path string, a Answer) []byte {
	made := method == http.MethodPut && a.Status == http.StatusCreated || method == http.MethodPost && strings.HasSuffix(path, "/key")
	if !made || !strings.HasPrefix(path, "/v1/admin/") {
		return a.Body
	}
	return newKey.ReplaceAllFunc(a.Body, func(member []byte) []byte {
		s.secrets.add(string(newKey.FindSubmatch(member)[1]))
		return nil
	})
}

func (s *Stack) request(method, path, key string, body any, headers []string) (_ *http.Request, sent []byte, err error) {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case io.Reader:
		reader = body
	case string:
		sent = []byte(body)
	case []byte:
		sent = body
	default:
		if m, ok := body.(map[string]any); ok {
			if id, ok := m["userId"].(string); ok && len(id) == 6 {
				s.secrets.add(id) // a wrong one, too, is nobody else's business
			}
			if many, ok := m["subscribers"].([]map[string]any); ok { // who are enrolled
				for _, one := range many {
					if id, ok := one["userId"].(string); ok && len(id) == 6 {
						s.secrets.add(id)
					}
				}
			}
		}
		if sent, err = json.Marshal(body); err != nil {
			return nil, nil, err
		}
	}
	if sent != nil {
		reader = bytes.NewReader(sent)
	}
	r, err := http.NewRequest(method, s.URL+path, reader)
	if err != nil {
		return nil, nil, err
	}
	if key != "" {
		s.secrets.add(key)
		r.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, sent, nil
}

// Provider puts a provider on record and returns its key.
func (s *Stack) Provider(t testing.TB, p policy.Provider, key string) string {
	t.Helper()
	must(t, s.Registry.SetProvider(t.Context(), p, "Xidmət "+string(p), key))
	return key
}

// Ask asks for a signature, which must be admitted.
func (s *Stack) Ask(t testing.TB, key string, request any, headers ...string) Signature {
	t.Helper()
	return s.Do(t, "POST", "/v1/signatures", key, request, headers...).Signature(t, http.StatusAccepted)
}

// End waits until a signature has ended.
func (s *Stack) End(t testing.TB, key, id string) Signature {
	t.Helper()
	for range 3 {
		got := s.Do(t, "GET", "/v1/signatures/"+id+"?wait=10", key, nil).Signature(t, http.StatusOK)
		if got.Status != "pending" {
			return got
		}
	}
	t.Fatalf("%s does not end", id)
	return Signature{}
}
