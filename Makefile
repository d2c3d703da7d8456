# imza: a mobile-signature gateway with an emulator for all that it needs.

GO ?= go
FUZZTIME ?= 20s

.PHONY: run build test lint fuzz bench deps

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

bench: ## every benchmark; pki/cms sets the bare ECDSA check beside the verifier
	$(GO) test -run '^$$' -bench . -benchmem ./...

deps: ## what tests need from Debian
	@.ci/deps redis-server:redis-server gcc:build-essential openssl:openssl tshark:tshark curl:curl
