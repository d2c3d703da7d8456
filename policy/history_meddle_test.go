package policy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// meddler stands between a node and Redis. It does to an operation what its
// context says (trouble), and may send other scripts than the product's: so the
// wrong variants are made, of which tests show that they are found out.
type meddler struct {
	client  *redis.Client
	instead map[string]*redis.Script // by the hash of the product's
}

// trouble is what happens to one operation on its way, where it runs a certain
// script.
type trouble struct {
	script *redis.Script
	before func()        // before it runs
	drop   bool          // it never runs, and the node hears of no answer
	lose   bool          // it runs, and the node hears of no answer
	again  time.Duration // it runs once more, so much later

	commit string // "fails" before it is on record, or "lost": the answer (history_sql_test.go)
	epoch  string // likewise, of an epoch that is written down
	begun  func() // after the begin of a save

	met   atomic.Bool // the script ran
	mu    sync.Mutex
	token string // of the save
	gates []string
}

type troubleKey struct{}

func withTrouble(ctx context.Context, t *trouble) context.Context {
	return context.WithValue(ctx, troubleKey{}, t)
}

func troubleOf(ctx context.Context) *trouble {
	t, _ := ctx.Value(troubleKey{}).(*trouble)
	return t
}

var (
	errGone = errors.New("the test cut this off")
	errLost = errors.New("the test lost the answer")
)

func (m *meddler) DialHook(next redis.DialHook) redis.DialHook { return next }

func (m *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return m.around(ctx, []redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

func (m *meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return m.around(ctx, cmds, func() error { return next(ctx, cmds) })
	}
}

func (m *meddler) around(ctx context.Context, cmds []redis.Cmder, next func() error) error {
	t := troubleOf(ctx)
	hash := scriptOf(cmds[0])
	for _, cmd := range cmds {
		m.exchange(cmd)
	}
	if t == nil || hash == "" {
		return next()
	}
	if hash == beginSave.Hash() {
		t.begins(cmds)
		if t.begun != nil {
			defer t.begun()
		}
	}
	if t.script == nil || hash != t.script.Hash() {
		return next()
	}
	t.met.Store(true)
	if t.before != nil {
		t.before()
	}
	if t.drop {
		return fail(cmds, errGone)
	}
	err := next()
	if t.again > 0 {
		m.repeat(t, cmds)
	}
	if t.lose {
		return fail(cmds, errLost)
	}
	return err
}

// begins notes the token and the gates of a save.
func (t *trouble) begins(cmds []redis.Cmder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gates = nil
	for _, cmd := range cmds {
		args := cmd.Args() // evalsha, hash, 2, set, gate, token, ms
		t.token = args[5].(string)
		t.gates = append(t.gates, args[4].(string))
	}
}

// outlived moves the time of a save until which it may take, in place of waiting
// for it, where it still is in a gate.
var outlived = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[1], -600000) end
return 1`)

func (t *trouble) outlive(ctx context.Context, client *redis.Client) {
	t.mu.Lock()
	token, gates := t.token, t.gates
	t.mu.Unlock()
	for _, gate := range gates {
		_ = outlived.Run(ctx, client, []string{gate}, "s:"+token).Err() // without Redis there is no gate
	}
}

// repeat sends commands again, as a network does that lost an answer. A save
// that so begins after its end is then given up.
func (m *meddler) repeat(t *trouble, cmds []redis.Cmder) {
	var all [][]any
	for _, cmd := range cmds {
		all = append(all, append([]any(nil), cmd.Args()...))
	}
	time.AfterFunc(t.again, func() {
		ctx := context.Background()
		for _, args := range all {
			_ = m.client.Do(ctx, args...).Err()
		}
		if t.script == beginSave {
			time.Sleep(time.Millisecond)
			t.outlive(ctx, m.client)
		}
	})
}

func fail(cmds []redis.Cmder, err error) error {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
	return err
}

// scriptOf is the hash of the script that a command runs, if it does.
func scriptOf(cmd redis.Cmder) string {
	args := cmd.Args()
	if len(args) < 2 {
		return ""
	}
	switch name, _ := args[0].(string); name {
	case "evalsha":
		return args[1].(string)
	case "eval":
		return redis.NewScript(args[1].(string)).Hash()
	}
	return ""
}

// exchange puts another script in the place of the product's.
func (m *meddler) exchange(cmd redis.Cmder) {
	if len(m.instead) == 0 {
		return
	}
	args := cmd.Args()
	if other := m.instead[scriptOf(cmd)]; other != nil {
		args[1] = other.Hash()
		if args[0] == "eval" {
			args[1] = sourceOf(other)
		}
	}
	if len(args) == 3 && args[0] == "script" && args[1] == "load" {
		if other := m.instead[redis.NewScript(args[2].(string)).Hash()]; other != nil {
			args[2] = sourceOf(other)
		}
	}
}

// sourceOf is the text of a script, which it tells nobody but a server.
func sourceOf(script *redis.Script) string {
	var l listener
	_ = script.Load(context.Background(), &l)
	return l.heard
}

type listener struct {
	redis.Scripter
	heard string
}

func (l *listener) ScriptLoad(_ context.Context, source string) *redis.StringCmd {
	l.heard = source
	return redis.NewStringResult(redis.NewScript(source).Hash(), nil) // which the script keeps
}
