package registry_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imza/gateway"
	"imza/gateway/registry"
	"imza/policy/sqltest"
)

// A database that cannot be opened, for whatever reason: the error says so, and
// has no password in it.
func TestPasswordIsInNoError(t *testing.T) {
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := nobody.Addr().String()
	nobody.Close()
	server := sqltest.Postgres(t)
	at := server[strings.Index(server, "@")+1:]
	name := strings.TrimSuffix(at[strings.Index(at, "/")+1:], "?sslmode=disable")
	const secret = "s3cr3t"
	for _, address := range []string{
		"postgres://imza:" + secret + "@" + closed + "/imza?sslmode=disable",
		"postgresql://imza:" + secret + "@" + closed + "/imza",
		"postgres://imza:" + secret + "@" + at,
		"postgres://nobody:" + secret + "@" + at,
		"postgres://imza:" + secret + "@" + strings.Replace(at, name, "missing", 1),
		"postgres://imza@" + at + "&password=" + secret,
		"postgres://imza:" + secret + "@no-such-host.invalid/imza",
		"postgres://imza:" + secret + "@127.0.0.1:port/imza",
		"postgres://imza:" + secret + "@127.0.0.1:99999/imza",
		"postgres://imza:" + secret + "@127.0.0.1/imza?sslmode=" + "wrong",
		"postgres://imza:" + secret + "@127.0.0.1/imza?connect_timeout=soon",
		"postgres://imza@127.0.0.1/imza?sslmode=wrong&password=" + secret,
		"postgres://imza@127.0.0.1/imza?sslmode=verify-full&sslrootcert=/nowhere&sslpassword=" + secret,
		"postgres://imza:%zz" + secret + "@127.0.0.1/imza",
		"postgres://imza:" + secret + "%@127.0.0.1/imza?sslmode=wrong",
		"postgres://imza:#" + secret + "@127.0.0.1/imza?sslmode=wrong",
		"postgres://imza:/" + secret + "@127.0.0.1:/imza?sslmode=wrong",
		"postgres://imza:@" + secret + "@127.0.0.1:/imza?sslmode=wrong",
		"postgres://imza:[" + secret + "@127.0.0.1/imza?sslmode=wrong",
		"postgres://imza:" + secret + "\x7f@127.0.0.1/imza?sslmode=wrong",
		"postgres://" + secret + "@@/?sslmode=wrong",
		"postgres://imza:" + secret + "/@127.0.0.1/imza",
		"postgres://imza:" + secret + "?@127.0.0.1/imza",
	} {
		db, dialect, err := registry.OpenDatabase(address)
		if err == nil {
			_, err = registry.Open(t.Context(), db, dialect, pepper)
			db.Close()
		}
		if err == nil {
			t.Errorf("%s was opened", address)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A host that takes the connection and says nothing holds nobody up for long.
func TestSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	db, dialect, err := registry.OpenDatabase("postgres://imza@" + silent.Addr().String() + "/imza?connect_timeout=1&sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	began := time.Now()
	if _, err := registry.Open(t.Context(), db, dialect, pepper); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// PostgreSQL goes and comes back: what was asked for meanwhile fails, and the
// record works again without anybody's doing.
func TestPostgresComesBack(t *testing.T) {
	server := sqltest.Start(t)
	r := open(t, server.URL)
	r.enrol(t, person(1))
	server.Kill()
	if _, err := r.Find(t.Context(), "x"); err == nil || strings.Contains(err.Error(), "not on record") {
		t.Errorf("%v", err)
	}
	server.Restart(t)
	if s, err := r.Subscriber(t.Context(), aysel, userID); err != nil || len(s.Certificates) != 1 {
		t.Errorf("%+v %v", s, err)
	}
}

// Nodes that record the same transactions, each in an order of its own, do not
// stop one another.
func TestRecordingInAnyOrder(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		var entries []gateway.Entry
		for i := range 60 {
			entries = append(entries, entry(fmt.Sprint(i), gateway.Signed))
		}
		nodes := []*record{r, r.again(), r.again()}
		var all sync.WaitGroup
		for _, node := range nodes {
			all.Go(func() {
				for range 15 {
					mine := slices.Clone(entries)
					rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
					if err := node.Record(t.Context(), mine); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	})
}

// Many more writers and readers than connections: they queue, none is refused.
func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, r *record) {
		r.enrol(t, person(1))
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() {
				if err := r.Record(t.Context(), []gateway.Entry{entry(fmt.Sprint(i), gateway.Signed)}); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				if _, err := r.Subscriber(t.Context(), aysel, userID); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	})
}
