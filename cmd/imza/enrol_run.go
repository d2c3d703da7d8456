package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"imza/emulator/load"
	"imza/gateway/cabinet"
)

const (
	// enrolBatch is how many cards are enrolled at once, if the command says no other:
	// the larger, the fewer commits.
	enrolBatch = cabinet.MaxEnrolment
	// enrolInFlight is enough that the gateway certifies some while it writes
	// others into its record, which one batch at a time does.
	enrolInFlight = 3
	// enrolPatience is how long a gateway is tried again that does not answer, and
	// enrolLast how long a batch may take that was under way when it was all to stop.
	enrolPatience = 5 * time.Second
	enrolLast     = 30 * time.Second
	// saveEvery is how often it is written down how far it has come. What was not is
	// sent again, and answered with what is on record.
	saveEvery = time.Second
)

// enrolRun sends batches of cards, several at once, and writes down how far all
// before are enrolled.
type enrolRun struct {
	*enroller
	cards int
	shown *progress

	certificates, rsa atomic.Int64

	mu    sync.Mutex
	next  int         // card that is not yet being enrolled
	done  map[int]int // batches behind the first that is not: where they begin and end
	saved time.Time
	err   error // why no further batch is begun
}

func newEnrolRun(e *enroller, cards int) *enrolRun {
	return &enrolRun{enroller: e, cards: cards, next: e.access.Enrolled, done: make(map[int]int), saved: time.Now(),
		shown: newProgress(e.err, "enrolling", e.access.Enrolled, cards)}
}

// work enrols all cards that are left. When it is told to stop, or fails, what is
// under way is waited for.
func (r *enrolRun) work(ctx context.Context) error {
	var working sync.WaitGroup
	for range enrolInFlight {
		working.Go(func() {
			for {
				from, to, ok := r.take(ctx)
				if !ok {
					return
				}
				r.finish(from, to, r.batch(ctx, from, to))
			}
		})
	}
	working.Wait()
	r.shown.close()
	return r.err
}

// take takes the next batch.
func (r *enrolRun) take(ctx context.Context) (from, to int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && ctx.Err() != nil && r.next < r.cards {
		r.err = errStopped
	}
	if r.err != nil || r.next == r.cards {
		return 0, 0, false
	}
	from, to = r.next, min(r.next+r.size, r.cards)
	r.next = to
	return from, to, true
}

// finish writes down that a batch is enrolled, or why it is not.
func (r *enrolRun) finish(from, to int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return
	}
	r.done[from] = to
	for end, ok := r.done[r.access.Enrolled]; ok; end, ok = r.done[r.access.Enrolled] {
		delete(r.done, r.access.Enrolled)
		r.access.Enrolled = end
	}
	r.shown.add(to - from)
	if time.Since(r.saved) >= saveEvery {
		r.saved = time.Now()
		if err := r.access.Write(r.fleet.Dir()); err != nil && r.err == nil {
			r.err = err
		}
	}
}

// newSubscriber is somebody in the body of POST /v1/admin/subscribers.
type newSubscriber struct {
	MSISDN       string           `json:"msisdn"`
	ICCID        string           `json:"iccid"`
	FIN          string           `json:"fin"`
	GivenName    string           `json:"givenName"`
	Surname      string           `json:"surname"`
	UserID       string           `json:"userId"`
	ShortAnswers bool             `json:"shortAnswers"`
	Certificates []newCertificate `json:"certificates"`
}

type newCertificate struct {
	Key     byte   `json:"key"`
	Type    string `json:"type"`
	VOEN    string `json:"voen,omitempty"`
	Request []byte `json:"request"`
}

// batch enrols cards and puts the certificates on them.
func (r *enrolRun) batch(ctx context.Context, from, to int) error {
	body := struct {
		Subscribers []newSubscriber `json:"subscribers"`
	}{make([]newSubscriber, 0, to-from)}
	rsa := 0
	for i := from; i < to; i++ {
		who := r.fleet.Subscriber(i)
		s := newSubscriber{MSISDN: string(who.MSISDN), ICCID: string(who.ICCID), FIN: who.FIN, GivenName: who.GivenName, Surname: who.Surname,
			UserID: who.UserID, ShortAnswers: who.ShortAnswers}
		for _, c := range who.Certificates {
			request, err := r.fleet.Request(i, c.Key)
			if err != nil {
				return err
			}
			s.Certificates = append(s.Certificates, newCertificate{c.Key, c.Type, c.VOEN, request})
			if c.RSA {
				rsa++
			}
		}
		body.Subscribers = append(body.Subscribers, s)
	}
	var answer cabinet.EnrolmentDone
	if err := r.send(ctx, body, &answer); err != nil {
		return r.ofCard(err, from, body.Subscribers)
	}
	if len(answer.Subscribers) != to-from {
		return r.told(fmt.Errorf("it answered of %d cards, not %d", len(answer.Subscribers), to-from))
	}
	for i, s := range answer.Subscribers {
		for _, c := range s.Certificates {
			if err := r.fleet.SetCertificate(from+i, c.Key, c.Certificate); err != nil {
				return err
			}
			r.certificates.Add(1)
		}
	}
	r.rsa.Add(int64(rsa))
	return nil
}

// send sends a batch, again if the gateway does not answer: to enrol somebody
// twice does no harm. What is under way when it is all to stop is not cut off,
// since its certificates would be missing on the cards.
func (r *enrolRun) send(ctx context.Context, body, answer any) error {
	patience := time.Now().Add(r.patience)
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		err := r.sendOnce(ctx, body, answer)
		var no *refused
		if err == nil || errors.As(err, &no) {
			return err
		}
		if ctx.Err() != nil || time.Now().Add(pause).After(patience) {
			return r.told(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (r *enrolRun) sendOnce(ctx context.Context, body, answer any) error {
	request, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(enrolLast, func() { cancel(errors.New("it took too long to finish what was under way")) })
	})
	defer stop()
	return r.admin.do(request, http.MethodPost, "/v1/admin/subscribers", body, answer)
}

// ofCard says in a refusal which card it is about.
func (r *enrolRun) ofCard(err error, from int, batch []newSubscriber) error {
	var no *refused
	var i int
	if !errors.As(err, &no) {
		return err
	}
	if n, _ := fmt.Sscanf(no.field, "subscribers[%d]", &i); n != 1 || i < 0 || i >= len(batch) {
		return err
	}
	about := *no
	about.detail = fmt.Sprintf("%s (card %s, %s)", no.detail, load.Thousands(from+i), batch[i].MSISDN)
	return &about
}
