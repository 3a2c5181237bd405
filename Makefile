# SPDX-License-Identifier: Apache-2.0
#
# make onebox        a whole cluster on this machine, from source to the status screen
# make clean-onebox  remove it again

GO      ?= go
VERSION := $(shell cat VERSION)
GIT_SHA := $(shell git rev-parse --short=7 HEAD 2>/dev/null || echo 0000000)
STAMP   := -X main.version=$(VERSION) -X main.gitSHA=$(GIT_SHA) -X main.buildType=release
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags "-s -w $(STAMP)"
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
