package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"

	"imza/emulator/fleet"
)

// serveProfiles serves a process's profiles at an address, until the returned
// function is called; none for no address. It is on a server of its own, since
// whoever may use an API need not see inside. Only this machine may: a profile
// tells a lot, and a heap could be had from it.
func serveProfiles(addr string) (stop func() error, err error) {
	if addr == "" {
		return func() error { return nil }, nil
	}
	if err := fleet.OnLoopback(addr); err != nil {
		return nil, fmt.Errorf("--pprof: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--pprof: %w", err)
	}
	pages := http.NewServeMux()
	pages.HandleFunc("/debug/pprof/", pprof.Index)
	pages.HandleFunc("/debug/pprof/profile", pprof.Profile)
	pages.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: pages}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return func() error {
		closed := server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return closed
	}, nil
}
