package gatewaytest

import (
	"bytes"
	"regexp"
	"sync"
	"testing"
)

// secrets takes what is logged, measured and answered, and knows what must not
// be in it.
type secrets struct {
	mu    sync.Mutex
	known map[string]bool
	said  bytes.Buffer
}

// Write implements io.Writer, for logs.
func (s *secrets) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

func (s *secrets) add(secret ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]bool)
	}
	for _, secret := range secret {
		s.known[secret] = true
	}
}

// find returns the secrets that are in some text. A User ID is looked for as a
// word: six digits are within many a time or id by chance.
func (s *secrets) find(text []byte) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret := range s.known {
		if !bytes.Contains(text, []byte(secret)) {
			continue
		}
		if len(secret) > 6 || regexp.MustCompile(`\b`+secret+`\b`).Match(text) {
			found = append(found, secret)
		}
	}
	return found
}

func (s *secrets) check(t testing.TB) {
	s.mu.Lock()
	said := bytes.Clone(s.said.Bytes())
	s.mu.Unlock()
	for _, secret := range s.find(said) {
		at := bytes.Index(said, []byte(secret))
		t.Errorf("a secret was told: …%s…", said[max(0, at-100):min(len(said), at+100)])
	}
}

// Said is all that was logged and answered so far.
func (s *Stack) Said() []byte {
	s.secrets.mu.Lock()
	defer s.secrets.mu.Unlock()
	return bytes.Clone(s.secrets.said.Bytes())
}

// Secrets returns the keys, User IDs and PINs of this stack that are in a text.
func (s *Stack) Secrets(text []byte) []string { return s.secrets.find(text) }
