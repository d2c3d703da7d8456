package policy

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store saves permission sets, and brings them into Redis for the scripts that
// ask (Lua).
//
// Two keys per employee. The set itself is a hash: "default" is allow or
// block, and a field "x:" + provider stands for each exception. The gate
// beside it is a hash with "gen", a random word that changes whenever a save
// begins or ends, and "s:" + token with the start time of each save under way.
//
//	save:  begin   the set leaves Redis, the save is written into the gate
//	       commit  in SQL
//	       finish  the save leaves the gate, gen changes, no set is in Redis
//	load:  look    gen, and no save under way
//	       read    from SQL
//	       put     the set enters Redis if gen is what it was
//
// So a set that enters Redis was read while no save was under way, and any
// save that begins later takes it out first: what is in Redis is what the
// record says, from before a save's commit until its return nothing is, and
// nobody is admitted in between. A process that dies between begin and finish
// leaves its save in the gate; after takeover whoever comes next removes it
// and loads what the record says by then. Redis coming back empty costs a load.
//
// A Redis that comes back with an old dump, or a replica that takes over, may
// hold sets from before a save. So each set carries the epoch in which it was
// put, and counts in that epoch only. The epoch is the server's run id: every
// connection writes it before anything else (OpenEpoch), so nothing runs on a
// restarted server before the sets of its earlier life have lost their force.
type Store struct {
	Record *Record
	Redis  *redis.Client // its OnConnect is OpenEpoch
}

// A save commits within commitTimeout of its begin or not at all, so after
// takeover it is dead. A set leaves Redis after lifetime and is loaded again.
const (
	commitTimeout = 2 * time.Second
	takeover      = 2 * commitTimeout
	lifetime      = time.Hour
)

const keyEpoch = "imza:epoch"

var runID = regexp.MustCompile(`(?m)^run_id:([0-9a-f]+)`)

// noServerInfo is how the embedded Redis, and no other, answers INFO server.
const noServerInfo = "section (server) is not supported"

// OpenEpoch is for a Redis client's OnConnect. A server that does not tell its
// run id is not spoken to: after a restart nothing would tell old sets from new.
func OpenEpoch(ctx context.Context, conn *redis.Conn) error {
	info, err := conn.Info(ctx, "server").Result()
	match := runID.FindStringSubmatch(info)
	switch {
	case err != nil && err.Error() == noServerInfo:
		match = []string{"", "embedded"} // it has no dump to come back from either
	case err != nil:
		return fmt.Errorf("policy: the epoch: %w", err)
	case match == nil:
		return errors.New("policy: the epoch: INFO server tells no run_id")
	}
	return conn.Set(ctx, keyEpoch, match[1], 0).Err()
}

// SetKey is where the set of an employee is in Redis, for scripts that use Lua.
func SetKey(e Employee) string { return "imza:permissions:" + e.String() }

func gateKey(e Employee) string { return "imza:gate:" + e.String() }

// Lua defines verdict(set, provider) for a script: "allow", "block" or, where
// the set is not in Redis, "unknown". An empty key is that of a certificate
// that no organisation has a say in.
const Lua = `
local function verdict(set, provider)
  if set == '' then return 'allow' end
  local found = redis.call('HMGET', set, 'default', 'x:' .. provider, 'epoch')
  if not found[1] or found[3] ~= redis.call('GET', '` + keyEpoch + `') then return 'unknown' end
  if not found[2] then return found[1] end
  if found[1] == 'allow' then return 'block' end
  return 'allow'
end
`

