package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.mozilla.org/pkcs7"

	"imza/pki"
)

type signCommand struct {
	In          string `required:"" placeholder:"FILE" help:"The file to be signed."`
	Out         string `placeholder:"FILE.p7s" help:"Where the signature goes, PKCS#7 in DER. Default: the file's name with .p7s."`
	MSISDN      string `name:"msisdn" required:"" placeholder:"+994…" help:"Whose telephone is asked."`
	UserID      string `name:"user-id" required:"" placeholder:"6 digits" help:"The subscriber's User ID."`
	Certificate string `default:"business" enum:"business,government,citizen" help:"Which of the subscriber's certificates: business, government or citizen."`
	VOEN        string `name:"voen" placeholder:"10 digits" help:"The organisation, where the subscriber signs for several."`
	Text        string `help:"What the telephone shows. Default: the provider's name."`
	Language    string `default:"az" enum:"az,en,ru" help:"The language of the telephone's own words: az, en or ru."`
	Timeout     int    `default:"120" placeholder:"SECONDS" help:"How long the subscriber may take."`
	URL         string `name:"url" env:"IMZA_URL" default:"http://127.0.0.1:8080" help:"The gateway."`
	Key         string `env:"IMZA_KEY" required:"" help:"The provider's API key."`
}

// transaction is what the API tells of one.
type transaction struct {
	ID               string    `json:"id"`
	Status           string    `json:"status"`
	Progress         string    `json:"progress"`
	Reason           string    `json:"reason"`
	VerificationCode string    `json:"verificationCode"`
	ExpiresAt        time.Time `json:"expiresAt"`
	CMS              []byte    `json:"cms"`
}

// Run asks for the signature, waits for it and writes it.
func (c *signCommand) Run(ctx context.Context, s streams) error {
	content, err := os.ReadFile(c.In)
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = c.In + ".p7s"
	}
	gateway := client{url: c.URL, key: c.Key}
	t, err := c.request(ctx, gateway, content)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "Verification code %s: the telephone must show the same.\n", t.VerificationCode)
	if err := c.wait(ctx, gateway, &t, s); err != nil {
		return err
	}
	if t.Status != "signed" {
		return &refused{code: t.Status, detail: t.Reason}
	}
	signer, err := check(t.CMS, content)
	if err != nil {
		return fmt.Errorf("what the gateway sent is no signature of %s: %w", c.In, err)
	}
	if err := os.WriteFile(c.Out, t.CMS, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: signed by %s\n", c.Out, signer)
	return nil
}

func (c *signCommand) request(ctx context.Context, gateway client, content []byte) (t transaction, err error) {
	digest := sha256.Sum256(content)
	err = gateway.do(ctx, http.MethodPost, "/v1/signatures", map[string]any{
		"msisdn": c.MSISDN, "userId": c.UserID,
		"certificate": map[string]string{"type": c.Certificate, "voen": c.VOEN},
		"digest":      map[string]any{"algorithm": "SHA-256", "value": digest[:]},
		"text":        c.Text, "language": c.Language, "timeout": c.Timeout,
	}, &t)
	return t, err
}

// steps are how progress is told.
var steps = map[string]string{
	"accepted":  "The request is accepted.",
	"sent":      "The operator has it.",
	"delivered": "It is on the telephone: waiting for PIN2.",
}

// wait polls until the transaction ends, and tells how it goes. A gateway that
// does not answer is asked again until the time is up. If the command is
// interrupted the request is withdrawn.
func (c *signCommand) wait(ctx context.Context, gateway client, t *transaction, s streams) error {
	told := ""
	for t.Status == "pending" {
		if t.Progress != told && steps[t.Progress] != "" {
			told = t.Progress
			fmt.Fprintln(s.err, steps[told])
		}
		err := gateway.do(ctx, http.MethodGet, "/v1/signatures/"+t.ID+"?wait=1", nil, t)
		if ctx.Err() != nil {
			withdraw, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := gateway.do(withdraw, http.MethodDelete, "/v1/signatures/"+t.ID, nil, t); err != nil {
				return err
			}
			if t.Status == "signed" {
				return nil // it was faster
			}
			return errors.New("interrupted; the request is withdrawn")
		}
		var no *refused
		if errors.As(err, &no) || err != nil && time.Now().After(t.ExpiresAt) {
			return err
		}
		if err != nil {
			select {
			case <-time.After(time.Second / 2):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// maxCMS bounds what the parser is given.
const maxCMS = 64 << 10

// check judges a signature with code that is not the gateway's, and tells who
// signed.
func check(cms, content []byte) (string, error) {
	if len(cms) > maxCMS {
		return "", fmt.Errorf("it has %d octets", len(cms))
	}
	p7, err := pkcs7.Parse(cms)
	if err != nil {
		return "", err
	}
	p7.Content = content
	if err := p7.Verify(); err != nil {
		return "", err
	}
	cert := p7.GetOnlySigner()
	if cert == nil {
		return "", errors.New("it is not of one signer")
	}
	holder, err := pki.HolderOf(cert)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s %s (%s)", holder.GivenName, holder.Surname, holder.FIN)
	if holder.VOEN != "" {
		text += fmt.Sprintf(" for %s (%s)", holder.Organisation, holder.VOEN)
	}
	return text, nil
}
