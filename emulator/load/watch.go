package load

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// watch takes samples and tells how it goes, each second, until the returned
// function is called, which takes a last one. It also looks whether the gateway
// is still there.
func (g *Generator) watch() (end func()) {
	server := g.openRedis()
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-done:
				return
			}
			if err := g.health.lost(); err != nil {
				g.stop(err)
			}
			g.progress(false)
			g.sample(server)
		}
	})
	return func() {
		close(done)
		watching.Wait()
		g.progress(true)
		g.sample(server)
		if server != nil {
			_ = server.Close()
		}
	}
}

// sample writes down what the processes have used by now, and what waits where.
// A process that does not answer in time is left out.
func (g *Generator) sample(server *redis.Client) {
	s := Sample{At: time.Since(g.started).Milliseconds(), Depths: map[string]float64{"under way": float64(g.account.underWay())}}
	s.Processes = append(s.Processes, ownUsage())
	var mu sync.Mutex
	var asking sync.WaitGroup
	look := func(name string, c *client) {
		asking.Go(func() {
			p := Process{Name: name}
			depths := make(map[string]float64)
			if c.control(message{method: http.MethodGet, path: "/metrics", patience: sampleTakes}, func(body []byte) error {
				p.take(body, depths)
				return nil
			}) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if p.RSS > 0 {
				s.Processes = append(s.Processes, p)
			}
			for depth, n := range depths {
				s.Depths[depth] = n
			}
		})
	}
	look("gateway", g.control)
	if g.emulator != nil {
		look("emulator", g.emulator)
	}
	if server != nil {
		asking.Go(func() {
			if p, ok := redisUsage(server); ok {
				mu.Lock()
				defer mu.Unlock()
				s.Processes = append(s.Processes, p)
			}
		})
	}
	asking.Wait()
	if err := g.results.Sample(s); err != nil {
		g.stop(fmt.Errorf("the results could not be written: %w", err))
	}
}

// sampleTakes is how long is waited for a process to tell of itself.
const sampleTakes = 900 * time.Millisecond

// take reads what a process tells of itself. The binds of an operator are added
// up.
func (p *Process) take(body []byte, depths map[string]float64) {
	eachMetric(body, func(m metric) {
		switch m.name {
		case "process_cpu_seconds_total":
			p.CPU = m.value
		case "process_resident_memory_bytes":
			p.RSS = m.value
		default:
			if name, ok := m.depth(); ok {
				depths[name] += m.value
			}
		}
	})
}

func (g *Generator) openRedis() *redis.Client {
	if g.redisOptions == nil {
		return nil
	}
	return redis.NewClient(g.redisOptions)
}

// redisUsage asks Redis what it has used.
func redisUsage(server *redis.Client) (Process, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), sampleTakes)
	defer cancel()
	info, err := server.InfoMap(ctx, "cpu", "memory").Result()
	if err != nil {
		return Process{}, false
	}
	p := Process{Name: "redis"}
	for _, section := range info {
		for name, value := range section {
			var n float64
			if _, err := fmt.Sscan(value, &n); err != nil {
				continue
			}
			switch name {
			case "used_cpu_sys", "used_cpu_user":
				p.CPU += n
			case "used_memory_rss":
				p.RSS = n
			}
		}
	}
	return p, true
}

// underWay is how many requests have begun and not ended.
func (c *account) underWay() int64 {
	asked := c.asked.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, asked-c.balance.Ended())
}