var (
	beginSave = redis.NewScript(`
redis.call('DEL', KEYS[1])
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 's:' .. ARGV[1], time[1], 'gen', time[1] .. '.' .. time[2] .. ARGV[1])
redis.call('PERSIST', KEYS[2])
return 1`)

	finishSave = redis.NewScript(`
redis.call('DEL', KEYS[1])
redis.call('HDEL', KEYS[2], 's:' .. ARGV[1])
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'gen', time[1] .. '.' .. time[2] .. ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1`)

	// look returns gen, or nothing while a save is under way. Saves that must be
	// dead are removed, with a new gen, so that nothing read before counts.
	look = redis.NewScript(`
local time = redis.call('TIME')
local now, busy, renew = tonumber(time[1]), false, false
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] ~= 'gen' then
    if now - tonumber(fields[i + 1]) >= tonumber(ARGV[2]) then
      redis.call('HDEL', KEYS[1], fields[i])
      renew = true
    else
      busy = true
    end
  end
end
if busy then return false end
if renew or redis.call('HEXISTS', KEYS[1], 'gen') == 0 then
  redis.call('HSET', KEYS[1], 'gen', time[1] .. '.' .. time[2] .. ARGV[1])
end
redis.call('SETNX', '` + keyEpoch + `', ARGV[1]) -- somebody emptied a running server
redis.call('EXPIRE', KEYS[1], ARGV[3])
return redis.call('HGET', KEYS[1], 'gen')`)

	// put stores the set (default, version, exceptions …) if gen is unchanged
	// and no save is under way.
	put = redis.NewScript(`
local fields = redis.call('HKEYS', KEYS[2])
if #fields ~= 1 or redis.call('HGET', KEYS[2], 'gen') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'default', ARGV[3], 'version', ARGV[4], 'epoch', redis.call('GET', '` + keyEpoch + `'))
for i = 5, #ARGV do redis.call('HSET', KEYS[1], 'x:' .. ARGV[i], 1) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1`)
)

// Save changes the set of one employee. When it returns without an error the
// change is in force: every script that asks from then on sees it. also runs
// in the same SQL transaction, if anything changed.
//
// With ErrUnavailable the change may be on record or not, and may be repeated;
// until it is certain nobody of the set is admitted.
func (s *Store) Save(ctx context.Context, e Employee, change func(Set) Set, also func(tx *sql.Tx, before, after Set) error) (Set, error) {
	token := rand.Text()
	keys := []string{SetKey(e), gateKey(e)}
	commit, cancel := context.WithTimeout(ctx, commitTimeout)
	if err := beginSave.Run(commit, s.Redis, keys, token).Err(); err != nil {
		cancel()
		return Set{}, unavailable(err)
	}
	saved, failed := s.Record.change(commit, e, change, also)
	if commit.Err() != nil { // whether it is on record cannot be told
		failed = unavailable(errors.Join(failed, commit.Err()))
	}
	cancel()
	// The caller going away must not leave the gate shut.
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := finishSave.Run(finish, s.Redis, keys, token, int(2*lifetime/time.Second)).Err(); err != nil {
		return Set{}, unavailable(errors.Join(failed, err))
	}
	return saved, failed
}

// Load brings the set of one employee from the record into Redis, if it is not
// there. While a save is under way it fails with ErrUnavailable.
func (s *Store) Load(ctx context.Context, e Employee) error {
	for wait := time.Millisecond; wait < time.Second/4; {
		gen, err := look.Run(ctx, s.Redis, []string{gateKey(e)}, rand.Text(), int(takeover/time.Second), int(2*lifetime/time.Second)).Text()
		if errors.Is(err, redis.Nil) {
			if err := pause(ctx, wait); err != nil {
				return unavailable(err)
			}
			wait *= 2
			continue
		}
		if err != nil {
			return unavailable(err)
		}
		set, err := s.Record.Get(ctx, e)
		if err != nil {
			return unavailable(err)
		}
		args := []any{gen, int(lifetime / time.Second), "allow", set.Version}
		if set.BlockAll {
			args[2] = "block"
		}
		for _, p := range set.Exceptions {
			args = append(args, string(p))
		}
		stored, err := put.Run(ctx, s.Redis, []string{SetKey(e), gateKey(e)}, args...).Bool()
		if err != nil {
			return unavailable(err)
		}
		if stored {
			return nil
		}
		wait *= 2
	}
	return unavailable(errors.New("it keeps changing"))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
