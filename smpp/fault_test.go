package smpp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"imza/simcard/sms"
	"imza/smpp"
	"imza/smpp/proxytest"
)

// This file holds the package to its promise: whatever the network does, no
// message is lost, and the transaction layer sees each once. A pool and a server
// talk through a proxy that cuts, stalls, swallows, delays, reorders, trickles
// and refuses, by chance. SMPP_FAULT_SEED repeats a run, as far as the machine
// is as fast.

// faultSeed is another one each time, unless it is given.
func faultSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SMPP_FAULT_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = given
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("SMPP_FAULT_SEED=%#x", seed)
		}
	})
	return seed
}

// faultPlan is one run.
type faultPlan struct {
	messages int // each way
	faults   int // on live connections
	longest  time.Duration
	pair     bool // the pool binds transmitters and receivers
	options  smpp.Options
	limit    time.Duration // when it is given up
}

// Much shorter than in life, so that a link that is dead without a sign is
// noticed, and taken up again, many times in a run.
const (
	faultTimeout = 500 * time.Millisecond
	faultEnquire = 250 * time.Millisecond
	faultWindow  = 50
)

const (
	faultBinds   = 8
	faultSenders = 1_000 // each way at once
	faultRate    = 4_000 // messages a second, both ways together
	faultPhones  = 500
)

func TestFaults(t *testing.T) {
	short := smpp.Options{Window: faultWindow, Timeout: faultTimeout, Enquire: faultEnquire}
	long := smpp.Options{Window: faultWindow}
	for _, test := range []struct {
		name string
		plan faultPlan
	}{
		{"transceivers", faultPlan{50_000, 200, 800 * time.Millisecond, false, short, 4 * time.Minute}},
		{"pairs", faultPlan{4_000, 20, 800 * time.Millisecond, true, short, time.Minute}},
		{"none", faultPlan{4_000, 0, 0, false, long, time.Minute}},
	} {
		t.Run(test.name, func(t *testing.T) { newFaultRun(t, test.plan).run(faultSeed(t)) })
	}
}

// faultPayload is what message n carries: its number, which stands for the id
// of a transaction, and as much as needs one, two or three segments.
func faultPayload(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 0))
	size := 8 + rng.IntN(130)
	switch n % 10 {
	case 7, 8:
		size = 138 + rng.IntN(129)
	case 9:
		size = 267 + rng.IntN(134)
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, size+8), uint64(n))
	for len(b) < size {
		b = binary.BigEndian.AppendUint64(b, rng.Uint64())
	}
	return b[:size]
}

// faultSegments are the user data of message n. One telephone has many
// messages, which only their references tell apart.
func faultSegments(n int) (phone string, segments [][]byte) {
	segments, err := sms.Segment(sms.CommandPacket, faultPayload(n), byte(n/faultPhones))
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("9945%08d", n%faultPhones), segments
}

// faultLedger is the receiving side of one direction, and what is known of the
// messages that go there. Behind the handler stands what a real receiver has:
// segments are put together, and a whole message ends its transaction, once.
type faultLedger struct {
	mu       sync.Mutex
	sent     [][3]int                      // of each segment: how often it may have been sent
	came     [][3]int                      // and how often the handler got it
	segments map[string]map[uint8]sms.Part // by telephone and message
	ended    []bool                        // by transaction
	twice    int                           // whole messages of transactions that had ended
	wrong    []string
}

func newFaultLedger(messages int) *faultLedger {
	return &faultLedger{
		sent: make([][3]int, messages), came: make([][3]int, messages),
		segments: make(map[string]map[uint8]sms.Part), ended: make([]bool, messages),
	}
}

// send notes that segment i of message n may be sent times more.
func (l *faultLedger) send(n, i, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[n][i] += times
}

// fail notes what must not happen.
func (l *faultLedger) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}

