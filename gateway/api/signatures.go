package api

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"imza/gateway"
	"imza/gateway/strict"
	"imza/policy"
	"imza/simcard"
	"imza/simcard/applet"
)

// Limits of a request.
const (
	maxDocument = 10 << 20
	// maxBody leaves room for a document in base64 and all else.
	maxBody        = maxDocument/3*4 + 64<<10
	defaultTimeout = 120 * time.Second
	maxTimeout     = 600 // seconds
	maxWait        = 60  // seconds of one long poll

	tooLarge = "a document has at most 10 MiB; send its digest instead"
)

// signatureRequest is the body of POST /v1/signatures.
type signatureRequest struct {
	MSISDN      string            `json:"msisdn"`
	UserID      string            `json:"userId"`
	Certificate certificateWanted `json:"certificate"`
	Digest      *digestGiven      `json:"digest"`
	Document    *octets           `json:"document"`
	Text        string            `json:"text"`
	Language    string            `json:"language"`
	Timeout     *int              `json:"timeout"`
}

type certificateWanted struct {
	Type string `json:"type"`
	VOEN string `json:"voen"`
}

type digestGiven struct {
	Algorithm string `json:"algorithm"`
	Value     octets `json:"value"`
}

var (
	userIDForm      = regexp.MustCompile(`^[0-9]{6}$`)
	idempotencyForm = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

	algorithms = map[string]applet.Algorithm{"SHA-256": applet.SHA256, "SHA-384": applet.SHA384, "SHA-512": applet.SHA512}
	languages  = map[string]applet.Language{"": applet.Azerbaijani, "az": applet.Azerbaijani, "en": applet.English, "ru": applet.Russian}
)

// parse checks the body and turns it into a request.
func parse(body []byte) (r gateway.Request, err error) {
	var in signatureRequest
	if err := strict.Decode(body, &in); err != nil {
		return r, err
	}
	if r.MSISDN, err = simcard.ParseMSISDN(in.MSISDN); err != nil {
		return r, gateway.Invalid("msisdn", err.Error())
	}
	if r.UserID = in.UserID; !userIDForm.MatchString(r.UserID) {
		return r, gateway.Invalid("userId", "six digits")
	}
	if err := in.wanted(&r.Wanted); err != nil {
		return r, err
	}
	if r.Algorithm, r.Digest, err = in.digest(); err != nil {
		return r, err
	}
	if err := applet.CheckText(in.Text); err != nil {
		return r, gateway.Invalid("text", err.Error())
	}
	r.Text = in.Text
	var ok bool
	if r.Language, ok = languages[in.Language]; !ok {
		return r, gateway.Invalid("language", "az, en or ru")
	}
	r.Timeout = defaultTimeout
	if in.Timeout != nil {
		if *in.Timeout < 1 || *in.Timeout > maxTimeout {
			return r, gateway.Invalid("timeout", fmt.Sprintf("1 to %d seconds", maxTimeout))
		}
		r.Timeout = time.Duration(*in.Timeout) * time.Second
	}
	return r, nil
}

func (in *signatureRequest) wanted(w *gateway.Wanted) error {
	w.Type = gateway.CertificateType(in.Certificate.Type)
	switch {
	case w.Type != gateway.Citizen && !w.Type.OfOrganisation():
		return gateway.Invalid("certificate.type", "citizen, business or government")
	case in.Certificate.VOEN == "":
		return nil
	case w.Type == gateway.Citizen:
		return gateway.Invalid("certificate.voen", "a citizen's certificate has none")
	}
	voen, err := policy.ParseVOEN(in.Certificate.VOEN)
	if err != nil {
		return gateway.Invalid("certificate.voen", "ten digits")
	}
	w.VOEN = voen
	return nil
}

func (in *signatureRequest) digest() (applet.Algorithm, []byte, error) {
	switch {
	case (in.Digest == nil) == (in.Document == nil):
		return 0, nil, gateway.Invalid("digest", "either digest or document is wanted")
	case in.Document != nil:
		if len(*in.Document) > maxDocument {
			return 0, nil, &gateway.Refusal{Code: gateway.DocumentTooLarge, Detail: tooLarge}
		}
		sum := sha256.Sum256(*in.Document)
		return applet.SHA256, sum[:], nil
	}
	algorithm, ok := algorithms[in.Digest.Algorithm]
	if !ok {
		return 0, nil, gateway.Invalid("digest.algorithm", "SHA-256, SHA-384 or SHA-512")
	}
	if len(in.Digest.Value) != algorithm.Size() {
		return 0, nil, gateway.Invalid("digest.value", fmt.Sprintf("has %d octets, %s has %d", len(in.Digest.Value), in.Digest.Algorithm, algorithm.Size()))
	}
	return algorithm, in.Digest.Value, nil
}

