# Everything a person or a machine does with this repository. `make help` lists it.

FORGE := node_modules/@foundry-rs/forge-linux-amd64/bin/forge
CARGO ?= cargo
# `make demo RUN=1` drives the whole flow unattended; otherwise the devnet stays up to be tried.
RUN ?=

# How long `make fuzz` looks.
SECONDS ?= 60
# How many seeds `make sim` runs, from which on; TELL=1 tells the story of each.
SEEDS ?= 10000
FROM ?= 1
TELL ?=
SIM := $(CARGO) test --locked --features planted --test sim
# PEERS=required makes a missing Python peer a failure, see tests/peers.
PEERS ?=
# BROWSER=required makes a missing Chromium a failure; CHROMIUM names one that is not on the PATH.
BROWSER ?=
CHROMIUM ?=
export PEERS BROWSER CHROMIUM
# What cargo-fuzz passes to a nightly compiler without the parts that need one.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ := target/fuzz
# What libFuzzer drives. They share the time.
FUZZ_TARGETS := reads multisend signature batch_file mailbox

.DEFAULT_GOAL := help
.PHONY: help demo screenshots test test-rust test-contracts lint fmt bench fuzz sim tools peers browser sqlx fixtures clean prerequisites

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: tools ## Start a local chain, a Safe, an app, an emulated Phala Cloud and the service (RUN=1: drive the flow and exit)
	$(CARGO) run --locked -- devnet $(if $(RUN),--run,--prepared)

# What of the story the README shows.
PICTURES := 02-request 03-wallet 07-approved 10-running
screenshots: tools browser ## Renew the pictures of the README: a browser goes through a devnet
	BROWSER=required $(CARGO) test --locked --test suite stories::browser_try
	mkdir -p docs/images
	set -e; for it in $(PICTURES); do cp target/screenshots/try-$$it.png docs/images/; \
	  test "$$(wc -c < docs/images/try-$$it.png)" -lt 153600 || { echo "try-$$it.png is too large"; exit 1; }; done

test: test-contracts test-rust ## Run every test

test-rust: tools peers browser
	$(CARGO) test --locked
	$(SIM)
	@scripts/python-peer remind
	@scripts/browser remind

test-contracts: tools
	$(FORGE) test

lint: tools ## Check formatting, clippy, contracts and, when cargo-deny is installed, the supply chain
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features planted -- --deny warnings
	$(CARGO) check --locked --no-default-features --lib --bins
	$(FORGE) fmt --check
	@! grep -n 'http' package-lock.json || { echo 'package-lock.json names hosts: use `npm run lock`'; exit 1; }
	@! grep -n '://' tests/peers/requirements.txt || { echo 'requirements.txt names hosts: use `scripts/python-peer lock`'; exit 1; }
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check bans licenses sources; \
	  else echo 'cargo-deny is not installed: bans, licences and sources were not checked'; fi

fmt: tools ## Format everything
	$(CARGO) fmt
	$(FORGE) fmt

bench: tools ## Measure, print a table and write target/bench/results.json
	$(CARGO) bench --locked --bench flow

fuzz: ## Let libFuzzer look for RPC answers, batches, signatures and files that mislead or break anything (SECONDS=60; needs a C++ compiler)
	RUSTFLAGS='$(COVERAGE)' $(CARGO) build --locked --release --target $(HOST) --manifest-path fuzz/Cargo.toml --target-dir $(FUZZ)
	set -e; for target in $(FUZZ_TARGETS); do \
	  mkdir -p $(FUZZ)/corpus/$$target; \
	  $(FUZZ)/$(HOST)/release/$$target -max_total_time=$$(( ($(SECONDS) + $(words $(FUZZ_TARGETS)) - 1) / $(words $(FUZZ_TARGETS)) )) -max_len=4096 -len_control=0 \
	    -artifact_prefix=$(FUZZ)/$$target- $(FUZZ)/corpus/$$target; \
	done

sim: tools ## Run the simulation (SEEDS=10000 FROM=1; TELL=1 tells what happens)
	SIM_SEEDS=$(SEEDS) SIM_FROM=$(FROM) $(if $(TELL),SIM_TELL=1) $(SIM) the_laws_hold_for_every_seed -- --nocapture

tools: prerequisites node_modules/.installed contracts/out/.built ## Install the pinned npm tools and build the contracts

peers: ## Install the Python implementation that tests compare with, if Python and PyPI are there (PEERS=required: or fail)
	@scripts/python-peer install

browser: ## Install the Chromium that tests look at the pages with, if this is root and apt-get is there (BROWSER=required: or fail)
	@scripts/browser install

prerequisites:
	@scripts/prerequisites

node_modules/.installed: package.json package-lock.json .npmrc
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	npm run --silent postgres-links
	@touch $@

contracts/out/.built: node_modules/.installed foundry.toml contracts/tools/solc-js $(wildcard contracts/src/*.sol)
	$(FORGE) build contracts/src
	@touch $@

sqlx: ## Renew the query descriptions in .sqlx (needs an installed PostgreSQL with psql)
	scripts/renew-sqlx

fixtures: tools ## Renew what is made from the code or its packages: openapi.json, docs/phala-codes.md, where Safe's contracts are, Safe transactions, the word reader
	UPDATE_FIXTURES=1 $(CARGO) test --locked --test suite ground::

clean: ## Remove everything that was built or installed here
	rm -rf target node_modules contracts/out contracts/cache
