package gateway

import (
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

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
	return redis.NewClient(options), nil
}
