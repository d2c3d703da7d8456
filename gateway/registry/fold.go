package registry

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// dotless makes one letter of the four that are i in one language or another:
// whoever looks for Şıxəli types "sixeli", "ŞIXƏLİ" or anything in between.
var dotless = strings.NewReplacer("İ", "i", "I", "i", "ı", "i", "i\u0307", "i")

// fold brings text to the form in which it is searched: one normal form, no
// case, all letters i one, one blank between words.
func fold(text string) string {
	text = dotless.Replace(norm.NFKC.String(text))
	text = dotless.Replace(norm.NFKC.String(cases.Fold().String(text)))
	return strings.Join(strings.Fields(text), " ")
}

// like is a pattern that finds the text, whatever is in it, within a column.
// Statements say LIKE … ESCAPE '!'.
func like(text string) string { return "%" + likeEscape.Replace(text) + "%" }

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

// maxWords keeps a search from becoming a statement that no database reads.
const maxWords = 8

// words are the words of a text, folded; what is beyond maxWords is one.
func words(text string) []string {
	folded := fold(text)
	if folded == "" {
		return nil
	}
	return strings.SplitN(folded, " ", maxWords)
}

// searched is what an employee is found by. The line feed, which no folded text
// has, keeps a search for names from finding other things.
func searched(fin, numbers, givenName, surname string) string {
	return fold(fin+" "+numbers) + "\n" + fold(givenName+" "+surname)
}

// searchedOrganisation is what an organisation is found by.
func searchedOrganisation(voen, name string) string { return fold(voen) + "\n" + fold(name) }
