# imza: a mobile-signature gateway with an emulator for all that it needs.

GO ?= go
FUZZTIME ?= 20s

.PHONY: run build test lint fuzz bench bench-smpp deps debian

run: build ## everything in one process, on the folder data/
	bin/imza up

build:
	$(GO) build -o bin/imza ./cmd/imza

test: deps ## all tests, with the real Redis, OpenSSL and tshark
	$(GO) test -race -timeout 14m ./...

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod verify

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench-smpp: deps ## submit_sm a second: our client and server beside go-smpp and node-smpp
	$(GO) run ./smpp/benchmark

bench: ## every benchmark; pki/cms sets the bare ECDSA check beside the verifier
	$(GO) test -run '^$$' -bench . -benchmem ./...

deps: debian smpp/testdata/peers/node_modules/.package-lock.json ## what tests need from Debian and npm

debian:
	@.ci/deps redis-server:redis-server gcc:build-essential openssl:openssl tshark:tshark curl:curl \
		/usr/sbin/bearerbox:kannel node:nodejs npm:npm /usr/share/perl5/Net/SMPP.pm:libnet-smpp-perl

# npm writes this file last.
smpp/testdata/peers/node_modules/.package-lock.json: smpp/testdata/peers/package-lock.json | debian
	@cd $(<D) && npm ci
