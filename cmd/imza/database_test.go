package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imza/policy/redistest"
	"imza/policy/sqltest"
)

// The record in PostgreSQL: signatures, blocks, and all of it again after a
// restart.
func TestRecordInPostgres(t *testing.T) {
	config := upCommand{gatewayFlags: gatewayFlags{Data: t.TempDir(), Database: sqltest.Postgres(t), Redis: "redis://" + redistest.Start(t).Addr}}
	first := boot(t, config)
	if _, err := os.Stat(filepath.Join(config.Data, "imza.db")); err == nil {
		t.Error("there is a record in the data folder, too")
	}
	signs := func(p *program, n, want int, text string) {
		t.Helper()
		in := document(t)
		status, out, errors := p.imza(t, "sign", "--in", in, "--msisdn", string(demoMSISDN(n)), "--user-id", demoUserID(n))
		if status != want || !strings.Contains(out+errors, text) {
			t.Fatalf("status %d, %s%s", status, out, errors)
		}
		if status == exitOK {
			opensslVerify(t, p, in+".p7s", in)
		}
	}
	employee := []string{"--voen", string(firstVOEN), "--fin", string(demoFIN(1)), "--provider", string(demoProvider)}
	signs(first, 1, exitOK, "signed by Aysel")
	if status, _, errors := first.imza(t, append([]string{"block"}, employee...)...); status != exitOK {
		t.Fatal(errors)
	}
	signs(first, 1, exitRefused, "blocked_by_organisation")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := boot(t, config)
	signs(second, 1, exitRefused, "blocked_by_organisation")
	signs(second, 2, exitOK, "signed by Orxan")
	if _, out, _ := second.imza(t, "blocks"); !strings.Contains(out, string(demoFIN(1))) {
		t.Errorf("blocks: %s", out)
	}
	if status, _, errors := second.imza(t, append([]string{"unblock"}, employee...)...); status != exitOK {
		t.Fatal(errors)
	}
	signs(second, 1, exitOK, "signed by Aysel")

	// What is told of the database is where it is, and no more.
	var text bytes.Buffer
	second.welcome(&text)
	_, at, _ := strings.Cut(config.Database, "@")
	at, _, _ = strings.Cut(at, "?")
	password := strings.Split(config.Database, ":")[2]
	password = password[:strings.Index(password, "@")]
	if !strings.Contains(text.String(), "postgres://"+at) || strings.Contains(text.String(), password) {
		t.Errorf("%s", text.String())
	}
}

// Another data folder has another master key: nobody's User ID would be right.
func TestRecordOfAnotherMasterKeyIsRefused(t *testing.T) {
	database := sqltest.Postgres(t)
	first := t.TempDir()
	if err := boot(t, upCommand{gatewayFlags: gatewayFlags{Data: first, Database: database}}).Close(); err != nil {
		t.Fatal(err)
	}
	second := t.TempDir()
	starts := func(dir, database string) error {
		p, err := start(t.Context(), &upCommand{gatewayFlags: gatewayFlags{Data: dir, Database: database, HTTP: "127.0.0.1:0", PromptLimit: 10}, SMPP: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
		if err == nil {
			err = p.Close()
		}
		return err
	}
	if err := starts(second, database); err == nil || !strings.Contains(err.Error(), "another master key than "+second) {
		t.Errorf("%v", err)
	}
	// Of one that belongs to the record there may be several copies, and nothing
	// was spoilt.
	if err := starts(first, database); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"mysql://imza:s3cr3t@127.0.0.1/imza", "imza:s3cr3t@127.0.0.1", "host=127.0.0.1 password=s3cr3t", "/tmp/imza.db", "postgres://imza:s3cr3t%@/"} {
		if err := starts(second, bad); err == nil || strings.Contains(err.Error(), "s3cr3t") || !strings.Contains(err.Error(), "URL") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
