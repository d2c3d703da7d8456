package policy

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"
)

// Store saves permission sets, and brings them into Redis for the scripts that
// ask (Lua).
//
// Two keys per employee. The set itself is a hash: "default" is allow or
// block, a field "x:" + provider stands for each exception, and "epoch" tells
// in which it was put (epoch.go). The gate beside it is a hash with "gen", a
// random word that changes whenever a save begins or ends, and "s:" + token for
// each save under way, with the time until which it may take.
//
//	save:  begin   the set leaves Redis, the save is written into the gate
//	       commit  in SQL, if the epoch in which it began still counts
//	       finish  the save leaves the gate, gen changes, no set is in Redis
//	load:  look    gen, the epoch, and no save under way
//	       read    from SQL
//	       put     the set enters Redis if gen and the epoch are what they were
//
// So a set that enters Redis was read while no save was under way, and any
// save that begins later takes it out first: what is in Redis is what the
// record says, from before a save's commit until its return nothing is, and
// nobody is admitted in between.
//
// A process that dies between begin and finish leaves its save in the gate.
// Whoever comes when its time is over gives it up in SQL, where it then either
// is on record or can never be, takes it out of the gate, and loads what the
// record says.
type Store struct {
	Record *Record
	Redis  *redis.Client // its OnConnect is OpenEpoch
	// Carry brings a command of a load to Redis, together with what others bring at
	// that moment; nil: each goes by itself. It is set before the store is used.
	Carry func(ctx context.Context, command redis.Cmder) error

	renewing, givingUp singleflight.Group
	moving             moving // of renewing
}

// Save is a change of one or several sets, made together or not at all.
type Save struct {
	Employees []Employee // whom it may change, each once
	// Decisions is how many exceptions may change, where that is more than one for
	// each: the save is given time for them.
	Decisions int
	// Check is asked in the transaction, before any set is changed, if it is there.
	Check func(ctx context.Context, tx *sql.Tx) error
	// Change gives the set as it is to be. Its Version is not looked at.
	Change func(e Employee, before Set) (Set, error)
	// Also runs last in the same transaction, with the sets that changed, which
	// may be none, if it is there.
	Also func(ctx context.Context, tx *sql.Tx, changed []Changed) error
}

// Changed is a set before and after a save that changed it.
type Changed struct {
	Employee      Employee
	Before, After Set
}

// OnlyDecision is the provider for whom alone the decision changed, and what it is
// now, if the default did not change and there is one such.
func (c Changed) OnlyDecision() (p Provider, allowed, only bool) {
	differ := c.Before.differ(c.After)
	if c.Before.BlockAll != c.After.BlockAll || len(differ) != 1 {
		return "", false, false
	}
	return differ[0], c.After.Allows(differ[0]), true
}

// A save may take saveTime, and perDecision more for each decision; then it is
// dead. A set leaves Redis after lifetime and is loaded again.
const (
	saveTime    = 2 * time.Second
	perDecision = 2 * time.Millisecond
	lifetime    = time.Hour
)

// time is how long a save may take.
func (s *Save) time() time.Duration {
	return saveTime + time.Duration(max(len(s.Employees), s.Decisions))*perDecision
}

