package load

import (
	"encoding/json"
	"testing"
)

func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{}`, ` { "a" : 1 , "b":"x\"y\\", "c":{"d":["}",{"e":null}]},"f":true } `, `{"a":1}{`, `{"a"}`, `{,}`, `{"a":}`, `[]`, ``, `{"a":"\\\""}`, `{"a":1,}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		got := make(map[string]string)
		order := 0
		err := members(object, func(name, value []byte) error {
			got[string(name)] = string(value)
			order++
			return nil
		})
		// Whatever encoding/json takes is read as encoding/json reads it.
		var want map[string]json.RawMessage
		if json.Unmarshal(object, &want) != nil || want == nil {
			return // it may be read all the same, but must not panic
		}
		if err != nil {
			t.Fatalf("%q: %v", object, err)
		}
		for name, value := range want {
			quoted, _ := json.Marshal(name)
			raw, ok := got[string(quoted[1:len(quoted)-1])]
			if ok && raw != string(value) {
				t.Errorf("%q: %s is %q; want %q", object, name, raw, value)
			}
		}
		if order < len(want) {
			t.Errorf("%q: %d members of %d", object, order, len(want))
		}
	})
}
