package policy

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What a check finds it must be seen to find: stores with one thing wrong, each
// by a step of the product that was exchanged for another, under the same
// histories.
func TestWrongStoresAreFoundOut(t *testing.T) {
	const lease = "redis.call('GET', '" + keyLease + "')"
	const server = "redis.call('HGET', '" + keyEpoch + "', 'server')"
	for _, wrong := range []struct {
		name    string
		instead map[string]*redis.Script
		cache   time.Duration
		moving  bool // only servers that move show it
	}{
		{name: "a node admits by what it knew 20 ms ago", cache: 20 * time.Millisecond},
		{name: "put does not look at gen", instead: otherwise(t, put, "redis.call('HGET', KEYS[2], 'gen') ~= ARGV[1] or ", "")},
		{name: "begin leaves the set in Redis", instead: otherwise(t, beginSave, "redis.call('DEL', KEYS[1])", "")},
		{name: "a save is given up by its time alone", instead: otherwise(t, look, "busy = true", "",
			"then dead[#dead + 1] = string.sub(fields[i], 3) end", "then redis.call('HDEL', KEYS[1], fields[i]) else busy = true end")},
		{name: "the run id is the epoch", moving: true, instead: together(
			otherwise(t, look, lease, server), otherwise(t, put, lease, server), otherwise(t, asking, lease, server))},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t, 2, onSQLite(t), wrong.instead)
			for _, n := range w.nodes {
				if wrong.cache > 0 {
					n.cached = &cache{lifetime: wrong.cache}
				}
			}
			failed := ""
			if !wrong.moving {
				failed = w.short(rand.Uint64()>>16, 6000, 6)
			} else {
				for i := uint64(0); i < 20 && failed == ""; i++ {
					failed = w.long(t, i, upheavals[2])
				}
			}
			if !strings.Contains(failed, "no order explains this") {
				t.Fatalf("%s did not show it: %s", w.tally, failed)
			}
			t.Logf("shown by %d histories: %s", w.tally.histories, failed)
		})
	}
}

// otherwise is a script of the product with something else in it.
func otherwise(t *testing.T, script *redis.Script, change ...string) map[string]*redis.Script {
	t.Helper()
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(sourceOf(script), change[i]) {
			t.Fatalf("the product's script has no %s", change[i])
		}
	}
	return map[string]*redis.Script{script.Hash(): redis.NewScript(strings.NewReplacer(change...).Replace(sourceOf(script)))}
}

func together(all ...map[string]*redis.Script) map[string]*redis.Script {
	whole := make(map[string]*redis.Script)
	for _, m := range all {
		maps.Copy(whole, m)
	}
	return whole
}
