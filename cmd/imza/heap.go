package main

import (
	"os"
	"runtime/debug"
)

// roomyHeap lets the heap of a process that works all the time grow to five times
// what lives in it before it is collected, in place of twice: memory for a sixth
// of its CPU. Who sets GOGC knows better.
func roomyHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