var (
	// beginSave returns the epoch, or nothing if none is believed.
	beginSave = redis.NewScript(`
local epoch = redis.call('GET', '` + keyLease + `')
if not epoch then return false end
redis.call('DEL', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], 's:' .. ARGV[1], string.format('%.0f', now + ARGV[2]), 'gen', time[1] .. '.' .. time[2] .. ARGV[1])
redis.call('PERSIST', KEYS[2])
return epoch`)

	// endSaves takes saves out of the gate.
	endSaves = redis.NewScript(`
redis.call('DEL', KEYS[1])
for i = 2, #ARGV do redis.call('HDEL', KEYS[2], 's:' .. ARGV[i]) end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'gen', time[1] .. '.' .. time[2] .. ARGV[#ARGV])
if redis.call('HLEN', KEYS[2]) == 1 then redis.call('EXPIRE', KEYS[2], ARGV[1]) end
return 1`)

	// look returns the epoch and gen; or, while saves are under way, the tokens of
	// those whose time is over; or nothing if no epoch is believed.
	look = redis.NewScript(`
local epoch = redis.call('GET', '` + keyLease + `')
if not epoch then return {} end
local time = redis.call('TIME')
local now, busy, dead = time[1] * 1000 + math.floor(time[2] / 1000), false, {'dead'}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] ~= 'gen' then
    busy = true
    if now >= tonumber(fields[i + 1]) then dead[#dead + 1] = string.sub(fields[i], 3) end
  end
end
if busy then return dead end
if #fields == 0 then
  redis.call('HSET', KEYS[1], 'gen', time[1] .. '.' .. time[2] .. ARGV[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {'free', epoch, redis.call('HGET', KEYS[1], 'gen')}`)

	// put stores the set (default, version, exceptions …) if gen and the epoch are
	// unchanged and no save is under way.
	put = redis.NewScript(`
local fields = redis.call('HKEYS', KEYS[2])
if #fields ~= 1 or redis.call('HGET', KEYS[2], 'gen') ~= ARGV[1] or redis.call('GET', '` + keyLease + `') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'default', ARGV[4], 'version', ARGV[5])
for i = 6, #ARGV do redis.call('HSET', KEYS[1], 'x:' .. ARGV[i], 1) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1`)
)

// Save changes sets. When it returns without an error the change is in force:
// every script that asks from then on sees it. It returns the sets as they are
// then, in the order of save.Employees.
//
// With ErrUncertain the change may be on record or not; until that is certain
// nobody of these sets is admitted. With any other error nothing was changed;
// with ErrUnavailable it may be repeated.
func (s *Store) Save(ctx context.Context, save Save) ([]Set, error) {
	done, err := turn(ctx, s.Record.saves)
	if err != nil {
		return nil, err
	}
	defer done()
	token := rand.Text()
	allowed := save.time()
	until, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	// The caller going away must not leave the gates shut.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*allowed)
	defer cancel()
	epoch, err := s.begin(until, save.Employees, token, allowed)
	if err != nil {
		return nil, unavailable(errors.Join(err, s.end(after, save.Employees, token)))
	}
	sets, err := s.commit(until, after, epoch, token, save)
	if errors.Is(err, errUncertain) {
		return nil, fmt.Errorf("%w: %w", ErrUncertain, err) // whoever comes next will find out
	}
	if failed := s.end(after, save.Employees, token); failed != nil {
		return nil, fmt.Errorf("%w: %w", ErrUncertain, errors.Join(err, failed))
	}
	if errors.Is(err, errTooLate) || err != nil && until.Err() != nil {
		err = unavailable(err)
	}
	return sets, err
}

// commit makes the save in SQL, and finds out whether it is there if that was
// not answered.
func (s *Store) commit(until, after context.Context, epoch int64, token string, save Save) ([]Set, error) {
	sets, err := s.Record.commit(until, epoch, token, save)
	if !errors.Is(err, errUncertain) {
		return sets, err
	}
	onRecord, failed := s.Record.giveUp(after, token)
	switch {
	case failed != nil:
		return nil, errors.Join(err, failed)
	case onRecord:
		return sets, nil
	}
	return nil, fmt.Errorf("%w: %v", errTooLate, err)
}

// begin writes a save into the gates, and returns the epoch in which it began.
func (s *Store) begin(ctx context.Context, employees []Employee, token string, allowed time.Duration) (int64, error) {
	for {
		answers, err := s.each(ctx, employees, beginSave, token, allowed.Milliseconds())
		if err == nil {
			return s.sameEpoch(answers)
		}
		if !errors.Is(err, redis.Nil) || ctx.Err() != nil {
			return 0, err
		}
		// Some may have begun; the save has one token for all tries.
		err = s.Renew(ctx)
		if errors.Is(err, errMoving) {
			err = pause(ctx, moveTime/50)
		}
		if err != nil {
			return 0, err
		}
	}
}

