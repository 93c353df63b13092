# The words that people and CI use: make setup | check | test | demo

PYTHON ?= python3
TORCH ?= torch==2.13.0

# one more than cores: whole services are waited for more than they compute
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# another torch is another environment
STAMP := .venv/.setup-$(shell printf '%s' '$(TORCH)' | cksum | cut -d ' ' -f 1)

.DEFAULT_GOAL := help
.PHONY: help setup check test demo

help: ## show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10
	@echo "variables: PYTHON=$(PYTHON) TORCH='$(TORCH)' TESTERS=$(TESTERS)"

setup: $(STAMP) ## make .venv with everything in it

check: setup ## style, types, imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup ## run the tests, a file at a time in each of TESTERS processes
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

demo: setup ## start the service, train the example job, export its model
	$(BIN)/fedkrso demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) $(TORCH)
	$(PIP) uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e . --group dev
	@rm -f .venv/.setup-*
	@touch $@
