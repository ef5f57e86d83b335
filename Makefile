# Everything here sets up .venv by itself: a fresh clone needs Python 3.11+ and make, nothing else.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
READY := .venv/.ready
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

# The first new enough interpreter on PATH; `make PYTHON=/path/to/python ...` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(IS_NEW_ENOUGH) && echo $$python && break; done)

# Further arguments for the command behind a target, as in `make test ARGS="-k saga -x"`.
ARGS ?=

# Test processes at once: most tests wait for servers and for each other's ends, not for a core.
JOBS ?= 3

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(READY): pyproject.toml
	@if ! "$(PYTHON)" $(IS_NEW_ENOUGH); then \
		echo "sagabus needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi
	@echo "Setting up .venv with $$("$(PYTHON)" --version); this takes a minute or two, once"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: test
test: $(READY) ## Run every test but the long ones
	@$(BIN)/pytest -m "not soak" --numprocesses $(JOBS) --dist loadfile --quiet $(ARGS)

.PHONY: soak
soak: $(READY) ## Run the long fault tests
	@$(BIN)/pytest -m soak --quiet $(ARGS)

.PHONY: check
check: $(READY) ## Lint, format, types and import directions
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: demo
demo: $(READY) ## Watch workflows succeed, roll back, wait for a person and survive kill -9
	@$(BIN)/sagabus demo $(ARGS)

.PHONY: up
up: $(READY) ## Run the orchestrator, its database, NATS and demo agents, until Ctrl-C
	@$(BIN)/sagabus up --agents $(ARGS)

.PHONY: bench
bench: $(READY) ## Measure workflows per second and latency on this machine
	@$(BIN)/sagabus bench --workflows 2000 --stages 3 --in-flight 200 $(ARGS)

.PHONY: clean
clean: ## Remove .venv, caches and builds; data directories stay
	@rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find orchestrator agents tests -name __pycache__ -type d -prune -exec rm -rf {} +
