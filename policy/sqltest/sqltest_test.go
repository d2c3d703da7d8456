package sqltest

import (
	"bufio"
	"database/sql"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
)

func TestHandlesAreToOneFreshDatabase(t *testing.T) {
	for range 2 {
		Each(t, func(t *testing.T, open func() (*sql.DB, goose.Dialect)) {
			first, dialect := open()
			second, _ := open()
			if _, err := first.ExecContext(t.Context(), `CREATE TABLE a (b BIGINT)`); err != nil {
				t.Fatal(err)
			}
			if _, err := second.ExecContext(t.Context(), `INSERT INTO a (b) VALUES ($1)`, 7); err != nil {
				t.Fatal(err)
			}
			var b int
			if err := first.QueryRowContext(t.Context(), `SELECT b FROM a`).Scan(&b); err != nil || b != 7 {
				t.Errorf("%d %v", b, err)
			}
			if postgres := strings.HasSuffix(t.Name(), "PostgreSQL") || strings.Contains(t.Name(), "PostgreSQL#"); postgres != (dialect == goose.DialectPostgres) {
				t.Errorf("%s has the dialect %s", t.Name(), dialect)
			}
		})
	}
}

// What was committed is there after a crash of the server.
func TestServerComesBack(t *testing.T) {
	s := Start(t)
	db := handle(t, "pgx", s.URL)
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE a (b BIGINT)`); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("it answers although it is gone")
	}
	s.Restart(t)
	if _, err := db.ExecContext(t.Context(), `INSERT INTO a (b) VALUES (1)`); err != nil {
		t.Error(err)
	}
}

// The server ends, and its folder goes, with the process whose it is: by itself
// or by SIGKILL.
func TestServerDoesNotOutliveItsProcess(t *testing.T) {
	if os.Getenv("SQLTEST_CHILD") != "" {
		s, err := shared()
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString(s.dir + "\n")
		bufio.NewReader(os.Stdin).ReadString('\n')
		return
	}
	for _, killed := range []bool{false, true} {
		child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		child.Env = append(os.Environ(), "SQLTEST_CHILD=1")
		in, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		dir := strings.TrimSpace(line)
		pid, err2 := os.ReadFile(dir + "/data/postmaster.pid")
		if err != nil || err2 != nil {
			t.Fatal(line, err, err2)
		}
		if killed {
			child.Process.Kill()
		} else {
			in.Close()
		}
		if err := child.Wait(); (err == nil) == killed {
			t.Errorf("%v", err)
		}
		first, _, _ := strings.Cut(string(pid), "\n")
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, there := os.Stat(dir)
			_, lives := os.Stat("/proc/" + first)
			if os.IsNotExist(there) && os.IsNotExist(lives) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("killed %t: folder %v, process %s %v", killed, there, first, lives)
			}
		}
	}
}
