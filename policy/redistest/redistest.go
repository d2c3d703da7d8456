// Package redistest gives tests the Redis they run on: the embedded one and a
// real redis-server of their own.
package redistest

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Server is a redis-server that a test started. It keeps nothing on disk, unless
// the test tells it to SAVE.
type Server struct {
	Addr    string
	dir     string
	t       testing.TB
	command *exec.Cmd
}

// Start runs redis-server on a free port until the test ends. That it is
// missing is a failure: "make deps" installs it.
func Start(t testing.TB) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: listener.Addr().String(), dir: t.TempDir(), t: t}
	listener.Close()
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart starts the server again on the same port, with what it last saved:
// nothing, as a rule.
func (s *Server) Restart() {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.command = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("redis-server: %v", err)
	}
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	defer client.Close()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if err = client.Ping(context.Background()).Err(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server does not answer: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Kill ends the server at once, with SIGKILL.
func (s *Server) Kill() {
	if s.command != nil {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
		s.command = nil
	}
}

// Each runs a test on the embedded Redis and on a real one.
func Each(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("miniredis", func(t *testing.T) { test(t, miniredis.RunT(t).Addr()) })
	t.Run("redis-server", func(t *testing.T) { test(t, Start(t).Addr) })
}
