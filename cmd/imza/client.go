package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"imza/gateway"
	"imza/gateway/api"
)

// refused is a problem document, or the end of a transaction that is not a
// signature: what a command was answered, as opposed to what failed.
type refused struct {
	code, field, detail string
	document            []byte // JSON, if there is one
}

func (r *refused) Error() string {
	text := r.code
	if r.field != "" {
		text += " (" + r.field + ")"
	}
	if r.detail != "" {
		text += ": " + r.detail
	}
	return text
}

// refusedAs tells whether an error is a refusal with a code.
func refusedAs(err error, code gateway.Code) bool {
	var no *refused
	return errors.As(err, &no) && no.code == string(code)
}

// client speaks to a gateway's API.
type client struct {
	url, key string
	patience time.Duration // 0: patience
}

// maxAnswer is the most octets of an answer that are kept in memory.
const maxAnswer = 16 << 20

// patience is how long a gateway may be silent, if the client says no other:
// longer than any long poll, so that one that hangs is noticed.
const patience = 90 * time.Second

// do makes one request and reads the JSON that answers it.
func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	return c.send(ctx, method, path, "application/json", raw, into)
}

// send is do with a body of any type.
func (c *client) send(ctx context.Context, method, path, contentType string, body []byte, into any) error {
	return c.exchange(ctx, method, path, "application/json", contentType, body, func(answer io.Reader) error {
		text, err := readAnswer(answer)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, path, err)
		}
		return nil
	})
}

// stream reads an answer of any length while it comes. One that was cut off is
// io.ErrUnexpectedEOF.
func (c *client) stream(ctx context.Context, path, accept string, read func(io.Reader) error) error {
	return c.exchange(ctx, http.MethodGet, path, accept, "", nil, read)
}

// exchange makes one request and has its answer read. A refusal is *refused.
func (c *client) exchange(ctx context.Context, method, path, accept, contentType string, body []byte, read func(io.Reader) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := cmp.Or(c.patience, patience)
	silence := time.AfterFunc(patience, func() { cancel(fmt.Errorf("the gateway was silent for %s", patience)) })
	defer silence.Stop()
	err := c.request(ctx, method, path, accept, contentType, body, func(answer io.Reader) error {
		return read(&listened{answer, silence, patience})
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause // the transport says no more than that it was cancelled
	}
	return err
}

// listened is an answer whose silence counts while somebody waits for more.
type listened struct {
	io.Reader
	silence  *time.Timer
	patience time.Duration
}

func (l *listened) Read(b []byte) (int, error) {
	l.silence.Reset(l.patience)
	defer l.silence.Stop()
	return l.Reader.Read(b)
}

func (c *client) request(ctx context.Context, method, path, accept, contentType string, body []byte, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.url, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	request.Header.Set("Accept", accept)
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 400 {
		return read(response.Body)
	}
	raw, err := readAnswer(response.Body)
	if err != nil {
		return err
	}
	var p api.Problem
	if json.Unmarshal(raw, &p) != nil || p.Code == "" {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	// Not able to answer is a failure; "the policy cannot be asked" is an answer.
	if response.StatusCode >= 500 && p.Code != string(gateway.PolicyUnavailable) {
		return fmt.Errorf("the gateway fails: %s (%s)", p.Title, p.Code)
	}
	return &refused{p.Code, p.Field, p.Detail, raw}
}

// readAnswer reads one whole.
func readAnswer(answer io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(answer, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = fmt.Errorf("the answer has more than %d MiB", maxAnswer>>20)
	}
	return raw, err
}
