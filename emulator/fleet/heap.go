package fleet

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// RoomyHeap lets the heap of an emulator of so many cards grow far before it is
// collected, which saves CPU, as long as the process stays below what CheckMemory
// reckons with or half a gibibyte, whichever is more. It goes on until the context
// ends. Who sets GOGC or GOMEMLIMIT knows better.
func RoomyHeap(ctx context.Context, cards, warm int) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(400)
	reckoned := int64(memoryFor(cards, warm))
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		metrics.Read(live)
		debug.SetMemoryLimit(heapLimit(reckoned, int64(live[0].Value.Uint64())))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// heapLimit is what the heap may grow to. A limit near to what lives in it, or
// below, would have it collected all the time: so it always has room for a third of
// that, and for the stacks of those who think.
func heapLimit(reckoned, live int64) int64 {
	const (
		usual  = 440 << 20 // the program itself is not counted
		stacks = 64 << 20
	)
	return max(usual, reckoned, live+live/3+stacks)
}