// take is the transaction layer: it stores a segment, and hands a message over
// that is whole. label is beside what is transmitted: for the count of what
// comes twice. It returns how often the segment has come.
func (l *faultLedger) take(phone, label string, ud []byte) (n, i, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	part, err := sms.ParseUserData(ud)
	if err != nil {
		l.wrong = append(l.wrong, err.Error())
		return 0, 0, 0
	}
	n, err = strconv.Atoi(label)
	i = int(part.Sequence) - 1
	if err != nil || n >= len(l.came) || i > 2 {
		l.wrong = append(l.wrong, fmt.Sprintf("segment %d of message %q", part.Sequence, label))
		return 0, 0, 0
	}
	l.came[n][i]++
	parts := []sms.Part{part}
	if part.Total > 1 {
		parts = l.store(phone+"/"+part.Key(), part)
	}
	if len(parts) == int(part.Total) {
		l.end(parts)
	}
	return n, i, l.came[n][i]
}

// store keeps a segment and returns those of its message that have come. They
// stay: what comes again finds them whole, as in the gateway.
func (l *faultLedger) store(key string, part sms.Part) (parts []sms.Part) {
	if l.segments[key] == nil {
		l.segments[key] = make(map[uint8]sms.Part)
	}
	l.segments[key][part.Sequence] = part
	for _, p := range l.segments[key] {
		parts = append(parts, p)
	}
	return parts
}

// end ends the transaction of a whole message, unless it has ended.
func (l *faultLedger) end(parts []sms.Part) {
	message, err := sms.Join(parts)
	if err != nil {
		l.wrong = append(l.wrong, err.Error())
		return
	}
	n := len(l.ended)
	if len(message.Payload) >= 8 {
		n = int(min(binary.BigEndian.Uint64(message.Payload), uint64(n)))
	}
	switch {
	case n == len(l.ended) || message.Kind != sms.CommandPacket || !bytes.Equal(message.Payload, faultPayload(n)):
		l.wrong = append(l.wrong, fmt.Sprintf("handed over: %x", message.Payload))
	case l.ended[n]:
		l.twice++
	default:
		l.ended[n] = true
	}
}

// judge reports what was lost or is wrong, and returns how many segments came
// to the handler more than once.
func (l *faultLedger) judge(t *testing.T, way string) (again int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []string
	for n, ended := range l.ended {
		if !ended {
			lost = append(lost, fmt.Sprintf("%d (sent %v, came %v)", n, l.sent[n], l.came[n]))
		}
		for i, times := range l.came[n] {
			again += max(0, times-1)
			if times > l.sent[n][i] {
				l.wrong = append(l.wrong, fmt.Sprintf("message %d was sent %v times, and came %v times", n, l.sent[n], l.came[n]))
			}
		}
	}
	if len(lost) > 0 {
		t.Errorf("%s: %d of %d messages are missing: %s", way, len(lost), len(l.ended), strings.Join(lost[:min(len(lost), 20)], ", "))
	}
	if len(l.wrong) > 0 {
		t.Errorf("%s: %d times wrong: %s", way, len(l.wrong), strings.Join(l.wrong[:min(len(l.wrong), 20)], "\n"))
	}
	return again
}

// faultRun is a pool, a server, and what is between them.
type faultRun struct {
	*testing.T
	plan    faultPlan
	proxy   *proxytest.Proxy
	server  *smpp.Server
	pool    *smpp.Pool
	metrics *prometheus.Registry
	centre  faultCentre

	toSMSC, toESME *faultLedger
	pace           *rate.Limiter
	started        atomic.Int64 // messages, both ways
	struck         int          // faults that met a live connection
	took           time.Duration
}

func newFaultRun(t *testing.T, plan faultPlan) *faultRun {
	t.Helper()
	r := &faultRun{
		T: t, plan: plan, metrics: prometheus.NewRegistry(),
		toSMSC: newFaultLedger(plan.messages), toESME: newFaultLedger(plan.messages),
		pace: rate.NewLimiter(faultRate, faultRate/20),
	}
	options := plan.options
	options.Handler = r.submitted
	// A dead session counts until the server has noticed: who binds again must
	// bear "already bound".
	account := smpp.Account{Password: "secret", Binds: faultBinds}
	r.server = &smpp.Server{
		Options: options, Bound: r.centre.add,
		Account: func(string) (smpp.Account, bool) { return account, true },
	}
	return r
}

