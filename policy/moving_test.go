package policy

import (
	"database/sql"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"imza/policy/redistest"
	"imza/policy/sqltest"
)

// A node whose UPDATE of the epoch failed must not count the time from then: the
// number may be written later, by another node, while a third one still has the
// server before believed.
func TestFailedMoveArmsNothing(t *testing.T) {
	before, after := redistest.Start(t), redistest.Start(t)
	path := sqltest.SQLite(t)
	node := func(addr string) *Store {
		db, dialect := sqltest.OpenSQLite(t, path)
		record, err := OpenRecord(t.Context(), db, dialect)
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(&redis.Options{Addr: addr, DialerRetries: 1, OnConnect: OpenEpoch, MaintNotificationsConfig: plain})
		t.Cleanup(func() { client.Close() })
		return &Store{Record: record, Redis: client}
	}
	stayed, hasty, other := node(before.Addr), node(after.Addr), node(after.Addr)
	ctx := t.Context()
	if ok, err := stayed.admitted(ctx, "bank"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	record := hasty.Record
	readOnly, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)")
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	hasty.Record = &Record{db: readOnly}
	if err := hasty.Renew(ctx); err == nil {
		t.Fatal("it moved without writing it down")
	}
	hasty.Record = record
	time.Sleep(moveTime)
	if err := stayed.Renew(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.Renew(ctx); err == nil { // writes it down
		t.Fatal("it moved at once")
	}
	if err := hasty.Renew(ctx); err == nil {
		t.Fatal("it counts at once, while the server before is believed")
	}
	if _, err := hasty.save(ctx, block("bank")); err != nil { // which waits
		t.Fatal(err)
	}
	if ok, _ := stayed.admitted(ctx, "bank"); ok {
		t.Error("admitted by the server before after the block was saved")
	}
}
