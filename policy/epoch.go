package policy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"
)

// An epoch is the time of one Redis server in which the sets in it count. The
// record says which it is: its number, which only rises, and the server's run
// id. A set carries the number of the epoch in which it was put.
//
// Redis keeps the number twice: in keyEpoch, beside the run id and a random word,
// as long as the server lives and is not emptied, and in keyLease, which runs out after leaseTime unless somebody
// has looked into the record meanwhile and found the epoch still there. Without
// the lease nothing in that server is believed. So of a server from which the
// gateways moved away, though it lives on with all its sets, and though one of
// them may still ask it, nothing is believed once its lease has run out; and
// another server is not believed before that (moveTime after its epoch was
// written down), nor can a save commit that began in an epoch before.
//
//	a server that restarts   has another run id: every connection, on opening,
//	                         takes the old epoch out of it (OpenEpoch), so its
//	                         dump is not believed
//	one that is emptied      has no number: a new epoch begins, at once
//	a replica                holds what its primary holds, and the primary's run
//	                         id, which is not its own: likewise taken out
//	another server           has another run id: a new epoch begins, after moveTime
//	back to the first        likewise; what it still holds is of an older epoch
//
// leaseTime is measured by the clock of the Redis server, moveTime by a
// gateway's; moveTime is longer than two leases (one from the look at the
// record to the renewal, one from then) by more than clocks differ in rate.
const (
	leaseTime = 400 * time.Millisecond
	moveTime  = leaseTime * 5 / 2
)

var runID = regexp.MustCompile(`(?m)^run_id:([0-9a-f]+)`)

// noServerInfo is how the embedded Redis, and no other, answers INFO server.
const noServerInfo = "section (server) is not supported"

// EmbeddedRunID is the key of the embedded Redis that tells its run id: any, if
// nobody wrote one. It has no dump to come back from, so what is in it is of one
// life.
const EmbeddedRunID = "imza:run-id"

// openEpoch takes the epoch of another life out of a server.
var openEpoch = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'server') ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], 'life') == 0 then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'server', ARGV[1], 'life', ARGV[2])
end
return 1`)

// OpenEpoch is for a Redis client's OnConnect. A server that does not tell its
// run id is not spoken to: after a restart nothing would tell old sets from new.
func OpenEpoch(ctx context.Context, conn *redis.Conn) error {
	server, err := serverOf(ctx, conn)
	if err != nil {
		return fmt.Errorf("policy: the epoch: %w", err)
	}
	return openEpoch.Run(ctx, conn, []string{keyEpoch, keyLease}, server, rand.Text()).Err()
}

func serverOf(ctx context.Context, conn *redis.Conn) (string, error) {
	info, err := conn.Info(ctx, "server").Result()
	if err != nil && err.Error() == noServerInfo {
		if err := conn.SetNX(ctx, EmbeddedRunID, rand.Text(), 0).Err(); err != nil {
			return "", err
		}
		return conn.Get(ctx, EmbeddedRunID).Result()
	}
	if err != nil {
		return "", err
	}
	match := runID.FindStringSubmatch(info)
	if match == nil {
		return "", errors.New("INFO server tells no run_id")
	}
	return match[1], nil
}

var (
	// lookEpoch returns what the server holds, its time in ms, and a word for as
	// long as it holds it: one that was emptied has another.
	lookEpoch = redis.NewScript(`
local found = redis.call('HMGET', KEYS[1], 'server', 'number', 'life')
local time = redis.call('TIME')
return {found[1] or '', found[2] or '', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), found[3] or ''}`)

	// lease believes an epoch for leaseTime, if the look at the record (for which
	// ARGV[3] was the time) is not older than that, and nobody emptied the server
	// since: the gates of an epoch that went on would be lost. A number that is
	// higher than the one there is a new epoch.
	lease = redis.NewScript(`
