package api_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imza/gateway"
	"imza/gateway/api"
	"imza/gateway/gatewaytest"
)

// That every answer of every test is as the document says is held by
// gatewaytest; here it is the document itself.
func TestOpenAPIDescribesEveryRouteAndNoOther(t *testing.T) {
	e := (&api.API{}).Handler()
	document, err := gatewaytest.Document(e, "/v1/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, item := range document.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, r := range e.Routes() {
		path := strings.Replace(parameter.ReplaceAllString(r.Path, "{$1}"), "/*", "/{request}", 1)
		served = append(served, r.Method+" "+path)
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %s\nserved:    %s", described, served)
	}
}

// Providers branch on codes, so none may be missing from the document.
func TestOpenAPINamesEveryCode(t *testing.T) {
	served := httptest.NewRecorder()
	(&api.API{}).Handler().ServeHTTP(served, httptest.NewRequest(http.MethodGet, "/v1/openapi.yaml", nil))
	for _, code := range []gateway.Code{
		gateway.InvalidRequest, gateway.NotASubscriber, gateway.CertificateNotActive, gateway.BlockedByOrg,
		gateway.PolicyUnavailable, gateway.SubscriberBusy, gateway.TooManyPrompts, gateway.IdempotencyConflict,
		gateway.NotFound, gateway.Unavailable, gateway.Unauthorized, gateway.ProviderSuspended, gateway.DocumentTooLarge, gateway.Internal,
	} {
		if !strings.Contains(served.Body.String(), "urn:imza:problem:"+string(code)+"\n") {
			t.Errorf("no example of %s", code)
		}
	}
	for _, state := range []gateway.State{
		gateway.Pending, gateway.Signed, gateway.CancelledByUser, gateway.PINBlocked, gateway.Expired,
		gateway.Undeliverable, gateway.Absent, gateway.CardError, gateway.SignatureInvalid, gateway.Blocked, gateway.CancelledByProvider,
	} {
		if !strings.Contains(served.Body.String(), string(state)) {
			t.Errorf("status %s is not described", state)
		}
	}
}
