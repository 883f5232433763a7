# Everything a newcomer needs: `make quickstart`, `make test`. Each sets itself up first.

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-all lint format docs clean

VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := dev
# Keyed on contents, not on times: a fresh checkout of the same versions has nothing to do.
KEY    := $(shell cat pyproject.toml requirements.lock | cksum | cut -d' ' -f1)
READY  := $(VENV)/.ready-$(KEY)
# The lock was resolved on 3.11, so that is taken where there is one. PYTHON=... decides otherwise.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## a virtual environment in .venv with the locked versions

# torch comes first, at its pin alone, so that whichever build of it pip finds here (CPU or CUDA) is the one that stays.
$(READY): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "llmrec needs Python 3.11 or later with venv: install it, or say PYTHON=/path/to/python make $(MAKECMDGOALS)" >&2; exit 2; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock torch
	$(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock -e ".[$(EXTRAS)]"
	@rm -f $(VENV)/.ready-*
	@touch $@

quickstart: $(READY)  ## the main job on MovieLens-100K: no GPU, no account, about ten minutes
	$(BIN)/llmrec run recipes/quickstart.yaml

test: $(READY)  ## the tests: no network, no GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup

test-all: $(READY)  ## the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not gpu"

lint: $(READY)  ## style, types, spelling and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(READY)  ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## the pages in docs/ as a site in site/
	$(BIN)/python -m pip install --disable-pip-version-check -q -e ".[docs]" -c requirements.lock
	$(BIN)/zensical build

clean:  ## remove the environment and caches; runs/ and downloaded data stay
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