// faultListener is for a centre that also says what was not asked: in front of
// what it writes stands a response that has a number in use, maybe, and the
// command of none that an ESME sends.
type faultListener struct{ net.Listener }

func (l faultListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return faultConn{conn}, err
}

type faultConn struct{ net.Conn }

func (c faultConn) Write(b []byte) (int, error) {
	forged := (&smpp.PDU{Command: smpp.DeliverSMResp, Sequence: binary.BigEndian.Uint32(b[12:])}).Append(nil)
	n, err := c.Conn.Write(append(forged, b...))
	return max(0, n-len(forged)), err
}

// start returns how to stop all of it, which must not hang either.
func (r *faultRun) start() (stop func()) {
	r.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	if r.proxy, err = proxytest.Listen(listener.Addr().String()); err != nil {
		r.Fatal(err)
	}
	r.pool = &smpp.Pool{
		Name: "faulty", Addr: r.proxy.Addr(), Bind: smpp.BindRequest{SystemID: "imza", Password: "secret"},
		Binds: faultBinds, Pair: r.plan.pair, Options: r.plan.options, Handler: r.delivered,
	}
	if r.plan.pair {
		r.pool.Binds = faultBinds / 2
	}
	r.metrics.MustRegister(r.pool)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.server.Serve(faultListener{listener}) }) // until Close
	running.Go(func() { r.pool.Run(ctx) })
	return sync.OnceFunc(func() {
		cancel()
		faultWithin(r.T, time.Minute, "the end", func() {
			_ = r.proxy.Close()
			_ = r.server.Close()
			running.Wait()
			r.centre.leaving.Wait()
		})
	})
}

// faultWithin runs what must not hang, and reports whether it did not.
func faultWithin(t *testing.T, d time.Duration, what string, f func()) bool {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("%s did not come within %s\n%s", what, d, stacks.String())
		return false
	}
}

// faultGone insists that nothing is left running.
func faultGone(t *testing.T, before int) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Errorf("%d goroutines, there were %d", runtime.NumGoroutine(), before)
			return
		}
	}
}

// run does it all, and ends even if something hangs where it should not.
func (r *faultRun) run(seed uint64) {
	r.Helper()
	before := runtime.NumGoroutine()
	stop := r.start()
	if !faultWithin(r.T, r.plan.limit+2*time.Minute, "the end of the run", func() { r.exchange(seed) }) {
		r.toSMSC.judge(r.T, "to SMSC")
		r.toESME.judge(r.T, "to ESME")
		r.FailNow()
	}
	stop()
	r.judge(seed)
	faultGone(r.T, before)
}

// exchange sends everything both ways while faults strike.
func (r *faultRun) exchange(seed uint64) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), r.plan.limit)
	defer cancel()
	var sending, beside sync.WaitGroup
	for _, send := range []func(context.Context, int){r.submit, r.deliver} {
		var next atomic.Int64
		for range faultSenders {
			sending.Go(func() { r.sendAll(ctx, &next, send) })
		}
	}
	beside.Go(func() { r.inject(ctx, rand.New(rand.NewPCG(seed, 0))) })
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	beside.Go(func() { r.watch(watching) })
	late := !faultWithin(r.T, r.plan.limit+10*time.Second, "the last message", sending.Wait)
	r.took = time.Since(began)
	if late || ctx.Err() != nil {
		r.Errorf("given up after %s\n%s", r.took, r.told())
	} else if used := r.inUse(); used != 0 {
		r.Errorf("all was answered, and %d places in windows are taken", used)
	}
	unwatch()
	beside.Wait()
}

// sendAll sends one message after the other, as all senders together are paced.
func (r *faultRun) sendAll(ctx context.Context, next *atomic.Int64, send func(context.Context, int)) {
	for {
		n := int(next.Add(1)) - 1
		if n >= r.plan.messages || r.pace.Wait(ctx) != nil {
			return
		}
		r.started.Add(1)
		send(ctx, n)
	}
}

