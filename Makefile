# Everything goes into .venv (the benchmarks' peers into .venv-bench, agent frameworks into .venv-agents); nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SYSTEM_PACKAGES := chromium
SEED_OR_NEW = $(or $(SEED),$$($(BIN)/python -c 'import secrets; print(secrets.randbits(32))'))

# The tests start hundreds of processes; where Python is told to write no bytecode, each would compile everything.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup system demo demo-loop demo-service screenshots docs test test-fast test-repeat agents long explore soak check bench study schema format clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything that is needed

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Rollguard needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	@touch $@

system: ## install Debian's packages that some long tests need, by apt: as root
	@apt-get update -qq && apt-get install -y --no-install-recommends $(SYSTEM_PACKAGES)
	@# Of Prometheus its tool alone: the package would start a server.
	@command -v promtool > /dev/null || { cd "$$(mktemp -d)" && chmod 755 . && apt-get download -qq prometheus && \
	  dpkg-deb -x prometheus_*.deb . && install usr/bin/promtool /usr/local/bin/ && rm -r "$$PWD"; }

demo: $(STAMP) ## watch a bad deployment being found and rolled back, live, in under a minute
	@$(BIN)/python -m examples.demo

demo-loop: $(STAMP) ## watch weak tools being repaired, and wrong repairs being stopped, live, in under two minutes
	@$(BIN)/python -m examples.demo_loop $(ARGS)

demo-service: $(STAMP) ## start the service with its pages on the demo's data, and print the address
	@$(BIN)/python -m examples.demo.service $(ARGS)

screenshots: $(STAMP) ## make the pictures of the pages that the documentation shows; needs Chromium, see `make system`
	@$(BIN)/python -m examples.demo.screenshots

docs: .venv-docs/.installed ## build the documentation's site into site/
	@.venv-docs/bin/python docs/generate.py
	@.venv-docs/bin/zensical build --clean --strict

test: $(STAMP) ## run the tests, on SQLite and on a real PostgreSQL, always with the same examples
	$(BIN)/pytest

test-fast: $(STAMP) ## run most tests in a minute: without PostgreSQL, and without the files that take longest
	$(BIN)/pytest -m "not long and not soak and not agents and not slow"

agents: .venv-agents/.installed ## run agents of three frameworks and MCP servers, offline, while their tools are rolled back
	@.venv-agents/bin/python -m pytest -m agents tests/agents tests/test_how_to.py

long: $(STAMP) ## run what takes too long for `make test`: faults at many steps, each benchmark and study once, tiny
	@seed=$(SEED_OR_NEW); echo "to repeat it: make long SEED=$$seed"; \
	  FAULTS_SEED=$$seed $(BIN)/pytest -m "long and not soak"

explore: $(STAMP) ## look at other examples than `make test`, and at ten times as many
	@seed=$(SEED_OR_NEW); echo "to repeat it: make explore SEED=$$seed"; \
	  HYPOTHESIS_PROFILE=explore $(BIN)/pytest -m "hypothesis and not long and not soak" --timeout=1800 --hypothesis-seed=$$seed

test-repeat: $(STAMP) ## run `make test` N times: with 1, 2 and 4 workers, loaded, in random order: make test-repeat N=20
	$(BIN)/python -m tests.repeat $(or $(N),20)

soak: $(STAMP) ## strike at every step, then let everything go wrong at once: make soak SECONDS=60
	$(BIN)/pytest tests/faults -m soak
	$(BIN)/python -W ignore -m benchmarks.soak --troubles --seconds $(or $(SECONDS),60)

check: $(STAMP) ## format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv-bench/.installed ## measure what it costs, beside its peers: make bench ARGS="NAME --full --write"
	@.venv-bench/bin/python -W ignore -m benchmarks $(or $(ARGS),--write)

study: $(STAMP) ## work out what the rules risk, beside those of others: make study ARGS="risks outage"
	@$(BIN)/python -m studies $(ARGS)

.venv-%/.installed: pyproject.toml
	@$(PYTHON) -m venv .venv-$*
	@echo '*' > .venv-$*/.gitignore
	@echo "installing into .venv-$* ..."
	@.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

schema: $(STAMP) ## write the shipped file of the schema again, after a new migration
	@$(BIN)/rollguard schema > src/rollguard/store/schema/011_deployment_monitoring.sql

format: $(STAMP) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what these targets made
	rm -rf $(VENV) .venv-agents .venv-bench .venv-docs site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
