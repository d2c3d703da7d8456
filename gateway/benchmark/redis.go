package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of our own, which keeps nothing on disk.
type redisServer struct {
	addr    string
	dir     string
	command *exec.Cmd
	client  *redis.Client // to ask how it is
}

// startRedis starts a server on a free port and waits until it answers.
func startRedis(ctx context.Context) (_ *redisServer, err error) {
	s := &redisServer{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "imza-redis-"); err != nil {
		return nil, err
	}
	if s.addr, err = freeAddr(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	log := filepath.Join(s.dir, "log")
	s.command = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", s.dir, "--logfile", log)
	if err := s.command.Start(); err != nil {
		s.command = nil
		return nil, fmt.Errorf("redis-server: %w (make deps installs it)", err)
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.addr})
	for deadline := time.Now().Add(10 * time.Second); ; sleep(ctx, 10*time.Millisecond) {
		if err = s.client.Ping(ctx).Err(); err == nil {
			return s, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
}

// Close ends the server.
func (s *redisServer) Close() {
	if s.client != nil {
		_ = s.client.Close()
	}
	if s.command != nil {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
	}
	_ = os.RemoveAll(s.dir)
}

// spent is the CPU time that the server has taken, by its own account.
func (s *redisServer) spent(ctx context.Context) (time.Duration, error) {
	info, err := s.client.Info(ctx, "cpu").Result()
	if err != nil {
		return 0, err
	}
	user, err := seconds(info, "used_cpu_user")
	if err != nil {
		return 0, err
	}
	system, err := seconds(info, "used_cpu_sys")
	return user + system, err
}

// seconds reads one of the times of INFO cpu.
func seconds(info, name string) (time.Duration, error) {
	for line := range strings.Lines(info) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			s, err := strconv.ParseFloat(text, 64)
			return time.Duration(s * float64(time.Second)), err
		}
	}
	return 0, fmt.Errorf("INFO cpu tells no %s", name)
}