// inject strikes at moments that are spread at random over the messages, each
// kind as often as any other.
func (r *faultRun) inject(ctx context.Context, rng *rand.Rand) {
	kinds := []proxytest.Kind{proxytest.Cut, proxytest.Stall, proxytest.HalfOpen, proxytest.Delay,
		proxytest.Reorder, proxytest.Trickle, proxytest.Refuse}
	for i := 0; r.struck < r.plan.faults && ctx.Err() == nil; i++ {
		if i%len(kinds) == 0 {
			rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		}
		f := proxytest.Random(rng, r.plan.longest, kinds[i%len(kinds)])
		if f.Kind == proxytest.Refuse {
			r.proxy.Apply(f)
			continue
		}
		f.All = f.All && rng.IntN(3) == 0 // an outage of all binds takes seconds
		at := (2*r.plan.messages*r.struck + rng.IntN(2*r.plan.messages)) / r.plan.faults
		r.until(ctx, func() bool { return int(r.started.Load()) >= at && r.pool.Bound() })
		r.until(ctx, func() bool { return r.proxy.Apply(f) > 0 }) // 0: no connection is live
		r.struck++
		r.Logf("at message %d: %s", r.started.Load(), f)
	}
}

// until waits for a condition.
func (r *faultRun) until(ctx context.Context, condition func() bool) {
	for !condition() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// submit sends message n from the ESME. The ids must be those that the SMSC gave
// to just these segments.
func (r *faultRun) submit(ctx context.Context, n int) {
	phone, segments := faultSegments(n)
	messages := make([]*smpp.ShortMessage, len(segments))
	for i, ud := range segments {
		messages[i] = &smpp.ShortMessage{
			Source: smpp.Address{TON: 5, Addr: strconv.Itoa(n)}, Dest: smpp.International(phone),
			ESMClass: smpp.ESMClassUDHI, DataCoding: sms.DCSClass2Binary, Message: ud,
		}
	}
	ids, err := r.pool.Submit(ctx, func() error {
		for i := range messages {
			r.toSMSC.send(n, i, 1)
		}
		return nil
	}, messages...)
	if err != nil || len(ids) != len(messages) {
		r.toSMSC.fail("message %d: ids %q, %v", n, ids, err)
		return
	}
	for i, id := range ids {
		r.toSMSC.check(n, i, id)
	}
}

// submitted is the SMSC's handler.
func (r *faultRun) submitted(ctx context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	if !faultStore(ctx) {
		return "", smpp.StatusSystemError
	}
	n, i, times := r.toSMSC.take(m.Dest.Addr, m.Source.Addr, m.Content())
	return fmt.Sprintf("%d/%d/%d", n, i, times), smpp.StatusOK
}

// check insists that the id is one that was given to a segment.
func (l *faultLedger) check(n, i int, id string) {
	l.mu.Lock()
	came := l.came[n][i]
	l.mu.Unlock()
	for times := 1; times <= came; times++ {
		if id == fmt.Sprintf("%d/%d/%d", n, i, times) {
			return
		}
	}
	l.fail("segment %d of message %d, which came %d times, has the id %q", i, n, came, id)
}

// faultStore takes a moment now and then, as a store does, and fails if the
// session ends meanwhile.
func faultStore(ctx context.Context) bool {
	if rand.N(50) == 0 {
		select {
		case <-time.After(rand.N(20 * time.Millisecond)):
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// deliver brings message n from the SMSC, each segment for itself, until it is
// acknowledged.
func (r *faultRun) deliver(ctx context.Context, n int) {
	phone, segments := faultSegments(n)
	var handing sync.WaitGroup
	for i, ud := range segments {
		m := &smpp.ShortMessage{
			Source: smpp.International(phone), Dest: smpp.Address{TON: 5, Addr: strconv.Itoa(n)},
			ESMClass: smpp.ESMClassUDHI, DataCoding: sms.DCSClass2Binary, Message: ud,
		}
		handing.Go(func() { r.hand(ctx, n, i, m) })
	}
	handing.Wait()
}

func (r *faultRun) hand(ctx context.Context, n, i int, m *smpp.ShortMessage) {
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 200*time.Millisecond) {
		s := r.centre.session()
		if s != nil {
			r.toESME.send(n, i, 1)
			err := s.Deliver(ctx, m)
			switch {
			case err == nil:
				return
			case errors.Is(err, smpp.ErrClosed): // that it was not sent is a promise
				r.toESME.send(n, i, -1)
			case errors.Is(err, smpp.ErrUnanswered), errors.Is(err, smpp.StatusTemporary), errors.Is(err, smpp.StatusQueueFull):
			case ctx.Err() == nil:
				r.toESME.fail("segment %d of message %d: %v", i, n, err)
				return
			}
		}
		time.Sleep(pause/2 + rand.N(pause/2))
	}
}

// delivered is the pool's handler. Now and then it cannot store, and has the
// message delivered again.
func (r *faultRun) delivered(ctx context.Context, _ *smpp.Pool, m *smpp.ShortMessage) smpp.Status {
	if !faultStore(ctx) || rand.N(300) == 0 {
		return smpp.StatusTemporary
	}
	r.toESME.take(m.Source.Addr, m.Dest.Addr, m.Content())
	return smpp.StatusOK
}

// faultCentre knows the server's sessions.
type faultCentre struct {
	mu      sync.Mutex
	bound   []*smpp.Session // all that live
	leaving sync.WaitGroup
}

func (c *faultCentre) add(s *smpp.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound = append(c.bound, s)
	c.leaving.Go(func() {
		<-s.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bound = slices.DeleteFunc(c.bound, func(b *smpp.Session) bool { return b == s })
	})
}

func (c *faultCentre) live() []*smpp.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bound)
}

// session is one of those that receive, at random, nil if there is none.
func (c *faultCentre) session() *smpp.Session {
	live := slices.DeleteFunc(c.live(), func(s *smpp.Session) bool { return !s.Receives() })
	if len(live) == 0 {
		return nil
	}
	return live[rand.IntN(len(live))]
}

// watch looks all the time whether windows are kept to.
func (r *faultRun) watch(ctx context.Context) {
	for ctx.Err() == nil {
		r.inUse()
		time.Sleep(50 * time.Millisecond)
	}
}

// inUse is how many places are taken in all windows, none of which may have
// more than it has, or less than none.
func (r *faultRun) inUse() (all int) {
	count := func(used int) {
		if used < 0 || used > faultWindow {
			r.toSMSC.fail("%d requests in a window of %d", used, faultWindow)
		}
		all += used
	}
	for _, s := range r.centre.live() {
		count(s.Unanswered())
	}
	r.gather(func(name, _ string, value float64) {
		if name == "imza_smpp_window_in_use" {
			count(int(value))
		}
	})
	return all
}

// gather reads the pool's metrics, except histograms.
func (r *faultRun) gather(each func(name, bind string, value float64)) {
	families, err := r.metrics.Gather()
	if err != nil {
		r.Error(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			bind := ""
			for _, label := range m.GetLabel() {
				if label.GetName() == "bind" {
					bind = label.GetValue()
				}
			}
			if m.GetHistogram() == nil {
				each(family.GetName(), bind, m.GetGauge().GetValue()+m.GetCounter().GetValue())
			}
		}
	}
}

// told is all that may explain why a run has not ended.
func (r *faultRun) told() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages begun; proxy: %+v\n", r.started.Load(), r.proxy.Count())
	r.gather(func(name, bind string, value float64) { fmt.Fprintf(&b, "%s{%s} %v\n", name, bind, value) })
	for _, s := range r.centre.live() {
		fmt.Fprintf(&b, "SMSC's session: %d unanswered\n", s.Unanswered())
	}
	return b.String()
}

