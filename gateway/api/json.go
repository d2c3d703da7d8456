package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"imza/gateway"
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
	return &json.UnmarshalTypeError{Value: "value", Type: reflect.TypeFor[octets]()} // the decoder adds whose
}

// decode reads one JSON object strictly: what is unknown, there twice, of the
// wrong type, or behind it is an error that names the field. names are those
// that are known, with those above them before a dot.
func decode(body []byte, names map[string]bool, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // whether a number fits is judged with its field
	if err := checkNames(d, names); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badJSON(err)
	}
	return nil
}

// object is a JSON object or array that is being read.
type object struct {
	path  string // of its names: empty, or with a dot at the end
	seen  map[string]bool
	name  string // the one whose value is due; empty: a name is due
	array bool
}

// maxDepth is more than any request nests, and keeps a body of brackets cheap.
const maxDepth = 8

// checkNames reads one JSON value and looks at the names in it alone. The
// decoder itself would take a name in any case, and the last of two.
func checkNames(d *json.Decoder, names map[string]bool) error {
	var open []*object
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil || len(open) > maxDepth {
			return gateway.Invalid("body", "is not a JSON object")
		}
		var top *object
		if len(open) > 0 {
			top = open[len(open)-1]
		}
		if name, ok := token.(string); ok && top != nil && !top.array && top.name == "" {
			path := top.path + name
			switch {
			case name == "":
				return gateway.Invalid("body", "has a field without a name")
			case !names[path]:
				return gateway.Invalid(path, "is not known")
			case top.seen[name]:
				return gateway.Invalid(path, "is there twice")
			}
			top.seen[name], top.name = true, name
			continue
		}
		path := ""
		if top != nil {
			path = top.path
			if top.name != "" {
				path += top.name + "."
			}
			top.name = "" // its value is this
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &object{path: path, seen: make(map[string]bool)})
		case json.Delim('['):
			open = append(open, &object{path: path, array: true})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

func badJSON(err error) error {
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Type == reflect.TypeFor[octets]():
		return gateway.Invalid(wrongType.Field, "is not base64 in a string")
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return gateway.Invalid(wrongType.Field, "cannot be a JSON "+wrongType.Value)
	}
	return gateway.Invalid("body", "is not a JSON object")
}
