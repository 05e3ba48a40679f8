# The commands people and CI use. CGO stays off and flags stay the same for build, vet and test, so that the
# dependencies compile once.
export CGO_ENABLED := 0

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 20s
ARGS     ?=

GOFUMPT     := $(GO) run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help build test race e2e lint vuln fuzz golden bench bench-rules demo check

help: ## say what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/slowburn
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/slowburn ./cmd/slowburn

test: ## run the tests (some minutes the first time: the dependencies compile)
	$(GO) test ./...

race: ## run the tests under the race detector, long simulations left out (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m ./...

e2e: ## run the long end-to-end tests: kill -9, a page in real time, generated tests
	$(GO) test -tags e2e -run '^TestE2E' -timeout 30m -v ./cmd/slowburn ./alerts/alertmanager ./alerts/rulegen ./dashboards/web

lint: ## gofumpt, vet, staticcheck
	@fmt="$$($(GOFUMPT) -l .)"; if [ -n "$$fmt" ]; then echo "not gofumpt-formatted:"; echo "$$fmt"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags e2e ./cmd/... ./alerts/... ./dashboards/...
	cd bench && $(GO) vet ./...
	$(STATICCHECK) ./...

vuln: ## known vulnerabilities, where their database can be reached
	@$(GOVULNCHECK) ./... || { rc=$$?; if [ $$rc -eq 3 ]; then exit 3; fi; \
		echo "vuln: the vulnerability database cannot be reached from here; nothing was checked"; }

# A run that ends while an input is tried can fail with nothing but "context deadline exceeded", which is go's own
# (golang/go#75804): a real finding names the input that it wrote.
fuzz: ## fuzz each parser for FUZZTIME (20s)
	@set -e; out=$$(mktemp); trap 'rm -f '$$out EXIT; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -h '^func Fuzz' $$dir/*_test.go | sed 's/func \(Fuzz[A-Za-z0-9_]*\).*/\1/'); do \
			echo "fuzz $$dir $$f"; \
			if $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$dir >$$out 2>&1; then \
				grep '^fuzz: ' $$out | tail -n 1; \
			elif grep -q '^    context deadline exceeded' $$out && ! grep -qE 'Failing input|panic|hung or terminated' $$out; then \
				echo "$$f: its time ended amid an input; nothing was found"; \
			else \
				cat $$out; exit 1; \
			fi; \
		done; done

golden: ## rewrite the golden files
	$(GO) test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

bench: ## benchmarks; ratios are against a peer on the same input in the same run
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-rules: ## Sloth's and Pyrra's rules against ours: cost, exactness, alerts (some minutes)
	cd bench && $(GO) run ./rules

demo: build ## a synthetic shop, an outage and its Slack message, in under three minutes
	@./bin/slowburn demo $(ARGS)

check: lint vuln test ## what CI checks first
