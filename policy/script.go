package policy

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// RunScript runs a script by its hash, which carry brings to the server; a server
// that does not know it, since it has just started, is sent its text. With an error
// the command is not the caller's to read.
func RunScript(ctx context.Context, client redis.Scripter, carry func(context.Context, redis.Cmder) error,
	script *redis.Script, keys []string, args ...any) (*redis.Cmd, error) {
	command := make([]any, 0, 3+len(keys)+len(args))
	command = append(command, "evalsha", script.Hash(), len(keys))
	for _, k := range keys {
		command = append(command, k)
	}
	run := redis.NewCmd(ctx, append(command, args...)...)
	err := carry(ctx, run)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		run = script.Eval(ctx, client, keys, args...)
		err = run.Err()
	}
	return run, err
}
