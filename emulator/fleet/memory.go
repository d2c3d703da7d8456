package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// What an emulator takes, in octets, as measured: the program with its
// connections; what is kept of each card that was used once, by its fleet and by
// the message centre that counts its messages; and each telephone that is made.
// Twice of it, since as much again waits for the collector.
const (
	programSize   = 64 << 20
	memorySize    = 2 * 100
	telephoneSize = 2 * 8 << 10
)

// memoryFor is how much memory an emulator needs.
func memoryFor(cards, warm int) uint64 {
	return programSize + uint64(cards)*memorySize + uint64(min(cards, warm))*telephoneSize
}

// CheckMemory says plainly if there is less memory than an emulator of so many
// cards needs; warm is as in Options.
func CheckMemory(cards, warm int) error {
	if warm == 0 {
		warm = defaultWarm
	}
	return checkMemory(os.DirFS("/"), cards, warm)
}

func checkMemory(root fs.FS, cards, warm int) error {
	needs := memoryFor(cards, warm)
	has, err := available(root)
	if err != nil {
		return nil // a system that does not tell is not one to refuse
	}
	if needs > has {
		return fmt.Errorf("not enough memory: %d cards need %s, and there are %s: ask for fewer cards, or fewer warm telephones", cards, mebibytes(needs), mebibytes(has))
	}
	return nil
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

// available is how much memory there is for this process: what the machine has
// left, and no more than its control groups let it have.
func available(root fs.FS) (uint64, error) {
	has, err := lineOf(root, "proc/meminfo", "MemAvailable:")
	if err != nil {
		return 0, err
	}
	has <<= 10 // it is in KiB
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return has, nil
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		// Hierarchy 0 is version 2; of version 1 memory has one of its own.
		kind := cgroups{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"}
		if fields[0] != "0" {
			if fields[1] != "memory" {
				continue
			}
			kind = cgroups{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"}
		}
		has = min(has, kind.left(root, fields[2]))
	}
	return has, nil
}

// cgroups is where a version of control groups tells of memory.
type cgroups struct{ dir, limit, usage, cache string }

// left is the least that a group and those around it have left. In a container
// the path may be one outside of it; then the root is what it sees.
func (c *cgroups) left(root fs.FS, group string) uint64 {
	least := ^uint64(0)
	for dir := path.Join(c.dir, group); strings.HasPrefix(dir, c.dir); dir = path.Dir(dir) {
		limit, err := numberIn(root, path.Join(dir, c.limit))
		if err != nil {
			continue // none, or "max"
		}
		used, err := numberIn(root, path.Join(dir, c.usage))
		if err != nil {
			continue
		}
		if cache, err := lineOf(root, path.Join(dir, "memory.stat"), c.cache); err == nil { // which is given up when it is needed
			used -= min(cache, used)
		}
		least = min(least, limit-min(limit, used))
	}
	return least
}

func numberIn(root fs.FS, name string) (uint64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// lineOf is the number in the line of a file that begins with a word.
func lineOf(root fs.FS, name, word string) (uint64, error) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == word {
			return strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return 0, errors.New(name + " has no " + word)
}
