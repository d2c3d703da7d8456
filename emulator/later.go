package emulator

import (
	"container/heap"
	"sync"
	"time"
)

// later does things when their time has come. It has one timer for all of them,
// so that a hundred thousand messages on their way cost no goroutine each, and
// what is due within a millisecond is done together: a centre's sessions then
// write it together.
type later struct {
	do func(f func()) // beside what else happens; f may wait

	mu    sync.Mutex
	due   dueHeap
	timer *time.Timer
	wake  time.Time // when the timer fires; zero: it does not
	over  bool
}

// laterGrain is how exactly the time is kept.
const laterGrain = time.Millisecond

// deferred is one thing to do.
type deferred struct {
	at   time.Time
	held bool // by the network, for the run
	f    func()
}

// after does f after a while. held says that it is something that the network
// holds and that a new run is to know nothing of.
func (l *later) after(d time.Duration, held bool, f func()) {
	at := time.Now().Add(d)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	heap.Push(&l.due, deferred{at, held, f})
	l.set()
}

// set sets the timer for the first that is due. The caller holds mu.
func (l *later) set() {
	if len(l.due) == 0 || l.over {
		return
	}
	first := l.due[0].at
	if !l.wake.IsZero() && !first.Before(l.wake) {
		return
	}
	l.wake = first.Add(laterGrain)
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Until(l.wake), l.ring)
	} else {
		l.timer.Reset(time.Until(l.wake))
	}
}

func (l *later) ring() {
	l.mu.Lock()
	l.wake = time.Time{}
	var now []func()
	for t := time.Now(); len(l.due) > 0 && !l.due[0].at.After(t); {
		now = append(now, heap.Pop(&l.due).(deferred).f)
	}
	l.set()
	l.mu.Unlock()
	for _, f := range now {
		l.do(f)
	}
}

// forget drops what the network holds.
func (l *later) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.due[:0]
	for _, d := range l.due {
		if !d.held {
			kept = append(kept, d)
		}
	}
	clear(l.due[len(kept):])
	l.due = kept
	heap.Init(&l.due)
}

// stop drops everything, now and from now on.
func (l *later) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over, l.due = true, nil
	if l.timer != nil {
		l.timer.Stop()
	}
}

// held is how much the network holds, or waits for a handset.
func (l *later) held() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.due {
		if d.held {
			n++
		}
	}
	return n
}

// dueHeap is a heap by time.
type dueHeap []deferred

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(deferred)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = deferred{}
	*h = (*h)[:last]
	return d
}