// create is POST /v1/signatures.
func (a *API) create(c echo.Context) error {
	body, err := strict.Body(c.Response(), c.Request(), maxBody, tooLarge)
	if err != nil {
		return err
	}
	r, err := parse(body)
	if err != nil {
		return err
	}
	r.Provider, r.Body = provider(c), sha256.Sum256(body)
	if keys, ok := c.Request().Header["Idempotency-Key"]; ok {
		if r.IdempotencyKey = keys[0]; len(keys) != 1 || !idempotencyForm.MatchString(r.IdempotencyKey) {
			return gateway.Invalid("Idempotency-Key", "1 to 255 printable ASCII characters")
		}
	}
	t, err := a.Gateway.Admit(c.Request().Context(), r)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/v1/signatures/"+t.ID)
	// The code is taken from the request, whose digest is the transaction's: a
	// repetition may come when the transaction itself is only on record.
	return c.JSON(http.StatusAccepted, accepted{ID: t.ID, Status: gateway.Pending, VerificationCode: applet.VerificationCode(r.Digest), ExpiresAt: t.Deadline})
}

// accepted is the answer to a request: the same whenever it is repeated.
type accepted struct {
	ID               string        `json:"id"`
	Status           gateway.State `json:"status"`
	VerificationCode string        `json:"verificationCode"`
	ExpiresAt        time.Time     `json:"expiresAt"`
}

// signature is a transaction as its provider sees it.
type signature struct {
	ID               string           `json:"id"`
	Status           gateway.State    `json:"status"`
	Progress         gateway.Progress `json:"progress,omitempty"` // while pending
	Reason           string           `json:"reason,omitempty"`
	VerificationCode string           `json:"verificationCode,omitempty"`
	ExpiresAt        time.Time        `json:"expiresAt"`
	EndedAt          *time.Time       `json:"endedAt,omitempty"`
	SigningTime      *time.Time       `json:"signingTime,omitempty"` // of a signed one, and so are the next
	CMS              []byte           `json:"cms,omitempty"`
	Certificate      []byte           `json:"certificate,omitempty"`
	Timeline         *timeline        `json:"timeline,omitempty"` // once it has ended
}

// timeline is when what happened, as far as it did and is known, by the clock of
// the gateway that saw it.
type timeline struct {
	Sent     *time.Time `json:"sent,omitempty"`
	Answered *time.Time `json:"answered,omitempty"`
	Verified *time.Time `json:"verified,omitempty"`
}

func timelineOf(t *gateway.Transaction) *timeline {
	l := timeline{known(&t.Sent), known(&t.Answered), known(&t.Verified)}
	if l == (timeline{}) {
		return nil
	}
	return &l
}

// known is a time, or nil if it is not known.
func known(t *time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return t
}

// get is GET /v1/signatures/{id}?wait=SECONDS.
func (a *API) get(c echo.Context) error {
	wait := 0
	if text := c.QueryParam("wait"); text != "" {
		var err error
		if wait, err = strconv.Atoi(text); err != nil || wait < 0 || wait > maxWait {
			return gateway.Invalid("wait", fmt.Sprintf("0 to %d seconds", maxWait))
		}
	}
	t, err := a.Gateway.Get(c.Request().Context(), provider(c), c.Param("id"), time.Duration(wait)*time.Second)
	if err == nil && wait > 0 {
		err = a.still(c)
	}
	if err != nil {
		return err
	}
	return a.show(c, t)
}

// cancel is DELETE /v1/signatures/{id}.
func (a *API) cancel(c echo.Context) error {
	t, err := a.Gateway.Cancel(c.Request().Context(), provider(c), c.Param("id"))
	if err != nil {
		return err
	}
	return a.show(c, t)
}

func (a *API) show(c echo.Context, t *gateway.Transaction) error {
	s := signature{ID: t.ID, Status: t.State, Reason: t.Reason, VerificationCode: t.VerificationCode(), ExpiresAt: t.Deadline}
	if t.State.Final() {
		s.EndedAt, s.Timeline = known(&t.Ended), timelineOf(t)
	} else {
		s.Progress = t.Progress
	}
	if len(t.CMS) > 0 {
		certificate, err := a.Gateway.Certificate(c.Request().Context(), t)
		if err != nil {
			return err
		}
		s.CMS, s.Certificate, s.SigningTime = t.CMS, certificate, &t.SigningTime
	}
	return c.JSON(http.StatusOK, s)
}
