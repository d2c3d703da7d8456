//go:build !race

package cabinet_test

// manyRows is how many rows a large import has.
const manyRows = 10_000
