package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"imza/gateway/gatewaytest"
	"imza/gateway/registry"
	"imza/policy/redistest"
)

// with returns a good request with one field changed. Fields of objects are
// written with a point; nil takes the field away.
func with(r map[string]any, field string, value any) map[string]any {
	changed := maps.Clone(r)
	name, inner, nested := strings.Cut(field, ".")
	switch {
	case nested:
		object, _ := changed[name].(map[string]any)
		changed[name] = with(object, inner, value)
	case value == nil:
		delete(changed, name)
	default:
		changed[name] = value
	}
	return changed
}

func quoted(t *testing.T, r map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// null is a JSON null, where nil takes a field away.
var null = json.RawMessage("null")

// badFields are fields with values that must be refused.
var badFields = []struct {
	field string
	value any
}{
	{"msisdn", nil}, {"msisdn", null}, {"msisdn", ""}, {"msisdn", "994550000001"}, {"msisdn", "+994 55 000 00 01"},
	{"msisdn", " +994550000001"}, {"msisdn", "+994550000001\n"}, {"msisdn", "+99455000000100000"}, {"msisdn", "+9945"},
	{"msisdn", "+99455000000a"}, {"msisdn", "+٩٩٤٥٥٠٠٠٠٠٠١"}, {"msisdn", "tel:+994550000001"}, {"msisdn", "+0994550000001"},
	{"msisdn", 994550000001}, {"msisdn", true}, {"msisdn", []string{"+994550000001"}}, {"msisdn", map[string]any{}},

	{"userId", nil}, {"userId", null}, {"userId", ""}, {"userId", "73000"}, {"userId", "7300011"}, {"userId", "73000a"},
	{"userId", "73 001"}, {"userId", "730001\n"}, {"userId", "٧٣٠٠٠١"}, {"userId", 730001}, {"userId", []int{7}},

	{"certificate", "business"}, {"certificate", 1}, {"certificate", []string{"business"}},
	{"certificate.type", nil}, {"certificate.type", null}, {"certificate.type", "Business"}, {"certificate.type", "passport"},
	{"certificate.type", 1}, {"certificate.type", []string{"business"}}, {"certificate.holder", "7TST001"},
	{"certificate.voen", "140000001"}, {"certificate.voen", "14000000111"}, {"certificate.voen", "14000000a1"},
	{"certificate.voen", 1400000011}, {"certificate.voen", false},

	{"digest", nil}, {"digest", null}, {"digest", "47DEQpj8HBSa"}, {"digest", []int{1}}, {"digest", 7},
	{"digest.algorithm", nil}, {"digest.algorithm", "SHA-1"}, {"digest.algorithm", "MD5"}, {"digest.algorithm", "sha-256"},
	{"digest.algorithm", "SHA256"}, {"digest.algorithm", "SHA3-256"}, {"digest.algorithm", 256},
	{"digest.value", nil}, {"digest.value", null}, {"digest.value", ""}, {"digest.value", 7}, {"digest.value", map[string]any{}},
	// encoding/json takes numbers for octets, unless it is kept from it.
	{"digest.value", make([]int, 32)},
	{"digest.value", strings.Repeat("0", 64)}, // in hex, which is base64 of 48 octets
	{"digest.value", strings.Repeat("!", 44)},
	{"digest.value", base64.RawStdEncoding.EncodeToString(make([]byte, 32))},            // not padded
	{"digest.value", base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xFF}, 32))}, // another alphabet
	{"digest.salt", "AAAA"},

	{"text", 5}, {"text", []string{"a"}}, {"text", strings.Repeat("ə", 101)}, {"text", "sign ✍🏽 here"}, {"text", "two\nlines"},
	{"text", "a\ttab"}, {"text", "\x00"}, {"text", "\x1b[2J"}, {"text", "\u007f"}, {"text", "\u0085"}, {"text", "pay 10\u202e000 AZN"},
	{"text", "\u2066isolated\u2069"}, {"text", "\u200f"}, {"text", "zero\u200bwidth"}, {"text", "soft\u00adhyphen"},
	{"text", "line\u2028separator"}, {"text", "\ufeff"}, {"text", "\ufffd"}, {"text", json.RawMessage(`"\ud83d"`)},
	{"text", json.RawMessage("\"\xff\xfe\"")}, {"text", json.RawMessage("\"\xc0\xaf\"")},

	{"language", "tr"}, {"language", "AZ"}, {"language", "az-AZ"}, {"language", 1},

	{"timeout", 0}, {"timeout", -1}, {"timeout", 601}, {"timeout", "abc"}, {"timeout", "120"}, {"timeout", 1.5},
	{"timeout", json.RawMessage("1e400")}, {"timeout", json.RawMessage("9223372036854775808")}, {"timeout", true},

	{"callback", "https://example.org"}, {"user_id", "730001"}, {"provider", "bank"},
	// encoding/json takes a name in any case, unless it is kept from it.
	{"MSISDN", "+994550000001"}, {"userID", "730001"}, {"Timeout", 5}, {"certificate.Type", "citizen"}, {"digest.VALUE", "AAAA"},
}

