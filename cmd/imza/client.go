package main

import (
	"bytes"
	"context"
	"encoding/json"
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

// client speaks to a gateway's API.
type client struct {
	url, key string
}

// maxAnswer is the most octets of an answer that are read.
const maxAnswer = 1 << 20

// do makes one request and reads the JSON that answers it.
func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(raw)
	}
	// Longer than any long poll, so that a gateway that hangs is noticed.
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.url, "/")+path, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.key)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		var p api.Problem
		if json.Unmarshal(raw, &p) != nil || p.Code == "" {
			return fmt.Errorf("%s %s: %s", method, path, response.Status)
		}
		// Not able to answer is a failure; "the policy cannot be asked" is an answer.
		if response.StatusCode >= 500 && p.Code != string(gateway.PolicyUnavailable) {
			return fmt.Errorf("the gateway fails: %s (%s)", p.Title, p.Code)
		}
		return &refused{p.Code, p.Field, p.Detail}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s %s: the answer is not what was expected: %w", method, path, err)
	}
	return nil
}
