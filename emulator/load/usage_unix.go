//go:build unix

package load

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ownUsage is what this process has used.
func ownUsage() Process {
	p := Process{Name: "load"}
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		p.CPU = (time.Duration(used.Utime.Nano()) + time.Duration(used.Stime.Nano())).Seconds()
	}
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(fields[1], 64)
			p.RSS = pages * float64(os.Getpagesize())
		}
	}
	return p
}
