//go:build race

package policy

// manyHistories is how many TestHistories runs if it is not told: the race
// detector makes each several times as dear, and "make test" runs all without it.
const manyHistories = 2_000
