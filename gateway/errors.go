package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Code is why a request was refused, in the words of the API. Codes are
// stable: providers branch on them.
type Code string

// All refusals.
const (
	InvalidRequest       Code = "invalid_request"         // Field says which
	NotASubscriber       Code = "not_a_subscriber"        // unknown number or wrong User ID, not told apart
	CertificateNotActive Code = "certificate_not_active"  // none such, suspended, revoked or expired
	BlockedByOrg         Code = "blocked_by_organisation" // the manager forbids it
	PolicyUnavailable    Code = "policy_unavailable"      // it cannot be asked: unknown means no
	SubscriberBusy       Code = "subscriber_busy"         // another prompt is on the telephone
	TooManyPrompts       Code = "too_many_prompts"        // too many in a row were not signed
	IdempotencyConflict  Code = "idempotency_conflict"    // same key, other request
	NotFound             Code = "not_found"
	Unavailable          Code = "unavailable" // a transaction cannot be read right now
	Unauthorized         Code = "unauthorized"
	ProviderSuspended    Code = "provider_suspended"  // whose key it is
	Forbidden            Code = "forbidden"           // the key is good, but not for this
	VersionConflict      Code = "version_conflict"    // what was changed is no longer what was looked at; More has both
	CertificateRevoked   Code = "certificate_revoked" // and stays so
	LastOperator         Code = "last_operator"       // who else would administrate
	AlreadyEnrolled      Code = "already_enrolled"    // as somebody else, or otherwise; Field says what is taken
	InvalidImport        Code = "invalid_import"      // More says which rows
	DocumentTooLarge     Code = "document_too_large"
	Internal             Code = "internal" // ours; the log says more
)

// Refusal is an error that the client is told.
type Refusal struct {
	Code       Code
	Field      string         // of InvalidRequest and AlreadyEnrolled
	Detail     string         // for people; no secret, nothing of anybody else
	More       map[string]any // other members of the problem document, as JSON
	RetryAfter time.Duration  // 0: no advice
	Cause      error          // for the log
}

func (r *Refusal) Error() string {
	text := string(r.Code)
	if r.Field != "" {
		text += " (" + r.Field + ")"
	}
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	if r.Cause != nil {
		text += fmt.Sprintf(" [%v]", r.Cause)
	}
	return text
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Invalid is the refusal of a request for one of its fields.
func Invalid(field, detail string) *Refusal {
	return &Refusal{Code: InvalidRequest, Field: field, Detail: detail}
}

func refuse(code Code, detail string) *Refusal { return &Refusal{Code: code, Detail: detail} }

// unavailable is the refusal when Redis or the record cannot be asked.
func unavailable(code Code, err error) *Refusal {
	return &Refusal{Code: code, Detail: "try again shortly", RetryAfter: time.Second, Cause: err}
}

// ErrNoSubscriber is what a Directory returns of a number that it does not
// know and of a User ID that is not the number's.
var ErrNoSubscriber = errors.New("gateway: no such subscriber")