// judge insists that nothing was lost, and that the faults deserve the name.
func (r *faultRun) judge(seed uint64) {
	r.Helper()
	submits, deliveries := r.toSMSC.judge(r.T, "to SMSC"), r.toESME.judge(r.T, "to ESME")
	count := r.proxy.Count()
	r.Logf("seed %#x: %d messages each way in %s, %d faults on live connections; to the handlers came again %d segments to the SMSC and %d to the ESME; whole messages again: %d and %d; proxy: %+v",
		seed, r.plan.messages, r.took.Round(time.Millisecond), r.struck, submits, deliveries, r.toSMSC.twice, r.toESME.twice, count)
	if r.plan.faults == 0 && submits+deliveries > 0 {
		r.Errorf("without a fault %d and %d segments came again", submits, deliveries)
	}
	if r.struck < r.plan.faults {
		r.Errorf("%d faults of %d", r.struck, r.plan.faults)
	}
	if r.plan.faults < 200 {
		return // too few to ask more of them
	}
	for _, bite := range []struct {
		what       string
		got, least int
	}{
		{"cuts", count.Cut, 25}, {"PDUs torn", count.Torn, 10}, {"stalls", count.Stalled, 25},
		{"PDUs swallowed", count.Swallowed, 100}, {"PDUs delayed", count.Delayed, 500},
		{"PDUs overtaken", count.Overtaken, 200}, {"octets trickled", count.Trickled, 5000},
		{"binds refused", count.Refused, 5},
		{"segments twice to the SMSC", submits, 20}, {"segments twice to the ESME", deliveries, 20},
	} {
		if bite.got < bite.least {
			r.Errorf("%s: %d, which proves little; want %d", bite.what, bite.got, bite.least)
		}
	}
}

