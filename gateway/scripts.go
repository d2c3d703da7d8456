package gateway

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// ScriptCall is one call of a script, with all that it takes.
type ScriptCall struct {
	Script *redis.Script
	Keys   []string
	Args   []any
}

// BareCalls are the two calls that no signature can do without, of its admission
// and of its end, for a benchmark that makes them with nothing around.
func (g *Gateway) BareCalls(t *Transaction, r Request, cms []byte) (admission, end ScriptCall, err error) {
	admission.Script, end.Script = admit, finalise
	if admission.Keys, admission.Args, err = g.admitArguments(t, r); err != nil {
		return admission, end, err
	}
	end.Keys, end.Args = g.finishArguments(t, outcome{state: Signed, cms: cms, line: answered})
	return admission, end, nil
}

// MakeBareCall makes a call as all others on the signing path are made.
func (g *Gateway) MakeBareCall(ctx context.Context, c ScriptCall) ([]string, error) {
	return g.runScript(ctx, c.Script, c.Keys, c.Args...)
}
