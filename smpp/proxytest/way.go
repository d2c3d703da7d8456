package proxytest

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	readBuffer = 256 << 10       // of the kernel, for each socket
	chunk      = 64 << 10        // read at once
	maxHeld    = 256 << 10       // octets of whole PDUs held before no more is read
	lingering  = 1 * time.Second // how long an end may go on sending after a FIN
)

var (
	errCut  = errors.New("proxytest: it is time to cut")
	errGone = errors.New("proxytest: the connection was cut")
)

// way is one direction of a connection. A single goroutine reads, holds and
// writes, so that nothing but faults changes the order; who changes the faults
// wakes it, wherever it waits.
type way struct {
	conn     *conn
	from, to *net.TCPConn
	back     *way

	mu     sync.Mutex
	spells [len(kindNames)]spell // by Kind
	woken  chan struct{}
	left   bool // run does not look at faults any more

	// The rest is run's alone.
	frame   framer // where the stream is that left or was swallowed
	held    []held // by their coming
	size    int    // octets held
	partial []byte // the beginning of the PDU behind those held
	number  int    // of the latest that came
	newest  int    // of those that left
}

// spell is a fault on a way while it lasts.
type spell struct {
	Fault
	on    bool
	until time.Time // zero for good
	rng   *rand.Rand
}

// held is a whole PDU that waits.
type held struct {
	octets []byte
	due    time.Time
	number int
}

func newWay(c *conn, from, to *net.TCPConn) *way {
	return &way{conn: c, from: from, to: to, woken: make(chan struct{}, 1)}
}

// apply starts a fault; stream tells its chances from those of other ways.
func (w *way) apply(f Fault, stream uint64) {
	w.mu.Lock()
	s := spell{Fault: f, on: true, until: after(f.For), rng: rand.New(rand.NewPCG(f.Seed, stream))}
	if f.Kind == HalfOpen {
		s.until = time.Time{}
		w.spells = [len(kindNames)]spell{} // nothing is left to hold up
	}
	w.spells[f.Kind] = s
	w.mu.Unlock()
	w.wake()
}

func (w *way) lift() {
	w.mu.Lock()
	w.spells = [len(kindNames)]spell{HalfOpen: w.spells[HalfOpen]}
	w.mu.Unlock()
	w.wake()
}

// wake makes run look again at the faults, whether it reads, writes or pauses.
// The deadlines cannot get lost: run sets its own only under mu, having looked.
func (w *way) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left {
		return
	}
	_ = w.from.SetReadDeadline(time.Unix(1, 0)) // closed: it is awake
	_ = w.to.SetWriteDeadline(time.Unix(1, 0))
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// look locks mu and ends the faults whose time is over.
func (w *way) look() (now time.Time, err error) {
	w.mu.Lock()
	now = time.Now()
	if w.conn.ended() {
		return now, errGone
	}
	for kind := range w.spells {
		s := &w.spells[kind]
		if !s.on || s.until.IsZero() || now.Before(s.until) {
			continue
		}
		if Kind(kind) == Cut {
			return now, errCut
		}
		s.on = false
	}
	return now, nil
}

// run forwards until the stream ends, and then passes on how it did, unless the
// way is half open: then nobody is told.
func (w *way) run() {
	err := w.forward()
	switch {
	case errors.Is(err, errCut):
		w.mu.Lock()
		rst := w.spells[Cut].Reset
		w.mu.Unlock()
		w.conn.end(rst, true)
	case w.conn.ended() || w.silent():
	case errors.Is(err, io.EOF):
		_ = w.to.CloseWrite() // an error means that the other side is gone, too
	default:
		w.conn.end(true, false)
	}
	if w.conn.ended() {
		w.leave()
	}
}

// leave accounts for what a cut has cost, and discards what still comes.
func (w *way) leave() {
	w.conn.proxy.tally(func(c *Count) {
		c.Lost += len(w.held)
		if w.frame.seen > 0 && !w.frame.lost {
			c.Torn++
		}
	})
	w.mu.Lock()
	w.left = true
	_ = w.from.SetReadDeadline(time.Now().Add(lingering)) // closed: there is nothing to read
	w.mu.Unlock()
	_, _ = io.Copy(io.Discard, w.from)
}

func (w *way) silent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spells[HalfOpen].on
}

