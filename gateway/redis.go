package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"imza/policy"
)

// OpenRedis makes a client with the time-outs of the signing path: a provider
// is told within a second that Redis is away. A script that is run again after
// a lost answer does no harm, since each is made for it. Every connection opens
// with the policy's epoch.
func OpenRedis(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("gateway: redis address: %w", err)
	}
	options.ContextTimeoutEnabled = true
	options.DialTimeout = redisPatience / 3
	options.ReadTimeout = redisPatience / 3
	options.WriteTimeout = redisPatience / 3
	options.PoolTimeout = redisPatience / 2
	options.MaxRetries = 1
	options.MinRetryBackoff = 5 * time.Millisecond
	options.DialerRetries = 1
	options.OnConnect = policy.OpenEpoch
	// An offer that servers of our kind refuse; go-redis writes down the refusal
	// while other connections read it.
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	dial := redis.NewDialer(options)
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return newUnreached(err), nil
		}
		return conn, nil
	}
	return redis.NewClient(options), nil
}

// unreached is a connection that could not be made. go-redis counts errors of
// dialling, and after some tries only once a second, so that a Redis that is
// back would be noticed a second late; errors of a connection it does not count.
type unreached struct {
	net.Conn
	err error
}

func newUnreached(err error) unreached {
	nowhere, _ := net.Pipe()
	nowhere.Close()
	return unreached{nowhere, fmt.Errorf("redis: %w", err)} // go-redis takes off what is outermost
}

func (u unreached) Read([]byte) (int, error)         { return 0, u.err }
func (u unreached) Write([]byte) (int, error)        { return 0, u.err }
func (u unreached) SetDeadline(time.Time) error      { return nil }
func (u unreached) SetReadDeadline(time.Time) error  { return nil }
func (u unreached) SetWriteDeadline(time.Time) error { return nil }

// carryOut has a command of the signing path carried out. Those that are asked for
// at once go to the server in one write, which is what makes many of them cheap.
// When the context ends, or redisPatience, a command that is on its way may still
// be carried out. With an error it is not the caller's to read.
func (g *Gateway) carryOut(ctx context.Context, command redis.Cmder) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, redisPatience)
		defer cancel()
	}
	return g.pipe.Submit(ctx, command).WaitContext(ctx)
}

// runScript has a script carried out that answers with a list.
func (g *Gateway) runScript(ctx context.Context, script *redis.Script, keys []string, args ...any) ([]string, error) {
	run, err := policy.RunScript(ctx, g.redis, g.carryOut, script, keys, args...)
	if err != nil {
		return nil, err
	}
	return stringsOf(run)
}

// stringsOf reads a script's answer: a list of strings and numbers.
func stringsOf(cmd *redis.Cmd) ([]string, error) {
	list, err := cmd.Slice()
	if err != nil {
		return nil, err
	}
	answer := make([]string, len(list))
	for i, v := range list {
		switch v := v.(type) {
		case string:
			answer[i] = v
		case int64:
			answer[i] = strconv.FormatInt(v, 10)
		default:
			return nil, fmt.Errorf("gateway: a script answered a %T", v)
		}
	}
	if len(answer) == 0 {
		return nil, errors.New("gateway: a script answered nothing")
	}
	return answer, nil
}
