# What one does with a checkout of Comanda. `make help` lists it.
.POSIX:
.PHONY: chaos help setup up build cluster cluster-down test lint clean-data
.DEFAULT_GOAL := help

# The toolchain that scripts/setup found or installed, whatever the PATH says;
# looked up when a recipe runs, since only `setup` may have installed it.
CARGO = PATH="$$(dirname "$$(scripts/setup cargo)"):$$PATH" cargo
TARGET = $${CARGO_TARGET_DIR:-target}/release
# On a build server the dependencies are those of Cargo.lock or it fails.
LOCKED = $${CI:+--locked}

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: system packages, PostgreSQL, Rust
	@scripts/setup

up: build ## build, then run the whole platform here (ARGS="--port 9000 --data DIR")
	@exec "$(TARGET)/comanda" up $(ARGS)

cluster: ## build, then run the platform as a cluster of processes here (ARGS="--port 9000")
	@scripts/setup cluster
	@$(CARGO) build $(LOCKED) --release --bin comanda --bin comanda-cluster
	@scripts/kafka-jars >/dev/null
	@"$(TARGET)/comanda-cluster" start --binary "$(TARGET)/comanda" $(ARGS)

cluster-down: ## end the cluster
	@if [ -x "$(TARGET)/comanda-cluster" ]; then "$(TARGET)/comanda-cluster" down; else echo "No cluster was running."; fi

build: setup ## build the comanda binary, target/release/comanda
	@$(CARGO) build $(LOCKED) --release --bin comanda

test: ## run every test; the last line sums them up
	@scripts/setup test
	@PATH="$$(dirname "$$(scripts/setup cargo)"):$$PATH" scripts/test $(LOCKED)

chaos: ## every fault, one after another, on a cluster under load (a quarter of an hour)
	@scripts/setup test
	@scripts/kafka-jars >/dev/null
	@COMANDA_CHAOS=all $(CARGO) test $(LOCKED) --release --workspace --test end_to_end -- --nocapture faults_under_load

lint: setup ## formatting, clippy, shell scripts, generated files
	@PATH="$$(dirname "$$(scripts/setup cargo)"):$$PATH" scripts/lint $(LOCKED)

clean-data: ## delete the local platform's data (DATA=.comanda); it must not be running
	@scripts/clean-data "$${DATA:-.comanda}"
