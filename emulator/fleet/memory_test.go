package fleet

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	const meminfo = "MemTotal: 8000000 kB\nMemAvailable: 2048000 kB\n" // 2,000 MiB
	for name, c := range map[string]struct {
		root  fstest.MapFS
		cards int
		says  string // empty: there is enough
	}{
		"enough":  {fstest.MapFS{"proc/meminfo": file(meminfo)}, MaxCards, ""},
		"little":  {fstest.MapFS{"proc/meminfo": file("MemAvailable: 204800 kB\n")}, 1_000_000, "1000000 cards need 379 MiB, and there are 200 MiB"},
		"unknown": {fstest.MapFS{}, MaxCards, ""},
		"a control group, version 2": {fstest.MapFS{"proc/meminfo": file(meminfo), "proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/memory.max": file("209715200\n"),
			"sys/fs/cgroup/a/memory.current": file("157286400\n"), "sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/b/memory.current": file("1\n")}, 1000, "there are 50 MiB"},
		"of which the cache can be had": {fstest.MapFS{"proc/meminfo": file(meminfo), "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("209715200\n"),
			"sys/fs/cgroup/memory.current": file("209715200\n"), "sys/fs/cgroup/memory.stat": file("anon 7\ninactive_file 157286400\n")}, 1000, ""},
		"a control group, version 1": {fstest.MapFS{"proc/meminfo": file(meminfo), "proc/self/cgroup": file("12:cpu:/\n7:memory:/outside\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("52428800\n"), "sys/fs/cgroup/memory/memory.usage_in_bytes": file("0\n")}, 1000, "1000 cards need 79 MiB, and there are 50 MiB"},
		"one of no memory": {fstest.MapFS{"proc/meminfo": file(meminfo), "proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("1\n"), "sys/fs/cgroup/memory.current": file("5\n")}, 1, "there are 0 MiB"},
	} {
		err := checkMemory(c.root, c.cards, defaultWarm)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// The limit gives way where more lives than was reckoned with.
func TestHeapLimit(t *testing.T) {
	for _, c := range []struct{ reckoned, live, want int64 }{{100, 30, 440}, {1000, 300, 1000}, {379, 300, 464}, {379, 900, 1264}} {
		if got := heapLimit(c.reckoned<<20, c.live<<20) >> 20; got != c.want {
			t.Errorf("reckoned with %d MiB and %d live: %d MiB, want %d", c.reckoned, c.live, got, c.want)
		}
	}
}
