# Selvedge: every verb a developer or a build needs. `make` alone lists them.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
# one more than a build server has cores: tests wait for servers of their own
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest
SOURCES := backend mobile_contract tests

# numerical libraries start a thread per core, which on two cores costs more than it brings
export OPENBLAS_NUM_THREADS := 1
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help run quick test lint types graphiql contract bench fuzz-reads fuzz chaos failover mutants chaos-mutants check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run $(VENV)/.graphiql ## serve on 127.0.0.1:$PORT (8000) with the demo company, built on the first start
	SELVEDGE_DEMO=$${SELVEDGE_DEMO:-true} $(BIN)/selvedge serve --port $(PORT)

# what plays long histories or starts whole processes
LONG := tests/chaos/test_chaos.py tests/chaos/test_simulation.py tests/test_journey.py tests/sync/test_pull_oracle.py tests/sync/test_crash.py \
	tests/schema/test_differential.py tests/schema/test_subscriptions.py tests/test_cli_insight.py

quick: $(VENV)/.dev ## the inner loop: lint, and the tests that need no PostgreSQL, without the long histories
	$(BIN)/ruff check $(SOURCES)
	$(PYTEST) -x -q -n $(WORKERS) -m "not postgres and not mutants" $(addprefix --ignore=,$(LONG))

test: $(VENV)/.dev $(VENV)/.graphiql ## the whole suite, on SQLite and PostgreSQL
	$(PYTEST) -q -n $(WORKERS) --dist worksteal -m "not mutants"

mutants: $(VENV)/.dev ## the product broken on purpose in some fifty ways: the long tests must each notice
	$(PYTEST) -q -n $(WORKERS) -m mutants -o timeout=1800

lint: $(VENV)/.dev ## style, format and the floors of the house
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/lint-imports

types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

graphiql: $(VENV)/.graphiql ## build GraphiQL into backend/web/static, where there is a Node

contract: $(VENV)/.dev ## write schema.graphql and the other generated files of mobile_contract/
	$(BIN)/selvedge contract

bench: $(VENV)/.dev $(VENV)/.peers ## measure; prints figures, judges nothing
	@for file in tests/benchmarks/bench_*.py; do \
	  echo "== $$file"; $(BIN)/python -m "$$(echo "$${file%.py}" | tr / .)" || exit 1; \
	done

fuzz-reads: $(VENV)/.dev ## compiled answers against ordinary ones: 5,000 documents per database ($FUZZ_DOCUMENTS, from $FUZZ_SEED)
	$(BIN)/python -m tests.reads.fuzz $${FUZZ_DOCUMENTS:-5000} $${FUZZ_SEED:-1}

fuzz: $(VENV)/.dev ## 20,000 requests nobody thought of ($FUZZ_CASES, from $FUZZ_SEED), half on each database
	$(BIN)/python -m tests.fuzz.run

chaos: $(VENV)/.dev ## 20,000 steps of chaos per database ($CHAOS_STEPS, from $CHAOS_SEED): docs/CHAOS.md
	$(BIN)/python -m tests.chaos.run

failover: $(VENV)/.dev ## kill the leader of a cluster under chaos ($FAILOVER_EPISODES, from $FAILOVER_SEED): docs/SCALING.md
	$(BIN)/python -m tests.failover.run

chaos-mutants: $(VENV)/.dev ## the product wrong in thirteen ways, and by what each is caught
	$(BIN)/python -m tests.chaos.hunt

check: lint types ## what a build runs: everything but the benchmarks
	$(BIN)/selvedge contract --check
	$(MAKE) test

clean: ## remove the environment, caches and the local database
	rm -rf $(VENV) var dist backend/web/static backend/web/page/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The environment: with uv where there is one, else with what Python brings along. A stamp says that it is done.
$(VENV)/.python:
	@if command -v uv >/dev/null 2>&1; then uv venv --quiet --allow-existing --python '>=3.11' $(VENV); \
	else $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Selvedge needs Python 3.11 or later")' \
	  && $(PYTHON) -m venv $(VENV); fi
	@touch $@

define install
	@echo "installing $(1) into $(VENV)"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python -r $(1) \
	  && uv pip install --quiet --python $(BIN)/python --no-deps -e .; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(1) \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
endef

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/.python
	$(call install,requirements/run.txt)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml $(VENV)/.clients | $(VENV)/.python
	$(call install,requirements/dev.txt)
	@touch $(VENV)/.run $@

# The page at /graphiql. Without Node, or when npm cannot fetch what it is made of, the server goes without it.
GRAPHIQL := backend/web/page
$(VENV)/.graphiql: $(GRAPHIQL)/package.json $(GRAPHIQL)/package-lock.json $(GRAPHIQL)/vite.config.js \
		$(GRAPHIQL)/index.html $(wildcard $(GRAPHIQL)/src/*) | $(VENV)/.python
	@if ! command -v npm >/dev/null 2>&1; then \
	  echo "GraphiQL is not built: there is no Node here; /graphiql says how to ask from a terminal instead"; \
	elif echo "building GraphiQL into backend/web/static" && cd $(GRAPHIQL) \
	    && npm ci --silent --no-fund --no-audit --ignore-scripts && npm run --silent build; then \
	  touch ../../../$@; \
	else \
	  echo "GraphiQL is not built: npm could not; /graphiql says how to ask from a terminal instead"; \
	fi

# The sync clients the tests drive, where there is a Node. What one of them compiles takes the headers that came
# with Node, if they did. Without it those tests say why they are skipped.
$(VENV)/.clients: tests/clients/package.json tests/clients/package-lock.json | $(VENV)/.python
	@if command -v npm >/dev/null 2>&1; then \
	  echo "installing the sync clients into tests/clients/node_modules"; \
	  prefix=$$(dirname "$$(dirname "$$(command -v node)")"); \
	  if [ -f "$$prefix/include/node/node.h" ]; then export npm_config_nodedir="$$prefix"; fi; \
	  cd tests/clients && npm ci --silent --no-fund --no-audit && touch ../../$@; \
	fi

# The servers that are measured beside ours, where there is an npm; a benchmark names them as absent otherwise.
$(VENV)/.peers: tests/benchmarks/peers/package.json tests/benchmarks/peers/package-lock.json | $(VENV)/.python
	@if command -v npm >/dev/null 2>&1; then \
	  echo "installing the other servers into tests/benchmarks/peers/node_modules"; \
	  cd tests/benchmarks/peers && npm ci --silent --no-fund --no-audit && touch ../../../$@; \
	fi
