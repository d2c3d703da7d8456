package load

import (
	"bytes"
	"errors"
	"fmt"
)

// errNoObject says that octets are no JSON object.
var errNoObject = errors.New("it is no JSON object")

// members goes over the members of a JSON object: names and values as they are
// written, with quotes and all. It is what makes an answer of several kilobytes,
// nearly all of it two strings in base64, cost a microsecond and not thirty. It
// does not look into objects and lists; what is within is the caller's to read.
func members(object []byte, each func(name, value []byte) error) error {
	s := bytes.TrimSpace(object)
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return errNoObject
	}
	s = bytes.TrimLeft(s[1:], spaces)
	for first := true; s[0] != '}'; first = false {
		if !first {
			if s[0] != ',' {
				return errNoObject
			}
			s = bytes.TrimLeft(s[1:], spaces)
		}
		name, rest, err := value(s)
		if err != nil || name[0] != '"' {
			return errNoObject
		}
		rest = bytes.TrimLeft(rest, spaces)
		if len(rest) == 0 || rest[0] != ':' {
			return errNoObject
		}
		v, rest, err := value(bytes.TrimLeft(rest[1:], spaces))
		if err != nil {
			return err
		}
		if s = bytes.TrimLeft(rest, spaces); len(s) == 0 {
			return errNoObject
		}
		if err := each(name[1:len(name)-1], v); err != nil {
			return err
		}
	}
	if len(s) != 1 {
		return errNoObject
	}
	return nil
}

const spaces = " \t\r\n"

// value cuts the value that s begins with from the rest.
func value(s []byte) (v, rest []byte, err error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			n := end(s[i+1:])
			if n < 0 {
				return nil, nil, errNoObject
			}
			if i += 1 + n; depth == 0 {
				return s[:i+1], s[i+1:], nil
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return cut(s, i)
			}
			if depth--; depth == 0 {
				return s[:i+1], s[i+1:], nil
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return cut(s, i)
			}
		}
	}
	return nil, nil, errNoObject
}

func cut(s []byte, i int) (v, rest []byte, err error) {
	if i == 0 {
		return nil, nil, errNoObject
	}
	return s[:i], s[i:], nil
}

// end is where the quote is that ends a string, -1 if nowhere.
func end(s []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(s[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		escapes := 0
		for escapes < i && s[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}

// text is a string's content. None of the strings that are read has an escape in
// it: they are codes, ids, times and base64.
func text(name string, v []byte) ([]byte, error) {
	if len(v) < 2 || v[0] != '"' || bytes.IndexByte(v, '\\') >= 0 {
		return nil, fmt.Errorf("%s is no plain string", name)
	}
	return v[1 : len(v)-1], nil
}
