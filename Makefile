# SandTrap. "make help" tells what there is.

VERSION     ?= 0.1.0
DESTDIR     ?=
prefix      ?= /usr
GO          ?= go
# Where zsh looks: vendor-completions on Debian, site-functions elsewhere.
ZSH_COMPLETIONS ?= vendor-completions

# Podman's bindings without cgo: no local storage, OpenPGP in Go.
PODMAN_TAGS := remote exclude_graphdriver_btrfs containers_image_openpgp

export CGO_ENABLED := 0
GOFLAGS_ALL := -trimpath -tags "$(PODMAN_TAGS)"
# What the compiled test binaries of the disposable system are built with.
export PODMAN_TAGS GO VERSION

MD2MAN      := $(GO) run github.com/cpuguy83/go-md2man/v2@v2.0.7
MAN_SOURCES := $(wildcard man/*.md)
MAN_PAGES   := $(MAN_SOURCES:man/%.md=build/man/%)

.DEFAULT_GOAL := help
.PHONY: help version build run stop test test-unit test-race test-browser test-integration test-appliance test-vm bench \
	deb rpm install man lint cover clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

version: # what the scripts ask for
	@echo $(VERSION)

build: build/session-leader build/handover build/podman-filter build/quota build/layer build/balance ## build/sandtrap, its helpers, and the session leader of targets
	$(GO) build $(GOFLAGS_ALL) -ldflags "-X main.version=$(VERSION)" -o build/sandtrap ./cmd/sandtrap

# The leader lies in targets, where nothing may name the product: the import path
# gives way to one of the same length.
LEADER_PATH := github.com/sandtrap/sandtrap
LEADER_NAME := github.com/opensshd/opensshd

.PHONY: build/session-leader
build/session-leader:
	$(GO) build -trimpath -ldflags "-s -w -buildid=" -o $@ ./cmd/session-leader
	LC_ALL=C sed -i 's#$(LEADER_PATH)#$(LEADER_NAME)#g' $@
	@! LC_ALL=C grep -qi sandtrap $@ || { echo "$@ names the product" >&2; exit 1; }

.PHONY: build/handover
build/handover:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/handover

.PHONY: build/podman-filter
build/podman-filter:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/podman-filter

.PHONY: build/layer
build/layer:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/layer

.PHONY: build/balance
build/balance:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/balance

.PHONY: build/quota
build/quota:
	$(GO) build -trimpath -ldflags "-s -w" -o $@ ./cmd/quota

run: deb ## a disposable appliance with the real package, at 127.0.0.1:2222
	packaging/disposable/run

stop: ## end the appliance of "make run"; nothing of it is left
	packaging/disposable/down run

test: ## unit, browser, integration and appliance tests
	$(MAKE) test-unit
	$(MAKE) test-browser
	$(MAKE) test-integration
	$(MAKE) test-appliance
	@echo "make test: unit, browser, integration and appliance tests passed"

test-unit: ## go vet and go test of all packages
	$(GO) vet -tags "$(PODMAN_TAGS) integration appliance vm browser" ./...
	$(GO) test $(GOFLAGS_ALL) ./...

# Not of the leader: its decoys are processes without the runtime that the detector needs,
# and its memory and priority are tested.
test-race: ## unit tests with the race detector, which needs a C compiler
	CGO_ENABLED=1 $(GO) test -race $(GOFLAGS_ALL) $$($(GO) list $(GOFLAGS_ALL) ./... | grep -v /internal/leader$$)

test-browser: ## the page of "sandtrap report" in Chromium
	packaging/disposable/tools chromium
	$(GO) test -trimpath -tags "$(PODMAN_TAGS) browser" -run 'InBrowser|Screenshot' -v ./internal/report

test-integration: deb ## tests against real rootless Podman in a disposable system
	packaging/disposable/test integration

test-appliance: deb ## the installed package, with the real OpenSSH client
	packaging/disposable/test appliance

test-vm: deb ## what a stock kernel enforces, in a virtual machine
	packaging/vm/test

bench: deb ## the package beside real SSH servers, in build/bench/results.txt
	packaging/disposable/bench

deb: build man ## dist/sandtrap_VERSION_ARCH.deb
	packaging/debian/build $(VERSION)

rpm: build man ## dist/*.rpm, where rpmbuild is
	rm -rf build/rpm && mkdir -p build/rpm dist
	rpmbuild -bb --quiet --define "_topdir $(CURDIR)/build/rpm" --define "_rpmdir $(CURDIR)/dist" \
		--define "source_tree $(CURDIR)" --define "package_version $(VERSION)" sandtrap.spec

install: ## what is built, below DESTDIR
	install -Dm755 build/sandtrap -t $(DESTDIR)$(prefix)/bin
	install -Dm644 packaging/systemd/* -t $(DESTDIR)$(prefix)/lib/systemd/system
	install -Dm644 packaging/sysusers.d/sandtrap.conf -t $(DESTDIR)$(prefix)/lib/sysusers.d
	install -Dm644 packaging/tmpfiles.d/sandtrap.conf -t $(DESTDIR)$(prefix)/lib/tmpfiles.d
	install -Dm644 packaging/catalog/sandtrap.catalog -t $(DESTDIR)$(prefix)/lib/systemd/catalog
	install -Dm644 packaging/pods/environment packaging/pods/seccomp.json -t $(DESTDIR)$(prefix)/lib/sandtrap/pods
	install -Dm644 packaging/pods/containers.conf -t $(DESTDIR)$(prefix)/lib/sandtrap/pods/containers
	install -Dm755 packaging/libexec/* build/handover build/podman-filter build/quota build/layer build/balance -t $(DESTDIR)$(prefix)/libexec/sandtrap
	install -Dm644 quadlet/* -t $(DESTDIR)$(prefix)/share/containers/systemd
	tar --sort=name --owner=0 --group=0 --mode=u=rwX,go=rX -cf - containerfiles | tar -C $(DESTDIR)$(prefix)/lib/sandtrap -xf -
	install -Dm755 build/session-leader -t $(DESTDIR)$(prefix)/lib/sandtrap/containerfiles/debian
	install -Dm640 packaging/config/sandtrap.yaml -t $(DESTDIR)/etc/sandtrap
	install -d $(DESTDIR)/etc/sandtrap/conf.d
	install -Dm644 internal/persona/*.conf -t $(DESTDIR)$(prefix)/share/sandtrap/personas
	install -Dm644 packaging/config/sandtrap.full.yaml packaging/prometheus/sandtrap.rules.yaml -t $(DESTDIR)$(prefix)/share/doc/sandtrap
	install -d $(DESTDIR)$(prefix)/share/bash-completion/completions $(DESTDIR)$(prefix)/share/fish/vendor_completions.d $(DESTDIR)$(prefix)/share/zsh/$(ZSH_COMPLETIONS)
	build/sandtrap completion bash >$(DESTDIR)$(prefix)/share/bash-completion/completions/sandtrap
	build/sandtrap completion fish >$(DESTDIR)$(prefix)/share/fish/vendor_completions.d/sandtrap.fish
	build/sandtrap completion zsh >$(DESTDIR)$(prefix)/share/zsh/$(ZSH_COMPLETIONS)/_sandtrap
	for page in $(MAN_PAGES); do \
		install -Dm644 $$page -t $(DESTDIR)$(prefix)/share/man/man$${page##*.} || exit; done

man: $(MAN_PAGES) ## the manual pages, in build/man

build/man/%: man/%.md
	@mkdir -p build/man
	$(MD2MAN) -in $< -out $@

lint: ## golangci-lint, shellcheck and systemd-analyze verify, as far as installed
	packaging/lint

cover: ## coverage of the unit tests, in build/cover.html
	@mkdir -p build
	$(GO) test $(GOFLAGS_ALL) -coverprofile=build/cover.out ./...
	$(GO) tool cover -html=build/cover.out -o build/cover.html
	$(GO) tool cover -func=build/cover.out | tail -n 1

clean: ## remove what was built here (the cache of base archives stays)
	@if [ -d build/disposable ]; then echo "a guest may run: make stop first" >&2; exit 1; fi
	rm -rf build dist
