package strict_test

import (
	"errors"
	"strings"
	"testing"

	"imza/gateway"
	"imza/gateway/strict"
)

type body struct {
	Name   string   `json:"name"`
	Number *int64   `json:"number"`
	List   []string `json:"list"`
	Inner  struct {
		Kind string `json:"kind"`
	} `json:"inner"`
	Many []struct {
		Kind  string `json:"kind"`
		Size  int    `json:"size"`
		Parts []struct {
			Big bool `json:"big"`
		} `json:"parts"`
	} `json:"many"`
	Hidden string `json:"-"`
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	for text, field := range map[string]string{
		`{}`: "", `{"name":"Ə <b> 'x' 🖋","number":3,"list":["a","b"],"inner":{"kind":"k"},"many":[{"kind":"a"},{"kind":"b"}]}`: "",
		`{"name":null,"number":null,"list":null,"inner":null}`: "",

		``: "body", ` `: "body", `{`: "body", `{"name"`: "body", `{"name":`: "body", `{"name":"a"`: "body", `{}{}`: "body", `{}x`: "body",
		`[]`: "body", `[{}]`: "body", `"a"`: "body", `5`: "body", `{"":1}`: "body", `{'name':'a'}`: "body", `{"list":["a",]}`: "body",
		strings.Repeat("[", 1<<20): "body", `{"many":` + strings.Repeat("[", 1<<20): "body", "\ufeff{}": "body",

		`{"Name":"a"}`: "Name", `{"other":1}`: "other", `{"-":"a"}`: "-", `{"Hidden":"a"}`: "Hidden", `{"inner":{"Kind":"a"}}`: "inner.Kind",
		`{"many":[{"kind":"a"},{"other":"b"}]}`: "many[1].other", `{"name":{"deep":1}}`: "name.deep", `{"list":[{"deep":1}]}`: "list[0]",
		`{"name":"a","name":"a"}`: "name", `{"name":"a","n\u0061me":"b"}`: "name", `{"many":[{"kind":"a","kind":"a"}]}`: "many[0].kind",

		`{"name":1}`: "name", `{"name":["a"]}`: "name", `{"name":true}`: "name", `{"number":"1"}`: "number", `{"number":1.5}`: "number",
		`{"number":1e400}`: "number", `{"number":9223372036854775808}`: "number", `{"list":"a"}`: "list", `{"list":{}}`: "list", `{"inner":"a"}`: "inner",
		`{"list":["a",1]}`: "list[1]", `{"list":["a",["b"]]}`: "list[1]", `{"list":[{}]}`: "list[0]", `{"list":["a",null]}`: "list[1]", `{"list":[true]}`: "list[0]",

		`{"many":[{"kind":"a"},{"kind":1}]}`: "many[1].kind", `{"many":[{"size":1},{"size":"1"},{"size":"2"}]}`: "many[1].size", `{"many":[{"size":1.5}]}`: "many[0].size",
		`{"many":[{},5]}`: "many[1]", `{"many":[[]]}`: "many[0]", `{"many":[{"kind":{}}]}`: "many[0].kind", `{"many":[{"kind":[ "a" ]}]}`: "many[0].kind", `{"many":{}}`: "many",
		`{"many":[{"parts":[{"big":true}]}, {"parts" : [{"big":false}, {"big" : "yes" } ]}]}`: "many[1].parts[1].big", `{"many":[{"parts":[7]}]}`: "many[0].parts[0]",

		`{"name":"a\u0000"}`: "name", `{"list":["a","\u0000"]}`: "list[1]", "{\"name\":\"\xff\"}": "name", "{\"inner\":{\"kind\":\"\xc0\xaf\"}}": "inner.kind",
		`{"name":"\ud800"}`: "name", "{\"name\":\"\ufffd\"}": "name", "{\"na\xffme\":1}": "na\ufffdme", "{\"name\":\"\x00\"}": "body", "\x00": "body",
	} {
		err := strict.Decode([]byte(text), new(body))
		var refusal *gateway.Refusal
		got := ""
		if errors.As(err, &refusal) {
			got = refusal.Field
		}
		if got != field || err != nil && (refusal == nil || refusal.Code != gateway.InvalidRequest) {
			t.Errorf("%.60q: %v, want %q", text, err, field)
		}
	}
}

func TestWhatIsReadIsWhatWasSent(t *testing.T) {
	var b body
	if err := strict.Decode([]byte(`{"many":[{"kind":"a"}],"name":"<script>Ж\u0301🖋 ' OR 1=1","number":-3}`), &b); err != nil {
		t.Fatal(err)
	}
	if b.Name != "<script>Ж\u0301🖋 ' OR 1=1" || *b.Number != -3 || len(b.Many) != 1 || b.Many[0].Kind != "a" {
		t.Errorf("%+v", b)
	}
}

func TestText(t *testing.T) {
	for text, good := range map[string]bool{"": true, "Ə\u200b\n🖋": true, "\ufffd": true, "\x00": false, "a\x00b": false, "\xff": false, "\xed\xa0\x80": false} {
		if err := strict.Text("q", text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// No body may panic, and whatever is taken has no U+0000 and is UTF-8.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{`{"name":"a"}`, `{"list":["a",1]}`, `{"many":[{"kind":"\ud800"}]}`, `[{}]`, `{"inner":{"kind":"a"},"number":1}`, `{}]`, `]`, `}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b body
		if strict.Decode(raw, &b) != nil {
			return
		}
		for _, s := range append(b.List, b.Name, b.Inner.Kind) {
			if err := strict.Text("", s); err != nil {
				t.Errorf("%q: %v", raw, err)
			}
		}
	})
}
