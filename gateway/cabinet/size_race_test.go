//go:build race

package cabinet_test

// manyRows is how many rows a large import has: the race detector makes each of
// them ten times as dear.
const manyRows = 1_000