// TestFaultsOnOneSession has no pool that sends again: what a session says of a
// request must be true. Answered: it came once. Closed, or given up before there
// was room: it never comes. Unanswered: it came once or not at all.
func TestFaultsOnOneSession(t *testing.T) {
	const faults, limit = 50, time.Minute
	rng := rand.New(rand.NewPCG(faultSeed(t), 1))
	before := runtime.NumGoroutine()
	r := newFaultRebinder(t)
	defer r.stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var asking sync.WaitGroup
	for range 100 {
		asking.Go(func() { r.askAll(ctx, &r.toSMSC) })
		asking.Go(func() { r.askAll(ctx, &r.toESME) })
	}
	for range faults {
		time.Sleep(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
		f := proxytest.Random(rng, 500*time.Millisecond)
		for r.proxy.Apply(f) == 0 && f.Kind != proxytest.Refuse && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // no connection is live
		}
	}
	r.over.Store(true)
	if !faultWithin(t, limit, "the last answer", asking.Wait) {
		t.FailNow()
	}
	if ctx.Err() != nil {
		t.Errorf("given up after %s", limit)
	}
	r.stop()
	toSMSC, toESME := r.toSMSC.judge(t, true), r.toESME.judge(t, false)
	t.Logf("to SMSC %v, to ESME %v, proxy: %+v", toSMSC, toESME, r.proxy.Count())
	faultGone(t, before)
}

// faultAsks are the requests of one direction, by number.
type faultAsks struct {
	session atomic.Pointer[smpp.Session] // the latest
	ask     func(*smpp.Session, context.Context, *smpp.ShortMessage) (string, error)
	count   atomic.Int64
	came    [1 << 20]atomic.Int32

	mu      sync.Mutex
	answers []faultAnswer
}

type faultAnswer struct {
	n   int
	id  string
	err error
}

// faultRefused tells the requests that the handlers refuse.
func faultRefused(n int) bool { return n%40 == 7 }

