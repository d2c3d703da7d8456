//go:build !race

package policy

// manyHistories is how many TestHistories runs if it is not told.
const manyHistories = 10_000
