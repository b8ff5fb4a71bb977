# Everything goes into .venv (the benchmarks' peers into .venv-bench); nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak check bench study format clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything that is needed

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Rollguard needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $@

demo: $(STAMP) ## watch a bad deployment being found and rolled back, live, in under a minute
	@$(BIN)/python -m examples.demo

test: $(STAMP) ## run every test, on SQLite and on a real PostgreSQL
	$(BIN)/pytest

soak: $(STAMP) ## strike at every step, then watch and deploy in many processes at once: make soak SECONDS=60
	ROLLGUARD_FAULTS=all $(BIN)/pytest tests/faults
	$(BIN)/python -W ignore -m benchmarks.soak --seconds $(or $(SECONDS),60)

check: $(STAMP) ## format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv-bench/.installed ## measure what it costs, beside its peers: make bench ARGS="NAME --full --write"
	@.venv-bench/bin/python -W ignore -m benchmarks $(or $(ARGS),--write)

study: $(STAMP) ## work out what the rules risk, beside those of others: make study ARGS="risks outage"
	@$(BIN)/python -m studies $(ARGS)

.venv-bench/.installed: pyproject.toml
	@$(PYTHON) -m venv .venv-bench
	@echo '*' > .venv-bench/.gitignore
	@echo "installing into .venv-bench ..."
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

format: $(STAMP) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what these targets made
	rm -rf $(VENV) .venv-bench dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
