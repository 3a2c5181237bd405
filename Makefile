# SPDX-License-Identifier: Apache-2.0
#
# make onebox        a whole cluster on this machine, from source to the status screen
# make clean-onebox  remove it again
# make test          install what the tests need and run them all
# make help          all targets

# The product is static; tests and benchmarks measure the same build.
export CGO_ENABLED = 0

GO      ?= go
VERSION := $(shell cat VERSION)
GIT_SHA := $(shell git rev-parse --short=7 HEAD 2>/dev/null || echo 0000000)
STAMP   := -X main.version=$(VERSION) -X main.gitSHA=$(GIT_SHA) -X main.buildType=release
BUILD   := $(GO) build -trimpath -buildvcs=false -ldflags "-s -w $(STAMP)"
OPS     := bin/pegasus-ops

.PHONY: build
build: ## bin/pegasus-ops and bin/pegasus_server, static and stamped
	$(BUILD) -o bin/ ./cmd/pegasus-ops ./cmd/pegasus_server

.PHONY: pack
pack: build ## the server package in dist/
	$(OPS) pack --program bin/pegasus_server --out dist

.PHONY: onebox
onebox: pack ## deploy inventory/examples/onebox.yaml on this machine
	$(OPS) deploy inventory/examples/onebox.yaml --package dist

.PHONY: clean-onebox
clean-onebox: build ## remove it: processes, data, record
	$(OPS) -i inventory/examples/onebox.yaml --yes clean
	-$(OPS) forget onebox

DURATION ?= 60s
SEEDS    ?= 200

.PHONY: test
test: deps ## everything, real processes included; about five minutes on two cores
	$(GO) vet ./...
	$(GO) test -timeout 14m ./...

.PHONY: deps
deps: ## install what the tests need
	@test/deps.sh

.PHONY: bench
bench: ## set and get beside their peers; JSON in bench/out
	@mkdir -p bench/out
	$(GO) run ./bench -out bench/out > /dev/null

.PHONY: sim
sim: ## SEEDS=200 simulated histories of each kind of fault
	$(GO) test ./test/sim -seeds $(SEEDS) -timeout 0 -v
	$(GO) test ./server/pacifica -run Sim -sim.seeds $(SEEDS)000 -timeout 0 -v

.PHONY: soak
soak: ## kill real processes under load, ROUNDS=20 times each way
	$(GO) test ./test/e2e -run 'Kill' -rounds $(or $(ROUNDS),20) -timeout 0 -v

.PHONY: fuzz
fuzz: ## every fuzz target for DURATION=60s
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(DURATION) $$pkg || exit 1; \
	  done; \
	done

.PHONY: generate
generate: ## the wire codecs and the command reference
	$(GO) generate ./...

.PHONY: docs
docs: build ## docs/reference from the commands themselves
	$(OPS) docs --out docs/reference

.PHONY: lint
lint: ## vet, staticcheck and the layout of the tree
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	$(GO) test ./test/layout

.PHONY: help
help:
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 16
