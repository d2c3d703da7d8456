package load

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// asked is a request that is under way.
type asked struct {
	Request
	who    Subscriber
	wanted Wanted
	id     string
	// deadline is when it must have ended, by the load tester's clock.
	deadline time.Time
}

// How long answers may take.
const (
	// askPatience is for the answer to a request, which the gateway promises
	// within a second or two.
	askPatience = 15 * time.Second
	// pollFor is how long a long poll lasts.
	pollFor = 20 * time.Second
	// afterDeadline is how long after its deadline a request may end.
	afterDeadline = 10 * time.Second
	// again is the pause after a poll that failed.
	again = 250 * time.Millisecond
)

// content is what is signed: another document in each request.
func (g *Generator) content(index uint32) []byte {
	return fmt.Appendf(nil, "imza load, seed %d, request %d", g.Seed, index)
}

// bodies are requests' bodies, to be used again.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// body writes the request. Nothing in it needs an escape: prepare has looked.
func (g *Generator) body(b []byte, a *asked) []byte {
	digest := sha256.Sum256(g.content(a.Index))
	b = append(b, `{"msisdn":"`...)
	b = append(b, a.who.MSISDN...)
	b = append(b, `","userId":"`...)
	b = append(b, a.who.UserID...)
	b = append(b, `","certificate":{"type":"`...)
	b = append(b, a.wanted.Type.String()...)
	if a.wanted.VOEN != "" {
		b = append(b, `","voen":"`...)
		b = append(b, a.wanted.VOEN...)
	}
	b = append(b, `"},"digest":{"algorithm":"SHA-256","value":"`...)
	b = base64.StdEncoding.AppendEncode(b, digest[:])
	b = append(b, `"},"text":"`...)
	b = append(b, g.Text...)
	b = append(b, `","language":"en","timeout":`...)
	b = strconv.AppendInt(b, int64(g.Timeout/time.Second), 10)
	return append(b, '}')
}

// moment is how long after it was due something was.
func (g *Generator) moment(a *asked) Moment { return since(time.Since(g.started) - a.Due) }

// begin asks, and reports whether it is under way now.
func (g *Generator) begin(a *asked) bool {
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	*buffer = g.body((*buffer)[:0], a)
	a.Sent = g.moment(a)
	err := g.api.do(message{method: http.MethodPost, path: "/v1/signatures", authorization: g.authorizations[a.Provider], body: *buffer, patience: askPatience},
		func(status int, body []byte) error {
			at := g.moment(a)
			a.Status = uint16(status)
			if status == http.StatusAccepted {
				a.Accepted, a.deadline = at, time.Now().Add(g.Timeout+afterDeadline)
				return a.takeAccepted(body)
			}
			p := parseProblem(status, body)
			if p.code == "" {
				return errNoAnswer
			}
			a.End, a.Released = refused+End(p.code), at
			return nil
		})
	g.health.note(err)
	switch {
	case err == nil:
	case errors.Is(err, errNoAnswer) || a.Accepted != Never:
		a.End, a.Fault = Unanswered, AnswerNotUnderstood
	case g.api.isHalted():
		a.End = NotWaitedFor
	default:
		a.End = Unanswered
	}
	return a.End == ""
}

// errNoAnswer says that what came is no answer of a gateway.
var errNoAnswer = errors.New("what was answered is nothing that a gateway answers")

func (a *asked) takeAccepted(body []byte) error {
	err := members(body, func(name, value []byte) error {
		if string(name) != "id" {
			return nil
		}
		id, err := text("id", value)
		a.id = string(id)
		return err
	})
	if err != nil || a.id == "" {
		return errNoAnswer
	}
	return nil
}

// wait waits for the end of a request that is under way.
func (g *Generator) wait(a *asked) {
	for a.End == "" {
		err := g.look(a, min(pollFor, max(time.Until(a.deadline), 0)))
		switch {
		case a.End != "":
		case g.api.isHalted():
			a.End = NotWaitedFor
		case time.Now().Before(a.deadline):
			if err != nil || time.Until(a.deadline) < time.Second { // then a poll does not wait
				time.Sleep(again)
			}
		case err != nil:
			a.End = Lost
		default:
			a.End, a.Fault = StillPending, EndedLate
		}
	}
}

// look polls once. An error is one after which it may be asked again.
func (g *Generator) look(a *asked, wait time.Duration) error {
	path := "/v1/signatures/" + a.id + "?wait=" + strconv.Itoa(int(wait/time.Second))
	err := g.api.do(message{method: http.MethodGet, path: path, authorization: g.authorizations[a.Provider], patience: wait + askPatience},
		func(status int, body []byte) error {
			at := g.moment(a)
			a.Status = uint16(status)
			switch {
			case status == http.StatusOK:
				return g.takeSignature(a, at, body)
			case status >= 500:
				return parseProblem(status, body)
			}
			a.End = Lost // it is not known any more, or not ours
			return nil
		})
	if errors.Is(err, errNoAnswer) {
		a.End, a.Fault = Lost, AnswerNotUnderstood
	}
	g.health.note(err)
	return err
}

// takeSignature reads a transaction as the gateway shows it.
func (g *Generator) takeSignature(a *asked, at Moment, body []byte) error {
	var status, cms, certificate []byte
	var ended, expires time.Time
	err := members(body, func(name, value []byte) (err error) {
		switch string(name) {
		case "status":
			status, err = text("status", value)
		case "cms":
			cms, err = text("cms", value)
		case "certificate":
			certificate, err = text("certificate", value)
		case "endedAt":
			ended, err = instant(value)
		case "expiresAt":
			expires, err = instant(value)
		case "timeline":
			err = g.takeTimeline(a, value)
		}
		return err
	})
	if err != nil || len(status) == 0 {
		return errNoAnswer
	}
	if string(status) == pending {
		return nil
	}
	a.End, a.Released = End(status), at
	a.Fault = judgeEnd(&a.Request, ended, expires)
	if a.End == Signed && a.Fault == NoFault {
		a.Fault = g.judgeSignature(a, cms, certificate)
	}
	return nil
}

// takeTimeline reads what the gateway's clock told of an ended transaction.
func (g *Generator) takeTimeline(a *asked, timeline []byte) error {
	return members(timeline, func(name, value []byte) error {
		var into *Moment
		switch string(name) {
		case "sent":
			into = &a.Pushed
		case "answered":
			into = &a.Answered
		case "verified":
			into = &a.Verified
		default:
			return nil
		}
		moment, err := instant(value)
		*into = since(moment.Sub(g.started) - a.Due)
		return err
	})
}

// pending is the state of what has not ended.
const pending = "pending"

// instant reads a time.
func instant(value []byte) (t time.Time, err error) {
	v, err := text("a time", value)
	if err != nil {
		return t, err
	}
	return time.Parse(time.RFC3339Nano, string(v))
}
