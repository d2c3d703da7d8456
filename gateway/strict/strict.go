// Package strict reads what clients send: bodies of a limited size, JSON in
// which nothing is unknown, there twice or of another type, and text that any
// database can store. What is wrong is named: its path, like "blocked[17]" or
// "certificate.type".
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"imza/gateway"
)

// Body reads a whole body of at most limit octets. advice is for who sends more.
func Body(w http.ResponseWriter, r *http.Request, limit int64, advice string) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, &gateway.Refusal{Code: gateway.DocumentTooLarge, Detail: advice}
	}
	if err != nil {
		return nil, gateway.Invalid("body", "was cut off")
	}
	return body, nil
}

// Text refuses text that is not UTF-8 or has U+0000 in it, which PostgreSQL
// cannot store.
func Text(field, s string) error {
	switch {
	case !utf8.ValidString(s):
		return gateway.Invalid(field, "is not UTF-8")
	case strings.ContainsRune(s, 0):
		return gateway.Invalid(field, "has U+0000 in it")
	}
	return nil
}

// Decode reads one JSON object into a struct, whose tags are all the names that
// are known. A value that is null counts as not there.
func Decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // whether a number fits is judged with its field
	if err := check(d, reflect.TypeOf(into), func(string) {}); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			at := wrongType.Field
			if wrongType.Offset > 0 { // else a type's own decoder says so, which does not know
				at = pathAt(body, into, wrongType.Offset)
			}
			return gateway.Invalid(at, "cannot be a JSON "+wrongType.Value)
		}
		return notJSON()
	}
	return nil
}

// pathAt finds the first value that ends at an offset or behind it. The decoder
// does not say which of a list's it is.
func pathAt(body []byte, into any, offset int64) (at string) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	_ = check(d, reflect.TypeOf(into), func(path string) {
		if at == "" && d.InputOffset() >= offset {
			at = path
		}
	})
	return at
}

func notJSON() error { return gateway.Invalid("body", "is not a JSON object") }

// maxDepth is more than any request nests, and keeps a body of brackets cheap.
const maxDepth = 8

// check reads one JSON value, looks at the names and the texts in it, and tells of
// each value within it where it was. The decoder itself would take a name in any
// case, the last of two, and U+FFFD for what is not UTF-8.
func check(d *json.Decoder, into reflect.Type, saw func(path string)) error {
	var open []*level
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil || len(open) > maxDepth || len(open) == 0 && token == json.Delim('[') {
			return notJSON()
		}
		end := token == json.Delim('}') || token == json.Delim(']')
		path, of := "", into
		if len(open) > 0 {
			top := open[len(open)-1]
			if name, ok := token.(string); ok && top.wantsName() {
				if err := top.take(name); err != nil {
					return err
				}
				continue
			}
			if !end {
				path, of = top.value()
				if err := checkText(path, token, top.array && of != nil && of.Kind() == reflect.String); err != nil {
					return err
				}
				saw(path)
			}
		}
		if _, delim := token.(json.Delim); end {
			open = open[:len(open)-1]
		} else if delim {
			open = append(open, newLevel(path, of, token == json.Delim('[')))
		}
	}
}

// checkText judges a value that is, or has to be, a string.
func checkText(path string, token json.Token, wanted bool) error {
	text, ok := token.(string)
	switch {
	case wanted && !ok: // of a list's element the decoder would not say which
		return gateway.Invalid(path, "is not a string")
	case strings.IndexByte(text, 0) >= 0 || strings.Contains(text, "\uFFFD"): // which the decoder writes for what it cannot read
		return gateway.Invalid(path, "has U+0000 in it, or is not UTF-8")
	}
	return nil
}

// level is a JSON object or array that is being read.
type level struct {
	path  string
	array bool
	of    reflect.Type // of an array's elements; nil: whatever
	known map[string]reflect.Type
	seen  map[string]bool
	name  string // the one whose value is due; empty: a name is due
	index int    // of the element that is due
}

func newLevel(path string, of reflect.Type, array bool) *level {
	l := &level{path: path, array: array}
	for of != nil && of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	switch {
	case array && of != nil && of.Kind() == reflect.Slice:
		l.of = of.Elem()
	case !array:
		l.known, l.seen = names(of), make(map[string]bool)
	}
	return l
}

// read are the names of the types that were read before.
var read sync.Map // of reflect.Type: map[string]reflect.Type

// names are those that a struct's tags have.
func names(of reflect.Type) map[string]reflect.Type {
	if of == nil || of.Kind() != reflect.Struct {
		return nil
	}
	if known, ok := read.Load(of); ok {
		return known.(map[string]reflect.Type)
	}
	known := make(map[string]reflect.Type)
	for i := range of.NumField() {
		if name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			known[name] = of.Field(i).Type
		}
	}
	read.Store(of, known)
	return known
}

func (l *level) wantsName() bool { return !l.array && l.name == "" }

// take reads a name.
func (l *level) take(name string) error {
	path := l.path + "." + name
	if l.path == "" {
		path = name
	}
	_, known := l.known[name]
	switch {
	case name == "":
		return gateway.Invalid("body", "has a field without a name")
	case !known:
		return gateway.Invalid(path, "is not known")
	case l.seen[name]:
		return gateway.Invalid(path, "is there twice")
	}
	l.seen[name], l.name = true, name
	return nil
}

// value tells where the value is that comes now, and what it is read into.
func (l *level) value() (path string, of reflect.Type) {
	if l.array {
		path = fmt.Sprintf("%s[%d]", l.path, l.index)
		l.index++
		return path, l.of
	}
	path, of = l.path+"."+l.name, l.known[l.name]
	if l.path == "" {
		path = l.name
	}
	l.name = ""
	return path, of
}
