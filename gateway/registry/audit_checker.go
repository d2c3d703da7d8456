package registry

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AuditFault is something that is not as the gateway left it.
type AuditFault struct {
	Sequence int64  `json:"sequence"` // of the entry; 0: of the head, or of none in particular
	What     string `json:"what"`
}

// AuditReport is what a verification found.
type AuditReport struct {
	Entries int64        `json:"entries"`
	Head    string       `json:"head"`   // the hash of the last entry, hexadecimal; empty if there is none
	Faults  []AuditFault `json:"faults"` // the first hundred
}

// AuditHead is a hash that was kept elsewhere, with the number of its entry.
type AuditHead struct {
	Sequence int64
	Hash     string // hexadecimal
}

const maxFaults = 100

// checker reads a chain, entry after entry. Since each has the hash of the one
// before, it can be checked by itself; so a fault is told where it is, and those
// after it are checked nevertheless. Only an entry that is good says where the
// chain has come to.
type checker struct {
	report AuditReport
	sealer *sealer // nil: seals are not known
	hasher hasher

	last     int64 // the good one with the highest sequence
	lastHash []byte
	bad      []int64            // sequences after last that are there, but not good
	unread   int64              // entries after last of which not even the sequence is known
	kept     map[int64][]string // hashes by sequence, until the entry is seen
}

func newChecker(kept []AuditHead) *checker {
	c := &checker{kept: make(map[int64][]string)}
	c.report.Faults = []AuditFault{}
	for _, h := range kept {
		c.kept[h.Sequence] = append(c.kept[h.Sequence], strings.ToLower(h.Hash))
	}
	return c
}

func (c *checker) fault(sequence int64, what string) {
	if len(c.report.Faults) < maxFaults {
		c.report.Faults = append(c.report.Faults, AuditFault{sequence, what})
	}
}

// unreadable counts an entry that cannot be checked; its sequence may be 0.
func (c *checker) unreadable(sequence int64, what string) {
	c.report.Entries++
	c.setAside(sequence)
	if sequence == 0 {
		c.unread++
	}
	c.fault(sequence, what)
}

// setAside notes that an entry is there. Beyond a hundred nobody is told what is
// missing anyway.
func (c *checker) setAside(sequence int64) {
	if sequence > c.last && len(c.bad) < maxFaults {
		c.bad = append(c.bad, sequence)
	}
}

// add checks the next entry, and tells whether it is good.
func (c *checker) add(l *link) bool {
	c.report.Entries++
	c.report.Head = hex.EncodeToString(l.hash)
	if what := c.wrong(l); what != "" {
		c.setAside(l.sequence)
		c.fault(l.sequence, what)
		return false
	}
	c.missing(l.sequence)
	if l.sequence == c.last+1 && !bytes.Equal(l.previous, c.lastHash) {
		c.fault(l.sequence, "does not follow the entry before it: one of them was replaced")
	}
	c.last, c.lastHash = l.sequence, append(c.lastHash[:0], l.hash...)
	c.bad, c.unread = c.bad[:0], 0
	return true
}

// wrong tells what is wrong with an entry by itself.
func (c *checker) wrong(l *link) string {
	sum := c.hasher.sum(l)
	kept := c.kept[l.sequence]
	delete(c.kept, l.sequence)
	switch {
	case !bytes.Equal(l.hash, sum[:]):
		return "was changed: its fields do not have its hash"
	case l.sequence < 1:
		return "has a sequence that no entry has"
	case c.sealer != nil && !hmac.Equal(l.seal, c.sealer.seal(l.hash)):
		return "was not written by the gateway: its seal is wrong"
	case l.sequence == c.last:
		return "is there twice"
	case l.sequence < c.last:
		return fmt.Sprintf("is out of its place: it comes after entry %d", c.last)
	case slices.ContainsFunc(kept, func(hash string) bool { return hash != hex.EncodeToString(l.hash) }):
		return "has another hash than was kept elsewhere"
	}
	return ""
}

// missing tells which entries are not there between the last good one and next.
func (c *checker) missing(next int64) {
	slices.Sort(c.bad)
	from := c.last + 1
	for _, there := range append(c.bad, next) {
		if there >= next {
			there = next
		}
		if n := there - from; n > 0 {
			lost := min(n, c.unread) // those may be the ones that cannot be read
			c.unread -= lost
			from += lost
			if from+1 == there {
				c.fault(from, "is missing")
			} else if from < there {
				c.fault(from, fmt.Sprintf("is missing, and all up to entry %d", there-1))
			}
		}
		from = max(from, there+1)
	}
}

// compare holds the head against the entries.
func (c *checker) compare(h head) {
	switch {
	case !c.sealer.made(h):
		c.fault(0, fmt.Sprintf("the head, which says that entry %d is the last, was not written by the gateway: entries may have been taken from the end", h.sequence))
	case h.sequence < c.last:
		c.fault(h.sequence+1, fmt.Sprintf("comes after the head, and all up to entry %d: the head was set back", c.last))
	case h.sequence > c.last:
		c.missing(h.sequence + 1)
	case !bytes.Equal(h.hash, c.lastHash):
		c.fault(0, fmt.Sprintf("the head has another hash than entry %d", c.last))
	}
}

// end gives the report, when all entries were added.
func (c *checker) end() AuditReport {
	for _, sequence := range slices.Sorted(maps.Keys(c.kept)) {
		if sequence > c.last {
			c.fault(sequence, "is missing, although its hash was kept elsewhere")
		}
	}
	return c.report
}
