package policy

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A lease that began an epoch is granted twice, as after a lost answer, and in
// between Redis was emptied: the epoch whose gates are lost must not go on. Else
// a save of it could still commit, and if its node then stops, what somebody
// loaded before would be believed as long as it is there.
func TestLeaseAgainAfterRedisWasEmptied(t *testing.T) {
	w := openWorld(t, 1, onSQLite(t), nil)
	a, b, e := w.nodes[0], w.nodes[1], w.newcomer()
	ctx := t.Context()
	if err := a.Renew(withTrouble(context.Background(), &trouble{script: lease, again: 150 * time.Millisecond})); err != nil {
		t.Fatal(err)
	}
	epoch, err := b.begin(ctx, []Employee{e}, "left", saveTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Redis.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	conn := b.Redis.Conn() // as a new connection does
	if err := OpenEpoch(ctx, conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	time.Sleep(250 * time.Millisecond)
	if yes, known := a.admit(ctx, e, "bank"); !yes || !known {
		t.Fatal(yes, known)
	}
	_, err = b.Record.commit(ctx, epoch, "left", Save{Employees: []Employee{e}, Change: func(Employee, Set) (Set, error) { return Set{BlockAll: true}, nil }})
	if err == nil {
		yes, _ := a.admit(ctx, e, "bank")
		t.Errorf("a save of the epoch before committed; with it on record, admitted: %t", yes)
	} else if !errors.Is(err, errTooLate) {
		t.Error(err)
	}
}
