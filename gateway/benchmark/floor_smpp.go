package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"imza/smpp"
)

// wire is one connection between an ESME and an SMSC that know nothing but what
// the four PDUs of a signature are.
type wire struct {
	esme, smsc net.Conn
	out        queue // of the ESME
	answered   []chan struct{}
	challenge  smpp.ShortMessage
	failed     chan struct{} // closed when an end has ended
	cause      error
	fail       sync.Once
}

func newWire(callers int, p *packets) (*wire, error) {
	challenge, answer, err := p.userData()
	if err != nil {
		return nil, err
	}
	w := &wire{answered: make([]chan struct{}, callers), failed: make(chan struct{})}
	for i := range w.answered {
		w.answered[i] = make(chan struct{}, 1)
	}
	w.challenge = smpp.ShortMessage{Source: smpp.Address{TON: 3, Addr: "7777"}, Dest: smpp.International("994501000000"),
		ESMClass: smpp.ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0xF6, Validity: smpp.RelativeTime(time.Minute),
		RegisteredDelivery: smpp.ReceiptOnFinal, Message: challenge}
	if w.esme, w.smsc, err = connected(); err != nil {
		return nil, err
	}
	w.out.conn = w.esme
	go func() { w.end(w.runSMSC(answer)) }()
	go func() { w.end(w.runESME()) }()
	return w, nil
}

// connected is a pair of sockets over loopback.
func connected() (a, b net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if b, err = l.Accept(); err != nil {
		a.Close()
	}
	return a, b, err
}

// end tells all callers why there is no more.
func (w *wire) end(cause error) {
	w.fail.Do(func() { w.cause = cause; close(w.failed) })
}

func (w *wire) Close() {
	w.esme.Close()
	w.smsc.Close()
}

// exchange submits a challenge and waits for its answer.
func (w *wire) exchange(_ context.Context, caller int, _ uint64) error {
	if err := w.out.message(smpp.SubmitSM, uint32(caller+1), &w.challenge); err != nil {
		return err
	}
	select {
	case <-w.answered[caller]:
		return nil
	case <-w.failed:
		return fmt.Errorf("an end has ended: %w", w.cause)
	}
}

// runSMSC answers each submit_sm, and has the answer of a card follow at once.
// One write is for all that one read brought.
func (w *wire) runSMSC(answer []byte) error {
	delivered := smpp.ShortMessage{Source: w.challenge.Dest, Dest: w.challenge.Source,
		ESMClass: smpp.ESMClassUDHI, ProtocolID: 0x7F, DataCoding: 0x04, Message: answer}
	id := []byte("0123456789abcde\x00")
	var out []byte
	return eachFrame(w.smsc, func(command smpp.Command, sequence uint32, body []byte, more bool) (err error) {
		if command == smpp.SubmitSM {
			if _, err := smpp.ParseShortMessage(body); err != nil {
				return err
			}
			out = (&smpp.PDU{Command: smpp.SubmitSMResp, Sequence: sequence, Body: id}).Append(out)
			if out, err = appendMessage(out, smpp.DeliverSM, sequence, &delivered); err != nil {
				return err
			}
		}
		if more || len(out) == 0 {
			return nil
		}
		_, err = w.smsc.Write(out)
		out = out[:0]
		return err
	})
}

// runESME answers each deliver_sm and wakes who waits for it.
func (w *wire) runESME() error {
	return eachFrame(w.esme, func(command smpp.Command, sequence uint32, body []byte, _ bool) error {
		if command != smpp.DeliverSM {
			return nil
		}
		if _, err := smpp.ParseShortMessage(body); err != nil {
			return err
		}
		w.out.response(smpp.DeliverSMResp, sequence)
		w.answered[sequence-1] <- struct{}{}
		return nil
	})
}

// queue writes all that has been queued since the last write in one.
type queue struct {
	conn net.Conn

	mu         sync.Mutex
	out, spare []byte
	writing    bool
}

func (q *queue) message(c smpp.Command, sequence uint32, m *smpp.ShortMessage) (err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out, err = appendMessage(q.out, c, sequence, m)
	q.wake()
	return err
}

func (q *queue) response(c smpp.Command, sequence uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.out = (&smpp.PDU{Command: c, Sequence: sequence, Body: []byte{0}}).Append(q.out)
	q.wake()
}

// wake sees that somebody writes. The caller holds mu.
func (q *queue) wake() {
	if !q.writing {
		q.writing = true
		go q.flush()
	}
}

func (q *queue) flush() {
	runtime.Gosched() // those who are about to queue something are let by
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.out) > 0 {
		writing := q.out
		q.out = q.spare[:0]
		q.mu.Unlock()
		_, err := q.conn.Write(writing)
		q.mu.Lock()
		if q.spare = writing; err != nil {
			break // the readers see it too, and tell
		}
	}
	q.writing = false
}

// appendMessage appends the frame of a message.
func appendMessage(b []byte, c smpp.Command, sequence uint32, m *smpp.ShortMessage) ([]byte, error) {
	start := len(b)
	b = (&smpp.PDU{Command: c, Sequence: sequence}).Append(b)
	b, err := m.Append(b)
	if err == nil {
		binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start))
	}
	return b, err
}

// eachFrame calls f with all that comes; more tells that the next is here too.
func eachFrame(conn net.Conn, f func(command smpp.Command, sequence uint32, body []byte, more bool) error) error {
	const header = 16
	r := bufio.NewReaderSize(conn, 256<<10)
	for {
		head, err := r.Peek(header)
		if err != nil {
			return err
		}
		length := int(binary.BigEndian.Uint32(head))
		command, sequence := smpp.Command(binary.BigEndian.Uint32(head[4:])), binary.BigEndian.Uint32(head[12:])
		frame, err := r.Peek(length)
		if err != nil {
			return err
		}
		if err := f(command, sequence, frame[header:], r.Buffered() >= length+header); err != nil {
			return err
		}
		if _, err := r.Discard(length); err != nil {
			return err
		}
	}
}