func (a *faultAsks) handle(_ context.Context, _ *smpp.Session, m *smpp.ShortMessage) (string, smpp.Status) {
	n, err := strconv.Atoi(string(m.Content()))
	if err != nil || n >= len(a.came) {
		return "", smpp.StatusPermanent // which nobody expects
	}
	a.came[n].Add(1)
	if n%60 == 0 {
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	if faultRefused(n) {
		return "", smpp.StatusTemporary
	}
	return "id " + strconv.Itoa(n), smpp.StatusOK
}

// faultRebinder is a session that is bound anew whenever it ends, and now and then
// closed for no reason.
type faultRebinder struct {
	*testing.T
	proxy          *proxytest.Proxy
	toSMSC, toESME faultAsks
	over           atomic.Bool // nothing more is asked
	stop           func()
}

func newFaultRebinder(t *testing.T) *faultRebinder {
	t.Helper()
	r := &faultRebinder{T: t}
	r.toSMSC.ask = (*smpp.Session).Submit
	r.toESME.ask = func(s *smpp.Session, ctx context.Context, m *smpp.ShortMessage) (string, error) {
		return "", s.Deliver(ctx, m)
	}
	options := smpp.Options{Window: 20, Timeout: faultTimeout, Enquire: faultEnquire, Handler: r.toSMSC.handle}
	server := &smpp.Server{Options: options, Bound: r.toESME.session.Store}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if r.proxy, err = proxytest.Listen(listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	options.Handler = r.toESME.handle
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(faultListener{listener}) }) // until Close
	running.Go(func() { r.bind(ctx, options) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		faultWithin(t, time.Minute, "the end", func() {
			_ = r.proxy.Close()
			_ = server.Close()
			running.Wait()
		})
	})
	return r
}

func (r *faultRebinder) bind(ctx context.Context, options smpp.Options) {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.proxy.Addr())
		if err != nil {
			continue
		}
		s, err := smpp.Bind(ctx, conn, smpp.BindTransceiver, smpp.BindRequest{SystemID: "imza"}, options)
		if err != nil {
			continue // refused, cut, or not in time
		}
		r.toSMSC.session.Store(s)
		select {
		case <-s.Done():
		case <-ctx.Done():
		case <-time.After(200*time.Millisecond + rand.N(2*time.Second)):
		}
		faultWithin(r.T, 10*time.Second, "Close", func() { _ = s.Close() })
	}
}

// askAll asks one thing after the other. Some who ask are impatient.
func (r *faultRebinder) askAll(ctx context.Context, a *faultAsks) {
	for !r.over.Load() && ctx.Err() == nil {
		s := a.session.Load()
		if s == nil || s.Err() != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		n := int(a.count.Add(1))
		if n >= len(a.came) {
			return
		}
		asking, cancel := ctx, context.CancelFunc(func() {})
		if n%16 == 3 {
			asking, cancel = context.WithTimeout(ctx, rand.N(30*time.Millisecond))
		}
		id, err := a.ask(s, asking, &smpp.ShortMessage{Message: []byte(strconv.Itoa(n))})
		cancel()
		a.mu.Lock()
		a.answers = append(a.answers, faultAnswer{n, id, err})
		a.mu.Unlock()
		time.Sleep(rand.N(5 * time.Millisecond))
	}
}

// judge compares what was said of each request with what became of it, and
// counts what was said.
func (a *faultAsks) judge(t *testing.T, ids bool) (said map[string]int) {
	t.Helper()
	said = make(map[string]int)
	for _, answer := range a.answers {
		came := a.came[answer.n].Load()
		id, kind, right := "", "", false
		var status smpp.Status
		switch err := answer.err; {
		case err == nil:
			kind, right = "taken", came == 1 && !faultRefused(answer.n)
			if ids {
				id = "id " + strconv.Itoa(answer.n)
			}
		case errors.Is(err, smpp.ErrClosed):
			kind, right = "closed", came == 0
		case errors.Is(err, smpp.ErrUnanswered):
			kind, right = "unanswered", came <= 1
		case errors.As(err, &status):
			kind, right = "refused", came == 1 && faultRefused(answer.n) && status == smpp.StatusTemporary
		case errors.Is(err, context.DeadlineExceeded):
			kind, right = "no room", came == 0
		}
		said[kind]++
		if !right || answer.id != id {
			t.Errorf("request %d: %q, %v; it came %d times", answer.n, answer.id, answer.err, came)
		}
	}
	for _, kind := range []string{"taken", "closed", "unanswered", "refused", "no room"} {
		if said[kind] == 0 {
			t.Errorf("no request was %s", kind)
		}
	}
	return said
}
