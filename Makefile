# imza: a mobile-signature gateway with an emulator for all that it needs.

GO ?= go
FUZZTIME ?= 20s

# Card readers need cgo and libpcsclite-dev; without it imza is built without them.
TAGS = $(shell pkg-config --exists libpcsclite 2>/dev/null && echo -tags pcsc)

.PHONY: run build test lint fuzz bench bench-sizes bench-micro bench-smpp bench-policy race-policy deps debian headers

run: build ## everything in one process, on the folder data/
	bin/imza up

build:
	$(GO) build $(TAGS) -o bin/imza ./cmd/imza

test: deps ## all tests, with the real Redis, PostgreSQL, OpenSSL, tshark, pcscd and Chromium
	$(GO) test -race -timeout 14m -tags pcsc ./...
	$(GO) test -timeout 14m -run 'TestHistories|TestWrongStores|TestImportOfMany|TestViewOf' ./policy ./gateway/cabinet # in full size

lint: headers
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	$(GO) vet ./... && $(GO) vet -tags pcsc ./...
	cd policy/benchmark && $(GO) vet ./...
	$(GO) tool staticcheck ./... && $(GO) tool staticcheck -tags pcsc ./...
	$(GO) mod verify

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list -tags pcsc ./...); do \
		for target in $$($(GO) test -tags pcsc -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -tags pcsc -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

bench-smpp: deps ## submit_sm a second: our client and server beside go-smpp and node-smpp
	$(GO) run ./smpp/benchmark

bench-policy: deps ## admissions a second beside bare calls of their script; a million employees; the decision beside other engines
	$(GO) test -run '^$$' -bench 'Admission|Sizes' ./gateway
	cd policy/benchmark && $(GO) run .

race-policy: deps ## a million admissions against ten thousand saves on three nodes: none may be wrong
	$(GO) test -count 1 -v -timeout 60m -run 'TestRace' ./policy -full

bench: ## the whole path of a signature beside the floor (docs/performance.md); BENCH='-for 20s' has flags for it
	@.ci/deps redis-server:redis-server
	$(GO) run ./gateway/benchmark $(BENCH)

bench-sizes: ## what a signature costs with 1,000,000 subscribers on record, beside 1,000
	@.ci/deps redis-server:redis-server
	$(GO) run ./gateway/benchmark -sizes $(BENCH)

bench-micro: ## every benchmark of a package; pki/cms sets the bare ECDSA check beside the verifier
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m -tags pcsc ./...

deps: debian smpp/testdata/peers/node_modules/.package-lock.json ## what tests need from Debian and npm

debian: headers
	@.ci/deps redis-server:redis-server /usr/bin/pg_createcluster:postgresql gcc:build-essential openssl:openssl tshark:tshark curl:curl \
		/usr/sbin/bearerbox:kannel node:nodejs npm:npm python3:python3 /usr/share/perl5/Net/SMPP.pm:libnet-smpp-perl \
		/usr/sbin/pcscd:pcscd $(VPCD):vsmartcard-vpcd opensc-tool:opensc pcsc_scan:pcsc-tools chromium:chromium

# The driver of virtual readers, and the headers that the build tag pcsc wants.
VPCD = /usr/lib/pcsc/drivers/serial/libifdvpcd.so
headers:
	@.ci/deps gcc:build-essential pkg-config:pkg-config /usr/include/PCSC/winscard.h:libpcsclite-dev

# npm writes this file last.
smpp/testdata/peers/node_modules/.package-lock.json: smpp/testdata/peers/package-lock.json | debian
	@cd $(<D) && npm ci
