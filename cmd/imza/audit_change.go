package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"imza/gateway/cabinet"
)

// changeInShort says what is different between the two states of an entry, like
// "default allow→block, allowed +bank".
func changeInShort(before, after json.RawMessage) string {
	was, is := members(before), members(after)
	if is["default"] != nil && is["exceptions"] != nil {
		return permissionsInShort(before, after)
	}
	names := slices.Sorted(maps.Keys(is))
	for name := range was {
		if is[name] == nil {
			names = append(names, name)
		}
	}
	var changes []string
	for _, name := range names {
		from, to := inShort(was[name]), inShort(is[name])
		switch {
		case from == to || name == "version":
		case was == nil:
			changes = append(changes, name+" "+to)
		case is == nil:
			changes = append(changes, name+" was "+from)
		default:
			changes = append(changes, name+" "+from+"→"+to)
		}
	}
	return strings.Join(changes, ", ")
}

// members are those of an object; of anything else, nil.
func members(object json.RawMessage) (all map[string]json.RawMessage) {
	if json.Unmarshal(object, &all) != nil {
		return nil
	}
	return all
}

// inShort is a value in a table.
func inShort(value json.RawMessage) string {
	const most = 40
	var text string
	if json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "…"
	}
	return text
}

// permissionsInShort tells for whom the decision is another one than before, by
// the word that the default is not.
func permissionsInShort(before, after json.RawMessage) string {
	was, is := cabinet.Permissions{Default: "allow"}, cabinet.Permissions{}
	_ = json.Unmarshal(before, &was) // what cannot be read shows as if it had been nothing
	_ = json.Unmarshal(after, &is)
	var changes []string
	if was.Default != is.Default {
		changes = append(changes, fmt.Sprintf("default %s→%s", was.Default, is.Default))
		was.Exceptions = nil // they were exceptions from something else
	}
	word := "blocked"
	if is.Default == "block" {
		word = "allowed"
	}
	var names []string
	for _, p := range is.Exceptions {
		if !slices.Contains(was.Exceptions, p) {
			names = append(names, "+"+string(p))
		}
	}
	for _, p := range was.Exceptions {
		if !slices.Contains(is.Exceptions, p) {
			names = append(names, "-"+string(p))
		}
	}
	if len(names) > 0 {
		changes = append(changes, word+" "+strings.Join(names, " "))
	}
	return strings.Join(changes, ", ")
}

// onOneLine is a text that moves no cursor: what is in the log may be anybody's.
func onOneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
