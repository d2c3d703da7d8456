package emulator

import "sync/atomic"

// Stats is what has become of messages since the centre was made.
type Stats struct {
	ToHandset, FromHandset, Receipts Fates

	Throttled uint64 // submit_sm that were answered ESME_RTHROTTLED
	Refused   uint64 // submit_sm that were refused otherwise
	Held      int    // messages that the network has, or that wait for a handset
	Waiting   int    // messages and receipts that wait to be taken by an ESME
	Binds     int    // sessions of ESMEs that receive
}

// Fates counts segments on one way by what became of them.
type Fates struct {
	Accepted  uint64 // from whoever sent them
	Delivered uint64 // to whom they were for; one that came twice counts twice
	Failed    uint64 // undeliverable, expired, or refused for good
	Lost      uint64 // by the network's doing, as the next
	Twice     uint64
	Reordered uint64
	Late      uint64 // receipts
}

// Stats counts messages.
func (c *SMSC) Stats() Stats {
	c.esmes.mu.Lock()
	binds := len(c.esmes.bound)
	c.esmes.mu.Unlock()
	return Stats{
		ToHandset: c.counts.toHandset.now(), FromHandset: c.counts.fromHandset.now(), Receipts: c.counts.receipts.now(),
		Throttled: c.counts.throttled.Load(), Refused: c.counts.refused.Load(),
		Held: c.later.held(), Waiting: int(c.esmes.waiting.Load()), Binds: binds,
	}
}

// counts are what Stats reads.
type counts struct {
	toHandset, fromHandset, receipts fates
	throttled, refused               atomic.Uint64
}

type fates struct {
	accepted, delivered, failed, lost, twice, reordered, late atomic.Uint64
}

func (f *fates) now() Fates {
	return Fates{
		Accepted: f.accepted.Load(), Delivered: f.delivered.Load(), Failed: f.failed.Load(),
		Lost: f.lost.Load(), Twice: f.twice.Load(), Reordered: f.reordered.Load(), Late: f.late.Load(),
	}
}

// befalls counts what befalls a message, and reports whether it arrives.
func (f *fates) befalls(what fate) (arrives bool) {
	if what.lost {
		f.lost.Add(1)
		return false
	}
	if what.twice {
		f.twice.Add(1)
	}
	if what.reordered {
		f.reordered.Add(1)
	}
	return true
}
