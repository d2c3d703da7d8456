package sqltest

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL that runs for tests, on 127.0.0.1. A crash of the
// machine is not among the tests, so it does not wait for the disk.
type Server struct {
	URL string // of the database "postgres" on it, with a password

	programs, dir  string
	account        *syscall.SysProcAttr
	port, password string

	postgres *exec.Cmd
	ended    chan struct{} // closed when postgres has
	sweeper  *exec.Cmd
	leash    *os.File // to the sweeper
}

// Start runs a PostgreSQL of its own for a test that breaks it, until the test
// ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := newServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s
}

// newServer makes a cluster and starts it.
func newServer() (*Server, error) {
	s := &Server{password: rand.Text()}
	if err := errors.Join(s.findPrograms(), s.findAccount()); err != nil {
		return nil, err
	}
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	err := s.initialize()
	if err == nil {
		// The port that is free now may be taken a moment later.
		for range 5 {
			if s.port, err = freePort(); err != nil {
				break
			}
			if err = s.start(); err == nil {
				s.URL = s.url("postgres")
				return s, nil
			}
		}
	}
	s.remove()
	return nil, err
}

// findPrograms looks where Debian has them, which is not in the PATH: the newest
// version.
func (s *Server) findPrograms() error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return errors.New("PostgreSQL is missing: make deps installs it")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4])
		return n
	}
	s.programs = filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }))
	return nil
}

// findAccount says who runs PostgreSQL: it refuses to be root. In a session of
// its own no Ctrl-C reaches it.
func (s *Server) findAccount() error {
	s.account = &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	s.account.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(err1, err2)
}

// makeFolder makes one that is not below the test's own, which only root might
// enter, and has it removed in the end.
func (s *Server) makeFolder() (err error) {
	if s.dir, err = os.MkdirTemp("", "imza-postgresql-"); err != nil {
		return err
	}
	if err = errors.Join(s.give(s.dir), s.watch()); err != nil {
		os.RemoveAll(s.dir)
	}
	return err
}

// give makes a file the account's.
func (s *Server) give(path string) error {
	c := s.account.Credential
	if c == nil {
		return nil
	}
	return os.Chown(path, int(c.Uid), int(c.Gid))
}

// initialize makes a cluster. Text sorts and folds as in Azerbaijani there, so
// that a test shows who counts on the order of octets.
func (s *Server) initialize() error {
	password := filepath.Join(s.dir, "password")
	if err := errors.Join(os.WriteFile(password, []byte(s.password), 0o600), s.give(password)); err != nil {
		return err
	}
	initdb := s.command(filepath.Join(s.programs, "initdb"), "--pgdata", s.data(), "--username", "imza", "--auth", "password", "--pwfile", password,
		"--encoding", "UTF8", "--locale", "C", "--locale-provider", "icu", "--icu-locale", "az", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

func (s *Server) url(database string) string {
	return "postgres://imza:" + s.password + "@127.0.0.1:" + s.port + "/" + database + "?sslmode=disable"
}

// command is one that the account runs, in its own folder and with nothing of
// our environment that means something to PostgreSQL.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir, c.Env, c.SysProcAttr = s.dir, []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, s.account
	return c
}

func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}

// start runs postgres on the cluster and waits until it answers.
func (s *Server) start() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", s.data(), "-p", s.port}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "shared_buffers=16MB",
		"fsync=off", "full_page_writes=off", "synchronous_commit=on", "autovacuum=off", "max_wal_size=256MB",
	} {
		args = append(args, "-c", setting)
	}
	s.postgres = s.command(filepath.Join(s.programs, "postgres"), args...)
	s.postgres.Stdout, s.postgres.Stderr = log, log // a file: nobody waits for its end
	if err := s.postgres.Start(); err != nil {
		return err
	}
	postgres, ended := s.postgres, make(chan struct{})
	go func() { _ = postgres.Wait(); close(ended) }()
	s.ended = ended
	fmt.Fprintln(s.leash, postgres.Process.Pid)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = s.administer(`SELECT 1`); err == nil {
			return nil
		}
		select {
		case <-s.ended:
		default:
			if time.Now().Before(deadline) {
				continue
			}
		}
		text, _ := os.ReadFile(s.log())
		s.Kill()
		return fmt.Errorf("postgres: %w\n%s", err, text)
	}
}

// sweep is told the server's process id, or "none". Once it can be told nothing
// more it ends the server, as a crash would, and removes the folder. If it was
// told nothing at all, a server may be just starting.
const sweep = `
trap '' HUP INT TERM
while read -r word; do server=$word; done
if [ -z "$server" ]; then
	sleep 2
	server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) || server=none
fi
if [ "$server" != none ]; then
	kill -QUIT "$server"
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		kill -0 "$server" || break
		sleep 0.1
	done
fi
rm -rf "$1"`

// watch has another process see to it that nothing outlives this one, however
// this one ends: the kernel closes its end of the pipe.
func (s *Server) watch() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	s.leash = write
	s.sweeper = s.command("/bin/sh", "-c", sweep, "sweep", s.dir)
	s.sweeper.Stdin = read
	return s.sweeper.Start()
}

// remove ends the server for good.
func (s *Server) remove() {
	s.Kill()
	fmt.Fprintln(s.leash, "none")
	s.leash.Close()
	_ = s.sweeper.Wait()
}

// Kill ends the server at once: it comes back as after a crash, with all that
// was committed.
func (s *Server) Kill() {
	if s.postgres == nil {
		return
	}
	_ = s.postgres.Process.Signal(syscall.SIGQUIT)
	fmt.Fprintln(s.leash, "none")
	<-s.ended
	s.postgres = nil
}

// Restart starts the server again on the same port, with what it had.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}