func (s *Store) sameEpoch(answers []*redis.Cmd) (epoch int64, err error) {
	for i, a := range answers {
		text, err := a.Text()
		if err != nil {
			return 0, err
		}
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		if i > 0 && number != epoch {
			return 0, errTooLate
		}
		epoch = number
	}
	return epoch, nil
}

// end takes a save out of its gates.
func (s *Store) end(ctx context.Context, employees []Employee, token string) error {
	_, err := s.each(ctx, employees, endSaves, int(2*lifetime/time.Second), token)
	return err
}

// each runs a script for the set and the gate of every employee, some in one round
// trip: few enough that the embedded Redis answers them in time.
func (s *Store) each(ctx context.Context, employees []Employee, script *redis.Script, args ...any) (answers []*redis.Cmd, err error) {
	const batch = 25
	for len(employees) > 0 {
		n := min(batch, len(employees))
		pipe := s.Redis.Pipeline()
		for _, e := range employees[:n] {
			answers = append(answers, script.EvalSha(ctx, pipe, []string{SetKey(e), gateKey(e)}, args...))
		}
		_, err := pipe.Exec(ctx)
		if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
			if err := script.Load(ctx, s.Redis).Err(); err != nil {
				return nil, err
			}
			answers = answers[:len(answers)-n]
			continue
		}
		if err != nil {
			return nil, err
		}
		employees = employees[n:]
	}
	return answers, nil
}

// patience is how long a load waits for saves of its set.
const patience = time.Second / 4

// Load brings the set of one employee from the record into Redis, if it is not
// there. While a save is under way it fails with ErrUnavailable.
func (s *Store) Load(ctx context.Context, e Employee) error {
	var waited time.Duration
	for wait := time.Millisecond; ; wait *= 2 {
		loaded, err := s.load(ctx, e)
		switch {
		case err != nil:
			return unavailable(err)
		case loaded:
			return nil
		case waited >= patience:
			return unavailable(errors.New("a save of it is under way"))
		}
		if err := pause(ctx, wait); err != nil {
			return unavailable(err)
		}
		waited += wait
	}
}

// load tries once.
func (s *Store) load(ctx context.Context, e Employee) (bool, error) {
	keys := []string{SetKey(e), gateKey(e)}
	carry := s.Carry
	if carry == nil {
		carry = s.Redis.Process
	}
	run, err := RunScript(ctx, s.Redis, carry, look, keys[1:], rand.Text(), int(2*lifetime/time.Second))
	if err != nil {
		return false, err
	}
	found, err := run.StringSlice()
	switch {
	case err != nil:
		return false, err
	case len(found) == 0:
		return false, s.Renew(ctx)
	case found[0] == "dead":
		return false, s.giveUp(ctx, e, found[1:])
	}
	epoch, gen := found[1], found[2]
	set, err := s.Record.Get(ctx, e)
	if err != nil {
		return false, err
	}
	args := []any{gen, epoch, int(lifetime / time.Second), "allow", set.Version}
	if set.BlockAll {
		args[3] = "block"
	}
	for _, p := range set.Exceptions {
		args = append(args, string(p))
	}
	if run, err = RunScript(ctx, s.Redis, carry, put, keys, args...); err != nil {
		return false, err
	}
	return run.Bool()
}

// giveUp ends saves that a process left behind: they are on record, or never
// will be. One that still holds its lock in SQL is waited for by one at a time.
func (s *Store) giveUp(ctx context.Context, e Employee, tokens []string) error {
	if len(tokens) == 0 {
		return nil
	}
	args := []any{int(2 * lifetime / time.Second)}
	for _, token := range tokens {
		given := s.givingUp.DoChan(token, func() (any, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
			defer cancel()
			return s.Record.giveUp(ctx, token)
		})
		select {
		case r := <-given:
			if r.Err != nil {
				return r.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		args = append(args, token)
	}
	return endSaves.Run(ctx, s.Redis, []string{SetKey(e), gateKey(e)}, args...).Err()
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("policy: %w", ctx.Err())
	}
}