func (w *way) forward() error {
	buffer := make([]byte, chunk)
	for {
		if err := w.release(); err != nil {
			return err
		}
		n, err := w.read(buffer)
		if failed := w.take(buffer[:n]); failed != nil {
			return failed
		}
		switch {
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, io.EOF):
			if failed := w.flush(); failed != nil {
				return failed
			}
			_, failed := w.admit(0) // a stall holds up a close, too
			return errors.Join(failed, err)
		default:
			return err
		}
	}
}

// read reads until something that is held becomes due or a fault ends.
func (w *way) read(buffer []byte) (int, error) {
	_, err := w.look()
	var until time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	if len(w.held) > 0 {
		sooner(w.held[0].due)
	}
	for _, kind := range []Kind{Cut, Delay, Reorder} {
		if w.spells[kind].on {
			sooner(w.spells[kind].until)
		}
	}
	if err == nil {
		err = w.from.SetReadDeadline(until)
	}
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if w.size > maxHeld {
		w.pause(until)
		return 0, nil
	}
	return w.from.Read(buffer)
}

// pause waits for a time, for ever if it is zero, or until it is woken.
func (w *way) pause(until time.Time) {
	var over <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-w.woken:
	case <-w.conn.gone:
	}
}

// take forwards what was read, or holds it if a fault asks for whole PDUs.
func (w *way) take(b []byte) error {
	if len(w.held) == 0 && len(w.partial) == 0 {
		n := len(b)
		if w.holds() {
			rest := w.frame // of the PDU whose beginning has left
			if n = 0; rest.seen > 0 {
				n, _ = rest.next(b)
			}
		}
		if err := w.emit(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	w.partial = append(w.partial, b...)
	for used := 0; len(w.partial) > 0; {
		var f framer
		n, whole := f.next(w.partial[used:])
		if whole {
			w.hold(slices.Clone(w.partial[used : used+n]))
			used += n
			continue
		}
		w.partial = slices.Delete(w.partial, 0, used)
		if f.lost {
			return w.flush()
		}
		break
	}
	return nil
}

// holds reports whether a fault asks for whole PDUs.
func (w *way) holds() bool {
	_, err := w.look()
	defer w.mu.Unlock()
	return err == nil && !w.frame.lost && (w.spells[Cut].on || w.spells[Delay].on || w.spells[Reorder].on)
}

// hold puts a PDU behind those that wait.
func (w *way) hold(octets []byte) {
	now, _ := w.look()
	w.number++
	p := held{octets: octets, due: now, number: w.number}
	delay, reorder := &w.spells[Delay], &w.spells[Reorder]
	if delay.on {
		p.due = now.Add(chance(delay.rng, delay.Wait+1)) // or later, behind one that waits longer
	}
	if reorder.on {
		p.due = now.Add(reorder.Wait)
	}
	delayed := delay.on
	w.mu.Unlock()
	w.held = append(w.held, p)
	w.size += len(octets)
	if delayed {
		w.conn.proxy.tally(func(c *Count) { c.Delayed++ })
	}
}

// release lets go of what need not be held any longer.
func (w *way) release() error {
	for {
		i, err := w.due()
		if err != nil {
			return err
		}
		if i < 0 {
			break
		}
		if err := w.letGo(i); err != nil {
			return err
		}
	}
	if len(w.held) == 0 && len(w.partial) > 0 && !w.holds() {
		return w.flush()
	}
	return nil
}

// due is the index of the PDU that is to leave now, -1 if there is none.
func (w *way) due() (int, error) {
	now, err := w.look()
	defer w.mu.Unlock()
	if err != nil || len(w.held) == 0 {
		return -1, err
	}
	waits := now.Before(w.held[0].due)
	if reorder := &w.spells[Reorder]; reorder.on {
		if waits && len(w.held) <= reorder.N && w.size <= maxHeld {
			return -1, nil
		}
		return reorder.rng.IntN(len(w.held)), nil
	}
	if waits && w.spells[Delay].on {
		return -1, nil
	}
	return 0, nil
}

// letGo forwards the i-th PDU of those held, or cuts within it.
func (w *way) letGo(i int) error {
	p := w.held[i]
	if i == 0 { // by far the most, under a Delay
		w.held = w.held[1:]
	} else {
		w.held = slices.Delete(w.held, i, i+1)
	}
	w.size -= len(p.octets)
	if p.number < w.newest {
		w.conn.proxy.tally(func(c *Count) { c.Overtaken++ })
	}
	w.newest = max(w.newest, p.number)
	w.mu.Lock()
	cut := w.spells[Cut]
	w.mu.Unlock()
	if !cut.on {
		return w.emit(p.octets)
	}
	if err := w.emit(p.octets[:min(cut.N, len(p.octets)-1)]); err != nil {
		return err
	}
	return errCut
}

// flush lets go of all that is held, in the order of its coming.
func (w *way) flush() error {
	for len(w.held) > 0 {
		if err := w.letGo(0); err != nil {
			return err
		}
	}
	b := w.partial
	w.partial = nil
	return w.emit(b)
}

// emit writes to the far end what the faults of the moment let through.
func (w *way) emit(b []byte) error {
	for len(b) > 0 {
		s, err := w.admit(len(b))
		if err != nil {
			return err
		}
		n := s.octets
		if !s.swallow {
			n, err = w.to.Write(b[:n])
		}
		w.passed(b[:n], s)
		b = b[n:]
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !w.unheard() {
			return err
		}
		if s.pause > 0 {
			w.pause(time.Now().Add(s.pause))
		}
	}
	return nil
}

// unheard reports whether it goes unnoticed that the far end is gone, since the
// way that the news would come is half open. What is sent there is swallowed
// from then on.
func (w *way) unheard() bool {
	if !w.silent() && !w.back.silent() {
		return false
	}
	w.apply(Fault{Kind: HalfOpen}, 0)
	return true
}

// step is how the next octets go.
type step struct {
	octets  int
	swallow bool
	trickle bool
	pause   time.Duration // after them
}

// admit waits out a stall and says how the next of n octets go.
func (w *way) admit(n int) (step, error) {
	for first := true; ; first = false {
		s, stalled, until, err := w.step(n)
		if err != nil || !stalled {
			return s, err
		}
		if first {
			w.conn.proxy.tally(func(c *Count) { c.Stalled++ })
		}
		w.pause(until)
	}
}

func (w *way) step(n int) (s step, stalled bool, until time.Time, err error) {
	_, err = w.look()
	defer w.mu.Unlock()
	if err != nil {
		return s, false, until, err
	}
	s.octets = n
	stall, trickle := &w.spells[Stall], &w.spells[Trickle]
	switch {
	case w.spells[HalfOpen].on:
		s.swallow = true
	case stall.on:
		return s, true, stall.until, nil
	case trickle.on && n > 0:
		s.octets, s.trickle, s.pause = 1, true, trickle.Wait
		if trickle.N--; trickle.N == 0 {
			trickle.on = false
		}
	}
	return s, false, until, w.to.SetWriteDeadline(time.Time{})
}

// passed accounts for octets that were written or swallowed.
func (w *way) passed(b []byte, s step) {
	octets, pdus := len(b), 0
	for len(b) > 0 {
		n, whole := w.frame.next(b)
		b = b[n:]
		if whole {
			pdus++
		}
	}
	w.conn.proxy.tally(func(c *Count) {
		if s.swallow {
			c.Swallowed += pdus
		} else {
			c.Forwarded += pdus
		}
		if s.trickle {
			c.Trickled += octets
		}
	})
}

// framer finds where PDUs end.
type framer struct {
	seen   int    // octets of the PDU under way
	length uint32 // its command_length, as far as it was seen
	lost   bool   // command_length was impossible: no end is found any more
}

// A PDU has a header of 16 octets (SMPP 3.4 §3.2). What claims to be longer
// than maxLength is not waited for.
const (
	minLength = 16
	maxLength = 1 << 20
)

// next says how many octets at the front of b belong to the PDU under way, and
// whether it is whole with them.
func (f *framer) next(b []byte) (n int, whole bool) {
	if f.lost {
		return len(b), false
	}
	for ; f.seen < 4 && n < len(b); f.seen++ {
		f.length = f.length<<8 | uint32(b[n])
		n++
	}
	if f.seen < 4 {
		return n, false
	}
	if f.lost = f.length < minLength || f.length > maxLength; f.lost {
		return len(b), false
	}
	more := min(len(b)-n, int(f.length)-f.seen)
	n, f.seen = n+more, f.seen+more
	if f.seen < int(f.length) {
		return n, false
	}
	*f = framer{}
	return n, true
}