func TestBadFieldsAreNamedAndNothingIsPushed(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	good := who.Request()
	refuse := func(body any, field string, headers ...string) {
		t.Helper()
		p := s.Do(t, "POST", "/v1/signatures", key, body, headers...).Refused(t, http.StatusBadRequest, "invalid_request")
		if p.Field != field {
			t.Errorf("%.200s: the field is said to be %q (%s), not %q", body, p.Field, p.Detail, field)
		}
		noTransaction(t, s)
	}
	for _, b := range badFields {
		refuse(with(good, b.field, b.value), b.field)
	}

	// A document in place of the digest.
	noDigest := with(good, "digest", nil)
	for _, bad := range []any{5, true, []int{1, 2}, map[string]any{}, "not base64", "YQ", "YWI=YWI=", "ə"} {
		refuse(with(noDigest, "document", bad), "document")
	}
	refuse(with(good, "document", "YQ=="), "digest") // both
	refuse(with(noDigest, "document", null), "digest")

	// Each algorithm with the digest of another, and off by one.
	for algorithm, size := range map[string]int{"SHA-256": 32, "SHA-384": 48, "SHA-512": 64} {
		for _, n := range []int{0, 1, 20, 31, 32, 33, 47, 48, 49, 63, 64, 65, 1 << 16} {
			if n != size {
				refuse(with(with(good, "digest.algorithm", algorithm), "digest.value", make([]byte, n)), "digest.value")
			}
		}
	}

	citizen := with(good, "certificate", map[string]any{"type": "citizen", "voen": string(gatewaytest.FirstVOEN)})
	refuse(citizen, "certificate.voen")

	text := quoted(t, good)
	for _, body := range []string{
		"", " ", "{", text[:len(text)-1], text + "}", text + text, text + "null", "[" + text + "]", `"` + "a" + `"`, "5", "[]",
		"\ufeff" + text, strings.Replace(text, ":", "=", 1), strings.ReplaceAll(text, `"`, `'`), strings.Replace(text, "}", ",}", 1),
		strings.Replace(text, "{", "{/*a comment*/", 1), "{" + text[1:len(text)-1] + ",}", "\x00", strings.Repeat("[", 100_000),
		"<request/>", "msisdn=%2B994550000001",
	} {
		refuse(body, "body")
	}
	refuse(with(good, "", "nameless"), "body")
	refuse("null", "msisdn")

	// Of two values one would be checked here and the other perhaps elsewhere.
	twice := func(field, before string) {
		t.Helper()
		refuse(strings.Replace(text, before, before+","+before, 1), field)
	}
	twice("msisdn", `"msisdn":"`+string(who.MSISDN)+`"`)
	twice("certificate.type", `"type":"business"`)
	twice("digest.algorithm", `"algorithm":"SHA-256"`)
	refuse(strings.Replace(text, "{", `{"msisd\u006e":"+994559999999",`, 1), "msisdn")
	refuse(strings.Replace(text, "{", `{"document":null,"document":"YQ==",`, 1), "document")
	refuse("{}", "msisdn")
	refuse(`{"certificate":`+strings.Repeat(`{"type":`, 20_000), "certificate.type.type")
	// encoding/json would take a name in any case, and the last of two.
	refuse(`{"userid":"730001",`+text[1:], "userid")
	refuse(`{"userId":"730001",`+text[1:], "userId")
	refuse(strings.Replace(text, `"type":`, `"type":"citizen","type":`, 1), "certificate.type")

	for _, bad := range [][]string{{""}, {"a b"}, {strings.Repeat("a", 256)}, {"one", "two"}, {"same", "same"}, {"açar"}, {"a\tb"}} {
		var headers []string
		for _, value := range bad {
			headers = append(headers, "Idempotency-Key", value)
		}
		refuse(good, "Idempotency-Key", headers...)
	}

	// What is left is good, and is the only thing that went to the operator.
	if got := s.End(t, key, s.Ask(t, key, good).ID); got.Status != "signed" {
		t.Errorf("the good request ended as %s", got.Status)
	}
	if n := s.SubmittedAll(); n != 1 {
		t.Errorf("%d messages went to the operator; the good request alone is 1", n)
	}
}

