//go:build !unix

package load

// ownUsage is not known here.
func ownUsage() Process { return Process{Name: "load"} }
