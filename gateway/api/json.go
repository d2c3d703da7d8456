package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
)

// octets are base64 in a string. Left to itself, encoding/json takes a list of
// numbers for a []byte too.
type octets []byte

func (o *octets) UnmarshalJSON(raw []byte) (err error) {
	text := bytes.Trim(raw, `"`)
	if bytes.IndexByte(raw, '\\') >= 0 { // rare, so that a large document is not copied for it
		var unquoted string
		err = json.Unmarshal(raw, &unquoted)
		text = []byte(unquoted)
	}
	if err == nil && raw[0] == '"' {
		if *o, err = base64.StdEncoding.AppendDecode(octets{}, text); err == nil {
			return nil
		}
	}
	// The decoder adds whose.
	return &json.UnmarshalTypeError{Value: "value other than base64 in a string", Type: reflect.TypeFor[octets]()}
}
