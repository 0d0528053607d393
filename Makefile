# One environment in .venv, made from the locks; every verb below makes it first when it is missing.
PYTHON ?= python3
UPSTREAM ?= echo
PORT ?= 4000
CLUSTER ?= llmcache
PAIRS ?=
BIN := .venv/bin
UV := $(BIN)/uv pip
SOURCES := gateway/llmcache_gateway operator/llmcache_operator tests e2e bench scripts charts training
GATEWAY := .venv/.gateway
DEV := .venv/.dev

.DEFAULT_GOAL := help
.PHONY: help run install test unit e2e cluster cluster-down bench bench-operator bench-vectors models lint format generate check-generated lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 18

run: $(GATEWAY) ## start a gateway on the quickstart (UPSTREAM=openai: with your key; PORT=4000)
	@$(BIN)/python scripts/run.py --upstream $(UPSTREAM) --port $(PORT)

install: $(DEV) ## create the environment for development

test: $(DEV) ## every test: installs what it needs where it may, starts real servers and a real cluster
	@scripts/test

unit: $(DEV) ## the tests that need no cluster
	@$(BIN)/python -m tests.programs || [ -z "$$CI" ]
	@$(BIN)/python -m pytest tests

e2e: $(DEV) ## the tests on a real cluster (E2E_KUBECONFIG=FILE: on yours)
	@scripts/system-packages || [ -z "$$CI" ]
	@$(BIN)/python -m pytest e2e

cluster: $(DEV) ## a real cluster with operator and quickstart, left running (CLUSTER=NAME: one beside others)
	@scripts/system-packages
	@$(BIN)/python -m e2e.demo --name $(CLUSTER)

cluster-down: $(DEV) ## end it (CLUSTER=NAME: that one)
	@$(BIN)/python -m e2e.cluster down --name $(CLUSTER)

bench: $(DEV) ## the gateway beside a bare aiohttp handler and nginx, in one run
	@scripts/system-packages bench
	@$(BIN)/python -m bench

bench-vectors: $(DEV) ## each semantic index with 100,000 questions beside 2,000 in process; some minutes
	@$(BIN)/python -m bench.vectors

bench-operator: $(DEV) ## the operator with 300 LLMCaches on a real cluster, beside a bare kopf handler
	@scripts/system-packages
	@$(BIN)/python -m bench.operator

models: .venv/bin/uv ## train the semantic cache's models anew (PAIRS=FILE of labelled pairs; two hours of two cores)
	@test -f "$(PAIRS)" || { echo "PAIRS=$(PAIRS): no such file; name the labelled pairs: make models PAIRS=FILE (training/README.md)"; exit 2; }
	@$(BIN)/uv venv -q --allow-existing --python $(BIN)/python .venv-training
	@$(UV) install -q --python .venv-training -r training/requirements.txt -e '.[gateway,semantic]'
	@.venv-training/bin/python -m training all --pairs $(PAIRS)
	@.venv-training/bin/python -m training install

lint: $(DEV) ## format, lint, types, import contracts, Dockerfiles
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint -c .hadolint.yaml gateway/Dockerfile operator/Dockerfile

format: $(DEV) ## format and mend what can be mended
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

generate: $(DEV) ## write the generated files anew: CRD, chart's copy of it, reference page, chart's README
	@$(BIN)/python scripts/generate.py

check-generated: $(DEV) ## fail when a generated file is stale
	@$(BIN)/python scripts/generate.py --check

lock: $(DEV) ## resolve all dependencies anew
	@scripts/lock

clean: ## remove the environment and every cache inside the tree
	@rm -rf .venv .venv-training training/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check "$$(grep -oE '^uv==[0-9.]+' requirements.lock)"

$(GATEWAY): .venv/bin/uv gateway/requirements.lock requirements-build.lock pyproject.toml
	@$(UV) install -q --require-hashes -r gateway/requirements.lock -r requirements-build.lock
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): .venv/bin/uv requirements.lock requirements-build.lock pyproject.toml
	@$(UV) sync -q --require-hashes requirements.lock requirements-build.lock
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@ $(GATEWAY)