local found = redis.call('HMGET', KEYS[1], 'server', 'number', 'life')
if found[3] ~= ARGV[6] then return 0 end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[3]) > tonumber(ARGV[4]) then return 0 end
if found[1] ~= ARGV[1] or tonumber(found[2] or '0') > tonumber(ARGV[2]) then return 0 end
if found[2] ~= ARGV[2] then
  if ARGV[5] == '' then return 0 end
  redis.call('HSET', KEYS[1], 'number', ARGV[2])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
return 1`)
)

// epoch is one as it stands in the record.
type epoch struct {
	number int64
	server string
	begun  bool
}

// moving is an epoch that has not begun, and since when this node knows of it.
type moving struct {
	number int64
	since  time.Time
}

// Renew looks into the record and, if the Redis server is the one that counts,
// has it believed for another while; else it has it count, which takes
// moveTime if another one may still be believed. A gateway calls it all the
// time; where it was not called, Load does. ErrUnavailable: not yet.
func (s *Store) Renew(ctx context.Context) error {
	// One at a time, for all who want it.
	renewed := s.renewing.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), moveTime)
		defer cancel()
		err := s.renew(ctx)
		for range 3 { // another node may have been quicker
			if !errors.Is(err, errTooLate) {
				break
			}
			err = s.renew(ctx)
		}
		return nil, err
	})
	select {
	case r := <-renewed:
		if r.Err != nil {
			return unavailable(fmt.Errorf("the epoch: %w", r.Err))
		}
		return nil
	case <-ctx.Done():
		return unavailable(fmt.Errorf("the epoch: %w", ctx.Err()))
	}
}

func (s *Store) renew(ctx context.Context) error {
	keys := []string{keyEpoch, keyLease}
	// On one connection, so that all is said of one server. It is asked for its run
	// id again: one that was a replica meanwhile holds that of another.
	conn := s.Redis.Conn()
	defer conn.Close()
	if err := OpenEpoch(ctx, conn); err != nil {
		return err
	}
	there, err := lookEpoch.Run(ctx, conn, keys).StringSlice()
	if err != nil {
		return err
	}
	server, number, at, life := there[0], there[1], there[2], there[3]
	e, err := s.Record.epoch(ctx)
	if err != nil {
		return err
	}
	isNew := ""
	switch {
	case e.server == server && e.begun && fmt.Sprint(e.number) == number:
	case e.begun && (e.server == server || e.server == ""):
		// The first of all, or a server that lost what it had. What began before
		// this can no longer commit.
		e, err = s.Record.beginEpoch(ctx, e, epoch{e.number + 1, server, true})
		isNew = "new"
	case e.server != server:
		e, err = s.Record.beginEpoch(ctx, e, epoch{e.number + 1, server, false})
		s.moving = moving{} // the time counts from when it is known to be on record
		if err == nil {
			s.moving = moving{e.number, time.Now()}
			err = errMoving
		}
	case s.moving.number != e.number:
		s.moving = moving{e.number, time.Now()}
		err = errMoving
	case time.Since(s.moving.since) < moveTime:
		err = errMoving
	default:
		e, err = s.Record.beginEpoch(ctx, e, epoch{e.number, server, true})
		isNew = "new"
	}
	if err != nil {
		return err
	}
	renewed, err := lease.Run(ctx, conn, keys, server, e.number, at, leaseTime.Milliseconds(), isNew, life).Bool()
	if err == nil && !renewed {
		err = errTooLate
	}
	return err
}

// errMoving says that another server may still be believed.
var errMoving = errors.New("another Redis server counted until now")

// epoch reads the one that counts.
func (r *Record) epoch(ctx context.Context) (e epoch, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT number, server, begun FROM permission_epoch`).Scan(&e.number, &e.server, &e.begun)
	return e, err
}

// beginEpoch replaces the epoch that was read by another, unless somebody else did.
func (r *Record) beginEpoch(ctx context.Context, was, is epoch) (epoch, error) {
	return is, inTime(r.db.ExecContext(ctx, `UPDATE permission_epoch SET number = $1, server = $2, begun = $3 WHERE number = $4 AND server = $5 AND begun = $6`,
		is.number, is.server, is.begun, was.number, was.server, was.begun))
}