// noTransaction holds that nothing was begun: no transaction, no telephone
// taken, nothing counted but wrong User IDs.
func noTransaction(t *testing.T, s *gatewaytest.Stack) {
	t.Helper()
	keys, err := s.Redis.Keys(t.Context(), "imza:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		ofPolicy := key == "imza:server" || key == "imza:lease" || key == "imza:run-id" // of policy/epoch.go
		if !ofPolicy && !strings.HasPrefix(key, "imza:wrong-user-id:") {
			t.Errorf("%s is in Redis", key)
		}
	}
}

func TestBadWaitIsNamed(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	id := s.Ask(t, key, who.Request()).ID
	for _, wait := range []string{"-1", "61", "abc", "1.5", "1s", "%20", "1e1", "99999999999999999999", "0x1", "%D9%A3"} {
		p := s.Do(t, "GET", "/v1/signatures/"+id+"?wait="+wait, key, nil).Refused(t, http.StatusBadRequest, "invalid_request")
		if p.Field != "wait" {
			t.Errorf("wait=%s: field %q", wait, p.Field)
		}
	}
}

// The edges that are still good.
func TestGoodEdgesAreSigned(t *testing.T) {
	s := gatewaytest.Start(t, redistest.Start(t).Addr)
	key := s.Provider(t, "bank", registry.NewProviderKey())
	who := s.Enrol(t, gatewaytest.Person{})
	good := who.Request()
	for _, request := range []map[string]any{
		with(good, "text", nil), // the provider's name is shown
		with(good, "text", ""),
		with(good, "text", strings.Repeat("ə", 100)),
		with(good, "text", strings.Repeat("Ж", 100)),
		with(good, "timeout", 1),
		with(good, "timeout", 600),
		with(good, "language", "en"),
		with(good, "language", "ru"),
		with(good, "digest", map[string]any{"algorithm": "SHA-384", "value": make([]byte, 48)}),
		with(good, "digest", map[string]any{"algorithm": "SHA-512", "value": make([]byte, 64)}),
		with(with(good, "digest", nil), "document", "YQ=="),
		with(with(good, "digest", nil), "document", ""), // an empty document is one, too
	} {
		if got := s.End(t, key, s.Ask(t, key, request).ID); got.Status != "signed" {
			t.Errorf("%v ended as %s %s", request, got.Status, got.Reason)
		}
	}
}
